//! The store: `<lib>/pods/<namespace>/<name>/`, one directory per pod, one writer per file.
//!
//! - `pod.json`: what is wanted. Written by podctl's commands, under the directory's lock.
//! - `status.json`: what is, a line for each change, of which the last whole one counts. Written by
//!   the pod's monitor alone.
//! - `events.json`: written by the monitor alone.
//!
//! Every write replaces a whole file or adds a whole line, so that readers take no lock. A pod is
//! gone in one step: its directory is renamed to a name with a leading dot, which no pod can have, and
//! emptied there.
//! Resource versions are microseconds since the epoch: opaque, growing, and free of a counter that
//! all pods would share.

use super::listing::{self, Detail};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::Pod;
use crate::sys::{Errno, fs, tree};
use k8s_openapi::api::core::v1::{Event, PodStatus};
use nix::fcntl::{Flock, FlockArg, OFlag};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How often a directory is made anew whose parent somebody removed.
const MAKE_TRIES: usize = 16;
/// More than any pod that passed validation can need.
pub(super) const MAX_FILE: u64 = 16 << 20;

/// The pods of one root.
#[derive(Clone, Debug)]
pub struct Store {
    /// `<lib>/pods`.
    pub dir: PathBuf,
}

/// `status.json`: the status for everybody, and what only the monitor needs to go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record<S> {
    /// The pod it is about; a record of another pod of the same name counts for nothing.
    pub uid: String,
    /// When it was written.
    pub resource_version: u64,
    /// The status.
    pub status: PodStatus,
    /// The monitor's own state.
    pub state: S,
}

/// The lock of a pod's directory, held while `pod.json` is read, changed and written.
pub struct Locked {
    dir: PathBuf,
    _lock: Flock<File>,
}

impl Store {
    /// The store below `lib`; nothing is made.
    pub fn new(lib: &Path) -> Self {
        Self { dir: lib.join("pods") }
    }

    /// A pod's directory. Names that could lead elsewhere are of no pod: `NotFound`.
    pub fn pod_dir(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        if is_name(namespace) && is_name(name) {
            Ok(self.dir.join(namespace).join(name))
        } else {
            Err(not_found(name))
        }
    }

    /// Locks a pod's directory, made if missing.
    pub fn lock(&self, namespace: &str, name: &str) -> Result<Locked> {
        lock_made(&self.pod_dir(namespace, name)?)
    }

    /// Locks a directory of the store that is there, if nobody else has it locked.
    pub fn try_lock(dir: &Path) -> Option<Locked> {
        lock_dir(dir, FlockArg::LockExclusiveNonblock).ok().flatten()
    }

    /// Locks an existing pod's directory, and reads what is wanted; `NotFound` where there is none.
    pub fn lock_existing(&self, namespace: &str, name: &str) -> Result<(Locked, Pod)> {
        let dir = self.pod_dir(namespace, name)?;
        loop {
            match lock_dir(&dir, FlockArg::LockExclusive) {
                Ok(Some(locked)) => {
                    let wanted = locked.wanted()?.ok_or_else(|| not_found(name))?;
                    return Ok((locked, wanted));
                }
                Ok(None) => {}
                Err(error) if error.errno() == Some(Errno::ENOENT) => return Err(not_found(name)),
                Err(error) => return Err(error),
            }
        }
    }

    /// One pod, as wanted and as it is.
    pub fn get(&self, namespace: &str, name: &str) -> Result<Pod> {
        let read = listing::read_pod(&self.pod_dir(namespace, name)?);
        let read = read.map_err(|error| listing::damaged(error, namespace, name))?;
        read.ok_or_else(|| not_found(name))
    }

    /// The pods of a namespace, or all, sorted by namespace and name; those that can be read.
    pub fn list(&self, namespace: Option<&str>) -> Result<Vec<Pod>> {
        listing::list(self, namespace, Detail::All, &|pod| pod).map(|all| all.pods)
    }

    /// Every namespace with a directory, sorted.
    pub fn namespaces(&self) -> Result<Vec<String>> {
        let mut namespaces = entries(&self.dir)?;
        namespaces.retain(|name| is_name(name));
        Ok(namespaces)
    }

    /// Namespace and name of every pod directory, sorted.
    pub fn names(&self, namespace: Option<&str>) -> Result<Vec<(String, String)>> {
        let mut all = Vec::new();
        for namespace in self.chosen(namespace)? {
            let names =
                entries(&self.dir.join(&namespace))?.into_iter().filter(|name| is_name(name));
            all.extend(names.map(|name| (namespace.clone(), name)));
        }
        Ok(all)
    }

    /// The namespaces that are meant.
    pub(super) fn chosen(&self, namespace: Option<&str>) -> Result<Vec<String>> {
        match namespace {
            Some(namespace) if is_name(namespace) => Ok(vec![namespace.to_owned()]),
            Some(_) => Ok(Vec::new()),
            None => self.namespaces(),
        }
    }

    /// The monitor's record of the pod `uid`, if it wrote one.
    pub fn record<S: for<'a> Deserialize<'a>>(
        &self,
        pod_dir: &Path,
        uid: &str,
    ) -> Result<Option<Record<S>>> {
        let path = pod_dir.join("status.json");
        let content = read_file(&path)?;
        let record: Option<Record<S>> = decode(&path, fs::last_line(&content))?;
        Ok(record.filter(|record| record.uid == uid))
    }

    /// The events of one pod, oldest first.
    pub fn events(&self, namespace: &str, name: &str) -> Result<Vec<Event>> {
        let path = self.pod_dir(namespace, name)?.join("events.json");
        Ok(read_json(&path)?.unwrap_or_default())
    }

    /// Takes the pod `uid` out of the store in one step. Its directory is a tombstone from then on,
    /// for [`bury`], or `gc` should it not come to that.
    pub fn remove(&self, namespace: &str, name: &str, uid: &str) -> Result<PathBuf> {
        let dir = self.pod_dir(namespace, name)?;
        let tombstone = self.dir.join(namespace).join(format!(".{uid}"));
        match self.lock_existing(namespace, name) {
            Ok((_locked, pod)) if pod.metadata.uid.as_deref() == Some(uid) => {
                std::fs::rename(&dir, &tombstone).doing(|| format!("remove {}", dir.display()))?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(tombstone)
    }
}

impl Locked {
    /// The pod's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is wanted, if anything is.
    pub fn wanted(&self) -> Result<Option<Pod>> {
        read_json(&self.dir.join("pod.json"))
    }

    /// Stores what is wanted, under a new resource version.
    pub fn put_wanted(&self, pod: &mut Pod) -> Result<()> {
        let old = version_of(pod);
        pod.metadata.resource_version = Some(now_version().max(old + 1).to_string());
        pod.status = None;
        write_json(&self.dir.join("pod.json"), pod)
    }

    /// Removes the directory of a pod that did not get stored; one that holds a pod stays.
    pub fn abandon(self) -> Result<()> {
        if self.wanted()?.is_some() {
            return Ok(());
        }
        bury(&self.dir)
    }
}

/// Removes a tombstone, and its namespace if nothing else is there.
pub fn bury(tombstone: &Path) -> Result<()> {
    remove_tree(tombstone)?;
    let Some(namespace) = tombstone.parent() else { return Ok(()) };
    match std::fs::remove_dir(namespace) {
        Err(error) if !is_in_use(&error) => {
            Err(error).doing(|| format!("remove the emptied {}", namespace.display()))
        }
        _ => Ok(()),
    }
}

/// kubectl's `pods "x" not found`.
pub fn not_found(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("pods \"{name}\" not found"))
}

/// Replaces a file of the store.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    fs::write_atomic(path, &encode(path, value)?, 0o600)
        .doing(|| format!("write {}", path.display()))
}

/// As [`write_json`], for what the monitor writes again and again.
pub fn write_json_often(path: &Path, value: &impl Serialize) -> Result<()> {
    fs::write_often(path, &encode(path, value)?, 0o600)
        .doing(|| format!("write {}", path.display()))
}

/// A value as it is stored.
pub fn encode(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    let encoding = || format!("encode {}", path.display());
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Error::new(Kind::Bug, error.to_string()))
        .doing(encoding)?;
    // What nobody would read again is not written.
    match bytes.len() as u64 > MAX_FILE {
        true => Err(Error::user(format!("Request entity too large: limit is {MAX_FILE}"))),
        false => Ok(bytes),
    }
}

/// The uid and the status of the pod in `dir`, if its monitor's record can be read.
pub(super) fn read_status(dir: &Path) -> Option<(String, PodStatus)> {
    let path = dir.join("status.json");
    let content = read_file(&path).ok()?;
    let record: Option<Record<serde::de::IgnoredAny>> =
        decode(&path, fs::last_line(&content)).ok()?;
    record.map(|record| (record.uid, record.status))
}

/// A file of the store, `None` if it is not there, or empty, as after a power failure. Links are not
/// followed.
pub fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>> {
    decode(path, &read_file(path)?)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match fs::open(path, flags, 0) {
        // ENOTDIR: what stands in the place of the pod's directory is not ours.
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Vec::new()),
        opened => opened.doing(|| format!("open {}", path.display()))?,
    };
    fs::read_file_limited(&file, MAX_FILE).doing(|| format!("read {}", path.display()))
}

pub(super) fn decode<T: for<'a> Deserialize<'a>>(path: &Path, content: &[u8]) -> Result<Option<T>> {
    if content.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(content)
        .map(Some)
        .map_err(|error| Error::system(error.to_string()))
        .doing(|| format!("decode {}", path.display()))
}

/// Microseconds since the epoch.
pub fn now_version() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Makes a directory and its missing parents, for root alone. An emptied parent may be removed by
/// whoever emptied it, meanwhile.
pub fn make_private_dir(dir: &Path) -> Result<()> {
    let make = || DirBuilder::new().recursive(true).mode(0o700).create(dir);
    let mut made = make();
    for _ in 0..MAKE_TRIES {
        match made {
            Err(error) if error.kind() == ErrorKind::NotFound => made = make(),
            made => return made.doing(|| format!("make the directory {}", dir.display())),
        }
    }
    made.doing(|| format!("make the directory {}", dir.display()))
}

/// Removes a tree of ours, whatever containers have put into it; one that is not there is fine.
pub fn remove_tree(dir: &Path) -> Result<()> {
    tree::remove(dir).doing(|| format!("remove {}", dir.display()))
}

/// A DNS label or subdomain as far as paths care; validation has said the rest.
pub(super) fn is_name(name: &str) -> bool {
    let safe = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    let first = name.bytes().next();
    name.len() <= 253 && first.is_some_and(|c| c.is_ascii_alphanumeric()) && name.bytes().all(safe)
}

/// The entries of a directory, sorted; none if it is missing.
pub(super) fn entries(dir: &Path) -> Result<Vec<String>> {
    let read = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.doing(|| format!("list {}", dir.display()))?,
    };
    let mut names = Vec::new();
    for entry in read {
        let entry = entry.doing(|| format!("list {}", dir.display()))?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// Locks a directory of ours, made if missing.
pub(super) fn lock_made(dir: &Path) -> Result<Locked> {
    loop {
        make_private_dir(dir)?;
        match lock_dir(dir, FlockArg::LockExclusive) {
            Ok(Some(locked)) => return Ok(locked),
            Ok(None) => {}
            // Removed before it was opened.
            Err(error) if error.errno() == Some(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
}

/// `None` when the directory was removed while its lock was waited for.
fn lock_dir(dir: &Path, how: FlockArg) -> Result<Option<Locked>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let file = fs::open(dir, flags, 0).doing(|| format!("open {}", dir.display()))?;
    let lock = Flock::lock(file, how)
        .map_err(|(_, errno)| errno)
        .doing(|| format!("lock {}", dir.display()))?;
    let held = lock.metadata().doing(|| format!("look at {}", dir.display()))?;
    let same = std::fs::symlink_metadata(dir).is_ok_and(|there| there.ino() == held.ino());
    Ok(same.then(|| Locked { dir: dir.to_owned(), _lock: lock }))
}

/// The resource version, as a number.
pub(super) fn version_of(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn is_in_use(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.uid = Some(uid.into());
        pod
    }

    #[test]
    fn a_pod_comes_and_goes_whole() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.get("default", "a").unwrap_err().kind(), Kind::NotFound);
        assert!(store.list(None).unwrap().is_empty());
        let locked = store.lock("default", "a").unwrap();
        locked.put_wanted(&mut pod("a", "1")).unwrap();
        drop(locked);
        let status = PodStatus { phase: Some("Running".into()), ..PodStatus::default() };
        let version = u64::MAX;
        let record = Record { uid: "1".into(), resource_version: version, status, state: () };
        let path = store.dir.join("default/a/status.json");
        fs::append_line(&path, b"{}", 0o600).unwrap();
        fs::append_line(&path, &encode(&path, &record).unwrap(), 0o600).unwrap();
        let got = store.get("default", "a").unwrap();
        assert_eq!(got.metadata.resource_version, Some(version.to_string()));
        assert_eq!(got.status.unwrap().phase.as_deref(), Some("Running"));
        assert!(!store.remove("default", "a", "2").unwrap().exists());
        assert_eq!(store.list(Some("default")).unwrap().len(), 1, "another uid is another pod");
        let tombstone = store.remove("default", "a", "1").unwrap();
        let all = listing::list(&store, None, Detail::All, &|pod| pod).unwrap();
        assert_eq!((all.pods, all.others), (vec![], vec![tombstone.clone()]));
        bury(&tombstone).unwrap();
        assert_eq!(std::fs::read_dir(&store.dir).unwrap().count(), 0);
    }

    #[test]
    fn a_name_never_leads_elsewhere() {
        let store = Store::new(Path::new("/nowhere"));
        for bad in ["", ".", "..", "../x", "a/b", ".a", "A", "a\0"] {
            assert_eq!(store.pod_dir("default", bad).unwrap_err().kind(), Kind::NotFound, "{bad}");
            assert!(store.pod_dir(bad, "a").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let locked = store.lock("default", "a").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", locked.dir().join("pod.json")).unwrap();
        let error = store.get("default", "a").unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ELOOP), "{error}");
        locked.abandon().unwrap_err();
    }
}
