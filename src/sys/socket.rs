//! Unix sockets: pairs, paths of any length, passing descriptors.

use super::clone::errno;
use super::{Errno, Result, fs};
use nix::fcntl::OFlag;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, sockopt,
};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How long somebody else's program may take to accept a connection.
pub const ACCEPT_DEADLINE: Duration = Duration::from_secs(10);

/// socketpair(2) of `SOCK_SEQPACKET`: messages stay whole, and an end that is gone is noticed.
pub fn socketpair() -> Result<(OwnedFd, OwnedFd)> {
    pair(SocketType::SEQPACKET)
}

/// socketpair(2) of `SOCK_STREAM`.
pub fn stream_pair() -> Result<(OwnedFd, OwnedFd)> {
    pair(SocketType::STREAM)
}

fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None).map_err(errno)
}

/// A listening `SOCK_SEQPACKET` socket named `name` in the directory `dir`.
pub fn listen_at(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let socket = unix_socket(SocketType::SEQPACKET)?;
    rustix::net::bind(&socket, &short_address(dir, name)?).map_err(errno)?;
    rustix::net::listen(&socket, 1).map_err(errno)?;
    Ok(socket)
}

/// Connects to the `SOCK_SEQPACKET` socket named `name` in the directory `dir`.
pub fn connect_at(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let socket = unix_socket(SocketType::SEQPACKET)?;
    rustix::net::connect(&socket, &short_address(dir, name)?).map_err(errno)?;
    Ok(socket)
}

/// Connects to the stream socket at `path`, however long that is; `ETIMEDOUT` where whoever listens
/// has a full queue and takes none of it within `timeout`. No send takes longer either.
pub fn connect_stream(path: &Path, timeout: Duration) -> Result<OwnedFd> {
    let socket = unix_socket(SocketType::STREAM)?;
    // Bounds the wait of connect(2) too, unix(7).
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(timeout)).map_err(errno)?;
    match at_address(path, |address| rustix::net::connect(&socket, address).map_err(errno)) {
        Err(Errno::EAGAIN) => Err(Errno::ETIMEDOUT),
        connected => connected.map(|()| socket),
    }
}

/// A listening stream socket at `path`, however long that is.
pub fn listen_stream(path: &Path) -> Result<OwnedFd> {
    let socket = unix_socket(SocketType::STREAM)?;
    at_address(path, |address| rustix::net::bind(&socket, address).map_err(errno))?;
    rustix::net::listen(&socket, 8).map_err(errno)?;
    Ok(socket)
}

/// A `SOCK_DGRAM` socket named `name` in the directory `dir`.
pub fn bind_datagram_at(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let socket = unix_socket(SocketType::DGRAM)?;
    rustix::net::bind(&socket, &short_address(dir, name)?).map_err(errno)?;
    Ok(socket)
}

/// Connects to the `SOCK_DGRAM` socket at `path`; a path that starts with `@` is an abstract name.
pub fn connect_datagram(path: &Path) -> Result<OwnedFd> {
    let socket = unix_socket(SocketType::DGRAM)?;
    let address = match path.as_os_str().as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name),
        None => SocketAddrUnix::new(path),
    };
    rustix::net::connect(&socket, &address.map_err(errno)?).map_err(errno)?;
    Ok(socket)
}

/// accept4(2).
pub fn accept(socket: impl AsFd) -> Result<OwnedFd> {
    loop {
        match rustix::net::accept_with(&socket, SocketFlags::CLOEXEC).map_err(errno) {
            Err(Errno::EINTR) => {}
            accepted => return accepted,
        }
    }
}

/// Makes reads fail with `EAGAIN` after `timeout`.
pub fn set_receive_timeout(socket: impl AsFd, timeout: Duration) -> Result<()> {
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, Some(timeout)).map_err(errno)
}

/// Sends one message; `EPIPE` without a signal when the other end is gone.
pub fn send(socket: impl AsFd, message: &[u8]) -> Result<()> {
    let sent = rustix::net::send(socket, message, SendFlags::NOSIGNAL).map_err(errno)?;
    if sent == message.len() { Ok(()) } else { Err(Errno::EIO) }
}

/// Receives one message into `buffer`; its length, 0 when the other end is gone.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match rustix::net::recv(&socket, &mut *buffer, RecvFlags::empty()).map_err(errno) {
            // An end that is closed with unread data leaves a reset, told once and before what that
            // end has sent.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            received => return received.map(|(length, _)| length),
        }
    }
}

/// Sends `data` with a copy of `fd` (`SCM_RIGHTS`). Does not allocate.
pub fn send_fd(socket: impl AsFd, data: &[u8], fd: impl AsFd) -> Result<()> {
    let fds = [fd.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::EMSGSIZE);
    }
    let data = [IoSlice::new(data)];
    rustix::net::sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL).map(drop).map_err(errno)
}

/// Receives a descriptor sent by [`send_fd`]; `None` when the other end is gone.
pub fn receive_fd(socket: impl AsFd) -> Result<Option<OwnedFd>> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [0; 64];
    let mut data = [std::io::IoSliceMut::new(&mut data)];
    rustix::net::recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(errno)?;
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(fds.next())
}

fn unix_socket(kind: SocketType) -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(errno)
}

fn at_address(path: &Path, then: impl FnOnce(&SocketAddrUnix) -> Result<()>) -> Result<()> {
    if let Ok(address) = SocketAddrUnix::new(path) {
        return then(&address);
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Err(Errno::ENAMETOOLONG);
    };
    let dir = fs::open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
    then(&short_address(dir.as_fd(), name)?)
}

/// An address has room for 107 bytes; the way through the descriptor always fits.
fn short_address(dir: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())).map_err(errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_not_waited_for_forever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = listen_stream(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let soon = Duration::from_millis(10);
        let first = connect_stream(&path, soon).unwrap();
        assert_eq!(connect_stream(&path, soon).unwrap_err(), Errno::ETIMEDOUT);
        drop((first, accept(&listener).unwrap()));
        connect_stream(&path, soon).unwrap();
    }
}
