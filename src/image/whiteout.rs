//! What a layer hides of those below it: the archive's `.wh.` names to overlayfs' marks.
//!
//! A mark is made only where there is something to hide: in a directory that no other layer has,
//! overlayfs would list the mark itself.

use super::merged::{OPAQUE, is_whiteout};
use super::unpack::{DIRECTORY, Layer};
use crate::error::{Error, Result};
use crate::sys::inode::{self, Node};
use crate::sys::{Errno, path};
use nix::fcntl::OFlag;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `.wh.name` hides `name` of the layers below.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// What follows [`WHITEOUT`] to hide all that they have in a directory.
const OPAQUE_WHITEOUT: &[u8] = b".wh..opq";

impl Layer {
    /// Hides `hidden` (or, opaque, everything) of the layers below in the directory `parent`.
    pub(super) fn whiteout(&mut self, parent: &Path, hidden: &OsStr) -> Result<()> {
        if hidden.as_bytes() == OPAQUE_WHITEOUT {
            let there = self.merged.entry(parent)?;
            return if there.is_some_and(|there| there.is_dir()) {
                self.opaque(parent)
            } else {
                Ok(())
            };
        }
        // Other names of that form are aufs' own (`.wh..wh.plnk`).
        if hidden.as_bytes().starts_with(WHITEOUT) {
            return Ok(());
        }
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(Error::user("a whiteout that names no file"));
        }
        self.hide(&parent.join(hidden))
    }

    /// Hides what the layers below have at `place`.
    fn hide(&mut self, place: &Path) -> Result<()> {
        let Some(entry) = self.merged.entry(place)? else { return Ok(()) };
        if entry.layer > 0 {
            let dir = self.make_directories(place.parent().unwrap_or(Path::new("")))?;
            let name = place.file_name().ok_or(Errno::EINVAL)?;
            inode::mknodat(&dir, name, Node::Character(0, 0), 0o600)?;
            self.whiteouts.push(place.to_owned());
        } else if entry.is_dir() {
            // The archive has this directory too, which stays, without what lies below it.
            return self.opaque(place);
        }
        Ok(())
    }

    pub(super) fn opaque(&mut self, place: &Path) -> Result<()> {
        if place.as_os_str().is_empty() {
            return self.opaque_root();
        }
        let dir = self.make_directories(place)?;
        inode::fsetxattr(&dir, OsStr::new(OPAQUE), b"y")?;
        for hidden in std::mem::take(&mut self.whiteouts) {
            if !hidden.starts_with(place) {
                self.whiteouts.push(hidden);
                continue;
            }
            let name = hidden.file_name().ok_or(Errno::EINVAL)?;
            let parent = hidden.parent().unwrap_or(Path::new(""));
            let parent = path::open_beneath(&self.root, parent, OFlag::O_PATH, 0)?;
            if inode::lstatat(&parent, name).is_ok_and(|there| is_whiteout(&there)) {
                inode::unlinkat(&parent, name)?;
            }
        }
        Ok(())
    }

    /// overlayfs always merges the roots: hide the names in it one by one.
    fn opaque_root(&mut self) -> Result<()> {
        let mut names: Vec<OsString> = Vec::new();
        for below in self.merged.below() {
            let listing = path::open_beneath(below, Path::new(""), DIRECTORY, 0)?;
            for entry in std::fs::read_dir(path::fd_path(listing.as_fd()))? {
                names.push(entry?.file_name());
            }
        }
        names.iter().try_for_each(|name| self.hide(Path::new(name)))
    }
}
