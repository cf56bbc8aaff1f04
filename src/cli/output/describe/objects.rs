//! `describe` of config maps, secrets, namespaces and events.

use super::{Lines, annotations, events};
use crate::cli::output::tabs;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

fn head(metadata: &ObjectMeta) -> Lines {
    let mut lines = Lines::default();
    lines.add(0, format_args!("Name:\t{}", metadata.name.as_deref().unwrap_or_default()));
    if let Some(namespace) = &metadata.namespace {
        lines.add(0, format_args!("Namespace:\t{namespace}"));
    }
    lines.labels("Labels", metadata.labels.as_ref());
    annotations(&mut lines, metadata.annotations.as_ref());
    lines
}

/// A config map, with its values.
pub fn config_map(map: &ConfigMap, found: &[Event], now: Timestamp) -> String {
    let mut lines = head(&map.metadata);
    lines.add(0, "\nData\n====");
    for (key, value) in map.data.iter().flatten() {
        lines.add(0, format_args!("{key}:\n----\n{value}\n"));
    }
    lines.add(0, "\nBinaryData\n====");
    for (key, value) in map.binary_data.iter().flatten() {
        lines.add(0, format_args!("{key}: {} bytes", value.0.len()));
    }
    lines.add(0, "");
    events::write(&mut lines, found, now);
    tabs::align(&lines.0)
}

/// A secret, without its values.
pub fn secret(secret: &Secret) -> String {
    let mut lines = head(&secret.metadata);
    let kind = secret.type_.as_deref().unwrap_or_default();
    lines.add(0, format_args!("\nType:\t{kind}\n\nData\n===="));
    for (key, value) in secret.data.iter().flatten() {
        lines.add(0, format_args!("{key}:\t{} bytes", value.0.len()));
    }
    tabs::align(&lines.0)
}

/// A namespace.
pub fn namespace(namespace: &Namespace) -> String {
    let mut lines = head(&namespace.metadata);
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    lines.add(0, format_args!("Status:\t{}", phase.unwrap_or_default()));
    lines.add(0, "\nNo resource quota.\n\nNo LimitRange resource.");
    tabs::align(&lines.0)
}

/// An event.
pub fn event(event: &Event) -> String {
    let mut lines = head(&event.metadata);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let object = &event.involved_object;
    let component = event.source.as_ref().and_then(|source| source.component.clone());
    let facts = [
        ("Type", text(&event.type_)),
        ("Reason", text(&event.reason)),
        ("Object", format!("{}/{}", text(&object.kind), text(&object.name))),
        ("Field Path", text(&object.field_path)),
        ("From", component.unwrap_or_default()),
        ("Count", event.count.unwrap_or(1).to_string()),
        ("First Seen", event.first_timestamp.as_ref().map_or_else(String::new, super::time)),
        ("Last Seen", event.last_timestamp.as_ref().map_or_else(String::new, super::time)),
        ("Message", text(&event.message).trim().to_owned()),
    ];
    for (title, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        lines.add(0, format_args!("{title}:\t{value}"));
    }
    tabs::align(&lines.0)
}
