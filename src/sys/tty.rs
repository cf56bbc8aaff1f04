//! Terminals.

use super::clone::errno;
use super::{Errno, Result};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Termios, Winsize};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// `TIOCSPTLCK`, then `TIOCGPTPEER`: the other end of a master, without any path.
pub fn open_peer(master: impl AsFd) -> Result<OwnedFd> {
    rustix::pty::unlockpt(&master).map_err(errno)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    rustix::pty::ioctl_tiocgptpeer(master, flags).map_err(errno)
}

/// `TIOCSCTTY`: makes it the controlling terminal of the caller's new session.
pub fn set_controlling(terminal: impl AsFd) -> Result<()> {
    rustix::process::ioctl_tiocsctty(terminal).map_err(errno)
}

/// Whether it is a terminal.
pub fn isatty(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// `TIOCGWINSZ`: rows, columns.
pub fn window_size(terminal: impl AsFd) -> Result<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(terminal).map_err(errno)?;
    Ok((size.ws_row, size.ws_col))
}

/// `TIOCSWINSZ`.
pub fn set_window_size(terminal: impl AsFd, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).map_err(errno)
}

/// Clears `ONLCR`: a newline that is written is not preceded by a carriage return.
pub fn leave_newlines(terminal: impl AsFd) -> Result<()> {
    let mut modes = rustix::termios::tcgetattr(&terminal).map_err(errno)?;
    modes.output_modes.remove(OutputModes::ONLCR);
    rustix::termios::tcsetattr(terminal, OptionalActions::Now, &modes).map_err(errno)
}

/// fchown(2) to `uid`, so that the container's user may open it again.
pub fn give_to(terminal: impl AsFd, uid: u32) -> Result<()> {
    // SAFETY: integers only; -1 leaves the group.
    Errno::result(unsafe { libc::fchown(terminal.as_fd().as_raw_fd(), uid, u32::MAX) }).map(drop)
}

/// A terminal in raw mode; what it was comes back when this is dropped.
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Puts `terminal` into raw mode, but for what it makes of newlines that are written: those of
    /// the container come as the program wrote them.
    pub fn enter(terminal: OwnedFd) -> Result<Self> {
        let before = rustix::termios::tcgetattr(&terminal).map_err(errno)?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.output_modes = before.output_modes;
        rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &raw).map_err(errno)?;
        Ok(Self { terminal, before })
    }
}

impl RawMode {
    /// Nothing is made of newlines that are written: another terminal has seen to them already.
    pub fn pass_newlines_on(&self) -> Result<()> {
        let mut modes = rustix::termios::tcgetattr(&self.terminal).map_err(errno)?;
        modes.output_modes.remove(OutputModes::OPOST);
        rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &modes).map_err(errno)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to mend.
        rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before).ok();
    }
}
