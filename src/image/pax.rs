//! Extension records of pax (POSIX.1-2001): `<length> <key>=<value>\n`, values of any bytes.

use super::members::MAX_PIECES;
use crate::error::{Error, Result};

const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records of one extended header, in order.
#[derive(Default)]
pub(super) struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    pub(super) fn parse(mut text: &[u8]) -> Result<Self> {
        let mut records = Vec::new();
        while !text.is_empty() {
            let (record, rest) = split_record(text)
                .ok_or_else(|| Error::user("a pax record whose length is wrong"))?;
            records.push(record);
            text = rest;
        }
        Ok(Self(records))
    }

    /// The last record wins; an empty one takes those before it back.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let last = self.0.iter().rev().find(|(name, _)| name == key);
        last.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    }

    pub(super) fn xattrs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let xattr = |(name, value): &(Vec<u8>, Vec<u8>)| {
            name.strip_prefix(XATTR).map(|name| (name.to_vec(), value.clone()))
        };
        self.0.iter().filter(|(_, value)| !value.is_empty()).filter_map(xattr).collect()
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.0.iter().any(|(name, _)| name.starts_with(b"GNU.sparse."))
    }

    pub(super) fn sparse_size(&self) -> Option<u64> {
        let size = self.get(b"GNU.sparse.realsize").or_else(|| self.get(b"GNU.sparse.size"))?;
        number(size).ok()
    }

    /// The pieces of versions 0.0 and 0.1; `None` when the map stands before the data (1.0).
    pub(super) fn sparse_pieces(&self) -> Result<Option<Vec<(u64, u64)>>> {
        if self.get(b"GNU.sparse.major").is_some_and(|major| major != b"0") {
            return Ok(None);
        }
        let numbers: Vec<u64> = match self.get(b"GNU.sparse.map") {
            Some(map) => map.split(|byte| *byte == b',').map(number).collect::<Result<_>>()?,
            None => {
                let piece =
                    |name: &[u8]| name == b"GNU.sparse.offset" || name == b"GNU.sparse.numbytes";
                let pieces = self.0.iter().filter(|(name, _)| piece(name));
                pieces.map(|(_, value)| number(value)).collect::<Result<_>>()?
            }
        };
        let (pairs, rest) = numbers.as_chunks::<2>();
        if !rest.is_empty() || pairs.len() > MAX_PIECES {
            return Err(Error::user("a sparse file's map is broken"));
        }
        Ok(Some(pairs.iter().map(|[offset, length]| (*offset, *length)).collect()))
    }
}

/// The record at the start of `text`, and what follows it.
#[expect(clippy::type_complexity, reason = "key, value and rest, nothing to name")]
fn split_record(text: &[u8]) -> Option<((Vec<u8>, Vec<u8>), &[u8])> {
    let blank = text.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(text.get(..blank)?).ok()?).ok()?;
    let (record, rest) = text.split_at_checked(length)?;
    let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = record.split_at_checked(equals)?;
    Some(((key.to_vec(), value.get(1..)?.to_vec()), rest))
}

/// A decimal number and nothing else.
pub(super) fn number(text: &[u8]) -> Result<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = str::from_utf8(text).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Error::user("not a decimal number"))
}

/// `-1.5` is one and a half seconds before the epoch: seconds and nanoseconds.
pub(super) fn time(text: &[u8]) -> Result<(i64, i64)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let (whole, fraction) = text.split_at(dot);
    let seconds = i64::try_from(number(whole)?).map_err(|_| Error::user("a time out of range"))?;
    let digits = fraction.iter().skip(1).take_while(|byte| byte.is_ascii_digit());
    let nanoseconds = digits
        .chain(std::iter::repeat(&b'0'))
        .take(9)
        .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    Ok(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_any_byte() {
        let records = Records::parse(b"26 SCHILY.xattr.user.a=\n=\n12 path=a/b\n12 path=c/d\n");
        let records = records.unwrap();
        assert_eq!(records.get(b"path"), Some(b"c/d".as_slice()));
        assert_eq!(records.xattrs(), [(b"user.a".to_vec(), b"\n=".to_vec())]);
        let records = Records::parse(b"12 path=a/b\n8 path=\n19 SCHILY.xattr.x=\n").unwrap();
        assert_eq!((records.get(b"path"), records.xattrs().len()), (None, 0));
        for broken in
            ["12 path=a/b", "13 path=a/b\n", "x path=a\n", "5 path", "99 a=b\n", "-1 a=b\n"]
        {
            assert!(Records::parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn times_may_be_negative_and_fractional() {
        for (text, wanted) in [
            ("12", (12, 0)),
            ("12.5", (12, 500_000_000)),
            ("12.0000000019", (12, 1)),
            ("-1", (-1, 0)),
            ("-1.5", (-2, 500_000_000)),
        ] {
            assert_eq!(time(text.as_bytes()).unwrap(), wanted, "{text}");
        }
        assert!(time(b"99999999999999999999").is_err());
    }
}
