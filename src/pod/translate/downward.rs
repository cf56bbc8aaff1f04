//! The downward API: what a pod's own containers can be told about it, as text.

use super::names;
use crate::error::{Error, Result};
use crate::kube::quantity::{Quantity, ZERO};
use crate::kube::{Pod, resources, roster};
use k8s_openapi::api::core::v1::{Container, ResourceFieldSelector};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The node, as far as containers are told about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its address.
    pub ip: String,
    /// Processors.
    pub cpus: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of the file system that the pods are on.
    pub storage: u64,
}

/// What a `fieldRef` comes to. `ip` is the pod's address, where it has one.
pub fn field(pod: &Pod, path: &str, ip: Option<&str>, node: &Node) -> Result<String> {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => metadata.labels.as_ref(),
            "metadata.annotations" => metadata.annotations.as_ref(),
            _ => return Err(unsupported(path)),
        };
        return Ok(text(map.and_then(|map| map.get(key))));
    }
    Ok(match path {
        "metadata.name" => text(metadata.name.as_ref()),
        "metadata.namespace" => text(metadata.namespace.as_ref()),
        "metadata.uid" => text(metadata.uid.as_ref()),
        "metadata.labels" => map_text(metadata.labels.as_ref()),
        "metadata.annotations" => map_text(metadata.annotations.as_ref()),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" | "status.hostIPs" => node.ip.clone(),
        "status.podIP" | "status.podIPs" if names::is_on_host_network(pod) => node.ip.clone(),
        "status.podIP" | "status.podIPs" => ip.unwrap_or_default().to_owned(),
        _ => return Err(unsupported(path)),
    })
}

fn unsupported(path: &str) -> Error {
    Error::user(format!("unsupported fieldPath: {path}"))
}

/// `key="value"` lines, the values quoted as Go does, without a newline at the end.
fn map_text(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Go's `%q`.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        // Writing to a String cannot fail.
        let written = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\u{7}' => write!(out, "\\a"),
            '\u{8}' => write!(out, "\\b"),
            '\u{c}' => write!(out, "\\f"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\u{b}' => write!(out, "\\v"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => write!(out, "\\x{:02x}", c as u32),
            c if c.is_control() => write!(out, "\\u{:04x}", c as u32),
            c => write!(out, "{c}"),
        };
        written.unwrap_or_default();
    }
    out + "\""
}

/// What a `resourceFieldRef` of `own`, or of the container that it names, comes to: rounded up to
/// the divisor. Without a limit it is what the node has.
pub fn resource(
    pod: &Pod,
    own: Option<&Container>,
    source: &ResourceFieldSelector,
    node: &Node,
) -> Result<String> {
    let named = source.container_name.as_deref().filter(|name| !name.is_empty());
    let other = named.map(|name| {
        let found = roster::find(pod, name).map(|(_, container)| container.into_owned());
        found.ok_or_else(|| Error::user(format!("container {name} not found")))
    });
    let other = other.transpose()?;
    let container = other.as_ref().or(own);
    let requirements = container.and_then(|container| container.resources.as_ref());
    let (side, name) = source.resource.split_once('.').unwrap_or_default();
    let list = |list: &str| {
        let lists = requirements.map(|it| (it.limits.as_ref(), it.requests.as_ref()));
        let (limits, requests) = lists.unwrap_or_default();
        let quantities = if list == "limits" { limits } else { requests };
        let given = quantities?.get(name)?;
        Quantity::parse(&given.0).ok().filter(|it| *it > ZERO)
    };
    let has = match name {
        "cpu" => (node.cpus * 1000).to_string() + "m",
        "memory" => node.memory.to_string(),
        "ephemeral-storage" => node.storage.to_string(),
        name if name.starts_with("hugepages-") => "0".to_owned(),
        _ => {
            return Err(Error::user(format!(
                "unsupported container resource : {}",
                source.resource
            )));
        }
    };
    let value = match side {
        "limits" => {
            let whole = || container.and_then(|it| resources::limit(pod, it, name));
            list("limits").or_else(whole).or_else(|| Quantity::parse(&has).ok())
        }
        "requests" => list("requests").or_else(|| list("limits")),
        _ => {
            return Err(Error::user(format!(
                "unsupported container resource : {}",
                source.resource
            )));
        }
    };
    let value = value.unwrap_or(ZERO);
    let divisor = source.divisor.as_ref().and_then(|it| Quantity::parse(&it.0).ok());
    let divisor = divisor.filter(|divisor| *divisor > ZERO).unwrap_or(ONE);
    // Only of cpu are there fractions.
    let (value, divisor) = match name {
        "cpu" => (value.milli(), if divisor == ONE { 1000 } else { divisor.milli() }),
        _ => (value.value(), divisor.value()),
    };
    Ok(value.unsigned_abs().div_ceil(divisor.unsigned_abs().max(1)).to_string())
}

const ONE: Quantity = Quantity::ONE;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "labels": {"b": "say \"hi\"\n", "a": "1"}},
            "spec": {"nodeName": "n", "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "250m", "memory": "1000001"},
                                            "requests": {"cpu": "100m"}}},
                {"name": "d"},
            ]},
        }))
        .unwrap()
    }

    fn node() -> Node {
        Node { ip: "192.0.2.1".into(), cpus: 2, memory: 1 << 30, storage: 5 }
    }

    #[test]
    fn fields_are_told_as_text() {
        for (path, expected) in [
            ("metadata.name", "web"),
            ("metadata.labels", "a=\"1\"\nb=\"say \\\"hi\\\"\\n\""),
            ("metadata.labels['a']", "1"),
            ("metadata.annotations['none']", ""),
            ("spec.nodeName", "n"),
            ("status.hostIP", "192.0.2.1"),
            ("status.podIPs", "10.88.0.2"),
        ] {
            let told = field(&pod(), path, Some("10.88.0.2"), &node()).unwrap();
            assert_eq!(told, expected, "{path}");
        }
        assert!(field(&pod(), "spec.x", None, &node()).is_err());
    }

    #[test]
    fn resources_are_told_in_the_divisors_unit() {
        for (container, resource, divisor, expected) in [
            ("c", "limits.cpu", "0", "1"),
            ("c", "limits.cpu", "1m", "250"),
            ("c", "requests.cpu", "1m", "100"),
            ("c", "limits.memory", "1", "1000001"),
            ("c", "limits.memory", "1k", "1001"),
            ("c", "requests.memory", "1k", "1001"),
            ("d", "limits.cpu", "1", "2"),
            ("d", "limits.memory", "1Mi", "1024"),
            ("d", "requests.memory", "1", "0"),
            ("d", "limits.ephemeral-storage", "1", "5"),
        ] {
            let source =
                json!({"containerName": container, "resource": resource, "divisor": divisor});
            let source = serde_json::from_value(source).unwrap();
            let told = super::resource(&pod(), None, &source, &node()).unwrap();
            assert_eq!(told, expected, "{container} {resource} {divisor}");
        }
    }
}
