//! Images: names, the store, unpacking, and what a container needs of one.
//!
//! ```text
//! reference            names                      store    blobs, layers and the index on disk
//! load archive         archives into the store    members pax compress digest    their bytes
//! pull download        registries into the store  registry                       the protocol
//! save                  the store into archives
//! ingest layers        what both have in common   platform                       of an index
//! durable remove        what of it is on the disk, and what leaves it
//! unpack whiteout      a layer to a directory in overlayfs' form
//! merged               layers seen as one tree, without mounting
//! config users rootfs  what a process gets of its image: argv, env, user, root file system
//! ```

mod archive;
mod compress;
pub mod config;
mod digest;
mod download;
mod durable;
mod ingest;
mod layers;
mod load;
mod members;
mod merged;
mod pax;
mod platform;
pub mod pull;
mod reference;
pub mod registry;
mod remove;
pub mod rootfs;
mod save;
mod store;
mod unpack;
pub mod users;
mod whiteout;

pub use members::{Kind, Member, Members};
pub use reference::Reference;
pub use remove::{Disk, Usage};
pub use save::Format;
pub use store::Store;

use oci_spec::image::ImageConfiguration;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// An image in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of the configuration, `sha256:…`; [`HOST`] for the embedded image.
    pub id: String,
    /// Digest of the manifest, `sha256:…`.
    pub manifest: String,
    /// Digest of the index it was chosen from, if it was.
    pub index: Option<String>,
    /// Every name it has, normalised.
    pub names: Vec<String>,
    /// Its configuration (User, Env, Entrypoint, Cmd, WorkingDir, StopSignal…).
    pub config: ImageConfiguration,
    /// Unpacked layers, lowest first; each a directory for overlayfs.
    pub layers: Vec<PathBuf>,
    /// Bytes of its blobs: configuration and compressed layers.
    pub size: u64,
    /// When it came into the store, seconds since the epoch.
    pub loaded: u64,
    /// All that the store has of it is from registries: no archive, no name that somebody gave it.
    pub is_pulled: bool,
}

/// How far work is that others look at meanwhile. A total of 0 is one that is not known.
#[derive(Debug, Default)]
pub struct Count {
    /// So much is done.
    pub done: AtomicU64,
    /// Of so much.
    pub total: AtomicU64,
}

impl Count {
    /// Nothing of `total`.
    pub fn of(total: u64) -> Self {
        Self { done: AtomicU64::new(0), total: AtomicU64::new(total) }
    }

    /// So much more is done.
    pub fn add(&self, more: u64) {
        self.done.fetch_add(more, Ordering::Relaxed);
    }
}

/// Name and id of the embedded image.
pub const HOST: &str = "host";

/// The embedded image: a private copy-on-write view of the host's own root file system, so that a
/// pod runs with no image at all. Its one layer is `/`, and it has no configuration.
pub fn host() -> Image {
    Image {
        id: HOST.into(),
        manifest: String::new(),
        index: None,
        names: vec![HOST.into()],
        config: ImageConfiguration::default(),
        layers: vec!["/".into()],
        size: 0,
        loaded: 0,
        is_pulled: false,
    }
}

fn is_host(reference: &Reference) -> bool {
    reference.to_string() == "docker.io/library/host:latest"
}

impl Image {
    /// Whether this is the embedded image.
    pub fn is_host(&self) -> bool {
        self.id == HOST
    }
}
