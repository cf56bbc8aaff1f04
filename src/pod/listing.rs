//! Reading pods as they are, one or many. A listing is made of many small files: each is read in one
//! go into a buffer that the next one uses again, found from the directory of its namespace.

use super::brief::Brief;
use super::store::{self, MAX_FILE, Store, entries, is_name};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::Pod;
use crate::sys::{Errno, fs};
use k8s_openapi::api::core::v1::PodStatus;
use nix::fcntl::OFlag;
use serde::Deserialize;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Fewer pods are not worth a thread.
const MIN_SHARE: usize = 64;
/// More than most files of a pod.
const ROOM: usize = 32 << 10;

/// How much of a pod a listing reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All of it.
    All,
    /// What a table shows.
    Brief,
}

/// What a reader of `status.json` takes from it; the monitor's state is skipped unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublicRecord {
    uid: String,
    resource_version: u64,
    status: PodStatus,
}

/// What there is in a namespace, or in all.
pub struct Listing<T> {
    /// Sorted by namespace and name.
    pub pods: Vec<T>,
    /// Directories that hold no pod: of one being stored or removed right now, or of a command that
    /// was killed while it did so.
    pub others: Vec<PathBuf>,
    /// About each pod whose files cannot be read.
    pub damaged: Vec<Error>,
}

/// What `each` makes of the pods of a namespace, or of all; it is called on any thread.
pub fn list<T: Send>(
    store: &Store,
    namespace: Option<&str>,
    detail: Detail,
    each: &(impl Fn(Pod) -> T + Sync),
) -> Result<Listing<T>> {
    let mut all = Listing { pods: Vec::new(), others: Vec::new(), damaged: Vec::new() };
    for namespace in store.chosen(namespace)? {
        let dir = store.dir.join(&namespace);
        let names = entries(&dir)?;
        if names.is_empty() {
            // Left by a command that was killed; whoever is storing a pod makes it anew.
            drop(std::fs::remove_dir(&dir));
            continue;
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let opened = match fs::open(&dir, flags, 0) {
            Err(Errno::ENOENT) => continue,
            opened => opened.doing(|| format!("open {}", dir.display()))?,
        };
        for (name, read) in names.iter().zip(shared(&dir, &opened, &names, (detail, each))?) {
            match read {
                Ok(Some(one)) => all.pods.push(one),
                Ok(None) => all.others.push(dir.join(name)),
                Err(error) => {
                    let error = error.doing(dir.display().to_string());
                    all.damaged.push(damaged(error, &namespace, name));
                }
            }
        }
    }
    Ok(all)
}

/// Says how to be rid of a pod that cannot be read.
pub(super) fn damaged(error: Error, namespace: &str, name: &str) -> Error {
    error
        .doing(format!("pod {namespace}/{name} cannot be read"))
        .hint(format!("`podctl delete pod {name} -n {namespace} --force` removes it"))
}

/// The pods of one namespace in their order. Decoding is most of the work of a listing, so many are
/// shared out among the processors. Each pod is gone before the next one is read: a thousand at once
/// are 18 MB, and it takes the kernel as long to find so much memory as to read the files.
fn shared<T: Send>(
    path: &Path,
    dir: &File,
    names: &[String],
    (detail, each): (Detail, &(impl Fn(Pod) -> T + Sync)),
) -> Result<Vec<Result<Option<T>>>> {
    let read = |names: &[String]| -> Vec<Result<Option<T>>> {
        let mut reader = Reader { path, dir, buffer: Vec::with_capacity(ROOM) };
        names.iter().map(|name| Ok(reader.pod(name, detail)?.map(each))).collect()
    };
    let shares = std::thread::available_parallelism().map_or(1, usize::from);
    let share = names.len().div_ceil(shares).max(MIN_SHARE);
    let Some((own, others)) = names.split_at_checked(share) else { return Ok(read(names)) };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            others.chunks(share).map(|names| scope.spawn(move || read(names))).collect();
        let mut all = read(own);
        for thread in threads {
            let panicked = |_| Error::new(Kind::Bug, "reading the store panicked");
            all.extend(thread.join().map_err(panicked)?);
        }
        Ok(all)
    })
}

/// The pod in `dir` with its status; `None` where there is none (any more).
pub fn read_pod(path: &Path) -> Result<Option<Pod>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let dir = match fs::open(parent, flags, 0) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        opened => opened.doing(|| format!("open {}", parent.display()))?,
    };
    let mut reader = Reader { path: parent, dir: &dir, buffer: Vec::with_capacity(ROOM) };
    reader.pod(&name.to_string_lossy(), Detail::All)
}

/// Reads the files of the pods of one namespace.
struct Reader<'a> {
    path: &'a Path,
    dir: &'a File,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    /// The pod of that name with its status; `None` where there is none (any more).
    fn pod(&mut self, name: &str, detail: Detail) -> Result<Option<Pod>> {
        if !is_name(name) {
            return Ok(None);
        }
        let file = format!("{name}/pod.json");
        let wanted = self.read(&file)?;
        let wanted = match detail {
            Detail::All => store::decode::<Pod>(Path::new(&file), wanted)?,
            Detail::Brief => store::decode::<Brief>(Path::new(&file), wanted)?.map(Brief::into_pod),
        };
        let Some(mut pod) = wanted else { return Ok(None) };
        let file = format!("{name}/status.json");
        let record = fs::last_line(self.read(&file)?);
        let record: Option<PublicRecord> = store::decode(Path::new(&file), record)?;
        match record.filter(|record| pod.metadata.uid.as_ref() == Some(&record.uid)) {
            Some(record) => {
                let version = store::version_of(&pod).max(record.resource_version);
                pod.metadata.resource_version = Some(version.to_string());
                pod.status = Some(record.status);
            }
            None => {
                let phase = Some("Pending".to_owned());
                pod.status = Some(PodStatus { phase, ..PodStatus::default() });
            }
        }
        Ok(Some(pod))
    }

    /// A file; empty if it is not there. Links are not followed.
    fn read(&mut self, file: &str) -> Result<&[u8]> {
        self.buffer.clear();
        match fs::read_at(self.dir.as_fd(), Path::new(file), &mut self.buffer, MAX_FILE) {
            // ENOTDIR: what stands in the place of the pod's directory is not ours.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(&self.buffer),
            Err(errno) => Err(errno).doing(|| format!("read {}", self.path.join(file).display())),
        }
    }
}
