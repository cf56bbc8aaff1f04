//! Content on its way into the store.
//!
//! Several processes may bring images in at once, and each may be killed at any byte. What one makes
//! lies in `tmp`, every file and directory locked (flock(2)) by its maker: whoever needs the same
//! waits for that lock, and then finds it done or takes over. What is finished moves to its place
//! after its name has been written to the maker's lease, a locked file too. A lock that is free
//! belongs to nobody alive, so the next writer removes that work, and all content that neither the
//! index nor the lease of a living process names.
//!
//! A part of a blob that was being downloaded stays a day, so that the next pull goes on with it.

use super::archive::MAX_DOCUMENT;
use super::digest::Digest;
use super::store::{Incoming, Store};
use crate::error::{Context, Error, Result};
use crate::sys::{Errno, fs};
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a part of a blob is worth keeping.
const KEEP_PARTS: Duration = Duration::from_secs(24 * 3600);
const PART: &str = "blob-";
/// A lease names few things: two a layer.
const MAX_LEASE: u64 = 8 << 20;

/// One process's work of bringing images in.
pub(super) struct Ingest<'a> {
    store: &'a Store,
    lease: Work,
    /// Whether there is new content that has to reach the disk before the index.
    changed: AtomicBool,
}

/// A file or directory in `tmp` that is ours; removed when dropped, unless kept.
pub(super) struct Work {
    pub(super) path: PathBuf,
    /// The file, or the directory.
    pub(super) file: Flock<File>,
    is_left: bool,
}

/// Whether work is a file or a directory.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    File,
    Directory,
}

impl<'a> Ingest<'a> {
    /// Makes the store if need be, and removes what killed processes have left.
    pub(super) fn begin(store: &'a Store) -> Result<Self> {
        for dir in ["blobs/sha256", "layers", "tmp", "leases", "empty"] {
            make_dir(&store.path(dir))?;
        }
        let _lock = store.lock()?;
        sweep(store, KEEP_PARTS).doing(|| "sweep the image store")?;
        // Nobody sweeps between its making and its lock.
        let lease = unique(&store.path("leases"))?;
        Ok(Self { store, lease, changed: AtomicBool::new(false) })
    }

    pub(super) fn store(&self) -> &'a Store {
        self.store
    }

    /// A file that vanishes with its last descriptor.
    pub(super) fn scratch_file(&self) -> Result<File> {
        Ok(fs::open(&self.store.path("tmp"), OFlag::O_TMPFILE | OFlag::O_RDWR, 0o600)?)
    }

    /// An empty file for what has no name yet.
    pub(super) fn scratch(&self) -> Result<Work> {
        unique(&self.store.path("tmp"))
    }

    /// The blob's place if it is in the store, where it then stays.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<PathBuf>> {
        self.pin(&Store::blob_name(digest))
    }

    /// The place of the unpacked layer, likewise.
    pub(super) fn layer(&self, chain: &Digest) -> Result<Option<PathBuf>> {
        self.pin(&Store::layer_name(chain))
    }

    /// The part of a blob that is there already, ours to complete; `None` once the blob is there.
    pub(super) fn claim_blob(&self, digest: &Digest) -> Result<Option<Work>> {
        let path = self.store.path(&format!("tmp/{PART}{}", digest.hex()));
        let place = self.store.blob(digest);
        let work = claim(&path, Form::File, || place.exists())?;
        if work.is_none() && self.blob(digest)?.is_none() {
            return self.claim_blob(digest);
        }
        Ok(work)
    }

    /// An empty directory to unpack a layer into; `None` once the layer is there.
    pub(super) fn claim_layer(&self, chain: &Digest) -> Result<Option<Work>> {
        let path = self.store.path(&format!("tmp/layer-{}", chain.hex()));
        let place = self.store.layer(chain);
        let work = claim(&path, Form::Directory, || place.exists())?;
        if work.is_none() && self.layer(chain)?.is_none() {
            return self.claim_layer(chain);
        }
        Ok(work)
    }

    /// Waits until no other process pulls the same.
    pub(super) fn claim_pull(&self, name: &str) -> Result<Work> {
        let path = self.store.path(&format!("tmp/pull-{}", Digest::of(name.as_bytes()).hex()));
        Ok(claim(&path, Form::File, || false)?.ok_or(Errno::EEXIST)?)
    }

    /// Moves a finished blob to its place.
    pub(super) fn keep_blob(&self, work: Work, digest: &Digest) -> Result<()> {
        self.keep(work, &Store::blob_name(digest))
    }

    /// Moves an unpacked layer to its place.
    pub(super) fn keep_layer(&self, work: Work, chain: &Digest) -> Result<()> {
        self.keep(work, &Store::layer_name(chain))
    }

    /// Stores a small blob; one that is there but damaged is mended.
    pub(super) fn put(&self, content: &[u8]) -> Result<Digest> {
        let digest = Digest::of(content);
        if let Some(place) = self.blob(&digest)? {
            let there = fs::read_limited(&place, MAX_DOCUMENT);
            if there.is_ok_and(|there| there == content) {
                return Ok(digest);
            }
        }
        let work = self.scratch()?;
        (&*work.file).write_all(content)?;
        self.keep_blob(work, &digest)?;
        Ok(digest)
    }

    /// Adds images to the index. A name moves to the new image, and the old one stays without it,
    /// as pods may be running on it. What has no mark has to be on the disk before.
    pub(super) fn publish(&self, incoming: &[Incoming]) -> Result<()> {
        let waits = incoming.iter().any(|image| image.unsynced.is_none());
        if waits && self.changed.swap(false, Ordering::AcqRel) {
            self.store.settle()?;
        }
        let _lock = self.store.lock()?;
        self.store.add(incoming)
    }

    fn keep(&self, mut work: Work, name: &str) -> Result<()> {
        let place = self.store.path(name);
        let _lock = self.store.lock()?;
        self.note(name)?;
        self.changed.store(true, Ordering::Release);
        match std::fs::rename(&work.path, &place) {
            // Somebody else was as fast: a directory does not replace one that is not empty.
            Err(_) if place.is_dir() => Ok(()),
            moved => {
                moved.doing(|| format!("move to {}", place.display()))?;
                work.is_left = true;
                Ok(())
            }
        }
    }

    /// The place of what is there already; it stays as long as this process needs it.
    pub(super) fn pin(&self, name: &str) -> Result<Option<PathBuf>> {
        let place = self.store.path(name);
        if !place.exists() {
            return Ok(None);
        }
        let _lock = self.store.lock()?;
        self.note(name)?;
        Ok(place.exists().then_some(place))
    }

    fn note(&self, name: &str) -> Result<()> {
        let noted = (&*self.lease.file).write_all(format!("{name}\n").as_bytes());
        noted.doing(|| "write a lease of the image store")
    }
}

impl Work {
    /// Leaves a part for whoever goes on with it.
    pub(super) fn leave(mut self) {
        self.is_left = true;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.is_left {
            // What cannot be removed now, the next writer sweeps.
            drop(remove(&self.path));
        }
    }
}

/// A new file that nobody else can want, under a name of its own.
fn unique(dir: &Path) -> Result<Work> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_APPEND;
    for number in 0u32.. {
        // Process numbers alone are not unique: other PID namespaces have the same ones.
        let path = dir.join(format!("{}-{number}", std::process::id()));
        match fs::open(&path, flags, 0o600) {
            Err(Errno::EEXIST) => continue,
            made => drop(made.doing(|| format!("make {}", path.display()))?),
        }
        // A sweep may have been faster.
        if let Some(work) = take(&path, Form::File)? {
            return Ok(work);
        }
    }
    Err(Errno::EEXIST.into())
}

/// Makes `path`, or takes over what a killed process left there; waits while it is another's.
/// `None` when `is_done` becomes true meanwhile.
fn claim(path: &Path, form: Form, is_done: impl Fn() -> bool) -> Result<Option<Work>> {
    while !is_done() {
        let Some(work) = take(path, form)? else { continue };
        if is_done() {
            break;
        }
        // Half a layer: dropping it removes it.
        let is_half = form == Form::Directory && std::fs::read_dir(path)?.next().is_some();
        if !is_half {
            return Ok(Some(work));
        }
    }
    Ok(None)
}

/// Makes `path` or waits for its lock; `None` if its owner has moved or removed it meanwhile.
fn take(path: &Path, form: Form) -> Result<Option<Work>> {
    let what = || format!("claim {}", path.display());
    let flags = match form {
        Form::File => OFlag::O_CREAT | OFlag::O_RDWR | OFlag::O_APPEND,
        Form::Directory => OFlag::O_DIRECTORY,
    };
    if form == Form::Directory {
        make_dir(path)?;
    }
    let opened = match fs::open(path, flags | OFlag::O_NOFOLLOW, 0o600) {
        Err(Errno::ENOENT) => return Ok(None),
        opened => opened.doing(what)?,
    };
    let file = Flock::lock(opened, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
    let file = file.doing(what)?;
    let ours = file.metadata().doing(what)?;
    let there = std::fs::symlink_metadata(path).ok();
    let same = there.is_some_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
    Ok(same.then(|| Work { path: path.to_owned(), file, is_left: false }))
}

fn make_dir(dir: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.doing(|| format!("make {}", dir.display()))
}

/// Removes what nobody needs, parts of blobs that are older than `keep_parts` among it; returns how
/// many bytes that were. Of a store with a damaged image only work in progress, so that the image
/// can still be loaded anew or removed. The caller holds the store's lock.
pub(super) fn sweep(store: &Store, keep_parts: Duration) -> Result<u64> {
    let mut freed = sweep_tmp(&store.path("tmp"), keep_parts)?;
    let stale = |name: &str| name.ends_with(".tmp");
    freed += remove_others(&store.path(""), |name| !stale(name))?;
    let leased = leased(&store.path("leases"))?;
    let Ok(reachable) = store.reachable() else { return Ok(freed) };
    for dir in ["blobs/sha256", "layers"] {
        let needed = |name: &str| {
            let name = format!("{dir}/{name}");
            reachable.contains(&name) || leased.contains(&name)
        };
        freed += remove_others(&store.path(dir), needed)?;
    }
    Ok(freed)
}

/// Removes work whose maker is gone.
fn sweep_tmp(dir: &Path, keep_parts: Duration) -> Result<u64> {
    let mut freed = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(file) = lock_if_free(&path)? else { continue };
        let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
        let is_part =
            path.file_name().is_some_and(|name| name.as_bytes().starts_with(PART.as_bytes()));
        if !is_part || age >= keep_parts {
            freed += usage(&path);
            remove(&path)?;
        }
    }
    Ok(freed)
}

/// What living processes have named in their leases.
fn leased(dir: &Path) -> Result<HashSet<String>> {
    let mut leased = HashSet::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if lock_if_free(&path)?.is_some() {
            remove(&path)?;
            continue;
        }
        match fs::read_limited(&path, MAX_LEASE) {
            Ok(names) => {
                let names = String::from_utf8_lossy(&names).into_owned();
                leased.extend(names.lines().map(str::to_owned));
            }
            // It has just ended.
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).doing(|| format!("read {}", path.display())),
        }
    }
    Ok(leased)
}

/// Locks `path` if nobody alive holds it; whoever does is not waited for.
fn lock_if_free(path: &Path) -> Result<Option<File>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match fs::open(path, flags, 0) {
        Err(Errno::ENOENT) => return Ok(None),
        opened => opened.doing(|| format!("open {}", path.display()))?,
    };
    match fs::try_lock_file(&file) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::EWOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno).doing(|| format!("lock {}", path.display())),
    }
}

/// Removes what `keep` does not name from a directory of ours; returns how many bytes that were.
fn remove_others(dir: &Path, keep: impl Fn(&str) -> bool) -> Result<u64> {
    let mut freed = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(&keep) {
            freed += usage(&entry.path());
            remove(&entry.path())?;
        }
    }
    Ok(freed)
}

fn remove(path: &Path) -> Result<()> {
    let is_dir = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::from).doing(|| format!("remove {}", path.display())),
    }
}

/// Bytes on disk of a file or tree; what cannot be looked at does not count.
pub(super) fn usage(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        // A file with several names is shared between them.
        return own / metadata.nlink().max(1);
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    own + entries.map(|entry| usage(&entry.path())).sum::<u64>()
}
