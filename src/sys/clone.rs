//! Processes: clone3, pidfds and waiting.

use super::{Errno, Result};
use rustix::process::{Pid, PidfdFlags, Signal, WaitIdOptions, WaitIdStatus};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Which side of clone3 returned.
pub enum Forked {
    /// In the caller.
    Parent {
        /// The new process, as the caller's pid namespace sees it.
        pid: i32,
        /// It again, free of pid reuse.
        pidfd: OwnedFd,
    },
    /// In the new process: it has one thread and a copy of everything.
    Child,
}

/// clone3(2) as fork, with `CLONE_PIDFD` and whatever `flags` say; `cgroup` adds
/// `CLONE_INTO_CGROUP`. The child raises `SIGCHLD` at its end.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    let mut pidfd: i32 = -1;
    // SAFETY: clone_args is plain integers, for which zero is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    // With CLONE_PARENT the kernel takes the parent's own signal and refuses another.
    let signal = if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD } else { 0 };
    args.exit_signal = signal as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child gets a copy of this memory and stack, as with fork(2); the
    // kernel writes `pidfd` only. The child of a process with threads must not allocate.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    match Errno::result(pid)? {
        0 => Ok(Forked::Child),
        pid => {
            // SAFETY: CLONE_PIDFD has stored a descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Forked::Parent { pid: pid as i32, pidfd })
        }
    }
}

/// _exit(2): no destructors, no handlers.
pub fn exit(status: i32) -> ! {
    // SAFETY: ends the process; nothing runs afterwards.
    unsafe { libc::_exit(status) }
}

/// prctl(2) `PR_SET_PDEATHSIG`: SIGKILL when the thread that has made this process ends.
pub fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(errno)
}

/// pidfd_open(2).
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(Errno::ESRCH)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(errno)
}

/// pidfd_send_signal(2); realtime signals too.
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo asks for kill(2)'s; no memory is passed.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(sent).map(drop)
}

/// pidfd_getfd(2): a copy of descriptor `number` of that process, which the caller may trace.
pub fn pidfd_getfd(pidfd: impl AsFd, number: i32) -> Result<OwnedFd> {
    use rustix::process::PidfdGetfdFlags;
    rustix::process::pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()).map_err(errno)
}

/// Reaps a child: waitid(2) with `P_PIDFD`. The status as a shell has it: 128+N for signal N.
pub fn wait(pidfd: impl AsFd) -> Result<i32> {
    loop {
        match wait_id(pidfd.as_fd(), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(exit_status(&status)),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// As [`wait`], but `None` when the child still runs.
pub fn try_wait(pidfd: impl AsFd) -> Result<Option<i32>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    Ok(wait_id(pidfd.as_fd(), options)?.as_ref().map(exit_status))
}

fn wait_id(pidfd: BorrowedFd<'_>, options: WaitIdOptions) -> Result<Option<WaitIdStatus>> {
    rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd), options).map_err(errno)
}

fn exit_status(status: &WaitIdStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    }
}

/// The signal that means death.
pub const SIGKILL: i32 = Signal::KILL.as_raw();

/// rustix's errno as ours.
pub(super) fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}
