//! Executing programs: argument vectors made before the fork, execveat(2), descriptor hygiene.

use super::{Errno, Result};
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Strings and the null-ended vector of pointers to them, as execve(2) wants it. Making it
/// allocates, using it does not.
pub struct CVec {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl CVec {
    /// Takes the strings.
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { strings, pointers }
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
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

/// Clears close-on-exec.
pub fn keep_on_exec(fd: impl AsFd) -> Result<()> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).map_err(super::clone::errno)
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
