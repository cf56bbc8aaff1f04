//! One blob on its way from a registry: to a file that grows, resumed where the connection breaks,
//! and read by whoever unpacks it meanwhile.

use super::digest::{Digest, Progressive};
use super::ingest::{Ingest, Work};
use super::layers::check_digest;
use super::pull::Progress;
use super::registry::{Failure, Source};
use crate::error::{Context, Error, Result};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const BUFFER: usize = 128 * 1024;
/// Connections in a row that bring nothing before the pull fails.
const BARREN: u32 = 3;
const WAIT: Duration = Duration::from_millis(200);

/// A blob, and how much of it is there.
pub(super) struct Download {
    pub(super) digest: Digest,
    pub(super) size: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The growing file, for its readers; from the moment there is one.
    file: Option<File>,
    /// Bytes that may be read.
    written: u64,
    /// Bytes in the file.
    received: u64,
    is_over: bool,
}

/// What all downloads of a pull share.
pub(super) struct Shared<'a> {
    pub(super) source: &'a Source,
    pub(super) ingest: &'a Ingest<'a>,
    pub(super) progress: &'a (dyn Fn(Progress<'_>) + Sync),
    /// One has failed, or the unpacking: the others end.
    pub(super) stop: &'a AtomicBool,
}

impl Download {
    pub(super) fn new(digest: Digest, size: u64) -> Self {
        Self { digest, size, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Brings the blob into the store. However it ends, its readers learn of it.
    pub(super) fn run(&self, shared: &Shared<'_>) -> std::result::Result<(), Failure> {
        let done = self.fetch(shared);
        self.give_up();
        done
    }

    /// It will not come: another one has failed.
    pub(super) fn give_up(&self) {
        self.state().is_over = true;
        self.changed.notify_all();
    }

    /// Reads the blob while it comes, from its start.
    pub(super) fn follow(&self) -> Follow<'_> {
        Follow { download: self, file: None, at: 0 }
    }

    fn fetch(&self, shared: &Shared<'_>) -> std::result::Result<(), Failure> {
        let ingest = shared.ingest;
        // A damaged part of an earlier pull is worth one fresh start.
        for _ in 0..2 {
            if let Some(place) = ingest.blob(&self.digest)? {
                return Ok(self.is_there(&place)?);
            }
            let Some(work) = ingest.claim_blob(&self.digest)? else { continue };
            let was_there = work.file.metadata().map_err(Error::from)?.len();
            let digest = match self.receive(shared, &work) {
                Ok(digest) => digest,
                Err(failure) => {
                    if self.state().received > 0 {
                        work.leave();
                    }
                    return Err(failure);
                }
            };
            match check_digest(&self.digest, &digest) {
                Ok(()) => {
                    ingest.keep_blob(work, &self.digest)?;
                    return Ok(self.is_there(&ingest.store().blob(&self.digest))?);
                }
                Err(_) if was_there > 0 => self.state().received = 0,
                Err(damaged) => return Err(damaged.into()),
            }
        }
        let place = ingest.blob(&self.digest)?;
        Ok(self.is_there(&place.ok_or_else(|| Error::system("another pull has failed"))?)?)
    }

    /// Another process has brought it.
    fn is_there(&self, place: &Path) -> Result<()> {
        let file = File::open(place).doing(|| format!("open {}", place.display()))?;
        let mut state = self.state();
        // Readers of the growing file have the same one.
        state.file.get_or_insert(file);
        state.written = self.size;
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Completes the part in `work`; the digest of the whole.
    fn receive(&self, shared: &Shared<'_>, work: &Work) -> std::result::Result<Digest, Failure> {
        let mut hash = Progressive::default();
        self.take_up(work, &mut hash)?;
        let mut barren = 0;
        while hash.size() < self.size {
            let before = hash.size();
            let failure = match self.connect(shared, work, &mut hash) {
                Ok(()) if hash.size() == self.size => break,
                Ok(()) => Failure::Passing(Error::system("unexpected EOF")),
                Err(failure @ (Failure::Passing(_) | Failure::Unavailable(_))) => failure,
                Err(failure) => return Err(failure),
            };
            barren = if hash.size() > before { 0 } else { barren + 1 };
            if barren == BARREN || shared.stop.load(Ordering::Relaxed) {
                return Err(failure);
            }
            if barren > 0 {
                std::thread::sleep(WAIT * barren);
            }
        }
        Ok(hash.finish())
    }

    /// Digests what is there already, and opens it to readers.
    fn take_up(&self, work: &Work, hash: &mut Progressive) -> Result<()> {
        let mut file = File::open(&work.path).doing(|| format!("open {}", work.path.display()))?;
        if file.metadata()?.len() > self.size {
            work.file.set_len(0)?;
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            let size = file.read(&mut buffer)?;
            if size == 0 {
                break;
            }
            hash.update(buffer.get(..size).unwrap_or_default());
        }
        // What an earlier pull left may be damaged: it is not read before the whole is known to be
        // good.
        let mut state = self.state();
        state.received = hash.size();
        state.file = (hash.size() == 0).then_some(file);
        Ok(())
    }

    /// One connection's worth.
    fn connect(
        &self,
        shared: &Shared<'_>,
        work: &Work,
        hash: &mut Progressive,
    ) -> std::result::Result<(), Failure> {
        let (mut body, start) = shared.source.blob(&self.digest, hash.size())?;
        // A server that knows no ranges sends it all again.
        let mut skip = hash.size().checked_sub(start).ok_or_else(|| {
            Failure::Other(Error::system("the registry sends another range than it was asked for"))
        })?;
        let mut buffer = vec![0; BUFFER];
        let name = self.digest.to_string();
        while hash.size() < self.size {
            if shared.stop.load(Ordering::Relaxed) {
                return Err(Failure::Other(Error::system("given up")));
            }
            let read = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let words = super::registry::words(error);
                    return Err(Failure::Passing(Error::system(words)));
                }
            };
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(read);
            skip -= skipped as u64;
            let left = usize::try_from(self.size - hash.size()).unwrap_or(usize::MAX);
            let new = buffer.get(skipped..read).unwrap_or_default();
            let new = new.get(..left.min(new.len())).unwrap_or_default();
            (&*work.file).write_all(new).map_err(|error| Failure::Other(error.into()))?;
            hash.update(new);
            let mut state = self.state();
            state.received = hash.size();
            if state.file.is_some() {
                state.written = hash.size();
                self.changed.notify_all();
            }
            drop(state);
            (shared.progress)(Progress::Received { digest: &name, bytes: hash.size() });
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What it holds is whole at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a blob while it comes.
pub(super) struct Follow<'a> {
    download: &'a Download,
    file: Option<File>,
    at: u64,
}

impl Read for Follow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let download = self.download;
        if self.at == download.size {
            return Ok(0);
        }
        let mut state = download.state();
        while state.written <= self.at {
            if state.is_over {
                return Err(io::Error::other("the download has failed"));
            }
            state = download.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let there = state.written - self.at;
        if self.file.is_none() {
            self.file = state.file.as_ref().map(File::try_clone).transpose()?;
        }
        drop(state);
        let file = self.file.as_ref().ok_or_else(|| io::Error::other("no file"))?;
        let most = usize::try_from(there).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.at += read as u64;
        Ok(read)
    }
}
