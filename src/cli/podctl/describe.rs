//! `podctl describe`: all about an object, its events last.

use super::chosen::Chosen;
use super::resource::{self, Wanted, part};
use super::selection::Selection;
use super::write::Files;
use super::{Call, Outcome, done, print, tell};
use crate::cli::colours::Colours;
use crate::cli::output::{self, describe};
use crate::error::{Error, Result};
use crate::kube::{Object, Resource};
use clap::Args;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;

/// Flags of `describe`.
#[derive(Args)]
pub struct Flags {
    /// A kind, a kind and names or their beginnings, or KIND/NAME…
    #[arg(value_name = "TYPE [NAME]")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels: app=nginx,env!=prod
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Show events
    #[arg(long, value_parser = super::flags::parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "true", hide_default_value = true)]
    show_events: bool,
    /// Accepted for kubectl's sake: there is no server to spare
    #[arg(long, value_name = "N", allow_negative_numbers = true, hide = true)]
    chunk_size: Option<i64>,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let mut failed = Vec::new();
    if flags.files.given()? {
        let (objects, failed) =
            Chosen { files: &flags.files, ..Chosen::NONE }.objects(call, false)?;
        return show(call, flags, &objects, failed);
    }
    let objects = match wanted(flags)? {
        Wanted::Named(_) if flags.selector.is_some() => {
            let text = "name cannot be provided when a selector is specified";
            return Err(Error::user(text).into());
        }
        Wanted::Named(items) => named(call, &items, &mut failed)?,
        Wanted::All(kinds) => all(call, flags, &kinds)?,
    };
    if objects.is_empty() && failed.is_empty() {
        tell(&output::none_found((!flags.all_namespaces).then_some(call.namespace.as_str())));
    }
    show(call, flags, &objects, failed)
}

fn show(call: &Call, flags: &Flags, objects: &[Object], mut failed: Vec<Error>) -> Outcome {
    let mut texts = Vec::new();
    for object in objects {
        match text(call, flags, object) {
            Ok(text) => texts.push(text),
            // It went between the two looks at it.
            Err(error) if resource::is_missing(&error) && objects.len() > 1 => {}
            Err(error) => failed.push(error),
        }
    }
    print(&describe::painted(&texts.join("\n\n"), Colours::of_stdout()))?;
    done(failed)
}

fn wanted(flags: &Flags) -> Result<Wanted> {
    if flags.words.is_empty() {
        return Err(Error::user(
            "You must specify the type of resource to describe. Use \"podctl api-resources\" for \
             a complete list of supported resources.",
        ));
    }
    resource::wanted(&flags.words)
}

fn all(call: &Call, flags: &Flags, kinds: &[Resource]) -> Result<Vec<Object>> {
    let namespace = (!flags.all_namespaces).then_some(call.namespace.as_str());
    let mut objects = Vec::new();
    for kind in kinds {
        let selection = Selection::parse(*kind, flags.selector.as_deref(), None)?;
        let found = call.engine.list_objects(*kind, namespace)?.into_iter();
        objects.extend(found.filter(|object| selection.matches(object)));
    }
    Ok(objects)
}

/// The objects of those names; a name that none has stands for all that begin with it.
fn named(
    call: &Call,
    items: &[(Resource, String)],
    failed: &mut Vec<Error>,
) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for (kind, name) in items {
        match call.engine.get_object(*kind, &call.namespace, name) {
            Ok(object) => objects.push(object),
            Err(error) if resource::is_missing(&error) => {
                let mut like = call.engine.list_objects(*kind, Some(&call.namespace))?;
                like.retain(|object| object.name().starts_with(name.as_str()));
                if like.is_empty() {
                    failed.push(error);
                }
                objects.append(&mut like);
            }
            Err(error) => failed.push(error),
        }
    }
    Ok(objects)
}

fn text(call: &Call, flags: &Flags, object: &Object) -> Result<String> {
    let now = Timestamp::now();
    Ok(match object {
        Object::ConfigMap(map) => describe::config_map(map, &[], now),
        Object::Event(event) => describe::generic(&event.metadata, &output::value(object)?),
        Object::Namespace(namespace) => describe::namespace(namespace),
        Object::Node(node) => describe::node(node, &call.engine.list(None)?, now),
        Object::Pod(pod) => {
            let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
            let events: Vec<Event> = match flags.show_events {
                true => call.engine.events(part(namespace.as_ref()), part(name.as_ref()))?,
                false => Vec::new(),
            };
            describe::pod(pod, flags.show_events.then_some(&events), now)
        }
        Object::Secret(secret) => describe::secret(secret),
    })
}
