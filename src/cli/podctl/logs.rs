//! `podctl logs`: what a container has written.

use super::flags::parse_duration;
use super::{Call, Outcome, STDOUT, container, resource};
use crate::error::{Context, Error, Result};
use crate::kube::Pod;
use crate::pod::LogOptions;
use clap::Args;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::io::Write;
use std::time::Duration;

/// Flags of `logs`.
#[derive(Args)]
pub struct Flags {
    /// The pod, and the container
    #[arg(value_name = "POD [CONTAINER]")]
    words: Vec<String>,
    /// The container
    #[arg(short, long)]
    container: Option<String>,
    /// All containers, one after the other
    #[arg(long)]
    all_containers: bool,
    /// Go on with what is written until the container has ended
    #[arg(short, long)]
    follow: bool,
    /// The container's previous run
    #[arg(short, long)]
    previous: bool,
    /// Put the time before each line
    #[arg(long)]
    timestamps: bool,
    /// Only this many lines from the end; -1 for all
    #[arg(long, value_name = "LINES", default_value_t = -1, allow_negative_numbers = true,
        hide_default_value = true)]
    tail: i64,
    /// Only what is newer than this: 5s, 2m, 3h
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    since: Option<Duration>,
    /// Only what was written after this (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since_time: Option<Timestamp>,
    /// Stop after this many bytes
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    limit_bytes: Option<i64>,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let (pod, wanted) = match flags.words.as_slice() {
        [pod] => (pod, flags.container.as_deref()),
        [pod, container] if flags.container.is_none() => (pod, Some(container.as_str())),
        [_, _] => {
            let text = "only one of -c or an inline [CONTAINER] arg is allowed";
            return Err(Error::user(text).into());
        }
        _ => {
            let text = "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or \
                        TYPE/NAME is a required argument for the logs command";
            return Err(Error::user(text).into());
        }
    };
    let options = options(flags, Timestamp::now())?;
    let pod = call.engine.get(&call.namespace, &resource::name(pod)?)?;
    for container in containers(flags, &pod, wanted)? {
        let mut out = std::io::stdout().lock();
        call.engine.logs(&pod, &container, &options, &mut out)?;
        out.flush().doing(|| STDOUT)?;
    }
    Ok(0)
}

fn containers(flags: &Flags, pod: &Pod, wanted: Option<&str>) -> Result<Vec<String>> {
    if !flags.all_containers {
        return container::pick(pod, wanted).map(|name| vec![name]);
    }
    if wanted.is_some() {
        return Err(Error::user(
            "--all-containers=true should not be specified with container \
                                name",
        ));
    }
    let all: Vec<String> = container::all(pod).into_iter().map(|(name, _)| name).collect();
    if flags.follow && all.len() > 1 {
        return Err(Error::user("--follow with --all-containers: not supported by runp yet")
            .hint("follow one container: -c NAME"));
    }
    Ok(all)
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
    if flags.tail < -1 {
        return Err(Error::user("--tail must be greater than or equal to -1"));
    }
    if flags.limit_bytes.is_some_and(|limit| limit < 1) {
        return Err(Error::user("--limit-bytes must be greater than 0"));
    }
    Ok(LogOptions {
        follow: flags.follow,
        previous: flags.previous,
        timestamps: flags.timestamps,
        tail: usize::try_from(flags.tail).ok(),
        since,
        limit_bytes: flags.limit_bytes.and_then(|limit| u64::try_from(limit).ok()),
    })
}
