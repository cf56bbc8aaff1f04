//! The pod network: one address per pod on a bridge of ours, IPv4, no daemon and no plugin; or, where
//! that is asked for, on a network of plugins ([`cni`]).
//!
//! [`Bridge::attach`] and [`Bridge::detach`] may run in any number of processes at once and be
//! killed at any point: leases are files under a lock (`ipam`), every step can be repeated, and
//! `detach` undoes whatever part of an attach there is. The first pod makes the bridge and its
//! rules (`ports`), the last one removes them. Links are made by messages to the kernel
//! (`bridge`, `cable`); the program nft runs only when the first pod comes, the last one goes,
//! or a pod has host ports.
//!
//! Not done here: other hosts' routes, bandwidth, network policy, IPv6.

mod bridge;
mod cable;
mod cidr;
pub mod cni;
pub mod hosts;
mod ipam;
mod ports;

use crate::error::{Context, Error, Result};
use crate::sys::netlink::Socket;
use cidr::Cidr;
use ipam::{Lease, Leases, Network};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// How often to look for a subnet anew, when another root has taken the one just chosen.
const CHOICES: usize = 16;

/// A hostPort of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What the pod has to do without, for an event: the world beyond the bridge, where the rules
    /// for masquerading cannot be had.
    pub warning: Option<String>,
}

/// The bridge network of one root.
pub struct Bridge {
    /// Name of the bridge.
    pub name: String,
    dir: PathBuf,
    default_root: bool,
    cidr: Option<Cidr>,
}

impl Bridge {
    /// The network whose leases stand in `dir`. The default root uses `runp0`, any other root a
    /// bridge name of its own. The subnet is `cidr`, or a free one: for the default root
    /// 10.88.0.0/16 if that is free. Nothing is made on the host until the first
    /// [`Bridge::attach`].
    pub fn open(dir: &Path, default_root: bool, cidr: Option<&str>) -> Result<Self> {
        let dir = std::path::absolute(dir).doing(|| format!("resolve {}", dir.display()))?;
        let name = match default_root {
            true => "runp0".to_owned(),
            // 15 bytes are the kernel's limit of a link's name.
            false => format!("runp-{}", short_hash(&[dir.as_os_str().as_encoded_bytes()])),
        };
        Ok(Self { name, dir, default_root, cidr: cidr.map(str::parse).transpose()? })
    }

    /// Gives the pod `uid` an address, a veth pair into `netns`, a default route, loopback,
    /// masquerading and its host ports. Idempotent per `uid`; undone by [`Bridge::detach`].
    pub fn attach(
        &self,
        uid: &str,
        netns: BorrowedFd<'_>,
        ports: &[PortMapping],
    ) -> Result<Attachment> {
        check_uid(uid)?;
        let attached = self.try_attach(uid, netns, ports);
        attached.map_err(|error| match self.detach(uid) {
            Ok(()) => error,
            Err(undo) => error.doing(format!("(undoing it failed as well: {undo})")),
        })
    }

    /// The part of [`Bridge::attach`] that needs no namespace yet: the bridge with its rules, and
    /// the pod's lease, by which [`Bridge::detach`] undoes it.
    pub fn prepare(&self, uid: &str, ports: &[PortMapping]) -> Result<()> {
        check_uid(uid)?;
        let mut host = Socket::open().doing(|| "open a netlink socket")?;
        let leases = Leases::lock(&self.dir)?;
        self.lease(uid, ports, &leases, &mut host).map(drop)
    }

    /// Undoes [`Bridge::attach`], also half of one; the last pod's detach removes bridge and rules.
    pub fn detach(&self, uid: &str) -> Result<()> {
        check_uid(uid)?;
        if !self.dir.try_exists().doing(|| format!("stat {}", self.dir.display()))? {
            return Ok(());
        }
        let mut host = Socket::open().doing(|| "open a netlink socket")?;
        // Before the address is free for another: the kernel removes the links of a namespace
        // that ended only some time later.
        bridge::remove(&mut host, &self.host_link(uid))?;
        let leases = Leases::lock(&self.dir)?;
        let lease = leases.find(uid);
        if leases.uids()?.iter().all(|other| other == uid) {
            // The lease goes last: after a kill on the way, the next detach is here again.
            self.tear_down(&leases, &mut host)?;
            return leases.remove();
        }
        match lease {
            Ok(None) => Ok(()),
            Ok(Some(lease)) => {
                if !lease.ports.is_empty() {
                    ports::close(&self.name, lease.ip, &lease.ports)?;
                }
                leases.release(&lease)
            }
            Err(_) => self.release_damaged(uid, &leases),
        }
    }

    /// Which rules are of a lease that cannot be read is not known: those of all others are made anew.
    fn release_damaged(&self, uid: &str, leases: &Leases) -> Result<()> {
        if let Some(network) = leases.network()?.filter(|network| network.no_nat.is_none()) {
            let mut others = leases.uids()?;
            others.retain(|other| other != uid);
            let script = ports::table(&network, &with_ports(leases, &others));
            ports::Rules::start(&script).and_then(ports::Rules::finish)?;
        }
        leases.release_damaged(uid)
    }

    /// Whether the bridge stands: pods can be attached.
    pub fn is_up(&self) -> Result<bool> {
        let mut host = Socket::open().doing(|| "open a netlink socket")?;
        Ok(bridge::find(&mut host, &self.name)?.is_some_and(|link| link.up))
    }

    /// Takes no new connection to those of the pod's host ports; those that stand go on.
    pub fn close_ports(&self, uid: &str, ports: &[PortMapping]) -> Result<()> {
        check_uid(uid)?;
        if !self.dir.try_exists().doing(|| format!("stat {}", self.dir.display()))? {
            return Ok(());
        }
        let leases = Leases::lock(&self.dir)?;
        // What cannot be read is closed by the detach.
        let Ok(Some(mut lease)) = leases.find(uid) else { return Ok(()) };
        let (closing, kept) = lease.ports.into_iter().partition(|port| ports.contains(port));
        lease.ports = kept;
        let closing: Vec<PortMapping> = closing;
        if !closing.is_empty() {
            ports::close(&self.name, lease.ip, &closing)?;
            // From here on another pod may have them.
            leases.put(&lease)?;
        }
        Ok(())
    }

    /// Leases of pods, for gc to detach those whose pods are gone.
    pub fn leases(&self) -> Result<Vec<String>> {
        ipam::uids(&self.dir)
    }

    fn try_attach(
        &self,
        uid: &str,
        netns: BorrowedFd<'_>,
        ports: &[PortMapping],
    ) -> Result<Attachment> {
        let mut host = Socket::open().doing(|| "open a netlink socket")?;
        let leases = Leases::lock(&self.dir)?;
        let (network, bridge, lease) = self.lease(uid, ports, &leases, &mut host)?;
        // From here on the lease keeps the bridge, and pods are connected side by side.
        drop(leases);
        let host_link = self.host_link(uid);
        let (ip, cidr, hairpin) = (lease.ip, network.cidr, !lease.ports.is_empty());
        let cable = cable::Cable { host_link: &host_link, bridge, netns, ip, cidr, hairpin };
        cable::connect(&mut host, &cable)?;
        open_ports(&network, &lease)?;
        let warning = network.no_nat.map(|why| {
            format!("the pod reaches this machine and its pods only, no masquerading: {why}")
        });
        Ok(Attachment { ip, prefix: cidr.prefix, gateway: cidr.gateway(), warning })
    }

    /// The network, the bridge's index and the pod's lease on it, made if they are not there.
    fn lease(
        &self,
        uid: &str,
        ports: &[PortMapping],
        leases: &Leases,
        host: &mut Socket,
    ) -> Result<(Network, u32, Lease)> {
        let (network, bridge) = self.ensure(leases, host)?;
        let lease = match leases.find(uid)? {
            Some(lease) => lease,
            None => leases.take(uid, network.cidr, ports)?,
        };
        Ok((network, bridge, lease))
    }

    /// The network and the bridge's index, made if this is the first pod or a reboot, or a kill,
    /// took it. The bridge is set up last of all, so up means complete.
    fn ensure(&self, leases: &Leases, host: &mut Socket) -> Result<(Network, u32)> {
        let stored = leases.network()?;
        let link = bridge::find(host, &self.name)?;
        if let (Some(network), Some(link)) = (&stored, link)
            && link.up
        {
            self.agrees(network)?;
            return Ok((network.clone(), link.index));
        }
        let uids = leases.uids()?;
        let (mut network, index) = match stored.filter(|_| !uids.is_empty()) {
            Some(network) => {
                self.agrees(&network)?;
                let index = bridge::create(host, &self.name, network.cidr)?;
                (network, index)
            }
            None => self.found(leases, host)?,
        };
        // Without rules pods still reach each other and the host: that is said, not refused.
        let script = ports::table(&network, &with_ports(leases, &uids));
        let rules = ports::Rules::start(&script).and_then(ports::Rules::finish);
        network.no_nat = rules.err().map(|error| error.to_string());
        leases.set_network(&network)?;
        bridge::up(host, index, &self.name)?;
        Ok((network, index))
    }

    /// Makes the bridge on a free subnet. Other roots may choose at the same time: whoever sees
    /// another on its own, once it is there for the other to see, chooses anew.
    fn found(&self, leases: &Leases, host: &mut Socket) -> Result<(Network, u32)> {
        bridge::remove(host, &self.name)?;
        let start = Sha256::digest(self.name.as_bytes()).first().copied().unwrap_or_default();
        let mut candidates = cidr::candidates(self.default_root, start);
        for _ in 0..CHOICES {
            let used = bridge::subnets(host, None)?;
            let cidr = cidr::free(self.cidr, &mut candidates, &used)?;
            let network = Network { bridge: self.name.clone(), cidr, no_nat: None };
            leases.set_network(&network)?;
            let index = bridge::create(host, &self.name, cidr)?;
            let others = bridge::subnets(host, Some(index))?;
            if !others.iter().any(|other| other.prefix >= cidr.prefix && other.overlaps(&cidr)) {
                return Ok((network, index));
            }
            bridge::remove(host, &self.name)?;
        }
        Err(Error::system("other networks are made too fast to find a free subnet"))
    }

    fn tear_down(&self, leases: &Leases, host: &mut Socket) -> Result<()> {
        let Some(network) = leases.network()? else { return Ok(()) };
        let rules = match network.no_nat {
            Some(_) => None,
            None => Some(ports::remove_table(&self.name)),
        };
        let removed = bridge::remove(host, &self.name);
        if let Some(rules) = rules {
            rules.and_then(ports::Rules::finish).doing(|| "remove the rules of the bridge")?;
        }
        removed
    }

    /// Pods of one bridge share one subnet: another one cannot be had while there are pods.
    fn agrees(&self, network: &Network) -> Result<()> {
        match self.cidr {
            Some(cidr) if cidr != network.cidr => Err(Error::user(format!(
                "pod CIDR {cidr} was asked for, but the pods on bridge {} have {}",
                self.name, network.cidr
            ))
            .hint("delete the pods first, or leave --pod-cidr out")),
            _ => Ok(()),
        }
    }

    /// The host's end of a pod's cable.
    fn host_link(&self, uid: &str) -> String {
        format!("veth{}", short_hash(&[self.name.as_bytes(), uid.as_bytes()]))
    }
}

/// Brings `lo` up in `netns` (network `none`, or before a plugin runs).
pub fn loopback_up(netns: BorrowedFd<'_>) -> Result<()> {
    let mut pod = Socket::open_in(netns).doing(|| "enter the pod's network namespace")?;
    cable::loopback_up(&mut pod).doing(|| "set lo up in the pod")
}

fn open_ports(network: &Network, lease: &Lease) -> Result<()> {
    if lease.ports.is_empty() {
        return Ok(());
    }
    match &network.no_nat {
        None => ports::open(&network.bridge, lease.ip, &lease.ports),
        Some(why) => Err(Error::system(why.clone()).doing("open host ports").hint(
            "host ports need nftables (apt install nftables); delete all pods and try again",
        )),
    }
}

/// The pods that have host ports, as far as their leases can be read.
fn with_ports(leases: &Leases, uids: &[String]) -> Vec<(Ipv4Addr, Vec<PortMapping>)> {
    let found = uids.iter().filter_map(|uid| leases.find(uid).ok().flatten());
    found.filter(|lease| !lease.ports.is_empty()).map(|lease| (lease.ip, lease.ports)).collect()
}

/// A uid names files of ours.
fn check_uid(uid: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match !uid.is_empty() && uid.len() <= 64 && uid.bytes().all(fine) {
        true => Ok(()),
        false => Err(Error::user(format!("invalid pod uid {uid:?}"))),
    }
}

/// Ten hexadecimal digits for the name of a link.
fn short_hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_root_has_a_bridge_of_its_own() {
        let open = |dir: &str, default| Bridge::open(Path::new(dir), default, None).unwrap();
        let (own, a, b) = (open("/x", true), open("/a", false), open("/b", false));
        assert_eq!(own.name, "runp0");
        assert!(a.name != b.name && a.name.len() == 15, "{} {}", a.name, b.name);
        assert_eq!(own.host_link("uid").len(), 14);
    }

    #[test]
    fn a_uid_is_a_plain_file_name() {
        for bad in ["", "..", "a/b", "a.tmp", "a b"] {
            assert!(check_uid(bad).is_err(), "{bad:?}");
        }
        assert!(check_uid("2f1c6e5a-0d4f-4b52-9c1e-6c0c5a3a7f10").is_ok());
    }
}
