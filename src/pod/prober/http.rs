//! The HTTP client of probes and hooks: GET over a connection of its own, redirects on the same
//! host, a deadline for all of it, and the errors in the words of Go's client, which people search
//! for. It believes nothing that the server says: what it keeps of an answer is bounded.

use super::connection::{Connection, connect, tls_words, words};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Bytes of a body that are read.
const MAX_BODY: usize = 10 << 10;
/// Bytes of status line and headers that are read.
const MAX_HEAD: usize = 64 << 10;
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;
const TIMED_OUT: &str = "(Client.Timeout exceeded while awaiting headers)";

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// In the clear or not.
    pub scheme: Scheme,
    /// Host and port as in the URL: `10.88.0.2:80`, `[fd00::2]:80`.
    pub authority: String,
    /// Path and query, beginning with a slash.
    pub path: String,
    /// Name and value, as they are sent.
    pub headers: Vec<(String, String)>,
}

/// The server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 200, 404, …
    pub status: u16,
    /// The beginning of the body.
    pub body: String,
}

/// Why a round trip failed.
enum Failure {
    /// In Go's words.
    Text(String),
    /// The deadline has passed.
    Deadline,
}

/// Gets an answer, redirected or not; an error reads as Go's.
pub fn get(request: &Request, timeout: Duration) -> Result<Response, String> {
    let deadline = Instant::now() + timeout;
    let mut request = request.clone();
    for _ in 0..MAX_REDIRECTS {
        let url = format!("{}://{}{}", request.scheme.as_str(), request.authority, request.path);
        let (response, location) = round_trip(&request, deadline).map_err(|failure| {
            let why = match failure {
                Failure::Text(text) => text,
                Failure::Deadline => format!("context deadline exceeded {TIMED_OUT}"),
            };
            format!("Get {url:?}: {why}")
        })?;
        let is_redirect = matches!(response.status, 301 | 302 | 303 | 307 | 308);
        match location.filter(|_| is_redirect).and_then(|to| follow(&request, &to)) {
            Some(next) => request = next,
            None => return Ok(response),
        }
    }
    Err(format!("Get {:?}: stopped after {MAX_REDIRECTS} redirects", request.path))
}

fn round_trip(request: &Request, deadline: Instant) -> Result<(Response, Option<String>), Failure> {
    let stream = connect(&request.authority, deadline).map_err(|text| {
        let is_late = text.ends_with("i/o timeout");
        Failure::Text(if is_late { format!("{text} {TIMED_OUT}") } else { text })
    })?;
    let mut connection = match request.scheme {
        Scheme::Http => Connection::Plain(stream),
        Scheme::Https => Connection::tls(stream, &request.authority).map_err(Failure::Text)?,
    };
    let mut head = format!("GET {} HTTP/1.1\r\n", request.path);
    for (name, value) in &request.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("Connection: close\r\n\r\n");
    let sent = connection.send(head.as_bytes(), left(deadline)?);
    sent.map_err(|error| failure("write", &connection, &request.authority, &error))?;
    let peer = &request.authority;
    let mut received = Received { connection, peer, bytes: Vec::new(), deadline };
    received.response()
}

fn left(deadline: Instant) -> Result<Duration, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Failure::Deadline) } else { Ok(left) }
}

/// What has come in so far.
struct Received<'a> {
    connection: Connection,
    peer: &'a str,
    bytes: Vec<u8>,
    deadline: Instant,
}

impl Received<'_> {
    fn response(&mut self) -> Result<(Response, Option<String>), Failure> {
        loop {
            let head = self.head()?;
            let mut lines = head.split("\r\n").flat_map(|line| line.split('\n'));
            let status = status(lines.next().unwrap_or_default()).map_err(Failure::Text)?;
            // What precedes the answer proper, such as 100 Continue.
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let headers: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
            let header = |name: &str| {
                let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.trim().to_owned())
            };
            let length = header("content-length").and_then(|length| length.parse().ok());
            let has_body = !matches!(status, 204 | 304);
            let body = if has_body { self.body(length)? } else { String::new() };
            return Ok((Response { status, body }, header("location")));
        }
    }

    /// Status line and headers, taken off what has come in.
    fn head(&mut self) -> Result<String, Failure> {
        let mut seen = 0;
        loop {
            if let Some(end) = end_of_head(&self.bytes, seen) {
                let head: Vec<u8> = self.bytes.drain(..end).collect();
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if self.bytes.len() > MAX_HEAD {
                let text = "net/http: HTTP/1.x transport connection broken: headers are too long";
                return Err(Failure::Text(text.into()));
            }
            seen = self.bytes.len().saturating_sub(3);
            if self.more()? == 0 {
                let is_empty = self.bytes.is_empty();
                return Err(Failure::Text(if is_empty { "EOF" } else { "unexpected EOF" }.into()));
            }
        }
    }

    fn body(&mut self, length: Option<usize>) -> Result<String, Failure> {
        let wanted = length.unwrap_or(MAX_BODY).min(MAX_BODY);
        while self.bytes.len() < wanted && self.more()? > 0 {}
        self.bytes.truncate(wanted);
        Ok(String::from_utf8_lossy(&self.bytes).into_owned())
    }

    /// Waits for the next bytes; 0 at the end.
    fn more(&mut self) -> Result<usize, Failure> {
        let mut buffer = [0; 4096];
        let read = self.connection.receive(&mut buffer, left(self.deadline)?);
        let read = read.map_err(|error| failure("read", &self.connection, self.peer, &error))?;
        self.bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Where the head ends: after an empty line.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let at = |mark: &[u8]| {
        let found = rest.windows(mark.len()).position(|window| window == mark);
        found.map(|at| from + at + mark.len())
    };
    [at(b"\r\n\r\n"), at(b"\n\n")].into_iter().flatten().min()
}

fn status(line: &str) -> Result<u16, String> {
    let broken = |what: &str, part: &str| {
        format!("net/http: HTTP/1.x transport connection broken: malformed {what} {part:?}")
    };
    let rest = line.strip_prefix("HTTP/").and_then(|line| line.split_once(' '));
    let (_, rest) = rest.ok_or_else(|| broken("HTTP response", line))?;
    let code = rest.trim_start().split(' ').next().unwrap_or_default();
    let number = code.parse().ok().filter(|_| code.len() == 3);
    number.ok_or_else(|| broken("HTTP status code", code))
}

/// The request that a redirect leads to; `None` where it leaves the host, or HTTP.
fn follow(request: &Request, location: &str) -> Option<Request> {
    let host = |authority: &str| {
        authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_ascii_lowercase()
    };
    let (scheme, port) = match location.split_once("://") {
        Some(("http", _)) => (Scheme::Http, 80),
        Some(("https", _)) => (Scheme::Https, 443),
        _ => (request.scheme, 0),
    };
    let (authority, path) = match location.split_once("://") {
        Some(("http" | "https", rest)) => {
            let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(split);
            let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
            let authority = if has_port { authority.into() } else { format!("{authority}:{port}") };
            (authority, path.to_owned())
        }
        Some(_) => return None,
        None if location.starts_with("//") => return None,
        None if location.starts_with('/') => (request.authority.clone(), location.to_owned()),
        None => {
            let directory = request.path.split('?').next().unwrap_or_default();
            let directory = directory.rsplit_once('/').map_or("", |(directory, _)| directory);
            (request.authority.clone(), format!("{directory}/{location}"))
        }
    };
    if host(&authority) != host(&request.authority) {
        return None;
    }
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Some(Request { scheme, authority, path, headers: request.headers.clone() })
}

fn failure(what: &str, connection: &Connection, peer: &str, error: &std::io::Error) -> Failure {
    if let Some(words) = tls_words(error) {
        return Failure::Text(words);
    }
    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
        return Failure::Deadline;
    }
    // Once the connection is reset the socket itself has forgotten its peer.
    let local = connection.tcp().local_addr().map_or_else(|_| "?".into(), |it| it.to_string());
    Failure::Text(format!("{what} tcp {local}->{peer}: {what}: {}", words(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::{JoinHandle, spawn};

    /// A server that gives one answer per connection and returns what it was asked.
    fn serve(answers: &[&str]) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let served = spawn(move || {
            let serve = |answer: &String| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = vec![0; 4096];
                let read = stream.read(&mut asked).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&asked[..read]).into_owned()
            };
            answers.iter().map(serve).collect()
        });
        (authority, served)
    }

    fn ask(answers: &[&str]) -> (Result<Response, String>, Vec<String>, String) {
        let (authority, served) = serve(answers);
        let headers = vec![("Host".to_owned(), authority.clone())];
        let request = Request {
            scheme: Scheme::Http,
            authority: authority.clone(),
            path: "/a/b?c".into(),
            headers,
        };
        let answer = get(&request, Duration::from_secs(60));
        (answer, served.join().unwrap(), authority)
    }

    #[test]
    fn an_answer_is_read_and_bounded() {
        let (answer, asked, authority) =
            ask(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello"]);
        assert_eq!(answer, Ok(Response { status: 200, body: "he".into() }));
        let expected =
            format!("GET /a/b?c HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        assert_eq!(asked, [expected]);
        let long = format!("HTTP/1.0 500 Oh\n\n{}", "x".repeat(MAX_BODY + 1000));
        assert_eq!(ask(&[&long]).0.unwrap().body.len(), MAX_BODY);
        let continued = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(ask(&[continued]).0.unwrap().status, 204);
    }

    #[test]
    fn redirects_stay_on_the_host() {
        let relative = "HTTP/1.1 302 Found\r\nLocation: d\r\nContent-Length: 0\r\n\r\n";
        let (answer, asked, _) = ask(&[relative, "HTTP/1.1 200 OK\r\n\r\n"]);
        assert_eq!(answer.unwrap().status, 200);
        assert!(asked[1].starts_with("GET /a/d HTTP/1.1\r\n"), "{asked:?}");
        let away = "HTTP/1.1 301 Moved\r\nLocation: http://example.com/\r\n\r\n";
        assert_eq!(ask(&[away]).0.unwrap().status, 301);
        let around = "HTTP/1.1 307 Again\r\nLocation: /x\r\n\r\n";
        let answer = ask(&[around; 10]).0;
        assert_eq!(answer, Err("Get \"/x\": stopped after 10 redirects".into()));
    }

    #[test]
    fn errors_read_as_in_go() {
        let cases = [
            ("", "EOF"),
            ("HTTP/1.1 200", "unexpected EOF"),
            (
                "SSH-2.0-x\r\n\r\n",
                "net/http: HTTP/1.x transport connection broken: \
                 malformed HTTP response \"SSH-2.0-x\"",
            ),
            (
                "HTTP/1.1 20 x\r\n\r\n",
                "net/http: HTTP/1.x transport connection broken: malformed HTTP status code \"20\"",
            ),
        ];
        for (answer, expected) in cases {
            let (error, _, authority) = ask(&[answer]);
            assert_eq!(error, Err(format!("Get \"http://{authority}/a/b?c\": {expected}")));
        }
        // Nobody listens there, nor is it a port that another test could be given.
        let gone = "127.0.0.1:1".to_owned();
        let request = Request {
            scheme: Scheme::Http,
            authority: gone.clone(),
            path: "/".into(),
            headers: Vec::new(),
        };
        let refused =
            format!("Get \"http://{gone}/\": dial tcp {gone}: connect: connection refused");
        assert_eq!(get(&request, Duration::from_secs(60)), Err(refused));
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let request = Request {
            scheme: Scheme::Http,
            authority: authority.clone(),
            path: "/".into(),
            headers: Vec::new(),
        };
        let error = get(&request, Duration::from_secs(1)).unwrap_err();
        assert_eq!(
            error,
            format!("Get \"http://{authority}/\": context deadline exceeded {TIMED_OUT}")
        );
    }
    /// A server that answers once over TLS, with a certificate that nobody has signed.
    fn serve_tls(answer: &'static str) -> (String, JoinHandle<()>) {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let cert = include_bytes!("../../../tests/golden/tls/cert.pem");
        let key = include_bytes!("../../../tests/golden/tls/key.pem");
        let cert = CertificateDer::from_pem_slice(cert).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let served = spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let server = rustls::ServerConnection::new(std::sync::Arc::new(config)).unwrap();
            let mut stream = rustls::StreamOwned::new(server, stream);
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        (authority, served)
    }

    #[test]
    fn any_certificate_will_do_but_there_has_to_be_one() {
        let (authority, served) = serve_tls("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        let ask = |authority: String| {
            let (scheme, path, headers) = (Scheme::Https, "/".to_owned(), Vec::new());
            get(&Request { scheme, authority, path, headers }, Duration::from_secs(20))
        };
        assert_eq!(ask(authority), Ok(Response { status: 200, body: "hi".into() }));
        served.join().unwrap();
        let (authority, served) = serve(&["HTTP/1.1 400 Bad Request\r\n\r\n"]);
        let expected = format!(
            "Get \"https://{authority}/\": http: server gave HTTP response to HTTPS client"
        );
        assert_eq!(ask(authority), Err(expected));
        served.join().unwrap();
    }
}
