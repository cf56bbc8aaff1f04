//! Images: names, the store, unpacking, and what a container needs of one.

mod reference;

pub use reference::Reference;

use crate::error::Result;
use oci_spec::image::ImageConfiguration;
use std::path::{Path, PathBuf};

/// An image in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of the configuration, `sha256:…`.
    pub id: String,
    /// Digest of the manifest, `sha256:…`.
    pub manifest: String,
    /// Every name it has, normalised.
    pub names: Vec<String>,
    /// Its configuration (User, Env, Entrypoint, Cmd, WorkingDir, StopSignal…).
    pub config: ImageConfiguration,
    /// Unpacked layers, lowest first; each a directory for overlayfs.
    pub layers: Vec<PathBuf>,
    /// Bytes of the compressed blobs.
    pub size: u64,
    /// When it came into the store, seconds since the epoch.
    pub loaded: u64,
}

/// The image store of one root: `<dir>/{blobs,layers,index.json,…}`.
pub struct Store {
    #[expect(dead_code, reason = "stub")]
    dir: PathBuf,
}

impl Store {
    /// Opens (makes) the store.
    pub fn open(dir: &Path) -> Result<Self> {
        todo!("image: {dir:?}")
    }

    /// Loads an OCI layout (directory), an OCI archive or a docker archive (tar, gz or zst too);
    /// returns what came in. `name` names an image that the archive leaves nameless.
    pub fn load(&self, archive: &Path, name: Option<&Reference>) -> Result<Vec<Image>> {
        todo!("image: {archive:?} {name:?}")
    }

    /// The image of that name, or `None`.
    pub fn find(&self, reference: &Reference) -> Result<Option<Image>> {
        todo!("image: {reference:?}")
    }

    /// All images, newest first.
    pub fn list(&self) -> Result<Vec<Image>> {
        todo!("image")
    }
}
