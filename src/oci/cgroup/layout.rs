//! What the host has: read from `/proc/self/mountinfo` and `/proc/self/cgroup`.

use super::Mode;
use crate::error::{Context, Error, Result};
use crate::sys::{self, mount::unescape};
use std::path::{Path, PathBuf};

/// Where cgroups are mounted, v2 itself or v1's hierarchies below.
const ROOT: &str = "/sys/fs/cgroup";

/// One hierarchy of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// `cpu`, `cpuacct`, …, `name=systemd`; empty for v2.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The caller's own cgroup below the mount; empty for the mount itself.
    pub own: PathBuf,
}

/// The host's cgroups, probed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The kind of layout.
    pub mode: Mode,
    /// Every usable hierarchy, v2 first; exactly one under [`Mode::V2`].
    pub hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// Probes the host. The mounts, thousands on a busy host, are read only where the cgroups are
    /// not where every distribution mounts them (160 µs against 40 on a host with 30 mounts).
    pub fn probe() -> Result<Self> {
        let read = |path: &str| {
            sys::fs::read_kernel_file(Path::new(path)).doing(|| format!("read {path}"))
        };
        let own = read("/proc/self/cgroup")?;
        match Self::usual(&own) {
            Some(layout) => Ok(layout),
            None => Self::parse(&read("/proc/self/mountinfo")?, &own),
        }
    }

    /// A host without cgroups.
    pub fn none() -> Self {
        Self { mode: Mode::V1, hierarchies: Vec::new() }
    }

    /// The hierarchies in which the caller may make a cgroup beside its own (v2), or below (v1), and
    /// move processes there; none of them may be left.
    pub fn permitted(&self) -> Self {
        let mut hierarchies = self.hierarchies.clone();
        hierarchies.retain(|hierarchy| {
            let own = hierarchy.mount.join(&hierarchy.own);
            let parent = match self.mode {
                Mode::V2 if !hierarchy.own.as_os_str().is_empty() => own.parent(),
                _ => Some(own.as_path()),
            };
            let writable = |path: &Path| sys::fs::is_writable(path);
            parent.is_some_and(|dir| writable(dir) && writable(&dir.join("cgroup.procs")))
        });
        Self::of(hierarchies).unwrap_or_else(|_| Self::none())
    }

    /// The layout if all is mounted in its usual place; its parts are proved, not guessed.
    fn usual(own: &str) -> Option<Self> {
        let root = Path::new(ROOT);
        if sys::cgroup::is_cgroup2(root) {
            let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
            let tree = Hierarchy::usual(root.into(), "", own)?;
            return Some(Self { mode: Mode::V2, hierarchies: vec![tree] });
        }
        let mut hierarchies = Vec::with_capacity(16);
        for line in own.lines() {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let name = match controllers {
                "" => "unified",
                _ => controllers.strip_prefix("name=").unwrap_or(controllers),
            };
            let mount = root.join(name);
            let v2 = controllers.is_empty();
            match v2 {
                true if sys::cgroup::is_cgroup2(&mount) => {}
                // The v2 tree has a line whether it is mounted or not.
                true => continue,
                false if sys::cgroup::is_cgroup1(&mount) => {}
                false => return None,
            }
            hierarchies.push(Hierarchy::usual(mount, controllers, path)?);
        }
        Self::of(hierarchies).ok()
    }

    /// The layout of these hierarchies.
    fn of(mut hierarchies: Vec<Hierarchy>) -> Result<Self> {
        // Stable: v2 first, the rest as the kernel lists them.
        hierarchies.sort_by_key(|hierarchy| !hierarchy.controllers.is_empty());
        let v2 = hierarchies.first().is_some_and(|first| first.controllers.is_empty());
        let mode = match (v2, hierarchies.len()) {
            (_, 0) => {
                return Err(Error::system("no cgroup file system is mounted")
                    .hint("mount -t cgroup2 none /sys/fs/cgroup"));
            }
            (true, 1) => Mode::V2,
            (true, _) => Mode::Hybrid,
            (false, _) => Mode::V1,
        };
        Ok(Self { mode, hierarchies })
    }

    /// [`Layout::probe`] on texts; proc(5), cgroups(7).
    fn parse(mountinfo: &str, own: &str) -> Result<Self> {
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
        let hierarchies = own.lines().filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            hierarchy(&mounts, controllers, path)
        });
        Self::of(hierarchies.collect())
    }
}

impl Hierarchy {
    fn new(mount: PathBuf, controllers: &str, own: &Path) -> Self {
        let controllers = controllers.split(',').filter(|name| !name.is_empty());
        let controllers = controllers.map(str::to_owned).collect();
        Self { controllers, mount, own: super::normalise(own) }
    }

    /// None where the own cgroup is not below the mount: inside a container the mount shows a part
    /// of the hierarchy, and only mountinfo says which.
    fn usual(mount: PathBuf, controllers: &str, own: &str) -> Option<Self> {
        let hierarchy = Self::new(mount, controllers, Path::new(own));
        let is_there = own == "/" || hierarchy.mount.join(&hierarchy.own).is_dir();
        is_there.then_some(hierarchy)
    }
}

/// A cgroup line of mountinfo.
struct Mount<'a> {
    root: &'a str,
    point: PathBuf,
    v2: bool,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let v2 = match filesystem.next()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        let options = filesystem.nth(1)?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, unescape(mount.next()?.as_bytes()));
        Some(Self { root, point, v2, options })
    }

    fn holds(&self, controllers: &str) -> bool {
        if controllers.is_empty() || self.v2 {
            return controllers.is_empty() && self.v2;
        }
        controllers.split(',').all(|name| self.options.split(',').any(|option| option == name))
    }
}

fn hierarchy(mounts: &[Mount<'_>], controllers: &str, own: &str) -> Option<Hierarchy> {
    let mount = mounts.iter().find(|mount| mount.holds(controllers))?;
    // Inside a container the mount shows a part of the hierarchy; paths count from there.
    let own = Path::new(own);
    Some(Hierarchy::new(
        mount.point.clone(),
        controllers,
        own.strip_prefix(mount.root).unwrap_or(own),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/my\\040unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:39 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
43 31 0:40 / /tmp rw - tmpfs tmpfs rw,cpu";
    const OWN: &str =
        "9:name=systemd:/\n4:memory:/docker/x/y\n3:perf_event:/\n1:cpu,cpuacct:/a\n0::/s";

    #[test]
    fn hybrid_hosts_are_read_as_the_kernel_lists_them() {
        let layout = Layout::parse(HYBRID, OWN).unwrap();
        let mut found = Vec::new();
        for hierarchy in &layout.hierarchies {
            let mount = hierarchy.mount.file_name().unwrap().to_str().unwrap();
            found.push((hierarchy.controllers.join(","), mount, hierarchy.own.to_str().unwrap()));
        }
        let expected = [
            ("", "my unified", "s"),
            ("name=systemd", "systemd", ""),
            ("memory", "memory", "y"),
            ("cpu,cpuacct", "cpu,cpuacct", "a"),
        ];
        assert_eq!(layout.mode, Mode::Hybrid);
        assert_eq!(found, expected.map(|(names, mount, own)| (names.to_owned(), mount, own)));
    }

    #[test]
    fn the_usual_places_say_what_the_mounts_say() {
        let read = |path| std::fs::read_to_string(path).unwrap();
        let own = read("/proc/self/cgroup");
        let Some(usual) = Layout::usual(&own) else {
            println!("SKIP: this host's cgroups are mounted elsewhere");
            return;
        };
        assert_eq!(usual, Layout::parse(&read("/proc/self/mountinfo"), &own).unwrap());
    }

    #[test]
    fn the_mode_follows_from_what_is_mounted() {
        let without_v2 = HYBRID.replace("cgroup2 cgroup2", "tmpfs tmpfs");
        assert_eq!(Layout::parse(&without_v2, OWN).unwrap().mode, Mode::V1);
        let only_v2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(Layout::parse(only_v2, "0::/s").unwrap().mode, Mode::V2);
        let error = Layout::parse("", OWN).unwrap_err();
        assert!(error.hint_text().unwrap().contains("mount"), "{error}");
    }
}
