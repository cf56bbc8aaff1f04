//! Images from registries into the store.
//!
//! Layers come in parallel, each into a file; they are unpacked in order, each while it comes.
//! Nothing becomes visible before all of it is whole: digests and sizes are those that the manifest
//! gives, and the manifest's is the one that was asked for.

use super::archive::MAX_DOCUMENT;
use super::digest::Digest;
use super::download::{Download, Shared};
use super::ingest::Ingest;
use super::layers::{Layers, check_digest};
use super::registry::{self, Failure, Keyring, Source};
use super::store::{Incoming, Origin, Store, digest, parse};
use super::{Image, Reference, durable, platform};
use crate::error::{Context, Error, Result};
use crate::sys::Errno;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use std::collections::HashSet;
use std::io::BufReader;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Downloads at once, as containerd and Docker have it.
const PARALLEL: usize = 3;
const BUFFER: usize = 256 * 1024;
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// How to pull.
pub struct Options<'a> {
    /// Who we are.
    pub keyring: &'a Keyring,
    /// An image of that name in the store will do.
    pub if_absent: bool,
    /// How long a registry may be silent.
    pub patience: Duration,
    /// Told what happens, from several threads.
    pub progress: &'a (dyn Fn(Progress<'_>) + Sync),
}

/// What happens during a pull.
pub enum Progress<'a> {
    /// A layer has to be fetched.
    Layer {
        /// Its digest.
        digest: &'a str,
        /// Its bytes.
        size: u64,
    },
    /// So much of it is there.
    Received {
        /// Its digest.
        digest: &'a str,
        /// Its bytes so far.
        bytes: u64,
    },
    /// It is unpacked.
    Unpacked {
        /// Its digest.
        digest: &'a str,
    },
}

/// A pulled image.
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// Another pull of the same was waited for so long.
    pub waited: Duration,
}

/// Why there is no image.
#[derive(Debug)]
pub struct Failed {
    /// What failed.
    pub error: Error,
    /// The registry could not be reached.
    pub is_unavailable: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, is_unavailable: false }
    }
}

/// A manifest, its configuration, and the index it was chosen from.
struct Resolved {
    manifest: (ImageManifest, Vec<u8>),
    index: Option<(Digest, Vec<u8>)>,
}

/// Pulls `reference` into `store`. Several at once of the same name wait for the first.
pub fn pull(
    store: &Store,
    reference: &Reference,
    options: &Options<'_>,
) -> std::result::Result<Pulled, Failed> {
    let add = |mut failed: Failed| {
        let is_full = matches!(failed.error.errno(), Some(Errno::ENOSPC | Errno::EDQUOT));
        failed.error =
            failed.error.doing(format!("failed to pull and unpack image \"{reference}\""));
        if is_full {
            failed.error = failed.error.hint("podctl gc removes images that no pod uses");
        }
        failed
    };
    pull_shared(store, reference, options).map_err(add)
}

fn pull_shared(
    store: &Store,
    reference: &Reference,
    options: &Options<'_>,
) -> std::result::Result<Pulled, Failed> {
    if super::is_host(reference) {
        return Err(Error::user("the name \"host\" is the embedded image's").into());
    }
    let began = Instant::now();
    let ingest = Ingest::begin(store)?;
    let turn = ingest.claim_pull(&reference.to_string())?;
    let waited = began.elapsed();
    if options.if_absent
        && let Some(image) = store.find(reference)?
    {
        return Ok(Pulled { image, waited });
    }
    let sources = registry::sources(reference, options.keyring, options.patience)?;
    let mut mirrors = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        match pull_from(&ingest, source, reference, options) {
            Ok(image) => {
                drop(turn);
                return Ok(Pulled { image, waited });
            }
            Err(failed) if number + 1 < sources.len() => {
                mirrors.push(format!("{}: {}", source.name(), failed.error));
            }
            Err(mut failed) => {
                if !mirrors.is_empty() {
                    let tried = format!("mirrors failed too ({})", mirrors.join("; "));
                    failed.error = failed.error.doing(tried);
                }
                return Err(failed);
            }
        }
    }
    Err(Error::user("no registry to pull it from").into())
}

fn pull_from(
    ingest: &Ingest<'_>,
    source: &Source,
    reference: &Reference,
    options: &Options<'_>,
) -> std::result::Result<Image, Failed> {
    let store = ingest.store();
    let resolving = |failure: Failure| {
        let failure = match failure {
            Failure::NotFound(_) => {
                Failure::NotFound(Error::user(format!("{reference}: not found")))
            }
            other => other,
        };
        failed(failure, &format!("failed to resolve reference \"{reference}\""))
    };
    if let Some(image) = store.find(reference)?
        && is_current(source, reference, &image).map_err(resolving)?
    {
        return Ok(image);
    }
    let resolved = resolve(source, reference).map_err(resolving)?;
    let (manifest, bytes) = &resolved.manifest;
    let config = config(ingest, source, manifest).map_err(|it| failed(it, "failed to copy"))?;
    fetch(ingest, source, (manifest, &config.0), options)?;
    let index = resolved.index.as_ref().map(|(digest, _)| digest.clone());
    ingest.put(&config.1)?;
    let incoming = Incoming {
        manifest: ingest.put(bytes)?,
        size: bytes.len() as u64,
        name: Some(reference.clone()),
        index,
        origin: Origin::Registry,
        unsynced: Some(durable::mark()?),
    };
    ingest.publish(&[incoming])?;
    store.find(reference)?.ok_or_else(|| Error::system("it was removed at once").into())
}

fn failed(failure: Failure, what: &str) -> Failed {
    let (error, is_unavailable) = failure.into_error();
    Failed { error: error.doing(what), is_unavailable }
}

/// Whether the registry still means the image that we have. What a digest names never changes.
fn is_current(
    source: &Source,
    reference: &Reference,
    image: &Image,
) -> std::result::Result<bool, Failure> {
    if reference.digest.is_some() {
        return Ok(true);
    }
    let there = source.digest_of(wanted(reference))?;
    let there = there.map(|digest| digest.to_string());
    Ok(there.is_some() && (there.as_ref() == Some(&image.manifest) || there == image.index))
}

/// The digest counts, not a tag beside it.
fn wanted(reference: &Reference) -> &str {
    reference.digest.as_deref().or(reference.tag.as_deref()).unwrap_or("latest")
}

/// Fetches the manifest for this machine.
fn resolve(source: &Source, reference: &Reference) -> std::result::Result<Resolved, Failure> {
    let mut index = None;
    let mut wanted = wanted(reference).to_owned();
    // An index may hold indexes; nobody writes deeper ones.
    for _ in 0..3 {
        let document = source.manifest(&wanted, MAX_DOCUMENT)?;
        let actual = Digest::of(&document.content);
        // A pin that cannot be checked is none.
        let known = wanted.contains(':').then(|| Digest::parse(&wanted)).transpose()?;
        let claimed = document.digest.as_deref().and_then(|digest| Digest::parse(digest).ok());
        if let Some(claimed) = known.or(claimed) {
            check_digest(&claimed, &actual)?;
        }
        match kind(&document.media_type, &document.content)? {
            Kind::Image => {
                let manifest = parse(&document.content).doing(|| format!("manifest {actual}"))?;
                return Ok(Resolved { manifest: (manifest, document.content), index });
            }
            Kind::Index => {
                let list: ImageIndex =
                    parse(&document.content).doing(|| format!("index {actual}"))?;
                wanted = digest(platform::pick(&list)?)?.to_string();
                index.get_or_insert((actual, document.content));
            }
        }
    }
    Err(Error::user("indexes within indexes").into())
}

enum Kind {
    Image,
    Index,
}

/// What a document says it is, else what the answer said. They must not contradict each other:
/// what is an image to one reader and an index to another is refused (CVE-2021-41190).
fn kind(media_type: &str, content: &[u8]) -> Result<Kind> {
    let document: serde_json::Value = parse(content).doing(|| "manifest")?;
    let own = document.get("mediaType").and_then(|it| it.as_str());
    let (has_layers, has_manifests) =
        (document.get("layers").is_some(), document.get("manifests").is_some());
    let media_type = own.unwrap_or(media_type).split(';').next().unwrap_or_default().trim();
    match MediaType::from(media_type) {
        it if platform::is_index(&it) && !has_layers => Ok(Kind::Index),
        MediaType::ImageManifest if !has_manifests => Ok(Kind::Image),
        _ if media_type == "application/vnd.docker.distribution.manifest.v2+json"
            && !has_manifests =>
        {
            Ok(Kind::Image)
        }
        _ => {
            let what = format!("unsupported manifest media type {media_type:?}");
            Err(Error::user(what))
        }
    }
}

/// The image's configuration, parsed and as it came.
fn config(
    ingest: &Ingest<'_>,
    source: &Source,
    manifest: &ImageManifest,
) -> std::result::Result<(ImageConfiguration, Vec<u8>), Failure> {
    let descriptor = manifest.config();
    let media_type = descriptor.media_type();
    if !matches!(media_type, MediaType::ImageConfig) && media_type.to_string() != DOCKER_CONFIG {
        let what = format!("not a container image: its configuration is a {media_type}");
        return Err(Error::user(what).into());
    }
    let digest = digest(descriptor)?;
    let content = match ingest.blob(&digest)? {
        Some(place) => crate::sys::fs::read_limited(&place, MAX_DOCUMENT).map_err(Error::from)?,
        None => source.document(&digest, MAX_DOCUMENT)?.content,
    };
    check_size(descriptor, content.len() as u64)?;
    check_digest(&digest, &Digest::of(&content))?;
    let parsed = parse(&content).doing(|| format!("configuration {digest}"))?;
    Ok((parsed, content))
}

fn check_size(descriptor: &Descriptor, size: u64) -> Result<()> {
    if size == descriptor.size() {
        return Ok(());
    }
    let (digest, wanted) = (descriptor.digest(), descriptor.size());
    Err(Error::user(format!("{digest} has {size} bytes instead of {wanted}")))
}

/// Brings all layers in: some threads download, this one unpacks.
fn fetch(
    ingest: &Ingest<'_>,
    source: &Source,
    (manifest, config): (&ImageManifest, &ImageConfiguration),
    options: &Options<'_>,
) -> std::result::Result<(), Failed> {
    let mut layers = Layers::new(ingest, config, manifest.layers().len())?;
    let downloads = downloads(ingest, manifest, options)?;
    let (stop, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    let first: Mutex<Option<Failure>> = Mutex::new(None);
    let shared = Shared { source, ingest, progress: options.progress, stop: &stop };
    let work = || {
        while let Some(download) = downloads.get(next.fetch_add(1, Ordering::Relaxed)) {
            let done = if stop.load(Ordering::Relaxed) {
                download.give_up();
                continue;
            } else {
                download.run(&shared)
            };
            if let Err(failure) = done {
                stop.store(true, Ordering::Relaxed);
                first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
            }
        }
    };
    let unpacked = std::thread::scope(|scope| {
        for _ in 0..PARALLEL.min(downloads.len()) {
            scope.spawn(work);
        }
        let unpacked = unpack(&mut layers, manifest, &downloads, options);
        if unpacked.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        unpacked
    });
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(failure) => Err(failed(failure, "failed to copy")),
        None => Ok(unpacked.doing(|| "failed to extract layer")?),
    }
}

/// The blobs that are not in the store yet, each once.
fn downloads(
    ingest: &Ingest<'_>,
    manifest: &ImageManifest,
    options: &Options<'_>,
) -> Result<Vec<Download>> {
    let mut seen = HashSet::new();
    let mut downloads = Vec::new();
    for layer in manifest.layers() {
        let digest = digest(layer)?;
        if seen.insert(digest.clone()) && ingest.blob(&digest)?.is_none() {
            let size = layer.size();
            (options.progress)(Progress::Layer { digest: &digest.to_string(), size });
            downloads.push(Download::new(digest, size));
        }
    }
    Ok(downloads)
}

fn unpack(
    layers: &mut Layers<'_>,
    manifest: &ImageManifest,
    downloads: &[Download],
    options: &Options<'_>,
) -> Result<()> {
    for layer in manifest.layers() {
        let digest = digest(layer)?;
        let what = || digest.to_string();
        if !layers.pass()? {
            match downloads.iter().find(|download| download.digest == digest) {
                Some(download) => {
                    layers
                        .unpack(BufReader::with_capacity(BUFFER, download.follow()))
                        .doing(what)?;
                }
                None => {
                    let blob = layers.ingest.store().blob(&digest);
                    let blob = std::fs::File::open(blob).doing(what)?;
                    layers.unpack(BufReader::with_capacity(BUFFER, blob)).doing(what)?;
                }
            }
        }
        (options.progress)(Progress::Unpacked { digest: &digest.to_string() });
    }
    Ok(())
}
