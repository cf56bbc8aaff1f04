//! port-forward: connections to this host's ports carried into a pod's network.
//!
//! The listening sockets are made first and stay in the caller's network namespace; then the whole
//! process joins the pod's, so that every connection it makes from there on is the pod's own.

use super::sandbox_of;
use crate::error::{Context, Error, Result};
use crate::kube::Pod;
use crate::pod::Config;
use crate::sys::ns;
use crate::sys::poll::poll_in;
use nix::sched::CloneFlags;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// How long a pod's port may take to answer.
const CONNECT: Duration = Duration::from_secs(10);
/// A thread of a connection needs little more than its buffer.
const STACK: usize = 256 << 10;

/// A port of this host, and where its connections go.
pub struct Forward {
    /// Bound already.
    pub listener: TcpListener,
    /// Its port.
    pub local: u16,
    /// The pod's.
    pub remote: u16,
}

/// What happens to connections.
pub enum Happened {
    /// One was taken from the local port.
    Taken(u16),
    /// One could not be carried: local port, remote port, and why.
    Failed(u16, u16, std::io::Error),
}

/// Is told of connections, by the threads that carry them.
pub type Tell = Arc<dyn Fn(Happened) + Send + Sync>;

/// Carries connections until the pod's sandbox ends, which is the error.
pub fn forward(config: &Config, pod: &Pod, forwards: &[Forward], tell: &Tell) -> Result<()> {
    let sandbox = sandbox_of(config, pod)?;
    for forward in forwards {
        forward.listener.set_nonblocking(true).doing(|| "prepare the listening socket")?;
    }
    let network = u64::try_from(CloneFlags::CLONE_NEWNET.bits()).unwrap_or_default();
    ns::setns(&sandbox, network).doing(|| "join the pod's network")?;
    let mut fds = vec![sandbox.as_fd()];
    fds.extend(forwards.iter().map(|forward| forward.listener.as_fd()));
    loop {
        let ready = poll_in(&fds, None).doing(|| "wait for connections")?;
        if ready.first() == Some(&true) {
            return Err(Error::user("lost connection to pod"));
        }
        let ready = forwards.iter().zip(ready.iter().skip(1)).filter(|(_, ready)| **ready);
        for (forward, _) in ready {
            // The peer may have given up again.
            let Ok((client, _)) = forward.listener.accept() else { continue };
            tell(Happened::Taken(forward.local));
            let (local, remote, tell) = (forward.local, forward.remote, tell.clone());
            let carry = move || {
                if let Err(why) = carry(client, remote) {
                    tell(Happened::Failed(local, remote, why));
                }
            };
            let thread = std::thread::Builder::new().stack_size(STACK).spawn(carry);
            thread.doing(|| "start a thread for a connection")?;
        }
    }
}

/// Connects to the pod's port on its loopback, as the kubelet does, and carries both directions;
/// either may end before the other.
fn carry(client: TcpStream, port: u16) -> std::io::Result<()> {
    client.set_nonblocking(false)?;
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let server = TcpStream::connect_timeout(&v4, CONNECT)
        .or_else(|error| TcpStream::connect_timeout(&v6, CONNECT).map_err(|_| error))?;
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let up = std::thread::Builder::new().stack_size(STACK).spawn(move || one_way(from, to))?;
    one_way(server, client);
    drop(up.join());
    Ok(())
}

/// Copies until the source ends. A broken connection ends both ways: nobody is left to tell.
fn one_way(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break drop(to.shutdown(Shutdown::Write)),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break drop((to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both))),
        };
        if to.write_all(buffer.get(..read).unwrap_or_default()).is_err() {
            break drop((to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both)));
        }
    }
}
