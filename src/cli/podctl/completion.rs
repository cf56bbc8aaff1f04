//! `podctl completion SHELL`: a script for the shell, on standard output.

use super::flags::Cli;
use super::{Outcome, print};
use crate::error::Error;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Flags of `completion`.
#[derive(Args)]
pub struct Flags {
    /// bash, zsh or fish
    #[arg(value_name = "SHELL")]
    shell: Option<String>,
}

/// Runs it.
pub fn run(flags: &Flags) -> Outcome {
    let shell = match flags.shell.as_deref() {
        Some("bash") => Shell::Bash,
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        Some(other) => {
            return Err(Error::user(format!("unsupported shell type {other:?}"))
                .hint("bash, zsh or fish")
                .into());
        }
        None => return Err(Error::user("shell not specified").hint("bash, zsh or fish").into()),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "podctl", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
