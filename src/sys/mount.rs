//! Mounts by descriptor: fsopen(2), open_tree(2), move_mount(2), mount_setattr(2), pivot_root(2).

use super::clone::errno;
use super::types::{AttrChange, Propagation};
use super::{Errno, Result};
use nix::mount::MntFlags;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use std::ffi::{CStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Whether a call takes the mounts below too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// This mount alone.
    One,
    /// `AT_RECURSIVE`.
    Tree,
}

/// fsopen(2).
pub fn fsopen(name: &CStr) -> Result<OwnedFd> {
    rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC).map_err(errno)
}

/// mount(2) of a new file system of type `kind` on `target`.
pub fn mount(kind: &CStr, target: &CStr, data: &CStr) -> Result<()> {
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some(kind), target, Some(kind), flags, Some(data))
}

/// fsconfig(2), `FSCONFIG_SET_FLAG`.
pub fn fsconfig_flag(fs: impl AsFd, key: &CStr) -> Result<()> {
    rustix::mount::fsconfig_set_flag(fs, key).map_err(errno)
}

/// fsconfig(2), `FSCONFIG_SET_STRING`.
pub fn fsconfig_string(fs: impl AsFd, key: &CStr, value: &CStr) -> Result<()> {
    rustix::mount::fsconfig_set_string(fs, key, value).map_err(errno)
}

/// fsconfig(2), `FSCONFIG_CMD_CREATE`.
pub fn fsconfig_create(fs: impl AsFd) -> Result<()> {
    rustix::mount::fsconfig_create(fs).map_err(errno)
}

/// fspick(2): the file system mounted at `mount`, to be changed.
pub fn fspick(mount: impl AsFd) -> Result<OwnedFd> {
    use rustix::mount::FsPickFlags;
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    rustix::mount::fspick(mount, c"", flags).map_err(errno)
}

/// fsconfig(2), `FSCONFIG_CMD_RECONFIGURE`.
pub fn fsconfig_reconfigure(fs: impl AsFd) -> Result<()> {
    rustix::mount::fsconfig_reconfigure(fs).map_err(errno)
}

/// fsmount(2): a mount that is attached nowhere yet. `attributes` are bits of `types::attr`.
pub fn fsmount(fs: impl AsFd, attributes: u64) -> Result<OwnedFd> {
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    rustix::mount::fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(errno)
}

/// open_tree(2) with `OPEN_TREE_CLONE`: a copy of the mount at `path`, attached nowhere yet.
pub fn open_tree(dir: impl AsFd, path: &CStr, depth: Depth) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(dir, path, flags).map_err(errno)
}

/// move_mount(2): attaches `mount` on the very file that `target` is a descriptor of.
pub fn move_mount(mount: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags).map_err(errno)
}

/// mount_setattr(2) of attributes; `mount` must be the root of a mount.
pub fn mount_setattr(mount: impl AsFd, change: AttrChange, depth: Depth) -> Result<()> {
    let attr = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: 0,
        userns_fd: 0,
    };
    mount_setattr_raw(mount.as_fd(), c"", &attr, depth)
}

/// mount_setattr(2) of the propagation of the mount at `path`, seen from `dir`.
pub fn mount_propagate(
    dir: impl AsFd,
    path: &CStr,
    propagation: Propagation,
    depth: Depth,
) -> Result<()> {
    let attr = libc::mount_attr {
        attr_set: 0,
        attr_clr: 0,
        propagation: propagation.flag(),
        userns_fd: 0,
    };
    mount_setattr_raw(dir.as_fd(), path, &attr, depth)
}

/// mount_setattr(2) `MOUNT_ATTR_IDMAP`: owners in the detached mount are mapped as `user_namespace`
/// maps them.
pub fn mount_idmap(mount: impl AsFd, user_namespace: BorrowedFd<'_>, depth: Depth) -> Result<()> {
    const IDMAP: u64 = 0x10_0000;
    let userns_fd = user_namespace.as_raw_fd() as u64;
    let attr = libc::mount_attr { attr_set: IDMAP, attr_clr: 0, propagation: 0, userns_fd };
    mount_setattr_raw(mount.as_fd(), c"", &attr, depth)
}

fn mount_setattr_raw(
    dir: BorrowedFd<'_>,
    path: &CStr,
    attr: &libc::mount_attr,
    depth: Depth,
) -> Result<()> {
    let recursive = if depth == Depth::Tree { 0x8000 } else { 0 }; // AT_RECURSIVE
    // SAFETY: the path ends with 0 and the kernel only reads the struct, whose size is passed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const *attr,
            size_of_val(attr),
        )
    };
    Errno::result(done).map(drop)
}

/// pivot_root(2).
pub fn pivot_root(new: &CStr, old: &CStr) -> Result<()> {
    nix::unistd::pivot_root(new, old)
}

/// umount2(2) with `MNT_DETACH`.
pub fn umount_detached(path: &CStr) -> Result<()> {
    nix::mount::umount2(path, MntFlags::MNT_DETACH)
}

/// umount2(2) with `MNT_DETACH` of the mount whose root `fd` is.
pub fn umount_fd_detached(fd: impl AsFd) -> Result<()> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    nix::mount::umount2(path.as_str(), MntFlags::MNT_DETACH)
}

/// The number of the mount that `fd` lies on, statx(2): one that no other mount ever has, or before
/// Linux 6.8 one that no other has while it is mounted.
pub fn mount_id(fd: impl AsFd) -> Result<u64> {
    use rustix::fs::{AtFlags, StatxFlags};
    const UNIQUE: u32 = 0x4000; // STATX_MNT_ID_UNIQUE
    let wanted = StatxFlags::MNT_ID | StatxFlags::from_bits_retain(UNIQUE);
    let found = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, wanted).map_err(errno)?;
    Ok(found.stx_mnt_id)
}

/// A path as `/proc/<pid>/mountinfo` writes it, blanks as `\040`, proc_pid_mountinfo(5).
pub fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// chroot(2).
pub fn chroot(path: &CStr) -> Result<()> {
    nix::unistd::chroot(path)
}

/// The type of file system that `fd` lies on, fstatfs(2): one of the `*_MAGIC` numbers.
pub fn fstatfs_type(fd: impl AsFd) -> Result<i64> {
    Ok(rustix::fs::fstatfs(fd).map_err(errno)?.f_type)
}
