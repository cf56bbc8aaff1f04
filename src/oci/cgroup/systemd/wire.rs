//! D-Bus messages as far as systemd's manager needs them
//! ([specification](https://dbus.freedesktop.org/doc/dbus-specification.html)): encoded to and
//! decoded from bytes, nothing is sent here. Little-endian only.

use crate::error::{Error, Result};

/// A property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `t`
    U64(u64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::I32(_) => "i",
            Self::U32(_) => "u",
            Self::U64(_) => "t",
            Self::Text(_) => "s",
            Self::Texts(_) => "as",
            Self::Bytes(_) => "ay",
            Self::Numbers(_) => "au",
        }
    }
}

/// A name and a value, as units take them.
pub type Property = (String, Value);

/// The bytes of a message's body, or of its header's fields: each value at a multiple of its size.
#[derive(Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    /// `u`
    pub fn number(&mut self, number: u32) -> &mut Self {
        self.align(4);
        self.0.extend(number.to_le_bytes());
        self
    }

    /// `s` and `o`
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u32);
        self.0.extend(text.bytes());
        self.0.push(0);
        self
    }

    fn signature(&mut self, signature: &str) -> &mut Self {
        self.0.push(signature.len() as u8);
        self.0.extend(signature.bytes());
        self.0.push(0);
        self
    }

    /// `b`
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.number(value.into())
    }

    /// An array whose elements are at multiples of `align`; its length does not count what is
    /// skipped to get to the first.
    fn array(&mut self, align: usize, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.number(0);
        let length_at = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        fill(self);
        let length = (self.0.len() - start) as u32;
        if let Some(place) = self.0.get_mut(length_at..length_at + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        self
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => {
                self.bool(*value);
            }
            Value::I32(value) => {
                self.number(value.cast_unsigned());
            }
            Value::U32(value) => {
                self.number(*value);
            }
            Value::U64(value) => {
                self.align(8);
                self.0.extend(value.to_le_bytes());
            }
            Value::Text(value) => {
                self.text(value);
            }
            Value::Texts(values) => {
                self.array(4, |array| {
                    for text in values {
                        array.text(text);
                    }
                });
            }
            Value::Bytes(values) => {
                self.array(1, |array| array.0.extend(values));
            }
            Value::Numbers(values) => {
                self.numbers(values);
            }
        }
    }

    /// `a(sv)`
    pub fn properties(&mut self, properties: &[Property]) -> &mut Self {
        self.array(8, |array| {
            for (name, value) in properties {
                array.align(8);
                array.text(name).signature(value.signature());
                array.value(value);
            }
        })
    }

    /// `au`
    pub fn numbers(&mut self, numbers: &[u32]) -> &mut Self {
        self.array(4, |array| {
            for number in numbers {
                array.number(*number);
            }
        })
    }

    /// An empty array of structures.
    pub fn no_structures(&mut self) -> &mut Self {
        self.array(8, |_| ())
    }
}

/// Whose methods are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// systemd's manager.
    Manager,
    /// The bus that lies between.
    Daemon,
}

impl Peer {
    /// Its object, its name on a bus, and its interface.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::Manager => [
                "/org/freedesktop/systemd1",
                "org.freedesktop.systemd1",
                "org.freedesktop.systemd1.Manager",
            ],
            Self::Daemon => {
                ["/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus"]
            }
        }
    }
}

/// A method to be called.
pub struct Call<'a> {
    /// Its name.
    pub method: &'a str,
    /// The types of its arguments.
    pub signature: &'a str,
    /// Its arguments.
    pub body: Encoder,
}

/// Codes of a header's fields.
mod field {
    pub const PATH: u8 = 1;
    pub const INTERFACE: u8 = 2;
    pub const MEMBER: u8 = 3;
    pub const ERROR_NAME: u8 = 4;
    pub const REPLY_SERIAL: u8 = 5;
    pub const DESTINATION: u8 = 6;
    pub const SIGNATURE: u8 = 8;
}

const METHOD_CALL: u8 = 1;
/// The type of an error's message.
pub const ERROR: u8 = 3;

impl Call<'_> {
    /// The whole message.
    pub fn message(&self, peer: Peer, serial: u32) -> Vec<u8> {
        let [object, name, interface] = peer.names();
        let mut message = Encoder::default();
        message.0.extend([b'l', METHOD_CALL, 0, 1]);
        message.number(self.body.0.len() as u32).number(serial);
        let texts = [
            (field::PATH, "o", object),
            (field::DESTINATION, "s", name),
            (field::INTERFACE, "s", interface),
            (field::MEMBER, "s", self.method),
        ];
        message.array(8, |fields| {
            for (code, kind, text) in texts {
                fields.align(8);
                fields.0.push(code);
                fields.signature(kind).text(text);
            }
            fields.align(8);
            fields.0.push(field::SIGNATURE);
            fields.signature("g").signature(self.signature);
        });
        message.align(8);
        message.0.extend(&self.body.0);
        message.0
    }
}

/// What is of interest in a message that was received.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// A call's return, an error, a signal.
    pub kind: u8,
    /// The call that it answers.
    pub reply_to: u32,
    /// A signal's name.
    pub member: String,
    /// An error's name.
    pub error: String,
    /// The texts and object paths at the start of its body, numbers among them left out.
    pub texts: Vec<String>,
}

/// The fixed part of a header.
pub const PROLOGUE: usize = 16;

/// Longest message that is read; systemd's are of a few hundred bytes.
const LONGEST: usize = 1 << 20;

/// How many bytes follow the prologue: the rest of the header, and the body.
pub fn lengths(prologue: &[u8; PROLOGUE]) -> Result<(usize, usize)> {
    let number = |at: usize| {
        let bytes = prologue.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default()) as usize
    };
    let (body, fields) = (number(4), number(12));
    if prologue[0] != b'l' || body > LONGEST || fields > LONGEST {
        return Err(malformed());
    }
    Ok((fields.next_multiple_of(8), body))
}

/// Decodes a message of the lengths that [`lengths`] has told.
pub fn decode(prologue: &[u8; PROLOGUE], fields: &[u8], body: &[u8]) -> Result<Message> {
    let mut message = Message { kind: prologue[1], ..Message::default() };
    let length = u32::from_le_bytes([prologue[12], prologue[13], prologue[14], prologue[15]]);
    let mut reader = Reader { bytes: fields.get(..length as usize).ok_or_else(malformed)?, at: 0 };
    let mut types = String::new();
    while reader.at < reader.bytes.len() {
        reader.align(8);
        let code = reader.byte()?;
        let kind = reader.short_text()?;
        match (code, kind.as_str()) {
            (field::REPLY_SERIAL, "u") => message.reply_to = reader.number()?,
            (field::SIGNATURE, "g") => types = reader.short_text()?,
            (field::MEMBER, "s") => message.member = reader.text()?,
            (field::ERROR_NAME, "s") => message.error = reader.text()?,
            (_, "s" | "o") => drop(reader.text()?),
            (_, "u") => drop(reader.number()?),
            (_, "g") => drop(reader.short_text()?),
            _ => return Err(malformed()),
        }
    }
    let mut reader = Reader { bytes: body, at: 0 };
    for kind in types.chars() {
        match kind {
            's' | 'o' => message.texts.push(reader.text()?),
            'u' | 'i' | 'b' => drop(reader.number()?),
            _ => break,
        }
    }
    Ok(message)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(length).ok_or_else(malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        self.take(1)?.first().copied().ok_or_else(malformed)
    }

    fn number(&mut self) -> Result<u32> {
        self.align(4);
        self.take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| malformed())
    }

    fn text(&mut self) -> Result<String> {
        let length = self.number()? as usize;
        self.terminated(length)
    }

    fn short_text(&mut self) -> Result<String> {
        let length = self.byte()?.into();
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> Result<String> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        match self.byte()? {
            0 => Ok(text),
            _ => Err(malformed()),
        }
    }
}

fn malformed() -> Error {
    Error::system("systemd has sent a message that is none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_they_must() {
        let mut body = Encoder::default();
        body.text("a").properties(&[
            ("B".into(), Value::Bool(true)),
            ("T".into(), Value::U64(7)),
            ("N".into(), Value::Numbers(vec![9])),
        ]);
        let expected: [&[u8]; 6] = [
            b"\x01\0\0\0a\0\0\0",
            // The array's length, and to its first element nothing is skipped here.
            b"\x48\0\0\0\0\0\0\0"[..4].as_ref(),
            b"\0\0\0\0\x01\0\0\0B\0\x01b\0\0\0\0\x01\0\0\0"[..20].as_ref(),
            b"\0\0\0\0",
            b"\x01\0\0\0T\0\x01t\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0",
            b"\x01\0\0\0N\0\x02au\0\0\0\x04\0\0\0\x09\0\0\0",
        ];
        let bytes = &body.0;
        assert_eq!(bytes.get(..8), Some(expected[0]));
        assert!(bytes.ends_with(expected[5]), "{bytes:?}");
        let numbers = bytes.len() - expected[5].len();
        assert_eq!(numbers % 8, 0, "structures are at multiples of 8");
        assert!(bytes[..numbers].ends_with(expected[4]), "{bytes:?}");
    }

    #[test]
    fn a_call_is_read_back() {
        let mut body = Encoder::default();
        body.text("x.scope").text("replace");
        let call = Call { method: "StopUnit", signature: "ss", body };
        let bytes = call.message(Peer::Manager, 3);
        let prologue: [u8; PROLOGUE] = bytes[..PROLOGUE].try_into().unwrap();
        let (fields, length) = lengths(&prologue).unwrap();
        assert_eq!(bytes.len(), PROLOGUE + fields + length);
        let (fields, body) = bytes[PROLOGUE..].split_at(fields);
        let message = decode(&prologue, fields, body).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (METHOD_CALL, "StopUnit"));
        assert_eq!(message.texts, ["x.scope", "replace"]);
        for cut in 1..fields.len() {
            let cut_off = decode(&prologue, &fields[..fields.len() - cut], body);
            assert!(cut_off.is_err(), "{cut}");
        }
        assert!(decode(&prologue, fields, &body[..body.len() - 1]).is_err());
    }
}
