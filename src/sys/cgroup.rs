//! What cgroup file systems need beyond plain files: proof that a descriptor is on one, and waiting
//! for a change of `cgroup.events` or for an exit.

use super::poll::poll_until;
use super::{Errno, Result};
use nix::poll::PollFlags;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs, statfs};
use rustix::event::EventfdFlags;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

/// Whether `path` is on a v2 cgroup file system, statfs(2).
pub fn is_cgroup2(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// Whether `path` is on a v1 cgroup file system, statfs(2).
pub fn is_cgroup1(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == CGROUP_SUPER_MAGIC)
}

/// Whether the open file is on a cgroup file system, v1 or v2, fstatfs(2).
pub fn is_on_cgroupfs(fd: impl AsFd) -> Result<bool> {
    let kind = fstatfs(fd)?.filesystem_type();
    Ok(kind == CGROUP_SUPER_MAGIC || kind == CGROUP2_SUPER_MAGIC)
}

/// Waits until the kernel reports a change of the file (`POLLPRI`, cgroups(7)) since it was last
/// read; false at the deadline.
pub fn poll_change(fd: impl AsFd, until: Instant) -> Result<bool> {
    poll_until(fd, PollFlags::POLLPRI, until)
}

/// Waits until the process of `pidfd` has exited, reaped or not; false at the deadline.
pub fn poll_exit(pidfd: impl AsFd, until: Instant) -> Result<bool> {
    poll_until(pidfd, PollFlags::POLLIN, until)
}

/// An eventfd(2) to be given to `cgroup.event_control` of v1.
pub fn eventfd() -> Result<OwnedFd> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    rustix::event::eventfd(0, flags).map_err(super::clone::errno)
}

/// Takes what an eventfd has counted; 0 where that is nothing.
pub fn eventfd_read(fd: impl AsFd) -> Result<u64> {
    let mut count = [0; 8];
    match nix::unistd::read(fd, &mut count) {
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
        read => read.map(|_| u64::from_ne_bytes(count)),
    }
}
