//! The layers of one image, unpacked one on the other.
//!
//! A layer flows: one thread undoes its compression, this one digests and unpacks what comes out.

use super::compress::Decoder;
use super::digest::{Digest, Hashing, chain};
use super::ingest::Ingest;
use super::{platform, unpack};
use crate::error::{Context, Error, Result};
use oci_spec::image::{Arch, ImageConfiguration, Os};
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Bytes handed over at once, and how many of those may wait: what a slow disk holds up.
const CHUNK: usize = 128 * 1024;
const WAITING: usize = 16;

/// The layers of one image on their way into the store, lowest first.
pub(super) struct Layers<'a> {
    pub(super) ingest: &'a Ingest<'a>,
    diffs: Vec<Digest>,
    chain: Vec<Digest>,
    /// Where the layers brought in so far are.
    done: Vec<PathBuf>,
}

/// The digests of the unpacked layers, lowest first.
pub(super) fn diffs(config: &ImageConfiguration) -> Result<Vec<Digest>> {
    config.rootfs().diff_ids().iter().map(|diff| Digest::parse(diff)).collect()
}

impl<'a> Layers<'a> {
    /// For an image of that configuration, whose manifest lists that many layers.
    pub(super) fn new(
        ingest: &'a Ingest<'a>,
        config: &ImageConfiguration,
        layers: usize,
    ) -> Result<Self> {
        let (os, arch) = (config.os(), config.architecture());
        if os != &Os::default() || arch != &Arch::default() {
            return Err(platform::none(&[format!("{os}/{arch}")]));
        }
        let diffs = diffs(config)?;
        if layers != diffs.len() {
            let counts = format!("{layers} layers, {} diff_ids", diffs.len());
            return Err(Error::user(format!("manifest and configuration differ: {counts}")));
        }
        Ok(Self { ingest, chain: chain(&diffs), diffs, done: Vec::new() })
    }

    /// Whether the next layer is unpacked already; then the one after it is next.
    pub(super) fn pass(&mut self) -> Result<bool> {
        let there = self.ingest.layer(self.chain()?)?;
        Ok(there.map(|there| self.done.push(there)).is_some())
    }

    /// Unpacks the next layer, compressed or not, from `input`.
    pub(super) fn unpack(&mut self, input: impl BufRead + Send) -> Result<()> {
        let chain = self.chain()?.clone();
        let wanted = self.diffs.get(self.done.len()).ok_or_else(too_many)?;
        if let Some(work) = self.ingest.claim_layer(&chain)? {
            let plain = unpack(input, &self.done, &work.path)?;
            check_digest(wanted, &plain).doing(|| "unpacked")?;
            self.ingest.keep_layer(work, &chain)?;
        }
        self.done.push(self.ingest.store().layer(&chain));
        Ok(())
    }

    fn chain(&self) -> Result<&Digest> {
        self.chain.get(self.done.len()).ok_or_else(too_many)
    }
}

fn too_many() -> Error {
    Error::user("too many layers")
}

pub(super) fn check_digest(wanted: &Digest, actual: &Digest) -> Result<()> {
    if actual == wanted {
        return Ok(());
    }
    Err(Error::user(format!("content of {wanted} is damaged: its digest is {actual}")))
}

/// Unpacks a layer and returns the digest of its plain form.
fn unpack(input: impl BufRead + Send, lower: &[PathBuf], target: &Path) -> Result<Digest> {
    std::thread::scope(|scope| {
        let (full, chunks) = sync_channel(WAITING);
        let (used, empty) = channel();
        scope.spawn(move || decode(input, &full, &empty));
        let chunks = Chunks { full: chunks, used, current: Vec::new(), at: 0 };
        let mut plain = Hashing::new(chunks, io::sink());
        unpack::layer(plain.by_ref(), lower, target)?;
        // Dropping the channels ends the other thread, whatever it is at.
        Ok(plain.finish().0)
    })
}

/// Hands the plain form of `input` over in chunks, until its end, an error or the receiver's end.
fn decode(input: impl BufRead, full: &SyncSender<io::Result<Vec<u8>>>, empty: &Receiver<Vec<u8>>) {
    let mut decoder = match Decoder::new(input) {
        Ok(decoder) => decoder,
        Err(error) => return drop(full.send(Err(io::Error::other(error)))),
    };
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let filled = fill(&mut decoder, &mut chunk);
        let is_last = !matches!(filled, Ok(size) if size > 0);
        let chunk = filled.map(|size| {
            chunk.truncate(size);
            chunk
        });
        if full.send(chunk).is_err() || is_last {
            return;
        }
    }
}

/// Reads until `buffer` is full or the input at its end.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Reads what [`decode`] hands over.
struct Chunks {
    full: Receiver<io::Result<Vec<u8>>>,
    used: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            let next = self.full.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
            // At the end there is nobody to take it.
            drop(self.used.send(std::mem::replace(&mut self.current, next)));
            self.at = 0;
        }
        let rest = self.current.get(self.at..).unwrap_or_default();
        let size = rest.len().min(buffer.len());
        let (rest, buffer) = (rest.get(..size), buffer.get_mut(..size));
        if let (Some(rest), Some(buffer)) = (rest, buffer) {
            buffer.copy_from_slice(rest);
        }
        self.at += size;
        Ok(size)
    }
}
