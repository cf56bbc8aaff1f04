//! What may change of a Pod that exists.

use super::super::Pod;
use super::super::cause::{Causes, invalid};
use crate::error::Result;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

const IMMUTABLE: &str = "pod updates may not change fields other than \
    `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Whether `new` may replace `old` (immutable fields), in kubectl's words. Both are defaulted.
pub fn validate_update(new: &Pod, old: &Pod) -> Result<()> {
    let mut causes = Causes::default();
    let (metadata, before) = (&new.metadata, &old.metadata);
    let identity = [
        ("metadata.name", &metadata.name, &before.name),
        ("metadata.namespace", &metadata.namespace, &before.namespace),
    ];
    for (path, new, old) in identity {
        if new != old {
            causes.invalid(path, new.as_deref().unwrap_or_default(), "field is immutable");
        }
    }
    if let (Some(new), Some(old)) = (&new.spec, &old.spec) {
        spec(&mut causes, new, old);
    }
    let name = metadata.name.as_deref().unwrap_or_default();
    match invalid(name, causes.0) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn spec(causes: &mut Causes, new: &PodSpec, old: &PodSpec) {
    let init = |spec: &PodSpec| spec.init_containers.as_ref().map_or(0, Vec::len);
    if init(new) != init(old) {
        let why = "pod updates may not add or remove containers";
        return causes.forbidden("spec.initContainers", why);
    }
    if new.containers.len() != old.containers.len() {
        let why = "pod updates may not add or remove containers";
        return causes.forbidden("spec.containers", why);
    }
    let mut differences = Vec::new();
    let allowed = as_if_allowed(new, old);
    if let (Ok(new), Ok(old)) = (serde_json::to_value(&allowed), serde_json::to_value(old)) {
        compare("spec", &new, &old, &mut differences);
    }
    if !differences.is_empty() {
        causes.forbidden("spec", format_args!("{IMMUTABLE}\n{}", differences.join("\n")));
    }
}

/// `new` with the fields that may change as in `old`, so that only what may not change differs.
fn as_if_allowed(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut spec = new.clone();
    // They come by another door.
    spec.ephemeral_containers.clone_from(&old.ephemeral_containers);
    let init = spec.init_containers.iter_mut().flatten();
    let init = init.zip(old.init_containers.iter().flatten());
    for (container, before) in spec.containers.iter_mut().zip(&old.containers).chain(init) {
        container.image.clone_from(&before.image);
        // Follows from the image's tag where the manifest does not give it.
        container.image_pull_policy.clone_from(&before.image_pull_policy);
    }
    spec.active_deadline_seconds = old.active_deadline_seconds;
    let added = |old: &Vec<_>| spec.tolerations.iter().flatten().take(old.len()).eq(old);
    if old.tolerations.as_ref().is_none_or(added) {
        spec.tolerations.clone_from(&old.tolerations);
    }
    let grace = old.termination_grace_period_seconds;
    if grace.is_some_and(|seconds| seconds < 0) && spec.termination_grace_period_seconds == Some(1)
    {
        spec.termination_grace_period_seconds = grace;
    }
    // Set when the pod was bound to the node; a manifest does not repeat it.
    if spec.node_name.is_none() {
        spec.node_name.clone_from(&old.node_name);
    }
    spec
}

/// The paths at which two values differ, each with both values.
fn compare(path: &str, new: &Value, old: &Value, into: &mut Vec<String>) {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let gone = old.keys().filter(|key| !new.contains_key(*key));
            for key in new.keys().chain(gone) {
                let (new, old) = (new.get(key), old.get(key));
                let (new, old) = (new.unwrap_or(&Value::Null), old.unwrap_or(&Value::Null));
                compare(&format!("{path}.{key}"), new, old, into);
            }
        }
        (Value::Array(new), Value::Array(old)) if new.len() == old.len() => {
            for (index, (new, old)) in new.iter().zip(old).enumerate() {
                compare(&format!("{path}[{index}]"), new, old, into);
            }
        }
        _ if new == old => {}
        _ => into.push(format!("  {path}:\n- \t{old}\n+ \t{new}")),
    }
}
