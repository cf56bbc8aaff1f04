//! What Kubernetes means, as pure functions over the API's own types. No I/O.

use crate::error::Result;
pub use k8s_openapi::api::core::v1::Pod;

/// A decoded manifest document.
#[derive(Clone, Debug)]
pub enum Object {
    /// `kind: Pod`.
    Pod(Box<Pod>),
}

/// Decodes every document of a YAML or JSON file, strictly: unknown and not yet supported fields
/// are errors by name. `file` is how the user called it, for messages (`error parsing FILE: …`).
pub fn decode(file: &str, text: &str) -> Result<Vec<Object>> {
    todo!("kube: {file} {text}")
}

/// Fills in the API's defaults (SEMANTICS: dnsPolicy, restartPolicy, probes, ports, pull policy…).
pub fn set_defaults(pod: &mut Pod) {
    todo!("kube: {pod:?}")
}

/// Kubernetes' validation, in its words: `The Pod "x" is invalid: …`.
pub fn validate(pod: &Pod) -> Result<()> {
    todo!("kube: {pod:?}")
}

/// Whether `new` may replace `old` (immutable fields), in kubectl's words.
pub fn validate_update(new: &Pod, old: &Pod) -> Result<()> {
    todo!("kube: {new:?} {old:?}")
}
