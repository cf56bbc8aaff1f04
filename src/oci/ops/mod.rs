//! One file per command of runc, each `pub fn <name>(…)`; callers are `cli::runp` and `pod`.
//!
//! `create`, `run` and `exec` give the container the caller's own descriptors 0, 1 and 2, and with
//! `preserve_fds = n` also 3 to 3+n.

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod run;
mod start;
mod state;
mod update;

pub use super::plan::exec_remarks;
pub use create::{create, remarks, warnings};
pub use delete::delete;
pub use events::{Event, events, stats};
pub use exec::{exec, exec_begun, exec_spawn};
pub use features::features;
pub use kill::{kill, parse_signal};
pub use list::{list, list_all};
pub use pause::{pause, resume};
pub use ps::ps;
pub use run::{run, run_detached};
pub use start::{StartOptions, start, start_with};
pub use state::state;
pub use update::update;

use super::cgroup::Cgroup;
use super::container::Container;
use super::host::Rootless;
use crate::error::{Error, Result};
use oci_spec::runtime::Process;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What `create` and `run` take beside the bundle.
#[derive(Debug, Default)]
pub struct CreateOptions {
    /// The state root (`--root`).
    pub root: PathBuf,
    /// The container's name.
    pub id: String,
    /// Where to write the init process's pid.
    pub pid_file: Option<PathBuf>,
    /// Socket that receives the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Socket that receives a pidfd of the init process.
    pub pidfd_socket: Option<PathBuf>,
    /// `NOTIFY_SOCKET`: who is to hear that the program is ready.
    pub notify_socket: Option<PathBuf>,
    /// Extra descriptors to pass on.
    pub preserve_fds: u32,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// Whether missing rights to cgroups are put up with.
    pub rootless: Rootless,
    /// `--systemd-cgroup`.
    pub systemd_cgroup: bool,
    /// The bundle is the caller's own and stays as it is: no copy of its configuration is kept.
    pub own_bundle: bool,
    /// Processes whose namespaces the configuration names by their pids. They must still be there
    /// once those are opened: a pid may have become another's.
    pub joined: Vec<OwnedFd>,
    /// `--trace FILE`.
    pub trace: Option<PathBuf>,
}

/// A container's init process, right after `create`.
pub struct Created {
    /// Its pid on the host.
    pub pid: i32,
    /// A descriptor of the process, free of pid reuse.
    pub pidfd: OwnedFd,
}

/// What becomes of a container that `run` has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nobody waits: `run --detach`.
    Detach,
    /// It is waited for and deleted.
    Delete,
    /// It is waited for and kept: `run --keep`.
    Keep,
}

/// What `exec` takes.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// The process to run (complete: args, cwd, env, user, capabilities…).
    pub process: Process,
    /// Do not wait.
    pub detach: bool,
    /// Where to write the pid.
    pub pid_file: Option<PathBuf>,
    /// Socket that receives the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Socket that receives a pidfd of the process.
    pub pidfd_socket: Option<PathBuf>,
    /// Cgroups below the container's, as [`Cgroup::below`] takes them; none for its own.
    pub cgroups: Vec<String>,
    /// Extra descriptors to pass on.
    pub preserve_fds: u32,
    /// Run even if the container is paused (waits for its thawing).
    pub ignore_paused: bool,
    /// `--trace FILE`.
    pub trace: Option<PathBuf>,
}

/// The process of a container's configuration: what `exec` starts from.
pub fn process(root: &Path, id: &str) -> Result<Process> {
    let spec = Container::open(root, id)?.config()?;
    spec.process().clone().ok_or_else(|| Error::user("process property must not be empty"))
}

/// The cgroup, for what cannot be done without.
fn cgroup_of(container: &Container) -> Result<&Cgroup> {
    container.record.cgroup.as_ref().ok_or_else(|| {
        let error = Error::user("the container has no cgroup of its own");
        error.hint("a rootless container has one only where cgroups are delegated to its user")
    })
}
