//! Reading the headers of HTTP/2 (HPACK, RFC 7541), of a peer that was told to keep no table of its
//! own: `SETTINGS_HEADER_TABLE_SIZE` 0.

/// Entries of the static table, whose names only `:status` is of interest of.
const STATIC: usize = 61;
/// The static entries with `:status`, and their values.
const STATUSES: [(usize, &str); 7] =
    [(8, "200"), (9, "204"), (10, "206"), (11, "304"), (12, "400"), (13, "404"), (14, "500")];
/// Lengths in bits of the codes of the characters from space to tilde. The code is canonical:
/// shorter codes first, in the order of the characters, after NUL's of 13 bits. Others than these
/// are not in headers that matter here.
const LENGTHS: [u8; 95] = [
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // to /
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // to ?
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, // to O
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, // to _
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, // to o
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, // to ~
];

/// Name and value; the name is empty where the static table has one of no interest.
pub type Header = (String, String);

/// The headers of a block; `None` for what is no HPACK.
pub fn decode(mut block: &[u8]) -> Option<Vec<Header>> {
    let mut headers = Vec::new();
    while let Some(first) = block.first().copied() {
        if first & 0x80 != 0 {
            let index = integer(&mut block, 7)?;
            headers.push(indexed(index)?);
        } else if first & 0xe0 == 0x20 {
            // A new size of the table there is none of.
            integer(&mut block, 5)?;
        } else {
            let bits = if first & 0x40 != 0 { 6 } else { 4 };
            let name = match integer(&mut block, bits)? {
                0 => string(&mut block)?,
                index => indexed(index)?.0,
            };
            headers.push((name, string(&mut block)?));
        }
    }
    Some(headers)
}

fn indexed(index: usize) -> Option<Header> {
    let status = STATUSES.iter().find(|(known, _)| *known == index);
    match status {
        Some((_, value)) => Some((":status".into(), (*value).to_owned())),
        None => (1..=STATIC).contains(&index).then(Header::default),
    }
}

/// An integer of which `bits` are in the first byte.
fn integer(block: &mut &[u8], bits: u32) -> Option<usize> {
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(take(block)?) & most;
    if value < most {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = usize::from(take(block)?);
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take(block: &mut &[u8]) -> Option<u8> {
    let (first, rest) = block.split_first()?;
    *block = rest;
    Some(*first)
}

fn string(block: &mut &[u8]) -> Option<String> {
    let is_coded = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    if is_coded { coded(text) } else { Some(String::from_utf8_lossy(text).into_owned()) }
}

/// Huffman's code, appendix B.
fn coded(text: &[u8]) -> Option<String> {
    let codes = codes();
    let (mut found, mut code, mut length) = (String::new(), 0_u32, 0_u8);
    for byte in text {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            length += 1;
            if let Some((_, _, symbol)) = codes.iter().find(|it| (it.0, it.1) == (length, code)) {
                found.push(*symbol);
                (code, length) = (0, 0);
            } else if length > 30 {
                return None;
            }
        }
    }
    // It ends with ones, fewer than a byte's.
    (length < 8 && code + 1 == 1 << length).then_some(found)
}

/// Length, code and character.
fn codes() -> Vec<(u8, u32, char)> {
    let characters = (' '..='~').zip(LENGTHS).map(|(character, length)| (length, character));
    let mut all: Vec<(u8, char)> = characters.chain([(13, '\0')]).collect();
    all.sort_unstable();
    let (mut code, mut before) = (0, 0);
    let mut codes = Vec::with_capacity(all.len());
    for (length, character) in all {
        code <<= length - before;
        codes.push((length, code, character));
        code += 1;
        before = length;
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> Header {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn blocks_of_the_rfc_are_read() {
        // C.2.1, C.2.4 and the start of C.6.1 (RFC 7541), and one that sets the table's size.
        let plain = b"\x40\x0acustom-key\x0dcustom-header";
        assert_eq!(decode(plain), Some(vec![header("custom-key", "custom-header")]));
        assert_eq!(decode(b"\x20\x88"), Some(vec![header(":status", "200")]));
        let coded = [0x48, 0x82, 0x64, 0x02, 0x58, 0x85, 0xae, 0xc3, 0x77, 0x1a, 0x4b];
        assert_eq!(decode(&coded), Some(vec![header(":status", "302"), header("", "private")]));
        let date = [0x61, 0x96, 0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05];
        let rest = [0x95, 0x04, 0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff];
        let whole = [&date[..], &rest].concat();
        assert_eq!(decode(&whole), Some(vec![header("", "Mon, 21 Oct 2013 20:13:21 GMT")]));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for bad in
            [&b"\xff"[..], b"\x00\x05ab", b"\xbf\xff\xff\xff\xff", b"\xc0", b"\x00\x81\x00\x00"]
        {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
