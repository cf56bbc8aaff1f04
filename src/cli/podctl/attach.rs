//! `podctl attach`: a container's own streams; also what `run` and `debug` end in.

use super::flags::parse_duration;
use super::write::name_of;
use super::{Call, Failed, Outcome, container, resource, running, tell};
use crate::error::{Error, Result};
use crate::kube::{Pod, roster};
use crate::pod::stream::attach::AttachOptions;
use crate::pod::{LogOptions, logread};
use clap::Args;
use k8s_openapi::api::core::v1::ContainerState;
use std::io::IsTerminal;
use std::time::Duration;

/// Flags of `attach`.
#[derive(Args)]
pub struct Flags {
    /// The pod
    #[arg(value_name = "POD")]
    words: Vec<String>,
    /// The container
    #[arg(short, long)]
    container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Standard input is a terminal, as the container's
    #[arg(short = 't', long)]
    tty: bool,
    /// Say nothing but what the container says
    #[arg(short, long)]
    quiet: bool,
    /// How long to wait until the pod runs
    #[arg(long, value_parser = parse_duration, value_name = "DURATION", default_value = "1m0s", hide_default_value = true)]
    pod_running_timeout: Duration,
}

/// What of the container is wanted.
pub struct Wanted {
    /// `-i`.
    pub stdin: bool,
    /// `-t`.
    pub tty: bool,
    /// `-q`.
    pub quiet: bool,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let [word] = flags.words.as_slice() else {
        let text = match flags.words.len() {
            0 => "at least 1 argument is required for attach".to_owned(),
            _ => format!(
                "expected POD, TYPE/NAME, or TYPE NAME, (at most 2 arguments) saw {}: [{}]",
                flags.words.len(),
                flags.words.join(" ")
            ),
        };
        return Err(Error::user(text).into());
    };
    let pod = call.engine.get(&call.namespace, &resource::name(word)?)?;
    let pod = running::wait(call, pod, flags.pod_running_timeout)?;
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        let text = "cannot attach a container in a completed pod; current phase is";
        return Err(Error::user(format!("{text} {phase}")).into());
    }
    let container = container::pick(&pod, flags.container.as_deref())?;
    let wanted = Wanted { stdin: flags.stdin, tty: flags.tty, quiet: flags.quiet };
    attach_to(call, &pod, &container, &wanted, false)?;
    Ok(0)
}

/// Attaches to a container that was just started; all that it has said so far is said first.
pub fn attach(call: &Call, pod: &Pod, container: &str, wanted: &Wanted) -> Result<()> {
    let seen = attach_to(call, pod, container, wanted, true)?;
    if seen > 0 {
        return Ok(());
    }
    // It may have ended before; then its log has all.
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let pod = call.engine.get(namespace, name_of(pod))?;
    let all = LogOptions::default();
    call.engine.logs(&pod, container, &all, &mut std::io::stdout().lock())
}

fn attach_to(
    call: &Call,
    pod: &Pod,
    container: &str,
    wanted: &Wanted,
    from_start: bool,
) -> Result<u64> {
    let has_tty = roster::find(pod, container).is_some_and(|(_, it)| it.tty == Some(true));
    if wanted.tty && !has_tty {
        tell(&format!("error: Unable to use a TTY - container {container} did not allocate one"));
    }
    let terminal = std::io::stdin().is_terminal();
    if wanted.tty && has_tty && !terminal {
        tell("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    let runs = state(pod, container).is_some_and(|state| state.running.is_some());
    let tty = wanted.tty && has_tty && terminal && wanted.stdin && runs;
    if !wanted.quiet && wanted.stdin {
        tell("If you don't see a command prompt, try pressing enter.");
    }
    let options = AttachOptions { stdin: wanted.stdin && runs, tty, from_start };
    call.engine.attach(pod, container, &options)
}

/// Waits until the container runs or has ended; the pod as it is then. What keeps it from starting
/// is told while it does.
pub fn awaited(call: &Call, pod: Pod, container: &str, timeout: Duration) -> Result<Pod> {
    running::until(call, pod, timeout, &|pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let state = state(pod, container);
        matches!(phase, Some("Succeeded" | "Failed"))
            || state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    })
}

/// The exit status of a container that has ended, once that is in the store.
pub fn exit_status(call: &Call, pod: Pod, container: &str) -> Outcome {
    let pod = running::until(call, pod, Duration::from_secs(60), &|pod| {
        state(pod, container).is_some_and(|state| state.terminated.is_some())
    })?;
    let ended = state(&pod, container).and_then(|state| state.terminated);
    let Some(ended) = ended.filter(|ended| ended.exit_code != 0) else { return Ok(0) };
    let (name, namespace) = (name_of(&pod), pod.metadata.namespace.as_deref().unwrap_or_default());
    let (reason, message) = (ended.reason.unwrap_or_default(), ended.message.unwrap_or_default());
    tell(format!("pod {namespace}/{name} terminated ({reason})\n{message}").trim_end());
    u8::try_from(ended.exit_code).map_err(|_| Failed::from(Error::user("an odd exit status")))
}

fn state(pod: &Pod, container: &str) -> Option<ContainerState> {
    logread::container_status(pod, container)?.state.clone()
}
