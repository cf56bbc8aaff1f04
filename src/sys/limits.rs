//! Limits and scheduling of a process: what programs inherit over execve(2).

use super::types::{NumberSet, Scheduling};
use super::{Errno, Result};

/// `RLIM_INFINITY`.
pub const UNLIMITED: u64 = u64::MAX;

/// prlimit(2): `resource` is a `RLIMIT_*` number, `pid` 0 the caller.
pub fn prlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads `limit` and writes nothing, as the old limit is not asked for.
    let set = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    };
    Errno::result(set).map(drop)
}

/// sched_setattr(2); `pid` 0 the caller.
pub fn sched_setattr(pid: i32, wanted: &Scheduling) -> Result<()> {
    #[repr(C)]
    struct SchedAttr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: wanted.policy,
        flags: wanted.flags,
        nice: wanted.nice,
        priority: wanted.priority,
        runtime: wanted.runtime,
        deadline: wanted.deadline,
        period: wanted.period,
    };
    // SAFETY: the kernel reads `size` bytes, the first version of the struct, and on E2BIG writes
    // back its own size into that field, which is ours alone.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attr, 0) };
    Errno::result(set).map(drop)
}

/// sched_setaffinity(2); numbers that the kernel or the cpuset does not have are left out.
pub fn sched_setaffinity(pid: i32, cpus: &NumberSet) -> Result<()> {
    let bits = cpus.words();
    // SAFETY: the kernel reads as many bytes as the slice has.
    let set = unsafe {
        libc::syscall(libc::SYS_sched_setaffinity, pid, size_of_val(bits), bits.as_ptr())
    };
    Errno::result(set).map(drop)
}

/// ioprio_set(2) of one process: class 1 to 3, level 0 to 7.
pub fn ioprio_set(pid: i32, class: u8, level: u8) -> Result<()> {
    const WHO_PROCESS: i32 = 1;
    let priority = i32::from(class) << 13 | i32::from(level);
    // SAFETY: integers only.
    Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, pid, priority) })
        .map(drop)
}

/// set_mempolicy(2) of the caller: `mode` with its `MPOL_F_*`.
pub fn set_mempolicy(mode: u32, nodes: &NumberSet) -> Result<()> {
    let bits = nodes.words();
    // One more than there are: the kernel takes one off.
    let count = if nodes.is_empty() { 1 } else { bits.len() * u64::BITS as usize + 1 };
    // SAFETY: the kernel reads `count` - 1 bits, which the slice has.
    let set = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, bits.as_ptr(), count) };
    Errno::result(set).map(drop)
}

/// personality(2) of the caller.
pub fn personality(domain: u32) -> Result<()> {
    // SAFETY: integers only.
    Errno::result(unsafe { libc::personality(domain.into()) }).map(drop)
}
