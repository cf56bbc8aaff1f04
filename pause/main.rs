//! The sandbox's infra process: holds the pod's namespaces and does nothing.
//!
//! As PID 1 of a shared PID namespace it also adopts orphans. `SIGCHLD` is ignored with
//! `SA_NOCLDWAIT`, so the kernel reaps them and pause never wakes. `SIGTERM` and `SIGINT` are
//! blocked and awaited with rt_sigtimedwait(2): the rule that init ignores signals without a
//! handler, pid_namespaces(7), does not bite, and no handler code is needed.
//!
//! No libc, no allocator, no writable data: one segment, and of private memory the stack alone.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

// The kernel enters with the stack aligned and no return address, so no Rust prologue may run.
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {main}", main = sym main);

const SYS_RT_SIGACTION: usize = 13;
const SYS_RT_SIGPROCMASK: usize = 14;
const SYS_WAIT4: usize = 61;
const SYS_RT_SIGTIMEDWAIT: usize = 128;
const SYS_EXIT_GROUP: usize = 231;

const SIGINT: u32 = 2;
const SIGTERM: u32 = 15;
const SIGCHLD: usize = 17;
const SIG_BLOCK: usize = 0;
const SIG_IGN: usize = 1;
const SA_NOCLDWAIT: usize = 2;
const WNOHANG: usize = 1;

/// The kernel's `struct sigaction`, which is not libc's.
#[repr(C)]
struct SigAction {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

/// The size of the kernel's `sigset_t`.
const SIGSET: usize = size_of::<u64>();

extern "C" fn main() -> ! {
    let stop: u64 = (1 << (SIGINT - 1)) | (1 << (SIGTERM - 1));
    let ignore = SigAction { handler: SIG_IGN, flags: SA_NOCLDWAIT, restorer: 0, mask: 0 };
    let stop_set = &raw const stop as usize;
    syscall(SYS_RT_SIGPROCMASK, SIG_BLOCK, stop_set, 0, SIGSET);
    syscall(SYS_RT_SIGACTION, SIGCHLD, &raw const ignore as usize, 0, SIGSET);
    // Children that ended before SIGCHLD was ignored.
    while syscall(SYS_WAIT4, usize::MAX, 0, WNOHANG, 0) > 0 {}
    // Interrupted by SIGSTOP and SIGCONT it returns early, signal(7).
    while syscall(SYS_RT_SIGTIMEDWAIT, stop_set, 0, 0, SIGSET) < 0 {}
    loop {
        syscall(SYS_EXIT_GROUP, 0, 0, 0, 0);
    }
}

fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result: isize;
    // SAFETY: the numbers and argument types are the kernel's ABI; every pointer passed is to a
    // live local, and no call here writes through one.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
