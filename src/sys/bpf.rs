//! bpf(2), as far as a device filter on a v2 cgroup needs it.

use super::{Errno, Result};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    /// Class, operation and source.
    pub code: u8,
    /// Destination register in the low half, source register in the high half.
    pub registers: u8,
    /// Jump offset or memory offset.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

/// Instructions on the lower 32 bits of a register, which clear the upper ones.
impl Insn {
    const fn new(code: u8, registers: u8, offset: i16, immediate: u32) -> Self {
        Self { code, registers, offset, immediate: immediate.cast_signed() }
    }

    /// `destination = *(u32 *)(source + offset)`
    pub const fn load(destination: u8, source: u8, offset: i16) -> Self {
        Self::new(0x61, destination | source << 4, offset, 0)
    }

    /// `register = value`
    pub const fn mov(register: u8, value: u32) -> Self {
        Self::new(0xb4, register, 0, value)
    }

    /// `destination = source`
    pub const fn mov_register(destination: u8, source: u8) -> Self {
        Self::new(0xbc, destination | source << 4, 0, 0)
    }

    /// `register &= value`
    pub const fn and(register: u8, value: u32) -> Self {
        Self::new(0x54, register, 0, value)
    }

    /// `register >>= bits`
    pub const fn shift_right(register: u8, bits: u32) -> Self {
        Self::new(0x74, register, 0, bits)
    }

    /// Skips `offset` instructions if `register == value`.
    pub const fn jump_if_equal(register: u8, value: u32, offset: i16) -> Self {
        Self::new(0x16, register, offset, value)
    }

    /// Skips `offset` instructions if `register != value`.
    pub const fn jump_unless_equal(register: u8, value: u32, offset: i16) -> Self {
        Self::new(0x56, register, offset, value)
    }

    /// Returns r0.
    pub const fn exit() -> Self {
        Self::new(0x95, 0, 0, 0)
    }
}

const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_ATTACH: i32 = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The part of `union bpf_attr` that BPF_PROG_LOAD reads; what follows counts as zero.
#[repr(C)]
struct Load {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that BPF_PROG_ATTACH reads.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// BPF_PROG_LOAD of a `BPF_PROG_TYPE_CGROUP_DEVICE` program. `EINVAL` and `EACCES` are the
/// verifier's.
pub fn prog_load_cgroup_device(program: &[Insn]) -> Result<OwnedFd> {
    let license = c"Apache-2.0";
    let attributes = Load {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: `attributes` and what it points to outlive the call, which only reads them.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<Load>())
    };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just made this descriptor (close-on-exec) for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// BPF_PROG_ATTACH to the cgroup's directory, beside programs that others attached; all of them
/// must allow.
pub fn prog_attach_cgroup_device(cgroup: impl AsFd, program: impl AsFd) -> Result<()> {
    let attributes = Attach {
        target: cgroup.as_fd().as_raw_fd().cast_unsigned(),
        program: program.as_fd().as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: `attributes` outlives the call, which only reads it.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attributes, size_of::<Attach>())
    };
    Errno::result(result).map(drop)
}
