//! Volumes.

use super::super::cause::Causes;
use super::super::quantity::Quantity;
use super::names;
use k8s_openapi::api::core::v1::{HostPathVolumeSource, Volume};
use std::collections::BTreeSet;

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// Checks `volumes`; the names they give.
pub fn validate<'a>(causes: &mut Causes, volumes: &'a [Volume]) -> BTreeSet<&'a str> {
    let mut known = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = format!("spec.volumes[{index}]");
        source(causes, &path, volume);
        let name = volume.name.as_str();
        if name.is_empty() {
            causes.required(format_args!("{path}.name"));
            continue;
        }
        for why in names::dns_label(name) {
            causes.invalid(format_args!("{path}.name"), name, why);
        }
        if !known.insert(name) {
            causes.duplicate(format_args!("{path}.name"), name);
        }
    }
    known
}

fn source(causes: &mut Causes, path: &str, volume: &Volume) {
    if let Some(limit) = volume.empty_dir.as_ref().and_then(|dir| dir.size_limit.as_ref())
        && Quantity::parse(&limit.0).is_ok_and(Quantity::is_negative)
    {
        let why = "SizeLimit field must be a valid resource quantity";
        causes.forbidden(format_args!("{path}.emptyDir.sizeLimit"), why);
    }
    match (&volume.empty_dir, &volume.host_path) {
        (Some(_), Some(_)) => {
            let why = "may not specify more than 1 volume type";
            causes.forbidden(format_args!("{path}.hostPath"), why);
        }
        (None, Some(source)) => host_path(causes, &format!("{path}.hostPath"), source),
        (Some(_), None) => {}
        (None, None) => causes.required_because(path, "must specify a volume type"),
    }
}

fn host_path(causes: &mut Causes, path: &str, source: &HostPathVolumeSource) {
    if source.path.is_empty() {
        causes.required(format_args!("{path}.path"));
        return;
    }
    if let Some(why) = names::backsteps(&source.path) {
        causes.invalid(format_args!("{path}.path"), &source.path, why);
    }
    let kind = source.type_.as_deref().unwrap_or_default();
    causes.one_of(format_args!("{path}.type"), kind, &HOST_PATH_TYPES);
}
