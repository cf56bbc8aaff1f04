//! `podctl delete`: pods told to stop, and awaited.

use super::flags::{parse_bool, parse_duration};
use super::resource::{self, Wanted, part};
use super::{Call, Outcome, done, files, print, tell};
use crate::error::{Error, Result};
use crate::kube::{Object, Pod, Resource, Selector};
use crate::pod::DeleteOptions;
use clap::Args;
use std::time::{Duration, Instant};

/// Flags of `delete`.
#[derive(Args)]
pub struct Flags {
    /// pod NAME… or pod/NAME…
    #[arg(value_name = "TYPE [NAME]")]
    words: Vec<String>,
    /// The pods of these manifests
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: Vec<String>,
    /// Process directories recursively
    #[arg(short = 'R', long)]
    recursive: bool,
    /// All pods of the namespace
    #[arg(long)]
    all: bool,
    /// Pods of all namespaces, with --all or -l
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Pods with these labels: app=nginx,env!=prod
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Seconds to stop in; -1 for the pod's own
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true,
        hide_default_value = true)]
    grace_period: i64,
    /// Stop at once
    #[arg(long)]
    force: bool,
    /// Stop within a second
    #[arg(long)]
    now: bool,
    /// Wait until the pods are gone
    #[arg(long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "true", hide_default_value = true)]
    wait: bool,
    /// How long to wait; 0 for as long as the pods take
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// A pod that is not there is no error
    #[arg(long)]
    ignore_not_found: bool,
    /// Output format: name
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Runs it: all are told first, then the pods are awaited.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    if flags.output.as_deref().is_some_and(|format| format != "name") {
        let text = "unexpected -o output mode: only -o name is supported";
        return Err(Error::user(text).into());
    }
    let options = options(flags)?;
    let (objects, mut failed) = objects(call, flags)?;
    if objects.is_empty() && failed.is_empty() {
        print("No resources found\n")?;
    }
    let mut told = Vec::new();
    for object in objects {
        match delete(call, options, &object) {
            Ok(pods) => {
                say(flags, options, &object)?;
                told.extend(pods);
                told.extend(pod_of(object));
            }
            Err(error) => failed.push(error),
        }
    }
    if flags.ignore_not_found {
        failed.retain(|error| !resource::is_missing(error));
    }
    if flags.wait {
        failed.extend(wait(call, flags, &told));
    }
    done(failed)
}

fn pod_of(object: Object) -> Option<Pod> {
    match object {
        Object::Pod(pod) => Some(*pod),
        _ => None,
    }
}

/// Tells an object to go; returns the pods that go with it.
fn delete(call: &Call, options: DeleteOptions, object: &Object) -> Result<Vec<Pod>> {
    let (resource, namespace, name) = (object.resource(), object.namespace(), object.name());
    match resource {
        Resource::Pods => call.engine.delete(namespace, name, options).map(|()| Vec::new()),
        Resource::Namespaces => call.engine.delete_namespace(name, options),
        _ => call.engine.remove_object(resource, namespace, name).map(|()| Vec::new()),
    }
}

fn options(flags: &Flags) -> Result<DeleteOptions> {
    let mut grace = flags.grace_period;
    if flags.now {
        if grace != -1 {
            return Err(Error::user("--now and --grace-period cannot be specified together"));
        }
        grace = 1;
    }
    if flags.force && grace > 0 {
        let text = "--force and --grace-period greater than 0 cannot be specified together";
        return Err(Error::user(text));
    }
    if flags.force {
        grace = 0;
        tell(
            "Warning: Immediate deletion does not wait for confirmation that the running \
              resource has been terminated. The resource may continue to run on the cluster \
              indefinitely.",
        );
    } else if grace == 0 {
        // kubectl's guard against lost data: nothing is killed outright without --force.
        grace = 1;
    }
    Ok(DeleteOptions { grace_period: (grace >= 0).then_some(grace), force: flags.force })
}

fn objects(call: &Call, flags: &Flags) -> Result<(Vec<Object>, Vec<Error>)> {
    if !flags.filename.is_empty() {
        return of_files(call, flags);
    }
    if flags.words.is_empty() {
        return Err(Error::user("You must provide one or more resources by argument or filename.")
            .hint("podctl delete pod NAME, or podctl delete -f FILE"));
    }
    let selects = flags.all || flags.selector.is_some();
    match resource::wanted(&flags.words)? {
        Wanted::Named(_) if selects => {
            let text = "name cannot be provided when a selector is specified";
            Err(Error::user(text))
        }
        Wanted::Named(items) => Ok(resource::found(call, &items)),
        Wanted::All(_) if flags.all && flags.selector.is_some() => {
            Err(Error::user("cannot set --all and --selector at the same time"))
        }
        Wanted::All(kinds) if selects => {
            let selector = flags.selector.as_deref().map(Selector::parse).transpose()?;
            let mut all = Vec::new();
            for kind in kinds {
                let namespace = (!flags.all_namespaces).then_some(call.namespace.as_str());
                all.extend(call.engine.list_objects(kind, namespace)?);
            }
            let selected = |selector: &Selector, one: &Object| {
                selector.matches(one.metadata().labels.as_ref())
            };
            all.retain(|one| selector.as_ref().is_none_or(|selector| selected(selector, one)));
            Ok((all, Vec::new()))
        }
        Wanted::All(_) => Err(Error::user("resource(s) were provided, but no name was specified")),
    }
}

fn of_files(call: &Call, flags: &Flags) -> Result<(Vec<Object>, Vec<Error>)> {
    let (mut objects, mut failed) = (Vec::new(), Vec::new());
    for manifest in files::read(&flags.filename, flags.recursive)? {
        let given = &manifest.decoded.object;
        let namespace = given.metadata().namespace.as_deref().unwrap_or(&call.namespace);
        match call.engine.get_object(given.resource(), namespace, given.name()) {
            Ok(object) => objects.push(object),
            Err(error) if resource::is_missing(&error) => {
                failed.push(error.doing(format!("error when deleting \"{}\"", manifest.file)));
            }
            Err(error) => failed.push(error),
        }
    }
    Ok((objects, failed))
}

fn say(flags: &Flags, options: DeleteOptions, object: &Object) -> Result<()> {
    let (kind, name) = (object.resource().singular(), object.name());
    if flags.output.is_some() {
        return print(&format!("{kind}/{name}\n"));
    }
    let how = if options.grace_period == Some(0) { "force deleted" } else { "deleted" };
    match object.namespace() {
        "" => print(&format!("{kind} \"{name}\" {how}\n")),
        namespace => print(&format!("{kind} \"{name}\" {how} from {namespace} namespace\n")),
    }
}

/// Waits for all of them, within one timeout.
fn wait(call: &Call, flags: &Flags, pods: &[Pod]) -> Vec<Error> {
    let timeout = flags.timeout.filter(|timeout| !timeout.is_zero());
    let end = timeout.map(|timeout| Instant::now() + timeout);
    let mut failed = Vec::new();
    for pod in pods {
        let (namespace, name) = key(pod);
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        match call.engine.wait_deleted(namespace, name, part(pod.metadata.uid.as_ref()), left) {
            Ok(true) => {}
            Ok(false) => {
                let text = format!("timed out waiting for the condition on pods/{name}");
                failed.push(Error::user(text));
            }
            Err(error) => failed.push(error),
        }
    }
    failed
}

fn key(pod: &Pod) -> (&str, &str) {
    (part(pod.metadata.namespace.as_ref()), part(pod.metadata.name.as_ref()))
}
