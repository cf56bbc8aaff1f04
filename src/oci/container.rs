//! A container on disk: `<root>/<id>/` (0700) holds `state.json`, `config.json` and, while it waits
//! for `start`, the socket `start`.
//!
//! `state.json` gets a line before each hand-over, of which the last whole one counts, so that after
//! a kill at any point `delete --force` finds what there is to remove. The status is derived from the
//! process (pid and start time, so a reused pid is seen) and never stored. Writers hold the lock.

use super::cgroup::Cgroup;
use super::{bundle, json};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::types::NsKind;
use crate::sys::{Errno, clone, fs};
use nix::fcntl::{Flock, FlockArg, OFlag};
use oci_spec::runtime::{Hook, Spec};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Longest record that is read: it repeats the hooks and annotations of a config.json, and one before
/// it may still be there.
const MAX_RECORD: u64 = 32 << 20;

/// The status of the runtime specification, and runc's `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being created.
    Creating,
    /// Created; waits for `start`.
    Created,
    /// The user's process runs.
    Running,
    /// Frozen.
    Paused,
    /// The process is gone.
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// What `runp state` prints, and hooks read on stdin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification.
    pub oci_version: String,
    /// The container's name.
    pub id: String,
    /// The init process as the host sees it; 0 once stopped.
    pub pid: i32,
    /// Derived at the time of asking.
    pub status: Status,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The root file system's directory.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// As in config.json.
    #[serde(skip_serializing_if = "HashMap::is_empty", serialize_with = "sorted", default)]
    pub annotations: HashMap<String, String>,
    /// Who created it.
    pub owner: String,
}

/// Sorted, as runc prints them: the same container gives the same text.
fn sorted<S: serde::Serializer>(
    map: &HashMap<String, String>,
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    map.iter().collect::<std::collections::BTreeMap<_, _>>().serialize(to)
}

/// The version of [`Record`]; a record of another one is refused, not guessed at.
pub const RECORD_VERSION: u32 = 1;

/// `state.json`: all that later commands need to know.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// The version of the specification that [`State`] follows.
    pub oci_version: String,
    /// The container's name.
    pub id: String,
    /// The bundle's directory, absolute.
    pub bundle: PathBuf,
    /// The root file system's directory, absolute.
    pub rootfs: PathBuf,
    /// RFC 3339.
    pub created: String,
    /// Name or number of the user who created it.
    pub owner: String,
    /// As in config.json.
    #[serde(default)]
    pub annotations: HashMap<String, String>,
    /// The init process on the host; 0 before there is one.
    pub pid: i32,
    /// Its start time in clock ticks since boot (field 22 of proc_pid_stat(5)).
    pub start_time: u64,
    /// Its cgroup; absent where it has none of its own.
    pub cgroup: Option<Cgroup>,
    /// Without a mount namespace of its own: the mount at `rootfs` that holds all its mounts, as
    /// [`crate::sys::mount::mount_id`] has it.
    #[serde(default)]
    pub host_mount: Option<u64>,
    /// The namespaces that are not the host's: what `exec` joins.
    #[serde(default)]
    pub namespaces: Vec<NsKind>,
    /// What the process does after `start`, for messages.
    #[serde(default)]
    pub after_start: AfterStart,
    /// Run by `start`.
    #[serde(default)]
    pub start_container: Vec<Hook>,
    /// Run by `start` at its end.
    #[serde(default)]
    pub poststart: Vec<Hook>,
    /// Run by `delete` at its end.
    #[serde(default)]
    pub poststop: Vec<Hook>,
}

/// The steps that are left to a container that waits for `start`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AfterStart {
    /// The number of the first one in the plan.
    pub first: u32,
    /// What they do; the one after these executes the program.
    pub steps: Vec<String>,
    /// `process.args[0]`.
    pub program: String,
}

/// The lock of a container; it is given back when dropped, or when its holder dies.
pub type Lock = Flock<File>;

/// A container's directory and record.
#[derive(Debug)]
pub struct Container {
    /// `<root>/<id>`.
    pub dir: PathBuf,
    /// `state.json` as read or last saved.
    pub record: Record,
}

impl Container {
    /// Takes the name: makes the directory and writes the first record. Returns it locked.
    pub fn reserve(root: &Path, record: Record) -> Result<(Self, Lock)> {
        check_id(&record.id)?;
        let dir = root.join(&record.id);
        let mut builder = DirBuilder::new();
        match builder.mode(0o700).create(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                builder
                    .recursive(true)
                    .create(root)
                    .doing(|| format!("make {}", root.display()))?;
                builder.recursive(false).create(&dir).map_err(|error| taken(error, &dir))?;
            }
            made => made.map_err(|error| taken(error, &dir))?,
        }
        let container = Self { dir, record };
        let lock = container.lock()?;
        container.save()?;
        Ok((container, lock))
    }

    /// Reads a container's record. A directory without one (its maker was killed at the first step)
    /// gives a record that holds only the name.
    pub fn open(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        let dir = root.join(id);
        let record = match fs::read_limited(&dir.join("state.json"), MAX_RECORD) {
            Ok(bytes) => parse(fs::last_line(&bytes))
                .doing(|| format!("read {}/state.json", dir.display()))?,
            Err(Errno::ENOENT) if std::fs::symlink_metadata(&dir).is_ok_and(|m| m.is_dir()) => {
                Record { version: RECORD_VERSION, id: id.into(), ..Record::default() }
            }
            Err(Errno::ENOENT) => {
                return Err(Error::new(Kind::NotFound, "container does not exist"));
            }
            Err(errno) => Err(errno).doing(|| format!("read {}/state.json", dir.display()))?,
        };
        Ok(Self { dir, record })
    }

    /// The names of all containers below `root`, sorted.
    pub fn ids(root: &Path) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.doing(|| format!("read {}", root.display()))?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.doing(|| format!("read {}", root.display()))?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if check_id(&name).is_ok() && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                ids.push(name);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Waits for the lock: flock(2) of the directory itself. `ENOENT` if it is gone by then.
    pub fn lock(&self) -> Result<Lock> {
        self.flock(FlockArg::LockExclusive).doing(|| format!("lock {}", self.dir.display()))
    }

    /// Writes the record to `state.json`. The caller holds the lock.
    pub fn save(&self) -> Result<()> {
        let bytes = serde_json::to_vec(&self.record).map_err(|e| Error::system(e.to_string()))?;
        let path = self.dir.join("state.json");
        fs::append_line(&path, &bytes, 0o600).doing(|| format!("write {}", path.display()))
    }

    /// The status now.
    pub fn status(&self) -> Result<Status> {
        if self.record.pid == 0 {
            // Its maker holds the lock while it lives.
            let busy =
                matches!(self.flock(FlockArg::LockExclusiveNonblock), Err(Errno::EWOULDBLOCK));
            return Ok(if busy { Status::Creating } else { Status::Stopped });
        }
        if !self.is_alive() {
            return Ok(Status::Stopped);
        }
        match &self.record.cgroup {
            // Also before it is started: what is frozen cannot be.
            Some(cgroup) if cgroup.is_frozen()? => Ok(Status::Paused),
            _ if self.is_waiting() => Ok(Status::Created),
            _ => Ok(Status::Running),
        }
    }

    /// The state of the runtime specification, with the status given.
    pub fn state(&self, status: Status) -> State {
        let record = &self.record;
        State {
            oci_version: record.oci_version.clone(),
            id: record.id.clone(),
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status,
            bundle: record.bundle.clone(),
            rootfs: record.rootfs.clone(),
            created: record.created.clone(),
            annotations: record.annotations.clone(),
            owner: record.owner.clone(),
        }
    }

    /// A descriptor of the init process; `None` once it is gone (a zombie is gone).
    pub fn init(&self) -> Result<Option<OwnedFd>> {
        match clone::pidfd_open(self.record.pid) {
            // Looked at after the open, so the descriptor is of the process that was looked at.
            Ok(pidfd) => Ok(self.is_alive().then_some(pidfd)),
            Err(Errno::ESRCH | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(errno).doing(|| format!("open process {}", self.record.pid)),
        }
    }

    /// The configuration it was created with.
    pub fn config(&self) -> Result<Spec> {
        let mut path = self.dir.join("config.json");
        let read = match fs::read_limited(&path, bundle::MAX_CONFIG) {
            // The bundle is its maker's own, and stays as it is.
            Err(Errno::ENOENT) if !self.record.bundle.as_os_str().is_empty() => {
                path = self.record.bundle.join("config.json");
                fs::read_limited(&path, bundle::MAX_CONFIG)
            }
            read => read,
        };
        let bytes = read.doing(|| format!("read {path:?}"))?;
        bundle::decode(&bytes).doing(|| format!("read {}", path.display()))
    }

    /// The socket that `start` connects to; it is there only while the container waits.
    pub fn start_socket(&self) -> PathBuf {
        self.dir.join("start")
    }

    fn is_waiting(&self) -> bool {
        std::fs::symlink_metadata(self.start_socket()).is_ok()
    }

    fn is_alive(&self) -> bool {
        start_time(self.record.pid).is_some_and(|time| time == self.record.start_time)
    }

    fn flock(&self, how: FlockArg) -> crate::sys::Result<Lock> {
        let dir = fs::open(&self.dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?;
        Flock::lock(dir, how).map_err(|(_, errno)| errno)
    }
}

/// When process `pid` was started, in clock ticks since boot; `None` if there is none or it is a
/// zombie.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_kernel_file(Path::new(&format!("/proc/{pid}/stat"))).ok()?;
    parse_stat(&stat)
}

/// Field 22, and field 3 for zombies. The name in field 2 may hold anything, brackets too.
fn parse_stat(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn parse(bytes: &[u8]) -> Result<Record> {
    let record: Record =
        json::from_str(bundle::utf8(bytes)?).map_err(|error| Error::system(error.to_string()))?;
    if record.version == RECORD_VERSION {
        return Ok(record);
    }
    let cause = format!("version {} is not {RECORD_VERSION}", record.version);
    Err(Error::system(cause).hint("use the version of runp that created the container"))
}

/// runc's rule for names: they become file and cgroup names.
fn check_id(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    let valid = !id.is_empty() && id.len() <= 255 && id.chars().all(allowed);
    if valid && id != "." && id != ".." {
        return Ok(());
    }
    Err(Error::user(format!("invalid container ID format: {id:?}")))
}

fn taken(error: std::io::Error, dir: &Path) -> Error {
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        return Error::user("container with given ID already exists");
    }
    Error::from(error).doing(format!("make {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "web-1", "a+b_c.d", "...", &"x".repeat(255)] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ü", "a\n", &"x".repeat(256)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stat_lines() {
        let line = "7 (a) b)) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(parse_stat(line), Some(4711));
        assert_eq!(parse_stat(&line.replace(" S ", " Z ")), None);
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn a_name_is_taken_once_and_read_back() {
        let root = tempfile::tempdir().unwrap();
        let record = Record { version: RECORD_VERSION, id: "web".into(), ..Record::default() };
        assert_eq!(Container::open(root.path(), "web").unwrap_err().kind(), Kind::NotFound);
        let (container, lock) = Container::reserve(root.path(), record.clone()).unwrap();
        assert_eq!(container.status().unwrap(), Status::Creating);
        drop(lock);
        let error = Container::reserve(root.path(), record).unwrap_err();
        assert_eq!(error.to_string(), "container with given ID already exists");
        let mut read = Container::open(root.path(), "web").unwrap();
        assert_eq!(read.status().unwrap(), Status::Stopped);
        read.record.pid = std::process::id() as i32;
        read.record.start_time = start_time(read.record.pid).unwrap();
        assert_eq!(read.status().unwrap(), Status::Running);
        read.record.start_time += 1;
        assert_eq!(read.status().unwrap(), Status::Stopped, "the pid was reused");
        assert_eq!(Container::ids(root.path()).unwrap(), ["web"]);
    }
}
