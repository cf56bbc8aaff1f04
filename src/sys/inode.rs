//! Making files and giving them their attributes, always by directory descriptor and without
//! following a link in the last part.

use super::{Result, fs::errno, path::fd_path};
use nix::fcntl::AtFlags;
use nix::sys::stat::{self, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{self, Gid, Uid, UnlinkatFlags};
use rustix::fs::XattrFlags;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

pub use nix::sys::stat::FileStat;

/// What mknodat(2) makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A character device, major and minor.
    Character(u32, u32),
    /// A block device, major and minor.
    Block(u32, u32),
    /// A FIFO.
    Fifo,
}

/// mkdirat(2).
pub fn mkdirat(dir: impl AsFd, name: &OsStr, mode: u32) -> Result<()> {
    stat::mkdirat(dir, name, Mode::from_bits_truncate(mode))
}

/// mknodat(2).
pub fn mknodat(dir: impl AsFd, name: &OsStr, node: Node, mode: u32) -> Result<()> {
    let (kind, major, minor) = match node {
        Node::Character(major, minor) => (SFlag::S_IFCHR, major, minor),
        Node::Block(major, minor) => (SFlag::S_IFBLK, major, minor),
        Node::Fifo => (SFlag::S_IFIFO, 0, 0),
    };
    let device = stat::makedev(major.into(), minor.into());
    stat::mknodat(dir, name, kind, Mode::from_bits_truncate(mode), device)
}

/// symlinkat(2).
pub fn symlinkat(target: &OsStr, dir: impl AsFd, name: &OsStr) -> Result<()> {
    unistd::symlinkat(target, dir, name)
}

/// linkat(2); a symbolic link is linked itself.
pub fn linkat(from: (impl AsFd, &OsStr), to: (impl AsFd, &OsStr)) -> Result<()> {
    unistd::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())
}

/// unlinkat(2) of anything but a directory.
pub fn unlinkat(dir: impl AsFd, name: &OsStr) -> Result<()> {
    unistd::unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)
}

/// Removes whatever `name` is, a directory with all it holds.
pub fn remove_all(dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    match unlinkat(dir, name) {
        // The standard library's walk is by descriptor and follows no link.
        Err(nix::errno::Errno::EISDIR) => {
            std::fs::remove_dir_all(fd_path(dir).join(name)).map_err(errno)
        }
        done => done,
    }
}

/// fstatat(2) of `name` itself.
pub fn lstatat(dir: impl AsFd, name: &OsStr) -> Result<FileStat> {
    stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// fstat(2), also of an `O_PATH` descriptor.
pub fn fstat(fd: impl AsFd) -> Result<FileStat> {
    stat::fstat(fd)
}

/// readlinkat(2) of an `O_PATH` descriptor of a link.
pub fn readlink(fd: impl AsFd) -> Result<std::ffi::OsString> {
    nix::fcntl::readlinkat(fd, "")
}

/// Sets the owner of an open file, also an `O_PATH` descriptor. Clears setuid bits and file
/// capabilities: mode and attributes come after.
pub fn chown(fd: impl AsFd, uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    unistd::fchownat(fd, "", uid, gid, AtFlags::AT_EMPTY_PATH)
}

/// fchmod(2).
pub fn fchmod(fd: impl AsFd, mode: u32) -> Result<()> {
    stat::fchmod(fd, Mode::from_bits_truncate(mode))
}

/// chmod(2) of an `O_PATH` descriptor, which fchmod(2) does not take.
pub fn chmod(fd: impl AsFd, mode: u32) -> Result<()> {
    let follow = stat::FchmodatFlags::FollowSymlink;
    let mode = Mode::from_bits_truncate(mode);
    stat::fchmodat(nix::fcntl::AT_FDCWD, &fd_path(fd.as_fd()), mode, follow)
}

/// futimens(2): the time of the last change, seconds and nanoseconds; the access time likewise.
pub fn futimens(fd: impl AsFd, (seconds, nanoseconds): (i64, i64)) -> Result<()> {
    let time = TimeSpec::new(seconds, nanoseconds);
    stat::futimens(fd, &time, &time)
}

/// futimens(2): both times are now.
pub fn futimens_now(fd: impl AsFd) -> Result<()> {
    stat::futimens(fd, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)
}

/// utimensat(2) of `name` itself.
pub fn utimensat(dir: impl AsFd, name: &OsStr, (seconds, nanos): (i64, i64)) -> Result<()> {
    let time = TimeSpec::new(seconds, nanos);
    stat::utimensat(dir, name, &time, &time, UtimensatFlags::NoFollowSymlink)
}

/// fsetxattr(2).
pub fn fsetxattr(fd: impl AsFd, name: &OsStr, value: &[u8]) -> Result<()> {
    rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()).map_err(raw)
}

/// setxattr(2) of an `O_PATH` descriptor, also of a symbolic link itself.
pub fn setxattr(fd: impl AsFd, name: &OsStr, value: &[u8]) -> Result<()> {
    let path = fd_path(fd.as_fd());
    rustix::fs::setxattr(path.as_path(), name, value, XattrFlags::empty()).map_err(raw)
}

/// getxattr(2) of an open file, also an `O_PATH` descriptor; `ENODATA` if it has no such attribute.
pub fn getxattr(fd: impl AsFd, name: &OsStr) -> Result<Vec<u8>> {
    // XATTR_SIZE_MAX: the kernel takes no larger value.
    let mut value = vec![0; 64 * 1024];
    let size = rustix::fs::getxattr(fd_path(fd.as_fd()).as_path(), name, value.as_mut_slice());
    value.truncate(size.map_err(raw)?);
    Ok(value)
}

/// Names of the extended attributes of an open file, also an `O_PATH` descriptor.
pub fn listxattr(fd: impl AsFd) -> Result<Vec<std::ffi::OsString>> {
    use std::os::unix::ffi::OsStrExt;
    // XATTR_LIST_MAX.
    let mut list = vec![0; 64 * 1024];
    let size = rustix::fs::listxattr(fd_path(fd.as_fd()).as_path(), list.as_mut_slice());
    let names = list.get(..size.map_err(raw)?).unwrap_or_default();
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| OsStr::from_bytes(name).to_owned()).collect())
}

/// syncfs(2) of the file system that holds `dir`.
pub fn syncfs(dir: &Path) -> Result<()> {
    let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY;
    unistd::syncfs(super::fs::open(dir, flags, 0)?)
}

fn raw(error: rustix::io::Errno) -> nix::errno::Errno {
    nix::errno::Errno::from_raw(error.raw_os_error())
}
