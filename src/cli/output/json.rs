//! JSON as Go's encoder indents it for kubectl: four spaces, sorted keys, and `<`, `>`, `&`
//! escaped.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// `value`, with a newline at the end.
pub fn document(value: &impl Serialize) -> String {
    indented(value, b"    ") + "\n"
}

/// As [`document`], with another indentation and no newline at its end.
pub fn indented(value: &impl Serialize, indent: &'static [u8]) -> String {
    let mut bytes = Vec::with_capacity(4096);
    let formatter = Go(PrettyFormatter::with_indent(indent));
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    // Neither a Value nor a Vec can fail; what was written is whole.
    let written = value.serialize(&mut serializer);
    debug_assert!(written.is_ok());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `value` on one line, without spaces, as Go's `json.Marshal` writes it.
pub fn line(value: &Value) -> String {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, Compact));
    debug_assert!(written.is_ok());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `value` as Go's `%#v` prints what its decoder makes of JSON.
pub fn go_syntax(value: &Value) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", joined(items.iter().map(go_syntax).collect()))
        }
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{key:?}:{}", go_syntax(value)));
            format!("map[string]interface {{}}{{{}}}", joined(pairs.collect()))
        }
        plain => plain.to_string(),
    }
}

/// The compact printer, except for text.
struct Compact;

impl Formatter for Compact {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        escaped(writer, fragment)
    }
}

/// Text with what could end a script escaped.
fn escaped<W: Write + ?Sized>(writer: &mut W, fragment: &str) -> io::Result<()> {
    let mut rest = fragment;
    while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        let (before, from) = rest.split_at(at);
        let escaped = from.chars().next().unwrap_or_default();
        write!(writer, "{before}\\u{:04x}", u32::from(escaped))?;
        rest = from.get(escaped.len_utf8()..).unwrap_or_default();
    }
    writer.write_all(rest.as_bytes())
}

/// The pretty printer, except for text.
struct Go(PrettyFormatter<'static>);

impl Formatter for Go {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        escaped(writer, fragment)
    }

    fn begin_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn indents_and_escapes_as_go() {
        let value = json!({"b": [1, {}], "a": "<&>\u{2028}é\n\"", "c": [], "d": null});
        let text = "{\n    \"a\": \"\\u003c\\u0026\\u003e\\u2028é\\n\\\"\",\n    \"b\": [\n        \
                    1,\n        {}\n    ],\n    \"c\": [],\n    \"d\": null\n}\n";
        assert_eq!(document(&value), text);
    }
}
