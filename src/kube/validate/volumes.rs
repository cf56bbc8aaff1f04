//! Volumes, and what a container does with them.

use super::super::cause::Causes;
use super::super::quantity::Quantity;
use super::names;
use super::references::{self, Use};
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, HostPathVolumeSource, KeyToPath, ProjectedVolumeSource,
    Volume, VolumeMount,
};
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
    let given = [
        ("emptyDir", volume.empty_dir.is_some()),
        ("hostPath", volume.host_path.is_some()),
        ("secret", volume.secret.is_some()),
        ("downwardAPI", volume.downward_api.is_some()),
        ("configMap", volume.config_map.is_some()),
        ("projected", volume.projected.is_some()),
        ("image", volume.image.is_some()),
    ];
    let mut given = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name);
    let Some(first) = given.next() else {
        return causes.required_because(path, "must specify a volume type");
    };
    for name in given {
        let why = "may not specify more than 1 volume type";
        causes.forbidden(format_args!("{path}.{name}"), why);
    }
    content(causes, &format!("{path}.{first}"), volume, first);
}

fn content(causes: &mut Causes, path: &str, volume: &Volume, kind: &str) {
    if let ("hostPath", Some(source)) = (kind, &volume.host_path) {
        host_path(causes, path, source);
    }
    if let ("secret", Some(source)) = (kind, &volume.secret) {
        let name = source.secret_name.as_deref().unwrap_or_default();
        named_files(causes, path, ("secretName", name), source.default_mode);
        keys(causes, path, source.items.as_deref());
    }
    if let ("configMap", Some(source)) = (kind, &volume.config_map) {
        named_files(causes, path, ("name", &source.name), source.default_mode);
        keys(causes, path, source.items.as_deref());
    }
    if let ("downwardAPI", Some(source)) = (kind, &volume.downward_api) {
        mode(causes, &format!("{path}.defaultMode"), source.default_mode);
        downward(causes, path, source.items.as_deref());
    }
    if let ("image", Some(source)) = (kind, &volume.image) {
        if source.reference.as_deref().unwrap_or_default().is_empty() {
            causes.required(format_args!("{path}.reference"));
        }
        let policy = source.pull_policy.as_deref().unwrap_or("Always");
        let policies = ["Always", "IfNotPresent", "Never"];
        causes.one_of(format_args!("{path}.pullPolicy"), policy, &policies);
    }
    if let ("projected", Some(source)) = (kind, &volume.projected) {
        projected(causes, path, source);
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

fn named_files(causes: &mut Causes, path: &str, (field, name): (&str, &str), given: Option<i32>) {
    if name.is_empty() {
        causes.required(format_args!("{path}.{field}"));
    }
    mode(causes, &format!("{path}.defaultMode"), given);
}

fn mode(causes: &mut Causes, path: &str, mode: Option<i32>) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        causes.invalid_number(path, mode, why);
    }
}

/// The paths that the items of a ConfigMap or Secret give.
fn keys<'a>(causes: &mut Causes, path: &str, items: Option<&'a [KeyToPath]>) -> Vec<&'a str> {
    for (index, item) in items.iter().copied().flatten().enumerate() {
        let path = format!("{path}.items[{index}]");
        if item.key.is_empty() {
            causes.required(format_args!("{path}.key"));
        }
        file(causes, &format!("{path}.path"), &item.path);
        mode(causes, &format!("{path}.mode"), item.mode);
    }
    items.iter().copied().flatten().map(|item| item.path.as_str()).collect()
}

/// Where a file of a volume is: below it, and not among the names of the volume itself.
fn file(causes: &mut Causes, path: &str, name: &str) {
    if name.is_empty() {
        return causes.required(path);
    }
    descending(causes, path, name);
    if name.starts_with("..") {
        causes.invalid(path, name, "must not start with '..'");
    }
}

/// A path that stays below where it starts.
pub fn descending(causes: &mut Causes, path: &str, name: &str) {
    if name.starts_with('/') {
        causes.invalid(path, name, "must be a relative path");
    }
    if let Some(why) = names::backsteps(name) {
        causes.invalid(path, name, why);
    }
}

fn downward<'a>(
    causes: &mut Causes,
    path: &str,
    items: Option<&'a [DownwardAPIVolumeFile]>,
) -> Vec<&'a str> {
    for (index, item) in items.iter().copied().flatten().enumerate() {
        let path = format!("{path}[{index}]");
        file(causes, &format!("{path}.path"), &item.path);
        match (&item.field_ref, &item.resource_field_ref) {
            (Some(_), Some(_)) => {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                causes.invalid(&path, "resource", why);
            }
            (Some(source), None) => {
                references::field(causes, &format!("{path}.fieldRef"), source, Use::File);
            }
            (None, Some(source)) => {
                let path = format!("{path}.resourceFieldRef");
                references::resource(causes, &path, source, Use::File);
            }
            (None, None) => {
                causes.required_because(&path, "one of fieldRef and resourceFieldRef is required");
            }
        }
        mode(causes, &format!("{path}.mode"), item.mode);
    }
    items.iter().copied().flatten().map(|item| item.path.as_str()).collect()
}

fn projected(causes: &mut Causes, path: &str, volume: &ProjectedVolumeSource) {
    mode(causes, &format!("{path}.defaultMode"), volume.default_mode);
    let mut taken = BTreeSet::new();
    for (index, source) in volume.sources.iter().flatten().enumerate() {
        let path = format!("{path}.sources[{index}]");
        let mut found = Vec::new();
        let mut count = 0;
        let mut kind = |causes: &mut Causes, kind: &str| {
            count += 1;
            let path = format!("{path}.{kind}");
            if count > 1 {
                let why = "may not specify more than 1 volume type per source";
                causes.forbidden(&path, why);
            }
            path
        };
        if let Some(source) = &source.secret {
            let path = kind(causes, "secret");
            named_files(causes, &path, ("name", &source.name), None);
            let paths = keys(causes, &path, source.items.as_deref());
            found.extend(paths.into_iter().map(|path| (path, source.name.as_str())));
        }
        if let Some(source) = &source.config_map {
            let path = kind(causes, "configMap");
            named_files(causes, &path, ("name", &source.name), None);
            let paths = keys(causes, &path, source.items.as_deref());
            found.extend(paths.into_iter().map(|path| (path, source.name.as_str())));
        }
        if let Some(source) = &source.downward_api {
            let path = kind(causes, "downwardAPI");
            let paths = downward(causes, &path, source.items.as_deref());
            found.extend(paths.into_iter().map(|path| (path, "")));
        }
        for (file, name) in found {
            if !file.is_empty() && !taken.insert(file) {
                causes.invalid(&path, name, format_args!("conflicting duplicate paths"));
            }
        }
    }
}

/// Checks `volumeMounts` of `container` in a pod whose volumes are `volumes`.
pub fn mounts(causes: &mut Causes, path: &str, container: &Container, volumes: &BTreeSet<&str>) {
    let all = format!("{path}.volumeMounts");
    let context = container.security_context.as_ref();
    let is_privileged = context.is_some_and(|context| context.privileged == Some(true));
    let mut places = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = format!("{all}[{index}]");
        if mount.name.is_empty() {
            causes.required(format_args!("{path}.name"));
        }
        if !volumes.contains(mount.name.as_str()) {
            causes.not_found(format_args!("{path}.name"), &mount.name);
        }
        if mount.mount_path.is_empty() {
            causes.required(format_args!("{path}.mountPath"));
        }
        if !places.insert(mount.mount_path.as_str()) {
            let why = "must be unique";
            causes.invalid(format_args!("{path}.mountPath"), &mount.mount_path, why);
        }
        let sub_path = mount.sub_path.as_deref().unwrap_or_default();
        let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
        // The API's paths of these two leave the index out.
        descending(causes, &format!("{all}.subPath"), sub_path);
        if !sub_path.is_empty() && !expression.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            causes.invalid(format_args!("{path}.subPathExpr"), expression, why);
        }
        descending(causes, &format!("{all}.subPathExpr"), expression);
        propagation(causes, &format!("{path}.mountPropagation"), mount, is_privileged);
        recursive(causes, &format!("{path}.recursiveReadOnly"), mount);
    }
}

fn propagation(causes: &mut Causes, path: &str, mount: &VolumeMount, is_privileged: bool) {
    let Some(how) = mount.mount_propagation.as_deref() else { return };
    causes.one_of(path, how, &["Bidirectional", "HostToContainer", "None"]);
    if how == "Bidirectional" && !is_privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        causes.forbidden(path, why);
    }
}

fn recursive(causes: &mut Causes, path: &str, mount: &VolumeMount) {
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount.read_only != Some(true) {
                causes.forbidden(path, "may only be specified when readOnly is true");
            }
            if mount.mount_propagation.as_deref().is_some_and(|how| how != "None") {
                let why = "may only be specified when mountPropagation is None or not specified";
                causes.forbidden(path, why);
            }
        }
        Some(other) => causes.one_of(path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}
