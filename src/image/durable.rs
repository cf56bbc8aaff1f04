//! What a loss of power may have taken.
//!
//! A pull does not wait for the disk: that would take longer than all the rest of it, and a process
//! that is killed loses nothing that it has written. Only when the machine itself goes down may
//! files be missing or short. The index itself never is ([`Store::write_index`]): it says of what a
//! pull brought in which boot that was, until somebody has waited for the disk: every load does, and
//! `podctl gc`. In any other boot an image that still has that mark is not trusted: who wants it
//! first unpacks it anew from its blobs, whose digests say whether they are whole. If they are not,
//! it is forgotten, and pulled again.

use super::digest::{Digest, Hashing};
use super::ingest::Ingest;
use super::layers::{Layers, check_digest};
use super::store::{Store, annotation, digest, parse};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::{fs, inode};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::time::{SystemTime, UNIX_EPOCH};

/// The boot in which an image came whose bytes may not be on the disk, and the moment.
const UNSYNCED: &str = "runp.unsynced";
const BUFFER: usize = 256 * 1024;

/// A mark that no other image has.
pub(super) fn mark() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    Ok(format!("{} {now}", boot()?))
}

fn boot() -> Result<String> {
    fs::boot_id().doing(|| "find out about the last boot")
}

/// The mark of an entry of the index.
pub(super) fn mark_of(descriptor: &Descriptor) -> Option<&str> {
    annotation(descriptor, UNSYNCED)
}

/// Gives an entry that mark, or takes its own away.
pub(super) fn set_mark(descriptor: &mut Descriptor, mark: Option<&str>) {
    let mut annotations: HashMap<String, String> =
        descriptor.annotations().clone().unwrap_or_default();
    annotations.remove(UNSYNCED);
    annotations.extend(mark.map(|mark| (UNSYNCED.to_owned(), mark.to_owned())));
    descriptor.set_annotations(Some(annotations));
}

/// Whether the machine went down before the entry's content was known to be on the disk.
pub(super) fn is_suspect(descriptor: &Descriptor) -> Result<bool> {
    let Some(mark) = mark_of(descriptor) else { return Ok(false) };
    Ok(mark.split(' ').next() != Some(boot()?.as_str()))
}

impl Store {
    /// Waits until what is in the store is on the disk, and takes the marks of this boot away.
    pub(super) fn settle(&self) -> Result<()> {
        let mut marked = Vec::new();
        for descriptor in self.index()?.manifests() {
            if mark_of(descriptor).is_some() && !is_suspect(descriptor)? {
                marked.push(descriptor.clone());
            }
        }
        inode::syncfs(&self.path(""))?;
        // What came meanwhile keeps its mark.
        if marked.is_empty() { Ok(()) } else { self.unmark(|entry| marked.contains(entry)) }
    }

    /// Makes a suspect image sound, or forgets it; whether it is still there.
    pub(super) fn mend(&self, manifest: &Digest) -> Result<bool> {
        // Sweeps the layers that only suspect images have.
        let ingest = Ingest::begin(self)?;
        let what = || format!("restore image {manifest}, which came just before a loss of power");
        let (document, config) = match self.verify(manifest) {
            Err(damaged) if damaged.kind() == Kind::User => {
                drop(ingest);
                return self.remove_image(&manifest.to_string()).map(|_| false).doing(what);
            }
            found => found.doing(what)?,
        };
        let mut layers = Layers::new(&ingest, &config, document.layers().len()).doing(what)?;
        for layer in document.layers() {
            ingest.blob(&digest(layer)?)?;
            if !layers.pass()? {
                let blob = File::open(self.blob(&digest(layer)?)).doing(what)?;
                layers.unpack(BufReader::with_capacity(BUFFER, blob)).doing(what)?;
            }
        }
        inode::syncfs(&self.path(""))?;
        self.unmark(|entry| entry.digest().as_ref() == manifest.to_string())?;
        Ok(true)
    }

    /// The documents of an image, all of whose blobs are what their digests say.
    fn verify(&self, manifest: &Digest) -> Result<(ImageManifest, ImageConfiguration)> {
        let document: ImageManifest = parse(&self.verified(manifest)?)?;
        let config = parse(&self.verified(&digest(document.config())?)?)?;
        for layer in document.layers() {
            let digest = digest(layer)?;
            let mut blob = Hashing::new(self.opened(&digest)?, io::sink());
            io::copy(&mut blob, &mut io::sink())?;
            check_digest(&digest, &blob.finish().0)?;
        }
        Ok((document, config))
    }

    fn verified(&self, of: &Digest) -> Result<Vec<u8>> {
        let content = fs::read_file_limited(&self.opened(of)?, super::archive::MAX_DOCUMENT)?;
        check_digest(of, &Digest::of(&content))?;
        Ok(content)
    }

    fn opened(&self, blob: &Digest) -> Result<File> {
        match File::open(self.blob(blob)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::user(format!("{blob} is missing")))
            }
            opened => Ok(opened?),
        }
    }

    fn unmark(&self, which: impl Fn(&Descriptor) -> bool) -> Result<()> {
        let _lock = self.lock()?;
        let mut manifests = self.index()?.manifests().clone();
        for entry in manifests.iter_mut().filter(|entry| which(entry)) {
            set_mark(entry, None);
        }
        self.write_index(manifests)
    }
}
