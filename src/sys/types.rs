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
    /// `MOUNT_ATTR_RELATIME`
    pub const RELATIME: u64 = 0;
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

/// Numbers of processors or memory nodes, 0 to 1023.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NumberSet([u64; 16]);

impl NumberSet {
    /// None.
    pub const EMPTY: Self = Self([0; 16]);
    /// All.
    pub const ALL: Self = Self([u64::MAX; 16]);

    /// From a list as the kernel writes it, `0-3,7`; the part that is none, or too large.
    pub fn parse(list: &str) -> std::result::Result<Self, String> {
        let mut set = Self::EMPTY;
        for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse::<u16>(), last.parse::<u16>()) {
                (Ok(first), Ok(last)) if first <= last && last < 1024 => {
                    (first..=last).for_each(|number| set.insert(number.into()));
                }
                _ => return Err(part.to_owned()),
            }
        }
        Ok(set)
    }

    fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// A bit for each number, the lowest first.
    pub fn words(&self) -> &[u64] {
        &self.0
    }
}

/// As one number, the way masks are printed.
impl std::fmt::LowerHex for NumberSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits: String = self.0.iter().rev().map(|word| format!("{word:016x}")).collect();
        let digits = digits.trim_start_matches('0');
        f.pad_integral(true, "0x", if digits.is_empty() { "0" } else { digits })
    }
}

/// As [`NumberSet::parse`] takes it.
impl std::fmt::Debug for NumberSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let has = |number: usize| {
            self.0.get(number / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
        };
        let mut separator = "";
        let mut next = 0;
        while let Some(first) = (next..1024).find(|number| has(*number)) {
            next = (first..1024).find(|number| !has(*number)).unwrap_or(1024);
            match next - 1 {
                last if last == first => write!(f, "{separator}{first}")?,
                last => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

/// How a process is scheduled, sched_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For the policies without priorities.
    pub nice: i32,
    /// For realtime policies.
    pub priority: u32,
    /// For deadlines, in nanoseconds as the next two.
    pub runtime: u64,
    /// See `runtime`.
    pub deadline: u64,
    /// See `runtime`.
    pub period: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers() {
        let words = |list| NumberSet::parse(list).map(|set| set.words()[0]);
        assert_eq!(words("0-3, 7"), Ok(0b1000_1111));
        assert_eq!(words(""), Ok(0));
        assert_eq!(NumberSet::parse("1023").unwrap().len(), 1);
        for bad in ["1024", "3-1", "a", "-1", "0-9876543210", "1-"] {
            assert_eq!(words(bad), Err(bad.to_owned()));
        }
        assert_eq!(format!("{:?}", NumberSet::parse("70,63-65,1").unwrap()), "1,63-65,70");
        assert_eq!(format!("{:?}", NumberSet::ALL), "0-1023");
    }
}
