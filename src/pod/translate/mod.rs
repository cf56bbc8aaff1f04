//! A container of a pod as an OCI bundle's config.json, as containerd and the kubelet would write
//! it. Pure: users are looked up in text the caller read, paths are made by the caller.

pub mod downward;
pub mod env;
mod envfile;
mod mounts;
pub mod names;
mod process;
pub mod seccomp;
mod security;
mod user;

pub use mounts::Source;
pub(super) use process::{expand, expand_strictly};
pub use user::{credentials, verify_non_root, wanted_user};

use crate::error::{Error, Kind, Result};
use crate::image::{self, Image};
use crate::kube::Pod;
use crate::kube::resources::{self, Limits, Qos};
use k8s_openapi::api::core::v1::Container;
use oci_spec::runtime::{LinuxDevice, LinuxResources, LinuxSeccomp, Spec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The runtime specification that the bundles follow.
pub(super) const OCI_VERSION: &str = "1.3.0";

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
    /// Its image.
    pub image: &'a Image,
    /// Its own environment ([`env::resolve`]).
    pub env: &'a [(String, String)],
    /// Who the process is ([`credentials`]).
    pub user: &'a Credentials,
    /// The sandbox.
    pub sandbox: &'a Sandbox<'a>,
    /// Where the container's files are.
    pub places: &'a Places<'a>,
    /// The machine.
    pub machine: &'a Machine,
    /// The profile of the file that the container names ([`seccomp::Wanted::File`]).
    pub seccomp: Option<&'a LinuxSeccomp>,
    /// The AppArmor profile that the container names.
    pub app_armor: Option<&'a str>,
    /// Every device of the host, for a privileged container.
    pub host_devices: &'a [LinuxDevice],
}

/// What of the machine counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of its memory.
    pub memory: u64,
    /// cgroup v2 alone.
    pub unified: bool,
    /// Who may not lower OOM scores (`CAP_SYS_RESOURCE`) gives none below its own.
    pub least_oom_score_adj: i32,
    /// The sizes of huge pages that cgroups limit (`2MB`); none without such a controller.
    pub huge_pages: Vec<String>,
}

/// What a container needs of its sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox<'a> {
    /// Its OCI id.
    pub id: &'a str,
    /// The pause process: its namespaces are joined by `/proc/<pid>/ns`.
    pub pid: i32,
    /// The init process of the container that this one is to look into.
    pub target: Option<i32>,
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
    /// What each of the container's `volumeMounts` mounts, in their order.
    pub volumes: &'a [Source],
    /// Directories of this instance that the image `host` must not show.
    pub hidden: &'a [PathBuf],
}

/// Who a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// config.json of one instance of a container.
pub fn spec(input: &Input<'_>) -> Result<Spec> {
    let context = input.container.security_context.clone().unwrap_or_default();
    let is_privileged = context.privileged == Some(true);
    let capabilities = security::capabilities(&context)?;
    let devices = if is_privileged { input.host_devices } else { &[] };
    let is_unmasked = is_privileged || context.proc_mount.as_deref() == Some("Unmasked");
    let masked = if is_unmasked { &[] } else { security::MASKED };
    let readonly = if is_unmasked { &[] } else { security::READONLY };
    let filter = match seccomp::wanted(input.pod, input.container) {
        seccomp::Wanted::Unconfined => None,
        seccomp::Wanted::Default => Some(seccomp::default_profile(&capabilities)?),
        seccomp::Wanted::File(_) => input.seccomp.cloned(),
    };
    let score = resources::oom_score_adj(input.pod, input.container, input.machine.memory);
    from_json(json!({
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": input.container.tty.filter(|tty| *tty),
            "user": {
                "uid": input.user.uid,
                "gid": input.user.gid,
                "additionalGids": input.user.groups,
            },
            "args": process::args(input)?,
            "env": process::env(input)?,
            "cwd": image::config::cwd(&input.image.config, input.container.working_dir.as_deref()),
            // Neither inheritable nor ambient ones (CVE-2022-24769): who is not root has none.
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "noNewPrivileges": context.allow_privilege_escalation == Some(false),
            "apparmorProfile": input.app_armor,
            "oomScoreAdj": score.max(input.machine.least_oom_score_adj),
        },
        "root": {
            "path": input.places.rootfs,
            "readonly": context.read_only_root_filesystem == Some(true),
        },
        "mounts": mounts::mounts(input, is_privileged)?,
        "annotations": annotations(input),
        "linux": {
            "namespaces": namespaces(input.pod, input.sandbox),
            "cgroupsPath": pod_cgroup(input.pod).join(input.id),
            "resources": container_limits(input, is_privileged),
            "seccomp": filter,
            "devices": devices,
            "maskedPaths": masked,
            "readonlyPaths": readonly,
            "rootfsPropagation": mounts::propagation(input.container),
        },
    }))
}

/// `linux.cgroupsPath` of the pod, below which each container has a directory named by its id:
/// where the kubelet's cgroupfs driver has it.
pub fn pod_cgroup(pod: &Pod) -> PathBuf {
    let class = match resources::qos(pod) {
        Qos::Guaranteed => "",
        Qos::Burstable => "burstable",
        Qos::BestEffort => "besteffort",
    };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    Path::new("/kubepods").join(class).join(format!("pod{uid}"))
}

/// The limits of the pod's own cgroup, which hold for all of its containers together.
pub fn pod_resources(pod: &Pod) -> Result<LinuxResources> {
    from_json(limits(&resources::pod(pod)))
}

/// The typed form of what reads like the file itself.
pub(super) fn from_json<T: DeserializeOwned>(value: Value) -> Result<T> {
    let decoded = serde_json::from_value(value);
    decoded.map_err(|error| Error::new(Kind::Bug, error.to_string()).doing("write config.json"))
}

/// Where the container's own namespaces are, and which are the sandbox's.
fn namespaces(pod: &Pod, sandbox: &Sandbox<'_>) -> Vec<Value> {
    let of = |file: &str| format!("/proc/{}/ns/{file}", sandbox.pid);
    let mut namespaces = vec![json!({"type": "mount"}), json!({"type": "cgroup"})];
    if !names::is_on_host_ipc(pod) {
        namespaces.push(json!({"type": "ipc", "path": of("ipc")}));
    }
    // A pod on the host's network has the host's name too.
    if !names::is_on_host_network(pod) {
        namespaces.push(json!({"type": "uts", "path": of("uts")}));
        namespaces.push(json!({"type": "network", "path": of("net")}));
    }
    if names::shares_processes(pod) {
        namespaces.push(json!({"type": "pid", "path": of("pid")}));
    } else if let Some(target) = sandbox.target {
        namespaces.push(json!({"type": "pid", "path": format!("/proc/{target}/ns/pid")}));
    } else if !names::sees_host_processes(pod) {
        namespaces.push(json!({"type": "pid"}));
    }
    namespaces
}

fn limits(limits: &Limits) -> Value {
    let mut cpu = json!({"shares": limits.shares});
    if let Some(quota) = limits.quota {
        cpu = json!({"shares": limits.shares, "quota": quota, "period": resources::PERIOD});
    }
    let memory = limits.memory.map_or(json!({}), |bytes| json!({"limit": bytes}));
    json!({"cpu": cpu, "memory": memory})
}

/// `linux.resources` of a container; the runtime itself allows the default devices.
fn container_limits(input: &Input<'_>, all_devices: bool) -> Value {
    let given = resources::container(input.pod, input.container);
    let mut resources = limits(&given);
    let asked = resources::huge_pages(input.container);
    let page = |size: &String| {
        let limit = asked.iter().find(|(asked, _)| asked == size).map_or(0, |(_, limit)| *limit);
        json!({"pageSize": size, "limit": limit})
    };
    // Without the controller nobody keeps a container to its pages, as under containerd.
    if !input.machine.huge_pages.is_empty() {
        resources["hugepageLimits"] = input.machine.huge_pages.iter().map(page).collect();
    }
    if input.machine.unified {
        // Out of memory, a container dies as a whole.
        resources["unified"] = json!({"memory.oom.group": "1"});
        // No swap beyond the limit (the kubelet's NoSwap); v1 cannot tell whether it counts swap.
        if let Some(bytes) = given.memory {
            resources["memory"]["swap"] = json!(bytes);
        }
    }
    resources["devices"] = json!([{"allow": all_devices, "access": "rwm"}]);
    resources
}

/// What tools know a pod's containers by. The pod's own annotations stay out: runtimes take
/// orders from theirs (CVE-2024-3154).
fn annotations(input: &Input<'_>) -> BTreeMap<&'static str, String> {
    let metadata = &input.pod.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    BTreeMap::from([
        ("io.kubernetes.cri.container-type", "container".into()),
        ("io.kubernetes.cri.container-name", input.container.name.clone()),
        ("io.kubernetes.cri.image-name", text(&input.container.image)),
        ("io.kubernetes.cri.sandbox-id", input.sandbox.id.into()),
        ("io.kubernetes.cri.sandbox-name", text(&metadata.name)),
        ("io.kubernetes.cri.sandbox-namespace", text(&metadata.namespace)),
        ("io.kubernetes.cri.sandbox-uid", text(&metadata.uid)),
        ("io.kubernetes.container.name", input.container.name.clone()),
        ("io.kubernetes.container.restartCount", input.attempt.to_string()),
        ("io.kubernetes.pod.name", text(&metadata.name)),
        ("io.kubernetes.pod.namespace", text(&metadata.namespace)),
        ("io.kubernetes.pod.uid", text(&metadata.uid)),
    ])
}
