//! Forked workers: a process of a single thread does something that allocates or blocks in a child
//! of its own, so that it stays small and awake itself.

use super::{Errno, Result};
use nix::unistd::{ForkResult, Pid};
use std::os::unix::fs::MetadataExt;

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
            let status = if dies_with(parent).is_ok() { work() } else { 1 };
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

/// The exit status as shells and Kubernetes count it: 128+N for signal N.
pub fn exit_code(wait_status: i32) -> i32 {
    match wait_status & 0x7f {
        0 => (wait_status >> 8) & 0xff,
        signal => 128 + signal,
    }
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
