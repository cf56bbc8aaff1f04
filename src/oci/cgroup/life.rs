//! A cgroup's directories: made, entered, removed.

use super::file::{self, children};
use super::{Cgroup, Dir, Mode};
use crate::error::{Context, Error, Result};
use crate::sys::{self, Errno};
use nix::fcntl::OFlag;
use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long [`Cgroup::remove`] waits for processes that are about to be gone.
const EXIT_WAIT: Duration = Duration::from_secs(2);

const V1_FROZEN: (&str, &str) = ("freezer.state", "FROZEN");

impl Cgroup {
    /// Makes the directories (parents too, controllers enabled on v2); undone if one fails. A
    /// directory that exists and holds processes is an error unless `shared`.
    pub fn make(&self, shared: bool) -> Result<()> {
        let mut made = Vec::new();
        let result = self.dirs.iter().try_for_each(|dir| self.make_dir(dir, shared, &mut made));
        if result.is_err() {
            for path in made.iter().rev() {
                // The first error is the one to report.
                rmdir(path).unwrap_or_default();
            }
        }
        result
    }

    fn make_dir(&self, dir: &Dir, shared: bool, made: &mut Vec<PathBuf>) -> Result<()> {
        let path = dir.path();
        let before = made.len();
        mkdir_all(dir, made).doing(|| format!("make cgroup {}", path.display()))?;
        if before == made.len() && !shared {
            return expect_unused(dir, &path);
        }
        if dir.controllers.iter().any(|name| name == "cpuset") {
            for path in made.iter().skip(before) {
                inherit_cpuset(&dir.mount, path)
                    .doing(|| format!("copy the parent's cpus and mems to {}", path.display()))?;
                if shared || *path != dir.path() {
                    fill_children(path).doing(|| format!("prepare {}", path.display()))?;
                }
            }
        }
        if self.mode == Mode::V2 {
            enable_controllers(dir)
                .doing(|| format!("enable controllers for {}", path.display()))?;
        }
        Ok(())
    }

    /// v2: gives the directory to `uid`, and of its files those that the kernel says are a delegate's
    /// ([runtime-spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#cgroup-ownership)).
    pub fn delegate(&self, uid: u32) -> Result<()> {
        const BEFORE_4_15: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";
        let Some(dir) = self.v2().filter(|_| self.mode == Mode::V2) else { return Ok(()) };
        let path = dir.path();
        let files = sys::fs::read_kernel_file(Path::new("/sys/kernel/cgroup/delegate"));
        let files = files.unwrap_or_else(|_| BEFORE_4_15.to_owned());
        for name in std::iter::once("").chain(files.lines()) {
            let path = path.join(name);
            match std::os::unix::fs::lchown(&path, Some(uid), None).map_err(sys::fs::errno) {
                Err(Errno::ENOENT) if !name.is_empty() => {}
                given => given.doing(|| format!("give {} to user {uid}", path.display()))?,
            }
        }
        Ok(())
    }

    /// The directory for `CLONE_INTO_CGROUP`: the v2 tree's, on hybrid hosts too.
    pub fn clone_into(&self) -> Result<Option<OwnedFd>> {
        // A user's manager moves processes for him ([`Cgroup::attach`]); he has no right to.
        let by_manager = self.unit.as_ref().is_some_and(|unit| unit.user.is_some());
        let Some(dir) = self.v2().filter(|_| !by_manager) else { return Ok(None) };
        let path = dir.path();
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let fd = sys::fs::open(&path, flags, 0);
        fd.map(|file| Some(file.into())).doing(|| format!("open cgroup {}", path.display()))
    }

    /// The v1 hierarchies' `tasks` files, for [`enter`]; none on v2.
    pub fn tasks(&self) -> Result<Vec<OwnedFd>> {
        let open = |dir: &Dir| {
            let path = dir.path();
            let file = file::open(&path, "tasks", OFlag::O_WRONLY);
            file.map(OwnedFd::from).doing(|| format!("open {}/tasks", path.display()))
        };
        self.dirs.iter().filter(|dir| !dir.is_v2()).map(open).collect()
    }

    /// Moves `pid` in, in every hierarchy. Slow (see the module): a process that we clone is born
    /// inside ([`Cgroup::clone_into`]) and enters the rest itself ([`Cgroup::tasks`]).
    pub fn join(&self, pid: i32) -> Result<()> {
        let pid = pid.to_string();
        for dir in &self.dirs {
            let path = dir.path();
            file::write(&path, "cgroup.procs", &pid)
                .doing(|| format!("move process {pid} to cgroup {}", path.display()))?;
        }
        Ok(())
    }

    /// Removes the directories and everything below. Processes that are exiting are waited for, by
    /// events; missing directories are fine. All are tried, the first error is returned.
    pub fn remove(&self) -> Result<()> {
        let mut result = self.stop_unit();
        let until = Instant::now() + EXIT_WAIT;
        for dir in &self.dirs {
            let removed = remove_tree(&dir.path(), dir.is_v2(), until);
            result = result.and(removed);
        }
        result
    }

    /// Removes the directories if nothing is in them; otherwise they stay, and that is no error.
    pub fn remove_if_empty(&self) -> Result<()> {
        for dir in &self.dirs {
            let path = dir.path();
            match rmdir(&path) {
                Ok(()) | Err(Errno::ENOENT | Errno::EBUSY | Errno::ENOTEMPTY) => {}
                Err(errno) => {
                    return Err(errno).doing(|| format!("remove cgroup {}", path.display()));
                }
            }
        }
        Ok(())
    }
}

/// Moves the caller into the cgroups of [`Cgroup::tasks`]. The caller must have one thread only.
/// Nothing but write(2): for a child between clone and exec.
pub fn enter(tasks: &[OwnedFd]) -> sys::Result<()> {
    tasks.iter().try_for_each(|file| sys::fs::write_once(file.as_fd(), b"0"))
}

/// mkdir -p below the mount; what was missing is added to `made`.
fn mkdir_all(dir: &Dir, made: &mut Vec<PathBuf>) -> sys::Result<()> {
    let path = dir.path();
    match mkdir(&path) {
        Ok(()) => made.push(path),
        Err(Errno::EEXIST) => {}
        Err(Errno::ENOENT) => {
            let mut path = dir.mount.clone();
            for name in &dir.below {
                path.push(name);
                match mkdir(&path) {
                    Ok(()) => made.push(path.clone()),
                    Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        Err(errno) => return Err(errno),
    }
    Ok(())
}

fn mkdir(path: &Path) -> sys::Result<()> {
    DirBuilder::new().mode(0o755).create(path).map_err(sys::fs::errno)
}

fn rmdir(path: &Path) -> sys::Result<()> {
    std::fs::remove_dir(path).map_err(sys::fs::errno)
}

/// runc refuses a cgroup in use since 1.2: two containers would share limits, and a kill. One that
/// somebody has left frozen would hold the container's first process for ever.
pub(super) fn expect_unused(dir: &Dir, path: &Path) -> Result<()> {
    let freezer = match dir.is_v2() {
        true => Some(("cgroup.freeze", "1")),
        false => dir.controllers.iter().any(|name| name == "freezer").then_some(V1_FROZEN),
    };
    if let Some((name, frozen)) = freezer
        && file::read(path, name).is_ok_and(|state| state.trim() == frozen)
    {
        let cause = "container's cgroup unexpectedly frozen";
        return Err(Error::user(cause).doing(format!("use cgroup {}", path.display())));
    }
    let procs = match file::read(path, "cgroup.procs") {
        Err(Errno::ENOENT) => return Ok(()),
        read => read.doing(|| format!("read {}/cgroup.procs", path.display()))?,
    };
    match procs.lines().count() {
        0 => Ok(()),
        count => {
            let cause = format!("container's cgroup is not empty: {count} process(es) found");
            Err(Error::user(cause).doing(format!("use cgroup {}", path.display())))
        }
    }
}

/// A fresh v1 cpuset has no CPUs, and nothing can join it, unless its parent had the kernel fill it
/// ([`fill_children`]). Parents that somebody left so are filled, too.
fn inherit_cpuset(mount: &Path, path: &Path) -> sys::Result<()> {
    let Some(parent) = path.parent().filter(|_| path != mount) else { return Ok(()) };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if !file::read(path, name)?.trim().is_empty() {
            continue;
        }
        let mut value = file::read(parent, name)?;
        if value.trim().is_empty() {
            inherit_cpuset(mount, parent)?;
            value = file::read(parent, name)?;
        }
        file::write(path, name, value.trim())?;
    }
    Ok(())
}

/// Has the kernel give each child made from now on the CPUs and memory of `path`. Written by us they
/// would make it build its scheduling domains anew, for which it looks at all cpusets and all tasks:
/// half of what starting the thousandth pod costs more than starting the first.
fn fill_children(path: &Path) -> sys::Result<()> {
    file::write(path, "cgroup.clone_children", "1")
}

/// Hands all controllers that the root has down to `dir`. What a parent refuses (it holds processes
/// itself, or a controller is busy on v1) stays off: setting a limit that needs it will say so.
fn enable_controllers(dir: &Dir) -> sys::Result<()> {
    let offered = file::read(&dir.mount, "cgroup.controllers")?;
    let enabled = file::read(&dir.path(), "cgroup.controllers")?;
    let is_on = |name: &&str| enabled.split_whitespace().any(|on| on == *name);
    let missing: Vec<String> = offered
        .split_whitespace()
        .filter(|name| !is_on(name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut path = dir.mount.clone();
    for name in &dir.below {
        // One write for all; where one of them is refused, all are, so then each alone.
        if file::write(&path, "cgroup.subtree_control", &missing.join(" ")).is_err() {
            for name in &missing {
                file::write(&path, "cgroup.subtree_control", name).unwrap_or_default();
            }
        }
        path.push(name);
    }
    Ok(())
}

/// rmdir, at once where it works; otherwise children first, then what is exiting is waited for.
fn remove_tree(path: &Path, v2: bool, until: Instant) -> Result<()> {
    let what = || format!("remove cgroup {}", path.display());
    let mut tried = false;
    loop {
        match rmdir(path) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(errno).doing(what),
        }
        // Listed anew each time: a process that is not dead yet may make more.
        match children(path) {
            Ok(children) => {
                children.iter().try_for_each(|child| remove_tree(child, v2, until))?;
            }
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno).doing(what),
        }
        // The first time, the children may have been all that was in the way.
        if std::mem::replace(&mut tried, true) {
            super::kill::wait_empty(path, v2, until).doing(what)?;
        }
    }
}
