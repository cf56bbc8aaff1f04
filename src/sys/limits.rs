//! Resource limits.

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
