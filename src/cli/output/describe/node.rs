//! `describe node`: this machine, and what its pods have been promised of it.

use super::{Lines, annotations, time};
use crate::cli::output::tabs;
use crate::kube::quantity::ZERO;
use crate::kube::{Pod, Quantity, duration, roster, table};
use k8s_openapi::api::core::v1::{Container, Node, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;

/// The node with the `pods` that are on it.
pub fn node(node: &Node, pods: &[Pod], now: Timestamp) -> String {
    let metadata = &node.metadata;
    let status = node.status.clone().unwrap_or_default();
    let mut lines = Lines::default();
    lines.add(0, format_args!("Name:\t{}", metadata.name.as_deref().unwrap_or_default()));
    lines.add(0, format_args!("Roles:\t{}", table::roles(node)));
    lines.labels("Labels", metadata.labels.as_ref());
    annotations(&mut lines, metadata.annotations.as_ref());
    if let Some(created) = &metadata.creation_timestamp {
        lines.add(0, format_args!("CreationTimestamp:\t{}", time(created)));
    }
    lines.add(0, "Taints:\t<none>");
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    lines.add(0, format_args!("Unschedulable:\t{cordoned}"));
    conditions(&mut lines, &status);
    lines.add(0, "Addresses:");
    for address in status.addresses.iter().flatten() {
        lines.add(1, format_args!("{}:\t{}", address.type_, address.address));
    }
    for (title, list) in [("Capacity", &status.capacity), ("Allocatable", &status.allocatable)] {
        lines.add(0, format_args!("{title}:"));
        for (name, quantity) in list.iter().flatten() {
            lines.add(1, format_args!("{name}:\t{}", quantity.0));
        }
    }
    if let Some(info) = &status.node_info {
        system(&mut lines, info);
    }
    allocated(&mut lines, &status, pods, now);
    lines.add(0, "Events:\t<none>");
    tabs::align(&lines.0)
}

fn conditions(lines: &mut Lines, status: &NodeStatus) {
    lines.add(0, "Conditions:");
    lines.add(1, "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
    lines.add(1, "----\t------\t-----------------\t------------------\t------\t-------");
    for condition in status.conditions.iter().flatten() {
        let at = |at: &Option<_>| at.as_ref().map_or_else(String::new, time);
        lines.add(
            1,
            format_args!(
                "{} \t{} \t{} \t{} \t{} \t{}",
                condition.type_,
                condition.status,
                at(&condition.last_heartbeat_time),
                at(&condition.last_transition_time),
                condition.reason.as_deref().unwrap_or_default(),
                condition.message.as_deref().unwrap_or_default(),
            ),
        );
    }
}

fn system(lines: &mut Lines, info: &NodeSystemInfo) {
    lines.add(0, "System Info:");
    let facts = [
        ("Machine ID", &info.machine_id),
        ("System UUID", &info.system_uuid),
        ("Boot ID", &info.boot_id),
        ("Kernel Version", &info.kernel_version),
        ("OS Image", &info.os_image),
        ("Operating System", &info.operating_system),
        ("Architecture", &info.architecture),
        ("Container Runtime Version", &info.container_runtime_version),
        ("Kubelet Version", &info.kubelet_version),
        ("Kube-Proxy Version", &String::new()),
    ];
    for (title, value) in facts {
        lines.add(1, format_args!("{title}:\t{value}"));
    }
}

/// Requests and limits of a pod, or the sum of many.
#[derive(Clone, Copy)]
struct Promised {
    requests: Quantity,
    limits: Quantity,
}

fn allocated(lines: &mut Lines, status: &NodeStatus, pods: &[Pod], now: Timestamp) {
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    let ended = |pod: &&Pod| matches!(phase(pod).as_deref(), Some("Failed" | "Succeeded"));
    let pods: Vec<&Pod> = pods.iter().filter(|pod| !ended(pod)).collect();
    let capacity = status.allocatable.clone().unwrap_or_default();
    let cell = |name: &str, quantity: Quantity| {
        let whole = capacity.get(name).and_then(|text| Quantity::parse(&text.0).ok());
        let whole = whole.map_or(0, Quantity::milli);
        let share = i128::from(quantity.milli()) * 100 / i128::from(whole.max(1));
        let share = if whole == 0 { 0 } else { share };
        format!("{} ({share}%)", written(name, quantity))
    };
    lines.add(0, format_args!("Non-terminated Pods:\t({} in total)", pods.len()));
    lines
        .add(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    lines
        .add(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---");
    for pod in &pods {
        let (cpu, memory) = (promised(pod, "cpu"), promised(pod, "memory"));
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        lines.add(
            1,
            format_args!(
                "{}\t{}\t\t{}\t{}\t{}\t{}\t{}",
                pod.metadata.namespace.as_deref().unwrap_or_default(),
                pod.metadata.name.as_deref().unwrap_or_default(),
                cell("cpu", cpu.requests),
                cell("cpu", cpu.limits),
                cell("memory", memory.requests),
                cell("memory", memory.limits),
                duration::since_or_unknown(created, now),
            ),
        );
    }
    lines.add(0, "Allocated resources:");
    lines.add(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    lines.add(1, "Resource\tRequests\tLimits");
    lines.add(1, "--------\t--------\t------");
    for name in ["cpu", "memory", "ephemeral-storage"] {
        let all: Vec<Promised> = pods.iter().map(|pod| promised(pod, name)).collect();
        let requests = all.iter().map(|promised| promised.requests).sum();
        let limits = all.iter().map(|promised| promised.limits).sum();
        lines.add(1, format_args!("{name}\t{}\t{}", cell(name, requests), cell(name, limits)));
    }
}

/// What a pod may need at once: its containers and sidecars together, or one init container.
fn promised(pod: &Pod, name: &str) -> Promised {
    let all = roster::all(pod);
    let sum = |list: fn(&Container) -> Option<&BTreeMap<String, Text>>| {
        let of = |container: &Container| {
            let text = list(container).and_then(|list| list.get(name));
            text.and_then(|text| Quantity::parse(&text.0).ok()).unwrap_or(ZERO)
        };
        let is_init = |role: roster::Role| role == roster::Role::Init;
        let running = all.iter().filter(|(role, _)| !is_init(*role)).map(|(_, it)| of(it)).sum();
        let init = all.iter().filter(|(role, _)| is_init(*role)).map(|(_, it)| of(it)).max();
        init.map_or(running, |init: Quantity| init.max(running))
    };
    Promised {
        requests: sum(|container| container.resources.as_ref()?.requests.as_ref()),
        limits: sum(|container| container.resources.as_ref()?.limits.as_ref()),
    }
}

/// `250m`, `128Mi`.
fn written(name: &str, quantity: Quantity) -> String {
    if name == "cpu" {
        return match quantity.milli() {
            whole if whole % 1000 == 0 => (whole / 1000).to_string(),
            milli => format!("{milli}m"),
        };
    }
    let bytes = quantity.value();
    let units = [("Gi", 30), ("Mi", 20), ("Ki", 10)];
    match units.iter().find(|(_, shift)| bytes != 0 && bytes % (1 << shift) == 0) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}
