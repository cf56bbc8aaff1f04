//! What parent and child say to each other: 8 bytes, a step's number and an errno. Errno 0 is the
//! message of a barrier. An end that is gone reads as the end of the conversation, so neither side
//! outlives the other unawares.

use crate::sys::{Errno, Result, fs, socket};
use std::os::fd::{AsFd, OwnedFd};

/// A step's number, and why it failed; 0 where it is a barrier that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Index into the plan's steps.
    pub step: u32,
    /// An errno, or 0.
    pub errno: i32,
}

impl Report {
    fn bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.step.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.errno.to_ne_bytes());
        bytes
    }
}

/// Sends a report.
pub fn send(socket: impl AsFd, report: Report) -> Result<()> {
    socket::send(socket, &report.bytes())
}

/// Sends the number of a descriptor, and waits for any answer. By write(2), the one call that a
/// filter may never ask about, and read(2).
pub fn announce(socket: impl AsFd, descriptor: u32) -> Result<()> {
    let socket = socket.as_fd();
    fs::write_once(socket, &Report { step: descriptor, errno: 0 }.bytes())?;
    match nix::unistd::read(socket, &mut [0; 8])? {
        0 => Err(Errno::EPIPE),
        _ => Ok(()),
    }
}

/// Receives a report; `None` when the other end is gone.
pub fn receive(socket: impl AsFd) -> Result<Option<Report>> {
    let mut bytes = [0; 8];
    match socket::receive(socket, &mut bytes)? {
        0 => Ok(None),
        8 => {
            let [a, b, c, d, e, f, g, h] = bytes;
            let step = u32::from_ne_bytes([a, b, c, d]);
            Ok(Some(Report { step, errno: i32::from_ne_bytes([e, f, g, h]) }))
        }
        _ => Err(Errno::EBADMSG),
    }
}

/// The two ends.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socket::socketpair()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_arrive_and_an_end_is_noticed() {
        let (parent, child) = pair().unwrap();
        let report = Report { step: 7, errno: Errno::EPERM as i32 };
        send(&child, report).unwrap();
        assert_eq!(receive(&parent), Ok(Some(report)));
        drop(child);
        assert_eq!(receive(&parent), Ok(None));
        assert_eq!(send(&parent, report), Err(Errno::EPIPE));
    }

    #[test]
    fn a_last_report_is_not_lost_with_what_was_not_read() {
        let (parent, child) = pair().unwrap();
        send(&parent, Report { step: 1, errno: 0 }).unwrap();
        let report = Report { step: 7, errno: Errno::EPERM as i32 };
        send(&child, report).unwrap();
        drop(child);
        assert_eq!(receive(&parent), Ok(Some(report)));
        assert_eq!(receive(&parent), Ok(None));
    }
}
