//! Validation of the objects that are not pods: config maps, secrets, namespaces.

use super::super::cause::{Causes, invalid_object};
use super::{names, object_metadata};
use crate::error::{Error, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use std::collections::BTreeMap;

/// All values of a config map or secret, in bytes (`MaxSecretSize`).
const MAX_SIZE: usize = 1024 * 1024;
const IMMUTABLE: &str = "field is immutable when `immutable` is set";
const TYPE_ANNOTATION: &str = "kubernetes.io/service-account.name";

/// `The ConfigMap "x" is invalid: …`.
pub fn config_map(map: &ConfigMap) -> Result<()> {
    let mut causes = Causes::default();
    object_metadata(&mut causes, &map.metadata, names::dns_subdomain);
    let (text, binary) = (map.data.iter().flatten(), map.binary_data.iter().flatten());
    let mut size = 0;
    for (key, value) in text {
        config_key(&mut causes, "data", key);
        if map.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
            let why = format_args!("{key:?}: duplicate of key present in binaryData");
            causes.0.push(format!("data[{key}]: Invalid value: {why}"));
        }
        size += value.len();
    }
    for (key, value) in binary {
        config_key(&mut causes, "binaryData", key);
        size += value.0.len();
    }
    if size > MAX_SIZE {
        causes.0.push(too_long("[]"));
    }
    said("ConfigMap", &map.metadata, causes)
}

/// `The Secret "x" is invalid: …`.
pub fn secret(secret: &Secret) -> Result<()> {
    let mut causes = Causes::default();
    object_metadata(&mut causes, &secret.metadata, names::dns_subdomain);
    let none = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&none);
    data.keys().for_each(|key| config_key(&mut causes, "data", key));
    if data.values().map(|value| value.0.len()).sum::<usize>() > MAX_SIZE {
        causes.0.push(too_long("data"));
    }
    secret_type(&mut causes, secret, data);
    said("Secret", &secret.metadata, causes)
}

/// What a secret of a well-known type must hold.
fn secret_type(causes: &mut Causes, secret: &Secret, data: &BTreeMap<String, ByteString>) {
    let required = |causes: &mut Causes, key: &str| {
        if !data.contains_key(key) {
            causes.required(format_args!("data[{key}]"));
        }
    };
    match secret.type_.as_deref().unwrap_or_default() {
        "kubernetes.io/dockerconfigjson" => json_key(causes, data, ".dockerconfigjson"),
        "kubernetes.io/dockercfg" => json_key(causes, data, ".dockercfg"),
        "kubernetes.io/tls" => ["tls.crt", "tls.key"].iter().for_each(|key| required(causes, key)),
        "kubernetes.io/ssh-auth" => required(causes, "ssh-privatekey"),
        "kubernetes.io/basic-auth"
            if !data.contains_key("username") && !data.contains_key("password") =>
        {
            causes.required("data[username]");
            causes.required("data[password]");
        }
        "kubernetes.io/service-account-token" => {
            let annotations = secret.metadata.annotations.iter().flatten();
            if !annotations
                .into_iter()
                .any(|(key, name)| key == TYPE_ANNOTATION && !name.is_empty())
            {
                causes.required(format_args!("metadata.annotations[{TYPE_ANNOTATION}]"));
            }
        }
        _ => {}
    }
}

fn json_key(causes: &mut Causes, data: &BTreeMap<String, ByteString>, key: &str) {
    match data.get(key).map(|value| serde_json::from_slice::<Value>(&value.0)) {
        None => causes.required(format_args!("data[{key}]")),
        Some(Ok(_)) => {}
        // The value is secret, so it is not shown.
        Some(Err(error)) => {
            causes.0.push(format!(
                "data[{key}]: Invalid value: \"<secret contents redacted>\": {error}"
            ));
        }
    }
}

/// `The Namespace "x" is invalid: …`.
pub fn namespace(namespace: &Namespace) -> Result<()> {
    let mut causes = Causes::default();
    object_metadata(&mut causes, &namespace.metadata, names::dns_label);
    said("Namespace", &namespace.metadata, causes)
}

/// Whether `new` may replace `old`.
pub fn config_map_update(new: &ConfigMap, old: &ConfigMap) -> Result<()> {
    let mut causes = Causes::default();
    if old.immutable == Some(true) {
        immutable(&mut causes, "immutable", new.immutable != Some(true));
        immutable(&mut causes, "data", new.data != old.data);
        immutable(&mut causes, "binaryData", new.binary_data != old.binary_data);
    }
    said("ConfigMap", &new.metadata, causes)
}

/// Whether `new` may replace `old`.
pub fn secret_update(new: &Secret, old: &Secret) -> Result<()> {
    let mut causes = Causes::default();
    if new.type_ != old.type_ {
        let kind = new.type_.as_deref().unwrap_or_default();
        causes.invalid("type", kind, "field is immutable");
    }
    if old.immutable == Some(true) {
        immutable(&mut causes, "immutable", new.immutable != Some(true));
        immutable(&mut causes, "data", new.data != old.data);
    }
    said("Secret", &new.metadata, causes)
}

fn immutable(causes: &mut Causes, path: &str, changed: bool) {
    if changed {
        causes.forbidden(path, IMMUTABLE);
    }
}

fn config_key(causes: &mut Causes, path: &str, key: &str) {
    for why in names::config_key(key) {
        causes.invalid(format_args!("{path}[{key}]"), key, why);
    }
}

fn too_long(path: &str) -> String {
    format!("{path}: Too long: may not be more than {MAX_SIZE} bytes")
}

fn said(kind: &str, metadata: &ObjectMeta, causes: Causes) -> Result<()> {
    let error: Option<Error> =
        invalid_object(kind, metadata.name.as_deref().unwrap_or(""), causes.0);
    error.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(value: Value) -> String {
        let said = match value["kind"].as_str() {
            Some("Secret") => secret(&serde_json::from_value(value).unwrap()),
            Some("ConfigMap") => config_map(&serde_json::from_value(value).unwrap()),
            _ => namespace(&serde_json::from_value(value).unwrap()),
        };
        said.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_kubernetes_refuses_is_refused_in_its_words() {
        let meta = json!({"name": "x", "namespace": "default"});
        let of = |kind: &str, rest: Value| {
            let mut value = json!({"apiVersion": "v1", "kind": kind, "metadata": meta});
            value.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            wrong(value)
        };
        assert_eq!(of("ConfigMap", json!({"data": {"a.b-c_D": "1"}})), "");
        assert_eq!(
            of("ConfigMap", json!({"data": {"a b": "1"}})),
            "The ConfigMap \"x\" is invalid: data[a b]: Invalid value: \"a b\": a valid config key \
             must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
        );
        assert_eq!(
            of("Secret", json!({"type": "kubernetes.io/tls", "data": {"tls.key": ""}})),
            "The Secret \"x\" is invalid: data[tls.crt]: Required value"
        );
        assert_eq!(
            of("Secret", json!({"data": {"a": "YQ==", ".": ""}})),
            "The Secret \"x\" is invalid: data[.]: Invalid value: \".\": must not be '.'"
        );
        let long = "x".repeat(MAX_SIZE + 1);
        assert!(of("ConfigMap", json!({"data": {"a": long}})).contains("Too long"));
        let bad =
            wrong(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "A"}}));
        assert!(bad.starts_with("The Namespace \"A\" is invalid: metadata.name: Invalid"), "{bad}");
    }

    #[test]
    fn what_is_immutable_stays() {
        let map = |value: &str, fixed: bool| -> ConfigMap {
            serde_json::from_value(json!({"metadata": {"name": "x"}, "data": {"a": value},
                "immutable": fixed}))
            .unwrap()
        };
        config_map_update(&map("2", true), &map("1", false)).unwrap();
        let error = config_map_update(&map("2", true), &map("1", true)).unwrap_err().to_string();
        let story = format!("The ConfigMap \"x\" is invalid: data: Forbidden: {IMMUTABLE}");
        assert_eq!(error, story);
        config_map_update(&map("1", false), &map("1", true)).unwrap_err();
    }
}
