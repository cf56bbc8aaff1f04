//! The pod network: one address per pod on a bridge of ours.

pub mod hosts;

use crate::error::Result;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// A hostPort of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// On the host.
    pub host_ip: Option<Ipv4Addr>,
    /// On the host.
    pub host_port: u16,
    /// In the pod.
    pub container_port: u16,
}

/// How a pod is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The pod's address.
    pub ip: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// The bridge's address.
    pub gateway: Ipv4Addr,
}

/// The bridge network of one root.
pub struct Bridge {
    /// Name of the bridge.
    pub name: String,
    #[expect(dead_code, reason = "stub")]
    dir: PathBuf,
}

impl Bridge {
    /// The network whose leases stand in `dir`. The default root uses `runp0` and `cidr` as given;
    /// any other root gets a bridge name of its own and, where `cidr` is `None` or taken, a free
    /// subnet. Nothing is made on the host until the first [`Bridge::attach`].
    pub fn open(dir: &Path, default_root: bool, cidr: Option<&str>) -> Result<Self> {
        todo!("net: {dir:?} {default_root} {cidr:?}")
    }

    /// Gives the pod `uid` an address, a veth pair into `netns`, a default route, loopback,
    /// masquerading and its host ports. Idempotent per `uid`; undone by [`Bridge::detach`].
    pub fn attach(
        &self,
        uid: &str,
        netns: BorrowedFd<'_>,
        ports: &[PortMapping],
    ) -> Result<Attachment> {
        todo!("net: {uid} {netns:?} {ports:?}")
    }

    /// Undoes [`Bridge::attach`], also half of one; the last pod's detach removes bridge and rules.
    pub fn detach(&self, uid: &str) -> Result<()> {
        todo!("net: {uid}")
    }

    /// Leases of pods that are not in `alive`, to be detached by gc.
    pub fn leases(&self) -> Result<Vec<String>> {
        todo!("net")
    }
}

/// Brings `lo` up in `netns` (network `none`, or before a plugin runs).
pub fn loopback_up(netns: BorrowedFd<'_>) -> Result<()> {
    todo!("net: {netns:?}")
}
