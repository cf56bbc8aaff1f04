//! The quality-of-service class of a pod, from its cpu and memory requests and limits.

use crate::kube::Pod;

/// `status.qosClass`.
pub fn class(pod: &Pod) -> &'static str {
    let spec = pod.spec.as_ref();
    let has = |container: &k8s_openapi::api::core::v1::Container| container.resources.is_some();
    if spec.is_some_and(|spec| spec.containers.iter().any(has)) {
        "Burstable"
    } else {
        "BestEffort"
    }
}
