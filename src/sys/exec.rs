//! Executing programs: argument vectors made before the fork, execveat(2), descriptor hygiene.

use super::{Errno, Result};
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Strings and the null-ended vector of pointers to them, as execve(2) wants it. Making it
/// allocates, using it does not.
pub struct CVec {
    /// What the pointers point to.
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
    spare: Option<Box<[u8; 256]>>,
}

impl CVec {
    /// Takes the strings.
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { _strings: strings, pointers, spare: None }
    }

    /// As [`CVec::new`], with room for one more string, which [`CVec::set_spare`] fills.
    pub fn with_spare(strings: Vec<CString>) -> Self {
        let mut vector = Self::new(strings);
        vector.spare = Some(Box::new([0; 256]));
        vector.pointers.push(std::ptr::null());
        vector
    }

    /// Adds the string `name` followed by `value` at the end, once. `ENAMETOOLONG` if it does not
    /// fit, `ENOENT` without a spare place.
    pub fn set_spare(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        let spare = self.spare.as_mut().ok_or(Errno::ENOENT)?;
        // The last byte stays zero.
        if name.len() + value.len() >= spare.len() {
            return Err(Errno::ENAMETOOLONG);
        }
        for (to, from) in spare.iter_mut().zip(name.iter().chain(value)) {
            *to = *from;
        }
        let place = self.pointers.iter().position(|pointer| pointer.is_null());
        let place = place.filter(|index| index + 1 < self.pointers.len()).ok_or(Errno::ENOENT)?;
        if let Some(pointer) = self.pointers.get_mut(place) {
            *pointer = spare.as_ptr().cast();
        }
        Ok(())
    }
}

/// execveat(2) of the open file `program` (`AT_EMPTY_PATH`); returns only on failure.
pub fn execve_fd(program: BorrowedFd<'_>, argv: &CVec, envp: &CVec) -> Errno {
    // SAFETY: both vectors end with null and point to strings that end with 0, owned by the CVecs.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Errno::last()
}

/// execve(2); returns only on failure.
pub fn execve(program: &CStr, argv: &CVec, envp: &CVec) -> Errno {
    // SAFETY: both vectors end with null and point to strings that end with 0, owned by the CVecs.
    unsafe {
        libc::execve(program.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr());
    }
    Errno::last()
}

/// close_range(2) with `CLOSE_RANGE_CLOEXEC`: everything from `first` on stays out of programs.
pub fn close_range_cloexec(first: u32) -> Result<()> {
    const CLOEXEC: u32 = 4;
    // SAFETY: integers only; marks descriptors, closes none.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOEXEC) };
    Errno::result(marked).map(drop)
}

/// Closes all from `first` on but `keep`: what the caller of this program left open in it. To be done
/// before the program has opened anything else.
pub fn close_inherited(first: u32, keep: Option<BorrowedFd<'_>>) -> Result<()> {
    close_all_but(first, &mut keep.map(|fd| fd.as_raw_fd()).into_iter().collect::<Vec<_>>())
}

/// Closes all from `first` on but `keep`, whoever owns them: to be done where nobody uses or drops
/// any other any more. Allocates nothing.
pub fn close_all_but(first: u32, keep: &mut [RawFd]) -> Result<()> {
    keep.sort_unstable();
    let mut next = first;
    for kept in keep.iter().map(|fd| *fd as u32).filter(|kept| *kept >= first) {
        if kept > next {
            close_range(next, kept - 1)?;
        }
        next = kept + 1;
    }
    close_range(next, u32::MAX)
}

/// close_range(2)
fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: integers only; what is closed has no owner in this program, or none that is dropped.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// dup2(2) onto a standard descriptor (0, 1, 2), which std never closes.
pub fn dup_to_stdio(fd: impl AsFd, standard: RawFd) -> Result<()> {
    debug_assert!(standard <= 2, "other descriptors have owners");
    // SAFETY: descriptors 0 to 2 have no owner in this program that could close them later.
    Errno::result(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), standard) }).map(drop)
}

/// dup2(2) onto the number of `onto`, whose file is closed; the copy survives execve.
pub fn dup_onto(fd: impl AsFd, onto: &OwnedFd) -> Result<()> {
    // SAFETY: `onto` stays the owner of its number, which refers to another file now.
    Errno::result(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), onto.as_raw_fd()) }).map(drop)
}

/// What a program may expect: no signal blocked, and `SIGPIPE` not ignored, as Rust's start-up has
/// it for this one.
pub fn reset_signals() -> Result<()> {
    use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    // SAFETY: the default action is no handler, so no code of ours can be interrupted by it.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map(drop)
}

/// Makes this process exit with 128+N at each of `signals`, until it executes another program. The
/// first process of a PID namespace would else never see them, pid_namespaces(7).
pub fn exit_on(signals: &[nix::sys::signal::Signal]) -> Result<()> {
    use nix::sys::signal::{SigHandler, signal};
    extern "C" fn exit(number: libc::c_int) {
        // SAFETY: _exit(2) may be called from a handler, and does not return.
        unsafe { libc::_exit(128 + number) }
    }
    signals.iter().try_for_each(|number| {
        // SAFETY: the handler calls nothing that is not safe in one, and touches no memory.
        unsafe { signal(*number, SigHandler::Handler(exit)) }.map(drop)
    })
}

/// Takes back what whoever has executed this program ignores, as nohup(1) does, and what would be
/// ignored in all that is executed from here. With `SIGCHLD` ignored nobody's status is known.
pub fn ignore_no_signals() -> Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // The first two cannot be ignored, the others have their actions from Rust's start-up.
    let kept = [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGPIPE, Signal::SIGSEGV, Signal::SIGBUS];
    for other in Signal::iterator().filter(|signal| !kept.contains(signal)) {
        // SAFETY: the default action is no handler.
        unsafe { signal(other, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Clears close-on-exec.
pub fn keep_on_exec(fd: impl AsFd) -> Result<()> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).map_err(super::clone::errno)
}

/// A memory file with `content`, read from its start.
pub fn memory_file(name: &CStr, content: &[u8]) -> Result<OwnedFd> {
    // SAFETY: the name ends with 0; the call makes a descriptor that nobody else owns.
    let file = unsafe {
        let fd = Errno::result(libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC))?;
        std::fs::File::from(OwnedFd::from_raw_fd(fd))
    };
    std::os::unix::fs::FileExt::write_all_at(&file, content, 0).map_err(super::fs::errno)?;
    Ok(file.into())
}

/// A sealed memory file with `content`: nobody can change it any more, only execute it.
pub fn sealed_memfd(name: &CStr, content: &[u8]) -> Result<OwnedFd> {
    const EXEC: u32 = 0x10; // MFD_EXEC, since 6.3; before, every memfd was executable
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name ends with 0; the call makes a descriptor that nobody else owns.
    let create = |flags: u32| unsafe {
        Errno::result(libc::memfd_create(name.as_ptr(), flags)).map(|fd| OwnedFd::from_raw_fd(fd))
    };
    let file = match create(flags | EXEC) {
        Err(Errno::EINVAL) => create(flags)?,
        made => made?,
    };
    super::fs::write_once(file.as_fd(), content)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: integers only.
    Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(file)
}
