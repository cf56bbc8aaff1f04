//! What wakes a pod's monitor after `pod.json` has changed: a byte in the FIFO `<run>/<uid>/wake`.
//!
//! The monitors of a machine are as many as its pods, and the kernel gives a user 128 inotify
//! instances (`fs.inotify.max_user_instances`): FIFOs are not counted.

use crate::error::{Context, Result};
use crate::sys::{Errno, fs};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

/// The monitor's end. It has to listen before it reads `pod.json`; then no change is missed.
pub fn listen(run: &Path) -> Result<File> {
    let path = run.join("wake");
    match nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno).doing(|| format!("make the pipe {}", path.display())),
    }
    // Never without a writer: its end would wake as well.
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    fs::open(&path, flags, 0).doing(|| format!("open {}", path.display()))
}

/// Takes in every wake-up so far.
pub fn drain(mut fifo: &File) -> Result<()> {
    let mut bytes = [0; 64];
    loop {
        match fifo.read(&mut bytes) {
            Ok(read) if read == bytes.len() => {}
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                return Err(error).doing(|| "read what woke the monitor");
            }
            _ => return Ok(()),
        }
    }
}

/// Wakes the monitor of the pod whose run directory is `run`, and returns the pipe: poll(2) reports an
/// error on it once the monitor listens no more. `None` where none listens: that monitor is about to
/// read `pod.json` anyway, or has just ended.
pub fn wake(run: &Path) -> Result<Option<File>> {
    let path = run.join("wake");
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let mut fifo = match fs::open(&path, flags, 0) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENXIO) => return Ok(None),
        opened => opened.doing(|| format!("open {}", path.display()))?,
    };
    match fifo.write(b"!") {
        Ok(_) => Ok(Some(fifo)),
        // Full: it has not got round to the earlier ones.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Some(fifo)),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(None),
        Err(error) => Err(error).doing(|| format!("write to {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_gone_is_not_woken() {
        let dir = tempfile::tempdir().unwrap();
        assert!(wake(dir.path()).unwrap().is_none(), "it has never been there");
        let monitor = listen(dir.path()).unwrap();
        for _ in 0..70_000 {
            assert!(wake(dir.path()).unwrap().is_some(), "also when the pipe is full");
        }
        drain(&monitor).unwrap();
        drop(monitor);
        assert!(wake(dir.path()).unwrap().is_none());
    }
}
