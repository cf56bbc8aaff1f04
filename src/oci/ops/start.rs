//! `start`: the hand-over to the user's program.
//!
//! The created process waits in accept(2) on a socket in the container's directory, where it can be
//! seen. `start` connects, removes the socket and says go; the connection closes when the program
//! has been executed, or carries the reason why not. Whichever side is killed meanwhile, the other
//! notices; nothing waits for a reader that never comes, and `delete` kills the one that waits.

use crate::error::{Context, Error, Result};
use crate::oci::container::{Container, Status};
use crate::oci::launch::{self, Report, Steps, exec_failed, hooks};
use crate::oci::notify;
use crate::oci::plan::step::Barrier;
use crate::sys::{Errno, clone, fs, socket};
use nix::fcntl::OFlag;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How long the program may take from go to its execution.
const DEADLINE: Duration = Duration::from_secs(60);

/// Releases a created container's program; returns once it has been executed, or says why not.
pub fn start(root: &Path, id: &str) -> Result<()> {
    start_with(root, id, StartOptions::default())
}

/// What `start` may take beside the name.
#[derive(Clone, Copy, Debug, Default)]
pub struct StartOptions<'a> {
    /// `NOTIFY_SOCKET`: who is to hear that the program is ready, which is waited for.
    pub notify_socket: Option<&'a Path>,
    /// Where its steps are written to.
    pub trace: Option<&'a Path>,
}

/// [`start`], with more than a name.
pub fn start_with(root: &Path, id: &str, options: StartOptions<'_>) -> Result<()> {
    let mut steps = Steps::new(options.trace);
    let done = release(root, id, options.notify_socket, &mut steps);
    steps.write()?;
    done
}

fn release(root: &Path, id: &str, notify: Option<&Path>, steps: &mut Steps<'_>) -> Result<()> {
    let lock = steps.step("lock", || Container::open(root, id)?.lock())?;
    // Read under the lock: another start may have been first.
    let container = Container::open(root, id)?;
    let init = waiting(&container)?;
    let record = &container.record;
    let state = container.state(Status::Created);
    steps
        .step("startContainer", || {
            if record.start_container.is_empty() {
                return Ok(());
            }
            let place = hooks::Place::Container(&container);
            hooks::run(&record.start_container, "startContainer", &state, place)
        })
        .or_else(|error| stop(&init).and(Err(error)))?;
    let socket = notify.map(|_| notify::listen(&container.dir)).transpose()?;
    steps.step("go", || go(&container))?;
    drop(lock);
    steps.step("poststart", || poststart(&container, &init))?;
    match (socket, notify) {
        (Some(socket), Some(host)) => notify::pass_on(&socket, host, &init, record.pid),
        _ => Ok(()),
    }
}

/// The process of a container that waits for this.
fn waiting(container: &Container) -> Result<OwnedFd> {
    match (container.status()?, container.init()?) {
        (Status::Created, Some(init)) => Ok(init),
        (Status::Running, _) => Err(Error::user("cannot start an already running container")),
        (Status::Paused, _) => Err(Error::user("cannot start a container in the paused state")),
        (_, _) => Err(Error::user("cannot start a container that has stopped")),
    }
}

/// A hook that fails stops the container
/// ([lifecycle](https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#lifecycle)).
fn stop(init: &OwnedFd) -> Result<()> {
    match clone::pidfd_send_signal(init, clone::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).doing(|| "kill the container"),
    }
}

fn go(container: &Container) -> Result<()> {
    let what = || "reach the container's process";
    let dir = fs::open(&container.dir, OFlag::O_PATH | OFlag::O_DIRECTORY, 0).doing(what)?;
    let process = socket::connect_at(dir.as_fd(), "start").doing(what)?;
    std::fs::remove_file(container.start_socket()).doing(what)?;
    socket::set_receive_timeout(&process, DEADLINE).doing(what)?;
    launch::send(&process, Report { step: Barrier::Go as u32, errno: 0 }).doing(what)?;
    match launch::receive(&process) {
        Ok(None) => Ok(()),
        Ok(Some(report)) => Err(failed(container, report)),
        Err(Errno::EAGAIN) => {
            let cause = format!("the program was not executed within {} s", DEADLINE.as_secs());
            Err(Error::system(cause).hint("is the container frozen, or its disk stuck?"))
        }
        Err(errno) => Err(errno).doing(what),
    }
}

fn failed(container: &Container, report: Report) -> Error {
    let after = &container.record.after_start;
    let step = report.step.checked_sub(after.first).and_then(|at| after.steps.get(at as usize));
    match step {
        Some(words) => Error::from(Errno::from_raw(report.errno)).doing(words.as_str()),
        None => exec_failed(&after.program, report.errno),
    }
}

/// A failing hook stops the container.
pub(super) fn poststart(container: &Container, init: &OwnedFd) -> Result<()> {
    let state = container.state(Status::Running);
    hooks::run(&container.record.poststart, "poststart", &state, hooks::Place::Host)
        .or_else(|error| stop(init).and(Err(error)))
}
