//! `subPath`: a part of a volume, opened so that no link in it leads out of it, whoever swaps what
//! meanwhile (CVE-2017-1002101, CVE-2021-25741). What is mounted is the descriptor, not the path.

use crate::error::{Context, Error, Result};
use crate::sys::path::open_below;
use crate::sys::{self, Errno, fs};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Refuses a path that would not stay below a volume, in the kubelet's words.
pub fn check(path: &Path) -> Result<()> {
    let shown = path.display();
    if path.is_absolute() {
        return Err(Error::user(format!("error SubPath `{shown}` must not be an absolute path")));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        let why = "must not contain '..'";
        return Err(Error::user(format!("unable to provision SubPath `{shown}`: {why}")));
    }
    Ok(())
}

/// Opens (`O_PATH`) what is at `path` in the volume at `root`; a missing directory is made, with the
/// mode of the volume's own.
pub fn open(root: &Path, path: &Path) -> Result<OwnedFd> {
    let volume = fs::open(root, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)
        .doing(|| format!("open the volume {}", root.display()))?;
    match open_below(&volume, path, OFlag::O_PATH) {
        Err(Errno::ENOENT) => make(volume.as_fd(), path),
        opened => opened.map_err(Error::from),
    }
    .doing(|| format!("open {} in {}", path.display(), root.display()))
}

/// As [`open`], of what is not to be changed: what is missing is an error.
pub fn find(root: &Path, path: &Path) -> Result<OwnedFd> {
    open_in(root, path, OFlag::O_PATH)
        .doing(|| format!("open {} in {}", path.display(), root.display()))
}

/// The text of a regular file of at most `limit` bytes at `path` in the volume at `root`.
pub fn read(root: &Path, path: &Path, limit: u64) -> Result<String> {
    let file = open_in(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
    let bytes = fs::read_file_limited(&file.into(), limit)?;
    String::from_utf8(bytes).map_err(|error| Error::user(error.to_string()))
}

fn open_in(root: &Path, path: &Path, flags: OFlag) -> sys::Result<OwnedFd> {
    let volume = fs::open(root, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
    open_below(&volume, path, flags)
}

/// Makes the missing directories, each in the one that was opened before it.
fn make(volume: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    let mode = Mode::from_bits_truncate(fstat(volume)?.st_mode & 0o7777);
    let mut above = PathBuf::new();
    for part in path.components() {
        let name = Path::new(part.as_os_str());
        let parent = open_below(volume, &above, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        match mkdirat(&parent, name, mode) {
            Err(Errno::EEXIST) => {}
            made => {
                made?;
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
                // Neither the umask nor mkdir(2)'s leaving out of setgid is to count.
                fchmod(open_below(&parent, name, flags)?, mode)?;
            }
        }
        above.push(part);
    }
    Ok(open_below(volume, path, OFlag::O_PATH)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_part_of_a_volume_never_lies_outside() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("volume");
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o2777)).unwrap();
        for (link, target) in [("in", "real"), ("abs", "/"), ("up", ".."), ("deep", "../../etc")] {
            symlink(target, root.join(link)).unwrap();
        }
        for good in ["real", "in", "made/deep", "in/made", ""] {
            open(&root, Path::new(good)).unwrap();
        }
        let mode = root.join("made/deep").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o2777);
        for bad in ["abs", "abs/etc", "up", "up/x", "deep", "/real", "../x", "real/../../x"] {
            let path = Path::new(bad);
            assert!(check(path).is_err() || open(&root, path).is_err(), "{bad}");
        }
        assert!(!temp.path().join("x").exists());
    }
}
