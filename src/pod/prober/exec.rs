//! A command run in a container, its output kept in bounds and its time in limits.

use super::Target;
use crate::error::{Context, Result};
use crate::oci::ops::{self, ExecOptions};
use crate::sys::{clone, fork, fs, poll};
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of each stream that are kept.
const MAX_OUTPUT: usize = 10 << 10;
/// How long output is awaited that a process has left behind in others' hands.
const DRAIN: Duration = Duration::from_millis(100);

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// 128+N for signal N; `None` if it ran out of time and was killed.
    pub status: Option<i32>,
    /// The beginning of what it wrote.
    pub stdout: String,
    /// The beginning of what it wrote.
    pub stderr: String,
}

/// Runs `command` in the target's container until it ends or `deadline` passes. This process gives
/// up its own standard streams for it.
pub fn run(target: &Target<'_>, command: &[String], deadline: Option<Instant>) -> Result<Ended> {
    let mut process = target.process.clone();
    process.set_args(Some(command.to_vec())).set_terminal(Some(false));
    let (mut stdout, mut stderr) = (Stream::take(1)?, Stream::take(2)?);
    let null = fs::open(Path::new("/dev/null"), OFlag::O_RDWR, 0).doing(|| "open /dev/null")?;
    fork::dup_to(null.as_fd(), 0).doing(|| "give the command its stdin")?;
    let options = ExecOptions { process, ..Default::default() };
    let created = ops::exec_spawn(target.oci_root, target.id, &options)?;
    // Only the command holds the writing ends now: their closing can be seen.
    for number in [1, 2] {
        fork::dup_to(null.as_fd(), number).doing(|| "take the command's streams back")?;
    }
    let status = wait(&created.pidfd, [&mut stdout, &mut stderr], deadline)?;
    Ok(Ended { status, stdout: stdout.text(), stderr: stderr.text() })
}

fn wait(
    pidfd: &OwnedFd,
    mut streams: [&mut Stream; 2],
    deadline: Option<Instant>,
) -> Result<Option<i32>> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            clone::pidfd_send_signal(pidfd, 9).doing(|| "kill the command")?;
            clone::wait(pidfd).doing(|| "wait for the killed command")?;
            return Ok(None);
        }
        let mut fds: Vec<_> =
            streams.iter().filter(|stream| stream.is_open).map(|it| it.pipe.as_fd()).collect();
        fds.push(pidfd.as_fd());
        let ready = poll::poll_in(&fds, left).doing(|| "wait for the command")?;
        for stream in &mut streams {
            stream.read();
        }
        if ready.last() == Some(&true) {
            let status = clone::wait(pidfd).doing(|| "wait for the command")?;
            drain(&mut streams)?;
            return Ok(Some(status));
        }
    }
}

/// What the command has written may still be in the pipes; what it has started may hold them open.
fn drain(streams: &mut [&mut Stream; 2]) -> Result<()> {
    let end = Instant::now() + DRAIN;
    loop {
        let open: Vec<_> =
            streams.iter().filter(|stream| stream.is_open).map(|it| it.pipe.as_fd()).collect();
        let left = end.saturating_duration_since(Instant::now());
        if open.is_empty() || left.is_zero() {
            return Ok(());
        }
        poll::poll_in(&open, Some(left)).doing(|| "wait for the command's output")?;
        for stream in streams.iter_mut() {
            stream.read();
        }
    }
}

/// The reading end of one of the command's streams.
struct Stream {
    pipe: File,
    kept: Vec<u8>,
    is_open: bool,
}

impl Stream {
    /// Makes the stream `number` of this process, and so of the command, a pipe.
    fn take(number: i32) -> Result<Self> {
        let what = || format!("make a pipe for the command's stream {number}");
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).doing(what)?;
        // Clear of the standard streams, should this process have come without them.
        let (read, write) = (
            fork::dup_above(read.as_fd(), 3).doing(what)?,
            fork::dup_above(write.as_fd(), 3).doing(what)?,
        );
        fork::dup_to(write.as_fd(), number).doing(what)?;
        nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).doing(what)?;
        Ok(Self { pipe: read.into(), kept: Vec::new(), is_open: true })
    }

    /// Takes what is there; beyond the bound it is thrown away, so that the command never blocks.
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        // Bounded, so that an endless writer cannot keep the deadline from being looked at.
        for _ in 0..16 {
            match self.pipe.read(&mut buffer) {
                Ok(0) => self.is_open = false,
                Ok(read) => {
                    let room = MAX_OUTPUT.saturating_sub(self.kept.len()).min(read);
                    self.kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.is_open = false,
            }
            return;
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}
