//! `podctl exec`: a command in a running container.

use super::{Call, Outcome, container, resource, tell};
use crate::error::{Error, Result};
use crate::pod::ExecOptions;
use clap::Args;
use std::io::IsTerminal;

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
}

/// Runs it; the exit status is the command's.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let name = pod_name(flags)?;
    let pod = call.engine.get(&call.namespace, &name)?;
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

fn pod_name(flags: &Flags) -> Result<String> {
    let Some(pod) = flags.words.first() else {
        return Err(Error::user("pod, type/name or --filename must be specified"));
    };
    if flags.words.len() > 1 {
        return Err(Error::user(
            "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- \
                                [COMMAND] instead\nSee 'podctl exec --help' for usage.",
        ));
    }
    if flags.command.is_empty() {
        return Err(Error::user("you must specify at least one command for the container"));
    }
    resource::name(pod)
}
