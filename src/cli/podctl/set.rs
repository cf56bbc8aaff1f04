//! `podctl set image`, `set env` and `set resources`: a part of a pod's containers changed. Of a pod
//! that is there only its images can be; the others serve manifests, with `--local`.

mod env;

use super::chosen::{Chosen, Selectors};
use super::write::{DryRun, Files, Printer, Sent};
use super::{Call, Outcome, done};
use crate::error::{Error, Result};
use crate::kube::{Object, Pod};
use crate::pod::{Applied, Key};
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// Flags of `set`.
#[derive(Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Change the images of containers: CONTAINER=IMAGE, or *=IMAGE
    Image(ImageFlags),
    /// Set, remove or list variables of the containers' environment: NAME=VALUE, NAME-
    Env(env::Flags),
    /// Change the resources of containers
    Resources(ResourceFlags),
}

/// What the three have in common.
#[derive(Args)]
struct Common {
    /// TYPE NAME, and what is to be set
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    /// Change the file's content, and store nothing
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    sent: Sent,
}

#[derive(Args)]
struct ImageFlags {
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct ResourceFlags {
    #[command(flatten)]
    common: Common,
    /// Only the containers whose names match, * being anything
    #[arg(short, long, default_value = "*")]
    containers: String,
    /// What they may have at most: cpu=1,memory=64Mi
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    limits: String,
    /// What they are promised: cpu=100m,memory=64Mi
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    requests: String,
}

/// What is done to a pod; an error leaves it as it was.
type Change<'a> = &'a dyn Fn(&mut Pod) -> Result<()>;

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    match &flags.what {
        What::Image(flags) => image(call, flags),
        What::Env(flags) => env::run(call, flags),
        What::Resources(flags) => resources(call, flags),
    }
}

fn image(call: &Call, flags: &ImageFlags) -> Outcome {
    let (words, pairs) = split(&flags.common.words, |word| word.contains('='));
    if pairs.is_empty() && !(words.is_empty() && flags.common.files.filename.is_empty()) {
        return Err(Error::user("at least one image update is required").into());
    }
    let images = pairs.iter().map(|pair| pair.split_once('=').filter(|(of, _)| !of.is_empty()));
    let images: Option<Vec<(&str, &str)>> = images.collect();
    let images = images
        .ok_or_else(|| Error::user("all resources must be specified before image changes"))?;
    all(call, &flags.common, words, "image updated", &|pod| {
        for (of, image) in &images {
            let mut found = false;
            for container in containers(pod).filter(|one| *of == "*" || one.name == *of) {
                container.image = Some((*image).to_owned());
                found = true;
            }
            if !found {
                return Err(Error::user(format!("unable to find container named {of:?}")));
            }
        }
        Ok(())
    })
}

fn resources(call: &Call, flags: &ResourceFlags) -> Outcome {
    let (limits, requests) = (quantities(&flags.limits)?, quantities(&flags.requests)?);
    if limits.is_empty() && requests.is_empty() {
        let text =
            "you must specify an update to requests or limits (in the form of --requests/--limits)";
        return Err(Error::user(text).into());
    }
    all(call, &flags.common, &flags.common.words, "resource requirements updated", &|pod| {
        let found = named(pod, &flags.containers);
        if found.is_empty() {
            let text = format!("unable to find container named {}", flags.containers);
            return Err(Error::user(text));
        }
        for container in found {
            let resources = container.resources.get_or_insert_default();
            let parts = [(&mut resources.limits, &limits), (&mut resources.requests, &requests)];
            for (part, new) in parts.into_iter().filter(|(_, new)| !new.is_empty()) {
                part.get_or_insert_default().extend(new.clone());
            }
        }
        Ok(())
    })
}

/// `cpu=1,memory=64Mi`.
fn quantities(text: &str) -> Result<BTreeMap<String, Quantity>> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let wrong =
            || Error::user(format!("invalid argument syntax {pair}, expected <resource>=<value>"));
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        crate::kube::Quantity::parse(value).map_err(Error::user)?;
        Ok((name.to_owned(), Quantity(value.to_owned())))
    });
    pairs.collect()
}

/// Splits words before the first that is a change.
fn split(words: &[String], is_change: impl Fn(&str) -> bool) -> (&[String], &[String]) {
    let first = words.iter().position(|word| is_change(word)).unwrap_or(words.len());
    words.split_at(first)
}

fn chosen<'a>(common: &'a Common, words: &'a [String]) -> Chosen<'a> {
    Chosen { verb: "set", files: &common.files, words, selectors: &common.selectors }
}

fn all(call: &Call, common: &Common, words: &[String], what: &str, change: Change<'_>) -> Outcome {
    let mut printer = common.sent.printer()?;
    let (objects, mut failed) = chosen(common, words).objects(call, common.local)?;
    for object in objects {
        failed.extend(one(call, common.local, object, &mut printer, (what, change)).err());
    }
    done(failed)
}

fn one(
    call: &Call,
    local: bool,
    object: Object,
    printer: &mut Printer,
    (what, change): (&str, Change<'_>),
) -> Result<()> {
    let key = Key::of(&object);
    let mut pod = pod_of(object)?;
    if local || printer.dry_run == DryRun::Client {
        let before = pod.clone();
        change(&mut pod)?;
        if pod == before {
            return Ok(());
        }
        // As Go's types say it.
        for container in containers(&mut pod) {
            container.resources.get_or_insert_default();
        }
        pod.status.get_or_insert_default();
        return printer.one(&Object::Pod(Box::new(pod)), what);
    }
    let (applied, stored) = call.engine.change(&key, printer.dry_run.commit(), &mut |stored| {
        let stored = stored.cloned().ok_or_else(|| key.resource.not_found(&key.name))?;
        let mut pod = pod_of(stored)?;
        change(&mut pod)?;
        Ok(Object::Pod(Box::new(pod)))
    })?;
    match applied {
        Applied::Unchanged => Ok(()),
        _ => printer.one(&stored, what),
    }
}

fn pod_of(object: Object) -> Result<Pod> {
    let kind = object.resource().kind();
    let named = format!("{}/{}", object.resource().singular(), object.name());
    match object {
        Object::Pod(pod) => Ok(*pod),
        _ => Err(Error::user(format!(
            "{named} the object is not a pod or does not have a pod template: *v1.{kind}"
        ))),
    }
}

/// Init containers first, as kubectl has them.
fn containers(pod: &mut Pod) -> impl Iterator<Item = &mut Container> {
    let spec = pod.spec.iter_mut();
    spec.flat_map(|spec| spec.init_containers.iter_mut().flatten().chain(&mut spec.containers))
}

/// The containers whose names match, those of the beginning last.
fn named<'a>(pod: &'a mut Pod, pattern: &str) -> Vec<&'a mut Container> {
    let matches = |text: &str| match pattern.split_once('*') {
        None => text == pattern,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    };
    let all = pod.spec.iter_mut().flat_map(|spec| {
        spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten())
    });
    all.filter(|container| matches(&container.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_checked() {
        assert_eq!(quantities("cpu=1,memory=64Mi").unwrap().len(), 2);
        assert!(quantities("cpu").is_err() && quantities("cpu=x").is_err());
    }
}
