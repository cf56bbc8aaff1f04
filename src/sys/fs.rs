//! Files of our own: atomic writes, locks, small reads. Paths inside a container go through
//! [`super::path`].

use super::{Errno, Result};
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Opens with close-on-exec; `flags` and `mode` as in open(2).
pub fn open(path: &Path, flags: OFlag, mode: u32) -> Result<File> {
    let mode = Mode::from_bits_truncate(mode);
    openat(AT_FDCWD, path, flags | OFlag::O_CLOEXEC, mode).map(File::from)
}

/// Replaces `path` in one step: readers see the old content or the new, never a part. Survives
/// a kill at any point; does not wait for the disk, since what it holds can be made anew.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    write_beside(path, content, mode, |temporary| renameat(AT_FDCWD, temporary, AT_FDCWD, path))
}

/// [`write_atomic`] that waits for the disk: after a loss of power, too, there is the old content or
/// the new.
pub fn write_durable(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let sync = |path: &Path| nix::unistd::fsync(open(path, OFlag::O_RDONLY, 0)?);
    let dir = path.parent().unwrap_or(Path::new("."));
    write_beside(path, content, mode, |temporary| {
        sync(temporary)?;
        renameat(AT_FDCWD, temporary, AT_FDCWD, path)?;
        sync(dir)
    })
}

/// [`write_atomic`] for what is written often and is of no use after a reboot. Renaming onto a file
/// makes ext4 write the new one out (auto_da_alloc, ext4(5)), which takes milliseconds on a busy
/// disk; exchanging the two does not.
pub fn write_often(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    write_beside(path, content, mode, |temporary| {
        let exchange = RenameFlags::RENAME_EXCHANGE;
        match renameat2(AT_FDCWD, temporary, AT_FDCWD, path, exchange) {
            Ok(()) => nix::unistd::unlink(temporary),
            // The first time, or a file system that cannot.
            Err(Errno::ENOENT | Errno::EINVAL) => renameat(AT_FDCWD, temporary, AT_FDCWD, path),
            Err(errno) => Err(errno),
        }
    })
}

/// Adds a record to a file of records, one a line, of which the last whole one counts; made if
/// missing. No file is made for it and none removed, which is most of what replacing a file costs.
pub fn append_line(path: &Path, line: &[u8], mode: u32) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_NOFOLLOW;
    write_once(open(path, flags, mode)?.as_fd(), &[line, b"\n"].concat())
}

/// The record that counts, see [`append_line`]; all of a file without lines.
pub fn last_line(content: &[u8]) -> &[u8] {
    let Some(end) = last_newline(content) else { return content };
    let whole = content.get(..end).unwrap_or_default();
    whole.get(last_newline(whole).map_or(0, |at| at + 1)..).unwrap_or_default()
}

fn last_newline(bytes: &[u8]) -> Option<usize> {
    // SAFETY: memrchr(3) reads as many bytes as there are.
    let found = unsafe { libc::memrchr(bytes.as_ptr().cast(), b'\n'.into(), bytes.len()) };
    (!found.is_null()).then(|| found.addr() - bytes.as_ptr().addr())
}

fn write_beside(
    path: &Path,
    content: &[u8],
    mode: u32,
    put: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = Path::new(&temporary);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW;
    let written = open(temporary, flags, mode).and_then(|mut file| {
        file.write_all(content).map_err(errno)?;
        put(temporary)
    });
    if written.is_err() {
        // The write's own error is the one to report; the leftover is named by its ending.
        drop(std::fs::remove_file(temporary));
    }
    written
}

/// Reads at most `limit` bytes; a longer file is `EFBIG`, anything but a regular file `EINVAL`.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    // O_NONBLOCK: a FIFO in the way must not hang us.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    read_file_limited(&open(path, flags, 0)?, limit)
}

/// As [`read_limited`], from whatever has an end: a pipe is waited for.
pub fn read_stream_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = open(path, OFlag::O_RDONLY | OFlag::O_NOCTTY, 0)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(errno)?;
    if content.len() as u64 > limit { Err(Errno::EFBIG) } else { Ok(content) }
}

/// [`read_limited`] of an open file.
pub fn read_file_limited(file: &File, limit: u64) -> Result<Vec<u8>> {
    let metadata = file.metadata().map_err(errno)?;
    if !metadata.is_file() {
        return Err(Errno::EINVAL);
    }
    // In two reads: without room for all and one byte more, it would begin with 32 bytes.
    let room = metadata.len().min(limit).saturating_add(1);
    let mut content = Vec::with_capacity(usize::try_from(room).map_err(|_| Errno::EFBIG)?);
    file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(errno)?;
    if content.len() as u64 > limit { Err(Errno::EFBIG) } else { Ok(content) }
}

/// Adds the content of a file below `dir` to `content`: one read where `content` has room for all of
/// it. A longer one than `limit` is `EFBIG`; a link as the last part is not followed.
pub fn read_at(dir: BorrowedFd<'_>, path: &Path, content: &mut Vec<u8>, limit: u64) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(dir, path, flags, Mode::empty())?;
    loop {
        content.reserve(1);
        let room = content.capacity() - content.len();
        let read = rustix::io::read(&file, rustix::buffer::spare_capacity(content))
            .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
        if content.len() as u64 > limit {
            return Err(Errno::EFBIG);
        }
        // A regular file gives less than there is room for only at its end.
        if read < room {
            return Ok(());
        }
    }
}

/// Reads a small kernel file (`/proc`, `/sys`, cgroupfs) as text.
pub fn read_kernel_file(path: &Path) -> Result<String> {
    // Such files have no size; most are shorter than a page.
    let mut text = String::with_capacity(4096);
    File::open(path).and_then(|mut file| file.read_to_string(&mut text)).map_err(errno)?;
    Ok(text)
}

/// What tells this boot of the machine from every other.
pub fn boot_id() -> Result<String> {
    let id = read_kernel_file(Path::new("/proc/sys/kernel/random/boot_id"))?;
    Ok(id.trim().to_owned())
}

/// statvfs(3): bytes of the file system that holds `path`, all of them and those still to be had.
pub fn statvfs(path: &Path) -> Result<(u64, u64)> {
    let found = nix::sys::statvfs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
    Ok((bytes(found.blocks()), bytes(found.blocks_available())))
}

/// Writes a kernel file in one write, as the kernel wants it.
pub fn write_kernel_file(path: &Path, content: &[u8]) -> Result<()> {
    write_once(open(path, OFlag::O_WRONLY, 0)?.as_fd(), content)
}

/// One write(2) that takes all of `content` or fails.
pub fn write_once(fd: std::os::fd::BorrowedFd<'_>, content: &[u8]) -> Result<()> {
    let written = nix::unistd::write(fd, content)?;
    if written == content.len() { Ok(()) } else { Err(Errno::EIO) }
}

/// faccessat2(2) with `W_OK`, by the effective ids.
pub fn is_writable(path: &Path) -> bool {
    use nix::unistd::AccessFlags;
    let (how, flags) = (AccessFlags::W_OK, nix::fcntl::AtFlags::AT_EACCESS);
    nix::unistd::faccessat(nix::fcntl::AT_FDCWD, path, how, flags).is_ok()
}

/// A lock on `path` (flock(2), made if missing), waited for; it dies with its holder.
pub fn lock(path: &Path) -> Result<Flock<File>> {
    flock(path, FlockArg::LockExclusive)
}

/// As [`lock`], but `EWOULDBLOCK` at once when somebody holds it.
pub fn try_lock(path: &Path) -> Result<Flock<File>> {
    flock(path, FlockArg::LockExclusiveNonblock)
}

/// Locks an open file, `EWOULDBLOCK` at once when somebody holds it. The lock lives as long as any
/// copy of the descriptor, in whatever process.
pub fn try_lock_file(file: &File) -> Result<()> {
    rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

/// A record lock on an open file, fcntl(2): this process's alone, no child inherits it. `exclusive`
/// or shared; `EAGAIN` at once when another process is in the way.
pub fn try_record_lock(file: &File, exclusive: bool) -> Result<()> {
    use rustix::fs::FlockOperation::{NonBlockingLockExclusive, NonBlockingLockShared};
    let how = if exclusive { NonBlockingLockExclusive } else { NonBlockingLockShared };
    rustix::fs::fcntl_lock(file, how).map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

fn flock(path: &Path, how: FlockArg) -> Result<Flock<File>> {
    let file = open(path, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW, 0o600)?;
    Flock::lock(file, how).map_err(|(_, errno)| errno)
}

/// The errno inside an I/O error; `EIO` where it holds none.
pub fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_special_or_large_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        write_atomic(&file, b"12345", 0o600).unwrap();
        assert_eq!(read_limited(&file, 5).unwrap(), b"12345");
        assert_eq!(read_limited(&file, 4), Err(Errno::EFBIG));
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        assert_eq!(read_limited(&fifo, 5), Err(Errno::EINVAL));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn the_last_whole_line_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("records");
        for (line, whole) in [("one", "one\n"), ("two", "one\ntwo\n")] {
            append_line(&file, line.as_bytes(), 0o600).unwrap();
            let content = std::fs::read(&file).unwrap();
            assert_eq!(
                (content.as_slice(), last_line(&content)),
                (whole.as_bytes(), line.as_bytes())
            );
        }
        let cases = [("one\ntwo\nthr", "two"), ("no line", "no line"), ("\n", ""), ("", "")];
        for (content, line) in cases {
            assert_eq!(last_line(content.as_bytes()), line.as_bytes(), "{content:?}");
        }
    }

    #[test]
    fn a_lock_is_exclusive_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path).unwrap();
        assert_eq!(try_lock(&path).map(drop), Err(Errno::EWOULDBLOCK));
        drop(held);
        assert!(try_lock(&path).is_ok());
    }
}
