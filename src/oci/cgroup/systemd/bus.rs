//! A connection to a systemd manager over the socket it keeps for systemctl: no bus daemon needed,
//! and signals come unasked. Where that socket is not to be seen, over the system's bus.

use super::wire::{self, Call, Encoder, Message, PROLOGUE, Peer};
use crate::error::{Context, Error, Result};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long systemd may take for a job, or an answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// An open connection.
pub struct Bus {
    socket: UnixStream,
    serial: u32,
    /// Jobs that have ended, and how: the signal may come before the answer that names the job.
    ended: Vec<(String, String)>,
}

/// What systemd answers where it does not do what was asked.
#[derive(Debug)]
pub struct Refusal {
    /// `org.freedesktop.systemd1.NoSuchUnit`…
    pub name: String,
    /// Its words.
    pub text: String,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::system(format!("{} ({})", refusal.text, refusal.name))
    }
}

impl Bus {
    /// Connects as user `uid` of the host.
    pub fn connect(path: &Path, uid: u32) -> Result<Self> {
        let doing = || format!("connect to systemd at {}", path.display());
        let socket = UnixStream::connect(path)
            .doing(doing)
            .hint(|| "is systemd running? without --systemd-cgroup it is not needed")?;
        socket.set_read_timeout(Some(DEADLINE)).doing(doing)?;
        socket.set_write_timeout(Some(DEADLINE)).doing(doing)?;
        let mut bus = Self { socket, serial: 0, ended: Vec::new() };
        bus.authenticate(uid).doing(doing)?;
        Ok(bus)
    }

    /// Connects to the system's manager over its bus, where signals come to who has asked for them.
    pub fn connect_by_daemon(path: &Path, uid: u32) -> Result<Self> {
        let mut bus = Self::connect(path, uid)?;
        let nothing = |method| Call { method, signature: "", body: Encoder::default() };
        bus.call_of(Peer::Daemon, &nothing("Hello"))??;
        let mut body = Encoder::default();
        body.text("type='signal',sender='org.freedesktop.systemd1',member='JobRemoved'");
        bus.call_of(Peer::Daemon, &Call { method: "AddMatch", signature: "s", body })??;
        bus.call(&nothing("Subscribe"))??;
        Ok(bus)
    }

    /// SASL EXTERNAL: who we are is what the kernel says of the socket. The end of it is sent along
    /// and not after the answer: systemd looks at a message that it has read together with `BEGIN`
    /// only when more comes.
    fn authenticate(&mut self, uid: u32) -> Result<()> {
        let id: String = uid.to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
        self.socket.write_all(format!("\0AUTH EXTERNAL {id}\r\nBEGIN\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < 512 {
            let mut byte = [0];
            self.socket.read_exact(&mut byte)?;
            line.extend(byte);
        }
        if line.starts_with(b"OK ") {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&line).trim().to_owned();
        Err(Error::system(format!("not let in: {said}")))
    }

    /// Calls a method of the manager and waits for its answer.
    pub fn call(&mut self, call: &Call<'_>) -> Result<std::result::Result<Message, Refusal>> {
        self.call_of(Peer::Manager, call)
    }

    fn call_of(
        &mut self,
        peer: Peer,
        call: &Call<'_>,
    ) -> Result<std::result::Result<Message, Refusal>> {
        let doing = || format!("ask systemd for {}", call.method);
        self.serial += 1;
        self.socket.write_all(&call.message(peer, self.serial)).doing(doing)?;
        loop {
            let mut message = self.receive().doing(doing)?;
            if message.reply_to != self.serial {
                self.note(&message);
            } else if message.kind == wire::ERROR {
                let text = message.texts.drain(..).next().unwrap_or_default();
                return Ok(Err(Refusal { name: message.error, text }));
            } else {
                return Ok(Ok(message));
            }
        }
    }

    /// Waits until a job has ended: `done`, `failed`…
    pub fn wait(&mut self, job: &str) -> Result<String> {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some((_, result)) = self.ended.iter().find(|(ended, _)| ended == job) {
                return Ok(result.clone());
            }
            if Instant::now() >= until {
                return Err(Error::system(format!("not done after {} s", DEADLINE.as_secs())));
            }
            let message = self.receive().doing(|| "wait for systemd")?;
            self.note(&message);
        }
    }

    /// `JobRemoved(number, job, unit, result)`.
    fn note(&mut self, message: &Message) {
        if let ("JobRemoved", [job, _, result]) =
            (message.member.as_str(), message.texts.as_slice())
        {
            self.ended.push((job.clone(), result.clone()));
        }
    }

    fn receive(&mut self) -> Result<Message> {
        let mut prologue = [0; PROLOGUE];
        self.socket.read_exact(&mut prologue)?;
        let (fields, body) = wire::lengths(&prologue)?;
        let mut bytes = vec![0; fields + body];
        self.socket.read_exact(&mut bytes)?;
        let (fields, body) = bytes.split_at(fields);
        wire::decode(&prologue, fields, body)
    }
}
