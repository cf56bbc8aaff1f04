//! The members of a tar stream, in bounded memory.
//!
//! Header fields are decoded by the tar crate; walking the stream is ours, because that crate reads
//! extension records of any size into memory, splits binary attribute values at newlines, and does
//! not know the sparse files of pax. Where readers differ, this one does as Go's archive/tar, which
//! wrote most layers: links, directories and devices carry no data whatever their size says.

use super::pax::Records;
use crate::error::{Context, Error, Result};
use std::io::{self, Read};
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

const BLOCK: u64 = 512;
/// Most bytes of one extension record (long name, pax header), as in Go's reader.
const MAX_RECORD: u64 = 1 << 20;
/// Most pieces of one sparse file.
pub(super) const MAX_PIECES: usize = 1 << 20;

/// What a member makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With data.
    File,
    /// Another name of a member.
    HardLink,
    /// `link` is its content.
    Symlink,
    /// mknod(2).
    CharDevice,
    /// mknod(2).
    BlockDevice,
    /// mkdir(2).
    Directory,
    /// mkfifo(3).
    Fifo,
}

/// One member, with everything its extension records said.
#[derive(Debug)]
pub struct Member {
    /// As it was written: nothing about it is checked.
    pub path: Vec<u8>,
    /// Target of a link.
    pub(super) link: Vec<u8>,
    /// What it makes.
    pub kind: Kind,
    /// Permission bits only.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, i64),
    pub(super) device: (u32, u32),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Size of the file that it makes.
    pub size: u64,
    /// Where the data goes, as (offset, length); `None` for a plain file.
    pub pieces: Option<Vec<(u64, u64)>>,
    /// Where in the stream the data begins.
    pub(super) at: u64,
}

/// Walks the stream: [`Members::next`] for the next member, then `read` for its data.
pub struct Members<R> {
    input: R,
    skip: fn(&mut R, u64) -> io::Result<()>,
    at: u64,
    /// Bytes of the current member's data not read yet.
    data: u64,
    padding: u64,
}

/// Extension records that belong to the member after them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Records,
}

impl<R: Read> Members<R> {
    /// From the begin of an archive.
    pub fn new(input: R) -> Self {
        Self { input, skip: skip_reading, at: 0, data: 0, padding: 0 }
    }

    /// The next member, `None` at the end of the archive.
    #[expect(clippy::should_implement_trait, reason = "a member is read before the next one")]
    pub fn next(&mut self) -> Result<Option<Member>> {
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            self.set_data(data_size(&header, &extensions.pax)?);
            let pax = match header.entry_type() {
                EntryType::GNULongName => {
                    extensions.path = Some(self.text_record()?);
                    continue;
                }
                EntryType::GNULongLink => {
                    extensions.link = Some(self.text_record()?);
                    continue;
                }
                EntryType::XHeader => {
                    extensions.pax = Records::parse(&self.record()?)?;
                    continue;
                }
                // Global headers hold comments (git archive); Go's reader passes over them too.
                EntryType::XGlobalHeader => continue,
                _ => &extensions.pax,
            };
            let mut member = member(&header, pax)?;
            member.path = extensions.path.take().unwrap_or(member.path);
            member.link = extensions.link.take().unwrap_or(member.link);
            self.sparse(&header, &extensions.pax, &mut member).doing(|| name(&member.path))?;
            member.at = self.at;
            return Ok(Some(member));
        }
    }

    /// Reads what follows the archive's end, so that a digest covers the whole stream.
    pub(super) fn drain(mut self) -> Result<()> {
        io::copy(&mut self.input, &mut io::sink())?;
        Ok(())
    }

    /// What follows the archive's end.
    pub fn into_rest(self) -> R {
        self.input
    }

    fn header(&mut self) -> Result<Option<Header>> {
        (self.skip)(&mut self.input, self.data + self.padding)?;
        self.at += self.data + self.padding;
        self.set_data(0);
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let first = self.input.read(block)?;
        if first == 0 {
            return Ok(None);
        }
        let rest = block.get_mut(first..).unwrap_or_default();
        self.input.read_exact(rest).doing(|| "archive ends within a header")?;
        self.at += BLOCK;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if checksum(&header) != header.cksum().ok() {
            return Err(Error::user(format!("not a tar header at byte {}", self.at - BLOCK)));
        }
        Ok(Some(header))
    }

    fn set_data(&mut self, size: u64) {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK;
    }

    fn record(&mut self) -> Result<Vec<u8>> {
        if self.data > MAX_RECORD {
            return Err(Error::user(format!("an extension record of {} bytes", self.data)));
        }
        let mut record = Vec::new();
        self.read_to_end(&mut record)?;
        Ok(record)
    }

    /// A long name: without what follows its first NUL.
    fn text_record(&mut self) -> Result<Vec<u8>> {
        let mut text = self.record()?;
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        text.truncate(end);
        Ok(text)
    }

    fn sparse(&mut self, header: &Header, pax: &Records, member: &mut Member) -> Result<()> {
        if header.entry_type() == EntryType::GNUSparse {
            let gnu = header.as_gnu().ok_or_else(|| Error::user("sparse, but no GNU header"))?;
            member.size = gnu.real_size()?;
            member.pieces = Some(self.gnu_pieces(&gnu.sparse, gnu.is_extended())?);
        } else if member.kind == Kind::File && pax.is_sparse() {
            member.size = pax.sparse_size().ok_or_else(|| Error::user("sparse without a size"))?;
            if let Some(path) = pax.get(b"GNU.sparse.name") {
                member.path = path.to_vec();
            }
            member.pieces = Some(match pax.sparse_pieces()? {
                Some(pieces) => pieces,
                None => self.map_in_data()?,
            });
        }
        let Some(pieces) = &member.pieces else { return Ok(()) };
        let mut end = 0;
        let mut stored = 0u64;
        for (offset, length) in pieces {
            if *offset < end {
                return Err(Error::user("pieces of a sparse file overlap"));
            }
            end = offset.saturating_add(*length);
            stored = stored.saturating_add(*length);
        }
        if end > member.size || stored != self.data {
            return Err(Error::user("pieces of a sparse file do not fit its size"));
        }
        Ok(())
    }

    fn gnu_pieces(&mut self, first: &[GnuSparseHeader], more: bool) -> Result<Vec<(u64, u64)>> {
        let mut pieces = Vec::new();
        let mut add = |block: &[GnuSparseHeader]| -> Result<()> {
            for piece in block.iter().filter(|piece| !piece.is_empty()) {
                pieces.push((piece.offset()?, piece.length()?));
            }
            if pieces.len() > MAX_PIECES { Err(too_many_pieces()) } else { Ok(()) }
        };
        add(first)?;
        let mut more = more;
        while more {
            let mut extension = GnuExtSparseHeader::new();
            self.input.read_exact(extension.as_mut_bytes())?;
            self.at += BLOCK;
            add(extension.sparse())?;
            more = extension.is_extended();
        }
        Ok(pieces)
    }

    /// The map that GNU.sparse.major=1 puts before the data: decimal lines, first their number of
    /// pairs, padded to a block.
    fn map_in_data(&mut self) -> Result<Vec<(u64, u64)>> {
        let mut numbers: Vec<u64> = Vec::new();
        let mut line = Vec::new();
        loop {
            let mut block = [0; BLOCK as usize];
            self.read_exact(&mut block)?;
            for byte in block {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                numbers.push(super::pax::number(&std::mem::take(&mut line))?);
                let pairs = numbers.first().map_or(0, |pairs| *pairs);
                if pairs > MAX_PIECES as u64 {
                    return Err(too_many_pieces());
                }
                if numbers.len() as u64 == 1 + 2 * pairs {
                    let pairs = numbers.get(1..).unwrap_or_default().as_chunks::<2>().0;
                    return Ok(pairs.iter().map(|[offset, length]| (*offset, *length)).collect());
                }
            }
            if line.len() > BLOCK as usize {
                return Err(Error::user("a sparse file's map is broken"));
            }
        }
    }
}

impl<R: Read + io::Seek> Members<R> {
    /// Passes over data by seeking.
    pub(super) fn seeking(input: R) -> Self {
        Self { skip: skip_seeking, ..Self::new(input) }
    }
}

/// Reads the current member's data.
impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.data).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..most).unwrap_or_default();
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.input.read(buffer)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends early")),
            read => {
                self.data -= read as u64;
                self.at += read as u64;
                Ok(read)
            }
        }
    }
}

fn skip_reading<R: Read>(input: &mut R, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(bytes), &mut io::sink())?;
    if skipped == bytes { Ok(()) } else { Err(io::Error::other("the archive ends early")) }
}

/// Seeking past the end succeeds: reading a blob found there reports it.
fn skip_seeking<R: io::Seek>(input: &mut R, bytes: u64) -> io::Result<()> {
    let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
    input.seek_relative(bytes)
}

fn too_many_pieces() -> Error {
    Error::user(format!("a sparse file of more than {MAX_PIECES} pieces"))
}

fn name(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The sum of the header's bytes with the sum's own field taken as blanks.
fn checksum(header: &Header) -> Option<u32> {
    let bytes = header.as_bytes();
    let (before, after) = (bytes.get(..148)?, bytes.get(156..)?);
    Some(before.iter().chain(after).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32)
}

/// Bytes of data after the header; members that make no file have none.
fn data_size(header: &Header, pax: &Records) -> Result<u64> {
    let size = match header.entry_type() {
        EntryType::Link
        | EntryType::Symlink
        | EntryType::Char
        | EntryType::Block
        | EntryType::Directory
        | EntryType::Fifo => return Ok(0),
        EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader => {
            header.entry_size()?
        }
        _ => match pax.get(b"size") {
            Some(size) => super::pax::number(size)?,
            None => header.entry_size()?,
        },
    };
    if size > i64::MAX as u64 { Err(Error::user("a member larger than 2^63")) } else { Ok(size) }
}

/// A numeric field; left empty, it is 0, as Go's reader has it.
fn or_empty(field: &[u8], value: io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(0) } else { value }
}

/// Whether the type is given as a NUL, as Unix V7 had it.
fn is_v7(header: &Header) -> bool {
    header.as_old().linkflag == [0]
}

fn member(header: &Header, pax: &Records) -> Result<Member> {
    let path = pax.get(b"path").map_or_else(|| header.path_bytes().into_owned(), <[u8]>::to_vec);
    let link = match pax.get(b"linkpath") {
        Some(link) => link.to_vec(),
        None => header.link_name_bytes().unwrap_or_default().into_owned(),
    };
    let kind = match header.entry_type() {
        // Archives older than the type for directories; as Go's reader, no others.
        EntryType::Regular if is_v7(header) && path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Char => Kind::CharDevice,
        EntryType::Block => Kind::BlockDevice,
        EntryType::Directory => Kind::Directory,
        EntryType::Fifo => Kind::Fifo,
        other => {
            let letter = char::from(other.as_byte()).escape_default();
            let unknown = format!("a member of unknown type '{letter}'");
            return Err(Error::user(unknown).doing(name(&path)));
        }
    };
    let owner = |key: &[u8], field: io::Result<u64>| -> Result<u32> {
        let id = pax.get(key).map_or_else(|| field.map_err(Error::from), super::pax::number)?;
        // u32::MAX means "leave it" to chown(2).
        let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        id.ok_or_else(|| Error::user("an owner above 2^32 - 2").doing(name(&path)))
    };
    let fields = header.as_old();
    Ok(Member {
        kind,
        mode: or_empty(&fields.mode, header.mode().map(u64::from))? as u32 & 0o7777,
        uid: owner(b"uid", or_empty(&fields.uid, header.uid()))?,
        gid: owner(b"gid", or_empty(&fields.gid, header.gid()))?,
        mtime: match pax.get(b"mtime") {
            Some(time) => super::pax::time(time)?,
            // Negative times are in two's complement.
            None => (or_empty(&fields.mtime, header.mtime())?.cast_signed(), 0),
        },
        device: (
            header.device_major().ok().flatten().unwrap_or(0),
            header.device_minor().ok().flatten().unwrap_or(0),
        ),
        xattrs: pax.xattrs(),
        size: data_size(header, pax)?,
        pieces: None,
        at: 0,
        path,
        link,
    })
}
