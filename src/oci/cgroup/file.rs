//! The files of a cgroup. None is ever made, links are not followed, and each is proved to be on a
//! cgroup file system before it is written: a wrong path must fail, not leave a plain file behind.

use super::Dir;
use crate::error::{Context, Error, Result};
use crate::sys;
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

/// Opens `dir/name`.
pub(super) fn open(dir: &Path, name: &str, flags: OFlag) -> sys::Result<File> {
    let file = sys::fs::open(&dir.join(name), flags | OFlag::O_NOFOLLOW, 0)?;
    if sys::cgroup::is_on_cgroupfs(&file)? { Ok(file) } else { Err(sys::Errno::EXDEV) }
}

/// Writes `dir/name` in one write.
pub(super) fn write(dir: &Path, name: &str, value: &str) -> sys::Result<()> {
    sys::fs::write_once(open(dir, name, OFlag::O_WRONLY)?.as_fd(), value.as_bytes())
}

/// Reads `dir/name`.
pub(super) fn read(dir: &Path, name: &str) -> sys::Result<String> {
    contents(&mut open(dir, name, OFlag::O_RDONLY)?)
}

/// All of an open file, from where it stands.
pub(super) fn contents(file: &mut File) -> sys::Result<String> {
    let mut text = String::with_capacity(4096);
    // Through `take`, for std asks a plain file for its size and position first.
    file.take(u64::MAX).read_to_string(&mut text).map_err(sys::fs::errno)?;
    Ok(text)
}

/// The number on the line `key number` of a keyed file.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The cgroups directly below `dir`.
pub(super) fn children(dir: &Path) -> sys::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(sys::fs::errno)? {
        let entry = entry.map_err(sys::fs::errno)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// One limit being set: the words of its errors.
pub(super) struct Limit<'a> {
    /// The directory, or none where the host lacks the controller.
    pub dir: Option<&'a Dir>,
    /// What the host would have to offer.
    pub controller: &'a str,
    /// Where the configuration asks for it, below `linux.resources`.
    pub json: &'a str,
}

impl Limit<'_> {
    /// Writes `value` to `file`, which is what the configuration asks for.
    pub(super) fn write(&self, file: &str, value: &str) -> Result<()> {
        self.try_write(file, value).doing(|| self.attempt(file, value)).map_err(|error| match error
            .errno()
        {
            Some(sys::Errno::ENOENT) => error.hint(format!(
                "this kernel, or this cgroup, offers no {file}; is the {} controller enabled?",
                self.controller
            )),
            _ => error,
        })
    }

    /// As [`Limit::write`], with the bare errno, for callers that have an answer to one.
    pub(super) fn try_write(&self, file: &str, value: &str) -> sys::Result<()> {
        write(&self.dir.ok_or(sys::Errno::ENOENT)?.path(), file, value)
    }

    /// Reads `file`, for messages and checks.
    pub(super) fn read(&self, file: &str) -> sys::Result<String> {
        read(&self.dir.ok_or(sys::Errno::ENOENT)?.path(), file)
    }

    /// `text` as a part of a file's name.
    pub(super) fn file_part<'t>(&self, text: &'t str) -> Result<&'t str> {
        match text.is_empty() || text.contains('/') {
            true => Err(self.invalid(format!("\"{text}\" is not a page size"))),
            false => Ok(text),
        }
    }

    /// What is being done, for messages.
    pub(super) fn attempt(&self, file: &str, value: &str) -> String {
        let (json, controller) = (self.json, self.controller);
        match self.dir {
            Some(dir) => {
                let file = dir.path().join(file);
                format!("linux.resources.{json}: write {value} to {}", file.display())
            }
            None => {
                format!("linux.resources.{json}: no {controller} hierarchy is mounted for {file}")
            }
        }
    }

    /// A value that cannot be.
    pub(super) fn invalid(&self, why: impl Into<String>) -> Error {
        Error::user(why).doing(format!("linux.resources.{}", self.json))
    }
}
