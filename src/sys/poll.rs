//! Waiting for many things at once: descriptors, signals, children, changed files.

use super::{Errno, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::ffi::OsString;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Waits until one of `fds` is readable or hung up, or `timeout` passes; says which are, in their
/// order. An interrupted wait is one where none is.
pub fn poll_in(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> Result<Vec<bool>> {
    let mut set: Vec<PollFd> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    match poll(&mut set, poll_timeout(timeout)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    // POLLHUP and POLLERR count: a read tells which it was.
    Ok(set.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect())
}

/// Waits until `fd` is hung up, which for a pidfd means reaped, or `timeout` passes.
pub fn poll_hang_up(fd: BorrowedFd<'_>, timeout: Duration) -> Result<()> {
    // POLLHUP is reported without being asked for; asked for POLLIN, a zombie would wake us.
    match poll(&mut [PollFd::new(fd, PollFlags::empty())], poll_timeout(Some(timeout))) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// poll(2) of one descriptor for one of `events`; false at the deadline.
pub fn poll_until(fd: impl AsFd, events: PollFlags, until: Instant) -> Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up: a wait of 0 ms before the deadline would spin.
        let left = left + Duration::from_micros(999);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), events)], timeout) {
            Err(Errno::EINTR) => {}
            Ok(0) if Instant::now() < until => {}
            Ok(ready) => return Ok(ready > 0),
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether what is written to `fd`, a pipe or a connection, reaches nobody any more.
pub fn is_broken(fd: BorrowedFd<'_>) -> bool {
    let mut set = [PollFd::new(fd, PollFlags::empty())];
    poll(&mut set, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Rounded up, so that a deadline has passed when the wait returns.
pub(super) fn poll_timeout(timeout: Option<Duration>) -> PollTimeout {
    let Some(timeout) = timeout else { return PollTimeout::NONE };
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis)
        .ok()
        .and_then(|ms| PollTimeout::try_from(ms).ok())
        .unwrap_or(PollTimeout::MAX)
}

/// Waits until `fd` can be written to, or has failed.
pub fn poll_out(fd: BorrowedFd<'_>) -> Result<()> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Blocks `signals` for this process and returns a non-blocking descriptor that reports them.
pub fn signalfd(signals: &[Signal]) -> Result<SignalFd> {
    let set: SigSet = signals.iter().copied().collect();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Unblocks every signal: what a forked child does that must not inherit its parent's waiting.
pub fn unblock_signals() -> Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// A non-blocking inotify(7) descriptor.
pub struct Watcher(Inotify);

/// What [`Watcher::read`] saw.
pub struct Seen {
    /// The watch it belongs to; `None` when the queue overflowed and anything may have happened.
    pub watch: Option<WatchDescriptor>,
    /// What happened.
    pub mask: AddWatchFlags,
    /// The entry of a watched directory.
    pub name: Option<OsString>,
}

impl Watcher {
    /// An empty one.
    pub fn new() -> Result<Self> {
        Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map(Self)
    }

    /// Watches `path`, which must not be a symbolic link.
    pub fn add(&self, path: &Path, mask: AddWatchFlags) -> Result<WatchDescriptor> {
        self.0.add_watch(path, mask | AddWatchFlags::IN_DONT_FOLLOW)
    }

    /// What is queued; never blocks.
    pub fn read(&self) -> Result<Vec<Seen>> {
        let events = match self.0.read_events() {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(Vec::new()),
            read => read?,
        };
        let seen = events.into_iter().map(|event| Seen {
            watch: (!event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)).then_some(event.wd),
            mask: event.mask,
            name: event.name,
        });
        Ok(seen.collect())
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The first version of the kernel's `struct pidfd_info`, linux/pidfd.h.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;
const PIDFD_GET_INFO: libc::c_ulong =
    nix::request_code_readwrite!(0xFF, 11, size_of::<PidfdInfo>());

/// The wait status of an ended process that was not our child (`PIDFD_GET_INFO`, Linux 6.15);
/// `None` where the kernel does not say, or nobody has reaped it yet.
pub fn pidfd_exit_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    // The kernel fills in as much as the caller's size asks for; exit_code came with 6.15.
    const { assert!(size_of::<PidfdInfo>() == 64 && offset_of!(PidfdInfo, exit_code) == 60) };
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the ioctl writes at most the size encoded in its number, which is the struct's.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_directory_wakes_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let watcher = Watcher::new().unwrap();
        watcher.add(dir.path(), AddWatchFlags::IN_CREATE).unwrap();
        let woken = poll_in(&[watcher.as_fd()], Some(Duration::ZERO)).unwrap();
        assert_eq!(woken, [false]);
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(poll_in(&[watcher.as_fd()], None).unwrap(), [true]);
        let seen = watcher.read().unwrap();
        assert_eq!(seen.first().and_then(|seen| seen.name.clone()), Some("file".into()));
        assert!(watcher.read().unwrap().is_empty());
    }

    #[test]
    fn an_ended_process_is_readable_and_says_how() {
        let mut child =
            std::process::Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pidfd = crate::sys::clone::pidfd_open(i32::try_from(child.id()).unwrap()).unwrap();
        assert_eq!(poll_in(&[pidfd.as_fd()], None).unwrap(), [true]);
        assert!(child.wait().unwrap().code() == Some(7));
        if let Some(status) = pidfd_exit_status(pidfd.as_fd()) {
            assert_eq!(status, 7 << 8);
        }
    }

    #[test]
    fn a_timeout_is_rounded_up() {
        assert_eq!(poll_timeout(Some(Duration::from_micros(1))), PollTimeout::from(1u8));
        assert_eq!(poll_timeout(None), PollTimeout::NONE);
    }
}
