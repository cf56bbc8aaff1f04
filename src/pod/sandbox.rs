//! The sandbox's bundle: pause, which holds the pod's namespaces and its host name.

use super::translate::names::{self, is_on_host_network, shares_processes};
use super::translate::{Machine, OCI_VERSION, from_json, pod_cgroup};
use crate::error::Result;
use crate::kube::Pod;
use crate::kube::resources::SANDBOX_OOM_SCORE_ADJ;
use oci_spec::runtime::Spec;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// The program of the sandbox; stands as `/pause` in its bundle's root file system.
pub const PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// config.json of the sandbox `id`. `rootfs` is a directory that holds [`PAUSE`] as `pause`; its
/// owner may share it between pods, nothing is written to it.
///
/// Pause needs nothing: no capability, no environment (each byte of which costs every pod a page), no
/// mount but a `/proc` where other processes live in its pid namespace, and a `/dev` in memory for
/// the devices that every container has to have: the dozen files cost more to make on a disk.
pub fn spec(pod: &Pod, id: &str, rootfs: &Path, machine: &Machine) -> Result<Spec> {
    let mut namespaces = vec![json!({"type": "mount"}), json!({"type": "ipc"})];
    let options = ["nosuid", "noexec", "mode=755", "size=64k"];
    let mut mounts = vec![json!({
        "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": options,
    })];
    if !is_on_host_network(pod) {
        namespaces.push(json!({"type": "uts"}));
        namespaces.push(json!({"type": "network"}));
    }
    namespaces.push(json!({"type": "pid"}));
    if shares_processes(pod) {
        let options = ["nosuid", "noexec", "nodev"];
        mounts.push(json!({
            "destination": "/proc", "type": "proc", "source": "proc", "options": options,
        }));
    }
    let hostname = match is_on_host_network(pod) {
        true => None,
        false => Some(names::kernel_hostname(pod)?),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    from_json(json!({
        "ociVersion": OCI_VERSION,
        "process": {
            "user": {"uid": 65535, "gid": 65535},
            "args": ["/pause"],
            "env": [],
            "cwd": "/",
            "capabilities": {},
            "noNewPrivileges": true,
            "oomScoreAdj": SANDBOX_OOM_SCORE_ADJ.max(machine.least_oom_score_adj),
        },
        "root": {"path": rootfs, "readonly": true},
        "hostname": hostname,
        "mounts": mounts,
        "annotations": {
            "io.kubernetes.cri.container-type": "sandbox",
            "io.kubernetes.cri.sandbox-id": id,
            "io.kubernetes.cri.sandbox-name": text(&pod.metadata.name),
            "io.kubernetes.cri.sandbox-namespace": text(&pod.metadata.namespace),
            "io.kubernetes.cri.sandbox-uid": text(&pod.metadata.uid),
            "io.kubernetes.pod.name": text(&pod.metadata.name),
            "io.kubernetes.pod.namespace": text(&pod.metadata.namespace),
            "io.kubernetes.pod.uid": text(&pod.metadata.uid),
        },
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": pod_cgroup(pod).join(id),
            "resources": {
                "cpu": {"shares": 2},
                "devices": [{"allow": false, "access": "rwm"}],
            },
            "sysctl": sysctls(pod),
        },
    }))
}

/// The pod's sysctls, by the names that `/proc/sys` has.
fn sysctls(pod: &Pod) -> BTreeMap<String, String> {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let sysctls = context.iter().flat_map(|context| context.sysctls.iter().flatten());
    sysctls.map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone())).collect()
}
