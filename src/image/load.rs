//! Images from archives into the store: OCI layouts, and docker's `manifest.json`.
//!
//! Every digest and size that a document claims is checked before anything becomes visible.

use super::archive::{Blob, Source};
use super::compress::Decoder;
use super::digest::{Digest, Hashing, chain};
use super::store::{Incoming, Writer, digest, parse};
use super::{Reference, unpack};
use crate::error::{Context, Error, Result};
use oci_spec::image::{
    ANNOTATION_REF_NAME, Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest,
    ImageManifestBuilder, MediaType, Os,
};
use serde::Deserialize;
use std::fs::OpenOptions;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

const BUFFER: usize = 256 * 1024;
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The full name, in archives that use `ref.name` for the tag alone as the specification has it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Brings all images of `source` in; `name` is for one that has none.
pub(super) fn load(
    writer: &Writer<'_>,
    source: &Source,
    name: Option<&Reference>,
) -> Result<Vec<Incoming>> {
    let mut images = if let Some(index) = source.document("index.json")? {
        oci(writer, source, &index, name)?
    } else if let Some(manifest) = source.document("manifest.json")? {
        docker(writer, source, &manifest)?
    } else {
        let neither = "not an image: it has neither index.json (OCI) nor manifest.json (docker)";
        return Err(Error::user(neither));
    };
    for image in images.iter_mut().filter(|image| image.name.is_none()) {
        image.name = name.cloned();
    }
    Ok(images)
}

/// The digests of the unpacked layers, lowest first.
pub(super) fn diffs(config: &ImageConfiguration) -> Result<Vec<Digest>> {
    config.rootfs().diff_ids().iter().map(|diff| Digest::parse(diff)).collect()
}

fn oci(
    writer: &Writer<'_>,
    source: &Source,
    index: &[u8],
    given: Option<&Reference>,
) -> Result<Vec<Incoming>> {
    let index: ImageIndex = parse(index).doing(|| "index.json")?;
    let mut images = Vec::new();
    let mut others = Vec::new();
    for descriptor in index.manifests() {
        if !is_ours(descriptor) {
            others.push(platform(descriptor));
            continue;
        }
        let name = name(descriptor, given);
        let what = || name.as_ref().map_or_else(|| "image".to_owned(), Reference::to_string);
        let (chosen, index) = choose(source, descriptor).doing(what)?;
        let (manifest, size) = oci_image(writer, source, &chosen).doing(what)?;
        images.push(Incoming { manifest, size, name, index });
    }
    if images.is_empty() { Err(no_platform(&others)) } else { Ok(images) }
}

/// The manifest for this machine, and the index that it stands in, if it does.
fn choose(source: &Source, descriptor: &Descriptor) -> Result<(Descriptor, Option<Digest>)> {
    let mut index_digest = None;
    let mut descriptor = descriptor.clone();
    // An index may hold indexes; nobody writes deeper ones.
    for _ in 0..3 {
        let list = matches!(descriptor.media_type(), MediaType::ImageIndex)
            || descriptor.media_type().to_string() == DOCKER_LIST;
        if !list {
            return Ok((descriptor, index_digest));
        }
        let index: ImageIndex = document(source, &descriptor)?;
        let manifests = index.manifests();
        let Some(ours) = manifests.iter().find(|manifest| is_ours(manifest)) else {
            return Err(no_platform(&manifests.iter().map(platform).collect::<Vec<_>>()));
        };
        index_digest.get_or_insert(digest(&descriptor)?);
        descriptor = ours.clone();
    }
    Err(Error::user("indexes within indexes"))
}

/// Without a platform, it is the configuration that tells.
fn is_ours(descriptor: &Descriptor) -> bool {
    descriptor.platform().as_ref().is_none_or(|platform| {
        platform.os() == &Os::default() && platform.architecture() == &Arch::default()
    })
}

fn platform(descriptor: &Descriptor) -> String {
    let Some(platform) = descriptor.platform() else { return "an image without a platform".into() };
    let variant = platform.variant().iter().map(|variant| format!("/{variant}"));
    format!("{}/{}{}", platform.os(), platform.architecture(), variant.collect::<String>())
}

fn no_platform(others: &[String]) -> Error {
    let ours = format!("no image for {}/{}", Os::default(), Arch::default());
    // Attestations stand in indexes as images for "unknown".
    let others: Vec<&str> =
        others.iter().map(String::as_str).filter(|other| *other != "unknown/unknown").collect();
    if others.is_empty() {
        return Error::user(ours);
    }
    Error::user(format!("{ours}, only for {}", others.join(", ")))
}

/// `ref.name` may be a full name or, as the specification has it, a tag alone: a lone word gives
/// way to the name `given`, and without one is taken for a name, as podman does.
fn name(descriptor: &Descriptor, given: Option<&Reference>) -> Option<Reference> {
    let annotations = descriptor.annotations().as_ref()?;
    if let Some(name) = annotations.get(CONTAINERD_NAME) {
        return Reference::parse(name).ok();
    }
    let name = annotations.get(ANNOTATION_REF_NAME)?;
    let given = given.filter(|_| !name.contains([':', '/', '@']));
    given.cloned().or_else(|| Reference::parse(name).ok())
}

fn oci_image(
    writer: &Writer<'_>,
    source: &Source,
    descriptor: &Descriptor,
) -> Result<(Digest, u64)> {
    let manifest: ImageManifest = document(source, descriptor)?;
    let config: ImageConfiguration = document(source, manifest.config())?;
    let mut layers = Layers::new(writer, &config)?;
    if manifest.layers().len() != layers.diffs.len() {
        let counts = format!("{} layers, {} diff_ids", manifest.layers().len(), layers.diffs.len());
        return Err(Error::user(format!("manifest and configuration differ: {counts}")));
    }
    for layer in manifest.layers() {
        let digest = digest(layer)?;
        layers.add_known(source, &digest, layer.size()).doing(|| format!("layer {digest}"))?;
    }
    writer.put(&bytes(source, manifest.config())?)?;
    let bytes = bytes(source, descriptor)?;
    Ok((writer.put(&bytes)?, bytes.len() as u64))
}

/// A document of the source, as its descriptor says.
fn document<T: serde::de::DeserializeOwned>(source: &Source, of: &Descriptor) -> Result<T> {
    parse(&bytes(source, of)?).doing(|| of.digest().to_string())
}

fn bytes(source: &Source, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let wanted = digest(descriptor)?;
    let content = source.document(&blob_name(&wanted))?.ok_or_else(|| missing(&wanted))?;
    check_size(&wanted, content.len() as u64, descriptor.size())?;
    check_digest(&wanted, &Digest::of(&content))?;
    Ok(content)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn missing(digest: &Digest) -> Error {
    Error::user(format!("{digest} is not in the archive"))
}

fn check_size(digest: &Digest, size: u64, wanted: u64) -> Result<()> {
    if size == wanted {
        return Ok(());
    }
    Err(Error::user(format!("{digest} has {size} bytes instead of {wanted}")))
}

fn check_digest(wanted: &Digest, actual: &Digest) -> Result<()> {
    if actual == wanted {
        return Ok(());
    }
    Err(Error::user(format!("content of {wanted} is damaged: its digest is {actual}")))
}

/// One image of docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

fn docker(writer: &Writer<'_>, source: &Source, manifest: &[u8]) -> Result<Vec<Incoming>> {
    let images: Vec<DockerImage> = parse(manifest).doing(|| "manifest.json")?;
    let mut incoming = Vec::new();
    for image in &images {
        let tags = image.repo_tags.as_deref().unwrap_or_default();
        let what = || tags.first().cloned().unwrap_or_else(|| image.config.clone());
        let (manifest, size) = docker_image(writer, source, image).doing(what)?;
        let entry = |name| Incoming { manifest: manifest.clone(), size, name, index: None };
        if tags.is_empty() {
            incoming.push(entry(None));
        }
        for tag in tags {
            incoming.push(entry(Some(Reference::parse(tag)?)));
        }
    }
    Ok(incoming)
}

/// Docker archives have no manifest; the one written here is the same for the same content.
fn docker_image(
    writer: &Writer<'_>,
    source: &Source,
    image: &DockerImage,
) -> Result<(Digest, u64)> {
    let absent = |name: &str| Error::user(format!("{name} is not in the archive"));
    let config = source.document(&image.config)?.ok_or_else(|| absent(&image.config))?;
    // The file is named by its digest, in both the old form and the new one (blobs/sha256/…).
    let stem = image.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if let Ok(named) = Digest::parse(&format!("sha256:{stem}")) {
        check_digest(&named, &Digest::of(&config))?;
    }
    let mut layers = Layers::new(writer, &parse(&config).doing(|| image.config.clone())?)?;
    let names = image.layers.as_deref().unwrap_or_default();
    if names.len() != layers.diffs.len() {
        let counts = format!("{} layers, {} diff_ids", names.len(), layers.diffs.len());
        return Err(Error::user(format!("manifest and configuration differ: {counts}")));
    }
    let mut descriptors = Vec::new();
    for name in names {
        let blob = source.blob(name)?.ok_or_else(|| absent(name))?;
        let (digest, size) = layers.add(blob, None).doing(|| format!("layer {name}"))?;
        descriptors.push(describe(MediaType::ImageLayer, &digest, size)?);
    }
    let digest = writer.put(&config)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(describe(MediaType::ImageConfig, &digest, config.len() as u64)?)
        .layers(descriptors)
        .build()
        .map_err(|error| Error::system(error.to_string()))?;
    let manifest =
        serde_json::to_vec(&manifest).map_err(|error| Error::system(error.to_string()))?;
    Ok((writer.put(&manifest)?, manifest.len() as u64))
}

fn describe(media_type: MediaType, digest: &Digest, size: u64) -> Result<Descriptor> {
    let digest = oci_spec::image::Digest::try_from(digest.to_string());
    let digest = digest.map_err(|error| Error::system(error.to_string()))?;
    Ok(Descriptor::new(media_type, size, digest))
}

/// The layers of one image on their way into the store, lowest first.
struct Layers<'a> {
    writer: &'a Writer<'a>,
    diffs: Vec<Digest>,
    chain: Vec<Digest>,
    /// Where the layers brought in so far are.
    done: Vec<PathBuf>,
}

impl<'a> Layers<'a> {
    fn new(writer: &'a Writer<'a>, config: &ImageConfiguration) -> Result<Self> {
        let (os, arch) = (config.os(), config.architecture());
        if os != &Os::default() || arch != &Arch::default() {
            return Err(no_platform(&[format!("{os}/{arch}")]));
        }
        let diffs = diffs(config)?;
        Ok(Self { writer, chain: chain(&diffs), diffs, done: Vec::new() })
    }

    /// The next layer, which is the blob of that digest.
    fn add_known(&mut self, source: &Source, digest: &Digest, size: u64) -> Result<()> {
        let chain =
            self.chain.get(self.done.len()).ok_or_else(|| Error::user("too many layers"))?;
        let there = self.writer.store().layer(chain);
        if there.is_dir() && self.writer.store().blob(digest).is_file() {
            self.done.push(there);
            return Ok(());
        }
        let blob = source.blob(&blob_name(digest))?.ok_or_else(|| missing(digest))?;
        check_size(digest, blob.left(), size)?;
        self.add(blob, Some(digest)).map(drop)
    }

    /// The next layer from `blob`, copied and unpacked while it is read once.
    fn add(&mut self, blob: Blob, wanted: Option<&Digest>) -> Result<(Digest, u64)> {
        let number = self.done.len();
        let beyond = || Error::user("too many layers");
        let chain = self.chain.get(number).ok_or_else(beyond)?;
        let diff = self.diffs.get(number).ok_or_else(beyond)?;
        let place = self.writer.store().layer(chain);
        let (copy, target) = (self.writer.scratch("blob"), self.writer.scratch("layer"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy)?;
        let mut input = BufReader::with_capacity(BUFFER, Hashing::new(blob, file));
        let unpacked = if place.is_dir() {
            Ok(None)
        } else {
            std::fs::create_dir(&target)?;
            unpack(&mut input, &self.done, &target).map(Some)
        };
        // Damage is reported as such, not as what it does to tar or gzip.
        io::copy(&mut input, &mut io::sink())?;
        let (digest, size) = input.into_inner().finish();
        wanted.map_or(Ok(()), |wanted| check_digest(wanted, &digest))?;
        if let Some(plain) = unpacked? {
            check_digest(diff, plain.as_ref().unwrap_or(&digest)).doing(|| "unpacked")?;
            self.writer.keep(&target, &place)?;
        }
        self.writer.keep(&copy, &self.writer.store().blob(&digest))?;
        self.done.push(place);
        Ok((digest, size))
    }
}

/// Unpacks a layer and returns the digest of its plain form, `None` if it came plain.
fn unpack(
    input: &mut impl io::BufRead,
    lower: &[PathBuf],
    target: &std::path::Path,
) -> Result<Option<Digest>> {
    let mut decoder = Decoder::new(input)?;
    if decoder.is_plain() {
        unpack::layer(&mut decoder, lower, target)?;
        return Ok(None);
    }
    let mut plain = Hashing::new(&mut decoder, io::sink());
    unpack::layer(plain.by_ref(), lower, target)?;
    Ok(Some(plain.finish().0))
}
