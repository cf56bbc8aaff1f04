//! `delete`: the one teardown path, for stopped, running and half-made containers alike.
//!
//! Each step is fine with its work already done, and the directory goes last, so that a kill at any
//! point leaves something that the next `delete` finishes.

use super::kill::KILL_DEADLINE;
use crate::error::{Context, Error, Kind, Result};
use crate::oci::cgroup::{Cgroup, Layout};
use crate::oci::container::{Container, Lock, Record, Status};
use crate::oci::launch::hooks;
use crate::sys::mount::{self, Depth};
use crate::sys::types::Propagation;
use crate::sys::{Errno, clone, fs, poll};
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

/// Removes a stopped (or created) container; with `force` kills it first and never fails on one
/// that is gone. Returns what to warn of: poststop hooks that have failed, which stops nothing.
pub fn delete(root: &Path, id: &str, force: bool) -> Result<Vec<String>> {
    if !force {
        let container = Container::open(root, id).map_err(|error| match error.kind() {
            Kind::NotFound | Kind::User => error,
            _ => error.hint(forced(id)),
        })?;
        refuse_live(&container, container.status()?)?;
    }
    let (container, lock) = match locked(root, id, force) {
        Ok(found) => found,
        Err(error) if force && error.kind() == Kind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if !force && container.record.pid != 0 {
        // Somebody may have started it before the lock was ours.
        refuse_live(&container, container.status()?)?;
    }
    let warnings = tear_down(&container)?;
    drop(lock);
    Ok(warnings)
}

/// Removes what a failed `create` has made, which holds the lock.
pub(super) fn undo(container: &Container, lock: Lock) -> Result<Vec<String>> {
    let warnings = tear_down(container)?;
    drop(lock);
    Ok(warnings)
}

/// As [`delete`] with `force`, of the container that the caller has started: another one may have
/// its name by now.
pub(super) fn delete_own(root: &Path, own: &Container) -> Result<Vec<String>> {
    end_init(own)?;
    let lock = match lock_of(own) {
        Err(error) if error.kind() == Kind::NotFound => return Ok(Vec::new()),
        lock => lock?,
    };
    let id = &own.record.id;
    let there = Container::open(root, id).map_err(|error| error.hint(forced(id)))?;
    let process = |of: &Container| (of.record.pid, of.record.start_time);
    if process(&there) != process(own) {
        return Ok(Vec::new());
    }
    undo(&there, lock)
}

fn refuse_live(container: &Container, status: Status) -> Result<()> {
    if matches!(status, Status::Stopped | Status::Created) {
        return Ok(());
    }
    let id = &container.record.id;
    let cause = format!("cannot delete container {id} that is not stopped: {status}");
    Err(Error::user(cause).hint(forced(id)))
}

fn forced(id: &str) -> String {
    format!("`runp delete --force {id}` removes it all the same")
}

/// The container as it is once nobody else works on it.
fn locked(root: &Path, id: &str, force: bool) -> Result<(Container, Lock)> {
    let container = open(root, id, force)?;
    if force {
        // Whoever is still making it holds the lock until it fails, which it does upon this.
        end_init(&container)?;
    }
    let lock = lock_of(&container)?;
    Ok((open(root, id, force)?, lock))
}

/// The lock, once it is free; `NotFound` if another delete was first.
fn lock_of(container: &Container) -> Result<Lock> {
    let gone = || Error::new(Kind::NotFound, "container does not exist");
    let lock = container.lock().map_err(|error| match error.errno() {
        Some(Errno::ENOENT) => gone(),
        _ => error,
    })?;
    // By now the name may be a new container's.
    if fstat(&*lock).doing(|| format!("lock {}", container.dir.display()))?.st_nlink == 0 {
        return Err(gone());
    }
    Ok(lock)
}

/// The record; with `force` what can be known of one that is damaged or gone.
fn open(root: &Path, id: &str, force: bool) -> Result<Container> {
    let mut container = match Container::open(root, id) {
        Err(error) if force && !matches!(error.kind(), Kind::NotFound | Kind::User) => {
            Container { dir: root.join(id), record: Record { id: id.into(), ..Record::default() } }
        }
        opened => opened?,
    };
    if container.record.bundle.as_os_str().is_empty() {
        container.record.cgroup = cgroup_of_config(&container);
    }
    Ok(container)
}

/// Where the configuration puts the cgroup; without a record and a configuration there is none.
fn cgroup_of_config(container: &Container) -> Option<Cgroup> {
    let spec = container.config().ok()?;
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    Cgroup::resolve(&Layout::probe().ok()?, path, &container.record.id).ok()
}

fn tear_down(container: &Container) -> Result<Vec<String>> {
    end_init(container)?;
    if let Some(cgroup) = &container.record.cgroup {
        cgroup.kill_all(KILL_DEADLINE)?;
        cgroup.remove().doing(|| "unable to remove container's cgroup")?;
    }
    if let Some(id) = container.record.host_mount {
        let rootfs = &container.record.rootfs;
        unmount(rootfs, id).doing(|| format!("unmount {}", rootfs.display()))?;
    }
    let state = container.state(Status::Stopped);
    let warnings = hooks::run_all(&container.record.poststop, "poststop", &state);
    std::fs::remove_dir_all(&container.dir).doing(|| "unable to remove container state dir")?;
    Ok(warnings)
}

/// Takes away the container's mounts from the host's mount namespace, unless that was done already:
/// then something else is there, or nothing.
fn unmount(rootfs: &Path, id: u64) -> Result<()> {
    let root = match fs::open(rootfs, OFlag::O_PATH | OFlag::O_DIRECTORY, 0) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        opened => opened?,
    };
    if mount::mount_id(&root)? != id {
        return Ok(());
    }
    // A copy of a shared mount would take those below the original with it.
    mount::mount_propagate(&root, c"", Propagation::Private, Depth::Tree)?;
    Ok(mount::umount_fd_detached(&root)?)
}

/// Kills the init process, if it is there, and waits until it is gone.
fn end_init(container: &Container) -> Result<()> {
    let Some(init) = container.init()? else { return Ok(()) };
    match clone::pidfd_send_signal(&init, clone::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => Err(errno).doing(|| "unable to signal init")?,
    }
    match &container.record.cgroup {
        // A frozen process of cgroup v1 dies only once it is thawed.
        Some(cgroup) if cgroup.is_frozen()? => cgroup.freeze(false)?,
        _ => {}
    }
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // The descriptor of a process is readable once the process has ended, pidfd_open(2).
        match poll::poll_in(&[init.as_fd()], Some(left)).doing(|| "wait for init")?.as_slice() {
            [true] => return Ok(()),
            _ if left.is_zero() => break,
            _ => {}
        }
    }
    Err(Error::system("container init still running")
        .hint("a process in an uninterruptible system call cannot be killed; try again later"))
}
