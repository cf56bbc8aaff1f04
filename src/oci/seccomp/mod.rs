//! `linux.seccomp` to classic BPF, by our own compiler
//! ([runtime-spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#seccomp)).

use crate::error::Result;
use oci_spec::runtime::LinuxSeccomp;

/// One `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Jump if true.
    pub jt: u8,
    /// Jump if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// A compiled profile, ready for seccomp(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub program: Vec<Insn>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// Whether a listener descriptor is wanted (`SCMP_ACT_NOTIFY` is used).
    pub notify: bool,
}

/// Compiles a profile; names what it does not know with its JSON path below `linux.seccomp`.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter> {
    todo!("cgroup: {profile:?}")
}
