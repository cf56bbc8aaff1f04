//! Being told of out-of-memory kills, without asking.

use super::file;
use super::{Cgroup, Mode};
use crate::error::{Context, Error, Result};
use crate::sys::{cgroup, poll};
use nix::fcntl::OFlag;
use nix::sys::inotify::AddWatchFlags;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// A descriptor that is readable after an out-of-memory kill, perhaps also for another reason.
pub struct OomWatch {
    source: Source,
    /// v2: how many there were when last looked.
    kills: u64,
}

enum Source {
    /// Counts notifications; the kernel sends a last one when it removes the cgroup.
    V1 { event: OwnedFd, control: PathBuf },
    /// Watches `memory.events`, which changes for other reasons too.
    V2(poll::Watcher),
}

impl Cgroup {
    /// Watches for out-of-memory kills from now on.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        let source = match self.mode {
            Mode::V1 | Mode::Hybrid => self.watch_v1()?,
            Mode::V2 => self.watch_v2()?,
        };
        Ok(OomWatch { source, kills: self.oom_kills()? })
    }

    /// <https://docs.kernel.org/admin-guide/cgroup-v1/memory.html#oom-control>
    fn watch_v1(&self) -> Result<Source> {
        let dir = self.v1("memory").ok_or_else(|| Error::system("memory controller missing"))?;
        let path = dir.path();
        let doing = || format!("watch {}/memory.oom_control", path.display());
        let event = cgroup::eventfd().doing(doing)?;
        let watched = file::open(&path, "memory.oom_control", OFlag::O_RDONLY).doing(doing)?;
        let line = format!("{} {}", event.as_raw_fd(), watched.as_raw_fd());
        file::write(&path, "cgroup.event_control", &line).doing(doing)?;
        Ok(Source::V1 { event, control: path.join("cgroup.event_control") })
    }

    fn watch_v2(&self) -> Result<Source> {
        let path = self.v2().map(super::Dir::path).unwrap_or_default().join("memory.events");
        let doing = || format!("watch {}", path.display());
        let watcher = poll::Watcher::new().doing(doing)?;
        watcher.add(&path, AddWatchFlags::IN_MODIFY).doing(doing)?;
        Ok(Source::V2(watcher))
    }
}

impl OomWatch {
    /// How many kills there were in `cgroup` since last asked.
    pub fn take(&mut self, cgroup: &Cgroup) -> Result<u64> {
        match &self.source {
            Source::V1 { event, control } => {
                let count = cgroup::eventfd_read(event).doing(|| "read an event")?;
                let gone = std::fs::symlink_metadata(control).is_err();
                Ok(if gone { 0 } else { count })
            }
            Source::V2(watcher) => {
                watcher.read().doing(|| "read events")?;
                let kills = cgroup.oom_kills()?;
                let before = std::mem::replace(&mut self.kills, kills);
                Ok(kills.saturating_sub(before))
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::V1 { event, .. } => event.as_fd(),
            Source::V2(watcher) => watcher.as_fd(),
        }
    }
}
