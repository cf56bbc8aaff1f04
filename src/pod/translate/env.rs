//! A container's own environment: `envFrom`, then `env`, where a later value takes the place of an
//! earlier one of its name.

use super::downward::{self, Node};
use super::envfile;
use super::process::expand;
use crate::error::{Error, Result};
use crate::kube::Pod;
use crate::pod::references::{Objects, found};
use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVarSource};
use std::collections::BTreeMap;

/// Texts by volume and path; `None` for a file that is not there.
pub type Files = BTreeMap<(String, String), Option<String>>;

/// What variables are made of besides the manifest.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    /// The objects that the container refers to.
    pub objects: &'a Objects,
    /// The files that it takes variables from.
    pub files: &'a Files,
    /// The pod's address.
    pub ip: Option<&'a str>,
    /// The node.
    pub node: &'a Node,
}

/// The variables, in the order of the manifest. The errors are the kubelet's.
pub fn resolve(
    pod: &Pod,
    container: &Container,
    sources: &Sources<'_>,
) -> Result<Vec<(String, String)>> {
    let mut env = Vec::new();
    for source in container.env_from.iter().flatten() {
        for (key, value) in all_of(source, sources.objects)? {
            let prefix = source.prefix.as_deref().unwrap_or_default();
            put(&mut env, format!("{prefix}{key}"), value);
        }
    }
    for variable in container.env.iter().flatten() {
        let literal = variable.value.as_deref().unwrap_or_default();
        let value = match &variable.value_from {
            // What comes from elsewhere is not expanded.
            Some(source) if literal.is_empty() => value_of(pod, container, source, sources)?,
            _ => Some(expand(literal, &env)),
        };
        if let Some(value) = value {
            put(&mut env, variable.name.clone(), value);
        }
    }
    Ok(env)
}

fn put(env: &mut Vec<(String, String)>, name: String, value: String) {
    match env.iter_mut().find(|(known, _)| *known == name) {
        Some((_, old)) => *old = value,
        None => env.push((name, value)),
    }
}

fn all_of(source: &EnvFromSource, objects: &Objects) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    if let Some(it) = &source.config_map_ref
        && let Some(map) = objects.config_map(&it.name, it.optional)?
    {
        all.extend(map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    }
    if let Some(it) = &source.secret_ref
        && let Some(secret) = objects.secret(&it.name, it.optional)?
    {
        all.extend(secret.data.iter().flatten().map(|(key, value)| (key.clone(), text(&value.0))));
    }
    Ok(all)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `None` for what is not there and need not be: the variable is left out.
fn value_of(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    sources: &Sources<'_>,
) -> Result<Option<String>> {
    let objects = sources.objects;
    let namespace = &objects.namespace;
    if let Some(it) = &source.field_ref {
        return downward::field(pod, &it.field_path, sources.ip, sources.node).map(Some);
    }
    if let Some(it) = &source.resource_field_ref {
        return downward::resource(pod, Some(container), it, sources.node).map(Some);
    }
    if let Some(it) = &source.config_map_key_ref {
        let Some(map) = objects.config_map(&it.name, it.optional)? else { return Ok(None) };
        let value = map.data.as_ref().and_then(|data| data.get(&it.key)).cloned();
        return found(value, it.optional, || {
            format!("couldn't find key {} in ConfigMap {namespace}/{}", it.key, it.name)
        });
    }
    if let Some(it) = &source.secret_key_ref {
        let Some(secret) = objects.secret(&it.name, it.optional)? else { return Ok(None) };
        let value = secret.data.as_ref().and_then(|data| data.get(&it.key));
        return found(value.map(|value| text(&value.0)), it.optional, || {
            format!("couldn't find key {} in Secret {namespace}/{}", it.key, it.name)
        });
    }
    if let Some(it) = &source.file_key_ref {
        let text = sources.files.get(&(it.volume_name.clone(), it.path.clone()));
        let value = match text.and_then(Option::as_ref) {
            Some(text) => envfile::value(text, &it.key)?,
            None => None,
        };
        let missing =
            || format!("environment variable key {:?} not found in file {:?}", it.key, it.path);
        return found(value, it.optional, missing);
    }
    Err(Error::user("env valueFrom without a source that runp knows"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn env(container: Value) -> Result<Vec<String>> {
        let mut objects = Objects { namespace: "ns".into(), ..Objects::default() };
        let map = json!({"metadata": {"name": "cm"}, "data": {"A": "1", "B": "$(A)"}});
        objects.config_maps.insert("cm".into(), serde_json::from_value(map).unwrap());
        let secret = json!({"metadata": {"name": "s"}, "data": {"PW": "aHVudGVyMg=="}});
        objects.secrets.insert("s".into(), serde_json::from_value(secret).unwrap());
        let pod =
            json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"containers": []}});
        let pod = serde_json::from_value(pod).unwrap();
        let mut whole = json!({"name": "c"});
        whole.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let container = serde_json::from_value(whole).unwrap();
        let node = Node::default();
        let key = ("data".to_owned(), "env".to_owned());
        let files = Files::from([(key, Some("K='from a file'\n".to_owned()))]);
        let sources =
            Sources { objects: &objects, files: &files, ip: Some("10.88.0.2"), node: &node };
        let env = resolve(&pod, &container, &sources)?;
        Ok(env.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }

    #[test]
    fn variables_come_from_everywhere_in_order() {
        let key = |kind: &str, name: &str, key: &str| json!({kind: {"name": name, "key": key}});
        let file = |key: &str, optional: bool| {
            json!({"fileKeyRef":
            {"volumeName": "data", "path": "env", "key": key, "optional": optional}})
        };
        let container = json!({
            "envFrom": [{"configMapRef": {"name": "cm"}}, {"prefix": "P_", "secretRef": {"name": "s"}},
                        {"configMapRef": {"name": "none", "optional": true}}],
            "env": [
                {"name": "A", "value": "2-$(A)"},
                {"name": "C", "value": "$(B) $(P_PW) $(D) $$(A)"},
                {"name": "D", "valueFrom": key("secretKeyRef", "s", "PW")},
                {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "F", "valueFrom":
                    {"configMapKeyRef": {"name": "cm", "key": "none", "optional": true}}},
                {"name": "G", "value": "$(E)/$(F)"},
                {"name": "H", "valueFrom": file("K", false)},
                {"name": "I", "valueFrom": file("none", true)},
            ],
        });
        let expected = [
            "A=2-1",
            "B=$(A)",
            "P_PW=hunter2",
            "C=$(A) hunter2 $(D) $(A)",
            "D=hunter2",
            "E=10.88.0.2",
            "G=10.88.0.2/$(F)",
            "H=from a file",
        ];
        assert_eq!(env(container).unwrap(), expected);
    }

    #[test]
    fn what_is_missing_is_named_as_the_kubelet_does() {
        let key = |kind: &str, name: &str| json!({"env": [{"name": "X", "valueFrom": {kind: {"name": name, "key": "k"}}}]});
        for (container, expected) in [
            (key("configMapKeyRef", "x"), "configmap \"x\" not found"),
            (key("configMapKeyRef", "cm"), "couldn't find key k in ConfigMap ns/cm"),
            (key("secretKeyRef", "x"), "secret \"x\" not found"),
            (key("secretKeyRef", "s"), "couldn't find key k in Secret ns/s"),
            (
                json!({"env": [{"name": "X", "valueFrom": {"fileKeyRef":
                    {"volumeName": "data", "path": "env", "key": "none"}}}]}),
                "environment variable key \"none\" not found in file \"env\"",
            ),
            (json!({"envFrom": [{"secretRef": {"name": "y"}}]}), "secret \"y\" not found"),
        ] {
            assert_eq!(env(container).unwrap_err().to_string(), expected);
        }
    }
}
