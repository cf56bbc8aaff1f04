//! attach: a container's own streams, as its monitor passes them on ([`crate::pod::attached`]).

use super::running_id;
use crate::error::{Context, Error, Result};
use crate::kube::{Pod, roster};
use crate::pod::attached::{CLIENTS, CONSOLE, REPLAY, STDIN, STDIN_CLOSED};
use crate::pod::logs::STREAMS;
use crate::pod::{Config, lock, wake};
use crate::sys::clone::pidfd_getfd;
use crate::sys::poll::{poll_in, poll_out, signalfd};
use crate::sys::{Errno, fork, fs, tty};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// As much as a pipe holds.
const BUFFER: usize = 64 << 10;
/// Fewer bytes cannot have filled a pipe of 16 pages: the monitor does not wait for us.
const MAY_HAVE_BEEN_FULL: usize = 4096;

/// What of the container's streams is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Pass the caller's input on.
    pub stdin: bool,
    /// The caller's terminal becomes the container's.
    pub tty: bool,
    /// All output from the beginning of the instance on.
    pub from_start: bool,
}

/// See [`crate::pod::Engine::attach`].
pub fn attach(config: &Config, pod: &Pod, container: &str, options: &AttachOptions) -> Result<u64> {
    let run = config.paths.run.join(pod.metadata.uid.as_deref().unwrap_or_default());
    let dir = run.join("output").join(container);
    if !options.from_start {
        running_id(pod, container)?;
    }
    let tty = options.tty.then(|| Terminal::take(config, pod, &dir)).transpose()?;
    let mut streams = [0, 1].map(|index| Mirror::make(&dir, index, options.from_start));
    let [Ok(Some(stdout)), Ok(Some(stderr))] = &mut streams else {
        // Without an error the pod has just ended, and its directory with it.
        return streams.into_iter().find_map(Result::err).map_or(Ok(0), Err);
    };
    // A terminal in raw mode is given back before we go.
    let ends: &[Signal] = if tty.is_some() { &[Signal::SIGHUP, Signal::SIGTERM] } else { &[] };
    let signals = [&[Signal::SIGWINCH], ends].concat();
    let signals = signalfd(&signals).doing(|| "watch the terminal's size")?;
    // A monitor that has gone, or goes before it lets us in, opens no end of our pipes.
    let Some(monitor) = wake::wake(&run)? else { return Ok(0) };
    if options.stdin {
        pass_input_on(pod, container, &run, &dir, tty.as_ref())?;
    }
    let mut total = 0;
    while stdout.is_open || stderr.is_open {
        let mut fds = vec![signals.as_fd(), monitor.as_fd()];
        fds.extend(
            [&*stdout, &*stderr].iter().filter(|one| one.is_open).map(|one| one.fifo.as_fd()),
        );
        let ready = poll_in(&fds, None).doing(|| "wait for the container's output")?;
        let is_gone = ready.get(1) == Some(&true);
        let before = total;
        while let Ok(Some(signal)) = signals.read_signal() {
            if signal.ssi_signo != Signal::SIGWINCH as u32 {
                return Err(Error::user("hung up").hint("the container goes on: podctl attach"));
            }
            tty.iter().for_each(Terminal::resize);
        }
        for (mirror, number) in [(&mut *stdout, 1), (&mut *stderr, 2)] {
            let read = mirror.pass_on(number)?;
            total += read as u64;
            if read >= MAY_HAVE_BEEN_FULL {
                wake::wake(&run)?;
            }
        }
        if is_gone && total == before {
            break;
        }
    }
    Ok(total)
}

/// The client's end of one stream; its FIFO goes with it.
struct Mirror {
    fifo: File,
    path: PathBuf,
    is_open: bool,
}

impl Mirror {
    /// `None` if the pod's directory is not there any more.
    fn make(dir: &Path, index: usize, from_start: bool) -> Result<Option<Self>> {
        let clients = dir.join(CLIENTS);
        // Not its parents: they go with the pod.
        match nix::unistd::mkdir(&clients, Mode::S_IRWXU) {
            Err(Errno::ENOENT) => return Ok(None),
            Ok(()) | Err(Errno::EEXIST) => {}
            made => made.doing(|| format!("make the directory {}", clients.display()))?,
        }
        let stream = STREAMS.get(index).copied().unwrap_or_default();
        let ending = if from_start { REPLAY } else { "" };
        let path = clients.join(format!("{}.{stream}{ending}", std::process::id()));
        let doing = || format!("make the pipe {}", path.display());
        let made = nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)
            .and_then(|()| fs::open(&path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0));
        match made {
            Ok(fifo) => Ok(Some(Self { fifo, path, is_open: true })),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno).doing(doing),
        }
    }

    /// Writes what is there to the caller's own stream; returns how much that was.
    fn pass_on(&mut self, number: i32) -> Result<usize> {
        // Before the monitor has come this reads as an end, but is not reported as ready.
        if !self.is_open
            || poll_in(&[self.fifo.as_fd()], Some(std::time::Duration::ZERO))
                .is_ok_and(|ready| ready.first() != Some(&true))
        {
            return Ok(0);
        }
        let mut buffer = vec![0; BUFFER];
        let read = match self.fifo.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error).doing(|| "read the container's output"),
        };
        self.is_open = read > 0;
        let bytes = buffer.get(..read).unwrap_or_default();
        let written = match number {
            1 => std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush()),
            _ => std::io::stderr().write_all(bytes),
        };
        written.doing(|| "write the container's output")?;
        Ok(read)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // The monitor may have removed it already.
        drop(std::fs::remove_file(&self.path));
    }
}

/// The caller's terminal in raw mode, and the container's.
struct Terminal {
    master: OwnedFd,
    _raw: tty::RawMode,
}

impl Terminal {
    fn take(config: &Config, pod: &Pod, dir: &Path) -> Result<Self> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let number = std::fs::read_to_string(dir.join(CONSOLE)).ok();
        let number = number.and_then(|number| number.trim().parse::<i32>().ok());
        let monitor = lock::monitor_pidfd(&config.paths, uid)?;
        let (Some(number), Some(monitor)) = (number, monitor) else {
            return Err(Error::user("the container's terminal is gone")
                .hint("a terminal does not outlive its pod's monitor"));
        };
        let master = pidfd_getfd(&monitor, number).doing(|| "take the container's terminal")?;
        let own = fork::dup_above(std::io::stdin().as_fd(), 3).doing(|| "take the terminal")?;
        let raw = tty::RawMode::enter(own).doing(|| "put the terminal into raw mode")?;
        raw.pass_newlines_on().doing(|| "put the terminal into raw mode")?;
        let terminal = Self { master, _raw: raw };
        terminal.resize();
        Ok(terminal)
    }

    /// As large as the caller's; a terminal that is gone has no size.
    fn resize(&self) {
        if let Ok((rows, columns)) = tty::window_size(std::io::stdin()) {
            tty::set_window_size(&self.master, rows, columns).ok();
        }
    }
}

/// Copies the caller's input, in a thread of its own that ends with the process.
fn pass_input_on(
    pod: &Pod,
    container: &str,
    run: &Path,
    dir: &Path,
    tty: Option<&Terminal>,
) -> Result<()> {
    let to = match tty {
        Some(terminal) => fork::dup_above(terminal.master.as_fd(), 3).doing(|| "keep the input")?,
        None => {
            let path = dir.join(STDIN);
            let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
            match fs::open(&path, flags, 0) {
                Ok(fifo) => fifo.into(),
                // The container has no input, or it was closed.
                Err(Errno::ENOENT | Errno::ENXIO) => return Ok(()),
                Err(errno) => return Err(errno).doing(|| format!("open {}", path.display())),
            }
        }
    };
    let once = roster::find(pod, container).is_some_and(|(_, it)| it.stdin_once == Some(true));
    let closes = (once && tty.is_none()).then(|| (run.to_owned(), dir.join(STDIN_CLOSED)));
    let copy = move || {
        copy_input(&to);
        drop(to);
        if let Some((run, closed)) = closes {
            // Should that fail, the container waits on; nobody is left to tell.
            if File::create_new(closed).is_ok() {
                drop(wake::wake(&run));
            }
        }
    };
    std::thread::Builder::new().spawn(copy).doing(|| "start a thread for the input").map(drop)
}

/// Until the caller's input or the container's end.
fn copy_input(to: &OwnedFd) {
    let mut buffer = vec![0; BUFFER];
    let mut stdin = std::io::stdin();
    loop {
        let mut rest = match stdin.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        while !rest.is_empty() {
            match nix::unistd::write(to, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if poll_out(to.as_fd()).is_ok() => {}
                Err(_) => return,
            }
        }
    }
}
