//! Copying the content of a directory without allocating: for a process that shares its heap's
//! history with another one. No link is followed; what is written to must be nobody else's.

use super::clone::errno;
use super::{Errno, Result};
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstat, fstatat, mkdirat,
    mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Deeper is `ELOOP`: each level takes a descriptor or two and some stack.
const MAX_DEPTH: usize = 128;

const PATH_MAX: usize = 4096;

/// Copies all that is below the directory `from` into the empty directory `to`, which gets the
/// owner and mode of `from`. Sockets are left out, as are devices that may not be made; extended
/// attributes are not copied.
pub fn copy_content(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    directory(from, to, 0)?;
    attributes(to, c".", &fstat(from)?)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = rustix::fs::RawDir::new(from, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(errno)?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(from, to, name, depth)?;
        }
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    match kind {
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::S_IRWXU)?;
            let (from, to) = (open_dir(from, name)?, open_dir(to, name)?);
            directory(from.as_fd(), to.as_fd(), depth + 1)?;
        }
        SFlag::S_IFREG => file(from, to, name)?,
        SFlag::S_IFLNK => link(from, to, name)?,
        SFlag::S_IFSOCK => return Ok(()),
        _ => match mknodat(to, name, kind, Mode::empty(), stat.st_rdev) {
            // In a user namespace.
            Err(Errno::EPERM) => return Ok(()),
            made => made?,
        },
    }
    attributes(to, name, &stat)
}

fn open_dir(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

fn file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // O_NONBLOCK: it may be a FIFO by now.
    let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let write = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let from = openat(from, name, read, Mode::empty())?;
    let to = openat(to, name, write, Mode::S_IRUSR | Mode::S_IWUSR)?;
    while rustix::fs::sendfile(&to, &from, None, 1 << 30).map_err(errno)? > 0 {}
    Ok(())
}

fn link(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // One byte more than any target, so that a zero always ends it.
    let mut target = [0; PATH_MAX + 1];
    let space = target.get_mut(..PATH_MAX).ok_or(Errno::ENAMETOOLONG)?;
    rustix::fs::readlinkat_raw(from, name, space).map_err(errno)?;
    let target = CStr::from_bytes_until_nul(&target).map_err(|_| Errno::ENAMETOOLONG)?;
    symlinkat(target, to, name)
}

fn attributes(dir: BorrowedFd<'_>, name: &CStr, stat: &FileStat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    match fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW) {
        // An owner that the user namespace does not map.
        Ok(()) | Err(Errno::EINVAL | Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    // After the owner, whose change clears set-user-ID.
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFLNK {
        let mode = Mode::from_bits_truncate(stat.st_mode);
        fchmodat(dir, name, mode, FchmodatFlags::FollowSymlink)?;
    }
    let accessed = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
    let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    utimensat(dir, name, &accessed, &modified, UtimensatFlags::NoFollowSymlink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn a_tree_is_the_same_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub/deep")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("sub/file"), vec![7; 100_000]).unwrap();
        for (name, mode) in [("sub/file", 0o4751), ("sub", 0o1777), ("", 0o710)] {
            fs::set_permissions(from.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink("/nowhere", from.join("sub/deep/link")).unwrap();
        nix::unistd::mkfifo(&from.join("fifo"), Mode::S_IRWXU).unwrap();
        let open = |path| fs::File::open(path).unwrap();
        copy_content(open(&from).as_fd(), open(&to).as_fd()).unwrap();
        assert_eq!(fs::read(to.join("sub/file")).unwrap(), vec![7; 100_000]);
        assert_eq!(fs::read_link(to.join("sub/deep/link")).unwrap().to_str(), Some("/nowhere"));
        for name in ["", "sub", "sub/file", "sub/deep", "sub/deep/link", "fifo"] {
            let of = |root: &std::path::Path| {
                let stat = root.join(name).symlink_metadata().unwrap();
                (stat.mode(), stat.uid(), stat.gid(), stat.mtime())
            };
            assert_eq!(of(&from), of(&to), "{name}");
        }
    }
}
