//! Layers as overlayfs merges them, looked at without mounting anything.
//!
//! For what has to be known of an image before a container runs (its users), and while a layer is
//! unpacked onto others. Symbolic links are followed inside the merged tree, by us, one part at a
//! time; within a layer no link is ever followed.

use crate::error::{Context, Result};
use crate::sys::{Errno, fs, inode, path};
use nix::fcntl::OFlag;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Marks a directory that hides the same directory of lower layers.
pub(super) const OPAQUE: &str = "trusted.overlay.opaque";
/// As the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// Deeper trees are refused: removing them takes a descriptor per level.
const MAX_DEPTH: usize = 500;

/// Open layers, the topmost first.
pub(super) struct Merged {
    layers: Vec<OwnedFd>,
}

/// One file of the merged tree.
pub(super) struct Entry {
    /// Which layer it comes from, 0 is the topmost.
    pub(super) layer: usize,
    /// `O_PATH`.
    pub(super) fd: OwnedFd,
    pub(super) stat: inode::FileStat,
}

/// What one layer says about a path.
enum Lookup {
    Found(Entry),
    /// Nothing; lower layers decide.
    Absent,
    /// Nothing, and lower layers do not count.
    Hidden,
}

impl Entry {
    pub(super) fn kind(&self) -> libc::mode_t {
        self.stat.st_mode & libc::S_IFMT
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }
}

/// Whether it is overlayfs' mark for "not there": a character device 0:0.
pub(super) fn is_whiteout(stat: &inode::FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == 0
}

impl Merged {
    /// Opens layers given lowest first.
    pub(super) fn open(layers: &[PathBuf]) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let open = |layer: &PathBuf| {
            let dir = fs::open(layer, flags, 0).doing(|| format!("open layer {}", layer.display()));
            dir.map(OwnedFd::from)
        };
        Ok(Self { layers: layers.iter().rev().map(open).collect::<Result<_>>()? })
    }

    /// The directory of the topmost layer.
    pub(super) fn top(&self) -> Result<&OwnedFd> {
        Ok(self.layers.first().ok_or(Errno::ENOENT)?)
    }

    /// The layers below the topmost, highest first.
    pub(super) fn below(&self) -> &[OwnedFd] {
        self.layers.get(1..).unwrap_or_default()
    }

    /// The entry at `path`, none of whose parts but the last is a link ([`Self::resolve`]).
    pub(super) fn entry(&self, path: &Path) -> Result<Option<Entry>> {
        for (number, layer) in self.layers.iter().enumerate() {
            match lookup(layer, path).doing(|| format!("look up {}", path.display()))? {
                Lookup::Found(entry) => return Ok(Some(Entry { layer: number, ..entry })),
                Lookup::Hidden => return Ok(None),
                Lookup::Absent => {}
            }
        }
        Ok(None)
    }

    /// The same path without links in any part but the last; the parts need not exist.
    pub(super) fn resolve_parents(&self, path: &Path) -> Result<PathBuf> {
        let name = path.file_name().unwrap_or_default();
        let parents = path.parent().unwrap_or(Path::new(""));
        Ok(self.resolve(parents)?.join(name))
    }

    /// The same path without links; the parts need not exist.
    pub(super) fn resolve(&self, path: &Path) -> Result<PathBuf> {
        let mut todo: VecDeque<OsString> = parts(path).collect();
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(part);
            if done.components().count() > MAX_DEPTH {
                return Err(Errno::ENAMETOOLONG).doing(|| path.display().to_string());
            }
            let Some(entry) = self.entry(&done)? else { continue };
            if entry.kind() != libc::S_IFLNK {
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::ELOOP).doing(|| path.display().to_string());
            }
            let target = PathBuf::from(inode::readlink(&entry.fd)?);
            done.pop();
            if target.is_absolute() {
                done.clear();
            }
            parts(&target).rev().for_each(|part| todo.push_front(part));
        }
        Ok(done)
    }

    /// The content of the regular file at `path`, links followed, or `None` if there is none.
    /// `EFBIG` above `limit` bytes, `EINVAL` if it is anything else (a FIFO, a device).
    pub(super) fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(entry) = self.entry(&self.resolve(path)?)? else { return Ok(None) };
        if entry.kind() != libc::S_IFREG {
            return Err(Errno::EINVAL).doing(|| format!("{} is not a file", path.display()));
        }
        let file = File::from(path::reopen(entry.fd.as_fd(), OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
        let content = fs::read_file_limited(&file, limit);
        content.map(Some).doing(|| format!("read {} of the image", path.display()))
    }
}

/// Names and `..`; the rest says nothing.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

fn lookup(layer: &OwnedFd, path: &Path) -> crate::sys::Result<Lookup> {
    match path::open_beneath(layer, path, OFlag::O_PATH, 0) {
        Ok(fd) => {
            let stat = inode::fstat(&fd)?;
            if is_whiteout(&stat) {
                return Ok(Lookup::Hidden);
            }
            Ok(Lookup::Found(Entry { layer: 0, fd, stat }))
        }
        Err(Errno::ENOENT) => why_absent(layer, path),
        // A parent is a link or a file here: the directory of that name lies hidden below it.
        Err(Errno::ENOTDIR | Errno::ELOOP) => Ok(Lookup::Hidden),
        Err(errno) => Err(errno),
    }
}

/// Whether a parent in this layer hides what lower layers have.
fn why_absent(layer: &OwnedFd, path: &Path) -> crate::sys::Result<Lookup> {
    let mut at = PathBuf::new();
    let parents = path.parent().unwrap_or(Path::new(""));
    for part in parents.components() {
        at.push(part);
        let dir = match path::open_beneath(layer, &at, OFlag::O_PATH, 0) {
            Ok(dir) => dir,
            Err(Errno::ENOENT) => return Ok(Lookup::Absent),
            Err(errno) => return Err(errno),
        };
        if is_whiteout(&inode::fstat(&dir)?) || is_opaque(&dir)? {
            return Ok(Lookup::Hidden);
        }
    }
    Ok(Lookup::Absent)
}

fn is_opaque(dir: &OwnedFd) -> crate::sys::Result<bool> {
    match inode::getxattr(dir, OsStr::new(OPAQUE)) {
        Ok(value) => Ok(value == b"y"),
        Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(false),
        Err(errno) => Err(errno),
    }
}
