//! A manifest file into objects, strictly: what kubectl and the API server would refuse is
//! refused in their words, and so is by name what runp does not do yet.

use super::{Object, strict, support, text};
use crate::error::{Error, Kind, Result};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

/// Kinds of Kubernetes that runp knows of and does not run.
const LATER: [(&str, &str); 34] = [
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
    ("v1", "ConfigMap"),
    ("v1", "Endpoints"),
    ("v1", "Event"),
    ("v1", "LimitRange"),
    ("v1", "Namespace"),
    ("v1", "Node"),
    ("v1", "PersistentVolume"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "PodTemplate"),
    ("v1", "ReplicationController"),
    ("v1", "ResourceQuota"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
];

/// The objects of `text`, which came from `file` (as the user named it). All or nothing: the first
/// object that cannot be had is the error.
pub fn decode(file: &str, text: &str) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for document in text::documents(file, text)? {
        objects_of(file, &document.value, &document.duplicates, &mut objects)?;
    }
    Ok(objects)
}

fn objects_of(
    file: &str,
    value: &Value,
    duplicates: &[String],
    into: &mut Vec<Object>,
) -> Result<()> {
    let (version, kind) = version_and_kind(file, value)?;
    match (version, kind) {
        ("v1", "List" | "PodList") => {
            let items = value.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            for (index, item) in items.iter().enumerate() {
                let above = format!("items[{index}].");
                let within = |path: &String| path.strip_prefix(&above).map(str::to_owned);
                let duplicates: Vec<String> = duplicates.iter().filter_map(within).collect();
                objects_of(file, item, &duplicates, into)?;
            }
            Ok(())
        }
        ("v1", "Pod") => {
            let pod = pod(value, duplicates).map_err(|error| match error.kind() {
                Kind::BadRequest => error
                    .doing(format!("error when creating \"{file}\""))
                    .hint(format!("in Pod \"{}\"", name_of(value))),
                _ => error,
            })?;
            into.push(Object::Pod(Box::new(pod)));
            Ok(())
        }
        _ => Err(not_run(file, value, version, kind)),
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

fn pod(value: &Value, duplicates: &[String]) -> Result<Pod> {
    const CANNOT: &str = "Pod in version \"v1\" cannot be handled as a Pod";
    let (pod, unknown) = strict::from_value::<Pod>(value).map_err(|wrong| {
        let error = Error::new(Kind::BadRequest, format!("{CANNOT}: {}", wrong.message));
        error.hint(format!("in Pod \"{}\", at {}", name_of(value), wrong.path))
    })?;
    let unknown = unknown.iter().map(|path| format!("unknown field \"{path}\""));
    let twice = duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
    let causes: Vec<String> = unknown.chain(twice).collect();
    if !causes.is_empty() {
        let causes = causes.join(", ");
        let story = format!("{CANNOT}: strict decoding error: {causes}");
        return Err(Error::new(Kind::BadRequest, story));
    }
    support::check(name_of(value), value)?;
    Ok(without_server_fields(pod))
}

/// The API server sets these itself and ignores what a manifest says (`kubectl get -o yaml` piped
/// back into `apply`).
fn without_server_fields(mut pod: Pod) -> Pod {
    pod.status = None;
    let metadata = &mut pod.metadata;
    metadata.creation_timestamp = None;
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    metadata.generation = None;
    metadata.managed_fields = None;
    metadata.resource_version = None;
    metadata.self_link = None;
    metadata.uid = None;
    pod
}

fn not_run(file: &str, value: &Value, version: &str, kind: &str) -> Error {
    let name = name_of(value);
    let known = LATER.contains(&(version, kind)) || (version == "v1" && kind.ends_with("List"));
    if known {
        return Error::user(format!("{kind} \"{name}\" in \"{file}\": not supported by runp yet"))
            .hint("runp runs kind: Pod");
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
