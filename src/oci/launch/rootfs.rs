//! The child's steps on the file system. Everything is opened below the new root by descriptor, and
//! mounts are made detached and attached to what was opened: a path that is swapped meanwhile is
//! never followed.

use super::child::Slots;
use crate::oci::plan::step::{
    Device, Inherit, Mount, Origin, Place, RootChange, SourcePath, Step, Target, TargetCheck,
};
use crate::sys::make::{Leaf, make_in_root, make_missing_in_root};
use crate::sys::mount::{self, Depth};
use crate::sys::path::{open_in_root, open_ordinary_in_root};
use crate::sys::types::{AttrChange, Propagation, attr};
use crate::sys::{Errno, Result, copy, fs};
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat, mknodat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// `PROC_SUPER_MAGIC`
const PROC: i64 = 0x9fa0;
const READ_ONLY: AttrChange = AttrChange { set: attr::RDONLY, clear: 0 };

pub(super) fn one(step: &Step, slots: &mut Slots) -> Result<()> {
    match step {
        Step::Propagate { how, root } => propagate(*how, root),
        Step::BindRoot(path) => bind_root(path, slots),
        Step::ReadOnly(path) => {
            let target = open_in_root(slots.root()?, path.as_c_str(), OFlag::O_PATH, 0)?;
            mount::mount_setattr(target, READ_ONLY, Depth::One)
        }
        Step::Device(wanted) => device(slots.root()?, wanted),
        Step::Symlink { place, target } => symlink(slots.root()?, place, target),
        Step::Sysctl { path, value } => sysctl(path, value, slots),
        Step::AppArmor(change) => {
            let path = c"thread-self/attr/apparmor/exec";
            let file = open_in_root(own_proc(slots)?, path, OFlag::O_WRONLY, 0)?;
            fs::write_once(file.as_fd(), change.to_bytes())
        }
        Step::Mask(path) => mask(path, slots),
        Step::ReadonlyPath(path) => readonly_path(slots.root()?, path),
        Step::PivotRoot { how, propagation } => change_root(*how, *propagation, slots),
        // The parent's steps, and those that child.rs does itself.
        _ => Err(Errno::ENOSYS),
    }
}

fn propagate(how: Propagation, root: &CStr) -> Result<()> {
    mount::mount_propagate(AT_FDCWD, c"/", how, Depth::Tree)?;
    if how == Propagation::Shared { make_parent_private(root) } else { Ok(()) }
}

/// The mount that `path` lies on is the nearest one whose root is on the way up.
fn make_parent_private(path: &CStr) -> Result<()> {
    let mut at = open_path(path)?;
    loop {
        match mount::mount_propagate(&at, c"", Propagation::Private, Depth::One) {
            // Not the root of a mount.
            Err(Errno::EINVAL) => {}
            done => return done,
        }
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        at = nix::fcntl::openat(&at, c"..", flags, Mode::empty())?;
    }
}

/// pivot_root(2) wants the new root to be a mount, and one whose parent is not shared.
fn bind_root(path: &CStr, slots: &mut Slots) -> Result<()> {
    let (tree, place) = copy_of_root(path)?;
    mount::move_mount(&tree, place)?;
    slots.root = Some(tree);
    Ok(())
}

/// The mounts of the root file system, to be attached on their place.
pub(super) fn copy_of_root(path: &CStr) -> Result<(OwnedFd, OwnedFd)> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let place = nix::fcntl::openat(AT_FDCWD, path, flags, Mode::empty())?;
    Ok((mount::open_tree(&place, c"", Depth::Tree)?, place))
}

fn open_path(path: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    nix::fcntl::openat(AT_FDCWD, path, flags, Mode::empty())
}

/// `sent`: what the parent has opened for it.
pub(super) fn make_mount(wanted: &Mount, sent: Option<OwnedFd>, slots: &mut Slots) -> Result<()> {
    let made = match &wanted.origin {
        Origin::There { data } => return remount(wanted, data, slots.root()?),
        Origin::Fs { kind, whole, scratch, .. } => {
            if *scratch {
                scratch_below(&wanted.target)?;
            }
            match (new_file_system(wanted, slots), whole, &wanted.target) {
                (Err(Errno::EINVAL), Some(whole), Target::Root(path)) => {
                    attached_and_taken(kind, path, whole, wanted.attr)?
                }
                (made, _, _) => made?,
            }
        }
        Origin::Bind { .. } | Origin::Sent => {
            let tree = match &wanted.origin {
                Origin::Bind { path: SourcePath::Host(path), recursive } => {
                    mount::open_tree(AT_FDCWD, path, depth(*recursive))?
                }
                Origin::Bind { path: SourcePath::Inside(path), recursive } => {
                    open_tree_in_root(slots.root()?, path, depth(*recursive))?
                }
                _ => sent.ok_or(Errno::EBADF)?,
            };
            set_attributes(&tree, wanted)?;
            tree
        }
    };
    settle(wanted, &made)?;
    match &wanted.target {
        Target::Root(path) => {
            mount::move_mount(&made, open_path(path)?)?;
            slots.root = Some(made);
        }
        Target::Inside(path) => {
            mount::move_mount(&made, target(slots.root()?, path, wanted.check, &made)?)?;
        }
    }
    Ok(())
}

/// open_tree(2) of what is there below the root by now; no link leads out of it.
pub(super) fn open_tree_in_root(
    root: BorrowedFd<'_>,
    path: &CStr,
    depth: Depth,
) -> Result<OwnedFd> {
    let path = if path.is_empty() { c"." } else { path };
    mount::open_tree(open_in_root(root, path, OFlag::O_PATH, 0)?, c"", depth)
}

/// Those of the mount itself; where some may not be cleared, only those that are asked for.
fn set_attributes(tree: &OwnedFd, wanted: &Mount) -> Result<()> {
    if wanted.attr.is_empty() {
        return Ok(());
    }
    match (mount::mount_setattr(tree, wanted.attr, Depth::One), wanted.attr_locked) {
        (Err(Errno::EPERM), Some(kept)) => mount::mount_setattr(tree, kept, Depth::One),
        (set, _) => set,
    }
}

fn depth(recursive: bool) -> Depth {
    if recursive { Depth::Tree } else { Depth::One }
}

/// Attributes of the mounts below, and propagation.
fn settle(wanted: &Mount, made: &OwnedFd) -> Result<()> {
    if !wanted.tree_attr.is_empty() {
        mount::mount_setattr(made, wanted.tree_attr, Depth::Tree)?;
    }
    for (how, recursive) in &wanted.propagation {
        mount::mount_propagate(made, c"", *how, depth(*recursive))?;
    }
    Ok(())
}

/// Only what is asked for changes; the rest stays as it was mounted.
fn remount(
    wanted: &Mount,
    data: &[(CString, Option<CString>)],
    root: BorrowedFd<'_>,
) -> Result<()> {
    let Target::Inside(path) = &wanted.target else { return Err(Errno::EINVAL) };
    let there = open_in_root(root, path.as_c_str(), OFlag::O_PATH, 0)?;
    if !data.is_empty() {
        let fs = mount::fspick(&there)?;
        configure(&fs, data)?;
        mount::fsconfig_reconfigure(&fs)?;
    }
    if !wanted.attr.is_empty() {
        mount::mount_setattr(&there, wanted.attr, Depth::One)?;
    }
    settle(wanted, &there)
}

fn new_file_system(wanted: &Mount, slots: &Slots) -> Result<OwnedFd> {
    let Origin::Fs { kind, source, data, inherit, .. } = &wanted.origin else {
        return Err(Errno::EINVAL);
    };
    let covered = match &wanted.target {
        Target::Inside(path) if *inherit != Inherit::Nothing => covered(slots.root()?, path)?,
        _ => None,
    };
    let fs = mount::fsopen(kind)?;
    if let Some(source) = source {
        mount::fsconfig_string(&fs, c"source", source)?;
    }
    if let Some(covered) = &covered {
        mount::fsconfig_string(&fs, c"mode", Octal::new(fstat(covered)?.st_mode & 0o7777).text()?)?;
    }
    configure(&fs, data)?;
    mount::fsconfig_create(&fs)?;
    let made = mount::fsmount(fs, wanted.attr.set)?;
    if let (Some(covered), Inherit::All) = (&covered, inherit) {
        let from = open_ordinary_in_root(covered, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        copy::copy_content(from.as_fd(), made.as_fd())?;
    }
    Ok(made)
}

fn configure(fs: &OwnedFd, data: &[(CString, Option<CString>)]) -> Result<()> {
    data.iter().try_for_each(|(key, value)| match value {
        Some(value) => mount::fsconfig_string(fs, key, value),
        None => mount::fsconfig_flag(fs, key),
    })
}

/// The directory that a mount will cover, if there is one.
fn covered(root: BorrowedFd<'_>, path: &CStr) -> Result<Option<OwnedFd>> {
    match open_in_root(root, path, OFlag::O_PATH | OFlag::O_DIRECTORY, 0) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        opened => opened.map(Some),
    }
}

/// A number of up to seven octal digits as text, without allocating.
struct Octal([u8; 8]);

impl Octal {
    fn new(mut number: u32) -> Self {
        let mut text = [b'0', b'0', b'0', b'0', b'0', b'0', b'0', 0];
        for digit in text.iter_mut().rev().skip(1) {
            *digit = b'0' + (number & 7) as u8;
            number >>= 3;
        }
        Self(text)
    }

    fn text(&self) -> Result<&CStr> {
        CStr::from_bytes_with_nul(&self.0).map_err(|_| Errno::EINVAL)
    }
}

/// An overlay by mount(2), whose options may fill a page: for long paths, which fsconfig(2) takes up
/// to 255 bytes of, and for many layers before `lowerdir+` (Linux 6.8).
fn attached_and_taken(kind: &CStr, path: &CStr, whole: &CStr, attr: AttrChange) -> Result<OwnedFd> {
    mount::mount(kind, path, whole)?;
    let taken = mount::open_tree(AT_FDCWD, path, Depth::One)?;
    mount::umount_detached(path)?;
    if !attr.is_empty() {
        mount::mount_setattr(&taken, attr, Depth::One)?;
    }
    Ok(taken)
}

/// A tmpfs below an overlay, for its upper and work directory. It is covered by the overlay, which
/// has it to itself, and goes with the mount namespace.
fn scratch_below(target: &Target) -> Result<()> {
    let Target::Root(path) = target else { return Err(Errno::EINVAL) };
    let fs = mount::fsopen(c"tmpfs")?;
    mount::fsconfig_string(&fs, c"mode", c"700")?;
    mount::fsconfig_create(&fs)?;
    let scratch = mount::fsmount(fs, 0)?;
    for name in [c"upper", c"work"] {
        mkdirat(&scratch, name, Mode::from_bits_truncate(0o755))?;
    }
    mount::move_mount(scratch, open_path(path)?)
}

/// The place of a mount, made if missing: a directory for a directory, a file for anything else.
fn target(
    root: BorrowedFd<'_>,
    path: &CStr,
    check: TargetCheck,
    made: &OwnedFd,
) -> Result<OwnedFd> {
    if check == TargetCheck::Ordinary {
        return ordinary_directory(root, path);
    }
    let target = match open_in_root(root, path, OFlag::O_PATH, 0) {
        Err(Errno::ENOENT) => {
            let leaf = if is_directory(made)? { Leaf::Directory } else { Leaf::File };
            make_missing_in_root(root, path, leaf)?
        }
        opened => opened?,
    };
    let allowed = match check {
        TargetCheck::OutsideProc => mount::fstatfs_type(&target)? != PROC,
        TargetCheck::SourceIsProc => mount::fstatfs_type(made)? == PROC,
        TargetCheck::AllowedInProc | TargetCheck::Ordinary => true,
    };
    if allowed { Ok(target) } else { Err(Errno::EPERM) }
}

fn ordinary_directory(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match open_ordinary_in_root(root, path, flags) {
        Err(Errno::ENOENT) => {
            make_in_root(root, path, Leaf::Directory)?;
            open_ordinary_in_root(root, path, flags)
        }
        opened => opened,
    }
}

fn is_directory(fd: impl AsFd) -> Result<bool> {
    Ok(file_type(fstat(fd)?.st_mode) == SFlag::S_IFDIR)
}

fn file_type(mode: u32) -> SFlag {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT
}

/// Opens the directory of a place. `/dev` itself must be no link: what is made there would land in
/// a place of the image's choice (CVE-2026-41579).
fn place_dir(root: BorrowedFd<'_>, place: &Place) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match open_ordinary_in_root(root, place.dir.as_c_str(), flags) {
        Err(Errno::ENOENT) => ordinary_directory(root, &place.dir),
        Err(Errno::ELOOP) if place.dir.as_c_str() != c"dev" => {
            make_in_root(root, &place.dir, Leaf::Directory)
        }
        opened => opened,
    }
}

fn device(root: BorrowedFd<'_>, wanted: &Device) -> Result<()> {
    let dir = place_dir(root, &wanted.place)?;
    let name = wanted.place.name.as_c_str();
    let number = nix::sys::stat::makedev(wanted.number.0.into(), wanted.number.1.into());
    let mode = Mode::from_bits_truncate(wanted.mode);
    let is_wanted = |there: FileStat| {
        file_type(there.st_mode) == file_type(wanted.mode)
            && (there.st_rdev == number || file_type(wanted.mode) == SFlag::S_IFIFO)
    };
    match mknodat(&dir, name, file_type(wanted.mode), mode, number) {
        Ok(()) => own(&dir, name, wanted),
        Err(Errno::EEXIST) => {
            let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
            if is_wanted(fstatat(&dir, name, flags)?) { Ok(()) } else { Err(Errno::EEXIST) }
        }
        // A user namespace may not make devices, but it may show the host's.
        Err(Errno::EPERM) => {
            let tree = mount::open_tree(AT_FDCWD, &wanted.host, Depth::One)?;
            if !is_wanted(fstat(&tree)?) {
                return Err(Errno::ENODEV);
            }
            mount::move_mount(tree, make_in_root(dir.as_fd(), name, Leaf::File)?)
        }
        Err(errno) => Err(errno),
    }
}

fn own(dir: &OwnedFd, name: &CStr, wanted: &Device) -> Result<()> {
    let (uid, gid) = wanted.owner;
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    let (uid, gid) = (nix::unistd::Uid::from_raw(uid), nix::unistd::Gid::from_raw(gid));
    nix::unistd::fchownat(dir, name, Some(uid), Some(gid), flags)
}

fn symlink(root: BorrowedFd<'_>, place: &Place, target: &CStr) -> Result<()> {
    let dir = place_dir(root, place)?;
    match nix::unistd::symlinkat(target, dir, place.name.as_c_str()) {
        Err(Errno::EEXIST) => Ok(()),
        made => made,
    }
}

fn sysctl(path: &CStr, value: &CStr, slots: &mut Slots) -> Result<()> {
    let proc = own_proc(slots)?;
    let sys = open_ordinary_in_root(proc, c"sys", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let file = open_ordinary_in_root(sys, path, OFlag::O_WRONLY)?;
    fs::write_once(file.as_fd(), value.to_bytes())
}

/// A procfs of our own that nobody else ever sees, so that nothing can be mounted over a file or
/// stand in its place (CVE-2025-52881, CVE-2019-16884).
fn own_proc(slots: &mut Slots) -> Result<BorrowedFd<'_>> {
    if slots.proc.is_none() {
        let fs = mount::fsopen(c"proc")?;
        mount::fsconfig_create(&fs)?;
        slots.proc = Some(mount::fsmount(fs, attr::NOSUID | attr::NODEV | attr::NOEXEC)?);
    }
    slots.proc.as_ref().map(AsFd::as_fd).ok_or(Errno::EBADF)
}

/// A directory is hidden by an empty read-only one, shared by all; anything else by the host's
/// `/dev/null`, whose identity is checked on the descriptor: the container's could be anything
/// (CVE-2025-31133).
fn mask(path: &CStr, slots: &mut Slots) -> Result<()> {
    let target = match open_in_root(slots.root()?, path, OFlag::O_PATH, 0) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        opened => opened?,
    };
    if is_directory(&target)? {
        return mask_directory(target, slots);
    }
    let null = mount::open_tree(AT_FDCWD, c"/dev/null", Depth::One)?;
    let stat = fstat(&null)?;
    if file_type(stat.st_mode) != SFlag::S_IFCHR || stat.st_rdev != nix::sys::stat::makedev(1, 3) {
        return Err(Errno::ENODEV);
    }
    mount::move_mount(null, target)
}

fn mask_directory(target: OwnedFd, slots: &mut Slots) -> Result<()> {
    if let Some(empty) = &slots.empty {
        return mount::move_mount(mount::open_tree(empty, c"", Depth::One)?, target);
    }
    let fs = mount::fsopen(c"tmpfs")?;
    mount::fsconfig_string(&fs, c"mode", c"755")?;
    mount::fsconfig_string(&fs, c"nr_blocks", c"1")?;
    mount::fsconfig_string(&fs, c"nr_inodes", c"1")?;
    mount::fsconfig_create(&fs)?;
    let empty = mount::fsmount(fs, attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC)?;
    mount::move_mount(&empty, target)?;
    slots.empty = Some(empty);
    Ok(())
}

fn readonly_path(root: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    let target = match open_in_root(root, path, OFlag::O_PATH, 0) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        opened => opened?,
    };
    let tree = mount::open_tree(&target, c"", Depth::Tree)?;
    mount::mount_setattr(&tree, READ_ONLY, Depth::One)?;
    mount::move_mount(tree, target)
}

/// The old root ends up on top of the new one, at the same place, and is detached from there: no
/// directory for it is needed, and none is left.
fn change_root(
    how: RootChange,
    propagation: Option<(Propagation, bool)>,
    slots: &Slots,
) -> Result<()> {
    let root = slots.root()?;
    nix::unistd::fchdir(root)?;
    match how {
        RootChange::Chroot => mount::chroot(c".")?,
        RootChange::Move => {
            bare(c"/proc")?;
            bare(c"/sys")?;
            nix::unistd::fchdir(root)?;
            mount::move_mount(root, open_path(c"/")?)?;
            mount::chroot(c".")?;
        }
        RootChange::Pivot => {
            let old = open_path(c"/")?;
            mount::pivot_root(c".", c".")?;
            nix::unistd::fchdir(old)?;
            if matches!(propagation, Some((Propagation::Shared, _))) {
                // Unmounting is not to reach the host.
                mount::mount_propagate(AT_FDCWD, c".", Propagation::Slave, Depth::Tree)?;
            }
            mount::umount_detached(c".")?;
        }
    }
    nix::unistd::chdir(c"/")?;
    match propagation {
        // What the mounts have already.
        None | Some((Propagation::Slave, _)) => Ok(()),
        Some((how, recursive)) => mount::mount_propagate(AT_FDCWD, c"/", how, depth(recursive)),
    }
}

/// Takes away what the host has mounted at `path`, one on the other: without pivot_root(2) it would go
/// on below the new root, and the kernel, which looks for a procfs in full view before it lets a user
/// namespace mount another, would find it.
fn bare(path: &CStr) -> Result<()> {
    loop {
        nix::unistd::fchdir(match open_path(path) {
            Err(Errno::ENOENT) => return Ok(()),
            opened => opened?,
        })?;
        match mount::umount_detached(c".") {
            Ok(()) => {}
            // Not a mount.
            Err(Errno::EINVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        for (mode, text) in [(0, c"0000000"), (0o1777, c"0001777"), (0o710, c"0000710")] {
            assert_eq!(Octal::new(mode).text(), Ok(text));
        }
    }
}
