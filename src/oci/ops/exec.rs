//! `exec`: another process in a running container.

use super::create::{Tell, connect_console};
use super::run::{pair, receive_master};
use super::{Created, ExecOptions, cgroup_of};
use crate::error::{Context, Error, Result};
use crate::oci::container::{Container, Status};
use crate::oci::launch::console::{Receiver, hold_signals, supervise};
use crate::oci::launch::{self, Job, Launched};
use crate::oci::plan;
use crate::sys::cred;
use nix::sys::signalfd::SignalFd;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Runs a process in a running container. Attached: relays a terminal if `process.terminal`,
/// forwards signals, and returns the exit status (128+N for signal N). Detached: returns 0.
pub fn exec(root: &Path, id: &str, options: &ExecOptions) -> Result<i32> {
    exec_begun(root, id, options)?.finish()
}

/// A process that has been executed in a container, for [`Begun::finish`].
#[must_use = "nobody waits for it or relays its terminal"]
pub struct Begun {
    launched: Launched,
    relay: Option<OwnedFd>,
    signals: Option<SignalFd>,
}

/// The first half of [`exec`]: the process is there.
pub fn exec_begun(root: &Path, id: &str, options: &ExecOptions) -> Result<Begun> {
    let signals = (!options.detach).then(hold_signals).transpose()?;
    let terminal = options.process.terminal() == Some(true);
    let (launched, relay) = if signals.is_none() || options.console_socket.is_some() || !terminal {
        (spawn(root, id, options)?, None)
    } else {
        let (console, relay) = pair()?;
        (spawn_with(root, id, options, console)?, relay)
    };
    Ok(Begun { launched, relay, signals })
}

impl Begun {
    /// Its pid on the host.
    pub fn pid(&self) -> i32 {
        self.launched.pid
    }

    /// The second half of [`exec`]: its end, unless detached.
    pub fn finish(self) -> Result<i32> {
        let Some(signals) = self.signals else { return Ok(0) };
        let master = self.relay.map(receive_master).transpose()?;
        supervise(&self.launched, master, &signals)
    }
}

/// As [`exec`], but returns the process instead of waiting: the caller reaps it.
pub fn exec_spawn(root: &Path, id: &str, options: &ExecOptions) -> Result<Created> {
    let launched = spawn(root, id, options)?;
    Ok(Created { pid: launched.pid, pidfd: launched.pidfd })
}

fn spawn(root: &Path, id: &str, options: &ExecOptions) -> Result<Launched> {
    let terminal = options.process.terminal() == Some(true);
    let console = connect_console(terminal, options.console_socket.as_deref())?;
    spawn_with(root, id, options, console)
}

fn spawn_with(
    root: &Path,
    id: &str,
    options: &ExecOptions,
    console: Option<Receiver>,
) -> Result<Launched> {
    let tell = Tell::new(options.pid_file.as_deref(), options.pidfd_socket.as_deref())?;
    let container = Container::open(root, id)?;
    match container.status()? {
        Status::Running | Status::Created => {}
        Status::Paused if options.ignore_paused => {}
        Status::Paused => {
            let error = Error::user("cannot exec in a paused container");
            return Err(error.hint("--ignore-paused waits for it to be resumed"));
        }
        Status::Stopped | Status::Creating => {
            return Err(Error::user("cannot exec in a stopped container"));
        }
    }
    let init = container.init()?;
    let init = init.ok_or_else(|| Error::user("cannot exec in a stopped container"))?;
    let spec = container.config()?;
    let available = cred::permitted().doing(|| "read own capabilities")?;
    let (record, fds) = (&container.record, options.preserve_fds);
    let mut plan = plan::exec(record, &spec, &options.process, fds, available)?;
    if !options.cgroups.is_empty() {
        plan.cgroup = Some(cgroup_of(&container)?.below(&options.cgroups)?);
    }
    let job = Job {
        joined: Some(&container),
        join: Some(init),
        cgroup_named: !options.cgroups.is_empty(),
        console,
        trace: options.trace.as_deref(),
        ..Job::default()
    };
    let launched = launch::launch(&plan, job)?;
    match tell.of(&launched) {
        Ok(()) => Ok(launched),
        Err(error) => launched.abandon().and(Err(error)),
    }
}
