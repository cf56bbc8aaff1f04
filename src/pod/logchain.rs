//! The files of one run's log in the order in which they were written, for whoever follows it.
//!
//! The writer keeps few files; a follower that is slower than it would lose those that go meanwhile.
//! So each file is opened as soon as it is there ([`Keeper`]), and read when its turn comes: what is
//! open cannot be lost, it only stays on the disk for so long.

use super::{logread, logs};
use crate::error::{Context, Result};
use crate::sys::poll::{Watcher, poll_in};
use nix::fcntl::OFlag;
use nix::sys::inotify::AddWatchFlags;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How often a listing is repeated that the writer has overtaken.
const TRIES: usize = 64;

/// What follows after a file that is being read.
struct Chain {
    /// The live file.
    path: PathBuf,
    /// The last file known. Held open, so that no other takes its inode.
    newest: File,
    /// Opened, and not read yet.
    next: VecDeque<File>,
}

/// A chain, and the thread that opens its files in time.
pub struct Keeper {
    chain: Arc<Mutex<Chain>>,
    /// Closed to end the thread.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Keeper {
    /// Follows the log whose live file is `path` from the file `current` on.
    pub fn start(path: &Path, current: &File) -> Result<Self> {
        let newest = current.try_clone().doing(|| "keep the log open")?;
        let chain = Chain { path: path.to_owned(), newest, next: VecDeque::new() };
        let chain = Arc::new(Mutex::new(chain));
        let watcher = Watcher::new().doing(|| "watch the log")?;
        if let Some(dir) = path.parent() {
            let made = watcher.add(dir, AddWatchFlags::IN_CREATE);
            made.doing(|| format!("watch {}", dir.display()))?;
        }
        let (ended, stop) = nix::unistd::pipe2(OFlag::O_CLOEXEC).doing(|| "make a pipe")?;
        let shared = Arc::clone(&chain);
        let thread = std::thread::spawn(move || keep(&shared, &watcher, &ended));
        Ok(Self { chain, stop: Some(stop), thread: Some(thread) })
    }

    /// The file after the one that [`Keeper::start`] or this has given last, if there is one.
    pub fn next(&self) -> Result<Option<File>> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        chain.extend()?;
        Ok(chain.next.pop_front())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        // What it could not open, the reader was told by its own attempt.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn keep(chain: &Mutex<Chain>, watcher: &Watcher, ended: &OwnedFd) -> Result<()> {
    loop {
        let ready = poll_in(&[watcher.as_fd(), ended.as_fd()], None);
        if ready.doing(|| "wait for the log")?.last() == Some(&true) {
            return Ok(());
        }
        watcher.read().doing(|| "wait for the log")?;
        chain.lock().unwrap_or_else(PoisonError::into_inner).extend()?;
    }
}

impl Chain {
    /// Opens what has come since.
    fn extend(&mut self) -> Result<()> {
        let inode = |file: &File| file.metadata().map(|is| is.ino());
        let newest = inode(&self.newest).doing(|| "look at the log")?;
        for _ in 0..TRIES {
            let before = logs::rotated(&self.path)?;
            let mut files = Vec::new();
            for path in before.iter().chain([&self.path]) {
                files.extend(logread::open(path)?);
            }
            // A rotation meanwhile has given another file the live one's name.
            if logs::rotated(&self.path)? != before {
                continue;
            }
            let mut after = Vec::new();
            for file in files {
                if inode(&file).doing(|| "look at the log")? == newest {
                    after.clear();
                } else {
                    after.push(file);
                }
            }
            if let Some(last) = after.last() {
                self.newest = last.try_clone().doing(|| "keep the log open")?;
            }
            self.next.extend(after);
            return Ok(());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn every_file_comes_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let rotate = |to: &str| {
            let mut old = path.clone().into_os_string();
            old.push(format!(".{to}"));
            std::fs::rename(&path, &old).unwrap();
            PathBuf::from(old)
        };
        write("0");
        let keeper = Keeper::start(&path, &File::open(&path).unwrap()).unwrap();
        assert!(keeper.next().unwrap().is_none());
        let gone = rotate("20200101-000000");
        write("1");
        rotate("20200101-000001");
        write("2");
        let read = |file: Option<File>| {
            let mut text = String::new();
            file.unwrap().read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(read(keeper.next().unwrap()), "1");
        std::fs::remove_file(gone).unwrap();
        assert_eq!(read(keeper.next().unwrap()), "2");
        assert!(keeper.next().unwrap().is_none());
    }
}
