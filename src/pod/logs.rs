//! Container logs as the CRI writes them
//! ([kubelet-cri-logging](https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md)):
//! `<logs>/<namespace>_<pod>_<uid>/<container>/<attempt>.log`, each line
//! `2016-10-06T00:17:09.669794202Z stdout F message`.
//!
//! A container writes into two FIFOs that outlive both it and its monitor; [`Capture`] is the
//! monitor's end of them. What readers see is in [`super::logread`].

use super::attached::Attached;
use super::store::make_private_dir;
use crate::error::{Context, Result};
use crate::sys::{Errno, fs};
use k8s_openapi::jiff::{Timestamp, tz::TimeZone};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Longer lines are split; containerd's and CRI-O's limit.
const MAX_LINE: usize = 16 << 10;
/// A file that has grown beyond is rotated (kubelet's containerLogMaxSize).
const MAX_SIZE: u64 = 10 << 20;
/// Files kept per attempt, the live one included (containerLogMaxFiles).
const MAX_FILES: usize = 5;
/// Reads per wake-up, so that one loud container does not starve the others.
const READS_PER_WAKE: usize = 64;
/// A pipe that nobody fills is empty after so many rounds of such reads: it holds a megabyte
/// (`/proc/sys/fs/pipe-max-size`), unless root of the host wants more.
const ENDING_ROUNDS: usize = 2;

/// The two streams, in the order of their descriptors.
pub const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// Where a pod's logs are.
pub fn pod_dir(logs: &Path, namespace: &str, pod: &str, uid: &str) -> PathBuf {
    logs.join(format!("{namespace}_{pod}_{uid}"))
}

/// The log of one run of a container.
pub fn file(pod_dir: &Path, container: &str, attempt: i32) -> PathBuf {
    pod_dir.join(container).join(format!("{attempt}.log"))
}

/// Makes a container's FIFOs in `dir`, if they are not there.
pub fn make_fifos(dir: &Path) -> Result<()> {
    make_private_dir(dir)?;
    for stream in STREAMS {
        let path = dir.join(stream);
        match nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).doing(|| format!("make the pipe {}", path.display())),
        }
    }
    Ok(())
}

/// Opens one of a container's FIFOs. With `O_RDWR` it never blocks and never ends.
pub fn open_fifo(dir: &Path, stream: &str, flags: OFlag) -> Result<File> {
    let path = dir.join(stream);
    fs::open(&path, flags | OFlag::O_NOFOLLOW, 0).doing(|| format!("open {}", path.display()))
}

/// The monitor's end of one container's output.
pub struct Capture {
    streams: [Stream; 2],
    log: Option<Log>,
    attached: Attached,
}

struct Stream {
    fifo: File,
    /// The start of a line whose end has not been written yet.
    pending: Vec<u8>,
}

/// The file of the current attempt.
struct Log {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Capture {
    /// Opens the FIFOs in `dir`; the container has an input with `stdin`, and a terminal with `tty`.
    pub fn open(dir: &Path, stdin: bool, tty: bool) -> Result<Self> {
        let stream = |name| -> Result<Stream> {
            let fifo = open_fifo(dir, name, OFlag::O_RDWR | OFlag::O_NONBLOCK)?;
            Ok(Stream { fifo, pending: Vec::new() })
        };
        let attached = Attached::open(dir, stdin, tty)?;
        Ok(Self { streams: [stream(STREAMS[0])?, stream(STREAMS[1])?], log: None, attached })
    }

    /// The descriptors to wait for.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let mut fds = self.attached.fds();
        let streams = self.streams.iter().enumerate();
        let flowing = streams.filter(|(index, _)| !self.attached.is_stalled(*index));
        fds.extend(flowing.map(|(_, stream)| stream.fifo.as_fd()));
        fds
    }

    /// Takes in who has attached.
    pub fn admit(&mut self) -> Result<()> {
        let (log, streams) = (&self.log, &self.streams);
        self.attached.admit(log.is_some(), &|index| {
            let said = log.as_ref().map(|log| said(&log.path, index)).unwrap_or_default();
            let pending = streams.get(index).map(|stream| stream.pending.as_slice());
            [said.as_slice(), pending.unwrap_or_default()].concat()
        })
    }

    /// From now on everything belongs to the attempt whose log is `path`.
    pub fn start(&mut self, path: &Path) -> Result<()> {
        if self.log.as_ref().is_none_or(|log| log.path != path) {
            self.log = Some(Log::open(path)?);
            self.attached.begin()?;
        }
        Ok(())
    }

    /// Moves what is there into the log; returns whether there may be more.
    pub fn pump(&mut self) -> Result<bool> {
        self.attached.flush();
        self.move_on(Flow::Held)
    }

    fn move_on(&mut self, flow: Flow) -> Result<bool> {
        let mut more = self.read_console(flow)?;
        let (log, attached) = (&mut self.log, &mut self.attached);
        for (index, stream) in self.streams.iter_mut().enumerate() {
            more |= stream.pump(index, log, attached, flow)?;
        }
        Ok(more)
    }

    /// Moves what is there from the container's terminal, if it has one.
    fn read_console(&mut self, flow: Flow) -> Result<bool> {
        let mut buffer = [0; MAX_LINE];
        for _ in 0..READS_PER_WAKE {
            if flow == Flow::Held && self.attached.is_stalled(0) {
                return Ok(false);
            }
            let Some(console) = self.attached.console()? else { return Ok(false) };
            let read = match nix::unistd::read(console, &mut buffer) {
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => continue,
                // Nobody has the terminal open any more.
                Ok(0) | Err(_) => return self.attached.console_gone().map(|()| false),
                Ok(read) => read,
            };
            let new = buffer.get(..read).unwrap_or_default();
            self.streams[0].take(0, new, &mut self.log, &mut self.attached)?;
        }
        Ok(true)
    }

    /// The attempt has ended: moves all that it left, an unfinished line too. What others go on
    /// writing, as its children in a PID namespace that outlives it do, is no part of it.
    pub fn finish(&mut self) -> Result<()> {
        for _ in 0..ENDING_ROUNDS {
            if !self.move_on(Flow::Ending)? {
                break;
            }
        }
        for (stream, name) in self.streams.iter_mut().zip(STREAMS) {
            let pending = std::mem::take(&mut stream.pending);
            if let (false, Some(log)) = (pending.is_empty(), self.log.as_mut()) {
                let mut line = Vec::new();
                push_entry(&mut line, &stamp(Timestamp::now()), name, (b'P', &pending));
                log.append(&line)?;
            }
        }
        self.log = None;
        self.attached.end();
        Ok(())
    }
}

/// Whether output waits for those who are attached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Held,
    /// What the pipes hold is all there will be.
    Ending,
}

impl Stream {
    fn pump(
        &mut self,
        index: usize,
        log: &mut Option<Log>,
        attached: &mut Attached,
        flow: Flow,
    ) -> Result<bool> {
        let mut buffer = [0; MAX_LINE];
        for _ in 0..READS_PER_WAKE {
            if flow == Flow::Held && attached.is_stalled(index) {
                return Ok(false);
            }
            let read = match nix::unistd::read(&self.fifo, &mut buffer) {
                Ok(0) | Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => continue,
                read => read.doing(|| "read a container's output")?,
            };
            self.take(index, buffer.get(..read).unwrap_or_default(), log, attached)?;
        }
        Ok(true)
    }

    /// What the container has written, to whoever is attached and into the log.
    fn take(
        &mut self,
        index: usize,
        new: &[u8],
        log: &mut Option<Log>,
        attached: &mut Attached,
    ) -> Result<()> {
        attached.write(index, new);
        let name = STREAMS.get(index).copied().unwrap_or_default();
        let lines = split(&stamp(Timestamp::now()), name, &mut self.pending, new);
        match log.as_mut() {
            Some(log) if !lines.is_empty() => log.append(&lines),
            _ => Ok(()),
        }
    }
}

/// What a stream has said by its log; of a log that was rotated, what is left.
fn said(log: &Path, index: usize) -> Vec<u8> {
    let name = STREAMS.get(index).copied().unwrap_or_default();
    let mut said = Vec::new();
    for line in std::fs::read(log).unwrap_or_default().split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (Some(_), Some(stream), Some(tag)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if stream == name.as_bytes() {
            said.extend_from_slice(parts.next().unwrap_or_default());
            said.extend((tag == b"F").then_some(b'\n'));
        }
    }
    said
}

impl Log {
    fn open(path: &Path) -> Result<Self> {
        if let Some(dir) = path.parent() {
            make_private_dir(dir)?;
        }
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_NOFOLLOW;
        let open = || {
            let file = fs::open(path, flags, 0o600)?;
            let size = file.metadata().map_err(fs::errno)?.len();
            Ok::<_, Errno>((file, size))
        };
        let (mut file, mut size) = open().doing(|| format!("open the log {}", path.display()))?;
        // A monitor killed in the middle of a write left a torn line.
        let mut last = [b'\n'];
        if size > 0 && file.read_exact_at(&mut last, size - 1).is_ok() && last != *b"\n" {
            file.write_all(b"\n").doing(|| format!("mend the log {}", path.display()))?;
            size += 1;
        }
        Ok(Self { file, path: path.to_owned(), size })
    }

    fn append(&mut self, lines: &[u8]) -> Result<()> {
        let written = self.file.write_all(lines);
        if written.is_err() {
            // A full disk: no entry may be left torn in front of the next one.
            self.file
                .set_len(self.size)
                .doing(|| format!("mend the log {}", self.path.display()))?;
        }
        written.doing(|| format!("write the log {}", self.path.display()))?;
        self.size += lines.len() as u64;
        if self.size > MAX_SIZE { self.rotate() } else { Ok(()) }
    }

    fn rotate(&mut self) -> Result<()> {
        let time = Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
        let mut base = self.path.clone().into_os_string();
        base.push(format!(".{time}"));
        // Those of the same second sort before this one. Their first may be removed already.
        let mut all = rotated(&self.path)?;
        let same = all.last().and_then(|newest| {
            let newest = newest.as_os_str().as_encoded_bytes();
            let number = newest.strip_prefix(base.as_encoded_bytes())?;
            let number = std::str::from_utf8(number).ok()?.trim_start_matches('.');
            if number.is_empty() { Some(0) } else { number.parse::<u32>().ok() }
        });
        let mut old = base;
        if let Some(number) = same {
            old.push(format!(".{:03}", number + 1));
        }
        std::fs::rename(&self.path, &old)
            .doing(|| format!("rotate the log {}", self.path.display()))?;
        *self = Self::open(&self.path)?;
        all.push(old.into());
        for gone in all.iter().rev().skip(MAX_FILES - 1) {
            std::fs::remove_file(gone).doing(|| format!("remove the log {}", gone.display()))?;
        }
        Ok(())
    }
}

/// Removes the logs of a container's runs before the last one ahead of `attempt`, as the kubelet
/// keeps those of one ended container.
pub fn forget(pod_dir: &Path, container: &str, attempt: i32) -> Result<()> {
    let dir = pod_dir.join(container);
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.doing(|| format!("list {}", dir.display()))?,
    };
    for entry in entries {
        let path = entry.doing(|| format!("list {}", dir.display()))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let run = name.split('.').next().and_then(|run| run.parse::<i32>().ok());
        if run.is_some_and(|run| run < attempt - 1) {
            std::fs::remove_file(&path).doing(|| format!("remove the log {}", path.display()))?;
        }
    }
    Ok(())
}

/// The rotated files of a log, oldest first.
pub fn rotated(path: &Path) -> Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let prefix = [name.as_encoded_bytes(), b"."].concat();
    let mut old = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        // The pod has gone meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(old),
        entries => entries.doing(|| format!("list {}", dir.display()))?,
    };
    for entry in entries {
        let entry = entry.doing(|| format!("list {}", dir.display()))?;
        if entry.file_name().as_encoded_bytes().starts_with(&prefix) {
            old.push(entry.path());
        }
    }
    old.sort_unstable();
    Ok(old)
}

/// Cuts `new`, which continues `pending`, into log entries; what has no end yet stays in `pending`.
fn split(time: &str, stream: &str, pending: &mut Vec<u8>, new: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(new.len() + 64);
    for piece in new.split_inclusive(|byte| *byte == b'\n') {
        let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
        if ended && pending.is_empty() && text.len() <= MAX_LINE {
            push_entry(&mut lines, time, stream, (b'F', text));
            continue;
        }
        pending.extend_from_slice(text);
        while pending.len() > MAX_LINE {
            let rest = pending.split_off(MAX_LINE);
            push_entry(&mut lines, time, stream, (b'P', pending));
            *pending = rest;
        }
        if ended {
            push_entry(&mut lines, time, stream, (b'F', pending));
            pending.clear();
        }
    }
    if pending.is_empty() {
        // An idle monitor keeps no buffers.
        *pending = Vec::new();
    }
    lines
}

fn push_entry(lines: &mut Vec<u8>, time: &str, stream: &str, (tag, text): (u8, &[u8])) {
    for part in [time.as_bytes(), b" ", stream.as_bytes(), b" ", &[tag], b" ", text, b"\n"] {
        lines.extend_from_slice(part);
    }
}

fn stamp(now: Timestamp) -> String {
    now.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        String::from_utf8(std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn lines_are_cut_at_newlines_and_16_kib() {
        let mut pending = Vec::new();
        assert_eq!(split("T", "stdout", &mut pending, b"a\n\nb"), b"T stdout F a\nT stdout F \n");
        assert_eq!(split("T", "stdout", &mut pending, b"c\n"), b"T stdout F bc\n");
        assert_eq!(pending.capacity(), 0);
        let long = [b'x'; MAX_LINE + 1];
        let lines = split("T", "stderr", &mut pending, &long);
        assert!(
            lines.starts_with(b"T stderr P xxx")
                && lines.len() == MAX_LINE + b"T stderr P \n".len()
        );
        assert_eq!(pending, b"x");
    }

    #[test]
    fn output_is_complete_when_finished() {
        let dir = tempfile::tempdir().unwrap();
        make_fifos(dir.path()).unwrap();
        make_fifos(dir.path()).unwrap();
        let mut capture = Capture::open(dir.path(), false, false).unwrap();
        let log = file(dir.path(), "c", 0);
        capture.start(&log).unwrap();
        let mut out = open_fifo(dir.path(), "stdout", OFlag::O_WRONLY).unwrap();
        let mut err = open_fifo(dir.path(), "stderr", OFlag::O_WRONLY).unwrap();
        out.write_all(b"one\ntwo").unwrap();
        err.write_all(b"bad\n").unwrap();
        drop((out, err));
        capture.finish().unwrap();
        let text = read(&log);
        let ends: Vec<&str> = text.lines().filter_map(|line| line.get(31..)).collect();
        assert_eq!(ends, ["stdout F one", "stderr F bad", "stdout P two"], "{text}");
    }

    #[test]
    fn a_large_log_is_rotated_and_few_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "c", 3);
        let mut log = Log::open(&path).unwrap();
        for old in 0..9 {
            std::fs::write(dir.path().join(format!("c/3.log.20200101-00000{old}")), "").unwrap();
        }
        log.size = MAX_SIZE;
        log.append(b"x\n").unwrap();
        assert_eq!(log.size, 0);
        let kept = rotated(&path).unwrap();
        assert_eq!(kept.len(), MAX_FILES - 1);
        assert_eq!(read(kept.last().unwrap()), "x\n");
        // Three in one second, or in two.
        for number in 0..3 {
            log.size = MAX_SIZE;
            log.append(format!("{number}\n").as_bytes()).unwrap();
        }
        let kept = rotated(&path).unwrap();
        let texts: Vec<String> = kept.iter().map(|path| read(path)).collect();
        assert_eq!(texts, ["x\n", "0\n", "1\n", "2\n"]);
    }

    #[test]
    fn only_the_previous_run_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("c")).unwrap();
        for name in ["7.log", "8.log", "8.log.20200101-000000", "9.log", "10.log"] {
            std::fs::write(dir.path().join("c").join(name), "").unwrap();
        }
        forget(dir.path(), "c", 10).unwrap();
        forget(dir.path(), "none", 10).unwrap();
        let left = std::fs::read_dir(dir.path().join("c")).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["10.log", "9.log"]);
    }

    #[test]
    fn a_torn_line_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "c", 0);
        std::fs::create_dir(dir.path().join("c")).unwrap();
        std::fs::write(&path, "torn").unwrap();
        Log::open(&path).unwrap().append(b"x\n").unwrap();
        assert_eq!(read(&path), "torn\nx\n");
    }
}
