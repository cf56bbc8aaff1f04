//! Plain data of the kernel's, which pure code may use.

use serde::{Deserialize, Serialize};

/// A kind of namespace, namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NsKind {
    /// Users and capabilities.
    User,
    /// Mounts.
    Mount,
    /// Process numbers.
    Pid,
    /// Network.
    Network,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// View of the cgroup tree.
    Cgroup,
    /// Clock offsets.
    Time,
}

impl NsKind {
    /// All kinds; user first, as its privileges decide about the others.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Mount,
        Self::Pid,
        Self::Network,
        Self::Ipc,
        Self::Uts,
        Self::Cgroup,
        Self::Time,
    ];

    /// Its `CLONE_NEW*` flag.
    pub const fn flag(self) -> u64 {
        match self {
            Self::User => 0x1000_0000,
            Self::Mount => 0x0002_0000,
            Self::Pid => 0x2000_0000,
            Self::Network => 0x4000_0000,
            Self::Ipc => 0x0800_0000,
            Self::Uts => 0x0400_0000,
            Self::Cgroup => 0x0200_0000,
            Self::Time => 0x80,
        }
    }

    /// Its name below `/proc/<pid>/ns`.
    pub const fn proc_name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mnt",
            Self::Pid => "pid",
            Self::Network => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

/// Mount attributes, mount_setattr(2).
pub mod attr {
    /// `MOUNT_ATTR_RDONLY`
    pub const RDONLY: u64 = 0x1;
    /// `MOUNT_ATTR_NOSUID`
    pub const NOSUID: u64 = 0x2;
    /// `MOUNT_ATTR_NODEV`
    pub const NODEV: u64 = 0x4;
    /// `MOUNT_ATTR_NOEXEC`
    pub const NOEXEC: u64 = 0x8;
    /// `MOUNT_ATTR__ATIME`: the bits of which exactly one mode is set; 0 is relatime.
    pub const ATIME: u64 = 0x70;
    /// `MOUNT_ATTR_NOATIME`
    pub const NOATIME: u64 = 0x10;
    /// `MOUNT_ATTR_STRICTATIME`
    pub const STRICTATIME: u64 = 0x20;
    /// `MOUNT_ATTR_NODIRATIME`
    pub const NODIRATIME: u64 = 0x80;
    /// `MOUNT_ATTR_NOSYMFOLLOW`
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// How mount events travel, mount_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// To and from peers.
    Shared,
    /// From the master only.
    Slave,
    /// Not at all, and the mount cannot be bound.
    Unbindable,
}

impl Propagation {
    /// Its `MS_*` flag.
    pub const fn flag(self) -> u64 {
        match self {
            Self::Private => 1 << 18,
            Self::Shared => 1 << 20,
            Self::Slave => 1 << 19,
            Self::Unbindable => 1 << 17,
        }
    }

    /// Its name among mount options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Shared => "shared",
            Self::Slave => "slave",
            Self::Unbindable => "unbindable",
        }
    }
}

/// A change of mount attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttrChange {
    /// Bits of [`attr`] to set.
    pub set: u64,
    /// Bits of [`attr`] to clear first.
    pub clear: u64,
}

impl AttrChange {
    /// Whether it changes nothing.
    pub const fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

/// Capability masks, one bit for each number of capabilities(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSets {
    /// The limit for all programs executed from now on.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// May be put in force.
    pub permitted: u64,
    /// Survive into programs whose file also has them.
    pub inheritable: u64,
    /// Survive into any program.
    pub ambient: u64,
}
