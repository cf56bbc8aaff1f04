//! Kubernetes' validation of a Pod (`pkg/apis/core/validation`), in its words and with all causes
//! at once. Takes defaulted objects, and of their fields those that [`super::support`] lets pass.

mod containers;
mod handlers;
mod names;
mod network;
pub mod objects;
mod references;
mod security;
mod update;
mod volumes;

use super::Pod;
use super::cause::{Causes, invalid};
use crate::error::{Error, Kind, Result};
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use names::{config_key, label_value, qualified_name};
pub use security::forbidden_sysctls;
pub use update::validate_update;

/// All annotations of an object, keys and values, in bytes.
const ANNOTATIONS_SIZE: usize = 256 * 1024;

/// Kubernetes' validation, in its words: `The Pod "x" is invalid: …`.
pub fn validate(pod: &Pod) -> Result<()> {
    let mut causes = Causes::default();
    metadata(&mut causes, &pod.metadata);
    match &pod.spec {
        Some(spec) => pod_spec(&mut causes, spec),
        None => causes.required("spec.containers"),
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    match invalid(name, causes.0) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Whether `name` can be a pod's at all: for commands that are given names.
pub fn pod_name(name: &str) -> Result<()> {
    match names::dns_subdomain(name).into_iter().next() {
        Some(why) => Err(Error::new(Kind::User, format!("invalid pod name {name:?}: {why}"))),
        None => Ok(()),
    }
}

/// Whether `name` can be a namespace's: for `-n`.
pub fn namespace_name(name: &str) -> Result<()> {
    match names::dns_label(name).into_iter().next() {
        Some(why) => Err(Error::new(Kind::User, format!("invalid namespace {name:?}: {why}"))),
        None => Ok(()),
    }
}

fn metadata(causes: &mut Causes, metadata: &ObjectMeta) {
    object_metadata(causes, metadata, names::dns_subdomain);
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    match namespace {
        "" => causes.required("metadata.namespace"),
        _ => {
            for why in names::dns_label(namespace) {
                causes.invalid("metadata.namespace", namespace, why);
            }
        }
    }
}

/// Name, labels and annotations; `name_rule` says what is wrong with a name.
fn object_metadata(
    causes: &mut Causes,
    metadata: &ObjectMeta,
    name_rule: impl Fn(&str) -> Vec<String>,
) {
    match metadata.name.as_deref().unwrap_or_default() {
        "" => causes.required_because("metadata.name", "name or generateName is required"),
        name => {
            for why in name_rule(name) {
                causes.invalid("metadata.name", name, why);
            }
        }
    }
    for (key, value) in metadata.labels.iter().flatten() {
        for why in names::qualified_name(key) {
            causes.invalid("metadata.labels", key, why);
        }
        for why in names::label_value(value) {
            causes.invalid("metadata.labels", value, why);
        }
    }
    let mut size = 0;
    for (key, value) in metadata.annotations.iter().flatten() {
        for why in names::qualified_name(&key.to_lowercase()) {
            causes.invalid("metadata.annotations", key, why);
        }
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_SIZE {
        let cause = format!("may not be more than {ANNOTATIONS_SIZE} bytes");
        causes.0.push(format!("metadata.annotations: Too long: {cause}"));
    }
}

fn pod_spec(causes: &mut Causes, spec: &PodSpec) {
    let volumes = volumes::validate(causes, spec.volumes.as_deref().unwrap_or_default());
    containers::validate(causes, spec, &volumes);
    let policy = spec.restart_policy.as_deref().unwrap_or_default();
    match policy {
        "" => causes.required("spec.restartPolicy"),
        _ => causes.one_of("spec.restartPolicy", policy, &["Always", "OnFailure", "Never"]),
    }
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let why = format!("must be between 1 and {}, inclusive", i32::MAX);
        causes.invalid_number("spec.activeDeadlineSeconds", seconds, why);
    }
    if let Some(context) = &spec.security_context {
        security::pod(causes, context);
    }
    network::validate(causes, spec);
    if let Some(requirements) = &spec.resources {
        containers::resources(causes, "spec.resources", requirements);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
