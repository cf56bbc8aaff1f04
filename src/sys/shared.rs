//! Memory and time shared with a child.

use super::clone::errno;
use super::{Errno, Result};
use std::sync::atomic::AtomicU64;

/// Zeroed counters that stay shared over a fork. They live until the process ends.
pub fn shared_counters(count: usize) -> Result<&'static [AtomicU64]> {
    let bytes = count.checked_mul(size_of::<AtomicU64>()).ok_or(Errno::EOVERFLOW)?;
    let (protection, flags) =
        (rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE, rustix::mm::MapFlags::SHARED);
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing else.
    let memory = unsafe {
        rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes.max(1), protection, flags)
    };
    let start = memory.map_err(errno)?.cast::<AtomicU64>();
    // SAFETY: the mapping is page-aligned, zeroed, that long, never unmapped, and all access goes
    // through atomics.
    Ok(unsafe { std::slice::from_raw_parts(start, count) })
}

/// `CLOCK_MONOTONIC` in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}
