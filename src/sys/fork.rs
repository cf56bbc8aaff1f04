//! Forked workers: a process of a single thread does something that allocates or blocks in a child
//! of its own, so that it stays small and awake itself.

use super::{Errno, Result};
use nix::unistd::{ForkResult, Pid};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Forks; `work` runs in the child, which ends with the status that it returns and is killed should
/// this process end first. `EBUSY` where this process has several threads: a lock held by one of
/// them would never be released in the child.
pub fn fork(work: impl FnOnce() -> u8) -> Result<Pid> {
    // /proc/self/task has ".", ".." and one link per thread.
    if std::fs::metadata("/proc/self/task").map_err(super::fs::errno)?.nlink() != 3 {
        return Err(Errno::EBUSY);
    }
    let parent = nix::unistd::getpid();
    // SAFETY: this process has one thread, so no lock is held by another one and the child may do
    // anything the parent might have done.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            // A panic must not unwind into what the parent was doing.
            let work = || if dies_with(parent).is_ok() { work() } else { 1 };
            let status = catch_unwind(AssertUnwindSafe(work)).unwrap_or(101);
            // SAFETY: _exit(2) has no preconditions; the parent's exit handlers are not ours to run.
            unsafe { libc::_exit(i32::from(status)) }
        }
    }
}

/// Asks for SIGKILL when the parent ends, and makes sure that it has not yet, prctl(2).
fn dies_with(parent: Pid) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    if nix::unistd::getppid() == parent { Ok(()) } else { Err(Errno::ESRCH) }
}

/// A child that has ended: its pid and its wait status as wait(2) encodes it. `None` when none has.
pub fn reap_any() -> Result<Option<(i32, i32)>> {
    let mut status = 0;
    // SAFETY: the status pointer is valid. Not nix: its WaitStatus knows no real-time signals.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    match Errno::result(pid) {
        Ok(0) | Err(Errno::ECHILD) => Ok(None),
        Ok(pid) => Ok(Some((pid, status))),
        Err(errno) => Err(errno),
    }
}

/// kill(2) of a child that has not been reaped: until then its pid is no other's.
pub fn kill_child(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: no memory is involved. Not nix: its Signal knows no real-time signals.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// The exit status as shells and Kubernetes count it: 128+N for signal N.
pub fn exit_code(wait_status: i32) -> i32 {
    match wait_status & 0x7f {
        0 => (wait_status >> 8) & 0xff,
        signal => 128 + signal,
    }
}

/// dup2(2) to a number that whoever is started next expects, inheritable. Whatever had the number is
/// closed: only for a process that is about to start another and uses it no more.
pub fn dup_to(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    if fd.as_raw_fd() == number {
        return Err(Errno::EINVAL);
    }
    // SAFETY: no memory is involved; the caller has given the number up.
    Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// Closes a forked child's copy of a descriptor of its parent's. Its owner in the child's memory is
/// never dropped: the child ends by _exit(2).
pub fn close_copy(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no memory is involved; see above for the owner.
    Errno::result(unsafe { libc::close(fd.as_raw_fd()) }).map(drop)
}

/// A copy of `fd` whose number is at least `least`, close-on-exec.
pub fn dup_above(fd: BorrowedFd<'_>, least: i32) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, least)
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

/// Closes every descriptor from `first` on, close_range(2): what a process was given without being
/// meant to have it. Only before this process opens any of its own.
pub fn close_from(first: u32) -> Result<()> {
    // SAFETY: no memory is involved; the caller owns none of them.
    Errno::result(unsafe { libc::close_range(first, u32::MAX, 0) }).map(drop)
}

/// Makes this process the one that orphaned descendants are given to (`PR_SET_CHILD_SUBREAPER`).
pub fn set_child_subreaper() -> Result<()> {
    nix::sys::prctl::set_child_subreaper(true)
}

/// Gives free memory of the heap back to the system, malloc_trim(3).
pub fn malloc_trim() {
    // SAFETY: malloc_trim has no preconditions.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_counted_as_shells_do() {
        for (wait_status, expected) in [(0, 0), (7 << 8, 7), (9, 137), (15 | 0x80, 143)] {
            assert_eq!(exit_code(wait_status), expected);
        }
    }
}
