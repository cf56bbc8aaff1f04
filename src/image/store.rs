//! The store on disk: an OCI layout whose layers are also unpacked.
//!
//! ```text
//! index.json oci-layout    names -> manifests; replaced in one step, last
//! blobs/sha256/<digest>    manifests, configurations, layers as they came
//! layers/<chain id>/       layers unpacked for overlayfs, shared by all images and pods
//! empty/                   what an image without layers lies on
//! tmp/ lock                work in progress | flock(2) of the one writer
//! ```
//!
//! Readers take no lock: whatever the index names is whole. A writer first removes what the index
//! does not reach, so whatever a killed one left is gone before it could be mistaken for a layer;
//! one syncfs(2) before the index makes the same true after a loss of power.

use super::digest::{Digest, chain};
use super::{Image, Reference, archive, load};
use crate::error::{Context, Error, Result};
use crate::sys::{Errno, fs, inode};
use nix::fcntl::{Flock, OFlag};
use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageConfiguration, ImageIndex, ImageIndexBuilder,
    ImageManifest, MediaType,
};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// When an image came into the store, seconds since the epoch.
const LOADED: &str = "runp.loaded";
/// The multi-platform index that an image was chosen from.
const INDEX: &str = "runp.index";

/// The image store of one root: `<dir>/{blobs,layers,index.json,…}`.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// The one writer of a store.
pub(super) struct Writer<'a> {
    store: &'a Store,
    /// Whether there is new content that has to reach the disk before the index.
    changed: Cell<bool>,
    _lock: Flock<File>,
}

/// An image that is whole in the store but not in its index yet.
pub(super) struct Incoming {
    pub(super) manifest: Digest,
    pub(super) size: u64,
    pub(super) name: Option<Reference>,
    pub(super) index: Option<Digest>,
}

impl Store {
    /// Opens the store, which is made by the first [`Store::load`].
    pub fn open(dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir).doing(|| format!("image store {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// Loads an OCI layout (directory), an OCI archive or a docker archive (tar, gz or zst too);
    /// returns what came in. `name` names an image that the archive leaves nameless.
    ///
    /// Nothing is visible of an archive that fails.
    pub fn load(&self, archive: &Path, name: Option<&Reference>) -> Result<Vec<Image>> {
        let what = || format!("load {}", archive.display());
        let writer = self.write().doing(what)?;
        let source = archive::Source::open(archive, || writer.scratch_file()).doing(what)?;
        let incoming = load::load(&writer, &source, name).doing(what)?;
        writer.publish(&incoming).doing(what)?;
        let mut manifests: Vec<Digest> = Vec::new();
        for image in incoming {
            if !manifests.contains(&image.manifest) {
                manifests.push(image.manifest);
            }
        }
        let index = self.index()?;
        manifests.iter().map(|manifest| self.image(&index, manifest)).collect()
    }

    /// The image of that name, or `None`. A digest may be the manifest's or that of the index it
    /// was chosen from; a tag beside it does not count. `host` is always there ([`super::host`]).
    pub fn find(&self, reference: &Reference) -> Result<Option<Image>> {
        if super::is_host(reference) {
            return Ok(Some(super::host()));
        }
        let index = self.index()?;
        let found = index.manifests().iter().find(|descriptor| names(descriptor, reference));
        match found {
            Some(descriptor) => Ok(Some(self.image(&index, &digest(descriptor)?)?)),
            None => Ok(None),
        }
    }

    /// All images, newest first.
    pub fn list(&self) -> Result<Vec<Image>> {
        let index = self.index()?;
        let mut seen = HashSet::new();
        let mut images = Vec::new();
        for descriptor in index.manifests() {
            let manifest = digest(descriptor)?;
            if seen.insert(manifest.clone()) {
                images.push(self.image(&index, &manifest)?);
            }
        }
        images.sort_by_key(|image| std::cmp::Reverse(image.loaded));
        Ok(images)
    }

    /// Takes a name away, and with its last name the image itself: its blobs, and its layers as
    /// far as no other image has them. False if there is none of that name.
    ///
    /// The caller makes sure that no pod uses it.
    pub fn remove(&self, reference: &Reference) -> Result<bool> {
        let what = || format!("remove image {reference}");
        let writer = self.write().doing(what)?;
        let index = self.index()?;
        let mut kept = index.manifests().clone();
        kept.retain(|descriptor| !names(descriptor, reference));
        if kept.len() == index.manifests().len() {
            return Ok(false);
        }
        writer.write_index(kept).and_then(|()| writer.sweep()).doing(what)?;
        Ok(true)
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    pub(super) fn layer(&self, chain: &Digest) -> PathBuf {
        self.dir.join("layers").join(chain.hex())
    }

    fn write(&self) -> Result<Writer<'_>> {
        for dir in ["blobs/sha256", "layers", "tmp", "empty"] {
            let dir = self.dir.join(dir);
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.doing(|| format!("make {}", dir.display()))?;
        }
        let lock = fs::lock(&self.dir.join("lock")).doing(|| "lock the image store")?;
        let writer = Writer { store: self, changed: Cell::new(false), _lock: lock };
        writer.sweep().doing(|| "sweep the image store")?;
        Ok(writer)
    }

    fn index(&self) -> Result<ImageIndex> {
        let path = self.dir.join("index.json");
        let what = || format!("read {}", path.display());
        match fs::read_limited(&path, archive::MAX_DOCUMENT) {
            Err(Errno::ENOENT) => index_of(Vec::new()),
            read => parse(&read.doing(what)?).doing(what),
        }
    }

    /// A document of the store.
    fn document<T: serde::de::DeserializeOwned>(&self, digest: &Digest) -> Result<T> {
        let read = fs::read_limited(&self.blob(digest), archive::MAX_DOCUMENT);
        let document = read.map_err(Error::from).and_then(|content| parse(&content));
        document.doing(|| format!("read {digest} of the image store"))
    }

    fn image(&self, index: &ImageIndex, manifest: &Digest) -> Result<Image> {
        let document: ImageManifest = self.document(manifest)?;
        let id = digest(document.config())?;
        let config: ImageConfiguration = self.document(&id)?;
        let chain = chain(&load::diffs(&config)?);
        let layers = match chain.as_slice() {
            [] => vec![self.dir.join("empty")],
            chain => chain.iter().map(|layer| self.layer(layer)).collect(),
        };
        let blobs: Vec<&Descriptor> = document.layers().iter().chain([document.config()]).collect();
        let mut image = Image {
            id: id.to_string(),
            manifest: manifest.to_string(),
            names: Vec::new(),
            config,
            layers,
            size: blobs.iter().map(|blob| blob.size()).sum(),
            loaded: 0,
        };
        for descriptor in index.manifests() {
            if descriptor.digest().as_ref() == image.manifest {
                image.names.extend(annotation(descriptor, ANNOTATION_REF_NAME).map(str::to_owned));
                let loaded = annotation(descriptor, LOADED).and_then(|time| time.parse().ok());
                image.loaded = image.loaded.max(loaded.unwrap_or(0));
            }
        }
        Ok(image)
    }
}

impl Writer<'_> {
    pub(super) fn store(&self) -> &Store {
        self.store
    }

    /// A file that vanishes with its last descriptor.
    pub(super) fn scratch_file(&self) -> Result<File> {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR;
        Ok(fs::open(&self.store.dir.join("tmp"), flags, 0o600)?)
    }

    /// A place for work in progress; there is one writer, so its name need only differ from those
    /// it uses at the same time.
    pub(super) fn scratch(&self, name: &str) -> PathBuf {
        self.store.dir.join("tmp").join(name)
    }

    /// Stores a small blob; one that is there but damaged is mended.
    pub(super) fn put(&self, content: &[u8]) -> Result<Digest> {
        let digest = Digest::of(content);
        let place = self.store.blob(&digest);
        let there = fs::read_limited(&place, content.len() as u64);
        if there.is_ok_and(|there| there == content) {
            return Ok(digest);
        }
        let scratch = self.scratch("document");
        fs::write_atomic(&scratch, content, 0o600)?;
        self.keep(&scratch, &place)?;
        Ok(digest)
    }

    /// Moves finished work to its place.
    pub(super) fn keep(&self, scratch: &Path, place: &Path) -> Result<()> {
        self.changed.set(true);
        std::fs::rename(scratch, place).doing(|| format!("move to {}", place.display()))
    }

    /// Adds images to the index. A name moves to the new image, and the old one stays without it,
    /// as pods may be running on it.
    fn publish(&self, incoming: &[Incoming]) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let mut manifests = self.store.index()?.manifests().clone();
        for image in incoming {
            if image.name.as_ref().is_some_and(super::is_host) {
                return Err(Error::user("the name \"host\" is the embedded image's"));
            }
            let name = image.name.as_ref().map(Reference::to_string);
            add(&mut manifests, image, name.as_deref(), now)?;
        }
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
        fs::write_atomic(&self.store.dir.join("oci-layout"), layout, 0o600)?;
        if self.changed.get() {
            inode::syncfs(&self.store.dir)?;
        }
        self.write_index(manifests)
    }

    fn write_index(&self, manifests: Vec<Descriptor>) -> Result<()> {
        let index = serde_json::to_vec(&index_of(manifests)?)
            .map_err(|error| Error::system(error.to_string()))?;
        Ok(fs::write_atomic(&self.store.dir.join("index.json"), &index, 0o600)?)
    }

    /// Removes what the index does not reach; of a store with a damaged image only work in
    /// progress, so that the image can still be loaded anew or removed.
    fn sweep(&self) -> Result<()> {
        let dir = &self.store.dir;
        remove_others(&dir.join("tmp"), |_| false)?;
        remove_others(dir, |name| !name.ends_with(".tmp"))?;
        let Ok((blobs, layers)) = self.reachable() else { return Ok(()) };
        remove_others(&dir.join("blobs/sha256"), |name| blobs.contains(name))?;
        remove_others(&dir.join("layers"), |name| layers.contains(name))
    }

    /// File names of all blobs and layers that the index needs.
    fn reachable(&self) -> Result<(HashSet<String>, HashSet<String>)> {
        let (mut blobs, mut layers) = (HashSet::new(), HashSet::new());
        for descriptor in self.store.index()?.manifests() {
            let manifest = digest(descriptor)?;
            let document: ImageManifest = self.store.document(&manifest)?;
            let config = digest(document.config())?;
            let image: ImageConfiguration = self.store.document(&config)?;
            layers.extend(chain(&load::diffs(&image)?).iter().map(|layer| layer.hex().to_owned()));
            for layer in document.layers() {
                blobs.insert(digest(layer)?.hex().to_owned());
            }
            blobs.extend([manifest.hex().to_owned(), config.hex().to_owned()]);
        }
        Ok((blobs, layers))
    }
}

/// Removes what `keep` does not name from a directory of ours.
fn remove_others(dir: &Path, keep: impl Fn(&str) -> bool) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&keep) {
            continue;
        }
        let path = entry.path();
        let removed = match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        removed.doing(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

fn add(
    manifests: &mut Vec<Descriptor>,
    image: &Incoming,
    name: Option<&str>,
    now: u64,
) -> Result<()> {
    let manifest = image.manifest.to_string();
    let same = |other: &Descriptor| other.digest().as_ref() == manifest;
    let named = |other: &Descriptor| annotation(other, ANNOTATION_REF_NAME) == name;
    if manifests.iter().any(|other| same(other) && (name.is_none() || named(other))) {
        return Ok(());
    }
    // A name that moves leaves its image nameless, and an image that gets a name was perhaps so.
    for other in manifests.iter_mut().filter(|other| name.is_some() && named(other)) {
        let mut annotations = other.annotations().clone().unwrap_or_default();
        annotations.remove(ANNOTATION_REF_NAME);
        other.set_annotations(Some(annotations));
    }
    let nameless = |other: &Descriptor| annotation(other, ANNOTATION_REF_NAME).is_none();
    let elsewhere: Vec<String> = manifests
        .iter()
        .filter(|other| !nameless(other))
        .map(|other| other.digest().to_string())
        .collect();
    manifests.retain(|other| {
        !(nameless(other) && (same(other) || elsewhere.contains(&other.digest().to_string())))
    });
    let mut descriptor = Descriptor::new(
        MediaType::ImageManifest,
        image.size,
        oci_spec::image::Digest::try_from(manifest.as_str())
            .map_err(|error| Error::system(error.to_string()))?,
    );
    let mut annotations = HashMap::from([(LOADED.to_owned(), now.to_string())]);
    annotations.extend(name.map(|name| (ANNOTATION_REF_NAME.to_owned(), name.to_owned())));
    annotations.extend(image.index.iter().map(|index| (INDEX.to_owned(), index.to_string())));
    descriptor.set_annotations(Some(annotations));
    manifests.push(descriptor);
    Ok(())
}

fn index_of(manifests: Vec<Descriptor>) -> Result<ImageIndex> {
    let index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build();
    index.map_err(|error| Error::system(error.to_string()))
}

/// Whether `reference` means this entry of the index.
fn names(descriptor: &Descriptor, reference: &Reference) -> bool {
    let Some(name) = annotation(descriptor, ANNOTATION_REF_NAME) else { return false };
    let Some(digest) = reference.digest.as_deref() else { return name == reference.to_string() };
    let known = Reference::parse(name).is_ok_and(|name| name.same_repository(reference));
    let index = annotation(descriptor, INDEX);
    known && (descriptor.digest().as_ref() == digest || index == Some(digest))
}

fn annotation<'a>(descriptor: &'a Descriptor, key: &str) -> Option<&'a str> {
    descriptor.annotations().as_ref()?.get(key).map(String::as_str)
}

/// The digest of what a descriptor describes.
pub(super) fn digest(descriptor: &Descriptor) -> Result<Digest> {
    Digest::parse(descriptor.digest().as_ref())
}

/// A JSON document, with the place of what is wrong.
pub(super) fn parse<T: serde::de::DeserializeOwned>(content: &[u8]) -> Result<T> {
    serde_json::from_slice(content).map_err(|error| Error::user(error.to_string()))
}
