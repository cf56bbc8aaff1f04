//! The runtime's side of an attached process: its terminal is relayed to the caller's own, signals
//! are passed on, its end is waited for. One poll loop.

use super::Launched;
use crate::error::{Context, Result};
use crate::sys::{Errno, clone, poll, tty};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Signals that mean something to this process itself.
const OWN: [Signal; 9] = [
    Signal::SIGKILL,
    Signal::SIGSTOP,
    Signal::SIGCHLD,
    Signal::SIGURG,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGPIPE,
];

/// Who gets the terminal's master; the child sends it.
#[derive(Debug)]
pub enum Receiver {
    /// The caller, who makes of it what he likes, at the other end of his console socket.
    Caller(OwnedFd),
    /// We, who relay it.
    Relay(OwnedFd),
}

/// Keeps the signals that are the process's, from before there is one: one that comes while it is
/// launched must not end us and leave it behind.
pub fn hold_signals() -> Result<SignalFd> {
    let forwarded: Vec<Signal> = Signal::iterator().filter(|s| !OWN.contains(s)).collect();
    poll::signalfd(&forwarded).doing(|| "wait for signals")
}

/// Waits for the process's end, and relays its terminal and `signals` until then. Returns its exit
/// status, 128+N for signal N.
pub fn supervise(launched: &Launched, master: Option<OwnedFd>, signals: &SignalFd) -> Result<i32> {
    match master {
        Some(master) => relay(launched, signals, master).doing(|| "relay the terminal")?,
        None => wait(launched, signals).doing(|| "wait for the process")?,
    }
    clone::wait(&launched.pidfd).doing(|| "wait for the process")
}

fn wait(launched: &Launched, signals: &SignalFd) -> crate::sys::Result<()> {
    loop {
        let ready = poll::poll_in(&[launched.pidfd.as_fd(), signals.as_fd()], None)?;
        while let Some(signal) = signals.read_signal()? {
            pass_on(launched, signal.ssi_signo as i32)?;
        }
        if ready.first() == Some(&true) {
            return Ok(());
        }
    }
}

fn pass_on(launched: &Launched, signal: i32) -> crate::sys::Result<()> {
    match clone::pidfd_send_signal(&launched.pidfd, signal) {
        // It has just ended.
        Err(Errno::ESRCH) => Ok(()),
        sent => sent,
    }
}

/// What is read from the caller and not yet taken by the terminal. While there is something, no
/// more is read, and the other direction goes on: neither side can block the other.
struct Input {
    open: bool,
    pending: Vec<u8>,
}

fn relay(launched: &Launched, signals: &SignalFd, master: OwnedFd) -> crate::sys::Result<()> {
    fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let stdin = std::io::stdin();
    let raw = match tty::isatty(&stdin) {
        true => Some(tty::RawMode::enter(stdin.as_fd().try_clone_to_owned().map_err(io)?)?),
        false => None,
    };
    resize(&master);
    let mut input = Input { open: true, pending: Vec::new() };
    loop {
        let ready = wait_for_any(launched, signals, &master, &input)?;
        while let Some(signal) = signals.read_signal()? {
            match signal.ssi_signo as i32 {
                libc::SIGWINCH => resize(&master),
                number => pass_on(launched, number)?,
            }
        }
        if ready.input {
            input.read(stdin.as_fd())?;
        }
        input.write(&master)?;
        let more = copy_output(&master)?;
        if ready.ended && !more {
            break;
        }
    }
    drop(raw);
    Ok(())
}

struct Ready {
    ended: bool,
    input: bool,
}

fn wait_for_any(
    launched: &Launched,
    signals: &SignalFd,
    master: &OwnedFd,
    input: &Input,
) -> crate::sys::Result<Ready> {
    let stdin = std::io::stdin();
    let read = PollFlags::POLLIN;
    let write = if input.pending.is_empty() { read } else { read | PollFlags::POLLOUT };
    let mut set = vec![
        PollFd::new(launched.pidfd.as_fd(), read),
        PollFd::new(signals.as_fd(), read),
        PollFd::new(master.as_fd(), write),
    ];
    if input.open && input.pending.is_empty() {
        set.push(PollFd::new(stdin.as_fd(), read));
    }
    match nix::poll::poll(&mut set, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    let is_ready = |index: usize| set.get(index).and_then(PollFd::any).unwrap_or(false);
    // Once every process has closed its end the master is always "ready": what is left to wait for
    // is the end itself, and signals until then.
    if is_ready(2) && set.get(2).and_then(PollFd::revents).is_some_and(|r| r == PollFlags::POLLHUP)
    {
        let ready = poll::poll_in(&[launched.pidfd.as_fd(), signals.as_fd()], None)?;
        return Ok(Ready { ended: ready.first() == Some(&true), input: false });
    }
    Ok(Ready { ended: is_ready(0), input: is_ready(3) })
}

impl Input {
    fn read(&mut self, stdin: BorrowedFd<'_>) -> crate::sys::Result<()> {
        let mut buffer = [0; 4096];
        match nix::unistd::read(stdin, &mut buffer) {
            Ok(0) => self.open = false,
            Ok(count) => self.pending.extend(buffer.iter().take(count)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // The caller's terminal is gone.
            Err(Errno::EIO) => self.open = false,
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    fn write(&mut self, master: &OwnedFd) -> crate::sys::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        match nix::unistd::write(master, &self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::EIO) => self.pending.clear(),
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

/// Copies what the terminal has to say; whether there was something.
fn copy_output(master: &OwnedFd) -> crate::sys::Result<bool> {
    let mut buffer = [0; 8192];
    let count = match nix::unistd::read(master, &mut buffer) {
        Ok(count) => count,
        // EIO: every process has closed its end.
        Err(Errno::EAGAIN | Errno::EINTR | Errno::EIO) => 0,
        Err(errno) => return Err(errno),
    };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(buffer.get(..count).unwrap_or_default()).map_err(io)?;
    stdout.flush().map_err(io)?;
    Ok(count > 0)
}

/// The caller's window size, if it has one.
fn resize(master: &OwnedFd) {
    if let Ok((rows, columns)) = tty::window_size(std::io::stdin()) {
        // A terminal that is gone needs no size.
        tty::set_window_size(master, rows, columns).unwrap_or_default();
    }
}

fn io(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
