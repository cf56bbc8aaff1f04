//! SHA-256 digests, the names of everything in the store.

use super::reference::is_hex;
use crate::error::{Error, Result};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::{self, Read, Write};

/// The digest of some content; prints as `sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Digest(String);

impl Digest {
    /// Takes `sha256:` and 64 digits, and so is safe as a file name.
    pub(super) fn parse(text: &str) -> Result<Self> {
        match text.strip_prefix("sha256:").filter(|hex| is_hex(hex, 64)) {
            Some(hex) => Ok(Self(hex.to_owned())),
            None => Err(Error::user(format!("{text:?} is not a sha256 digest"))),
        }
    }

    pub(super) fn of(content: &[u8]) -> Self {
        Self::from_hash(Sha256::new_with_prefix(content))
    }

    pub(super) fn hex(&self) -> &str {
        &self.0
    }

    fn from_hash(hash: Sha256) -> Self {
        Self(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// The names of stacked layers as the image specification defines ChainID: `diffs` lowest first.
pub(super) fn chain(diffs: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::new();
    for diff in diffs {
        chain.push(match chain.last() {
            None => diff.clone(),
            Some(below) => Digest::of(format!("{below} {diff}").as_bytes()),
        });
    }
    chain
}

/// Digests what is read through it, and copies it to `copy`.
pub(super) struct Hashing<R, W> {
    input: R,
    copy: W,
    hash: Sha256,
    size: u64,
}

impl<R: Read, W: Write> Hashing<R, W> {
    pub(super) fn new(input: R, copy: W) -> Self {
        Self { input, copy, hash: Sha256::new(), size: 0 }
    }

    /// Digest and size of what has been read.
    pub(super) fn finish(self) -> (Digest, u64) {
        (Digest::from_hash(self.hash), self.size)
    }
}

impl<R: Read, W: Write> Read for Hashing<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.input.read(buffer)?;
        let read = buffer.get(..size).unwrap_or_default();
        self.hash.update(read);
        self.copy.write_all(read)?;
        self.size += size as u64;
        Ok(size)
    }
}

/// Digests what comes in pieces.
#[derive(Default)]
pub(super) struct Progressive {
    hash: Sha256,
    size: u64,
}

impl Progressive {
    pub(super) fn update(&mut self, piece: &[u8]) {
        self.hash.update(piece);
        self.size += piece.len() as u64;
    }

    /// Bytes so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn finish(self) -> Digest {
        Digest::from_hash(self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_digests_are_taken() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(Digest::parse(empty).unwrap(), Digest::of(b""));
        for bad in ["sha256:../../../etc/passwd", &empty[7..], "sha512:00", &empty[..70]] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }
}
