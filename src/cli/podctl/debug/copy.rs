//! `debug --copy-to`: a copy of a pod, with another container or other images. As with kubectl it
//! goes without what would stop it or have it counted for the pod: probes, labels, annotations.

use super::{Flags, container, debugger};
use crate::cli::podctl::flags::parse_bool;
use crate::cli::podctl::write::DryRun;
use crate::cli::podctl::{Call, create, delete, tell};
use crate::error::{Error, Result};
use crate::kube::{self, Fields, Pod, Resource};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a copy keeps of its pod.
#[derive(Args)]
pub struct Keep {
    /// With --copy-to: keep the labels
    #[arg(long)]
    keep_labels: bool,
    /// With --copy-to: keep the annotations
    #[arg(long)]
    keep_annotations: bool,
    /// With --copy-to: keep the liveness probes
    #[arg(long)]
    keep_liveness: bool,
    /// With --copy-to: keep the readiness probes
    #[arg(long)]
    keep_readiness: bool,
    /// With --copy-to: keep the startup probes
    #[arg(long)]
    keep_startup: bool,
    /// With --copy-to: keep the init containers
    #[arg(long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "true", hide_default_value = true)]
    keep_init_containers: bool,
}

impl Keep {
    /// Takes the probes away that are not kept.
    fn probes(&self, container: &mut Value) {
        let kept = [
            ("livenessProbe", self.keep_liveness),
            ("readinessProbe", self.keep_readiness),
            ("startupProbe", self.keep_startup),
        ];
        if let Some(container) = container.as_object_mut() {
            for (probe, _) in kept.into_iter().filter(|(_, kept)| !kept) {
                container.remove(probe);
            }
        }
    }
}

/// A copy of the pod, with another container or other images.
pub fn make(call: &Call, flags: &Flags, pod: &Pod, name: &str) -> Result<(Pod, String)> {
    let mut value = kube::Object::Pod(Box::new(pod.clone())).to_value()?;
    let namespace = pod.metadata.namespace.clone();
    value["metadata"] = json!({"name": name, "namespace": namespace});
    if flags.keep.keep_labels {
        value["metadata"]["labels"] = json!(pod.metadata.labels);
    }
    if flags.keep.keep_annotations || flags.profile == "legacy" {
        let annotations = pod.metadata.annotations.clone().unwrap_or_default();
        let of_apply = |key: &String| key.ends_with("last-applied-configuration");
        let kept = annotations.into_iter().filter(|(key, _)| !of_apply(key));
        value["metadata"]["annotations"] = json!(kept.collect::<BTreeMap<_, _>>());
    }
    let spec = value.get_mut("spec").and_then(Value::as_object_mut);
    let spec = spec.ok_or_else(|| Error::user("the pod has no spec"))?;
    spec.remove("nodeName");
    spec.remove("ephemeralContainers");
    if !flags.keep.keep_init_containers {
        spec.remove("initContainers");
    }
    if flags.share_processes {
        spec.insert("shareProcessNamespace".to_owned(), true.into());
    }
    let containers = spec.get_mut("containers").and_then(Value::as_array_mut);
    let containers = containers.ok_or_else(|| Error::user("the pod has no containers"))?;
    containers.iter_mut().for_each(|container| flags.keep.probes(container));
    for pair in &flags.set_image {
        let (of, image) = pair.split_once('=').ok_or_else(|| {
            Error::user(format!("invalid image format {pair:?}, expected CONTAINER=IMAGE"))
        })?;
        let meant = |one: &&mut Value| of == "*" || one["name"] == of;
        containers.iter_mut().filter(meant).for_each(|one| one["image"] = image.into());
    }
    let target = match (&flags.container, flags.image.is_empty()) {
        (Some(name), _) => name.clone(),
        (None, false) => debugger(flags)?,
        (None, true) => {
            containers.first().and_then(|one| one["name"].as_str()).unwrap_or("").to_owned()
        }
    };
    match containers.iter_mut().find(|one| one["name"] == target.as_str()) {
        Some(there) => changed(flags, there),
        None if flags.image.is_empty() => {
            return Err(Error::user(format!("container {target:?} not found in pod")));
        }
        None => {
            if flags.container.is_none() && !flags.quiet {
                tell(&format!("Defaulting debug container name to {target}."));
            }
            containers.push(container(flags, &target)?);
        }
    }
    let object = kube::object_of(Resource::Pods, &value, Fields::Strict)?.object;
    if flags.replace {
        let old = kube::Object::Pod(Box::new(pod.clone()));
        delete::at_once(call, &old, Default::default(), None)?;
    }
    match create::make(call, &object, DryRun::No)? {
        kube::Object::Pod(pod) => Ok((*pod, target)),
        _ => Err(Error::user("the copy is no pod")),
    }
}

/// A container of the copy that is there already: another image, another command.
fn changed(flags: &Flags, container: &mut Value) {
    if !flags.image.is_empty() {
        container["image"] = flags.image.clone().into();
    }
    if !flags.command.is_empty() {
        container["args"] = Value::Null;
        container[flags.command_field()] = json!(flags.command);
    }
    container["stdin"] = flags.stdin.into();
    container["tty"] = flags.tty.into();
}
