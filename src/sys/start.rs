//! A program's beginning and end without the standard library's, which reads the memory map through
//! the C library's scanf to guard a stack of its own measure: 20 of a start's system calls, and 0.3
//! MB of the program that nothing else touches.

use super::clone::exit;
use std::io::Write;

/// `fn main` of a program whose main function is `$main`, from `fn() -> u8`. For `#![no_main]`.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn main() -> i32 {
            $crate::sys::start::program($main)
        }
    };
}

/// What the standard library does first and last that a program of one thread needs: descriptors 0
/// to 2 are open, so that no file becomes one of them; a reader that is gone is an error of write(2)
/// and not the end; what was printed is written.
pub fn program(main: fn() -> u8) -> ! {
    if standard_descriptors().is_err() {
        exit(1)
    }
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let status = main();
    // Whoever prints says so by an error; there is nobody left to tell of this one.
    std::io::stdout().flush().unwrap_or_default();
    exit(status.into())
}

fn standard_descriptors() -> super::Result<()> {
    let mut standard = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    loop {
        // SAFETY: poll(2) writes the `revents` of three entries.
        let polled = unsafe { libc::poll(standard.as_mut_ptr(), 3, 0) };
        match super::Errno::result(polled) {
            Ok(_) => break,
            Err(super::Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        };
    }
    for _ in standard.iter().filter(|entry| entry.revents & libc::POLLNVAL != 0) {
        // SAFETY: a C string. The lowest number that is free is the one that is missing; it is kept.
        super::Errno::result(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) })?;
    }
    Ok(())
}
