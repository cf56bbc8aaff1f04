//! `podctl set image`, `set env` and `set resources`: a part of a pod's containers changed. Of a pod
//! that is there only its images can be; the others serve manifests, with `--local`.

use super::chosen::{Chosen, Selectors};
use super::write::{DryRun, Files, Printer, Sent};
use super::{Call, Outcome, done, print};
use crate::error::{Error, Result};
use crate::kube::{Object, Pod};
use crate::pod::{Applied, Key};
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::{Container, EnvVar};
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
    Env(EnvFlags),
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
struct EnvFlags {
    #[command(flatten)]
    common: Common,
    /// NAME=VALUE of a variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Only the containers whose names match, * being anything
    #[arg(short, long, default_value = "*")]
    containers: String,
    /// Print what is set
    #[arg(long)]
    list: bool,
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
        What::Env(flags) => env(call, flags),
        What::Resources(flags) => resources(call, flags),
    }
}

fn image(call: &Call, flags: &ImageFlags) -> Outcome {
    let (words, pairs) = split(&flags.common.words, |word| word.contains('='));
    if pairs.is_empty() && !words.is_empty() {
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

fn env(call: &Call, flags: &EnvFlags) -> Outcome {
    let is_change = |word: &str| word.contains('=') || word.ends_with('-');
    let (words, pairs) = split(&flags.common.words, is_change);
    let pairs: Vec<&String> = pairs.iter().chain(&flags.env).collect();
    if flags.list {
        return list(call, flags, words);
    }
    if pairs.is_empty() {
        return Err(Error::user("at least one environment variable must be provided").into());
    }
    all(call, &flags.common, words, "env updated", &|pod| {
        for container in named(pod, &flags.containers)? {
            let variables = container.env.get_or_insert_default();
            for pair in &pairs {
                set_variable(variables, pair);
            }
            container.env = container.env.take().filter(|variables| !variables.is_empty());
        }
        Ok(())
    })
}

/// `NAME=VALUE` or `NAME-`.
fn set_variable(variables: &mut Vec<EnvVar>, pair: &str) {
    let Some((name, value)) = pair.split_once('=') else {
        let name = pair.trim_end_matches('-');
        return variables.retain(|variable| variable.name != name);
    };
    let new = EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None };
    match variables.iter_mut().find(|variable| variable.name == name) {
        Some(there) => *there = new,
        None => variables.push(new),
    }
}

fn list(call: &Call, flags: &EnvFlags, words: &[String]) -> Outcome {
    let (objects, failed) = chosen(&flags.common, words).objects(call, flags.common.local)?;
    for object in objects {
        let name = object.name().to_owned();
        let mut pod = pod_of(object)?;
        for container in named(&mut pod, &flags.containers)? {
            let mut text = format!("# Pod {name}, container {}\n", container.name);
            for variable in container.env.iter().flatten() {
                let value = variable.value.as_deref().unwrap_or_default();
                text += &match &variable.value_from {
                    Some(_) => format!("# {} from another object\n", variable.name),
                    None => format!("{}={value}\n", variable.name),
                };
            }
            print(&text)?;
        }
    }
    done(failed)
}

fn resources(call: &Call, flags: &ResourceFlags) -> Outcome {
    let (limits, requests) = (quantities(&flags.limits)?, quantities(&flags.requests)?);
    if limits.is_empty() && requests.is_empty() {
        let text =
            "you must specify an update to requests or limits (in the form of --requests/--limits)";
        return Err(Error::user(text).into());
    }
    all(call, &flags.common, &flags.common.words, "resource requirements updated", &|pod| {
        for container in named(pod, &flags.containers)? {
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
        change(&mut pod)?;
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
    match object {
        Object::Pod(pod) => Ok(*pod),
        _ => Err(Error::user(format!(
            "the object is not a pod or does not have a pod template: *v1.{kind}"
        ))),
    }
}

/// Init containers first, as kubectl has them.
fn containers(pod: &mut Pod) -> impl Iterator<Item = &mut Container> {
    let spec = pod.spec.iter_mut();
    spec.flat_map(|spec| spec.init_containers.iter_mut().flatten().chain(&mut spec.containers))
}

/// The containers whose names match.
fn named<'a>(pod: &'a mut Pod, pattern: &str) -> Result<Vec<&'a mut Container>> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let matches = |text: &str| match pattern.split_once('*') {
        None => text == pattern,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    };
    let spec = pod.spec.iter_mut().flat_map(|spec| &mut spec.containers);
    let found: Vec<_> = spec.filter(|container| matches(&container.name)).collect();
    if found.is_empty() {
        let text = format!("pods/{name} does not have any containers matching {pattern:?}");
        return Err(Error::user(text));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_set_and_removed() {
        let mut variables = Vec::new();
        for pair in ["A=1", "B=x=y", "A=2", "C=", "B-"] {
            set_variable(&mut variables, pair);
        }
        let shown = variables.iter().map(|one| (one.name.as_str(), one.value.as_deref()));
        assert_eq!(shown.collect::<Vec<_>>(), [("A", Some("2")), ("C", Some(""))]);
    }

    #[test]
    fn quantities_are_checked() {
        assert_eq!(quantities("cpu=1,memory=64Mi").unwrap().len(), 2);
        assert!(quantities("cpu").is_err() && quantities("cpu=x").is_err());
    }
}
