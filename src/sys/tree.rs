//! Trees that somebody else has filled, removed or measured: with a bounded number of descriptors
//! and little stack. No link is followed, and what is removed is entered by no mount.

use super::path::open_beneath;
use super::{Errno, Result, fs, mount};
use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::libc::{S_IFDIR, S_IFMT};
use nix::sys::stat::{fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories below are moved up before they are entered.
const MAX_DEPTH: usize = 32;

/// Removes `path` and all below it, as deep as it may be; one that is not there is fine. What is
/// mounted there is detached and never entered: it may be somebody else's, as what a container has
/// mounted into a volume.
pub fn remove(path: &Path) -> Result<()> {
    match remove_unmounted(path) {
        Err(Errno::EXDEV | Errno::EBUSY) => {
            detach_all(path)?;
            remove_unmounted(path)
        }
        removed => removed,
    }
}

fn remove_unmounted(path: &Path) -> Result<()> {
    let (parent, name) = split(path)?;
    let Some(parent) = parent else { return Ok(()) };
    let name = name.as_c_str();
    let top = match open_dir(parent.as_fd(), name) {
        Err(Errno::ENOENT) => return Ok(()),
        // A link or a file.
        Err(Errno::ENOTDIR | Errno::ELOOP) => {
            return unlinkat(parent, name, UnlinkatFlags::NoRemoveDir);
        }
        opened => opened?,
    };
    let mut walk = Walk { top: top.as_fd(), moved: 0 };
    loop {
        let moved = walk.moved;
        walk.empty(top.as_fd(), 0)?;
        if walk.moved == moved {
            break;
        }
    }
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        removed => removed,
    }
}

/// Bytes of disk that the directory `path` takes with all below it on the same file system: each
/// file once, however many names it has, and none whose path is longer than `PATH_MAX`. 0 if it is
/// not there.
pub fn disk_usage(path: &Path) -> Result<u64> {
    const BLOCK: u64 = 512;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let top = match fs::open(path, flags, 0) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(0),
        opened => opened?,
    };
    let is = fstat(&top)?;
    let mut total = is.st_blocks.unsigned_abs() * BLOCK;
    let mut linked = HashSet::new();
    let mut left = vec![PathBuf::new()];
    while let Some(at) = left.pop() {
        // What goes meanwhile takes nothing.
        let Ok(dir) = open_beneath(&top, &at, flags, 0) else { continue };
        for (name, _) in entries(dir.as_fd()).unwrap_or_default() {
            let Ok(of) = fstatat(&dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else {
                continue;
            };
            let is_dir = of.st_mode & S_IFMT == S_IFDIR;
            let again = !is_dir && of.st_nlink > 1 && !linked.insert(of.st_ino);
            if of.st_dev != is.st_dev || again {
                continue;
            }
            total += of.st_blocks.unsigned_abs() * BLOCK;
            if is_dir {
                left.push(at.join(OsStr::from_bytes(name.to_bytes())));
            }
        }
    }
    Ok(total)
}

/// The directory that `path` is in, if that is there, and its name.
fn split(path: &Path) -> Result<(Option<OwnedFd>, CString)> {
    let name = path.file_name().ok_or(Errno::EINVAL)?;
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match fs::open(parent.unwrap_or(Path::new(".")), flags, 0) {
        Err(Errno::ENOENT) => Ok((None, name)),
        parent => Ok((Some(parent?.into()), name)),
    }
}

/// Detaches all that is mounted at `path` and below, the last mounted first. Each is reached without
/// following a link: what is not where it was is left to the next who tries.
fn detach_all(path: &Path) -> Result<()> {
    let (parent, name) = split(path)?;
    let Some(parent) = parent else { return Ok(()) };
    let prefix = std::fs::read_link(format!("/proc/self/fd/{}", parent.as_raw_fd()));
    let prefix = prefix.map_err(fs::errno)?;
    let top = prefix.join(OsStr::from_bytes(name.to_bytes()));
    let mounts = std::fs::read("/proc/self/mountinfo").map_err(fs::errno)?;
    let lines = mounts.split(|byte| *byte == b'\n');
    let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    let points = points.map(mount::unescape);
    let points: Vec<_> = points.filter(|point| point.starts_with(&top)).collect();
    for point in points.iter().rev() {
        let Ok(below) = point.strip_prefix(&prefix) else { continue };
        let mounted = open_beneath(&parent, below, OFlag::O_PATH, 0)?;
        mount::umount_fd_detached(&mounted)?;
    }
    Ok(())
}

struct Walk<'a> {
    top: BorrowedFd<'a>,
    /// How many directories were moved to the top.
    moved: u64,
}

impl Walk<'_> {
    fn empty(&mut self, dir: BorrowedFd<'_>, depth: usize) -> Result<()> {
        for (name, kind) in entries(dir)? {
            let is_dir = match kind {
                Some(kind) => kind == Type::Directory,
                // Not every file system says.
                None => open_dir(dir, &name).is_ok(),
            };
            let gone = if is_dir {
                self.remove_dir(dir, &name, depth)
            } else {
                unlinkat(dir, name.as_c_str(), UnlinkatFlags::NoRemoveDir)
            };
            match gone {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn remove_dir(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
        if depth >= MAX_DEPTH {
            return self.move_up(parent, name);
        }
        let dir = open_dir(parent, name)?;
        self.empty(dir.as_fd(), depth + 1)?;
        unlinkat(parent, name, UnlinkatFlags::RemoveDir)
    }

    /// To the top, under a name that is free there, for the next round.
    fn move_up(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        loop {
            self.moved += 1;
            let up = format!(".deep-{}", self.moved);
            match renameat(parent, name, self.top, up.as_str()) {
                // Something of that name is there, and not empty.
                Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
                moved => return moved,
            }
        }
    }
}

/// `EXDEV` where something is mounted.
fn open_dir(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat2(parent, name, OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_XDEV))
}

/// All entries at once: what is removed while a directory is read may hide others.
fn entries(dir: BorrowedFd<'_>) -> Result<Vec<(CString, Option<Type>)>> {
    let mut stream = Dir::from_fd(open_dir(dir, c".")?)?;
    let mut entries = Vec::new();
    for entry in stream.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            entries.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[test]
    fn a_file_counts_once_and_a_link_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        let empty = disk_usage(&top).unwrap();
        std::fs::write(dir.path().join("outside"), vec![1; 1 << 20]).unwrap();
        std::os::unix::fs::symlink(dir.path(), top.join("link")).unwrap();
        std::fs::write(top.join("a/b/file"), vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(top.join("a/b/file"), top.join("a/again")).unwrap();
        let used = disk_usage(&top).unwrap() - empty;
        assert!((1 << 20..(1 << 20) + (64 << 10)).contains(&used), "{used}");
        assert_eq!(disk_usage(&dir.path().join("none")).unwrap(), 0);
    }

    #[test]
    fn a_tree_of_any_depth_goes_and_links_stay_links() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "").unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir_all(top.join(".deep-1/x")).unwrap();
        std::os::unix::fs::symlink(&kept, top.join("link")).unwrap();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let mut at = OwnedFd::from(fs::open(&top, flags, 0).unwrap());
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
            at = open_dir(at.as_fd(), c"d").unwrap();
        }
        drop(at);
        remove(&top).unwrap();
        assert!(!top.exists() && kept.join("file").exists());
        remove(&top).unwrap();
        std::os::unix::fs::symlink(&kept, &top).unwrap();
        remove(&top).unwrap();
        assert!(top.symlink_metadata().is_err() && kept.join("file").exists());
    }
}
