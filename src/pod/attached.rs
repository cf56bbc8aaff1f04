//! Who is attached to a container: the monitor's side of `attach`.
//!
//! A client makes a FIFO `<output>/<container>/attach/<pid>.<stream>`, opens its reading end and
//! wakes the monitor, which from then on writes into it all that the container writes into that
//! stream; with the ending `.replay` from the beginning of the instance on. When the FIFO is full,
//! the monitor stops reading the container until the client has read and woken it again, so
//! nothing is lost and nothing piles up here. Input goes past the monitor: into the FIFO `stdin`,
//! or into the terminal, of which the monitor has the master's side (`console`, its number).

use super::logs::STREAMS;
use super::store::make_private_dir;
use crate::error::{Context, Result};
use crate::sys::{Errno, fs, socket};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The directory of the clients' FIFOs.
pub const CLIENTS: &str = "attach";
/// The FIFO of a container's input.
pub const STDIN: &str = "stdin";
/// Made by a client that has nothing more to say, of a container with `stdinOnce`.
pub const STDIN_CLOSED: &str = "stdin.closed";
/// Holds the number of the terminal's descriptor in the monitor.
pub const CONSOLE: &str = "console";
/// The socket that the runtime sends a terminal to.
pub const CONSOLE_SOCKET: &str = "console.sock";
/// The name's ending of a FIFO that wants all from the beginning on.
pub const REPLAY: &str = ".replay";

/// The clients and the input of one container.
pub struct Attached {
    dir: PathBuf,
    mirrors: Vec<Mirror>,
    /// Open for both ways, so that the container sees no end.
    stdin: Option<File>,
    has_stdin: bool,
    console: Console,
}

/// Where a container's terminal comes from.
enum Console {
    No,
    Listening(UnixListener),
    Connected(UnixListener, UnixStream),
    Open(UnixListener, File),
}

struct Mirror {
    fifo: File,
    path: PathBuf,
    /// The index in [`STREAMS`].
    stream: usize,
    /// What did not fit.
    pending: Vec<u8>,
    /// Nothing more will come.
    ending: bool,
}

impl Attached {
    /// Nobody is attached yet; the container's own input is made ready.
    pub fn open(dir: &Path, stdin: bool, tty: bool) -> Result<Self> {
        let has_stdin = stdin && !tty;
        if has_stdin {
            let path = dir.join(STDIN);
            match nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno).doing(|| format!("make {}", path.display())),
            }
        }
        let console = if tty { listen(dir)? } else { Console::No };
        let mut attached =
            Self { dir: dir.to_owned(), mirrors: Vec::new(), stdin: None, has_stdin, console };
        attached.begin()?;
        Ok(attached)
    }

    /// An instance is about to start: its input is open.
    pub fn begin(&mut self) -> Result<()> {
        if !self.has_stdin {
            return Ok(());
        }
        remove(&self.dir.join(STDIN_CLOSED))?;
        let path = self.dir.join(STDIN);
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
        self.stdin = Some(fs::open(&path, flags, 0).doing(|| format!("open {}", path.display()))?);
        Ok(())
    }

    /// Takes in who has come, and learns that a client has closed the input. `replay` gives what
    /// a stream has said so far; without an instance a client sees the end at once.
    pub fn admit(&mut self, running: bool, replay: &dyn Fn(usize) -> Vec<u8>) -> Result<()> {
        if self.stdin.is_some() && self.dir.join(STDIN_CLOSED).exists() {
            self.stdin = None;
        }
        for path in clients(&self.dir.join(CLIENTS))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let wanted = name.strip_suffix(REPLAY).unwrap_or(name);
            let stream = STREAMS.iter().position(|stream| wanted.ends_with(stream));
            let known = self.mirrors.iter().any(|mirror| mirror.path == path);
            let Some(stream) = stream.filter(|_| !known) else { continue };
            let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
            let fifo = match fs::open(&path, flags, 0) {
                Ok(fifo) => fifo,
                // Its client is gone.
                Err(Errno::ENXIO | Errno::ENOENT) => {
                    remove(&path)?;
                    continue;
                }
                Err(errno) => return Err(errno).doing(|| format!("open {}", path.display())),
            };
            let replays = running && name.ends_with(REPLAY);
            let pending = if replays { replay(stream) } else { Vec::new() };
            self.mirrors.push(Mirror { fifo, path, stream, pending, ending: !running });
        }
        self.flush();
        Ok(())
    }

    /// What the container has written into the stream.
    pub fn write(&mut self, stream: usize, bytes: &[u8]) {
        if self.mirrors.is_empty() {
            return;
        }
        for mirror in self.mirrors.iter_mut().filter(|mirror| mirror.stream == stream) {
            mirror.pending.extend_from_slice(bytes);
        }
        self.flush();
    }

    /// Whether a client has yet to take what was written before.
    pub fn is_stalled(&self, stream: usize) -> bool {
        self.mirrors.iter().any(|mirror| mirror.stream == stream && !mirror.pending.is_empty())
    }

    /// Writes what fits; clients that are gone, and those that have had all, are let go.
    pub fn flush(&mut self) {
        self.mirrors.retain_mut(|mirror| {
            let kept = mirror.flush() && !(mirror.ending && mirror.pending.is_empty());
            if !kept && let Err(error) = remove(&mirror.path) {
                // It goes with its directory, then.
                drop(error);
            }
            kept
        });
    }

    /// The instance has ended: so do its clients, once they have all of it.
    pub fn end(&mut self) {
        self.mirrors.iter_mut().for_each(|mirror| mirror.ending = true);
        self.flush();
    }

    /// What to wait for besides the container's FIFOs: clients that may go, and the terminal.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let mirrors = self.mirrors.iter().filter(|mirror| !mirror.pending.is_empty());
        let mut fds: Vec<_> = mirrors.map(|mirror| mirror.fifo.as_fd()).collect();
        match &self.console {
            Console::No => {}
            Console::Listening(listener) => fds.push(listener.as_fd()),
            Console::Connected(_, connection) => fds.push(connection.as_fd()),
            Console::Open(_, _) if self.is_stalled(0) => {}
            Console::Open(_, master) => fds.push(master.as_fd()),
        }
        fds
    }

    /// The terminal to read, if the container has one and is there; one that has hung up is none.
    pub fn console(&mut self) -> Result<Option<&File>> {
        let console = std::mem::replace(&mut self.console, Console::No);
        self.console = match console {
            Console::Listening(listener) => match listener.accept() {
                Ok((connection, _)) => {
                    connection.set_nonblocking(true).doing(|| "take a terminal")?;
                    Console::Connected(listener, connection)
                }
                Err(_) => Console::Listening(listener),
            },
            other => other,
        };
        let console = std::mem::replace(&mut self.console, Console::No);
        self.console = match console {
            Console::Connected(listener, connection) => match socket::receive_fd(&connection) {
                Ok(Some(master)) => Console::Open(listener, self.opened(master)?),
                Ok(None) => Console::Listening(listener),
                Err(_) => Console::Connected(listener, connection),
            },
            other => other,
        };
        Ok(match &self.console {
            Console::Open(_, master) => Some(master),
            _ => None,
        })
    }

    /// The terminal has hung up; the next instance brings another.
    pub fn console_gone(&mut self) -> Result<()> {
        // Before the number it holds becomes another descriptor's.
        let removed = remove(&self.dir.join(CONSOLE));
        let console = std::mem::replace(&mut self.console, Console::No);
        self.console = match console {
            Console::Open(listener, _) => Console::Listening(listener),
            other => other,
        };
        removed
    }

    fn opened(&self, master: OwnedFd) -> Result<File> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).doing(|| "take a terminal")?;
        let (path, number) = (self.dir.join(CONSOLE), master.as_raw_fd().to_string());
        fs::write_atomic(&path, number.as_bytes(), 0o600)
            .doing(|| format!("write {}", path.display()))?;
        Ok(master.into())
    }
}

impl Mirror {
    /// False once the client is gone.
    fn flush(&mut self) -> bool {
        while !self.pending.is_empty() {
            match nix::unistd::write(&self.fifo, &self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::EINTR) => {}
                Err(errno) => return errno == Errno::EAGAIN,
            }
        }
        // An idle monitor keeps no buffers.
        self.pending = Vec::new();
        true
    }
}

/// A socket for the runtime to send the terminal to.
fn listen(dir: &Path) -> Result<Console> {
    let path = dir.join(CONSOLE_SOCKET);
    make_private_dir(dir)?;
    remove(&path)?;
    remove(&dir.join(CONSOLE))?;
    let listening = || format!("listen at {}", path.display());
    let listener = UnixListener::from(socket::listen_stream(&path).doing(listening)?);
    listener.set_nonblocking(true).doing(listening)?;
    Ok(Console::Listening(listener))
}

/// The clients' FIFOs; none where nobody has ever attached.
fn clients(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.doing(|| format!("list {}", dir.display()))?,
    };
    let path = |entry: std::io::Result<std::fs::DirEntry>| entry.map(|entry| entry.path());
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(path).collect();
    paths.doing(|| format!("list {}", dir.display()))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
