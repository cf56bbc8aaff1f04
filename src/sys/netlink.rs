//! rtnetlink(7): requests in, answers out, over one blocking socket.
//!
//! The kernel works a request off inside send(2), so answers wait in the socket when it returns;
//! the deadline on reading is for a kernel that never answers.

use super::ns::setns;
use super::{Errno, Result};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
pub use netlink_packet_route::RouteNetlinkMessage as Message;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

const NEWNET: u64 = libc::CLONE_NEWNET as u64;
/// Seconds to wait for an answer.
const DEADLINE: i64 = 10;
/// The kernel fills at most 32 KiB of a dump at a time.
const ANSWER: usize = 32 * 1024;

/// A request and its flags (`NLM_F_CREATE`, `NLM_F_DUMP`…).
pub type Request = (Message, u16);

/// A `NETLINK_ROUTE` socket of one network namespace.
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// A socket of the caller's network namespace.
    pub fn open() -> Result<Self> {
        Self::bound(0)
    }

    /// A socket that gets a message whenever a link changes; see [`Socket::wait`].
    pub fn open_links() -> Result<Self> {
        Self::bound(libc::RTMGRP_LINK as u32)
    }

    fn bound(groups: u32) -> Result<Self> {
        let kind = SockType::Raw;
        let protocol = SockProtocol::NetlinkRoute;
        let fd = socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(DEADLINE))?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// A socket of another network namespace: a socket stays in the namespace it was made in, so
    /// the calling thread visits it only for that long.
    pub fn open_in(netns: BorrowedFd<'_>) -> Result<Self> {
        let own =
            super::fs::open(Path::new("/proc/thread-self/ns/net"), nix::fcntl::OFlag::O_RDONLY, 0)?;
        setns(netns, NEWNET)?;
        let opened = Self::open();
        setns(own, NEWNET)?;
        opened
    }

    /// Sends all requests at once; the kernel works them off in order, and goes on after one that
    /// fails. Returns for each what it answered, or its error.
    pub fn call(&mut self, requests: Vec<Request>) -> Result<Vec<Result<Vec<Message>>>> {
        let first = self.sequence.wrapping_add(1);
        let mut answers = vec![Ok(Vec::new()); requests.len()];
        let mut open = requests.len();
        self.send(requests)?;
        let mut buffer = vec![0; ANSWER];
        while open > 0 {
            let length = receive(&self.fd, &mut buffer)?;
            for message in split(buffer.get(..length).unwrap_or_default()) {
                let message =
                    NetlinkMessage::<Message>::deserialize(message).map_err(|_| Errno::EBADMSG)?;
                let index = message.header.sequence_number.wrapping_sub(first) as usize;
                let Some(answer) = answers.get_mut(index) else { continue };
                if take(answer, message.payload) {
                    open -= 1;
                }
            }
        }
        Ok(answers)
    }

    /// One request, its answers.
    pub fn call_one(&mut self, message: Message, flags: u16) -> Result<Vec<Message>> {
        self.call(vec![(message, flags)])?.pop().unwrap_or(Err(Errno::EBADMSG))
    }

    /// Waits for the next messages of a socket that gets some unasked.
    pub fn wait(&mut self) -> Result<()> {
        match receive(&self.fd, &mut vec![0; ANSWER]) {
            // Some were lost, which is news as well.
            Err(Errno::ENOBUFS) => Ok(()),
            other => other.map(drop),
        }
    }

    fn send(&mut self, requests: Vec<Request>) -> Result<()> {
        let mut bytes = Vec::new();
        for (message, flags) in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let mut header = NetlinkHeader::default();
            header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
            header.sequence_number = self.sequence;
            let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
            message.finalize();
            let start = bytes.len();
            // Messages start on four bytes (NLMSG_ALIGN).
            bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(bytes.get_mut(start..).unwrap_or_default());
        }
        let sent = send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
        if sent == bytes.len() { Ok(()) } else { Err(Errno::EIO) }
    }
}

fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match recv(fd.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(0) => return Err(Errno::EBADMSG),
            Err(Errno::EINTR) => {}
            // What a receive timeout answers.
            Err(Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
            other => return other,
        }
    }
}

/// The messages of one datagram, by the length each starts with.
fn split(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, _) = bytes.split_first_chunk::<4>()?;
        let length = u32::from_ne_bytes(*length) as usize;
        let (message, _) = bytes.split_at_checked(length).filter(|_| length >= 16)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Adds a message to the answer it belongs to; whether it was the last.
fn take(answer: &mut Result<Vec<Message>>, payload: NetlinkPayload<Message>) -> bool {
    match payload {
        NetlinkPayload::InnerMessage(message) => {
            if let Ok(messages) = answer {
                messages.push(message);
            }
            false
        }
        NetlinkPayload::Error(error) => {
            if error.raw_code() != 0 {
                *answer = Err(Errno::from_raw(error.raw_code().saturating_neg()));
            }
            true
        }
        NetlinkPayload::Done(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_split_and_a_bad_length_ends_it() {
        let mut bytes = vec![0; 36];
        bytes[..4].copy_from_slice(&18u32.to_ne_bytes());
        bytes[20..24].copy_from_slice(&16u32.to_ne_bytes());
        let lengths = |bytes: &[u8]| split(bytes).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(&bytes), [18, 16]);
        bytes[20..24].copy_from_slice(&17u32.to_ne_bytes());
        assert_eq!(lengths(&bytes), [18]);
        bytes[..4].copy_from_slice(&3u32.to_ne_bytes());
        assert_eq!(lengths(&bytes), [0; 0]);
    }
}
