//! Eviction by the pod's own limits on local storage: `sizeLimit` of an emptyDir on disk, and the
//! containers' limits of `ephemeral-storage` (kubelet `eviction_manager.go`,
//! `localStorageEviction`). Pods that have such a limit are measured every 10 s, others never. A
//! volume in memory cannot outgrow its limit: it is the size of its file system.

use super::action::{Action, EventKind};
use super::machine::Turn;
use super::restart::later;
use super::state::{Failure, PodState, SandboxStep};
use crate::kube::quantity::{Quantity, ZERO};
use crate::kube::{Pod, resources, roster};
use k8s_openapi::api::core::v1::{Container, Volume};
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `status.reason` of an evicted pod.
pub const REASON: &str = "Evicted";
/// Seconds that an evicted container has, as the kubelet's immediate evictions.
pub const GRACE: i64 = 1;
/// Seconds between two measurements: the kubelet's housekeeping.
const PERIOD: i64 = 10;
/// `spec.priority` from which on a pod is critical, and not evicted.
const CRITICAL: i32 = 2_000_000_000;
const STORAGE: &str = "ephemeral-storage";

/// When the pod is measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watch {
    /// When next; `None` if nothing limits it.
    pub due: Option<Timestamp>,
    /// `Measure` is under way.
    pub pending: bool,
}

/// Bytes on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of each volume that counts ([`counts`]).
    pub volumes: BTreeMap<String, u64>,
    /// Of each container's writable layer and logs.
    pub containers: BTreeMap<String, u64>,
    /// Of what else its containers may write: `/etc/hosts` and their termination messages.
    pub files: u64,
}

/// Whether a volume is on the node's disk, and the pod's own.
pub fn counts(volume: &Volume) -> bool {
    let is_on_disk = volume
        .empty_dir
        .as_ref()
        .is_some_and(|dir| dir.medium.as_deref().is_none_or(str::is_empty));
    is_on_disk || volume.config_map.is_some()
}

/// Has a pod with limits measured when it is time.
pub(super) fn ask(turn: &mut Turn<'_>, state: &mut PodState) {
    let lives = state.sandbox.step == SandboxStep::Ready && !state.is_ending();
    if !lives || state.storage.pending || !is_limited(turn.pod) {
        return;
    }
    let due = *state.storage.due.get_or_insert_with(|| later(turn.now, PERIOD));
    if due <= turn.now {
        state.storage = Watch { due: Some(later(turn.now, PERIOD)), pending: true };
        turn.actions.push(Action::Measure);
    }
}

/// When the pod is to be measured next.
pub fn deadline(state: &PodState) -> Option<Timestamp> {
    let lives = state.sandbox.step == SandboxStep::Ready && !state.is_ending();
    state.storage.due.filter(|_| lives && !state.storage.pending)
}

/// Takes a measurement in: a pod that uses more than it may has failed.
pub(super) fn measured(turn: &mut Turn<'_>, state: &mut PodState, usage: &Usage) {
    state.storage.pending = false;
    if state.is_ending() {
        return;
    }
    if let Some(message) = excess(turn.pod, usage) {
        turn.record(EventKind::Warning, REASON, message.clone(), None);
        state.failure = Some(Failure { reason: REASON.into(), message, rejected: false });
    }
}

fn is_limited(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let class = spec.priority_class_name.as_deref().unwrap_or_default();
    let is_critical = matches!(class, "system-node-critical" | "system-cluster-critical")
        || spec.priority.is_some_and(|priority| priority >= CRITICAL);
    let by_size = || spec.volumes.iter().flatten().any(|it| counts(it) && size_limit(it).is_some());
    !is_critical && (by_size() || resources::total_limit(pod, STORAGE).is_some())
}

fn size_limit(volume: &Volume) -> Option<Quantity> {
    let limit = Quantity::parse(&volume.empty_dir.as_ref()?.size_limit.as_ref()?.0).ok()?;
    Some(limit).filter(|limit| *limit > ZERO)
}

/// What the pod uses too much of, in the kubelet's words: the space at their end is its own.
fn excess(pod: &Pod, usage: &Usage) -> Option<String> {
    let exceeds = |used: u64, limit: Quantity| i128::from(used) > i128::from(limit.value());
    let spec = pod.spec.as_ref()?;
    for volume in spec.volumes.iter().flatten() {
        let used = usage.volumes.get(&volume.name).copied();
        if let (Some(used), Some(limit)) = (used, size_limit(volume))
            && exceeds(used, limit)
        {
            let (name, limit) = (&volume.name, limit.to_string());
            return Some(format!(
                "Usage of EmptyDir volume {name:?} exceeds the limit {limit:?}. "
            ));
        }
    }
    let parts = usage.volumes.values().chain(usage.containers.values());
    let total = parts.sum::<u64>() + usage.files;
    if let Some(limit) = resources::total_limit(pod, STORAGE).filter(|it| exceeds(total, *it)) {
        let story = "Pod ephemeral local storage usage exceeds the total limit of containers";
        return Some(format!("{story} {limit}. "));
    }
    let of = |container: &Container| {
        let limit = resources::own_limit(container, STORAGE)?;
        let used = usage.containers.get(&container.name).copied()?;
        let (name, shown) = (&container.name, limit.to_string());
        let story = format!("Container {name} exceeded its local ephemeral storage limit");
        exceeds(used, limit).then(|| format!("{story} {shown:?}. "))
    };
    roster::all(pod).iter().find_map(|(_, container)| of(container))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_limit_is_judged_by_its_own() {
        let limit = |limit: &str| json!({"limits": {"ephemeral-storage": limit}});
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [
                {"name": "a", "resources": limit("1Mi")},
                {"name": "b", "resources": limit("3Mi")},
            ],
            "volumes": [
                {"name": "cache", "emptyDir": {"sizeLimit": "2Mi"}},
                {"name": "free", "emptyDir": {}},
                {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Ki"}},
            ],
        }}))
        .unwrap();
        assert!(is_limited(&pod));
        let judge_with = |files, volumes: &[(&str, u64)], containers: &[(&str, u64)]| {
            let of = |all: &[(&str, u64)]| {
                all.iter().map(|(name, kib)| ((*name).into(), kib << 10)).collect()
            };
            let usage = Usage { volumes: of(volumes), containers: of(containers), files };
            excess(&pod, &usage).unwrap_or_default()
        };
        let judge = |volumes: &[_], containers: &[_]| judge_with(0, volumes, containers);
        assert_eq!(judge(&[("cache", 2048), ("free", 1024)], &[("a", 1024)]), "");
        let cache = "Usage of EmptyDir volume \"cache\" exceeds the limit \"2Mi\". ";
        assert_eq!(judge(&[("cache", 2049)], &[]), cache);
        let total = "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ";
        assert_eq!(judge(&[("free", 3072)], &[("a", 512), ("b", 513)]), total);
        assert_eq!(judge(&[("free", 3072)], &[("a", 512), ("b", 512)]), "");
        assert_eq!(judge_with(1, &[("free", 3072)], &[("a", 512), ("b", 512)]), total);
        let one = "Container a exceeded its local ephemeral storage limit \"1Mi\". ";
        assert_eq!(judge(&[], &[("a", 1025), ("b", 1025)]), one);
        let free: Pod = serde_json::from_value(json!({"spec": {
            "containers": [{"name": "a"}], "volumes": [{"name": "free", "emptyDir": {}}],
        }}))
        .unwrap();
        assert!(!is_limited(&free), "nobody measures it");
    }
}
