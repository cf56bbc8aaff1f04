//! What leaves the store, and what the rest takes.

use super::digest::Digest;
use super::ingest::{self, Ingest};
use super::store::{Store, names};
use super::{Image, Reference};
use crate::error::{Context, Result};
use crate::sys::{fs, inode};
use nix::fcntl::OFlag;
use oci_spec::image::Descriptor;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

/// Parts of blobs stay whatever their age.
const KEEP_ALL: Duration = Duration::MAX;

/// Bytes on disk.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Images as they came.
    pub blobs: u64,
    /// Images unpacked.
    pub layers: u64,
    /// Work in progress, and parts of downloads.
    pub unfinished: u64,
}

/// Images on their way out, and what goes with each.
pub struct Removals<'a> {
    store: &'a Store,
    /// How many images need a blob or a layer.
    needed: HashMap<String, usize>,
}

impl Removals<'_> {
    /// Bytes on disk that go with the image, once those before it are gone: what other images need,
    /// stays.
    pub fn add(&mut self, image: &Image) -> Result<u64> {
        let (blobs, layers) = self.store.needs(&Digest::parse(&image.manifest)?)?;
        let mut freed = 0;
        for name in blobs.into_iter().chain(layers).collect::<HashSet<_>>() {
            if let Some(needed) = self.needed.get_mut(&name) {
                *needed -= 1;
                freed += if *needed == 0 { ingest::usage(&self.store.path(&name)) } else { 0 };
            }
        }
        Ok(freed)
    }
}

/// The file system that the store is on, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// All of it.
    pub capacity: u64,
    /// What may still be written.
    pub available: u64,
}

impl Store {
    /// Takes a name away, and with its last name the image itself: its blobs, and its layers as
    /// far as no other image has them. False if there is none of that name.
    ///
    /// The caller makes sure that no pod uses it.
    pub fn remove(&self, reference: &Reference) -> Result<bool> {
        self.retain(|descriptor| !names(descriptor, reference))
            .doing(|| format!("remove image {reference}"))
    }

    /// Takes an image away, with all its names. False if there is none of that manifest digest.
    pub fn remove_image(&self, manifest: &str) -> Result<bool> {
        self.retain(|descriptor| descriptor.digest().as_ref() != manifest)
            .doing(|| format!("remove image {manifest}"))
    }

    /// [`Self::remove_image`], unless `check` fails once nobody finds the image any more: whoever
    /// has found it before, such as a pod that starts, is known by then.
    pub fn remove_unused(
        &self,
        manifest: &str,
        check: impl FnOnce() -> Result<()>,
    ) -> Result<bool> {
        let what = || format!("remove image {manifest}");
        let ingest = Ingest::begin(self).doing(what)?;
        // Its content stays while this is being decided.
        if let Ok((blobs, layers)) = self.needs(&Digest::parse(manifest).doing(what)?) {
            blobs.iter().chain(&layers).try_for_each(|name| ingest.pin(name).map(drop))?;
        }
        let taken = self.withdraw(manifest).doing(what)?;
        if let Err(used) = check() {
            self.give_back(taken).doing(what)?;
            return Err(used);
        }
        drop(ingest);
        let _lock = self.lock()?;
        ingest::sweep(self, KEEP_ALL).doing(what)?;
        Ok(!taken.is_empty())
    }

    /// Takes an image's entries out of the index.
    fn withdraw(&self, manifest: &str) -> Result<Vec<Descriptor>> {
        let _lock = self.lock()?;
        let index = self.index()?;
        let is_it = |entry: &Descriptor| entry.digest().as_ref() == manifest;
        let (taken, kept) = index.manifests().iter().cloned().partition(is_it);
        self.write_index(kept)?;
        Ok(taken)
    }

    fn give_back(&self, taken: Vec<Descriptor>) -> Result<()> {
        let _lock = self.lock()?;
        let mut manifests = self.index()?.manifests().clone();
        manifests.extend(taken);
        self.write_index(manifests)
    }

    fn retain(&self, keep: impl Fn(&Descriptor) -> bool) -> Result<bool> {
        // Also makes what a store has, if it is new.
        let _ingest = Ingest::begin(self)?;
        let _lock = self.lock()?;
        let index = self.index()?;
        let mut kept = index.manifests().clone();
        kept.retain(keep);
        if kept.len() == index.manifests().len() {
            return Ok(false);
        }
        self.write_index(kept)?;
        ingest::sweep(self, KEEP_ALL)?;
        Ok(true)
    }

    /// Removes what no image needs, parts of downloads too, and waits until the rest is on the disk;
    /// how many bytes that were.
    pub fn tidy(&self) -> Result<u64> {
        let _ingest = Ingest::begin(self)?;
        let swept = {
            let _lock = self.lock()?;
            ingest::sweep(self, Duration::ZERO)
        };
        let freed = swept.doing(|| "sweep the image store")?;
        self.settle()?;
        Ok(freed)
    }

    /// No image is on its way out yet.
    pub fn removals(&self) -> Result<Removals<'_>> {
        let index = self.index()?;
        let manifests: HashSet<&str> =
            index.manifests().iter().map(|entry| entry.digest().as_ref()).collect();
        let mut needed = HashMap::new();
        for manifest in manifests {
            let (blobs, layers) = self.needs(&Digest::parse(manifest)?)?;
            for name in blobs.into_iter().chain(layers).collect::<HashSet<_>>() {
                *needed.entry(name).or_default() += 1;
            }
        }
        Ok(Removals { store: self, needed })
    }

    /// What the store takes on disk.
    pub fn usage(&self) -> Usage {
        let of = |name: &str| ingest::usage(&self.path(name));
        Usage { blobs: of("blobs"), layers: of("layers"), unfinished: of("tmp") }
    }

    /// The disk that the store is on.
    pub fn disk(&self) -> Result<Disk> {
        let (capacity, available) =
            fs::statvfs(&self.path("")).doing(|| "look at the disk of the image store")?;
        Ok(Disk { capacity, available })
    }

    /// Notes that a pod uses the image now: the time of its manifest says when one last did.
    pub fn touch(&self, image: &Image) -> Result<()> {
        let what = || format!("note that image {} is used", image.id);
        let manifest = self.blob(&Digest::parse(&image.manifest).doing(what)?);
        let file = fs::open(&manifest, OFlag::O_RDONLY, 0).doing(what)?;
        inode::futimens_now(&file).doing(what)
    }

    /// When a pod last used the image, or else when it came.
    pub fn last_used(&self, image: &Image) -> Result<SystemTime> {
        let manifest = self.blob(&Digest::parse(&image.manifest)?);
        let metadata = std::fs::metadata(&manifest);
        metadata.and_then(|it| it.modified()).doing(|| manifest.display().to_string())
    }
}
