//! Images from archives into the store: OCI layouts, and docker's `manifest.json`.
//!
//! Every digest and size that a document claims is checked before anything becomes visible.

use super::archive::{Blob, Source};
use super::digest::{Digest, Hashing};
use super::ingest::Ingest;
use super::layers::{Layers, check_digest};
use super::store::{Incoming, Origin, digest, parse};
use super::{Reference, platform};
use crate::error::{Context, Error, Result};
use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageConfiguration, ImageIndex, ImageManifest,
    ImageManifestBuilder, MediaType,
};
use serde::Deserialize;
use std::io::{self, BufReader};

const BUFFER: usize = 256 * 1024;
/// The full name, in archives that use `ref.name` for the tag alone as the specification has it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Brings all images of `source` in; `name` is for one that has none.
pub(super) fn load(
    ingest: &Ingest<'_>,
    source: &Source,
    name: Option<&Reference>,
) -> Result<Vec<Incoming>> {
    let mut images = if let Some(index) = source.document("index.json")? {
        oci(ingest, source, &index, name)?
    } else if let Some(manifest) = source.document("manifest.json")? {
        docker(ingest, source, &manifest)?
    } else {
        let neither = "not an image: it has neither index.json (OCI) nor manifest.json (docker)";
        return Err(Error::user(neither));
    };
    for image in images.iter_mut().filter(|image| image.name.is_none()) {
        image.name = name.cloned();
    }
    Ok(images)
}

fn oci(
    ingest: &Ingest<'_>,
    source: &Source,
    index: &[u8],
    given: Option<&Reference>,
) -> Result<Vec<Incoming>> {
    let index: ImageIndex = parse(index).doing(|| "index.json")?;
    let mut images = Vec::new();
    let mut others = Vec::new();
    for descriptor in index.manifests() {
        if !platform::is_ours(descriptor) {
            others.push(platform::name(descriptor));
            continue;
        }
        let name = name(descriptor, given);
        let what = || name.as_ref().map_or_else(|| "image".to_owned(), Reference::to_string);
        let (chosen, index) = choose(source, descriptor).doing(what)?;
        let (manifest, size) = oci_image(ingest, source, &chosen).doing(what)?;
        images.push(Incoming { manifest, size, name, index, origin: Origin::User, unsynced: None });
    }
    if images.is_empty() { Err(platform::none(&others)) } else { Ok(images) }
}

/// The manifest for this machine, and the index that it stands in, if it does.
fn choose(source: &Source, descriptor: &Descriptor) -> Result<(Descriptor, Option<Digest>)> {
    let mut index_digest = None;
    let mut descriptor = descriptor.clone();
    // An index may hold indexes; nobody writes deeper ones.
    for _ in 0..3 {
        if !platform::is_index(descriptor.media_type()) {
            return Ok((descriptor, index_digest));
        }
        let index: ImageIndex = document(source, &descriptor)?;
        index_digest.get_or_insert(digest(&descriptor)?);
        descriptor = platform::pick(&index)?.clone();
    }
    Err(Error::user("indexes within indexes"))
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
    ingest: &Ingest<'_>,
    source: &Source,
    descriptor: &Descriptor,
) -> Result<(Digest, u64)> {
    let manifest: ImageManifest = document(source, descriptor)?;
    let config: ImageConfiguration = document(source, manifest.config())?;
    let mut layers = Layers::new(ingest, &config, manifest.layers().len())?;
    for layer in manifest.layers() {
        let digest = digest(layer)?;
        add_known(&mut layers, source, (&digest, layer.size()))
            .doing(|| format!("layer {digest}"))?;
    }
    ingest.put(&bytes(source, manifest.config())?)?;
    let bytes = bytes(source, descriptor)?;
    Ok((ingest.put(&bytes)?, bytes.len() as u64))
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

fn docker(ingest: &Ingest<'_>, source: &Source, manifest: &[u8]) -> Result<Vec<Incoming>> {
    let images: Vec<DockerImage> = parse(manifest).doing(|| "manifest.json")?;
    let mut incoming = Vec::new();
    for image in &images {
        let tags = image.repo_tags.as_deref().unwrap_or_default();
        let what = || tags.first().cloned().unwrap_or_else(|| image.config.clone());
        let (manifest, size) = docker_image(ingest, source, image).doing(what)?;
        let manifest = || manifest.clone();
        let entry = |name| Incoming {
            manifest: manifest(),
            size,
            name,
            index: None,
            origin: Origin::User,
            unsynced: None,
        };
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
    ingest: &Ingest<'_>,
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
    let names = image.layers.as_deref().unwrap_or_default();
    let parsed = parse(&config).doing(|| image.config.clone())?;
    let mut layers = Layers::new(ingest, &parsed, names.len())?;
    let mut descriptors = Vec::new();
    for name in names {
        let blob = source.blob(name)?.ok_or_else(|| absent(name))?;
        let (digest, size) = add(&mut layers, blob, None).doing(|| format!("layer {name}"))?;
        descriptors.push(describe(MediaType::ImageLayer, &digest, size)?);
    }
    let digest = ingest.put(&config)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(describe(MediaType::ImageConfig, &digest, config.len() as u64)?)
        .layers(descriptors)
        .build()
        .map_err(|error| Error::system(error.to_string()))?;
    let manifest =
        serde_json::to_vec(&manifest).map_err(|error| Error::system(error.to_string()))?;
    Ok((ingest.put(&manifest)?, manifest.len() as u64))
}

fn describe(media_type: MediaType, digest: &Digest, size: u64) -> Result<Descriptor> {
    let digest = oci_spec::image::Digest::try_from(digest.to_string());
    let digest = digest.map_err(|error| Error::system(error.to_string()))?;
    Ok(Descriptor::new(media_type, size, digest))
}

/// Brings in the next layer, which is the blob of that digest and size.
fn add_known(layers: &mut Layers<'_>, source: &Source, of: (&Digest, u64)) -> Result<()> {
    let (digest, size) = of;
    if layers.ingest.blob(digest)?.is_some() && layers.pass()? {
        return Ok(());
    }
    let blob = source.blob(&blob_name(digest))?.ok_or_else(|| missing(digest))?;
    check_size(digest, blob.left(), size)?;
    add(layers, blob, Some(digest)).map(drop)
}

/// Brings in the next layer from `blob`, copied and unpacked while it is read once.
fn add(layers: &mut Layers<'_>, blob: Blob, wanted: Option<&Digest>) -> Result<(Digest, u64)> {
    let copy = layers.ingest.scratch()?;
    let mut input = BufReader::with_capacity(BUFFER, Hashing::new(blob, &*copy.file));
    let unpacked = if layers.pass()? { Ok(()) } else { layers.unpack(&mut input) };
    // Damage is reported as such, not as what it does to tar or gzip.
    io::copy(&mut input, &mut io::sink())?;
    let (digest, size) = input.into_inner().finish();
    wanted.map_or(Ok(()), |wanted| check_digest(wanted, &digest))?;
    unpacked?;
    layers.ingest.keep_blob(copy, &digest)?;
    Ok((digest, size))
}
