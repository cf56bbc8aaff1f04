//! The sandbox's bundle: pause, which holds the pod's namespaces.

use crate::error::Result;
use crate::kube::Pod;
use oci_spec::runtime::Spec;
use std::path::Path;

/// The program of the sandbox; stands as `/pause` in its bundle's root file system.
pub const PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// config.json of the sandbox `id`. `rootfs` is a directory that holds [`PAUSE`] as `pause`.
pub fn spec(pod: &Pod, id: &str, rootfs: &Path) -> Result<Spec> {
    todo!("poddecide: {pod:?} {id} {rootfs:?}")
}
