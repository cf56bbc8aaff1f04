//! Cgroups below a container's own: where `exec --cgroup` puts a process, and where the container's
//! first process has moved to.

use super::{Cgroup, Mode, file};
use crate::error::{Context, Error, Result};
use crate::sys::fs;
use nix::fcntl::OFlag;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

impl Cgroup {
    /// The cgroups that `exec --cgroup` names, each as `path` or `controller[,controller]:path`. They
    /// must be there; none leads out of this cgroup.
    pub fn below(&self, named: &[String]) -> Result<Self> {
        let mut below = self.clone();
        let mut seen: Vec<&str> = Vec::new();
        for argument in named {
            match argument.split_once(':') {
                Some((controllers, path)) => {
                    for controller in controllers.split(',') {
                        check_controller(argument, controller, &seen)?;
                        seen.push(controller);
                        below.descend(controller, self, path)?;
                    }
                }
                None if named.len() == 1 => below.descend_whole(argument)?,
                None => {
                    return Err(Error::user(format!(
                        "invalid --cgroup argument: {argument} (missing <controller>: prefix)"
                    )));
                }
            }
        }
        below.check_is_there()?;
        Ok(below)
    }

    fn descend_whole(&mut self, path: &str) -> Result<()> {
        for dir in &mut self.dirs {
            descend(&mut dir.below, path)?;
        }
        Ok(())
    }

    /// From where `base` is: controllers that share a hierarchy may be named one by one.
    fn descend(&mut self, controller: &str, base: &Self, path: &str) -> Result<()> {
        let holds = |dir: &super::Dir| dir.controllers.iter().any(|name| name == controller);
        let at = base.dirs.iter().position(holds);
        let dirs = at.and_then(|at| Some((self.dirs.get_mut(at)?, base.dirs.get(at)?)));
        let unknown = || Error::user(format!("unknown controller {controller} in --cgroup"));
        let (dir, base) = dirs.ok_or_else(unknown)?;
        dir.below.clone_from(&base.below);
        descend(&mut dir.below, path)
    }

    fn check_is_there(&self) -> Result<()> {
        for dir in &self.dirs {
            let path = dir.path();
            let open = file::open(&path, "cgroup.procs", OFlag::O_RDONLY);
            open.doing(|| format!("open cgroup {}", path.display()))
                .doing(|| "error adding pid of the new process to cgroups")?;
        }
        Ok(())
    }

    /// v2: the cgroup that process `pid` is in by now, for `CLONE_INTO_CGROUP`. `None` elsewhere, and
    /// where it cannot be told.
    pub fn of_process(&self, pid: i32) -> Option<OwnedFd> {
        let dir = self.dirs.first().filter(|_| self.mode == Mode::V2)?;
        let own = fs::read_kernel_file(Path::new(&format!("/proc/{pid}/cgroup"))).ok()?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        fs::open(&dir.mount.join(path), flags, 0).ok().map(OwnedFd::from)
    }
}

fn check_controller(argument: &str, controller: &str, seen: &[&str]) -> Result<()> {
    if controller.is_empty() {
        let cause = format!("invalid --cgroup argument: {argument} (empty <controller> prefix)");
        return Err(Error::user(cause));
    }
    if seen.contains(&controller) {
        return Err(Error::user(format!(
            "invalid --cgroup argument(s): controller {controller} specified multiple times"
        )));
    }
    Ok(())
}

/// Appends `path`; none of its `..` may lead above where it starts.
fn descend(below: &mut std::path::PathBuf, path: &str) -> Result<()> {
    let start = below.components().count();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => below.push(name),
            Component::ParentDir if below.components().count() > start => drop(below.pop()),
            Component::ParentDir => {
                return Err(Error::user(format!("bad sub cgroup path: {path}")));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn paths_stay_below() {
        for (path, expected) in [
            ("/", Some("c")),
            ("", Some("c")),
            ("a/b", Some("c/a/b")),
            ("/a", Some("c/a")),
            ("a/../b", Some("c/b")),
            ("..", None),
            ("a/../..", None),
            ("../c2", None),
        ] {
            let mut below = PathBuf::from("c");
            let done = descend(&mut below, path).is_ok().then_some(below);
            assert_eq!(done, expected.map(PathBuf::from), "{path}");
        }
    }
}
