//! A SOCKS5 proxy (RFC 1928, RFC 1929) that leads everywhere to one registry, and to nobody but
//! `user:secret`.

use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Listens until it is dropped.
pub struct Socks {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Socks {
    /// Before the registry at `upstream`.
    pub fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let shared = Arc::downgrade(&asked);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Some(asked) = shared.upgrade() else { return };
                let client = client.unwrap();
                // A client that it refuses may be gone before it hears of that.
                std::thread::spawn(move || drop(serve(client, upstream, &asked)));
            }
        });
        Self { port, asked }
    }

    /// Who asked for what since the last time, each once.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        self.asked = Arc::default();
        // Wakes it; it then finds itself unwanted.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn serve(mut client: TcpStream, upstream: u16, asked: &Mutex<Vec<String>>) -> Result<()> {
    let note = |what: &str| {
        let mut asked = asked.lock().unwrap();
        if asked.iter().all(|other| other != what) {
            asked.push(what.to_owned());
        }
    };
    let [5, methods] = exactly(&mut client)? else { panic!("no SOCKS5") };
    let mut offered = vec![0; methods.into()];
    client.read_exact(&mut offered)?;
    assert!(offered.contains(&2), "no name and password");
    client.write_all(&[5, 2])?;
    let [1] = exactly(&mut client)? else { panic!("no RFC 1929") };
    let user = format!("{}:{}", text(&mut client)?, text(&mut client)?);
    let is_known = user == "user:secret";
    client.write_all(&[1, u8::from(!is_known)])?;
    if !is_known {
        return Ok(());
    }
    note(&user);
    let [5, 1, 0, kind] = exactly(&mut client)? else { panic!("no CONNECT") };
    let host = match kind {
        1 => std::net::Ipv4Addr::from(exactly::<4>(&mut client)?).to_string(),
        3 => text(&mut client)?,
        other => panic!("address of kind {other}"),
    };
    let port = u16::from_be_bytes(exactly(&mut client)?);
    note(&format!("{host}:{port}"));
    let status = if host == "refused.test" { 5 } else { 0 };
    client.write_all(&[5, status, 0, 1, 0, 0, 0, 0, 0, 0])?;
    if status == 0 { crate::proxy::join(client, upstream) } else { Ok(()) }
}

fn exactly<const N: usize>(client: &mut TcpStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).map(|()| bytes)
}

/// What stands after its length in one byte.
fn text(client: &mut TcpStream) -> Result<String> {
    let [length] = exactly(client)?;
    let mut text = vec![0; length.into()];
    client.read_exact(&mut text)?;
    Ok(String::from_utf8(text).unwrap())
}
