//! Objects as text, exactly as kubectl's printers write them. Pure: returns text, prints nothing.

pub mod describe;
pub mod json;
pub mod table;
mod tabs;
pub mod yaml;

use crate::error::{Error, Kind, Result};
use crate::kube::{Object, Pod};
use serde_json::{Value, json};

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Columns.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// Whole objects.
    Json,
    /// Whole objects.
    Yaml,
    /// `pod/web`.
    Name,
}

/// Formats of kubectl that are still to come.
const LATER: [&str; 8] = [
    "custom-columns",
    "custom-columns-file",
    "go-template",
    "go-template-file",
    "jsonpath",
    "jsonpath-as-json",
    "jsonpath-file",
    "template",
];

impl Format {
    /// Reads the value of `-o`; none is the plain table.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        let text = text.unwrap_or_default();
        match text {
            "" => Ok(Format::Table),
            "wide" => Ok(Format::Wide),
            "json" => Ok(Format::Json),
            "yaml" => Ok(Format::Yaml),
            "name" => Ok(Format::Name),
            _ if LATER.contains(&text.split('=').next().unwrap_or_default()) => {
                Err(Error::user(format!("output format \"{text}\": not supported by runp yet"))
                    .hint("use json, yaml, name or wide"))
            }
            _ => Err(Error::user(format!(
                "unable to match a printer suitable for the output format \"{text}\", allowed \
                 formats are: json,name,wide,yaml"
            ))),
        }
    }
}

/// Whether one object was asked for by name, or what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `get pod web`: the object itself.
    One,
    /// Several names, or none: a List, whatever is found.
    Many,
}

/// Objects of any kind in one of the formats that show them whole, or their names.
pub fn objects(objects: &[Object], format: Format, asked: Asked) -> Result<String> {
    if format == Format::Name {
        let name = |one: &Object| format!("{}/{}\n", one.resource().singular(), one.name());
        return Ok(objects.iter().map(name).collect());
    }
    let value = |one: &Object| match one {
        Object::Pod(pod) => object(pod),
        other => other.to_value(),
    };
    whole(objects.iter().map(value).collect::<Result<_>>()?, format, asked)
}

/// `pods` in one of the formats that show whole objects, or their names.
pub fn pods(pods: &[Pod], format: Format, asked: Asked) -> Result<String> {
    if format == Format::Name {
        let name = |pod: &Pod| format!("pod/{}\n", pod.metadata.name.as_deref().unwrap_or(""));
        return Ok(pods.iter().map(name).collect());
    }
    whole(pods.iter().map(object).collect::<Result<_>>()?, format, asked)
}

fn whole(mut values: Vec<Value>, format: Format, asked: Asked) -> Result<String> {
    let value = match (asked, values.as_mut_slice()) {
        (Asked::One, [only]) => only.take(),
        _ => {
            let mut list =
                json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}});
            // Not through json!, which would copy every pod.
            list["items"] = Value::Array(values);
            list
        }
    };
    Ok(if format == Format::Yaml { yaml::document(&value) } else { json::document(&value) })
}

/// A pod as the API server would send it: what the types leave out and Go does not, included.
fn object(pod: &Pod) -> Result<Value> {
    let mut value = serde_json::to_value(pod)
        .map_err(|error| Error::new(Kind::Bug, format!("pod into JSON: {error}")))?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let containers = value.pointer_mut("/spec/containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
        container.entry("resources").or_insert_with(|| json!({}));
    }
    let conditions = value.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        condition.entry("lastProbeTime").or_insert(Value::Null);
    }
    let statuses = value.pointer_mut("/status/containerStatuses").and_then(Value::as_array_mut);
    for status in statuses.into_iter().flatten().filter_map(Value::as_object_mut) {
        status.entry("state").or_insert_with(|| json!({}));
        status.entry("lastState").or_insert_with(|| json!({}));
    }
    if let Some(pod) = value.as_object_mut() {
        pod.entry("status").or_insert_with(|| json!({}));
    }
    Ok(value)
}

/// What kubectl says on stderr instead of an empty table; `None` for all namespaces.
pub fn none_found(namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("No resources found in {namespace} namespace."),
        None => "No resources found".to_owned(),
    }
}

#[cfg(test)]
mod tests;
