//! A container of a pod as an OCI bundle's config.json, as containerd and the kubelet would write
//! it. Pure: users are looked up in text the caller read, paths are made by the caller.

use crate::error::Result;
use crate::kube::Pod;
use k8s_openapi::api::core::v1::Container;
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{LinuxDevice, Spec};
use std::path::{Path, PathBuf};

/// All that a config.json is made of.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// One of its containers.
    pub container: &'a Container,
    /// `state::container_id`.
    pub id: &'a str,
    /// Counts the restarts.
    pub attempt: u32,
    /// The image's configuration.
    pub image: &'a ImageConfiguration,
    /// The image's layers, lowest first; `/` alone for the image `host`.
    pub layers: &'a [PathBuf],
    /// Who the process is ([`user`]).
    pub user: &'a Credentials,
    /// The sandbox.
    pub sandbox: &'a Sandbox<'a>,
    /// Where the container's files are.
    pub places: &'a Places<'a>,
    /// Bytes of memory of the node, for the OOM score.
    pub node_memory: u64,
    /// Every device of the host, for a privileged container.
    pub host_devices: &'a [LinuxDevice],
}

/// What a container needs of its sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox<'a> {
    /// Its OCI id.
    pub id: &'a str,
    /// The pause process: its namespaces are joined by `/proc/<pid>/ns`.
    pub pid: i32,
}

/// Files and directories of a container on the host; all exist but those of the overlay's
/// upper, which the caller makes too.
#[derive(Clone, Debug)]
pub struct Places<'a> {
    /// An empty directory: `root.path`, over which the overlay is mounted.
    pub rootfs: &'a Path,
    /// Writable layer (`upper/`) and work directory (`work/`) are below it.
    pub overlay: &'a Path,
    /// The pod's `/etc/hosts`.
    pub hosts: &'a Path,
    /// The pod's `/etc/hostname`.
    pub hostname: &'a Path,
    /// The pod's `/etc/resolv.conf`.
    pub resolv_conf: &'a Path,
    /// The instance's termination message.
    pub termination_log: &'a Path,
    /// The pod's `/dev/shm`, a tmpfs or a directory on one.
    pub shm: &'a Path,
    /// Each volume of the pod by name, prepared.
    pub volumes: &'a [(String, PathBuf)],
    /// Directories of this instance that the image `host` must not show.
    pub hidden: &'a [PathBuf],
}

/// Who a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// The process's user: securityContext first, then the image's USER, looked up in the rootfs's
/// `/etc/passwd` and `/etc/group` (`None` where there is no such file).
pub fn user(
    pod: &Pod,
    container: &Container,
    image_user: &str,
    passwd: Option<&str>,
    group: Option<&str>,
) -> Result<Credentials> {
    todo!("poddecide: {pod:?} {container:?} {image_user} {passwd:?} {group:?}")
}

/// config.json of one instance of a container.
pub fn spec(input: &Input<'_>) -> Result<Spec> {
    todo!("poddecide: {input:?}")
}

/// `linux.cgroupsPath` of the pod, below which each container has a directory named by its id.
pub fn pod_cgroup(pod: &Pod) -> PathBuf {
    todo!("poddecide: {pod:?}")
}

/// The limits of the pod's own cgroup.
pub fn pod_resources(pod: &Pod) -> oci_spec::runtime::LinuxResources {
    todo!("poddecide: {pod:?}")
}
