//! The volumes of a pod.

use super::Lines;
use crate::kube::Quantity;
use crate::kube::quantity::ZERO;
use k8s_openapi::api::core::v1::{ProjectedVolumeSource, Volume};

/// All of them, in the order of the manifest.
pub fn write(lines: &mut Lines, volumes: &[Volume]) {
    let none = if volumes.is_empty() { "\t<none>" } else { "" };
    lines.add(0, format_args!("Volumes:{none}"));
    for volume in volumes {
        lines.add(1, format_args!("{}:", volume.name));
        source(lines, volume);
    }
}

fn source(lines: &mut Lines, volume: &Volume) {
    let mut say = |kind: &str, facts: &[(&str, &str)]| {
        lines.add(2, format_args!("Type:\t{kind}"));
        for (name, value) in facts {
            lines.add(2, format_args!("{name}:\t{value}"));
        }
    };
    let optional = |optional: Option<bool>| if optional == Some(true) { "true" } else { "false" };
    if let Some(path) = &volume.host_path {
        let kind = path.type_.as_deref().unwrap_or("<none>");
        let facts = [("Path", path.path.as_str()), ("HostPathType", kind)];
        say("HostPath (bare host directory volume)", &facts);
    } else if let Some(dir) = &volume.empty_dir {
        let limit = dir.size_limit.as_ref().map(|limit| limit.0.as_str());
        let set = |limit: &&str| Quantity::parse(limit).is_ok_and(|limit| limit > ZERO);
        let medium = dir.medium.as_deref().unwrap_or_default();
        let facts = [("Medium", medium), ("SizeLimit", limit.filter(set).unwrap_or("<unset>"))];
        say("EmptyDir (a temporary directory that shares a pod's lifetime)", &facts);
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let facts = [("SecretName", name), ("Optional", optional(secret.optional))];
        say("Secret (a volume populated by a Secret)", &facts);
    } else if let Some(map) = &volume.config_map {
        let facts = [("Name", map.name.as_str()), ("Optional", optional(map.optional))];
        say("ConfigMap (a volume populated by a ConfigMap)", &facts);
    } else if let Some(api) = &volume.downward_api {
        say("DownwardAPI (a volume populated by information about the pod)", &[]);
        lines.add(2, "Items:");
        for item in api.items.iter().flatten() {
            let field = item.field_ref.as_ref().map(|field| &field.field_path);
            let resource = item.resource_field_ref.as_ref().map(|field| &field.resource);
            if let Some(from) = field.or(resource) {
                lines.add(3, format_args!("{from} -> {}", item.path));
            }
        }
    } else if let Some(volume) = &volume.projected {
        projected(lines, volume);
    } else if let Some(image) = &volume.image {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (reference, policy) = (text(&image.reference), text(&image.pull_policy));
        let facts = [("Reference", reference.as_str()), ("PullPolicy", policy.as_str())];
        say("Image (a container image or OCI artifact)", &facts);
    } else {
        lines.add(1, "<unknown>");
    }
}

fn projected(lines: &mut Lines, volume: &ProjectedVolumeSource) {
    let kind = "Projected (a volume that contains injected data from multiple sources)";
    lines.add(2, format_args!("Type:\t{kind}"));
    for source in volume.sources.iter().flatten() {
        let named = match (&source.secret, &source.config_map) {
            (Some(secret), _) => Some(("SecretName", &secret.name, secret.optional)),
            (None, Some(map)) => Some(("ConfigMapName", &map.name, map.optional)),
            (None, None) => None,
        };
        if let Some((title, name, optional)) = named {
            lines.add(2, format_args!("{title}:\t{name}"));
            lines.add(2, format_args!("Optional:\t{}", optional.unwrap_or(false)));
        } else if source.downward_api.is_some() {
            lines.add(2, "DownwardAPI:\ttrue");
        } else if let Some(token) = &source.service_account_token {
            let seconds = token.expiration_seconds.unwrap_or(3600);
            lines.add(2, format_args!("TokenExpirationSeconds:\t{seconds}"));
        }
    }
}
