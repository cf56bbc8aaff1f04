//! Control groups on v1, hybrid and v2 hosts, made directly or by systemd
//! ([runtime-spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups)).
//!
//! [`Layout`] is what the host has, [`Cgroup`] what one container has: plain data that a
//! container's record keeps, so that `delete` needs no probe. The order of a start:
//!
//! ```text
//! make -> set_devices -> set_early -> clone3 (clone_into) -> child: enter(tasks) -> set_memory
//! ```
//!
//! Entering is where the time goes. A write to `cgroup.procs` takes the write side of the kernel's
//! `cgroup_threadgroup_rwsem`, an RCU grace period when nobody did so lately: 7 to 20 ms measured
//! on 6.18, for the first hierarchy. Two ways avoid it, 0.1 ms for ten hierarchies: a clone3 with
//! `CLONE_INTO_CGROUP` on the v2 tree, and on v1 a write of `0` to `tasks` by a process that has
//! but one thread, which moves only the writer and so needs no thread group to stand still (since
//! 5.4).
//!
//! On a hybrid host the v2 tree is joined too, although it holds no controllers: it gives
//! `cgroup.kill`, `cgroup.freeze` and `cgroup.events` (a kill in one write, waits without polling),
//! and eBPF programs that others attach by v2 cgroup see the container. runc joins it as well.
//!
//! Reads and writes are ours, not cgroups-rs's: its `FsManager` makes plain files when given an
//! absolute cgroupsPath, its `destroy` moves processes to the root cgroup, and it knows neither the
//! v2 device filter, `unified`, burst, idle nor rdma. It serves in the tests, as a second reader.

mod devices;
mod file;
mod kill;
mod layout;
mod life;
mod limits;
mod oom;
pub mod stats;
mod sub;
mod systemd;
mod v1;
mod v2;

pub use layout::{Hierarchy, Layout};
pub use life::enter;
pub use oom::OomWatch;
pub use systemd::{Placeholder, Unit};

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// How the host's cgroups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All controllers on v1 hierarchies.
    V1,
    /// v1 controllers and an empty v2 tree (`/sys/fs/cgroup/unified`).
    Hybrid,
    /// One v2 tree.
    V2,
}

/// One directory: a cgroup in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// The hierarchy's controllers (`name=systemd` is one); none on v2.
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// The cgroup below the mount, never empty.
    pub below: PathBuf,
}

impl Dir {
    /// The directory's path.
    pub fn path(&self) -> PathBuf {
        self.mount.join(&self.below)
    }

    /// Whether it is in the v2 tree, whose controllers the kernel lists, not the mount.
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// The cgroup of one container (or of one pod, as the parent of its containers).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// The layout's kind.
    pub mode: Mode,
    /// One directory per hierarchy, in the layout's order.
    pub dirs: Vec<Dir>,
    /// The systemd unit whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

impl Cgroup {
    /// Where `linux.cgroupsPath` leads. Pure; nothing is made.
    ///
    /// Absolute: from each hierarchy's root. Relative, or `id` where there is none: from the
    /// caller's own cgroup; on v2 from that one's parent, since a cgroup that holds processes
    /// cannot hand out controllers. `..` never leads above the root.
    pub fn resolve(layout: &Layout, cgroups_path: Option<&Path>, id: &str) -> Result<Self> {
        let wanted = match cgroups_path {
            Some(path) if !path.as_os_str().is_empty() => path,
            _ => Path::new(id),
        };
        let clean = normalise(wanted);
        if clean.as_os_str().is_empty() {
            let cause = format!("{}: leads to the root cgroup", wanted.display());
            return Err(Error::user(cause).doing("linux.cgroupsPath"));
        }
        let below = |hierarchy: &Hierarchy| match (wanted.is_absolute(), layout.mode) {
            (true, _) => clean.clone(),
            (false, Mode::V2) => hierarchy.own.parent().unwrap_or(Path::new("")).join(&clean),
            (false, _) => hierarchy.own.join(&clean),
        };
        let dirs = layout.hierarchies.iter().map(|hierarchy| Dir {
            controllers: hierarchy.controllers.clone(),
            mount: hierarchy.mount.clone(),
            below: below(hierarchy),
        });
        Ok(Self { mode: layout.mode, dirs: dirs.collect(), unit: None })
    }

    /// The directory in the v2 tree, on hybrid hosts too.
    fn v2(&self) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.is_v2())
    }

    /// The v1 directory of `controller`.
    fn v1(&self, controller: &str) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.controllers.iter().any(|name| name == controller))
    }

    /// The directory whose processes are the container's: v2 where there is one.
    fn main(&self) -> Option<&Dir> {
        self.v2().or_else(|| self.v1("freezer")).or(self.dirs.first())
    }
}

/// `path` without `/`, `.` and `..`, relative to a root that it cannot leave.
fn normalise(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(mode: Mode, own: &str) -> Layout {
        let controllers = if mode == Mode::V2 { vec![] } else { vec!["memory".into()] };
        let hierarchy =
            Hierarchy { controllers, mount: "/sys/fs/cgroup/x".into(), own: own.into() };
        Layout { mode, hierarchies: vec![hierarchy] }
    }

    #[test]
    fn cgroups_path_is_resolved_as_runc_does() {
        for (mode, own, path, expected) in [
            (Mode::V1, "user/a", Some("/kubepods/pod1"), "kubepods/pod1"),
            (Mode::V1, "user/a", Some("rel"), "user/a/rel"),
            (Mode::V1, "user/a", None, "user/a/id"),
            (Mode::V1, "", Some(""), "id"),
            (Mode::V2, "user/a", Some("/kubepods/pod1"), "kubepods/pod1"),
            (Mode::V2, "user/a", Some("rel"), "user/rel"),
            (Mode::V2, "", None, "id"),
            (Mode::V1, "", Some("/../../etc"), "etc"),
            (Mode::V1, "own", Some("../../x/./y"), "own/x/y"),
        ] {
            let cgroup = Cgroup::resolve(&layout(mode, own), path.map(Path::new), "id").unwrap();
            assert_eq!(cgroup.dirs[0].below, Path::new(expected), "{mode:?} {own} {path:?}");
        }
        for root in ["/", "/..", "a/.."] {
            let layout = layout(Mode::V2, "own");
            let error = Cgroup::resolve(&layout, Some(Path::new(root)), "id").unwrap_err();
            assert!(error.to_string().contains("root cgroup"), "{error}");
        }
    }
}
