//! A command in a container whose input and output are pipes of the caller's: what `cp` talks to.

use super::{process_of, running_id};
use crate::error::{Context, Result};
use crate::kube::Pod;
use crate::oci::ops::{self, ExecOptions};
use crate::pod::Config;
use crate::sys::{fork, fs};
use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Which of the command's streams the caller holds; the other is `/dev/null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The command reads what the caller writes.
    Stdin,
    /// The caller reads what the command writes.
    Stdout,
    /// Neither.
    Nothing,
}

/// A command that runs; its standard error is the caller's.
pub struct Piped {
    child: Pid,
    /// The caller's end.
    pub pipe: Option<File>,
}

/// Starts `command` in a container that runs.
pub fn start(
    config: &Config,
    pod: &Pod,
    container: &str,
    command: &[String],
    held: Held,
) -> Result<Piped> {
    let id = running_id(pod, container)?;
    let process = process_of(config, &id, command)?;
    let (read, write) = pipe2(OFlag::O_CLOEXEC).doing(|| "make a pipe to the command")?;
    let (own, given) = match held {
        Held::Stdin => (Some(write), Some(read)),
        Held::Stdout => (Some(read), Some(write)),
        Held::Nothing => (None, None),
    };
    let options = ExecOptions { process, ..Default::default() };
    let child = fork::fork(|| {
        let ended = (|| {
            if let Some(own) = &own {
                fork::close_copy(own.as_fd()).doing(|| "close the caller's end")?;
            }
            stdio(given.as_ref(), held)?;
            ops::exec(&config.paths.oci, &id, &options)
        })();
        match ended {
            Ok(status) => u8::try_from(status).unwrap_or(255),
            // As a shell says of a command that it cannot run.
            Err(_) => 126,
        }
    });
    let child = child.doing(|| "start a process for the command")?;
    Ok(Piped { child, pipe: own.map(File::from) })
}

fn stdio(given: Option<&OwnedFd>, held: Held) -> Result<()> {
    let null = fs::open(Path::new("/dev/null"), OFlag::O_RDWR, 0).doing(|| "open /dev/null")?;
    let null: OwnedFd = null.into();
    let (stdin, stdout) = match (held, given) {
        (Held::Stdin, Some(given)) => (given, &null),
        (Held::Stdout, Some(given)) => (&null, given),
        _ => (&null, &null),
    };
    for (fd, number) in [(stdin, 0), (stdout, 1)] {
        fork::dup_to(fd.as_fd(), number).doing(|| "give the command its streams")?;
    }
    Ok(())
}

impl Piped {
    /// Closes the caller's end and waits; the exit status, 128+N for signal N.
    pub fn wait(mut self) -> Result<i32> {
        drop(self.pipe.take());
        match waitpid(self.child, None).doing(|| "wait for the command")? {
            WaitStatus::Exited(_, status) => Ok(status),
            WaitStatus::Signaled(_, signal, _) => Ok(128 + signal as i32),
            _ => Ok(255),
        }
    }
}
