//! seccomp(2): loading filters.

use super::{Errno, Result};
use std::os::fd::{FromRawFd, OwnedFd};

/// One `struct sock_filter` as the kernel reads it.
pub type Instruction = libc::sock_filter;

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`
pub const NEW_LISTENER: u32 = 1 << 3;

/// Loads a filter for this thread, for good. With [`NEW_LISTENER`] in `flags` returns the listener.
pub fn seccomp_load(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from `filter`, and writes nothing.
    let loaded = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    let fd = Errno::result(loaded)? as i32;
    if flags & NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER the call returns a new descriptor, close-on-exec.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}
