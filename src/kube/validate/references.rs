//! What a pod takes from itself and from ConfigMaps and Secrets: `env`, `envFrom`, and the fields
//! of the downward API, which volumes have too.

use super::super::cause::Causes;
use super::super::quantity::Quantity;
use super::{names, volumes};
use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVarSource, FileKeySelector, ObjectFieldSelector,
    ResourceFieldSelector,
};

/// Fields of a pod that a variable can hold, sorted.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of a pod that a file can hold, sorted.
const FILE_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
/// Fields that exist and are for neither.
const OTHER_FIELDS: [&str; 4] =
    ["spec.host", "spec.restartPolicy", "spec.schedulerName", "status.phase"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const CPU_DIVISORS: &[&str] = &["1m", "1"];
const BYTE_DIVISORS: &[&str] =
    &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// Where a reference stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// In a container's `env`.
    Variable,
    /// In a volume.
    File,
}

/// Checks `env` and `envFrom` of `container`.
pub fn environment(causes: &mut Causes, path: &str, container: &Container) {
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let path = format!("{path}.env[{index}]");
        match (variable.name.as_str(), names::env_name(&variable.name)) {
            ("", _) => causes.required(format_args!("{path}.name")),
            (name, Some(why)) => causes.invalid(format_args!("{path}.name"), name, why),
            (_, None) => {}
        }
        if let Some(source) = &variable.value_from {
            let literal = variable.value.as_deref().unwrap_or_default();
            value_from(causes, &format!("{path}.valueFrom"), source, literal);
        }
    }
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        env_from(causes, &format!("{path}.envFrom[{index}]"), source);
    }
}

fn value_from(causes: &mut Causes, path: &str, source: &EnvVarSource, literal: &str) {
    if let Some(source) = &source.field_ref {
        field(causes, &format!("{path}.fieldRef"), source, Use::Variable);
    }
    if let Some(source) = &source.resource_field_ref {
        resource(causes, &format!("{path}.resourceFieldRef"), source, Use::Variable);
    }
    if let Some(source) = &source.config_map_key_ref {
        key(causes, &format!("{path}.configMapKeyRef"), &source.name, &source.key);
    }
    if let Some(source) = &source.secret_key_ref {
        key(causes, &format!("{path}.secretKeyRef"), &source.name, &source.key);
    }
    if let Some(source) = &source.file_key_ref {
        file_key(causes, &format!("{path}.fileKeyRef"), source);
    }
    let given = [
        source.field_ref.is_some(),
        source.resource_field_ref.is_some(),
        source.config_map_key_ref.is_some(),
        source.secret_key_ref.is_some(),
        source.file_key_ref.is_some(),
    ];
    let why = match given.iter().filter(|given| **given).count() {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, \
             `secretKeyRef` or `fileKeyRef`"
        }
        _ if !literal.is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    causes.invalid(path, "", why);
}

fn file_key(causes: &mut Causes, path: &str, source: &FileKeySelector) {
    let given = [("key", &source.key), ("path", &source.path), ("volumeName", &source.volume_name)];
    for (field, _) in given.iter().filter(|(_, given)| given.is_empty()) {
        causes.required(format_args!("{path}.{field}"));
    }
    if let Some(why) = names::env_name(&source.key).filter(|_| !source.key.is_empty()) {
        causes.invalid(format_args!("{path}.key"), &source.key, why);
    }
    volumes::descending(causes, &format!("{path}.path"), &source.path);
}

fn env_from(causes: &mut Causes, path: &str, source: &EnvFromSource) {
    if let Some(prefix) = source.prefix.as_deref().filter(|prefix| !prefix.is_empty())
        && let Some(why) = names::env_name(prefix)
    {
        causes.invalid(format_args!("{path}.prefix"), prefix, why);
    }
    let given = [
        ("configMapRef", source.config_map_ref.as_ref().map(|given| &given.name)),
        ("secretRef", source.secret_ref.as_ref().map(|given| &given.name)),
    ];
    for (kind, name) in given {
        if name.is_some_and(String::is_empty) {
            causes.required(format_args!("{path}.{kind}.name"));
        }
    }
    match given.iter().filter(|(_, given)| given.is_some()).count() {
        0 => causes.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
        1 => {}
        _ => causes.invalid(path, "", "may not have more than one field specified at a time"),
    }
}

fn key(causes: &mut Causes, path: &str, name: &str, key: &str) {
    if name.is_empty() {
        causes.required(format_args!("{path}.name"));
    }
    if key.is_empty() {
        causes.required(format_args!("{path}.key"));
    }
    for why in names::config_key(key).into_iter().filter(|_| !key.is_empty()) {
        causes.invalid(format_args!("{path}.key"), key, why);
    }
}

/// A `fieldRef`.
pub fn field(causes: &mut Causes, path: &str, source: &ObjectFieldSelector, place: Use) {
    let field = source.field_path.as_str();
    if source.api_version.as_deref().unwrap_or_default().is_empty() {
        return causes.required(format_args!("{path}.apiVersion"));
    }
    if field.is_empty() {
        return causes.required(format_args!("{path}.fieldPath"));
    }
    if let Some((map, key)) = subscripted(field) {
        let wrong = match map {
            "metadata.annotations" => names::qualified_name(&key.to_lowercase()),
            "metadata.labels" => names::qualified_name(key),
            _ => return causes.invalid(path, map, "does not support subscript"),
        };
        for why in wrong {
            causes.invalid(path, key, why);
        }
        return;
    }
    let (all, known) = match place {
        Use::Variable => (&ENV_FIELDS[..], &FILE_FIELDS[..]),
        Use::File => (&FILE_FIELDS[..], &ENV_FIELDS[..]),
    };
    if all.contains(&field) || known.contains(&field) || OTHER_FIELDS.contains(&field) {
        causes.one_of(format_args!("{path}.fieldPath"), field, all);
    } else {
        let why = format!("error converting fieldPath: field label not supported: {field}");
        causes.invalid(format_args!("{path}.fieldPath"), field, why);
    }
}

/// `metadata.labels['k']`: the map and the key.
fn subscripted(field: &str) -> Option<(&str, &str)> {
    let (map, key) = field.strip_suffix("']")?.split_once("['")?;
    (!map.is_empty()).then_some((map, key))
}

/// A `resourceFieldRef`.
pub fn resource(causes: &mut Causes, path: &str, source: &ResourceFieldSelector, place: Use) {
    if place == Use::File && source.container_name.as_deref().unwrap_or_default().is_empty() {
        return causes.required(format_args!("{path}.containerName"));
    }
    let name = source.resource.as_str();
    let is_huge = name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-");
    if name.is_empty() {
        causes.required(format_args!("{path}.resource"));
    } else if !is_huge {
        causes.one_of(format_args!("{path}.resource"), name, &RESOURCES);
    }
    let given = source.divisor.as_ref().map_or("0", |divisor| divisor.0.as_str());
    let divisor = Quantity::parse(given).unwrap_or(super::super::quantity::ZERO);
    if divisor == super::super::quantity::ZERO {
        return;
    }
    let (kind, divisors) = match name.split_once('.') {
        Some((_, "cpu")) => ("cpu", CPU_DIVISORS),
        Some((_, "memory")) => ("memory", BYTE_DIVISORS),
        Some((_, "ephemeral-storage")) => ("local ephemeral storage", BYTE_DIVISORS),
        _ if is_huge => ("hugepages", BYTE_DIVISORS),
        _ => return,
    };
    let text = divisor.to_string();
    if !divisors.contains(&text.as_str()) {
        let values = match kind {
            "cpu" => "1m and 1".to_owned(),
            _ => divisors.join(", "),
        };
        let why = format!("only divisor's values {values} are supported with the {kind} resource");
        causes.invalid(format_args!("{path}.divisor"), &text, why);
    }
}
