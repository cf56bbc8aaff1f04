//! The columns of `get`, as text in rows; `cli::output` lays them out. They are those of the API
//! server's own printers (`pkg/printers/internalversion`).

use super::{Object, Pod, Resource, duration, status};
use k8s_openapi::api::core::v1::{Event, EventSource, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
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

/// Which columns to show.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// `-o wide`.
    pub wide: bool,
    /// `-A`: the namespace first.
    pub namespace: bool,
    /// Several kinds are shown: `pod/web`, not `web`.
    pub with_kind: bool,
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
    let row = |pod| framed(pod_cells(pod, columns, now), Resource::Pods, &pod.metadata, columns);
    Table { headers: headers(Resource::Pods, columns), rows: pods.into_iter().map(row).collect() }
}

/// The row of one object.
pub fn row(object: &Object, columns: &Columns, now: Timestamp) -> Vec<String> {
    framed(cells(object, columns, now), object.resource(), object.metadata(), columns)
}

/// `get` of objects of one kind at the time `now`.
pub fn objects<'a>(
    resource: Resource,
    objects: impl IntoIterator<Item = &'a Object>,
    columns: &Columns,
    now: Timestamp,
) -> Table {
    let rows = objects.into_iter().map(|object| row(object, columns, now));
    Table { headers: headers(resource, columns), rows: rows.collect() }
}

/// The headers of a kind's table.
pub fn headers(resource: Resource, columns: &Columns) -> Vec<String> {
    let mut headers = Vec::with_capacity(12);
    if columns.namespace && resource.namespaced() {
        headers.push("NAMESPACE");
    }
    match (resource, columns.wide) {
        (Resource::ConfigMaps, _) => headers.extend(["NAME", "DATA", "AGE"]),
        (Resource::Events, false) => {
            headers.extend(["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]);
        }
        (Resource::Events, true) => {
            headers.extend(["LAST SEEN", "TYPE", "REASON", "OBJECT", "SUBOBJECT", "SOURCE"]);
            headers.extend(["MESSAGE", "FIRST SEEN", "COUNT", "NAME"]);
        }
        (Resource::Namespaces, _) => headers.extend(["NAME", "STATUS", "AGE"]),
        (Resource::Nodes, wide) => {
            headers.extend(["NAME", "STATUS", "ROLES", "AGE", "VERSION"]);
            if wide {
                headers.extend(["INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION"]);
                headers.push("CONTAINER-RUNTIME");
            }
        }
        (Resource::Pods, wide) => {
            headers.extend(["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
            if wide {
                headers.extend(["IP", "NODE", "NOMINATED NODE", "READINESS GATES"]);
            }
        }
        (Resource::Secrets, _) => headers.extend(["NAME", "TYPE", "DATA", "AGE"]),
    }
    let mut headers: Vec<String> = headers.into_iter().map(str::to_owned).collect();
    for label in &columns.labels {
        headers.push(label.rsplit('/').next().unwrap_or_default().to_uppercase());
    }
    if columns.all_labels {
        headers.push("LABELS".to_owned());
    }
    headers
}

/// A row with what every kind can have before and after its own columns.
fn framed(
    cells: Vec<String>,
    resource: Resource,
    metadata: &ObjectMeta,
    columns: &Columns,
) -> Vec<String> {
    let mut row = cells;
    if columns.with_kind
        && resource != Resource::Events
        && let Some(name) = row.first_mut()
    {
        *name = format!("{}/{name}", resource.singular());
    }
    if columns.namespace && resource.namespaced() {
        row.insert(0, metadata.namespace.clone().unwrap_or_default());
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

fn cells(object: &Object, columns: &Columns, now: Timestamp) -> Vec<String> {
    let metadata = object.metadata();
    let name = metadata.name.clone().unwrap_or_default();
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    let age = duration::since_or_unknown(created, now);
    match object {
        Object::ConfigMap(map) => {
            let data = map.data.as_ref().map_or(0, BTreeMap::len);
            let binary = map.binary_data.as_ref().map_or(0, BTreeMap::len);
            vec![name, (data + binary).to_string(), age]
        }
        Object::Event(event) => event_cells(event, columns.wide, now),
        Object::Namespace(namespace) => {
            let phase = namespace.status.as_ref().and_then(|status| status.phase.clone());
            vec![name, phase.unwrap_or_default(), age]
        }
        Object::Node(node) => node_cells(node, columns.wide, age),
        Object::Pod(pod) => pod_cells(pod, columns, now),
        Object::Secret(secret) => {
            let data = secret.data.as_ref().map_or(0, BTreeMap::len);
            vec![name, secret.type_.clone().unwrap_or_default(), data.to_string(), age]
        }
    }
}

fn pod_cells(pod: &Pod, columns: &Columns, now: Timestamp) -> Vec<String> {
    let mut row = Vec::with_capacity(11);
    let metadata = &pod.metadata;
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

fn event_cells(event: &Event, wide: bool, now: Timestamp) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let first = event.first_timestamp.as_ref().map(|time| time.0);
    let first = first.or(event.event_time.as_ref().map(|time| time.0));
    let last = event.last_timestamp.as_ref().map(|time| time.0).or(first);
    let mut row = vec![duration::since_or_unknown(last, now), text(&event.type_)];
    row.extend([text(&event.reason), involved(event)]);
    let message = text(&event.message).trim().to_owned();
    if !wide {
        row.push(message);
        return row;
    }
    row.extend([text(&event.involved_object.field_path), source(event), message]);
    row.push(duration::since_or_unknown(first, now));
    row.extend([event.count.unwrap_or(1).to_string(), text(&event.metadata.name)]);
    row
}

/// `pod/web`: what an event is about.
pub fn involved(event: &Event) -> String {
    let kind = event.involved_object.kind.as_deref().unwrap_or_default().to_lowercase();
    match event.involved_object.name.as_deref() {
        None | Some("") => kind,
        Some(name) => format!("{kind}/{name}"),
    }
}

/// `kubelet, node1`.
fn source(event: &Event) -> String {
    let EventSource { component, host } = event.source.clone().unwrap_or_default();
    let component = component.filter(|component| !component.is_empty());
    let component = component.or_else(|| event.reporting_component.clone()).unwrap_or_default();
    match host.filter(|host| !host.is_empty()) {
        Some(host) => format!("{component}, {host}"),
        None => component,
    }
}

fn node_cells(node: &Node, wide: bool, age: String) -> Vec<String> {
    let status = node.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let word = match ready.map(|condition| condition.status.as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let name = node.metadata.name.clone().unwrap_or_default();
    let info = status.node_info.unwrap_or_default();
    let mut row = vec![name, word.to_owned(), roles(node), age, info.kubelet_version];
    if wide {
        let addresses = status.addresses.unwrap_or_default();
        for kind in ["InternalIP", "ExternalIP"] {
            let address = addresses.iter().find(|address| address.type_ == kind);
            row.push(or_none(address.map(|address| address.address.as_str())));
        }
        row.extend([info.os_image, info.kernel_version, info.container_runtime_version]);
    }
    row
}

/// `control-plane,worker`: the ends of the labels that say so.
pub fn roles(node: &Node) -> String {
    let labels = node.metadata.labels.iter().flatten();
    let roles = labels.filter_map(|(key, value)| match key.as_str() {
        "kubernetes.io/role" => Some(value.as_str()),
        key => key.strip_prefix("node-role.kubernetes.io/"),
    });
    or_none(Some(&roles.filter(|role| !role.is_empty()).collect::<Vec<_>>().join(",")))
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
