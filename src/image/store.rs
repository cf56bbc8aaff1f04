//! The store on disk: an OCI layout whose layers are also unpacked.
//!
//! ```text
//! index.json oci-layout    names -> manifests; replaced in one step, last
//! blobs/sha256/<digest>    manifests, configurations, layers as they came
//! layers/<chain id>/       layers unpacked for overlayfs, shared by all images and pods
//! empty/                   what an image without layers lies on
//! tmp/ leases/             work in progress | what it needs of the rest ([`super::ingest`])
//! lock                     flock(2), for the moments in which any of this changes
//! ```
//!
//! Readers take no lock: whatever the index names is whole, after a loss of power too
//! ([`super::durable`]).

use super::digest::{Digest, chain};
use super::durable::{is_suspect, mark_of, set_mark};
use super::ingest::Ingest;
use super::layers::diffs;
use super::{Count, Image, Reference, archive, load};
use crate::error::{Context, Error, Result};
use crate::sys::{Errno, fs};
use nix::fcntl::Flock;
use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageConfiguration, ImageIndex, ImageIndexBuilder,
    ImageManifest, MediaType,
};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// When an image came into the store, seconds since the epoch.
const LOADED: &str = "runp.loaded";
/// A registry gave the image, and can give it again.
const PULLED: &str = "runp.pulled";
/// The multi-platform index that an image was chosen from.
const INDEX: &str = "runp.index";

/// The image store of one root: `<dir>/{blobs,layers,index.json,…}`.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// An image that is whole in the store but not in its index yet.
pub(super) struct Incoming {
    pub(super) manifest: Digest,
    pub(super) size: u64,
    pub(super) name: Option<Reference>,
    pub(super) index: Option<Digest>,
    pub(super) origin: Origin,
    /// Set until it is known to be on the disk.
    pub(super) unsynced: Option<String>,
}

/// Where an image, or a name of it, comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Registry,
    /// A person who loaded or named it.
    User,
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
        self.load_counting(archive, name, Arc::default())
    }

    /// As [`Store::load`]; `read` is how far it is, meanwhile.
    pub fn load_counting(
        &self,
        archive: &Path,
        name: Option<&Reference>,
        read: Arc<Count>,
    ) -> Result<Vec<Image>> {
        let what = || format!("load {}", archive.display());
        let ingest = Ingest::begin(self).doing(what)?;
        let source = archive::Source::open(archive, read, || ingest.scratch_file());
        let source = source.doing(what)?;
        let incoming = load::load(&ingest, &source, name).doing(what)?;
        ingest.publish(&incoming).doing(what)?;
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
        let Some(descriptor) = found else { return Ok(None) };
        let manifest = digest(descriptor)?;
        if is_suspect(descriptor)? && !self.mend(&manifest)? {
            return Ok(None);
        }
        Ok(Some(self.image(&index, &manifest)?))
    }

    /// The image of that name, or whose id begins so: what people type.
    pub fn look_up(&self, text: &str) -> Result<Option<Image>> {
        let named = Reference::parse(text).and_then(|reference| self.find(&reference));
        if let Ok(Some(image)) = named {
            return Ok(Some(image));
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let is_id = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id {
            return named;
        }
        let begins = |image: &Image| {
            image.id.strip_prefix("sha256:").is_some_and(|id| id.starts_with(digits))
        };
        let mut found: Vec<Image> = self.list()?.into_iter().filter(begins).collect();
        // Archives of other forms give one image several manifests.
        found.dedup_by(|one, other| one.id == other.id);
        match found.len() {
            0 => Ok(None),
            1 => found.pop().map_or(Ok(None), |image| self.sound(image)),
            several => Err(Error::user(format!("{text:?} is the start of {several} image ids"))),
        }
    }

    /// An image of [`Self::list`], if it can be trusted.
    fn sound(&self, image: Image) -> Result<Option<Image>> {
        let index = self.index()?;
        let mut entries = index.manifests().iter();
        let entry = entries.find(|entry| entry.digest().as_ref() == image.manifest);
        let suspect = entry.map_or(Ok(false), is_suspect)?;
        let is_there = !suspect || self.mend(&Digest::parse(&image.manifest)?)?;
        Ok(is_there.then_some(image))
    }

    /// Gives an image one more name, which moves if another has it.
    pub fn tag(&self, image: &Image, name: &Reference) -> Result<()> {
        let what = || format!("name {} {name}", image.id);
        if name.digest.is_some() {
            return Err(Error::user("a name with a digest cannot be given away").doing(what()));
        }
        let ingest = Ingest::begin(self).doing(what)?;
        let manifest = Digest::parse(&image.manifest).doing(what)?;
        let size = std::fs::metadata(self.blob(&manifest)).doing(what)?.len();
        let index = image.index.as_deref().map(Digest::parse).transpose()?;
        let unsynced = self.mark(&manifest)?;
        let incoming = Incoming {
            manifest,
            size,
            name: Some(name.clone()),
            index,
            origin: Origin::User,
            unsynced,
        };
        ingest.publish(&[incoming]).doing(what)
    }

    fn mark(&self, manifest: &Digest) -> Result<Option<String>> {
        let (index, manifest) = (self.index()?, manifest.to_string());
        let mut entries = index.manifests().iter();
        let entry = entries.find(|entry| entry.digest().as_ref() == manifest);
        Ok(entry.and_then(mark_of).map(str::to_owned))
    }

    /// All images, newest first.
    pub fn list(&self) -> Result<Vec<Image>> {
        let index = self.index()?;
        let mut seen = HashSet::new();
        let mut images = Vec::new();
        for descriptor in index.manifests() {
            let manifest = digest(descriptor)?;
            if !seen.insert(manifest.clone()) {
                continue;
            }
            match self.image(&index, &manifest) {
                // Not even its documents have come through a loss of power.
                Err(_) if is_suspect(descriptor)? => {}
                image => images.push(image?),
            }
        }
        images.sort_by_key(|image| std::cmp::Reverse(image.loaded));
        Ok(images)
    }

    /// Something in the store, by its name there.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn blob_name(digest: &Digest) -> String {
        format!("blobs/sha256/{}", digest.hex())
    }

    pub(super) fn layer_name(chain: &Digest) -> String {
        format!("layers/{}", chain.hex())
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.path(&Self::blob_name(digest))
    }

    pub(super) fn layer(&self, chain: &Digest) -> PathBuf {
        self.path(&Self::layer_name(chain))
    }

    /// Held only while names change.
    pub(super) fn lock(&self) -> Result<Flock<File>> {
        fs::lock(&self.path("lock")).doing(|| "lock the image store")
    }

    pub(super) fn index(&self) -> Result<ImageIndex> {
        let path = self.dir.join("index.json");
        let what = || format!("read {}", path.display());
        match fs::read_limited(&path, archive::MAX_DOCUMENT) {
            Err(Errno::ENOENT) => index_of(Vec::new()),
            read => parse(&read.doing(what)?).doing(what),
        }
    }

    /// A document of the store.
    pub(super) fn document<T: serde::de::DeserializeOwned>(&self, digest: &Digest) -> Result<T> {
        let read = fs::read_limited(&self.blob(digest), archive::MAX_DOCUMENT);
        let document = read.map_err(Error::from).and_then(|content| parse(&content));
        document.doing(|| format!("read {digest} of the image store"))
    }

    fn image(&self, index: &ImageIndex, manifest: &Digest) -> Result<Image> {
        let document: ImageManifest = self.document(manifest)?;
        let id = digest(document.config())?;
        let config: ImageConfiguration = self.document(&id)?;
        let chain = chain(&diffs(&config)?);
        let layers = match chain.as_slice() {
            [] => vec![self.dir.join("empty")],
            chain => chain.iter().map(|layer| self.layer(layer)).collect(),
        };
        let blobs: Vec<&Descriptor> = document.layers().iter().chain([document.config()]).collect();
        let mut image = Image {
            id: id.to_string(),
            manifest: manifest.to_string(),
            index: None,
            names: Vec::new(),
            config,
            layers,
            size: blobs.iter().map(|blob| blob.size()).sum(),
            loaded: 0,
            is_pulled: true,
        };
        for descriptor in index.manifests() {
            if descriptor.digest().as_ref() == image.manifest {
                image.names.extend(annotation(descriptor, ANNOTATION_REF_NAME).map(str::to_owned));
                image.index = annotation(descriptor, INDEX).map(str::to_owned).or(image.index);
                let loaded = annotation(descriptor, LOADED).and_then(|time| time.parse().ok());
                image.loaded = image.loaded.max(loaded.unwrap_or(0));
                image.is_pulled &= annotation(descriptor, PULLED).is_some();
            }
        }
        Ok(image)
    }

    /// Adds images to the index; the caller holds the lock.
    pub(super) fn add(&self, incoming: &[Incoming]) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let mut manifests = self.index()?.manifests().clone();
        for image in incoming {
            if image.name.as_ref().is_some_and(super::is_host) {
                return Err(Error::user("the name \"host\" is the embedded image's"));
            }
            let name = image.name.as_ref().map(Reference::to_string);
            add(&mut manifests, image, name.as_deref(), now)?;
        }
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
        fs::write_atomic(&self.path("oci-layout"), layout, 0o600)?;
        self.write_index(manifests)
    }

    /// Waits for the disk, as what an index no longer names is removed next; that is some
    /// milliseconds, also after a pull, whose own data it does not wait for.
    pub(super) fn write_index(&self, manifests: Vec<Descriptor>) -> Result<()> {
        let index = serde_json::to_vec(&index_of(manifests)?)
            .map_err(|error| Error::system(error.to_string()))?;
        Ok(fs::write_durable(&self.path("index.json"), &index, 0o600)?)
    }

    /// Names in the store of all blobs and layers that the index needs. Layers of what cannot be
    /// trusted are not needed: they are unpacked anew.
    pub(super) fn reachable(&self) -> Result<HashSet<String>> {
        let mut names = HashSet::new();
        for descriptor in self.index()?.manifests() {
            let manifest = digest(descriptor)?;
            match (self.needs(&manifest), is_suspect(descriptor)?) {
                (Ok((blobs, layers)), false) => names.extend(blobs.into_iter().chain(layers)),
                (Ok((blobs, _)), true) => names.extend(blobs),
                (Err(_), true) => {}
                (Err(error), false) => return Err(error),
            }
        }
        Ok(names)
    }

    /// Blobs and layers of an image.
    pub(super) fn needs(&self, manifest: &Digest) -> Result<(Vec<String>, Vec<String>)> {
        let document: ImageManifest = self.document(manifest)?;
        let config = digest(document.config())?;
        let image: ImageConfiguration = self.document(&config)?;
        let mut blobs = vec![Self::blob_name(manifest), Self::blob_name(&config)];
        for layer in document.layers() {
            blobs.push(Self::blob_name(&digest(layer)?));
        }
        Ok((blobs, chain(&diffs(&image)?).iter().map(Self::layer_name).collect()))
    }
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
    let unsynced = image.unsynced.as_deref();
    let there = |other: &Descriptor| same(other) && (name.is_none() || named(other));
    if manifests.iter().any(there) {
        manifests.iter_mut().filter(|it| there(it)).for_each(|it| set_mark(it, unsynced));
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
    let name = name.map(str::to_owned);
    let mut descriptor = entry(MediaType::ImageManifest, &image.manifest, image.size, name)?;
    let mut annotations = descriptor.annotations().clone().unwrap_or_default();
    annotations.insert(LOADED.to_owned(), now.to_string());
    annotations.extend(image.index.iter().map(|index| (INDEX.to_owned(), index.to_string())));
    if image.origin == Origin::Registry {
        annotations.insert(PULLED.to_owned(), String::new());
    }
    descriptor.set_annotations(Some(annotations));
    set_mark(&mut descriptor, unsynced);
    manifests.push(descriptor);
    Ok(())
}

/// An index's entry for a manifest.
pub(super) fn entry(
    media_type: MediaType,
    manifest: &Digest,
    size: u64,
    name: Option<String>,
) -> Result<Descriptor> {
    let digest = oci_spec::image::Digest::try_from(manifest.to_string())
        .map_err(|error| Error::system(error.to_string()))?;
    let mut descriptor = Descriptor::new(media_type, size, digest);
    let name = name.map(|name| HashMap::from([(ANNOTATION_REF_NAME.to_owned(), name)]));
    descriptor.set_annotations(name);
    Ok(descriptor)
}

pub(super) fn index_of(manifests: Vec<Descriptor>) -> Result<ImageIndex> {
    let index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build();
    index.map_err(|error| Error::system(error.to_string()))
}

/// Whether `reference` means this entry of the index.
pub(super) fn names(descriptor: &Descriptor, reference: &Reference) -> bool {
    let Some(name) = annotation(descriptor, ANNOTATION_REF_NAME) else { return false };
    let Some(digest) = reference.digest.as_deref() else { return name == reference.to_string() };
    let known = Reference::parse(name).is_ok_and(|name| name.same_repository(reference));
    let index = annotation(descriptor, INDEX);
    known && (descriptor.digest().as_ref() == digest || index == Some(digest))
}

pub(super) fn annotation<'a>(descriptor: &'a Descriptor, key: &str) -> Option<&'a str> {
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
