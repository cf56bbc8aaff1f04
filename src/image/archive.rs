//! Where images are loaded from, as files by name: a directory, or a tar archive, which may be
//! compressed.

use super::Count;
use super::compress::Decoder;
use super::members::{Kind, Members};
use crate::error::{Context, Error, Result};
use crate::sys::{fs, path};
use nix::fcntl::OFlag;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Most members of an archive: an image has a few per layer.
const MAX_MEMBERS: usize = 65_536;
/// Manifests, indexes and configurations are smaller; containerd's limit.
pub(super) const MAX_DOCUMENT: u64 = 8 << 20;
const MAX_LINKS: usize = 8;
const BUFFER: usize = 256 * 1024;

/// Files by name, and how many of their bytes were read so far.
pub(super) struct Source {
    files: Files,
    read: Arc<Count>,
}

enum Files {
    /// An OCI layout.
    Directory(OwnedFd),
    /// An uncompressed tar archive, and where in it the files lie.
    Archive(File, HashMap<String, Place>),
}

/// Where a member of an archive is.
pub(super) enum Place {
    At {
        offset: u64,
        size: u64,
    },
    /// Older docker archives link layers that several images share.
    Link(String),
}

/// One file of a source, read from its start.
pub(super) struct Blob {
    file: File,
    at: u64,
    left: u64,
    read: Arc<Count>,
}

impl Source {
    /// Opens `path`. A compressed archive, or one that comes through a pipe, is first written to
    /// the file that `scratch` makes, since its members are needed in another order. What is read
    /// is counted in `read`.
    pub(super) fn open(
        path: &Path,
        read: Arc<Count>,
        scratch: impl FnOnce() -> Result<File>,
    ) -> Result<Self> {
        let file = fs::open(path, OFlag::O_RDONLY | OFlag::O_NOCTTY, 0)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok(Self { files: Files::Directory(file.into()), read });
        }
        let mut input = Decoder::new(BufReader::with_capacity(BUFFER, &file))?;
        let plain = if input.is_plain() && metadata.is_file() {
            file
        } else {
            let mut plain = scratch()?;
            io::copy(&mut Counted(&mut input, &read), &mut plain)?;
            // Now it is read once more.
            read.done.store(0, Ordering::Relaxed);
            plain
        };
        read.total.store(plain.metadata()?.len(), Ordering::Relaxed);
        Ok(Self { files: Files::Archive(plain.try_clone()?, places(&plain)?), read })
    }

    /// The file of that name, `None` if there is none.
    pub(super) fn blob(&self, name: &str) -> Result<Option<Blob>> {
        let read = || Arc::clone(&self.read);
        match &self.files {
            Files::Directory(dir) => {
                let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
                let file = match path::open_in_root(dir, Path::new(name), flags, 0) {
                    Err(crate::sys::Errno::ENOENT) => return Ok(None),
                    opened => File::from(opened.doing(|| format!("open {name}"))?),
                };
                let metadata = file.metadata()?;
                if !metadata.is_file() {
                    return Err(Error::user(format!("{name} is not a file")));
                }
                Ok(Some(Blob { file, at: 0, left: metadata.len(), read: read() }))
            }
            Files::Archive(file, places) => {
                let mut name = name.to_owned();
                for _ in 0..MAX_LINKS {
                    match places.get(&name) {
                        None => return Ok(None),
                        Some(Place::Link(target)) => name.clone_from(target),
                        Some(Place::At { offset, size }) => {
                            let file = file.try_clone()?;
                            let (at, left) = (*offset, *size);
                            return Ok(Some(Blob { file, at, left, read: read() }));
                        }
                    }
                }
                Err(Error::user(format!("{name} is a link in a circle")))
            }
        }
    }

    /// The whole of a small file.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(mut blob) = self.blob(name)? else { return Ok(None) };
        if blob.left > MAX_DOCUMENT {
            return Err(Error::user(format!("{name} has {} bytes, too many", blob.left)));
        }
        let mut document = Vec::new();
        blob.read_to_end(&mut document).doing(|| format!("read {name}"))?;
        if blob.left > 0 {
            return Err(Error::user(format!("{name}: the archive ends early")));
        }
        Ok(Some(document))
    }
}

impl Blob {
    /// Bytes not read yet.
    pub(super) fn left(&self) -> u64 {
        self.left
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..most).unwrap_or_default();
        // By position: blobs of one archive share the descriptor's offset.
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        self.read.add(read as u64);
        Ok(read)
    }
}

/// Counts what is read of another.
struct Counted<'a, R>(&'a mut R, &'a Count);

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.add(read as u64);
        Ok(read)
    }
}

/// Finds the members of an archive, by their headers alone.
fn places(file: &File) -> Result<HashMap<String, Place>> {
    use std::io::Seek;
    let mut file = file;
    file.rewind()?;
    let mut members = Members::seeking(file);
    let mut places = HashMap::new();
    while let Some(member) = members.next()? {
        let name = plain_name(&member.path);
        let place = match member.kind {
            Kind::File if member.pieces.is_none() => {
                Place::At { offset: member.at, size: member.size }
            }
            Kind::HardLink => Place::Link(plain_name(&member.link)),
            Kind::Symlink => Place::Link(beside(&name, &plain_name(&member.link))),
            _ => continue,
        };
        places.insert(name, place);
        if places.len() > MAX_MEMBERS {
            let many = format!("it holds more than {MAX_MEMBERS} files: no image archive");
            return Err(Error::user(many));
        }
    }
    Ok(places)
}

fn plain_name(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    name.trim_start_matches("./").trim_start_matches('/').to_owned()
}

/// Where the link `name` with that target leads, both as text.
fn beside(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::beside;

    #[test]
    fn links_lead_beside_their_name() {
        assert_eq!(beside("a/layer.tar", "../b/layer.tar"), "b/layer.tar");
        assert_eq!(beside("x.tar", "y.tar"), "y.tar");
        assert_eq!(beside("a", "../../b"), "b");
    }
}
