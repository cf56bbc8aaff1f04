//! One layer's tar stream to a directory in overlayfs' form.
//!
//! Everything is made by directory descriptor below the new layer, never through a link; where a
//! parent is a link, of this layer or of one below, it is followed inside the image (CVE-2025-47290
//! and its kin). `..` in a name is refused. Parents that the archive leaves out look as they do in
//! the layers below, so that the merged tree is the same as if all were unpacked into one place.

use super::members::{Kind, Member, Members};
use super::merged::{Entry, Merged, OPAQUE, is_whiteout};
use super::whiteout::WHITEOUT;
use crate::error::{Context, Error, Result};
use crate::sys::inode::{self, Node};
use crate::sys::{Errno, path};
use nix::fcntl::OFlag;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

const COPY_BUFFER: usize = 128 * 1024;
/// Attributes that are not the image's to give: how overlayfs merges, and labels of the machine
/// that built it.
const FOREIGN_XATTRS: &[&[u8]] = &[b"trusted.overlay.", b"user.overlay.", b"security.selinux"];

/// Unpacks `input`, read to its end, into the empty directory `target`, which lies over `lower`
/// (lowest first).
pub(super) fn layer(input: impl Read, lower: &[PathBuf], target: &Path) -> Result<()> {
    let layers: Vec<PathBuf> = lower.iter().cloned().chain([target.to_owned()]).collect();
    let merged = Merged::open(&layers)?;
    let root = path::open_beneath(merged.top()?, Path::new(""), DIRECTORY, 0)?;
    let mut layer = Layer {
        merged,
        root,
        parent: None,
        directories: BTreeMap::new(),
        whiteouts: Vec::new(),
        buffer: vec![0; COPY_BUFFER],
    };
    layer.inherit_root()?;
    let mut members = Members::new(input);
    while let Some(member) = members.next()? {
        let name = || String::from_utf8_lossy(&member.path).into_owned();
        layer.add(&member, &mut members).doing(name)?;
    }
    layer.finish()?;
    members.drain()
}

/// How directories are opened.
pub(super) const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY);

pub(super) struct Layer {
    /// The layer under construction on top of those below.
    pub(super) merged: Merged,
    pub(super) root: OwnedFd,
    /// The last member's parent and it open: members come in directory order, so this saves most
    /// of the walking.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Times of directories, set last: what is made inside changes them.
    directories: BTreeMap<PathBuf, (i64, i64)>,
    /// Marks made so far.
    pub(super) whiteouts: Vec<PathBuf>,
    buffer: Vec<u8>,
}

impl Layer {
    fn add(&mut self, member: &Member, data: &mut impl Read) -> Result<()> {
        let path = relative(&member.path)?;
        let Some(name) = path.file_name() else {
            return if member.kind == Kind::Directory {
                self.directory_attributes(&PathBuf::new(), member)
            } else {
                Err(Error::user("the root can only be a directory"))
            };
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            // Its parent is not made: some tools write them below what is no directory any more.
            return self.whiteout(&self.merged.resolve(parent)?, OsStr::from_bytes(hidden));
        }
        let place = self.parent(parent)?.join(name);
        match member.kind {
            Kind::Directory => self.directory(&place, name, member),
            Kind::File => self.file(&place, name, (member, data)),
            Kind::HardLink => self.hard_link(&place, name, &member.link),
            Kind::Symlink | Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                self.special(&place, name, member)
            }
        }
    }

    /// Opens (makes) the directory that `given` leads to; returns where that is.
    fn parent(&mut self, given: &Path) -> Result<PathBuf> {
        // A parent behind a link is looked up anew: the link may have been replaced.
        if self.parent.as_ref().is_none_or(|(place, _)| place != given) {
            let place = self.merged.resolve(given)?;
            let dir = self.make_directories(&place)?;
            self.parent = Some((place, dir));
        }
        Ok(self.parent.as_ref().map(|(place, _)| place.clone()).unwrap_or_default())
    }

    fn dir(&self) -> Result<&OwnedFd> {
        Ok(&self.parent.as_ref().ok_or(Errno::EBADF)?.1)
    }

    /// The directory at `place`, missing parts made like those of the layers below.
    pub(super) fn make_directories(&mut self, place: &Path) -> Result<OwnedFd> {
        let mut dir = self.root.try_clone()?;
        let mut at = PathBuf::new();
        for part in place.iter() {
            at.push(part);
            let whiteout = match path::open_beneath(&dir, Path::new(part), DIRECTORY, 0) {
                Ok(next) => {
                    dir = next;
                    continue;
                }
                Err(Errno::ENOENT) => false,
                Err(Errno::ENOTDIR) if is_whiteout(&inode::lstatat(&dir, part)?) => true,
                Err(errno) => {
                    return Err(
                        Error::from(errno).doing(format!("open directory {}", at.display()))
                    );
                }
            };
            let below = self.merged.entry(&at)?;
            // As within one layer: a file gives way to a directory only by a member of that name.
            if below.as_ref().is_some_and(|below| !below.is_dir()) {
                return Err(Errno::ENOTDIR).doing(|| format!("open directory {}", at.display()));
            }
            if whiteout {
                inode::unlinkat(&dir, part)?;
            }
            inode::mkdirat(&dir, part, 0o755)?;
            dir = path::open_beneath(&dir, Path::new(part), DIRECTORY, 0)?;
            inode::fchmod(&dir, 0o755)?;
            if whiteout {
                inode::fsetxattr(&dir, OsStr::new(OPAQUE), b"y")?;
            }
            if let Some(below) = below {
                copy_attributes(&below, &dir)?;
                self.directories.insert(at.clone(), mtime(&below.stat));
            }
        }
        Ok(dir)
    }

    /// The root looks as it does below, unless the archive says otherwise.
    fn inherit_root(&mut self) -> Result<()> {
        let Some(below) = self.merged.below().first() else {
            return Ok(inode::fchmod(&self.root, 0o755)?);
        };
        let (fd, stat) = (below.try_clone()?, inode::fstat(below)?);
        self.directories.insert(PathBuf::new(), mtime(&stat));
        copy_attributes(&Entry { layer: 1, fd, stat }, &self.root)
    }

    fn directory(&mut self, place: &Path, name: &OsStr, member: &Member) -> Result<()> {
        match inode::mkdirat(self.dir()?, name, 0o700) {
            Err(Errno::EEXIST) => {
                let there = inode::lstatat(self.dir()?, name)?;
                if there.st_mode & libc::S_IFMT != libc::S_IFDIR {
                    inode::unlinkat(self.dir()?, name)?;
                    inode::mkdirat(self.dir()?, name, 0o700)?;
                }
                if is_whiteout(&there) {
                    let dir = path::open_beneath(self.dir()?, Path::new(name), DIRECTORY, 0)?;
                    inode::fsetxattr(&dir, OsStr::new(OPAQUE), b"y")?;
                }
            }
            made => made?,
        }
        self.directory_attributes(place, member)
    }

    /// `place` is a directory of this layer.
    fn directory_attributes(&mut self, place: &Path, member: &Member) -> Result<()> {
        let dir = path::open_beneath(&self.root, place, DIRECTORY, 0)?;
        attributes(&dir, member)?;
        self.directories.insert(place.to_owned(), member.mtime);
        Ok(())
    }

    fn file(&mut self, place: &Path, name: &OsStr, from: (&Member, &mut impl Read)) -> Result<()> {
        let (member, data) = from;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let open = |dir: &OwnedFd| path::open_beneath(dir, Path::new(name), flags, 0o600);
        let mut file = File::from(self.replacing(place, name, open)?);
        match &member.pieces {
            None => self.copy(&mut file, data, member.size)?,
            Some(pieces) => {
                file.set_len(member.size)?;
                for (offset, length) in pieces {
                    self.copy(&mut At { file: &file, offset: *offset }, data, *length)?;
                }
            }
        }
        attributes(file.as_fd(), member)?;
        Ok(inode::futimens(&file, member.mtime)?)
    }

    fn copy(&mut self, to: &mut impl Write, from: &mut impl Read, mut size: u64) -> Result<()> {
        while size > 0 {
            let most = usize::try_from(size).unwrap_or(usize::MAX).min(self.buffer.len());
            let buffer = self.buffer.get_mut(..most).unwrap_or_default();
            let read = from.read(buffer)?;
            if read == 0 {
                return Err(Error::user("its data ends early"));
            }
            to.write_all(buffer.get(..read).unwrap_or_default())?;
            size -= read as u64;
        }
        Ok(())
    }

    /// Links, devices and FIFOs.
    fn special(&mut self, place: &Path, name: &OsStr, member: &Member) -> Result<()> {
        let (major, minor) = member.device;
        let make = |dir: &OwnedFd| match member.kind {
            Kind::Symlink => inode::symlinkat(OsStr::from_bytes(&member.link), dir, name),
            Kind::Fifo => inode::mknodat(dir, name, Node::Fifo, 0o600),
            Kind::BlockDevice => inode::mknodat(dir, name, Node::Block(major, minor), 0o600),
            _ => inode::mknodat(dir, name, Node::Character(major, minor), 0o600),
        };
        self.replacing(place, name, make)?;
        let node = path::open_beneath(self.dir()?, Path::new(name), OFlag::O_PATH, 0)?;
        inode::chown(&node, member.uid, member.gid)?;
        if member.kind != Kind::Symlink {
            inode::chmod(&node, member.mode)?;
        }
        for (key, value) in own_xattrs(member) {
            xattr(key, inode::setxattr(&node, OsStr::from_bytes(key), value))?;
        }
        Ok(inode::utimensat(self.dir()?, name, member.mtime)?)
    }

    fn hard_link(&mut self, place: &Path, name: &OsStr, target: &[u8]) -> Result<()> {
        let given = relative(target)?;
        let target = self.merged.resolve_parents(&given)?;
        let missing = || Error::user(format!("hard link to {}, which is no file", given.display()));
        let entry = self.merged.entry(&target)?.filter(|entry| !entry.is_dir());
        let entry = entry.ok_or_else(missing)?;
        if target == place {
            return Ok(());
        }
        let target_name = target.file_name().ok_or_else(missing)?;
        let from = self.make_directories(target.parent().unwrap_or(Path::new("")))?;
        if entry.layer > 0 {
            self.copy_up(&entry, (&from, target_name))?;
        }
        self.replacing(place, name, |dir| inode::linkat((&from, target_name), (dir, name)))
    }

    /// Copies a file of a lower layer, whole, into this one, as overlayfs does before a change.
    fn copy_up(&mut self, entry: &Entry, to: (&OwnedFd, &OsStr)) -> Result<()> {
        if entry.kind() != libc::S_IFREG {
            return Err(Error::user("hard link to a special file of a lower layer"));
        }
        let mut from = File::from(path::reopen(entry.fd.as_fd(), OFlag::O_RDONLY)?);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut file = File::from(path::open_beneath(to.0, Path::new(to.1), flags, 0o600)?);
        self.copy(&mut file, &mut from, u64::try_from(entry.stat.st_size).unwrap_or(0))?;
        copy_attributes(entry, file.as_fd())
    }

    /// Makes something at `place` (`name` in the current parent), and if something stood there,
    /// in its stead: the last member of a name wins.
    fn replacing<T>(
        &mut self,
        place: &Path,
        name: &OsStr,
        make: impl Fn(&OwnedFd) -> crate::sys::Result<T>,
    ) -> Result<T> {
        match make(self.dir()?) {
            Err(Errno::EEXIST) => {
                inode::remove_all(self.dir()?.as_fd(), name)?;
                self.directories.retain(|directory, _| !directory.starts_with(place));
                Ok(make(self.dir()?)?)
            }
            made => Ok(made?),
        }
    }

    fn finish(self) -> Result<()> {
        for (place, mtime) in &self.directories {
            let dir = path::open_beneath(&self.root, place, DIRECTORY, 0)?;
            inode::futimens(&dir, *mtime).doing(|| place.display().to_string())?;
        }
        Ok(())
    }
}

/// Writes at an offset: the pieces of a sparse file.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Write for At<'_> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write_at(data, self.offset)?;
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The path below the root that a member names. A leading `/` means the root of the image.
fn relative(name: &[u8]) -> Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                return Err(Error::user("`..` in a name of a layer is refused"));
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(path)
}

/// Owner, then mode, then attributes: each step clears what the next one sets.
fn attributes(fd: impl AsFd, member: &Member) -> Result<()> {
    inode::chown(&fd, member.uid, member.gid)?;
    inode::fchmod(&fd, member.mode)?;
    for (name, value) in own_xattrs(member) {
        xattr(name, inode::fsetxattr(&fd, OsStr::from_bytes(name), value))?;
    }
    Ok(())
}

fn own_xattrs(member: &Member) -> impl Iterator<Item = (&[u8], &[u8])> {
    let own = |name: &[u8]| !FOREIGN_XATTRS.iter().any(|foreign| name.starts_with(foreign));
    let pairs = member.xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
    pairs.filter(move |(name, _)| own(name))
}

/// File capabilities must not get lost. Other attributes do where the file system has no room for
/// their kind, as with other tools: most are of no use here.
fn xattr(name: &[u8], set: crate::sys::Result<()>) -> Result<()> {
    match set {
        Err(Errno::ENOTSUP | Errno::EPERM) if !name.starts_with(b"security.") => Ok(()),
        set => set.doing(|| format!("set attribute {}", String::from_utf8_lossy(name))),
    }
}

/// Gives `to` the owner, mode, attributes and time of a file of a lower layer; a directory's time
/// is set again when the layer is complete.
fn copy_attributes(from: &Entry, to: impl AsFd) -> Result<()> {
    inode::chown(&to, from.stat.st_uid, from.stat.st_gid)?;
    inode::fchmod(&to, from.stat.st_mode & 0o7777)?;
    for name in inode::listxattr(&from.fd)? {
        let bytes = name.as_bytes();
        if !FOREIGN_XATTRS.iter().any(|foreign| bytes.starts_with(foreign)) {
            xattr(bytes, inode::fsetxattr(&to, &name, &inode::getxattr(&from.fd, &name)?))?;
        }
    }
    Ok(inode::futimens(&to, mtime(&from.stat))?)
}

fn mtime(stat: &inode::FileStat) -> (i64, i64) {
    (stat.st_mtime, stat.st_mtime_nsec)
}
