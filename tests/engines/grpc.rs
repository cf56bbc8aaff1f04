//! As much of gRPC, HTTP/2 and protobuf as it takes to ask a container runtime something: one call at
//! a time, small messages
//! ([gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), RFC 9113).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Of DATA and HEADERS; ACK of the others.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection.
pub struct Client {
    stream: UnixStream,
    next: u32,
}

impl Client {
    pub fn connect(socket: &Path) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut client = Self { stream, next: 1 };
        client.send(SETTINGS, 0, 0, &[]);
        client
    }

    /// The answer to a call of `method`, such as `/runtime.v1.RuntimeService/Version`; `None` if it
    /// failed: why is in the headers, which nothing here reads.
    pub fn call(&mut self, method: &str, message: &Message) -> Option<Message> {
        let id = self.next;
        self.next += 2;
        self.send(HEADERS, END_HEADERS, id, &headers(method));
        let mut body = vec![0];
        body.extend((message.0.len() as u32).to_be_bytes());
        body.extend(&message.0);
        self.send(DATA, END_STREAM, id, &body);
        let mut answer = Vec::new();
        loop {
            let (kind, flags, stream, payload) = self.receive();
            match kind {
                SETTINGS | PING if flags & END_STREAM == 0 => {
                    self.send(kind, END_STREAM, 0, if kind == PING { &payload } else { &[] });
                }
                DATA if stream == id => {
                    // The connection's window is given back, else it closes for ever.
                    if !payload.is_empty() {
                        self.send(WINDOW_UPDATE, 0, 0, &(payload.len() as u32).to_be_bytes());
                    }
                    answer.extend(payload);
                }
                GOAWAY | RST_STREAM => panic!("{method}: the connection ends: {payload:?}"),
                _ => {}
            }
            if stream == id && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                return answer.get(5..).map(|message| Message(message.to_vec()));
            }
        }
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).unwrap();
    }

    fn receive(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).unwrap();
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        (head[3], head[4], stream, payload)
    }
}

/// In HPACK, each a literal that neither side need remember.
fn headers(method: &str) -> Vec<u8> {
    let mut block = Vec::new();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "{text}: one byte of length");
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A protobuf message, built or read field by field.
#[derive(Clone, Default)]
pub struct Message(Vec<u8>);

impl Message {
    pub fn new() -> Self {
        Self::default()
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// With a number.
    pub fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    /// With a string.
    pub fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// With several strings.
    pub fn texts(self, field: u64, values: &[&str]) -> Self {
        values.iter().fold(self, |message, value| message.text(field, value))
    }

    /// With a message.
    pub fn message(self, field: u64, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }

    /// The values of all fields: numbers, and the bytes of all else.
    fn fields(&self) -> Vec<(u64, u64, &[u8])> {
        let (mut rest, mut found) = (self.0.as_slice(), Vec::new());
        while !rest.is_empty() {
            let key = read_varint(&mut rest);
            let value = read_varint(&mut rest);
            let length = match key & 7 {
                0 => 0,
                2 => value as usize,
                kind => panic!("wire type {kind}"),
            };
            let (bytes, after) = rest.split_at(length);
            found.push((key >> 3, value, bytes));
            rest = after;
        }
        found
    }

    /// A number in it; 0 where there is none, as protobuf leaves it out.
    pub fn get_number(&self, field: u64) -> u64 {
        self.fields().iter().find(|(known, ..)| *known == field).map_or(0, |(_, value, _)| *value)
    }

    /// A message in it.
    pub fn get(&self, field: u64) -> Message {
        let fields = self.fields();
        let found = fields.iter().find(|(known, ..)| *known == field);
        found.map(|(.., bytes)| Message(bytes.to_vec())).unwrap_or_default()
    }

    /// A string in it.
    pub fn get_text(&self, field: u64) -> String {
        String::from_utf8(self.get(field).0).unwrap()
    }
}

fn read_varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, after) = rest.split_first().unwrap();
        *rest = after;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}
