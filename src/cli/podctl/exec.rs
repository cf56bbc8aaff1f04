//! `podctl exec`: a command in a running container.

use super::flags::parse_duration;
use super::write::Files;
use super::{Call, Outcome, container, files, resource, running, tell};
use crate::error::{Error, Result};
use crate::kube::{Fields, Object, Pod};
use crate::pod::ExecOptions;
use clap::Args;
use std::io::IsTerminal;
use std::time::Duration;

/// Flags of `exec`.
#[derive(Args)]
pub struct Flags {
    /// The pod
    #[arg(value_name = "POD")]
    words: Vec<String>,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// The container
    #[arg(short, long)]
    container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the command a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// Leave out kubectl's messages
    #[arg(short, long)]
    quiet: bool,
    /// A manifest of the pod
    #[arg(short, long, value_name = "FILE")]
    filename: Vec<String>,
    /// How long to wait until the pod runs
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pod_running_timeout: Option<Duration>,
}

/// Runs it; the exit status is the command's.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let mut pod = pod(call, flags)?;
    if let Some(timeout) = flags.pod_running_timeout {
        pod = running::wait(call, pod, timeout)?;
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        let text = "cannot exec into a container in a completed pod; current phase is";
        return Err(Error::user(format!("{text} {phase}")).into());
    }
    let container = container::pick(&pod, flags.container.as_deref())?;
    let terminal = std::io::stdin().is_terminal();
    if flags.tty && !terminal {
        tell("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    let options = ExecOptions {
        command: flags.command.clone(),
        stdin: flags.stdin,
        tty: flags.tty && terminal,
    };
    let status = call.engine.exec(&pod, &container, &options)?;
    if status != 0 && !flags.quiet {
        tell(&format!("command terminated with exit code {status}"));
    }
    Ok(u8::try_from(status).unwrap_or(255))
}

fn pod(call: &Call, flags: &Flags) -> Result<Pod> {
    let words = flags.words.as_slice();
    if words.is_empty() && flags.filename.is_empty() {
        return Err(Error::user("pod, type/name or --filename must be specified"));
    }
    if words.len() > 1 || (!words.is_empty() && !flags.filename.is_empty()) {
        return Err(Error::user(
            "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\n\
             See 'podctl exec -h' for help and examples",
        ));
    }
    if flags.command.is_empty() {
        return Err(Error::user("you must specify at least one command for the container"));
    }
    if let Some(word) = words.first() {
        return call.engine.get(&call.namespace, &resource::name(word)?);
    }
    let from = Files { filename: flags.filename.clone(), recursive: false, kustomize: None };
    let mut manifests = files::read_as(&from, Fields::Ignore)?.into_iter();
    let pods = manifests.find(|one| matches!(one.decoded.object, Object::Pod(_)));
    let Some(manifest) = pods else {
        return Err(Error::user("the file has no pod"));
    };
    let metadata = manifest.decoded.object.metadata();
    let namespace = metadata.namespace.as_deref().unwrap_or(&call.namespace);
    call.engine.get(namespace, manifest.decoded.object.name())
}
