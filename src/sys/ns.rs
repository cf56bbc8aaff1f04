//! Namespaces: joining and leaving.

use super::{Errno, Result};
use std::os::fd::{AsFd, AsRawFd};

/// setns(2): `fd` is of a namespace (one flag, or 0 for any) or a pidfd (any `CLONE_NEW*` flags).
pub fn setns(fd: impl AsFd, flags: u64) -> Result<()> {
    // SAFETY: takes two integers; the borrowed descriptor is open.
    Errno::result(unsafe { libc::setns(fd.as_fd().as_raw_fd(), flags as i32) }).map(drop)
}

/// setns(2) into several namespaces of the process that `pidfd` is of. The kernel takes the user
/// namespace first, whose root may have no say in others that have another owner: they are joined
/// before it where the caller may.
pub fn setns_process(pidfd: impl AsFd, flags: u64) -> Result<()> {
    let user = libc::CLONE_NEWUSER as u64;
    let pidfd = pidfd.as_fd();
    if flags == 0 {
        return Ok(());
    }
    if flags & user == 0 || flags == user {
        return setns(pidfd, flags);
    }
    match setns(pidfd, flags & !user) {
        Err(Errno::EPERM) => setns(pidfd, flags),
        joined => joined.and_then(|()| setns(pidfd, user)),
    }
}

/// unshare(2) of namespaces.
pub fn unshare(flags: u64) -> Result<()> {
    // SAFETY: takes one integer. Callers pass CLONE_NEW* only, which no other code relies on.
    Errno::result(unsafe { libc::unshare(flags as i32) }).map(drop)
}

/// Whether this process is in the user namespace that the kernel has booted with, whose inode number
/// is fixed (`PROC_USER_INIT_INO`). Where there are no user namespaces it is.
pub fn is_initial_user_namespace() -> bool {
    const INITIAL: &str = "user:[4026531837]";
    std::fs::read_link("/proc/self/ns/user").map_or(true, |name| name.as_os_str() == INITIAL)
}

/// User `uid` of this process's user namespace as the one above knows it.
pub fn outer_user(uid: u32) -> Option<u32> {
    let map = super::fs::read_kernel_file(std::path::Path::new("/proc/self/uid_map")).ok()?;
    map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inner, outer) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let offset = uid.checked_sub(inner).filter(|offset| {
            numbers.next().is_some_and(|size| size.is_ok_and(|size| *offset < size))
        })?;
        outer.checked_add(offset)
    })
}

/// sethostname(2).
pub fn sethostname(name: &std::ffi::CStr) -> Result<()> {
    rustix::system::sethostname(name.to_bytes()).map_err(super::clone::errno)
}

/// setdomainname(2).
pub fn setdomainname(name: &std::ffi::CStr) -> Result<()> {
    rustix::system::setdomainname(name.to_bytes()).map_err(super::clone::errno)
}

/// Sets the loopback interface of the current network namespace up.
pub fn loopback_up() -> Result<()> {
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let family = rustix::net::AddressFamily::INET;
    let socket = rustix::net::socket_with(family, rustix::net::SocketType::DGRAM, flags, None)
        .map_err(super::clone::errno)?;
    // SAFETY: ifreq is plain data, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives until the call returns.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(set).map(drop)
}

/// keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING`: a new session keyring of that name.
pub fn join_session_keyring(name: &std::ffi::CStr) -> Result<()> {
    const JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: the name ends with 0 and is only read.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    Errno::result(joined).map(drop)
}
