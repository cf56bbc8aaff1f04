//! Addresses and who has them: files below one directory, guarded by a lock, so that attaching
//! needs no daemon and survives a kill between any two steps.
//!
//! ```text
//! lock            flock(2), held for as long as leases or the bridge change
//! network.json    bridge, subnet: while any pod is attached
//! pods/UID        the lease of a pod: the truth
//! addresses/IP    the same file under another name: an index, made first and removed last; one
//!                 whose pod has no such lease is left over from a kill and may be taken
//! last            the address given out last: the next search starts after it, so that an
//!                 address does not come back at once; a hint, overwritten in place
//! ```
//! All of it goes with the last pod. A lease that cannot be read is its own pod's trouble alone: its
//! address stays taken, and its pod's detach removes it.

use super::PortMapping;
use super::cidr::Cidr;
use crate::error::{Context, Error, Result};
use crate::sys::{Errno, fs};
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, OFlag, renameat};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// No file of ours is larger: a pod has at most a few thousand ports.
const LIMIT: u64 = 1 << 20;

/// The network while it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Name of the bridge, and of the table of rules.
    pub bridge: String,
    /// Its subnet.
    pub cidr: Cidr,
    /// Why pods reach nothing beyond the bridge, where the rules for it cannot be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_nat: Option<String>,
}

/// What a pod has of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The pod.
    pub uid: String,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its host ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
}

/// The leases, locked against every other process.
pub struct Leases {
    dir: PathBuf,
    #[expect(dead_code, reason = "dropping it unlocks")]
    lock: Flock<File>,
}

impl Leases {
    /// Locks `dir`, made if it is missing.
    pub fn lock(dir: &Path) -> Result<Self> {
        let lock = dir.join("lock");
        loop {
            for made in [dir.to_owned(), dir.join("pods"), dir.join("addresses")] {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&made)
                    .doing(|| format!("make {}", made.display()))?;
            }
            let held = match fs::lock(&lock) {
                // Removed by the last pod's detach between our two steps.
                Err(Errno::ENOENT) => continue,
                other => other.doing(|| format!("lock {}", lock.display()))?,
            };
            // The last pod's detach removes the lock itself: what we waited for may be gone.
            let ours = held.metadata().doing(|| format!("stat {}", lock.display()))?;
            if std::fs::symlink_metadata(&lock).is_ok_and(|now| now.ino() == ours.ino()) {
                return Ok(Self { dir: dir.to_owned(), lock: held });
            }
        }
    }

    /// The network, if it was made.
    pub fn network(&self) -> Result<Option<Network>> {
        read(&self.dir.join("network.json"))
    }

    /// Notes what the network is, before anything of it is made.
    pub fn set_network(&self, network: &Network) -> Result<()> {
        write(&self.dir.join("network.json"), network)
    }

    /// The lease of a pod.
    pub fn find(&self, uid: &str) -> Result<Option<Lease>> {
        read(&self.pod(uid))
    }

    /// The uids of all pods with a lease.
    pub fn uids(&self) -> Result<Vec<String>> {
        uids(&self.dir)
    }

    /// Gives a pod the next free address of `cidr`, and the host ports if no other pod has them.
    pub fn take(&self, uid: &str, cidr: Cidr, ports: &[PortMapping]) -> Result<Lease> {
        if !ports.is_empty() {
            self.check_ports(ports)?;
        }
        for ip in cidr.pods(self.last()) {
            if self.is_free(ip)? {
                let lease = Lease { uid: uid.to_owned(), ip, ports: ports.to_owned() };
                self.put(&lease)?;
                self.set_last(ip)?;
                return Ok(lease);
            }
        }
        Err(Error::system(format!("no free address in {cidr}"))
            .hint("delete pods, or give a larger --pod-cidr to a root without pods"))
    }

    /// Writes a lease, and its index entry before it counts.
    pub fn put(&self, lease: &Lease) -> Result<()> {
        let (path, address) = (self.pod(&lease.uid), self.address(lease.ip));
        let temporary = path.with_extension("tmp");
        let write = || -> crate::sys::Result<()> {
            let content = serde_json::to_vec(lease).map_err(|_| Errno::EINVAL)?;
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW;
            fs::write_once(fs::open(&temporary, flags, 0o600)?.as_fd(), &content)?;
            unless_missing(nix::unistd::unlink(&address))?;
            nix::unistd::linkat(AT_FDCWD, &temporary, AT_FDCWD, &address, AtFlags::empty())?;
            renameat(AT_FDCWD, &temporary, AT_FDCWD, &path)
        };
        write().doing(|| format!("write {}", path.display()))
    }

    fn last(&self) -> Option<Ipv4Addr> {
        let text = fs::read_limited(&self.dir.join("last"), LIMIT).ok()?;
        std::str::from_utf8(&text).ok()?.trim_end().parse().ok()
    }

    fn set_last(&self, ip: Ipv4Addr) -> Result<()> {
        let path = self.dir.join("last");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
        // As long as the longest: it covers whatever was there.
        let written = fs::open(&path, flags, 0o600)
            .and_then(|file| fs::write_once(file.as_fd(), format!("{ip:<15}\n").as_bytes()));
        written.doing(|| format!("write {}", path.display()))
    }

    fn check_ports(&self, ports: &[PortMapping]) -> Result<()> {
        for uid in self.uids()? {
            // Those of a damaged lease are not known; the rules refuse what is open twice.
            let Ok(lease) = self.find(&uid) else { continue };
            let taken = lease.map(|lease| lease.ports).unwrap_or_default();
            for port in ports {
                if taken.iter().any(|other| clash(port, other)) {
                    let PortMapping { host_port, protocol, .. } = port;
                    let taken = format!("host port {host_port}/{protocol} is taken by pod {uid}");
                    return Err(Error::user(taken));
                }
            }
        }
        Ok(())
    }

    /// Whether no pod has an address. What is left over from a kill is nobody's; what cannot be read
    /// may be a damaged lease's.
    fn is_free(&self, ip: Ipv4Addr) -> Result<bool> {
        match read::<Lease>(&self.address(ip)) {
            Ok(None) => Ok(true),
            Ok(Some(entry)) => Ok(self
                .find(&entry.uid)
                .is_ok_and(|lease| lease.is_none_or(|lease| lease.ip != ip))),
            Err(_) => Ok(self.uids()?.iter().all(|uid| self.find(uid).is_ok())),
        }
    }

    /// Forgets a pod's lease; its index entry goes last.
    pub fn release(&self, lease: &Lease) -> Result<()> {
        remove(&self.pod(&lease.uid))?;
        remove(&self.address(lease.ip))
    }

    /// Forgets a lease that cannot be read. Its index entry is free from then on: it cannot be read
    /// either, or it names a pod without a lease.
    pub fn release_damaged(&self, uid: &str) -> Result<()> {
        remove(&self.pod(uid))
    }

    /// Removes the directory, when the last lease is gone.
    pub fn remove(self) -> Result<()> {
        // The lock is in there: whoever waits for it sees that it is no longer the one on disk.
        std::fs::remove_dir_all(&self.dir).doing(|| format!("remove {}", self.dir.display()))
    }

    fn pod(&self, uid: &str) -> PathBuf {
        self.dir.join("pods").join(uid)
    }

    fn address(&self, ip: Ipv4Addr) -> PathBuf {
        self.dir.join("addresses").join(ip.to_string())
    }
}

/// Whether both would listen on one address of the host.
fn clash(one: &PortMapping, other: &PortMapping) -> bool {
    let everywhere = |port: &PortMapping| port.host_ip.is_none_or(|ip| ip.is_unspecified());
    (&one.protocol, one.host_port) == (&other.protocol, other.host_port)
        && (everywhere(one) || everywhere(other) || one.host_ip == other.host_ip)
}

/// The uids of the leases in `dir`, without a lock; none if there is no such directory.
pub fn uids(dir: &Path) -> Result<Vec<String>> {
    let pods = dir.join("pods");
    let doing = || format!("read {}", pods.display());
    let entries = match std::fs::read_dir(&pods) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.doing(doing)?,
    };
    let mut uids = Vec::new();
    for entry in entries {
        let name = entry.doing(doing)?.file_name();
        // A write that was killed leaves `UID.PID.tmp`; a uid has no dot.
        uids.extend(name.to_str().filter(|name| !name.contains('.')).map(str::to_owned));
    }
    uids.sort_unstable();
    Ok(uids)
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>> {
    let content = match fs::read_limited(path, LIMIT) {
        Err(Errno::ENOENT) => return Ok(None),
        other => other.doing(|| format!("read {}", path.display()))?,
    };
    serde_json::from_slice(&content)
        .map(Some)
        .map_err(|error| Error::system(error.to_string()).doing(format!("read {}", path.display())))
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let content = serde_json::to_vec(value).map_err(|error| Error::system(error.to_string()))?;
    fs::write_atomic(path, &content, 0o600).doing(|| format!("write {}", path.display()))
}

fn remove(path: &Path) -> Result<()> {
    unless_missing(nix::unistd::unlink(path)).doing(|| format!("remove {}", path.display()))
}

fn unless_missing(removed: crate::sys::Result<()>) -> crate::sys::Result<()> {
    if removed == Err(Errno::ENOENT) { Ok(()) } else { removed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_turn_and_a_leftover_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let leases = Leases::lock(&dir.path().join("net")).unwrap();
        let cidr: Cidr = "10.9.8.0/29".parse().unwrap();
        let last = |uid: &str| leases.take(uid, cidr, &[]).map(|lease| lease.ip.octets()[3]);
        assert_eq!((last("a").unwrap(), last("b").unwrap()), (2, 3));
        let lease = leases.find("a").unwrap().unwrap();
        leases.release(&lease).unwrap();
        assert_eq!((last("c").unwrap(), last("d").unwrap(), last("e").unwrap()), (4, 5, 6));
        // Killed between the index entry and the lease.
        let left = serde_json::to_vec(&lease).unwrap();
        std::fs::write(leases.address(Ipv4Addr::new(10, 9, 8, 2)), left).unwrap();
        assert_eq!(last("f").unwrap(), 2);
        assert_eq!(last("g").unwrap_err().to_string(), "no free address in 10.9.8.0/29");
        assert_eq!(leases.uids().unwrap(), ["b", "c", "d", "e", "f"]);
        leases.remove().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_lease_keeps_its_address_and_hinders_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let leases = Leases::lock(&dir.path().join("net")).unwrap();
        let cidr: Cidr = "10.9.8.0/29".parse().unwrap();
        let port = PortMapping {
            protocol: "tcp".into(),
            host_ip: None,
            host_port: 80,
            container_port: 80,
        };
        let last = |uid: &str| {
            leases.take(uid, cidr, std::slice::from_ref(&port)).map(|lease| lease.ip.octets()[3])
        };
        let none = |uid: &str| leases.take(uid, cidr, &[]).map(|lease| lease.ip.octets()[3]);
        assert_eq!((none("a").unwrap(), none("b").unwrap()), (2, 3));
        // In place, so that the index has it too; and replaced, so that only the lease has it.
        std::fs::write(leases.pod("a"), "{}").unwrap();
        std::fs::remove_file(leases.pod("b")).unwrap();
        std::fs::write(leases.pod("b"), "").unwrap();
        assert_eq!((last("c").unwrap(), none("d").unwrap(), none("e").unwrap()), (4, 5, 6));
        assert_eq!(none("f").unwrap_err().to_string(), "no free address in 10.9.8.0/29");
        leases.release_damaged("b").unwrap();
        assert_eq!(none("f").unwrap(), 3);
        leases.release_damaged("a").unwrap();
        assert_eq!(none("g").unwrap(), 2);
    }
}
