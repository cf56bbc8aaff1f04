//! Removing a tree that somebody else has filled: as deep as it may be, with a bounded number of
//! descriptors and little stack. No link is followed.

use super::{Errno, Result, fs};
use nix::dir::{Dir, Type};
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Directories below are moved up before they are entered.
const MAX_DEPTH: usize = 32;

/// Removes `path` and all below it; one that is not there is fine.
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
