//! Trees that somebody else has filled, removed or measured: with a bounded number of descriptors
//! and little stack, and no link followed.

use super::path::open_beneath;
use super::{Errno, Result, fs};
use nix::dir::{Dir, Type};
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::libc::{S_IFDIR, S_IFMT};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories below are moved up before they are entered.
const MAX_DEPTH: usize = 32;

/// Removes `path` and all below it, as deep as it may be; one that is not there is fine.
pub fn remove(path: &Path) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let top = match fs::open(path, flags, 0) {
        Err(Errno::ENOENT) => return Ok(()),
        // A link or a file.
        Err(Errno::ENOTDIR | Errno::ELOOP) => return nix::unistd::unlink(path),
        opened => OwnedFd::from(opened?),
    };
    let mut walk = Walk { top: top.as_fd(), moved: 0 };
    loop {
        let moved = walk.moved;
        walk.empty(top.as_fd(), 0)?;
        if walk.moved == moved {
            break;
        }
    }
    match unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir) {
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

fn open_dir(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
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
