//! `podctl delete`: objects told to go, and pods awaited.

use super::chosen::{Chosen, Selectors};
use super::flags::{parse_bool, parse_duration};
use super::resource::{self, Wanted, part};
use super::write::{DryRun, Files};
use super::{Call, Outcome, done, print, tell};
use crate::cli::progress::Progress;
use crate::error::{Context, Error, Kind, Result};
use crate::kube::{Object, Pod, Resource};
use crate::pod::DeleteOptions;
use clap::Args;
use std::io::BufRead;
use std::time::{Duration, Instant};

/// What `--cascade` may be; nothing here owns anything.
const CASCADES: [&str; 5] = ["background", "foreground", "orphan", "true", "false"];

/// Flags of `delete`.
#[derive(Args)]
pub struct Flags {
    /// pod NAME…, cm,secrets NAME… or pod/NAME…
    #[arg(value_name = "TYPE [NAME]")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
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
    /// Ask before anything is deleted
    #[arg(short, long)]
    interactive: bool,
    /// Wait until the pods are gone
    #[arg(long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "true", hide_default_value = true)]
    wait: bool,
    /// How long to wait; 0 for as long as the pods take
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// What is not there is no error
    #[arg(long)]
    ignore_not_found: bool,
    /// Only check: none, client or server
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true,
        default_missing_value = "client", default_value = "none", hide_default_value = true)]
    dry_run: String,
    /// Accepted for kubectl's sake: nothing here owns anything
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true,
        default_missing_value = "background", hide = true)]
    cascade: Option<String>,
    /// Output format: name
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Runs it: all are told first, then the pods are awaited.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    if let Some(format) = flags.output.as_deref().filter(|format| !["name", ""].contains(format)) {
        let text = format!("unexpected -o output mode: {format}. We only support '-o name'");
        return Err(Error::user(text).into());
    }
    if let Some(how) = flags.cascade.as_deref().filter(|how| !CASCADES.contains(how)) {
        let text = "Must be \"background\", \"foreground\", or \"orphan\"";
        return Err(Error::user(format!("invalid cascade value ({how}). {text}")).into());
    }
    let dry_run = DryRun::parse(&flags.dry_run)?;
    let options = options(flags)?;
    if flags.force && matches!(dry_run, DryRun::No) {
        salvage(call, flags)?;
    }
    let (objects, mut failed) = objects(call, flags)?;
    // What --all or a selector did not find is no error, and said of no name that is not there.
    if objects.is_empty() && failed.is_empty() {
        print("No resources found\n")?;
    }
    if flags.interactive && !objects.is_empty() && !confirmed(&objects)? {
        print("deletion is cancelled\n")?;
        return Ok(0);
    }
    let mut told = Vec::new();
    let (progress, count) = Progress::through("Deleting", objects.len());
    for object in objects {
        let pods = match dry_run {
            DryRun::No => tell_to_go(call, options, &object),
            DryRun::Client | DryRun::Server => Ok(Vec::new()),
        };
        match pods {
            Ok(pods) => {
                say(flags, options, dry_run, &object)?;
                told.extend(pods);
            }
            Err(error) => failed.push(error),
        }
        count.add(1);
    }
    drop(progress);
    if flags.ignore_not_found {
        failed.retain(|error| !resource::is_missing(error));
    }
    if flags.wait {
        failed.extend(wait(call, flags.timeout, &told));
    }
    done(failed)
}

/// kubectl's question.
fn confirmed(objects: &[Object]) -> Result<bool> {
    let mut text = "You are about to delete the following ".to_owned();
    text.push_str(&format!("{} resource(s):\n", objects.len()));
    for object in objects {
        text.push_str(&format!("{}/{}\n", object.resource().singular(), object.name()));
    }
    print(&format!("{text}Do you want to continue? (y/N): "))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).doing(|| "read the answer")?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// Tells an object to go; returns the pods that go with it, to be awaited.
pub fn tell_to_go(call: &Call, options: DeleteOptions, object: &Object) -> Result<Vec<Pod>> {
    let (resource, namespace, name) = (object.resource(), object.namespace(), object.name());
    match object {
        Object::Pod(pod) => {
            call.engine.delete(namespace, name, options)?;
            Ok(vec![pod.as_ref().clone()])
        }
        Object::Namespace(_) => call.engine.delete_namespace(name, options),
        _ => call.engine.remove_object(resource, namespace, name).map(|()| Vec::new()),
    }
}

/// Deletes an object, if it is there, and waits until it is gone.
pub fn at_once(
    call: &Call,
    object: &Object,
    options: DeleteOptions,
    timeout: Option<Duration>,
) -> Result<()> {
    let there = call.engine.get_object(object.resource(), object.namespace(), object.name());
    let told = match there.and_then(|object| tell_to_go(call, options, &object)) {
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        told => told?,
    };
    wait(call, timeout, &told).pop().map_or(Ok(()), Err)
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
    let chosen = Chosen {
        verb: "delete",
        files: &flags.files,
        words: &flags.words,
        selectors: &flags.selectors,
    };
    chosen.objects(call, false)
}

/// What is named can be deleted by force though its files are damaged.
fn salvage(call: &Call, flags: &Flags) -> Result<()> {
    if flags.words.is_empty() {
        return Ok(());
    }
    let Wanted::Named(items) = resource::wanted(&flags.words)? else { return Ok(()) };
    let salvage = |(kind, name): &(Resource, String)| {
        let namespace = if kind.namespaced() { call.namespace.as_str() } else { "" };
        call.engine.salvage(*kind, namespace, name)
    };
    items.iter().map(salvage).fold(Ok(()), Result::and)
}

fn say(flags: &Flags, options: DeleteOptions, dry_run: DryRun, object: &Object) -> Result<()> {
    let (kind, name) = (object.resource().singular(), object.name());
    if flags.output.as_deref() == Some("name") {
        return print(&format!("{kind}/{name}\n"));
    }
    let how = if options.grace_period == Some(0) { "force deleted" } else { "deleted" };
    let suffix = dry_run.suffix();
    match object.namespace() {
        "" => print(&format!("{kind} \"{name}\" {how}{suffix}\n")),
        namespace => {
            print(&format!("{kind} \"{name}\" {how} from {namespace} namespace{suffix}\n"))
        }
    }
}

/// Waits for all of them, within one timeout.
fn wait(call: &Call, timeout: Option<Duration>, pods: &[Pod]) -> Vec<Error> {
    let timeout = timeout.filter(|timeout| !timeout.is_zero());
    let end = timeout.map(|timeout| Instant::now() + timeout);
    let mut failed = Vec::new();
    let (_progress, count) = Progress::through("Waiting for pods to go", pods.len());
    for pod in pods {
        let (namespace, name) = key(pod);
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        match call.engine.wait_deleted(namespace, name, part(pod.metadata.uid.as_ref()), left) {
            Ok(true) => count.add(1),
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
