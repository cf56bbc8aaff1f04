//! The gRPC health check (`grpc.health.v1.Health/Check`): one call over a connection of its own, in
//! the clear, with as much of HTTP/2 (RFC 9113) as it takes. The answers are in the kubelet's words.

use super::connection::{Connection, connect, words};
use super::hpack::{self, Header};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame that a peer may send before it is told otherwise.
const MAX_FRAME: usize = 16 << 10;
/// Frames that are read for one answer, and bytes of it that are kept.
const MAX_FRAMES: usize = 1000;
const MAX_ANSWER: usize = 64 << 10;
/// The one stream.
const STREAM: u32 = 1;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
/// The names of the status codes, as Go prints them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const UNAVAILABLE: usize = 14;

/// Asks `service` at `authority`; why it is not healthy.
pub fn check(authority: &str, service: &str, timeout: Duration) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    let seconds = timeout.as_secs();
    // The kubelet's client tries again until its time is up, whatever the reason.
    let stream = connect(authority, deadline).map_err(|_| {
        let late = "context deadline exceeded";
        format!("timeout: failed to connect service {authority:?} within {seconds}s: {late}")
    })?;
    let mut call = Call {
        connection: Connection::Plain(stream),
        deadline,
        received: Vec::new(),
        headers: Vec::new(),
        block: Vec::new(),
        message: Vec::new(),
    };
    match call.run(authority, service, timeout) {
        Ok(()) => call.verdict(),
        Err(Failure::Late) => {
            Err(format!("timeout: health rpc did not complete within {seconds}s"))
        }
        Err(Failure::Broken(why)) => Err(rpc_error(UNAVAILABLE, &why)),
    }
}

enum Failure {
    Late,
    Broken(String),
}

struct Call {
    connection: Connection,
    deadline: Instant,
    /// What has come and is not a whole frame yet.
    received: Vec<u8>,
    headers: Vec<Header>,
    /// Of a header block that goes on in the next frame.
    block: Vec<u8>,
    /// The answer, with the prefix that tells its length.
    message: Vec<u8>,
}

/// A frame, without its padding.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Call {
    /// Sends the request and takes in the answer.
    fn run(&mut self, authority: &str, service: &str, timeout: Duration) -> Result<(), Failure> {
        // No table of headers, so that each block can be read alone.
        let settings = frame(4, 0, 0, &[0, 1, 0, 0, 0, 0]);
        let headers = frame(1, END_HEADERS, STREAM, &request_headers(authority, timeout));
        let data = frame(0, END_STREAM, STREAM, &request(service));
        self.send(&[PREFACE, &settings, &headers, &data].concat())?;
        for _ in 0..MAX_FRAMES {
            let frame = self.frame()?;
            if self.take(frame)? {
                return Ok(());
            }
        }
        Err(Failure::Broken("too many frames".into()))
    }

    /// True with the last frame of the answer.
    fn take(&mut self, it: Frame) -> Result<bool, Failure> {
        let is_ours = it.stream == STREAM;
        match it.kind {
            0 if is_ours => {
                self.message.extend(it.payload);
                if self.message.len() > MAX_ANSWER {
                    return Err(Failure::Broken("the answer is too long".into()));
                }
            }
            1 | 9 if is_ours => {
                self.block.extend(it.payload);
                if self.block.len() > MAX_ANSWER {
                    return Err(Failure::Broken("the headers are too long".into()));
                }
                if it.flags & END_HEADERS != 0 {
                    let block = std::mem::take(&mut self.block);
                    let headers = hpack::decode(&block);
                    self.headers.extend(
                        headers.ok_or_else(|| {
                            Failure::Broken("the headers cannot be decoded".into())
                        })?,
                    );
                }
            }
            3 if is_ours => return Err(Failure::Broken("stream terminated by RST_STREAM".into())),
            4 if it.flags & ACK == 0 => self.send(&frame(4, ACK, 0, &[]))?,
            6 if it.flags & ACK == 0 => self.send(&frame(6, ACK, 0, &it.payload))?,
            7 => return Err(Failure::Broken("the connection is draining".into())),
            _ => {}
        }
        Ok(is_ours && matches!(it.kind, 0 | 1) && it.flags & END_STREAM != 0)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let left = self.left()?;
        self.connection.send(bytes, left).map_err(|error| failure("write", &error))
    }

    fn left(&self) -> Result<Duration, Failure> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Failure::Late) } else { Ok(left) }
    }

    fn frame(&mut self) -> Result<Frame, Failure> {
        let head = self.bytes(9)?;
        let [a, b, c, kind, flags, stream @ ..] = head.as_slice() else {
            return Err(Failure::Broken("a frame without a head".into()));
        };
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if length > MAX_FRAME {
            return Err(Failure::Broken("http2: frame too large".into()));
        }
        let stream = stream.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let (kind, flags, mut payload) = (*kind, *flags, self.bytes(length)?);
        if kind <= 1 && flags & PADDED != 0 && !payload.is_empty() {
            let padding = usize::from(payload.remove(0));
            payload.truncate(payload.len().saturating_sub(padding));
        }
        if kind == 1 && flags & PRIORITY != 0 {
            payload.drain(..payload.len().min(5));
        }
        Ok(Frame { kind, flags, stream: stream & 0x7fff_ffff, payload })
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Failure> {
        let mut buffer = [0; 4096];
        while self.received.len() < count {
            let left = self.left()?;
            match self.connection.receive(&mut buffer, left) {
                Ok(0) => return Err(Failure::Broken("error reading server preface: EOF".into())),
                Ok(read) => {
                    self.received.extend_from_slice(buffer.get(..read).unwrap_or_default());
                }
                Err(error) => return Err(failure("read", &error)),
            }
        }
        Ok(self.received.drain(..count).collect())
    }

    /// What the answer says.
    fn verdict(&self) -> Result<(), String> {
        let header = |name: &str| {
            let found = self.headers.iter().rev().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        let Some(status) = header("grpc-status") else {
            let status = header(":status").unwrap_or("none");
            return Err(rpc_error(2, &format!("unexpected HTTP status code received: {status}")));
        };
        let status: usize = status.parse().unwrap_or(2);
        let message = unescaped(header("grpc-message").unwrap_or_default());
        match CODES.get(status) {
            Some(&"OK") => {}
            Some(&"Unimplemented") => {
                let what = "this server does not implement the grpc health protocol";
                return Err(format!("error: {what} (grpc.health.v1.Health): {message}"));
            }
            _ => return Err(rpc_error(status, &message)),
        }
        match serving_status(&self.message) {
            "SERVING" => Ok(()),
            other => Err(format!("service unhealthy (responded with {other:?})")),
        }
    }
}

fn rpc_error(code: usize, message: &str) -> String {
    let code = CODES.get(code).unwrap_or(&"Unknown");
    format!("error: health rpc probe failed: rpc error: code = {code} desc = {message}")
}

fn failure(what: &str, error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::Late,
        _ => Failure::Broken(format!("connection error: {what}: {}", words(error))),
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let [_, length @ ..] = length;
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// As literals that nobody is to remember.
fn request_headers(authority: &str, timeout: Duration) -> Vec<u8> {
    let timeout = format!("{}m", timeout.as_millis());
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("user-agent", "kube-probe/1.36"),
        ("te", "trailers"),
        ("grpc-timeout", &timeout),
    ];
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            // None is as long as 127 bytes.
            block.push(u8::try_from(text.len()).unwrap_or(0) & 0x7f);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// `HealthCheckRequest` with its prefix: not compressed, its length.
fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            message.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or(0));
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
    [&[0], &length[..], &message].concat()
}

/// `HealthCheckResponse.status`, the message's only field: what is not there is 0.
fn serving_status(message: &[u8]) -> &'static str {
    match message.get(5..) {
        Some([0x08, 1, ..]) => "SERVING",
        Some([0x08, 2, ..]) => "NOT_SERVING",
        Some([0x08, 3, ..]) => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

/// `%20` and its like, as `grpc-message` has them.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A server that answers with these frames once it has the request.
    fn ask(answer: Vec<Vec<u8>>, timeout: Duration) -> (Result<(), String>, Vec<u8>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).unwrap();
            asked.truncate(read);
            stream.write_all(&answer.concat()).unwrap();
            // Until the client has gone.
            stream.read_to_end(&mut Vec::new()).unwrap_or(0);
            asked
        });
        let result = check(&authority, "app", timeout);
        (result, served.join().unwrap(), authority)
    }

    fn literal(name: &str, value: &str) -> Vec<u8> {
        let length = |text: &str| text.len() as u8;
        [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
    }

    fn answered(status: &str, message: &str, body: Option<u8>) -> Vec<Vec<u8>> {
        let mut frames = vec![
            frame(4, 0, 0, &[]),
            frame(6, 0, 0, &[7; 8]),
            frame(1, END_HEADERS, STREAM, &[0x88]),
        ];
        frames.extend(body.map(|body| frame(0, 0, STREAM, &[0, 0, 0, 0, 2, 8, body])));
        let trailers = [literal("grpc-status", status), literal("grpc-message", message)].concat();
        frames.push(frame(1, END_HEADERS | END_STREAM, STREAM, &trailers));
        frames
    }

    #[test]
    fn answers_are_told_as_the_kubelet_does() {
        let patience = Duration::from_secs(20);
        let (result, asked, authority) = ask(answered("0", "", Some(1)), patience);
        assert_eq!(result, Ok(()));
        assert!(asked.starts_with(PREFACE));
        let text = String::from_utf8_lossy(&asked);
        assert!(text.contains("/grpc.health.v1.Health/Check") && text.contains(&authority));
        assert!(asked.ends_with(b"\0\0\0\0\x05\x0a\x03app"), "{asked:?}");
        let failed = "error: health rpc probe failed: rpc error: code";
        for (answer, expected) in [
            (
                answered("0", "", Some(2)),
                "service unhealthy (responded with \"NOT_SERVING\")".into(),
            ),
            (answered("0", "", None), "service unhealthy (responded with \"UNKNOWN\")".into()),
            (
                answered("12", "unknown%20service", None),
                "error: this server does not implement the grpc health protocol \
                 (grpc.health.v1.Health): unknown service"
                    .into(),
            ),
            (
                answered("5", "unknown service", None),
                format!("{failed} = NotFound desc = unknown service"),
            ),
            (
                vec![frame(7, 0, 0, &[0; 8])],
                format!("{failed} = Unavailable desc = the connection is draining"),
            ),
            (
                vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()],
                format!("{failed} = Unavailable desc = http2: frame too large"),
            ),
        ] {
            assert_eq!(ask(answer, patience).0, Err(expected));
        }
    }

    #[test]
    fn a_silent_or_absent_server_is_given_up() {
        // One that nobody accepts from, and a port that no other test can be given meanwhile: a freed
        // one may be another's listener by the time it is asked.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = silent.local_addr().unwrap().to_string();
        let result = check(&authority, "app", Duration::from_secs(1));
        let late = "timeout: health rpc did not complete within 1s";
        assert_eq!(result, Err(late.to_owned()));
        let authority = "127.0.0.1:1";
        let absent = check(authority, "", Duration::from_secs(1)).unwrap_err();
        let expected = format!("timeout: failed to connect service \"{authority}\" within 1s: ");
        assert_eq!(absent, expected + "context deadline exceeded");
    }
}
