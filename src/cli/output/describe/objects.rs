//! `describe` of config maps, secrets, namespaces and events.

use super::{Lines, annotations, events};
use crate::cli::output::tabs;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

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

/// An object whose kind has no words of its own: its fields, by their names.
pub fn generic(metadata: &ObjectMeta, value: &Value) -> String {
    let mut lines = head(metadata);
    let mut rest = value.clone();
    if let Some(metadata) = rest.get_mut("metadata").and_then(Value::as_object_mut) {
        for shown in ["name", "namespace", "labels", "annotations", "managedFields"] {
            metadata.remove(shown);
        }
    }
    fields(&mut lines, 0, &rest);
    lines.add(0, "Events:\t<none>");
    tabs::align(&lines.0)
}

/// The fields of `value`, one level below the other.
fn fields(lines: &mut Lines, level: usize, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let label = label(key);
        match value {
            Value::Object(_) => {
                lines.add(level, format_args!("{label}:"));
                fields(lines, level + 1, value);
            }
            Value::Array(items) => {
                lines.add(level, format_args!("{label}:"));
                for item in items {
                    match item {
                        Value::Object(_) => fields(lines, level + 1, item),
                        item => lines.add(level + 1, format_args!("{}", plain(item))),
                    }
                }
            }
            value => lines.add(level, format_args!("{label}:\t{}", plain(value))),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

/// `firstTimestamp` is `First Timestamp`, and `uid` is `UID`.
fn label(field: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for letter in field.chars() {
        match words.last_mut() {
            Some(word) if !letter.is_uppercase() => word.push(letter),
            None => words.push(letter.to_uppercase().to_string()),
            Some(_) => words.push(letter.to_string()),
        }
    }
    let upper = |word: String| {
        let known = ["API", "URL", "UID", "OSB", "GUID"];
        let upper = word.to_uppercase();
        if known.contains(&upper.as_str()) { upper } else { word }
    };
    words.into_iter().map(upper).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn fields_are_labelled_as_by_kubectl() {
        let cases = [
            ("apiVersion", "API Version"),
            ("uid", "UID"),
            ("firstTimestamp", "First Timestamp"),
            ("reportingComponent", "Reporting Component"),
        ];
        for (field, expected) in cases {
            assert_eq!(super::label(field), expected);
        }
    }
}
