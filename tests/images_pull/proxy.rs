//! A proxy before a registry that cuts, stalls, damages, refuses and counts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer instead: status line, headers, body.
    Answer(&'static str, String, String),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// Nothing comes after so many bytes of the body, and the connection stays.
    Stall(usize),
    /// The byte there is another one.
    Damage(usize),
    /// Everything is sent, whatever range is asked for.
    NoRange,
    /// Unless it is so authorised, this `WWW-Authenticate`.
    Challenge { wanted: String, header: String },
    /// The body instead of what the registry has.
    Body(Vec<u8>),
}

/// For the next `times` requests whose line contains `part`.
struct Rule {
    part: String,
    times: usize,
    fault: Fault,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET /v2/…`.
    pub line: String,
    pub range: Option<String>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
}

/// Listens until it is dropped.
pub struct Proxy {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Before the registry at `upstream`.
    pub fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::downgrade(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Some(state) = shared.upgrade() else { return };
                let client = client.unwrap();
                // A client that gives up is what many cases are about.
                std::thread::spawn(move || drop(serve(client, upstream, &state)));
            }
        });
        Self { port, state }
    }

    /// Adds a fault for the next `times` requests whose first line contains `part`.
    pub fn fault(&self, part: &str, times: usize, fault: Fault) {
        self.state.lock().unwrap().rules.push(Rule { part: part.into(), times, fault });
    }

    pub fn answer(&self, part: &str, times: usize, status: &'static str, header: &str) {
        let body = r#"{"errors":[{"code":"DENIED","message":"the proxy says no"}]}"#;
        self.fault(part, times, Fault::Answer(status, header.into(), body.into()));
    }

    /// The requests so far whose line contains `part`.
    pub fn seen(&self, part: &str) -> Vec<Seen> {
        let state = self.state.lock().unwrap();
        state.seen.iter().filter(|seen| seen.line.contains(part)).cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state = Arc::default();
        // Wakes it; it then finds itself unwanted.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// The head of a message, up to its empty line; what else was read stays out.
fn head(stream: &mut impl Read) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
        // TLS is not spoken here.
        if head[0] == 0x16 {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn serve(mut client: TcpStream, upstream: u16, state: &Mutex<State>) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request = match head(&mut client) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            client.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nplain HTTP only")?;
            return client.shutdown(Shutdown::Write);
        }
        request => request?,
    };
    let line = request.lines().next().unwrap().to_owned();
    let fault = {
        let mut state = state.lock().unwrap();
        let range = header(&request, "range").map(str::to_owned);
        state.seen.push(Seen { line: line.clone(), range });
        let authorization = header(&request, "authorization").unwrap_or_default();
        let rule = state.rules.iter_mut().find(|rule| {
            let fits = match &rule.fault {
                Fault::Challenge { wanted, .. } => authorization != wanted,
                _ => true,
            };
            rule.times > 0 && line.contains(&rule.part) && fits
        });
        rule.map(|rule| {
            rule.times -= 1;
            rule.fault.clone()
        })
    };
    if let Some(host) = line.strip_prefix("CONNECT ") {
        assert!(host.contains(':'), "{line}");
        return tunnel(client, upstream);
    }
    let canned = match &fault {
        Some(Fault::Answer(status, headers, body)) => {
            Some((*status, headers.clone(), body.clone()))
        }
        Some(Fault::Challenge { header, .. }) => {
            Some(("401 Unauthorized", format!("WWW-Authenticate: {header}\r\n"), String::new()))
        }
        _ => None,
    };
    if let Some((status, headers, body)) = canned {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n");
        return client.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
    }
    relay(client, (&line, &request), upstream, fault.as_ref())
}

/// Hands the request on, and the answer back as `fault` leaves it.
fn relay(
    mut client: TcpStream,
    (line, request): (&str, &str),
    upstream: u16,
    fault: Option<&Fault>,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
    let no_range = matches!(fault, Some(Fault::NoRange));
    // What the registry learns of credentials is its own affair; those of challenges are not its.
    let drops = |line: &&str| {
        let name = line.split(':').next().unwrap().to_ascii_lowercase();
        name == "connection" || name == "authorization" || (no_range && name == "range")
    };
    let headers: Vec<&str> =
        request.lines().skip(1).filter(|line| !line.is_empty() && !drops(line)).collect();
    server.write_all(
        format!("{line}\r\n{}\r\nConnection: close\r\n\r\n", headers.join("\r\n")).as_bytes(),
    )?;
    let answer = head(&mut server)?;
    if let Some(Fault::Body(body)) = fault {
        let kept = answer.lines().filter(|line| {
            let name = line.to_ascii_lowercase();
            !line.is_empty()
                && !name.starts_with("content-length")
                && !name.starts_with("docker-content-digest")
        });
        let kept: Vec<&str> = kept.collect();
        let length = body.len();
        client.write_all(
            format!("{}\r\nContent-Length: {length}\r\n\r\n", kept.join("\r\n")).as_bytes(),
        )?;
        return client.write_all(body);
    }
    client.write_all(answer.as_bytes())?;
    let mut body = Vec::new();
    server.read_to_end(&mut body)?;
    match fault {
        Some(Fault::Cut(at)) => client.write_all(&body[..(*at).min(body.len())])?,
        Some(Fault::Stall(at)) => {
            client.write_all(&body[..(*at).min(body.len())])?;
            // Until the client has had enough.
            drop(client.read(&mut [0]));
        }
        Some(Fault::Damage(at)) => {
            let at = (*at).min(body.len() - 1);
            body[at] ^= 1;
            client.write_all(&body)?;
        }
        _ => client.write_all(&body)?,
    }
    Ok(())
}

/// What an HTTP proxy does for CONNECT: bytes both ways, wherever they were to go.
fn tunnel(mut client: TcpStream, upstream: u16) -> std::io::Result<()> {
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    join(client, upstream)
}

/// Hands everything on, both ways.
pub fn join(mut client: TcpStream, upstream: u16) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        drop(std::io::copy(&mut from_client, &mut to_server));
        drop(to_server.shutdown(Shutdown::Write));
    });
    std::io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Write)
}
