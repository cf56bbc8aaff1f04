//! Moving a network interface, rtnetlink(7). The few messages are put together by hand: the runtime
//! needs no more, and the decoder of all others is a tenth of its size.

use super::clone::errno;
use super::ns::setns;
use super::{Errno, Result, fs};
use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Seconds to wait for an answer.
const DEADLINE: i64 = 10;
const HEADER: usize = 16;
const DUMP: u16 = (libc::NLM_F_ROOT | libc::NLM_F_MATCH) as u16;
const NEW: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;

/// An rtnetlink socket of one network namespace.
pub struct Links(OwnedFd);

/// An address of an interface: a `struct ifaddrmsg` but for the interface, and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    attributes: Vec<u8>,
}

impl Links {
    /// Of the caller's namespace.
    pub fn open() -> Result<Self> {
        let (kind, protocol) = (SockType::Raw, SockProtocol::NetlinkRoute);
        let fd = socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(DEADLINE))?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self(fd))
    }

    /// Of another namespace, where a socket stays that is made there.
    pub fn open_in(netns: BorrowedFd<'_>) -> Result<Self> {
        let new_net = libc::CLONE_NEWNET as u64;
        let own = fs::open(Path::new("/proc/thread-self/ns/net"), OFlag::O_RDONLY, 0)?;
        setns(netns, new_net)?;
        let opened = Self::open();
        setns(own, new_net)?;
        opened
    }

    /// The index of an interface; `ENODEV` without one of that name.
    pub fn index(&self, name: &str) -> Result<u32> {
        rustix::net::netdevice::name_to_index(&self.0, name).map_err(errno)
    }

    /// The permanent addresses of an interface that are valid everywhere.
    pub fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        let mut found = Vec::new();
        self.call(libc::RTM_GETADDR, DUMP, &[0; 8], |body| found.extend(address(body, index)))?;
        Ok(found)
    }

    /// Moves an interface into another namespace, where it is called `name`, down and without
    /// addresses.
    pub fn move_to(&self, index: u32, netns: BorrowedFd<'_>, name: &str) -> Result<()> {
        let mut body = interface(index, 0).to_vec();
        push(&mut body, libc::IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
        push(&mut body, libc::IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
        self.call(libc::RTM_NEWLINK, 0, &body, |_| {})
    }

    /// Gives an interface an address.
    pub fn add_address(&self, index: u32, address: &Address) -> Result<()> {
        let mut body = vec![address.family, address.prefix, libc::IFA_F_PERMANENT as u8, 0];
        body.extend(index.to_ne_bytes());
        body.extend(&address.attributes);
        self.call(libc::RTM_NEWADDR, NEW, &body, |_| {})
    }

    /// Sets an interface up.
    pub fn set_up(&self, index: u32) -> Result<()> {
        self.call(libc::RTM_NEWLINK, 0, &interface(index, libc::IFF_UP as u32), |_| {})
    }

    /// Sends one request and hands over the body of each message that is the answer.
    fn call(&self, kind: u16, flags: u16, body: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
        let mut request = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        request.extend(kind.to_ne_bytes());
        let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        request.extend(flags.to_ne_bytes());
        request.extend([0; 8]);
        request.extend(body);
        send(self.0.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut buffer = vec![0; 32 << 10];
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                // What a receive timeout answers.
                Err(Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
                received => received?,
            };
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((kind, body)) = next(&mut rest) {
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => return result(body),
                    _ => take(body),
                }
            }
        }
    }
}

/// A `struct ifinfomsg` that sets the flags of `up`.
fn interface(index: u32, up: u32) -> [u8; 16] {
    let mut body = [0; 16];
    for (at, value) in [(4, index), (8, up), (12, up)] {
        if let Some(field) = body.get_mut(at..at + 4) {
            field.copy_from_slice(&value.to_ne_bytes());
        }
    }
    body
}

/// Appends an attribute; they start on four bytes.
fn push(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(((4 + value.len()) as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Takes the next message off: its type and what follows its header.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let (message, _) = bytes.split_at_checked(length)?;
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    let body = message.get(HEADER..)?;
    *bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body))
}

/// A `struct nlmsgerr`.
fn result(body: &[u8]) -> Result<()> {
    match body.first_chunk().map(|errno| i32::from_ne_bytes(*errno)) {
        Some(0) => Ok(()),
        Some(errno) => Err(Errno::from_raw(errno.saturating_neg())),
        None => Err(Errno::EBADMSG),
    }
}

/// An address as the kernel tells it, if it is one to keep. Of its attributes only those that are
/// the address: a label has the interface's name, a lifetime is of the one that is going.
fn address(body: &[u8], wanted: u32) -> Option<Address> {
    let [family, prefix, flags, scope, a, b, c, d] = *body.first_chunk::<8>()?;
    let permanent = u32::from(flags) & libc::IFA_F_PERMANENT != 0;
    if u32::from_ne_bytes([a, b, c, d]) != wanted || !permanent || scope != libc::RT_SCOPE_UNIVERSE
    {
        return None;
    }
    let mut attributes = Vec::new();
    let mut rest = body.get(8..)?;
    while let Some([a, b, c, d]) = rest.first_chunk::<4>() {
        let (length, kind) = (u16::from_ne_bytes([*a, *b]), u16::from_ne_bytes([*c, *d]));
        let value = rest.get(4..usize::from(length))?;
        if [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST].contains(&kind) {
            push(&mut attributes, kind, value);
        }
        rest = rest.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Address { family, prefix, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lasting_addresses_of_the_interface_are_kept() {
        let mut body = vec![2, 24, 0x80, 0, 7, 0, 0, 0];
        push(&mut body, libc::IFA_ADDRESS, &[10, 0, 0, 1]);
        push(&mut body, libc::IFA_LABEL, b"eth0\0");
        let kept = address(&body, 7).unwrap();
        assert_eq!(kept.attributes, [8, 0, 1, 0, 10, 0, 0, 1]);
        assert_eq!((kept.family, kept.prefix), (2, 24));
        assert_eq!(address(&body, 8), None, "another interface");
        for (at, value) in [(2, 0), (3, 253)] {
            let mut other = body.clone();
            other[at] = value;
            assert_eq!(address(&other, 7), None);
        }
        for cut in 0..body.len() {
            // Whatever comes of it, no panic.
            drop(address(&body[..cut], 7));
        }
    }

    #[test]
    fn messages_are_split() {
        let mut bytes: &[u8] = &[
            18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, // and its padding
            16, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(next(&mut bytes), Some((2, &[1, 2][..])));
        assert_eq!(next(&mut bytes), Some((3, &[][..])));
        assert_eq!(next(&mut bytes), None);
    }

    #[test]
    fn the_loopback_interface_is_there() {
        let links = Links::open().unwrap();
        let index = links.index("lo").unwrap();
        assert_eq!(links.addresses(index).unwrap(), [], "its own are of the host's scope");
        assert_eq!(links.index("not-there"), Err(Errno::ENODEV));
    }
}
