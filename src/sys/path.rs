//! Paths inside a directory that somebody else controls (a rootfs, a volume, a layer).
//!
//! Everything goes through openat2(2) with `RESOLVE_IN_ROOT`: symbolic links, `..` and absolute
//! targets stay below the root whatever another process swaps meanwhile, and magic links are
//! refused. Callers act on the descriptor they get, never on the path again.

use super::{Errno, Result};
use nix::NixPath;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlink};
use nix::sys::stat::{Mode, fstat, mkdirat};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// How often a resolution is tried anew when another process renames beneath it.
const RENAME_TRIES: usize = 64;

/// Opens `path` as if `root` were `/`. `mode` counts only with `O_CREAT`.
pub fn open_in_root(
    root: impl AsFd,
    path: &(impl NixPath + ?Sized),
    flags: OFlag,
    mode: u32,
) -> Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).mode(Mode::from_bits_truncate(mode));
    resolve(root.as_fd(), path, how, ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

/// As [`open_in_root`], but every link on the way is `ELOOP`: what is opened lies where its name
/// says.
pub fn open_ordinary_in_root(
    root: impl AsFd,
    path: &(impl NixPath + ?Sized),
    flags: OFlag,
) -> Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC);
    resolve(root.as_fd(), path, how, ResolveFlag::RESOLVE_NO_SYMLINKS)
}

fn resolve(
    root: BorrowedFd<'_>,
    path: &(impl NixPath + ?Sized),
    how: OpenHow,
    rules: ResolveFlag,
) -> Result<OwnedFd> {
    if path.is_empty() {
        return resolve(root, c".", how, rules);
    }
    let how = how.resolve(rules | ResolveFlag::RESOLVE_IN_ROOT);
    for _ in 0..RENAME_TRIES {
        // EAGAIN: the kernel saw a rename while it resolved "..", openat2(2).
        match openat2(root, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            opened => return opened,
        }
    }
    Err(Errno::EAGAIN)
}

/// Opens `path` below `dir` without following any link: every part is what it says, or `ELOOP`.
pub fn open_beneath(dir: impl AsFd, path: &Path, flags: OFlag, mode: u32) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .mode(Mode::from_bits_truncate(mode))
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    openat2(dir.as_fd(), path, how)
}

/// Opens `path` below `dir`. Links are followed as long as they stay below it; one that leads out,
/// any absolute one included, is `EXDEV`.
pub fn open_below(dir: impl AsFd, path: &Path, flags: OFlag) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    for _ in 0..RENAME_TRIES {
        match openat2(dir.as_fd(), path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            opened => return opened,
        }
    }
    Err(Errno::EAGAIN)
}

/// A directory descriptor (`O_PATH`) for `path` below `root`, with missing parts made with `mode`.
///
/// An existing part may be a symbolic link, which is followed inside the root; a dangling one is
/// `ENOENT`, as is `..` in the part that does not exist yet.
pub fn mkdir_all_in_root(root: impl AsFd, path: &Path, mode: u32) -> Result<OwnedFd> {
    let wanted = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match open_in_root(&root, path, wanted, 0) {
        Err(Errno::ENOENT) => {}
        opened => return opened,
    }
    let (mut dir, missing) = deepest_existing(&root, path)?;
    for name in missing {
        if name == ".." {
            return Err(Errno::ENOENT);
        }
        match mkdirat(&dir, name.as_os_str(), Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        // What was made here is a plain directory; if it is a link by now, somebody is playing.
        dir = open_in_root(&dir, Path::new(&name), wanted | OFlag::O_NOFOLLOW, 0)?;
    }
    Ok(dir)
}

/// The parent directory of `path` below `root` (made if missing with `mode`) and the last name.
/// `EISDIR` where the path has no last name (`/`, `..`).
pub fn parent_in_root(root: impl AsFd, path: &Path, mode: u32) -> Result<(OwnedFd, OsString)> {
    let name = path.file_name().ok_or(Errno::EISDIR)?.to_owned();
    let parent = mkdir_all_in_root(root, path.parent().unwrap_or(Path::new("")), mode)?;
    Ok((parent, name))
}

/// A descriptor of the file at `path`, made empty with `mode` if it is missing, parents included.
/// Never makes through a dangling link.
pub fn create_file_in_root(root: impl AsFd, path: &Path, mode: u32) -> Result<OwnedFd> {
    match open_in_root(&root, path, OFlag::O_PATH, 0) {
        Err(Errno::ENOENT) => {}
        opened => return opened,
    }
    let (parent, name) = parent_in_root(&root, path, 0o755)?;
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW;
    match open_in_root(&parent, Path::new(&name), flags, mode) {
        Ok(_) | Err(Errno::EEXIST) => {
            open_in_root(&parent, Path::new(&name), OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)
        }
        Err(errno) => Err(errno),
    }
}

/// Opens anew what `fd` (usually `O_PATH`) refers to: same inode, other flags.
pub fn reopen(fd: BorrowedFd<'_>, flags: OFlag) -> Result<OwnedFd> {
    let path = fd_path(fd);
    nix::fcntl::open(&path, flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// A path that names the open file itself, for calls that take only paths.
pub fn fd_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Where the kernel says `fd` is, for messages only.
pub fn describe(fd: BorrowedFd<'_>) -> String {
    readlink(&fd_path(fd)).map_or_else(|_| "?".into(), |path| path.to_string_lossy().into_owned())
}

/// Whether both descriptors are of one inode.
pub fn same_inode(one: impl AsFd, other: impl AsFd) -> Result<bool> {
    let (one, other) = (fstat(one.as_fd())?, fstat(other.as_fd())?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// The longest leading part of `path` that exists, and the names that do not.
fn deepest_existing(root: impl AsFd, path: &Path) -> Result<(OwnedFd, Vec<OsString>)> {
    let mut parts: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect();
    let mut missing = Vec::new();
    loop {
        let existing: PathBuf = parts.iter().collect();
        match open_in_root(&root, &existing, OFlag::O_PATH | OFlag::O_DIRECTORY, 0) {
            Err(Errno::ENOENT) => match parts.pop() {
                Some(name) => missing.insert(0, name),
                None => return Err(Errno::ENOENT),
            },
            Err(errno) => return Err(errno),
            Ok(dir) => return Ok((dir, missing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let fd = nix::fcntl::open(&dir.path().join("root"), flags, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn links_stay_inside() {
        let (dir, root) = root();
        symlink(dir.path().join("outside"), dir.path().join("root/absolute")).unwrap();
        symlink("../outside", dir.path().join("root/relative")).unwrap();
        symlink("/inside", dir.path().join("root/good")).unwrap();
        fs::create_dir(dir.path().join("root/inside")).unwrap();
        for dangling in ["absolute/new", "relative/new"] {
            assert!(mkdir_all_in_root(&root, Path::new(dangling), 0o755).is_err(), "{dangling}");
            assert!(create_file_in_root(&root, Path::new(dangling), 0o644).is_err(), "{dangling}");
        }
        mkdir_all_in_root(&root, Path::new("/good/a/b"), 0o755).unwrap();
        create_file_in_root(&root, Path::new("good/a/file"), 0o644).unwrap();
        assert!(dir.path().join("root/inside/a/b").is_dir());
        assert!(dir.path().join("root/inside/a/file").is_file());
        assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 0);
    }

    #[test]
    fn parents_do_not_leave() {
        let (dir, root) = root();
        mkdir_all_in_root(&root, Path::new("../../up"), 0o755).unwrap();
        assert!(dir.path().join("root/up").is_dir());
        assert_eq!(parent_in_root(&root, Path::new("/"), 0o755).map(drop), Err(Errno::EISDIR));
    }

    #[test]
    fn magic_links_are_refused() {
        let (_dir, root) = root();
        let proc = nix::fcntl::open("/proc", OFlag::O_PATH, Mode::empty()).unwrap();
        let through = open_in_root(proc, Path::new("self/root/etc"), OFlag::O_PATH, 0);
        assert_eq!(through.map(drop), Err(Errno::ELOOP));
        drop(root);
    }
}
