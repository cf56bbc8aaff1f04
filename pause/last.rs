//! The last step before a container's program: it executes it, and that is all.
//!
//! Why not execve(2) from the runtime itself: the program, its interpreter line or its ELF
//! interpreter may be `/proc/self/exe`, which at that moment is whatever executes it. If that were
//! the runtime's binary, a container could open it for writing once the runtime has exited
//! (CVE-2019-5736). This file lives in a sealed memfd instead, where there is nothing to write to.
//! Measured against the alternatives (re-executing a sealed copy of the runtime, or the runtime on
//! a read-only detached mount: 0.8 ms and more), it costs one execve of one page.
//!
//! Arguments: the descriptor to report on, the step's number, how many candidates, the candidates,
//! the program's own arguments. On success the descriptor is closed by execve; on failure it gets
//! the step's number and the errno, four bytes each.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

// The kernel enters with argc, argv and envp on the stack, so no Rust prologue may run before.
global_asm!(".globl _start", "_start:", "mov rdi, rsp", "and rsp, -16", "call {main}", main = sym main);

const SYS_WRITE: usize = 1;
const SYS_EXECVE: usize = 59;
const SYS_FCNTL: usize = 72;
const SYS_EXIT_GROUP: usize = 231;
const SYS_IOCTL: usize = 16;
const FIOCLEX: usize = 0x5451;
const F_SETFD: usize = 2;
const FD_CLOEXEC: usize = 1;
const ENOENT: isize = 2;
const EACCES: isize = 13;
const ENOTDIR: isize = 20;

extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: the kernel's layout, execve(2): argc, argv, a null, envp, a null. The runtime passes
    // at least the four arguments and the candidates that it counts.
    unsafe {
        let argc = *stack;
        let argv = stack.add(1).cast::<*const u8>();
        let envp = argv.add(argc + 1);
        let fd = number(*argv.add(1));
        let step = number(*argv.add(2));
        let candidates = number(*argv.add(3));
        let program = argv.add(4 + candidates);
        // Left open it would go to the program, and the runtime would wait for its end. A filter may
        // refuse one of the calls.
        let mut failed = syscall(SYS_FCNTL, fd, F_SETFD, FD_CLOEXEC);
        if failed < 0 {
            failed = syscall(SYS_IOCTL, fd, FIOCLEX, 0);
        }
        let candidates = if failed < 0 { 0 } else { candidates };
        if failed == 0 {
            failed = -ENOENT;
        }
        let mut index = 0;
        while index < candidates {
            let path = *argv.add(4 + index) as usize;
            match syscall(SYS_EXECVE, path, program as usize, envp as usize) {
                missing if missing == -ENOENT || missing == -ENOTDIR => {}
                // As execvp(3): a later one may do, but if none does, this is what to say.
                denied if denied == -EACCES => failed = denied,
                other => {
                    failed = other;
                    break;
                }
            }
            index += 1;
        }
        let report = [step as u32, failed.unsigned_abs() as u32];
        syscall(SYS_WRITE, fd, &raw const report as usize, size_of_val(&report));
    }
    loop {
        syscall(SYS_EXIT_GROUP, 1, 0, 0);
    }
}

/// A decimal number.
///
/// # Safety
/// `text` ends with a zero byte.
unsafe fn number(mut text: *const u8) -> usize {
    let mut value = 0;
    // SAFETY: reads up to the zero byte at most.
    unsafe {
        while (*text).is_ascii_digit() {
            value = value * 10 + usize::from(*text - b'0');
            text = text.add(1);
        }
    }
    value
}

fn syscall(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result: isize;
    // SAFETY: the numbers and argument types are the kernel's ABI; every pointer passed is to a
    // live local or to the argument vectors, and no call here writes through one.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
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
