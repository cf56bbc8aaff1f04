//! Credentials of the calling thread; the process must have no other.

use super::clone::errno;
use super::types::CapSets;
use super::{Errno, Result};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// setresuid(2), all three.
pub fn setresuid(uid: u32) -> Result<()> {
    // SAFETY: integers only. The raw call, as glibc's wrapper would signal all threads first.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// setresgid(2), all three.
pub fn setresgid(gid: u32) -> Result<()> {
    // SAFETY: integers only. The raw call, as glibc's wrapper would signal all threads first.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// setgroups(2).
pub fn setgroups(groups: &[u32]) -> Result<()> {
    // SAFETY: the kernel reads `len` group numbers, which the slice holds.
    let set = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    Errno::result(set).map(drop)
}

/// getegid(2).
pub fn getegid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// The effective user.
pub fn geteuid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// `PR_SET_KEEPCAPS`: permitted capabilities survive a change of user, until execve.
pub fn keep_capabilities() -> Result<()> {
    rustix::thread::set_keep_capabilities(true).map_err(errno)
}

/// `PR_CAPBSET_DROP` of every capability outside `keep`.
pub fn drop_bounding(keep: u64) -> Result<()> {
    for number in 0..u64::BITS {
        if keep & (1 << number) != 0 {
            continue;
        }
        // SAFETY: integers only.
        match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }) {
            // The kernel knows no higher number.
            Err(Errno::EINVAL) => return Ok(()),
            dropped => dropped.map(drop)?,
        }
    }
    Ok(())
}

/// capset(2) of the three sets at once; the other two stay.
pub fn capset(sets: CapSets) -> Result<()> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(sets.effective),
        permitted: CapabilitySet::from_bits_retain(sets.permitted),
        inheritable: CapabilitySet::from_bits_retain(sets.inheritable),
    };
    rustix::thread::set_capabilities(None, sets).map_err(errno)
}

/// `PR_CAP_AMBIENT_RAISE` of each capability in `ambient`.
pub fn raise_ambient(ambient: u64) -> Result<()> {
    for number in (0..u64::BITS).filter(|number| ambient & (1 << number) != 0) {
        let raise = libc::PR_CAP_AMBIENT_RAISE;
        // SAFETY: integers only.
        let raised = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, number, 0, 0) };
        Errno::result(raised)?;
    }
    Ok(())
}

/// The caller's permitted capabilities, capget(2).
pub fn permitted() -> Result<u64> {
    Ok(rustix::thread::capabilities(None).map_err(errno)?.permitted.bits())
}

/// `PR_SET_NO_NEW_PRIVS`.
pub fn no_new_privileges() -> Result<()> {
    rustix::thread::set_no_new_privs(true).map_err(errno)
}

/// `PR_SET_DUMPABLE`: whether others of the same user may trace this process and open its
/// `/proc/<pid>/{exe,fd,mem}`. execve(2) sets it again; fork(2) copies it.
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    // SAFETY: integers only.
    let set = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, i32::from(dumpable), 0, 0, 0) };
    Errno::result(set).map(drop)
}

/// umask(2); the former mask.
pub fn umask(mask: u32) -> u32 {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(mask)).bits()
}
