//! `podctl logs`: what containers have written.

mod stream;

use super::flags::parse_duration;
use super::selection::Selection;
use super::write::usage;
use super::{Call, Outcome, container, resource, tell};
use crate::cli::output;
use crate::error::{Error, Kind, Result};
use crate::kube::{Object, Pod, Resource, roster};
use crate::pod::LogOptions;
use clap::Args;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use stream::Stream;

/// What kubectl prints of each pod that a selector picks.
const SELECTED_TAIL: i64 = 10;

/// Flags of `logs`.
#[derive(Args)]
pub struct Flags {
    /// The pod, and the container
    #[arg(value_name = "POD [CONTAINER]")]
    words: Vec<String>,
    /// The container
    #[arg(short, long)]
    container: Option<String>,
    /// All containers of the pod
    #[arg(long)]
    all_containers: bool,
    /// All pods of the namespace, each line with its pod and container
    #[arg(long)]
    all_pods: bool,
    /// The pods with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Go on with what is written, through restarts, until the container has ended for good
    #[arg(short, long)]
    follow: bool,
    /// The container's previous run
    #[arg(short, long)]
    previous: bool,
    /// Put pod and container before each line
    #[arg(long)]
    prefix: bool,
    /// Put the time before each line
    #[arg(long)]
    timestamps: bool,
    /// Only this many lines from the end; -1 for all [default: -1, with a selector 10]
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    tail: Option<i64>,
    /// Only what is newer than this: 5s, 2m, 3h
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    since: Option<Duration>,
    /// Only what was written after this (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since_time: Option<Timestamp>,
    /// Stop after this many bytes
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    limit_bytes: Option<i64>,
    /// How many logs may be followed at once
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5,
        allow_negative_numbers = true,
        hide_default_value = true
    )]
    max_log_requests: i64,
    /// Go on with the other logs when one cannot be read
    #[arg(long)]
    ignore_errors: bool,
    /// Accepted for kubectl's sake: a log is a file
    #[arg(long, value_parser = parse_duration, value_name = "DURATION", hide = true)]
    pod_running_timeout: Option<Duration>,
    /// Accepted for kubectl's sake: there is no backend to verify
    #[arg(long, hide = true)]
    insecure_skip_tls_verify_backend: bool,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let options = options(flags, Timestamp::now())?;
    let mut streams = Vec::new();
    let all = flags.all_pods.then_some("");
    match (flags.selector.as_deref().or(all), flags.words.as_slice()) {
        (Some(selector), []) => {
            let pods = selected(call, selector)?;
            if pods.is_empty() {
                tell(&output::none_found(Some(&call.namespace)));
                return Ok(0);
            }
            for pod in &pods {
                streams.extend(streams_of(flags, pod, flags.container.as_deref())?);
            }
        }
        (Some(_), _) if flags.selector.is_some() => {
            let text = "only a selector (-l) or a POD name is allowed";
            return Err(usage("logs", text).into());
        }
        (_, words) => {
            let (pod, wanted) = words_of(flags, words)?;
            let pod = call.engine.get(&call.namespace, &resource::name(pod)?);
            let pod = pod.map_err(|error| missing(call, error))?;
            streams.extend(streams_of(flags, &pod, wanted)?);
        }
    }
    if flags.follow && streams.len() > 1 {
        return stream::together(call, flags, &streams, &options);
    }
    stream::in_turn(call, flags, &streams, &options)
}

/// kubectl says of a pod that is not there where it was looked for.
fn missing(call: &Call, error: Error) -> Error {
    match error.kind() {
        Kind::NotFound => {
            let namespace = &call.namespace;
            let text = format!("error from server (NotFound): {error} in namespace {namespace:?}");
            Error::user(text)
        }
        _ => error,
    }
}

fn words_of<'a>(flags: &'a Flags, words: &'a [String]) -> Result<(&'a str, Option<&'a str>)> {
    match words {
        [pod] => Ok((pod, flags.container.as_deref())),
        [pod, container] if flags.container.is_none() => Ok((pod, Some(container.as_str()))),
        [_, _] => Err(Error::user("only one of -c or an inline [CONTAINER] arg is allowed")),
        _ => Err(Error::user(
            "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a \
             required argument for the logs command\nSee 'podctl logs -h' for help and examples",
        )),
    }
}

fn selected(call: &Call, selector: &str) -> Result<Vec<Pod>> {
    let selection = Selection::parse(Resource::Pods, Some(selector), None)?;
    let objects = call.engine.list_objects(Resource::Pods, Some(&call.namespace))?.into_iter();
    let pods =
        objects.filter(|object| selection.matches(object)).filter_map(|object| match object {
            Object::Pod(pod) => Some(*pod),
            _ => None,
        });
    Ok(pods.collect())
}

/// The logs of a pod that are asked for, in the order of kubectl.
fn streams_of(flags: &Flags, pod: &Pod, wanted: Option<&str>) -> Result<Vec<Stream>> {
    let stream = |container: String| Stream { pod: pod.clone(), container };
    if !flags.all_containers {
        return container::pick(pod, wanted).map(|name| vec![stream(name)]);
    }
    if let Some(name) = wanted {
        return Err(Error::user(format!(
            "--all-containers=true should not be specified with container name {name}"
        )));
    }
    let all = roster::all(pod).into_iter();
    Ok(all.map(|(_, container)| stream(container.name.clone())).collect())
}

fn options(flags: &Flags, now: Timestamp) -> Result<LogOptions> {
    let since = match (flags.since, flags.since_time) {
        (Some(_), Some(_)) => {
            let text = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            return Err(Error::user(text));
        }
        (Some(Duration::ZERO), None) => {
            return Err(Error::user("--since must be greater than 0"));
        }
        (Some(ago), None) => {
            let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
            Some(now.checked_sub(ago).unwrap_or(Timestamp::MIN))
        }
        (None, time) => time,
    };
    let tail = flags.tail.unwrap_or(if flags.selector.is_some() { SELECTED_TAIL } else { -1 });
    if tail < -1 {
        return Err(Error::user("--tail must be greater than or equal to -1"));
    }
    if flags.limit_bytes.is_some_and(|limit| limit < 1) {
        return Err(Error::user("--limit-bytes must be greater than 0"));
    }
    Ok(LogOptions {
        follow: flags.follow,
        previous: flags.previous,
        timestamps: flags.timestamps,
        tail: usize::try_from(tail).ok(),
        since,
        limit_bytes: flags.limit_bytes.and_then(|limit| u64::try_from(limit).ok()),
    })
}
