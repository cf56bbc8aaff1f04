//! Host names to addresses: /etc/hosts, then the servers of /etc/resolv.conf (RFC 1035).
//!
//! A static program has no name service switch, so this is all there is: what `hosts: files dns`
//! means in nsswitch.conf.

use crate::error::{Context, Error, Result};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const PORT: u16 = 53;
const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
/// Compressed names jump backwards; more jumps than this are a loop.
const MAX_JUMPS: usize = 32;
const MAX_SERVERS: usize = 3;

/// What resolv.conf(5) says.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
    attempts: u32,
}

/// Why there is no address.
enum Failure {
    /// The name does not exist, or has no addresses.
    NoSuchHost,
    /// Nobody answered usefully.
    Other(io::Error),
}

/// The addresses of `host`, IPv4 first; an error says what was asked of whom.
pub(super) fn resolve(host: &str) -> Result<Vec<IpAddr>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Ok(vec![address]);
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let known = in_hosts(&hosts, host);
    if !known.is_empty() {
        return Ok(known);
    }
    // RFC 6761, 6.3.
    if host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let settings = settings(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let mut failure = Failure::NoSuchHost;
    for name in candidates(&settings, host) {
        match query_all(&settings, &name) {
            Ok(addresses) => return Ok(addresses),
            Err(Failure::NoSuchHost) => {}
            Err(other) => failure = other,
        }
    }
    let servers: Vec<String> = settings.servers.iter().map(SocketAddr::to_string).collect();
    let what = || format!("lookup {host} on {}", servers.join(", "));
    Err(match failure {
        Failure::NoSuchHost => Error::system("no such host").doing(what()),
        Failure::Other(error) => Error::from(error).doing(what()),
    })
}

fn in_hosts(hosts: &str, host: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) {
            found.push(address);
        }
    }
    found
}

fn settings(text: &str) -> Settings {
    let mut settings = Settings {
        servers: Vec::new(),
        search: Vec::new(),
        ndots: 1,
        timeout: Duration::from_secs(5),
        attempts: 2,
    };
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                // A link-local address may name its interface, which std does not parse.
                let address = words.next().and_then(|word| word.split('%').next()?.parse().ok());
                settings
                    .servers
                    .extend(address.map(|address: IpAddr| SocketAddr::new(address, PORT)));
            }
            Some("domain" | "search") => settings.search = words.map(str::to_owned).collect(),
            Some("options") => words.for_each(|option| set_option(&mut settings, option)),
            _ => {}
        }
    }
    settings.servers.truncate(MAX_SERVERS);
    if settings.servers.is_empty() {
        settings.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    settings
}

fn set_option(settings: &mut Settings, option: &str) {
    let Some((name, value)) = option.split_once(':') else { return };
    let Ok(value) = value.parse::<u32>() else { return };
    // The limits of resolv.conf(5).
    match name {
        "ndots" => settings.ndots = value.min(15) as usize,
        "timeout" => settings.timeout = Duration::from_secs(value.clamp(1, 30).into()),
        "attempts" => settings.attempts = value.clamp(1, 5),
        _ => {}
    }
}

/// The full names to ask for, in order.
fn candidates(settings: &Settings, host: &str) -> Vec<String> {
    if let Some(whole) = host.strip_suffix('.') {
        return vec![whole.to_owned()];
    }
    let mut names: Vec<String> =
        settings.search.iter().map(|domain| format!("{host}.{domain}")).collect();
    let dots = host.bytes().filter(|byte| *byte == b'.').count();
    let at = if dots >= settings.ndots { 0 } else { names.len() };
    names.insert(at, host.to_owned());
    names
}

/// Both kinds of addresses of a full name.
fn query_all(settings: &Settings, name: &str) -> std::result::Result<Vec<IpAddr>, Failure> {
    let mut addresses = Vec::new();
    let mut failure = Failure::NoSuchHost;
    for kind in [TYPE_A, TYPE_AAAA] {
        match query(settings, name, kind) {
            Ok(found) => addresses.extend(found),
            // A server that does not know IPv6 must not hide what it said of IPv4.
            Err(other) => failure = other,
        }
    }
    if addresses.is_empty() { Err(failure) } else { Ok(addresses) }
}

fn query(settings: &Settings, name: &str, kind: u16) -> std::result::Result<Vec<IpAddr>, Failure> {
    let id = RandomState::new().build_hasher().finish() as u16;
    let question = question(id, name, kind).ok_or(Failure::NoSuchHost)?;
    let mut failure = Failure::Other(io::ErrorKind::TimedOut.into());
    for _ in 0..settings.attempts {
        for server in &settings.servers {
            match ask(*server, &question, settings.timeout) {
                Ok(answer) => match addresses(&answer, &question) {
                    Some(answer) => return answer,
                    None => failure = Failure::Other(io::Error::other("server misbehaving")),
                },
                Err(error) => failure = Failure::Other(error),
            }
        }
    }
    Err(failure)
}

/// A recursive query for one name; `None` if it is none.
fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut message = Vec::from(id.to_be_bytes());
    // Recursion desired; one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        message.push(length);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    (message.len() <= HEADER + 255 + 4).then_some(message)
}

/// One exchange, over TCP if the answer does not fit into a datagram.
fn ask(server: SocketAddr, question: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // Connected: answers of others are not received, and a refusal is.
    socket.connect(server)?;
    socket.send(question)?;
    let end = Instant::now() + timeout;
    let mut answer = vec![0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let size = match socket.recv(&mut answer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            received => received?,
        };
        let message = answer.get(..size).unwrap_or_default();
        if !is_answer(message, question) {
            continue;
        }
        let truncated = message.get(2).is_some_and(|flags| flags & 2 != 0);
        return if truncated {
            ask_by_tcp(server, question, timeout)
        } else {
            Ok(message.to_vec())
        };
    }
}

fn ask_by_tcp(server: SocketAddr, question: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer)?;
    let is_ours = is_answer(&answer, question);
    if is_ours { Ok(answer) } else { Err(io::Error::other("an answer to another question")) }
}

/// Whether `message` is a response with our id.
fn is_answer(message: &[u8], question: &[u8]) -> bool {
    message.len() >= HEADER
        && message.get(..2) == question.get(..2)
        && message.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

/// The addresses in an answer; `None` if the server failed or the answer is broken.
fn addresses(answer: &[u8], question: &[u8]) -> Option<std::result::Result<Vec<IpAddr>, Failure>> {
    let kind = u16_at(question, question.len().checked_sub(4)?)?;
    match answer.get(3)? & 0x0f {
        0 => {}
        3 => return Some(Err(Failure::NoSuchHost)),
        _ => return None,
    }
    let mut at = HEADER;
    for _ in 0..u16_at(answer, 4)? {
        at = skip_name(answer, at)? + 4;
    }
    let mut found = Vec::new();
    // Names on the way (CNAME) are the server's business: what it gives is for our question.
    for _ in 0..u16_at(answer, 6)? {
        at = skip_name(answer, at)?;
        let (this, size) = (u16_at(answer, at)?, usize::from(u16_at(answer, at + 8)?));
        let data = answer.get(at + 10..at + 10 + size)?;
        at += 10 + size;
        if this == kind {
            found.push(match kind {
                TYPE_A => IpAddr::from(<[u8; 4]>::try_from(data).ok()?),
                _ => IpAddr::from(<[u8; 16]>::try_from(data).ok()?),
            });
        }
    }
    Some(if found.is_empty() { Err(Failure::NoSuchHost) } else { Ok(found) })
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

/// Where what follows the name at `at` begins.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..MAX_JUMPS * 4 {
        match *message.get(at)? {
            0 => return Some(at + 1),
            // The rest of the name stands elsewhere.
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
    None
}

/// Adds what was looked up to an error.
pub(super) fn lookup(host: &str) -> Result<Vec<IpAddr>> {
    resolve(host).doing(|| "dial tcp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_the_c_library_does() {
        let hosts = "# comment\n127.0.0.1 localhost\n10.0.0.7 Reg.test reg # the registry\nfe80::1 reg\nbad reg\n";
        let wanted: Vec<IpAddr> = vec!["10.0.0.7".parse().unwrap(), "fe80::1".parse().unwrap()];
        assert_eq!(in_hosts(hosts, "REG"), wanted);
        assert!(in_hosts(hosts, "registry").is_empty());
        let settings = settings(
            "nameserver 10.0.0.1\nnameserver fe80::1%eth0\nsearch a.test b.test\noptions ndots:2 timeout:99 x",
        );
        assert_eq!(settings.servers[0].to_string(), "10.0.0.1:53");
        assert_eq!(settings.servers[1].to_string(), "[fe80::1]:53");
        assert_eq!((settings.ndots, settings.timeout.as_secs()), (2, 30));
        assert_eq!(candidates(&settings, "r.x"), ["r.x.a.test", "r.x.b.test", "r.x"]);
        assert_eq!(candidates(&settings, "r.x.y")[0], "r.x.y");
        assert_eq!(candidates(&settings, "r."), ["r"]);
        assert_eq!(super::settings("").servers[0].to_string(), "127.0.0.1:53");
    }

    #[test]
    fn answers_are_taken_apart() {
        let question = question(7, "reg.test", TYPE_A).unwrap();
        let mut answer = question.clone();
        answer[2] = 0x81;
        answer[7] = 2;
        // A CNAME to somewhere, then the address.
        answer.extend(b"\xc0\x0c\x00\x05\x00\x01\0\0\0\x01\x00\x04\x01x\xc0\x10");
        answer.extend(b"\x01x\xc0\x10\x00\x01\x00\x01\0\0\0\x01\x00\x04\x0a\x00\x00\x09");
        assert!(is_answer(&answer, &question));
        let found = addresses(&answer, &question).unwrap();
        assert_eq!(found.ok().unwrap(), ["10.0.0.9".parse::<IpAddr>().unwrap()]);
        for cut in HEADER..answer.len() {
            assert!(addresses(&answer[..cut], &question).is_none(), "{cut}");
        }
        answer[3] = 3;
        assert!(matches!(addresses(&answer, &question), Some(Err(Failure::NoSuchHost))));
        answer[3] = 2;
        assert!(addresses(&answer, &question).is_none());
        for bad in ["", "a..b", &"x".repeat(64), &["abcdefgh"; 40].join(".")] {
            assert!(super::question(1, bad, TYPE_A).is_none(), "{bad}");
        }
    }
}
