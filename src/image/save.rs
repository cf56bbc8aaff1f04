//! Images from the store into archives that others load.

use super::archive::MAX_DOCUMENT;
use super::compress::Decoder;
use super::digest::Digest;
use super::layers::diffs;
use super::store::{self, Store, digest, index_of};
use super::{Image, Reference};
use crate::error::{Context, Error, Result};
use crate::sys::fs;
use nix::fcntl::OFlag;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest, MediaType};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use tar::{Builder, EntryType, Header};

/// The forms of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An OCI layout in a tar archive: the image as it is.
    Oci,
    /// What `docker save` wrote before it knew OCI: plain layers, and no manifest.
    Docker,
}

impl Store {
    /// Writes images, each under the names given with it, into one archive.
    pub fn save(
        &self,
        images: &[(Image, Vec<Reference>)],
        format: Format,
        out: impl Write,
    ) -> Result<()> {
        let mut archive =
            Archive { store: self, builder: Builder::new(out), written: HashSet::new() };
        match format {
            Format::Oci => archive.oci(images)?,
            Format::Docker => archive.docker(images)?,
        }
        archive.builder.finish().and_then(|()| archive.builder.get_mut().flush())?;
        Ok(())
    }
}

struct Archive<'a, W: Write> {
    store: &'a Store,
    builder: Builder<W>,
    /// Images share layers.
    written: HashSet<String>,
}

impl<W: Write> Archive<'_, W> {
    fn oci(&mut self, images: &[(Image, Vec<Reference>)]) -> Result<()> {
        let mut entries: Vec<Descriptor> = Vec::new();
        self.document("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for (image, names) in images {
            let manifest = Digest::parse(&image.manifest)?;
            let document: ImageManifest = self.store.document(&manifest)?;
            for layer in document.layers().iter().chain([document.config()]) {
                self.blob(&digest(layer)?)?;
            }
            self.blob(&manifest)?;
            let size = std::fs::metadata(self.store.blob(&manifest))?.len();
            let entry = |name: Option<String>| {
                let media_type = document.media_type().clone().unwrap_or(MediaType::ImageManifest);
                store::entry(media_type, &manifest, size, name)
            };
            if names.is_empty() {
                entries.push(entry(None)?);
            }
            for name in names {
                entries.push(entry(Some(name.to_string()))?);
            }
        }
        let index = serde_json::to_vec(&index_of(entries)?).map_err(json_error)?;
        self.document("index.json", &index)
    }

    fn docker(&mut self, images: &[(Image, Vec<Reference>)]) -> Result<()> {
        let mut list: Vec<Value> = Vec::new();
        for (image, names) in images {
            let manifest: ImageManifest = self.store.document(&Digest::parse(&image.manifest)?)?;
            let id = digest(manifest.config())?;
            let content = fs::read_limited(&self.store.blob(&id), MAX_DOCUMENT)?;
            let config: ImageConfiguration = self.store.document(&id)?;
            let name = format!("{}.json", id.hex());
            self.document(&name, &content)?;
            let mut layers = Vec::new();
            for (layer, diff) in manifest.layers().iter().zip(diffs(&config)?) {
                let file = format!("{}.tar", diff.hex());
                self.plain_layer(&file, &digest(layer)?).doing(|| format!("layer {diff}"))?;
                layers.push(file);
            }
            let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
            list.push(json!({"Config": name, "RepoTags": tags, "Layers": layers}));
        }
        let list = serde_json::to_vec(&list).map_err(json_error)?;
        self.document("manifest.json", &list)
    }

    fn blob(&mut self, digest: &Digest) -> Result<()> {
        let blob = self.open(digest)?;
        let size = blob.metadata()?.len();
        self.member(&Store::blob_name(digest), size, blob)
    }

    fn plain_layer(&mut self, name: &str, digest: &Digest) -> Result<()> {
        let mut decoder = Decoder::new(BufReader::new(self.open(digest)?))?;
        // The size stands before the content.
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR;
        let mut plain = fs::open(&self.store.path("tmp"), flags, 0o600)?;
        let size = io::copy(&mut decoder, &mut plain)?;
        plain.rewind()?;
        self.member(name, size, plain)
    }

    fn open(&self, digest: &Digest) -> Result<File> {
        let file = fs::open(&self.store.blob(digest), OFlag::O_RDONLY | OFlag::O_NOFOLLOW, 0);
        file.doing(|| format!("read {digest} of the image store"))
    }

    fn document(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.member(name, content.len() as u64, content)
    }

    /// Without times and owners: the same images make the same archive.
    fn member(&mut self, name: &str, size: u64, content: impl Read) -> Result<()> {
        if !self.written.insert(name.to_owned()) {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        Ok(self.builder.append_data(&mut header, name, content)?)
    }
}

fn json_error(error: serde_json::Error) -> Error {
    Error::system(error.to_string())
}
