//! A manifest file into objects, strictly: what kubectl and the API server would refuse is
//! refused in their words, and so is by name what runp does not do yet.

use super::{Object, Pod, Resource, strict, support, text};
use crate::error::{Error, Kind, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// Kinds of Kubernetes that runp knows of and does not run.
const LATER: [(&str, &str); 31] = [
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("autoscaling/v1", "HorizontalPodAutoscaler"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "IngressClass"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("node.k8s.io/v1", "RuntimeClass"),
    ("policy/v1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("scheduling.k8s.io/v1", "PriorityClass"),
    ("storage.k8s.io/v1", "StorageClass"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("v1", "Endpoints"),
    ("v1", "Event"),
    ("v1", "LimitRange"),
    ("v1", "Node"),
    ("v1", "PersistentVolume"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "PodTemplate"),
    ("v1", "ReplicationController"),
    ("v1", "ResourceQuota"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
];

/// An object, and what the manifest says.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Word for word.
    pub given: Value,
    /// Typed, without what only the server sets.
    pub object: Object,
    /// `unknown field "spec.x"`, where that is no error.
    pub warnings: Vec<String>,
}

/// What becomes of fields that the API does not know (`--validate`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fields {
    /// They are an error.
    #[default]
    Strict,
    /// They are told of.
    Warn,
    /// They are dropped.
    Ignore,
}

/// The objects of `text`, which came from `file` (as the user named it). All or nothing: the first
/// object that cannot be had is the error.
pub fn decode(file: &str, text: &str) -> Result<Vec<Decoded>> {
    decode_as(file, text, Fields::Strict)
}

/// As [`decode`], with a say about unknown fields.
pub fn decode_as(file: &str, text: &str, fields: Fields) -> Result<Vec<Decoded>> {
    let mut objects = Vec::new();
    let source = Source { file, fields };
    for document in text::documents(file, text)? {
        objects_of(source, &document.value, &document.duplicates, &mut objects)?;
    }
    Ok(objects)
}

/// The object that `value` describes, whatever its kind; the kinds of a changed object stay.
pub fn object_of(resource: Resource, value: &Value, fields: Fields) -> Result<Decoded> {
    let (object, warnings) = object(resource, value, &[], fields)?;
    Ok(Decoded { given: value.clone(), object, warnings })
}

/// The one value that a text in JSON or YAML holds, whatever it is.
pub fn value_of(file: &str, text: &str) -> Result<Value> {
    let mut documents = text::documents(file, text)?.into_iter();
    let value = documents.next().map(|document| document.value);
    value.ok_or_else(|| Error::user(format!("{file} is empty")))
}

#[derive(Clone, Copy)]
struct Source<'a> {
    file: &'a str,
    fields: Fields,
}

fn objects_of(
    source: Source<'_>,
    value: &Value,
    duplicates: &[String],
    into: &mut Vec<Decoded>,
) -> Result<()> {
    let file = source.file;
    let (version, kind) = version_and_kind(file, value)?;
    match (version, kind) {
        ("v1", "List" | "PodList" | "ConfigMapList" | "SecretList" | "NamespaceList") => {
            let items = value.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            for (index, item) in items.iter().enumerate() {
                let above = format!("items[{index}].");
                let within = |path: &String| path.strip_prefix(&above).map(str::to_owned);
                let duplicates: Vec<String> = duplicates.iter().filter_map(within).collect();
                objects_of(source, item, &duplicates, into)?;
            }
            Ok(())
        }
        _ => {
            let resource = Resource::of(version, kind).filter(|kind| kind.is_stored());
            let Some(resource) = resource else {
                return Err(not_run(file, value, version, kind));
            };
            let decoded = object(resource, value, duplicates, source.fields);
            let (object, warnings) = decoded.map_err(|error| match error.kind() {
                Kind::BadRequest => error
                    .doing(format!("error when creating \"{file}\""))
                    .hint(format!("in {kind} \"{}\"", name_of(value))),
                _ => error,
            })?;
            into.push(Decoded { given: value.clone(), object, warnings });
            Ok(())
        }
    }
}

fn version_and_kind<'a>(file: &str, value: &'a Value) -> Result<(&'a str, &'a str)> {
    let field =
        |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (field("apiVersion"), field("kind")) {
        _ if !value.is_object() => {
            let what = "json: cannot unmarshal into Go value of type map[string]interface {}";
            Err(Error::user(format!("unable to decode \"{file}\": {what}"))
                .hint("a manifest is a mapping with apiVersion, kind, metadata and spec"))
        }
        (Some(version), Some(kind)) => Ok((version, kind)),
        (_, None) => Err(Error::user(format!(
            "unable to decode \"{file}\": Object 'Kind' is missing in '{value}'"
        ))),
        (None, _) => Err(Error::user(format!(
            "error validating \"{file}\": error validating data: apiVersion not set"
        ))
        .hint("a Pod is of apiVersion: v1")),
    }
}

/// The object of that kind which `value` describes, and what is to be told about it.
fn object(
    resource: Resource,
    value: &Value,
    duplicates: &[String],
    fields: Fields,
) -> Result<(Object, Vec<String>)> {
    let mut wrong: Vec<String> = Vec::new();
    let mut object = match resource {
        Resource::ConfigMaps => Object::ConfigMap(typed("ConfigMap", value, &mut wrong)?),
        Resource::Namespaces => Object::Namespace(typed("Namespace", value, &mut wrong)?),
        Resource::Secrets => Object::Secret(typed("Secret", value, &mut wrong)?),
        Resource::Pods => Object::Pod(typed("Pod", value, &mut wrong)?),
        Resource::Events | Resource::Nodes => {
            return Err(Error::new(Kind::Bug, format!("a {} is not stored", resource.kind())));
        }
    };
    wrong.extend(duplicates.iter().map(|path| format!("duplicate field \"{path}\"")));
    if fields == Fields::Strict && !wrong.is_empty() {
        let story =
            format!("{}: strict decoding error: {}", cannot(resource.kind()), wrong.join(", "));
        return Err(Error::new(Kind::BadRequest, story));
    }
    match &mut object {
        Object::Pod(pod) => {
            support::check(name_of(value), &known(value, &wrong))?;
            pod.status = None;
        }
        Object::Namespace(namespace) => namespace.status = None,
        Object::ConfigMap(_) | Object::Event(_) | Object::Node(_) | Object::Secret(_) => {}
    }
    without_server_fields(object.metadata_mut());
    if fields == Fields::Ignore {
        wrong.clear();
    }
    Ok((object, wrong))
}

fn cannot(kind: &str) -> String {
    format!("{kind} in version \"v1\" cannot be handled as a {kind}")
}

/// `value`, or where unknown fields were let pass, what is left of it without them.
fn known<'v>(value: &'v Value, wrong: &[String]) -> Cow<'v, Value> {
    if wrong.is_empty() {
        return Cow::Borrowed(value);
    }
    let typed = strict::from_value::<Pod>(value).ok().map(|(pod, _)| pod);
    let typed = typed.and_then(|pod| serde_json::to_value(pod).ok());
    typed.map_or(Cow::Borrowed(value), Cow::Owned)
}

fn typed<'v, T: Deserialize<'v>>(
    kind: &str,
    value: &'v Value,
    wrong: &mut Vec<String>,
) -> Result<Box<T>> {
    let (object, unknown) = strict::from_value::<T>(value).map_err(|wrong| {
        let message = base64_words(&wrong.message);
        let error = Error::new(Kind::BadRequest, format!("{}: {message}", cannot(kind)));
        error.hint(format!("in {kind} \"{}\", at {}", name_of(value), wrong.path))
    })?;
    wrong.extend(unknown.iter().map(|path| format!("unknown field \"{path}\"")));
    Ok(Box::new(object))
}

/// Go's words for what is no base64.
fn base64_words(message: &str) -> String {
    let at = message.rsplit_once("offset ").map(|(_, at)| at.trim_end_matches('.'));
    match at {
        Some(at) if message.starts_with("Invalid ") => {
            format!("illegal base64 data at input byte {at}")
        }
        _ => message.to_owned(),
    }
}

/// The API server sets these itself and ignores what a manifest says (`kubectl get -o yaml` piped
/// back into `apply`).
fn without_server_fields(metadata: &mut ObjectMeta) {
    metadata.creation_timestamp = None;
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    metadata.generation = None;
    metadata.managed_fields = None;
    metadata.resource_version = None;
    metadata.self_link = None;
    metadata.uid = None;
}

fn not_run(file: &str, value: &Value, version: &str, kind: &str) -> Error {
    let name = name_of(value);
    let known = LATER.contains(&(version, kind)) || (version == "v1" && kind.ends_with("List"));
    if known {
        return Error::user(format!("{kind} \"{name}\" in \"{file}\": not supported by runp yet"))
            .hint("runp runs pods, and knows config maps, secrets and namespaces");
    }
    let namespace = value.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("");
    Error::user(format!(
        "resource mapping not found for name: \"{name}\" namespace: \"{namespace}\" from \
         \"{file}\": no matches for kind \"{kind}\" in version \"{version}\"\n\
         ensure CRDs are installed first"
    ))
}

fn name_of(value: &Value) -> &str {
    value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
