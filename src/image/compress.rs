//! Compressed streams, recognised by their first bytes: media types and file endings lie.

use crate::error::{Error, Result};
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use std::io::{self, BufRead, Read};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// 0x184d2a50 to 0x184d2a5f, little endian.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
/// Bytes of the longest of these.
const LONGEST: u64 = 6;
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
/// Most memory of an xz dictionary, KiB: what `xz -9` makes needs 65 MiB.
const XZ_MEMORY: u32 = 128 << 10;
/// What a tool can undo that we do not know.
const FOREIGN: &[(&[u8], &str)] = &[(b"BZh", "bzip2"), (b"LZIP", "lzip")];

/// The plain stream behind `R`.
pub(super) enum Decoder<R: Read> {
    Plain(Whole<R>),
    Gzip(Box<MultiGzDecoder<Whole<R>>>),
    Zstd(Box<Zstd<Whole<R>>>),
    /// Not of the image specification, but podman and Docker take it.
    Xz(Box<XzReader<Whole<R>>>),
}

/// A stream, its first bytes looked at.
type Whole<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

impl<R: BufRead> Decoder<R> {
    pub(super) fn new(mut input: R) -> Result<Self> {
        // One read may bring less: what comes from a network or a pipe does.
        let mut start = Vec::new();
        input.by_ref().take(LONGEST).read_to_end(&mut start)?;
        if let Some((_, name)) = FOREIGN.iter().find(|(magic, _)| start.starts_with(magic)) {
            let unknown = format!("it is compressed with {name}; gzip, zstd and xz are understood");
            return Err(Error::user(unknown).hint(format!("decompress it first: {name} -d")));
        }
        let (is_gzip, is_zstd, is_xz) = (
            start.starts_with(GZIP),
            start.starts_with(ZSTD) || start.get(1..4) == Some(ZSTD_SKIPPABLE),
            start.starts_with(XZ),
        );
        let input = io::Cursor::new(start).chain(input);
        Ok(if is_gzip {
            Self::Gzip(Box::new(MultiGzDecoder::new(input)))
        } else if is_zstd {
            Self::Zstd(Box::new(Zstd { input, decoder: FrameDecoder::new(), within: false }))
        } else if is_xz {
            Self::Xz(Box::new(XzReader::new_mem_limit(input, true, XZ_MEMORY)))
        } else {
            Self::Plain(input)
        })
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
        }
    }
}

/// Every frame of a zstd stream: tools that compress in parallel write many, and put their indexes
/// into frames to be skipped. The window, and with it the memory, is bounded by the decoder's
/// default of 128 MiB.
pub(super) struct Zstd<R> {
    input: R,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: BufRead> Zstd<R> {
    /// Goes to the next frame with content; false at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.input) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut (&mut self.input).take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use ruzstd::decoding::BlockDecodingStrategy::UptoBlocks;
        loop {
            if !self.within {
                self.within = self.next_frame()?;
                if !self.within {
                    return Ok(0);
                }
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.input, UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            match self.decoder.read(buffer)? {
                0 if !buffer.is_empty() => {
                    let wanted = self.decoder.get_checksum_from_data();
                    if wanted.is_some() && wanted != self.decoder.get_calculated_checksum() {
                        return Err(io::Error::other("zstd: wrong checksum"));
                    }
                    self.within = false;
                }
                read => return Ok(read),
            }
        }
    }
}
