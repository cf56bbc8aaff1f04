//! The columns of `get`, as text in rows; `cli::output` lays them out.

use super::{Pod, duration, status};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;

/// Rows under headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// In capitals.
    pub headers: Vec<String>,
    /// As many cells each as there are headers.
    pub rows: Vec<Vec<String>>,
}

/// Which columns of pods to show.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// `-o wide`.
    pub wide: bool,
    /// `-A`: the namespace first.
    pub namespace: bool,
    /// `-L`: a column for each of these labels.
    pub labels: Vec<String>,
    /// `--show-labels`: all labels last.
    pub all_labels: bool,
}

/// `get pods` at the time `now`.
pub fn pods<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    columns: &Columns,
    now: Timestamp,
) -> Table {
    let mut headers = Vec::new();
    if columns.namespace {
        headers.push("NAMESPACE".to_owned());
    }
    headers.extend(["NAME", "READY", "STATUS", "RESTARTS", "AGE"].map(str::to_owned));
    if columns.wide {
        headers.extend(["IP", "NODE", "NOMINATED NODE", "READINESS GATES"].map(str::to_owned));
    }
    for label in &columns.labels {
        headers.push(label.rsplit('/').next().unwrap_or_default().to_uppercase());
    }
    if columns.all_labels {
        headers.push("LABELS".to_owned());
    }
    let rows = pods.into_iter().map(|pod| pod_row(pod, columns, now)).collect();
    Table { headers, rows }
}

fn pod_row(pod: &Pod, columns: &Columns, now: Timestamp) -> Vec<String> {
    let mut row = Vec::with_capacity(10);
    let metadata = &pod.metadata;
    if columns.namespace {
        row.push(metadata.namespace.clone().unwrap_or_default());
    }
    let summary = status::summary(pod, now);
    row.push(metadata.name.clone().unwrap_or_default());
    row.extend([summary.ready, summary.status, summary.restarts]);
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    row.push(duration::since_or_unknown(created, now));
    if columns.wide {
        let status = pod.status.as_ref();
        row.push(or_none(status.and_then(|status| status.pod_ip.as_deref())));
        row.push(or_none(pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())));
        row.push(or_none(status.and_then(|status| status.nominated_node_name.as_deref())));
        row.push(readiness_gates(pod));
    }
    for label in &columns.labels {
        let value = metadata.labels.as_ref().and_then(|labels| labels.get(label));
        row.push(value.cloned().unwrap_or_default());
    }
    if columns.all_labels {
        row.push(labels(metadata.labels.as_ref()));
    }
    row
}

/// `2/3` gates open.
fn readiness_gates(pod: &Pod) -> String {
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let conditions = || pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let (mut open, mut total) = (0, 0);
    for gate in gates {
        total += 1;
        open +=
            usize::from(conditions().any(|c| c.type_ == gate.condition_type && c.status == "True"));
    }
    if total == 0 { "<none>".to_owned() } else { format!("{open}/{total}") }
}

/// `a=b,c=d`.
pub fn labels(labels: Option<&BTreeMap<String, String>>) -> String {
    let pairs = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}"));
    or_none(Some(&pairs.collect::<Vec<_>>().join(",")))
}

fn or_none(text: Option<&str>) -> String {
    match text {
        None | Some("") => "<none>".to_owned(),
        Some(text) => text.to_owned(),
    }
}
