//! Probes and lifecycle hooks, in the kubelet's words. Blocking, each with its deadline: called in
//! a process forked for one call, which it leaves inside the pod's network namespace.

use super::event::{Hook, ProbeKind, ProbeResult};
use crate::kube::Pod;
use oci_spec::runtime::Process;
use std::path::Path;
use std::time::Duration;

/// Where to ask.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container's name.
    pub container: &'a str,
    /// The pod's address; on the host's network the node's.
    pub ip: Option<&'a str>,
    /// The pause process.
    pub sandbox_pid: i32,
    /// The OCI state root.
    pub oci_root: &'a Path,
    /// The container's OCI id.
    pub id: &'a str,
    /// `process` of the container's config.json, which an exec starts from.
    pub process: &'a Process,
}

/// Runs a probe once, up to three times while it cannot be asked.
pub fn run_probe(target: &Target<'_>, kind: ProbeKind) -> ProbeResult {
    todo!("poddecide: {target:?} {kind:?}")
}

/// Runs a lifecycle hook; the failure in the kubelet's words.
pub fn run_hook(target: &Target<'_>, which: Hook, timeout: Option<Duration>) -> Result<(), String> {
    todo!("poddecide: {target:?} {which:?} {timeout:?}")
}
