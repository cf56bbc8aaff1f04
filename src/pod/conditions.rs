//! The pod's status as the API shows it: phase, conditions, container statuses.

use super::state::PodState;
use crate::kube::Pod;
use k8s_openapi::api::core::v1::PodStatus;

/// What of the node stands in a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The node's address; a pod on the host's network has it too.
    pub ip: Option<String>,
}

/// `status` of the pod.
pub fn status(pod: &Pod, state: &PodState, node: &Node) -> PodStatus {
    todo!("poddecide: {pod:?} {state:?} {node:?}")
}
