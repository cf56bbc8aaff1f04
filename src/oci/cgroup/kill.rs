//! The processes of a cgroup: listed, frozen, killed, waited for.

use super::file::{self, children, keyed};
use super::{Cgroup, Mode};
use crate::error::{Context, Error, Result};
use crate::sys::clone::{pidfd_open, pidfd_send_signal};
use crate::sys::{self, Errno};
use nix::fcntl::OFlag;
use nix::libc::SIGKILL;
use std::collections::HashSet;
use std::fs::File;
use std::io::Seek;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a freeze may take; a task in uninterruptible sleep can hold it up for ever.
const FREEZE_WAIT: Duration = Duration::from_secs(10);

/// How long to wait between two looks where the kernel offers no event (v1's freezer, and a v1
/// cgroup whose last process is not quite gone).
const NO_EVENT: Duration = Duration::from_millis(1);

/// Fewer than anybody may have open.
const OPEN_AT_ONCE: usize = 256;

impl Cgroup {
    /// All processes in it and below.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        if let Some(dir) = self.main() {
            list(&dir.path(), &mut pids)
                .doing(|| format!("list the processes of {}", dir.path().display()))?;
        }
        Ok(pids)
    }

    /// SIGKILLs all processes in it and below, also frozen ones, until none is left or `deadline`
    /// has passed. A cgroup that is gone is fine.
    pub fn kill_all(&self, deadline: Duration) -> Result<()> {
        let until = Instant::now() + deadline;
        let Some(dir) = self.main() else { return Ok(()) };
        let path = dir.path();
        let what = || format!("kill the processes of {}", path.display());
        // One write kills all, forks in flight too: v2 since 5.14.
        let at_once = dir.is_v2() && file::write(&path, "cgroup.kill", "1").is_ok();
        self.thaw_v1().doing(what)?;
        if at_once {
            return wait_empty(&path, true, until).doing(what);
        }
        loop {
            let pids = self.pids()?;
            if pids.is_empty() {
                return Ok(());
            }
            self.kill_each().doing(what)?;
            wait_exits(&path, &pids, until).doing(what)?;
        }
    }

    /// Signals each process in it and below. One that is listed both before and after its descriptor
    /// was opened is the one that the descriptor names, whatever pids were reused meanwhile.
    pub fn signal_each(&self, signal: i32) -> Result<()> {
        for some in self.pids()?.chunks(OPEN_AT_ONCE) {
            let mut opened = Vec::new();
            for pid in some {
                match pidfd_open(*pid) {
                    Ok(pidfd) => opened.push((pid, pidfd)),
                    Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(errno).doing(|| format!("open process {pid}")),
                }
            }
            let still_there: HashSet<i32> = self.pids()?.into_iter().collect();
            for (pid, pidfd) in opened.iter().filter(|(pid, _)| still_there.contains(pid)) {
                match pidfd_send_signal(pidfd, signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(errno).doing(|| format!("signal process {pid}")),
                }
            }
        }
        Ok(())
    }

    /// Kills each, with the cgroup frozen so that a fork bomb cannot outrun us. A freeze that fails
    /// only makes it a race that the next round repeats.
    fn kill_each(&self) -> Result<()> {
        let (frozen, thawed) = self.freezer_words();
        if let Some((path, name)) = self.freezer() {
            file::write(&path, name, frozen).unwrap_or_default();
        }
        self.signal_each(SIGKILL)?;
        match self.freezer().map(|(path, name)| file::write(&path, name, thawed)) {
            None | Some(Ok(()) | Err(Errno::ENOENT)) => Ok(()),
            Some(Err(errno)) => Err(errno).doing(|| "thaw"),
        }
    }

    /// SIGKILL does not reach a task frozen by v1; v2 needs nothing.
    fn thaw_v1(&self) -> Result<()> {
        let Some(dir) = self.v1("freezer") else { return Ok(()) };
        match file::write(&dir.path(), "freezer.state", "THAWED") {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).doing(|| format!("thaw {}", dir.path().display())),
        }
    }

    /// Freezes or thaws, and waits until it is so.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let Some((path, name)) = self.freezer() else {
            return Err(Error::system("no freezer: neither v2 nor the v1 freezer is mounted"));
        };
        let (freeze, thaw) = self.freezer_words();
        let value = if frozen { freeze } else { thaw };
        let what = || format!("write {value} to {}/{name}", path.display());
        if !frozen && self.mode == Mode::Hybrid {
            // Others may have frozen it there.
            self.thaw_v1()?;
        }
        let until = Instant::now() + FREEZE_WAIT;
        let done = match self.mode {
            Mode::V1 => settle_v1(&path, value, until),
            Mode::Hybrid | Mode::V2 => file::write(&path, name, value)
                .and_then(|()| wait_event(&path, "frozen", u64::from(frozen), until)),
        };
        if done.doing(what)? {
            return Ok(());
        }
        if frozen {
            // Half frozen is worse than running.
            file::write(&path, name, thaw).doing(|| format!("thaw {}", path.display()))?;
        }
        Err(Error::system(format!("not done after {} s", FREEZE_WAIT.as_secs())).doing(what()))
    }

    /// Whether it is frozen, by either freezer of a hybrid host. A cgroup that is gone is not.
    pub fn is_frozen(&self) -> Result<bool> {
        let v2 = self.v2().map(|dir| (dir, "cgroup.events"));
        let v1 = self.v1("freezer").map(|dir| (dir, "freezer.state"));
        for (dir, name) in [v2, v1].into_iter().flatten() {
            let path = dir.path();
            match file::read(&path, name) {
                Ok(text) if dir.is_v2() && keyed(&text, "frozen") != Some(1) => {}
                Ok(text) if text.trim() == "THAWED" => {}
                Ok(_) => return Ok(true),
                Err(Errno::ENOENT | Errno::ENODEV) => {}
                Err(errno) => {
                    return Err(errno)
                        .doing(|| format!("read whether {} is frozen", path.display()));
                }
            }
        }
        Ok(false)
    }

    /// How many times the OOM killer has struck in it. A cgroup that is gone counts none.
    pub fn oom_kills(&self) -> Result<u64> {
        let (dir, name) = match self.mode {
            Mode::V2 => (self.v2(), "memory.events"),
            Mode::V1 | Mode::Hybrid => (self.v1("memory"), "memory.oom_control"),
        };
        let Some(dir) = dir else { return Ok(0) };
        match file::read(&dir.path(), name) {
            Ok(text) => Ok(keyed(&text, "oom_kill").unwrap_or(0)),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(0),
            Err(errno) => Err(errno).doing(|| format!("read {}/{name}", dir.path().display())),
        }
    }

    /// The file that freezes. On hybrid the v2 tree's: it tells when it is done, and what it froze
    /// can be killed.
    fn freezer(&self) -> Option<(std::path::PathBuf, &'static str)> {
        let (dir, name) = match self.mode {
            Mode::V1 => (self.v1("freezer")?, "freezer.state"),
            Mode::Hybrid | Mode::V2 => (self.v2()?, "cgroup.freeze"),
        };
        Some((dir.path(), name))
    }

    fn freezer_words(&self) -> (&'static str, &'static str) {
        if self.mode == Mode::V1 { ("FROZEN", "THAWED") } else { ("1", "0") }
    }
}

/// Waits until no process is in `path` or below; an error that names them at the deadline.
pub(super) fn wait_empty(path: &Path, v2: bool, until: Instant) -> Result<()> {
    if v2 && wait_event(path, "populated", 0, until)? && Instant::now() < until {
        return Ok(());
    }
    let mut pids = Vec::new();
    list(path, &mut pids)?;
    wait_exits(path, &pids, until)
}

/// Waits until all of `pids`, found in `path`, have exited.
fn wait_exits(path: &Path, pids: &[i32], until: Instant) -> Result<()> {
    if pids.is_empty() {
        // rmdir still sees what cgroup.procs no longer lists, for microseconds.
        if Instant::now() >= until {
            return Err(Error::system("still in use, by no process that is listed"));
        }
        std::thread::sleep(NO_EVENT);
    }
    for pid in pids {
        let exited = match pidfd_open(*pid) {
            Ok(pidfd) => sys::cgroup::poll_exit(pidfd, until)?,
            Err(Errno::ESRCH) => true,
            Err(errno) => return Err(errno).doing(|| format!("watch process {pid}")),
        };
        if !exited {
            let cause = format!("{} will not exit: {}", path.display(), describe(pids));
            return Err(Error::system(cause));
        }
    }
    Ok(())
}

/// Waits until `key` of `cgroup.events` has `value`; false at the deadline. A cgroup that is gone
/// has nothing to wait for.
fn wait_event(path: &Path, key: &str, value: u64, until: Instant) -> sys::Result<bool> {
    let mut events = match file::open(path, "cgroup.events", OFlag::O_RDONLY) {
        Err(Errno::ENOENT) => return Ok(true),
        opened => opened?,
    };
    loop {
        match reread(&mut events) {
            Ok(text) if keyed(&text, key) == Some(value) => return Ok(true),
            Ok(_) => {}
            Err(Errno::ENODEV) => return Ok(true),
            Err(errno) => return Err(errno),
        }
        if !sys::cgroup::poll_change(&events, until)? {
            return Ok(false);
        }
    }
}

fn reread(file: &mut File) -> sys::Result<String> {
    file.rewind().map_err(sys::fs::errno)?;
    file::contents(file)
}

/// v1 freezes only as far as it gets while it is looked at, and has no event.
fn settle_v1(path: &Path, value: &str, until: Instant) -> sys::Result<bool> {
    while Instant::now() < until {
        // Written anew: a task that forked meanwhile leaves the state at FREEZING.
        file::write(path, "freezer.state", value)?;
        if file::read(path, "freezer.state")?.trim() == value {
            return Ok(true);
        }
        std::thread::sleep(NO_EVENT);
    }
    Ok(false)
}

/// Adds the processes of `path` and below to `pids`.
fn list(path: &Path, pids: &mut Vec<i32>) -> sys::Result<()> {
    match file::read(path, "cgroup.procs") {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.trim().parse::<i32>().ok())),
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
        // A threaded cgroup: its processes are listed by the domain above.
        Err(Errno::EOPNOTSUPP) => {}
        Err(errno) => return Err(errno),
    }
    match children(path) {
        Ok(children) => children.iter().try_for_each(|child| list(child, pids)),
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// `12 (sh) D, 13 (cat) S`: who blocks, for messages.
fn describe(pids: &[i32]) -> String {
    let one = |pid: &i32| {
        let stat = sys::fs::read_kernel_file(Path::new(&format!("/proc/{pid}/stat")));
        let stat = stat.unwrap_or_default();
        let end = stat.rfind(')').and_then(|end| stat.get(..end + 3)).unwrap_or("gone");
        if end == "gone" { format!("{pid} gone") } else { end.to_owned() }
    };
    pids.iter().take(5).map(one).collect::<Vec<_>>().join(", ")
}
