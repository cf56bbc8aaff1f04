//! `describe`, line for line as kubectl writes it (`kubectl/pkg/describe`).

mod containers;
mod events;
mod node;
mod objects;
mod paint;
mod volumes;

pub use containers::resource;
pub use node::node;
pub use objects::{config_map, generic, namespace, secret};
pub use paint::painted;

use super::tabs;
use crate::kube::{Pod, duration, resources, roster};
use k8s_openapi::api::core::v1::{Container, Event, PodSpec, PodStatus, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;

/// The longest annotation that stands beside its key.
const MAX_ANNOTATION: usize = 140;
/// What apply remembers for itself.
const HIDDEN: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// `pod` with what happened to it if that is asked for, at the time `now`.
pub fn pod(pod: &Pod, events: Option<&Vec<Event>>, now: Timestamp) -> String {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let mut lines = Lines::default();
    identity(&mut lines, &pod.metadata, spec, status);
    state(&mut lines, pod, status, now);
    if let Some(init) = spec.init_containers.as_deref().filter(|init| !init.is_empty()) {
        let statuses = status.init_container_statuses.as_deref().unwrap_or_default();
        containers::write(&mut lines, "Init Containers", pod, (init, statuses));
    }
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    containers::write(&mut lines, "Containers", pod, (&spec.containers, statuses));
    let ephemeral: Vec<Container> =
        spec.ephemeral_containers.iter().flatten().map(roster::of_ephemeral).collect();
    if !ephemeral.is_empty() {
        let statuses = status.ephemeral_container_statuses.as_deref().unwrap_or_default();
        containers::write(&mut lines, "Ephemeral Containers", pod, (&ephemeral, statuses));
    }
    readiness_gates(&mut lines, spec, status);
    conditions(&mut lines, status);
    volumes::write(&mut lines, spec.volumes.as_deref().unwrap_or_default());
    lines.add(0, format_args!("QoS Class:\t{}", resources::qos(pod)));
    lines.labels("Node-Selectors", spec.node_selector.as_ref());
    tolerations(&mut lines, spec.tolerations.as_deref().unwrap_or_default());
    if let Some(events) = events {
        events::write(&mut lines, events, now);
    }
    tabs::align(&lines.0)
}

/// Lines with tabs between their cells.
#[derive(Default)]
struct Lines(String);

impl Lines {
    /// A line, two spaces in for each level.
    fn add(&mut self, level: usize, line: impl std::fmt::Display) {
        let line = format!("{line}");
        self.0.push_str(&"  ".repeat(level));
        // Text of the pod cannot speak to the terminal.
        self.0.push_str(&line.replace('\u{1b}', "^[").replace('\r', "\\r"));
        self.0.push('\n');
    }

    /// `title: <first>` with the others under the first.
    fn several(&mut self, title: &str, values: impl IntoIterator<Item = String>) {
        let mut values = values.into_iter();
        let first = values.next().unwrap_or_else(|| "<none>".to_owned());
        self.add(0, format_args!("{title}:\t{first}"));
        for value in values {
            self.add(0, format_args!("\t{value}"));
        }
    }

    fn labels(&mut self, title: &str, labels: Option<&BTreeMap<String, String>>) {
        let labels = labels.into_iter().flatten();
        self.several(title, labels.map(|(key, value)| format!("{key}={value}")));
    }
}

fn identity(lines: &mut Lines, metadata: &ObjectMeta, spec: &PodSpec, status: &PodStatus) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    lines.add(0, format_args!("Name:\t{}", text(&metadata.name)));
    lines.add(0, format_args!("Namespace:\t{}", text(&metadata.namespace)));
    if let Some(priority) = spec.priority {
        lines.add(0, format_args!("Priority:\t{priority}"));
    }
    let optional = [
        ("Priority Class Name", &spec.priority_class_name),
        ("Runtime Class Name", &spec.runtime_class_name),
        ("Service Account", &spec.service_account_name),
    ];
    for (title, value) in optional {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            lines.add(0, format_args!("{title}:\t{value}"));
        }
    }
    match spec.node_name.as_deref() {
        None | Some("") => lines.add(0, "Node:\t<none>"),
        Some(node) => lines.add(0, format_args!("Node:\t{node}/{}", text(&status.host_ip))),
    }
    if let Some(start) = &status.start_time {
        lines.add(0, format_args!("Start Time:\t{}", time(start)));
    }
    lines.labels("Labels", metadata.labels.as_ref());
    annotations(lines, metadata.annotations.as_ref());
}

fn annotations(lines: &mut Lines, annotations: Option<&BTreeMap<String, String>>) {
    let mut values = Vec::new();
    for (key, value) in annotations.into_iter().flatten().filter(|(key, _)| *key != HIDDEN) {
        let value = value.strip_suffix('\n').unwrap_or(value);
        if value.len() + key.len() + 2 <= MAX_ANNOTATION && !value.contains('\n') {
            values.push(format!("{key}: {value}"));
            continue;
        }
        values.push(format!("{key}:"));
        values.extend(value.split('\n').map(|line| match cut(line, MAX_ANNOTATION - 2) {
            short if short.len() < line.len() => format!("  {short}..."),
            whole => format!("  {whole}"),
        }));
    }
    lines.several("Annotations", values);
}

/// The first `length` bytes of `text`, or one character less.
fn cut(text: &str, length: usize) -> &str {
    let end = (0..=length.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

fn state(lines: &mut Lines, pod: &Pod, status: &PodStatus, now: Timestamp) {
    let phase = status.phase.as_deref().unwrap_or_default();
    match &pod.metadata.deletion_timestamp {
        Some(since) if !matches!(phase, "Failed" | "Succeeded") => {
            let lasts = duration::since(since.0, now);
            lines.add(0, format_args!("Status:\tTerminating (lasts {lasts})"));
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
            lines.add(0, format_args!("Termination Grace Period:\t{grace}s"));
        }
        _ => lines.add(0, format_args!("Status:\t{phase}")),
    }
    let spec = pod.spec.as_ref();
    let seccomp = spec.and_then(|spec| spec.security_context.as_ref()?.seccomp_profile.as_ref());
    let optional = [
        ("Reason", status.reason.as_deref()),
        ("Message", status.message.as_deref()),
        ("SeccompProfile", seccomp.map(|profile| profile.type_.as_str())),
        ("LocalhostProfile", seccomp.and_then(|profile| profile.localhost_profile.as_deref())),
    ];
    for (title, value) in optional {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.add(0, format_args!("{title}:\t{value}"));
        }
    }
    lines.add(0, format_args!("IP:\t{}", status.pod_ip.as_deref().unwrap_or_default()));
    match status.pod_ips.as_deref().unwrap_or_default() {
        [] => lines.add(0, "IPs:\t<none>"),
        ips => {
            lines.add(0, "IPs:");
            for ip in ips {
                lines.add(1, format_args!("IP:\t{}", ip.ip));
            }
        }
    }
    let owners = pod.metadata.owner_references.iter().flatten();
    if let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) {
        lines.add(0, format_args!("Controlled By:\t{}/{}", owner.kind, owner.name));
    }
    if let Some(node) = status.nominated_node_name.as_deref().filter(|node| !node.is_empty()) {
        lines.add(0, format_args!("NominatedNodeName:\t{node}"));
    }
}

fn readiness_gates(lines: &mut Lines, spec: &PodSpec, status: &PodStatus) {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if !gates.is_empty() {
        lines.add(0, "Readiness Gates:");
        lines.add(1, "Type\tStatus");
    }
    for gate in gates {
        let mut conditions = status.conditions.iter().flatten();
        let met = conditions.find(|condition| condition.type_ == gate.condition_type);
        let met = met.map_or("<none>", |condition| condition.status.as_str());
        lines.add(1, format_args!("{} \t{met} ", gate.condition_type));
    }
}

fn conditions(lines: &mut Lines, status: &PodStatus) {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    if conditions.is_empty() {
        return;
    }
    lines.add(0, "Conditions:");
    lines.add(1, "Type\tStatus");
    for condition in conditions {
        lines.add(1, format_args!("{} \t{} ", condition.type_, condition.status));
    }
}

fn tolerations(lines: &mut Lines, tolerations: &[Toleration]) {
    let mut sorted: Vec<&Toleration> = tolerations.iter().collect();
    sorted.sort_by_key(|toleration| toleration.key.as_deref().unwrap_or_default());
    lines.several("Tolerations", sorted.into_iter().map(toleration));
}

fn toleration(toleration: &Toleration) -> String {
    let mut text = toleration.key.clone().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    if !value.is_empty() {
        text += &format!("={value}");
    }
    if let Some(effect) = toleration.effect.as_deref().filter(|effect| !effect.is_empty()) {
        text += &format!(":{effect}");
    }
    if toleration.operator.as_deref() == Some("Exists") && value.is_empty() {
        text += if text.is_empty() { "op=Exists" } else { " op=Exists" };
    }
    if let Some(seconds) = toleration.toleration_seconds {
        text += &format!(" for {seconds}s");
    }
    text
}

/// RFC 1123 with the zone as a number.
fn time(time: &Time) -> String {
    time.0.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}
