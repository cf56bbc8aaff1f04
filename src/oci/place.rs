//! Where in a JSON text an error is: the path of the value that ends at an offset.
//!
//! serde_json tells line and column only. A decoder that keeps the path while it reads would be
//! there twice in the binary's size, once for each of oci-spec's types (docs/decisions/0015).

/// What holds the value that is being read.
enum Frame {
    Object(String),
    Array(usize),
}

/// The path, such as `mounts[0].destination`, of the value that ends at `line` and `column`, as
/// serde_json counts them. Empty for the text as a whole. `json` is well formed up to there.
pub(crate) fn path(json: &[u8], line: usize, column: usize) -> String {
    let start: usize =
        json.split_inclusive(|&b| b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let read = json.get(..start.saturating_add(column)).unwrap_or(json);
    let mut frames: Vec<Frame> = Vec::new();
    let mut bytes = read.iter().copied();
    let mut text = String::new();
    while let Some(byte) = bytes.next() {
        match (byte, frames.last_mut()) {
            (b'{', _) => frames.push(Frame::Object(String::new())),
            (b'[', _) => frames.push(Frame::Array(0)),
            (b'}' | b']', _) => drop(frames.pop()),
            (b',', Some(Frame::Array(index))) => *index += 1,
            (b'"', _) => text = string(&mut bytes),
            (b':', Some(Frame::Object(key))) => *key = std::mem::take(&mut text),
            _ => {}
        }
    }
    render(&frames)
}

/// The string up to its closing quote, escapes as they are written.
fn string(bytes: &mut impl Iterator<Item = u8>) -> String {
    let mut text = Vec::new();
    while let Some(byte) = bytes.next().filter(|&b| b != b'"') {
        text.push(byte);
        if byte == b'\\' {
            text.extend(bytes.next());
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn render(frames: &[Frame]) -> String {
    let mut path = String::new();
    for frame in frames {
        match frame {
            Frame::Object(key) if path.is_empty() || key.is_empty() => path.push_str(key),
            Frame::Object(key) => path.extend([".", key]),
            Frame::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn the_value_that_ends_there() {
        let json = "{\n \"a\": [1, {\"b,\\\"}\": \"x]\",\n\"c\": {}}],\n \"d\": [[7]]}";
        let cases = [
            ("1", 1, "a[0]"),
            ("x]\"", 3, "a[1].b,\\\"}"),
            ("\"c\": {}", 7, "a[1].c"),
            ("\"c\": {}}", 8, "a[1]"),
            ("7", 1, "d[0][0]"),
            ("]]}", 3, ""),
        ];
        for (end, length, expected) in cases {
            let offset = json.find(end).unwrap() + length;
            let line = json[..offset].matches('\n').count() + 1;
            let column = offset - json[..offset].rfind('\n').map_or(0, |newline| newline + 1);
            assert_eq!(path(json.as_bytes(), line, column), expected, "{end}");
        }
    }
}
