//! Reading container logs: what `podctl logs` shows of the files that [`super::logs`] writes.

use super::logchain::Keeper;
use super::{LogOptions, listing, logs};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::Pod;
use crate::kube::roster::{self, Role};
use crate::sys::fs;
use crate::sys::poll::{Watcher, poll_in};
use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::jiff::Timestamp;
use nix::fcntl::OFlag;
use nix::sys::inotify::AddWatchFlags;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const READ_AHEAD: usize = 64 << 10;

/// The log to read, and of which run it is.
pub struct Source {
    /// The file of the run.
    pub file: PathBuf,
    /// The container.
    pub container: String,
    /// The run's number.
    pub attempt: i32,
}

/// Which log a request means; the errors are the API server's.
pub fn source(pod: &Pod, container: &str, pod_logs: &Path, previous: bool) -> Result<Source> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let bad = |text: String| Err(Error::new(Kind::BadRequest, text));
    let Some(status) = container_status(pod, container) else {
        return bad(format!(
            "container \"{container}\" in pod \"{name}\" is waiting to start: ContainerCreating"
        ));
    };
    let state = status.state.clone().unwrap_or_default();
    let waiting = state.running.is_none() && state.terminated.is_none();
    let ended = status.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
    if previous && !ended {
        return bad(format!(
            "previous terminated container \"{container}\" in pod \"{name}\" not found"
        ));
    }
    if waiting && !ended {
        let reason = state.waiting.and_then(|waiting| waiting.reason).unwrap_or_default();
        let why = match reason.as_str() {
            "ErrImagePull" => "image can't be pulled",
            "ImagePullBackOff" => "trying and failing to pull image",
            reason => reason,
        };
        let what = if why.starts_with("trying") { "is" } else { "is waiting to start:" };
        return bad(format!("container \"{container}\" in pod \"{name}\" {what} {why}"));
    }
    // Between two runs the number is still that of the run that has ended.
    let attempt = status.restart_count - i32::from(previous && !waiting);
    let file = logs::file(pod_logs, container, attempt);
    Ok(Source { file, container: container.to_owned(), attempt })
}

/// Copies a log to `out`; with `follow` through rotations and restarts, until the container of the
/// pod in `pod_dir` has ended for good.
pub fn copy(
    source: &Source,
    pod_dir: &Path,
    options: &LogOptions,
    out: &mut dyn Write,
) -> Result<()> {
    let watcher = if options.follow { Some(watch(source, pod_dir)?) } else { None };
    let Some(mut file) = open(&source.file)? else { return Ok(()) };
    let mut path = source.file.clone();
    let mut attempt = source.attempt;
    let reading = |path: &Path| format!("read {}", path.display());
    if let Some(lines) = options.tail {
        let start = tail_start(&file, lines).doing(|| reading(&path))?;
        file.seek(SeekFrom::Start(start)).doing(|| reading(&path))?;
    }
    let mut keeper = watcher.as_ref().map(|_| Keeper::start(&path, &file)).transpose()?;
    let mut reader = BufReader::with_capacity(READ_AHEAD, file);
    let mut printer =
        Printer { options, out, left: options.limit_bytes, torn: Vec::new(), in_line: false };
    loop {
        // Asked before the reading: what a run wrote is in the log before its end is published.
        let goes_on = match watcher {
            Some(_) if !options.previous => go_on(source, attempt, pod_dir)?,
            _ => GoesOn::No,
        };
        if !printer.drain(&mut reader).doing(|| reading(&path))? {
            return Ok(());
        }
        if let Some(next) = keeper.as_ref().map_or(Ok(None), Keeper::next)? {
            // What was written between the reading and the rotation.
            if !printer.drain(&mut reader).doing(|| reading(&path))? {
                return Ok(());
            }
            reader = BufReader::with_capacity(READ_AHEAD, next);
            continue;
        }
        printer.out.flush().doing(|| "write the log")?;
        match (goes_on, &watcher) {
            (GoesOn::InRun(next), _) => {
                attempt = next;
                path.set_file_name(format!("{next}.log"));
                if let Some(next) = open(&path)? {
                    keeper = Some(Keeper::start(&path, &next)?);
                    reader = BufReader::with_capacity(READ_AHEAD, next);
                }
            }
            (GoesOn::Later, Some(watcher)) => {
                poll_in(&[watcher.as_fd()], None).doing(|| "wait for the log")?;
                watcher.read().doing(|| "wait for the log")?;
            }
            _ => return Ok(()),
        }
    }
}

/// The last `lines` of a log, and of them the last `bytes`.
pub fn tail(path: &Path, lines: usize, bytes: usize) -> Result<String> {
    let mut text = Vec::new();
    if let Some(mut file) = open(path)? {
        let options = LogOptions::default();
        let reading = || format!("read {}", path.display());
        let start = tail_start(&file, lines).doing(reading)?;
        file.seek(SeekFrom::Start(start)).doing(reading)?;
        let mut printer = Printer {
            options: &options,
            out: &mut text,
            left: None,
            torn: Vec::new(),
            in_line: false,
        };
        printer.drain(&mut BufReader::new(file)).doing(reading)?;
    }
    text.drain(..text.len().saturating_sub(bytes));
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Where a log goes on from the end of what there is of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GoesOn {
    /// Here, or in a run that is still to come.
    Later,
    /// In this run, which has begun.
    InRun(i32),
    /// Nowhere.
    No,
}

fn go_on(source: &Source, attempt: i32, pod_dir: &Path) -> Result<GoesOn> {
    let pod = listing::read_pod(pod_dir)?;
    Ok(pod.map_or(GoesOn::No, |pod| goes_on(&pod, &source.container, attempt)))
}

fn goes_on(pod: &Pod, container: &str, attempt: i32) -> GoesOn {
    let Some(status) = container_status(pod, container) else { return GoesOn::No };
    let state = status.state.clone().unwrap_or_default();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let pod_ends =
        pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"));
    match (state.running, state.terminated) {
        (Some(_), _) | (None, Some(_)) if status.restart_count > attempt => {
            GoesOn::InRun(attempt + 1)
        }
        (Some(_), _) => GoesOn::Later,
        _ if pod_ends => GoesOn::No,
        (None, Some(end)) if !restarts(pod, container, end.exit_code) => GoesOn::No,
        _ => GoesOn::Later,
    }
}

/// Whether a container that has ended so is started again.
fn restarts(pod: &Pod, container: &str, exit_code: i32) -> bool {
    let Some((role, found)) = roster::find(pod, container) else { return false };
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    let policy = found.restart_policy.as_deref().or(of_pod).unwrap_or("Always");
    match role {
        Role::Sidecar => true,
        Role::Ephemeral => false,
        Role::Init => exit_code != 0 && policy != "Never",
        Role::Regular => policy == "Always" || (policy == "OnFailure" && exit_code != 0),
    }
}

/// A container's status, of whatever kind it is.
pub fn container_status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let regular = status.container_statuses.iter().flatten();
    let init = status.init_container_statuses.iter().flatten();
    let ephemeral = status.ephemeral_container_statuses.iter().flatten();
    regular.chain(init).chain(ephemeral).find(|status| status.name == container)
}

/// Woken by the log's directory (writing, rotation) and by the pod's (a new status, removal).
fn watch(source: &Source, pod_dir: &Path) -> Result<Watcher> {
    let watcher = Watcher::new().doing(|| "watch the log")?;
    let writing =
        AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE_SELF;
    let status = AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_DELETE_SELF;
    for (dir, mask) in [(source.file.parent(), writing), (Some(pod_dir), status)] {
        if let Some(dir) = dir {
            watcher.add(dir, mask).doing(|| format!("watch {}", dir.display()))?;
        }
    }
    Ok(watcher)
}

/// A log is a regular file of root's; a link or anything else in its place is refused
/// (CVE-2026-53489).
pub fn open(path: &Path) -> Result<Option<File>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match fs::open(path, flags, 0) {
        Err(nix::errno::Errno::ENOENT) => return Ok(None),
        opened => opened.doing(|| format!("open the log {}", path.display()))?,
    };
    let is = file.metadata().doing(|| format!("look at {}", path.display()))?;
    if is.is_file() && is.uid() == nix::unistd::geteuid().as_raw() {
        Ok(Some(file))
    } else {
        Err(Error::system("not a regular file of root's"))
            .doing(|| format!("open the log {}", path.display()))
    }
}

/// Where the last `lines` ended lines begin; one without an end counts for none.
fn tail_start(mut file: &File, lines: usize) -> std::io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    let mut end = file.metadata()?.len();
    // The newline of the last line ends it and begins nothing.
    let mut wanted = lines.saturating_add(1);
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        block.clear();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            wanted -= 1;
            if wanted == 0 {
                return Ok(start + at as u64 + 1);
            }
        }
        end = start;
    }
    Ok(0)
}

struct Printer<'a> {
    options: &'a LogOptions,
    out: &'a mut dyn Write,
    /// Of `--limit-bytes`.
    left: Option<u64>,
    /// An entry in whose middle the last reading ended.
    torn: Vec<u8>,
    /// The last entry did not end its line.
    in_line: bool,
}

impl Printer<'_> {
    /// Prints what there is; false once the limit is reached.
    fn drain(&mut self, reader: &mut BufReader<File>) -> std::io::Result<bool> {
        loop {
            let mut line = std::mem::take(&mut self.torn);
            reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                // The writer is in the middle of an entry; the next reading has the rest.
                self.torn = line;
                return Ok(true);
            }
            if !self.print(&line)? {
                return Ok(false);
            }
        }
    }

    fn print(&mut self, line: &[u8]) -> std::io::Result<bool> {
        let Some(entry) = Entry::parse(line) else { return Ok(true) };
        if self.options.since.is_some_and(|since| entry.time().is_some_and(|time| time < since)) {
            return Ok(true);
        }
        let mut text = Vec::new();
        if self.options.timestamps && !self.in_line {
            text.extend_from_slice(entry.stamp.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(entry.text);
        if entry.full {
            text.push(b'\n');
        }
        self.in_line = !entry.full;
        let room = self
            .left
            .map_or(text.len(), |left| text.len().min(left.try_into().unwrap_or(usize::MAX)));
        self.out.write_all(text.get(..room).unwrap_or_default())?;
        self.left = self.left.map(|left| left - room as u64);
        Ok(self.left != Some(0))
    }
}

/// One entry of a log.
struct Entry<'a> {
    stamp: &'a str,
    full: bool,
    text: &'a [u8],
}

impl<'a> Entry<'a> {
    /// `None` for what is no entry (a torn line).
    fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let stamp = std::str::from_utf8(parts.next()?).ok()?;
        let stream = parts.next()?;
        // Tags are separated by colons; the first says whether the line is whole.
        let tag = parts.next()?.split(|byte| *byte == b':').next()?;
        let known = logs::STREAMS.iter().any(|name| name.as_bytes() == stream);
        (known && matches!(tag, b"P" | b"F")).then(|| Self {
            stamp,
            full: tag == b"F",
            text: parts.next().unwrap_or_default(),
        })
    }

    fn time(&self) -> Option<Timestamp> {
        self.stamp.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:00.000000001Z stdout F one\n\
        2026-01-01T00:00:01.000000000Z stderr P tw\n\
        2026-01-01T00:00:02.000000000Z stderr F o\n\
        torn\n\
        2026-01-01T00:00:03.000000000Z stdout F:x three\n";

    fn shown(options: &LogOptions) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("0.log");
        std::fs::write(&file, LOG).unwrap();
        let source = Source { file, container: "c".into(), attempt: 0 };
        let mut out = Vec::new();
        copy(&source, dir.path(), options, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn options_choose_what_is_shown() {
        let plain = LogOptions::default;
        assert_eq!(shown(&plain()), "one\ntwo\nthree\n");
        assert_eq!(shown(&LogOptions { tail: Some(1), ..plain() }), "three\n");
        assert_eq!(shown(&LogOptions { tail: Some(3), ..plain() }), "o\nthree\n");
        assert_eq!(shown(&LogOptions { tail: Some(0), ..plain() }), "");
        assert_eq!(shown(&LogOptions { tail: Some(99), ..plain() }), "one\ntwo\nthree\n");
        assert_eq!(shown(&LogOptions { limit_bytes: Some(5), ..plain() }), "one\nt");
        let since = "2026-01-01T00:00:02Z".parse().ok();
        assert_eq!(shown(&LogOptions { since, ..plain() }), "o\nthree\n");
        let stamped = shown(&LogOptions { timestamps: true, tail: Some(1), ..plain() });
        assert_eq!(stamped, "2026-01-01T00:00:03.000000000Z three\n");
    }

    #[test]
    fn a_log_goes_on_as_long_as_the_container_may_run_again() {
        let go = |policy: &str, phase: &str, restarts: i32, state: serde_json::Value| {
            let pod = serde_json::json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {},
                "spec": {"restartPolicy": policy, "containers": [{"name": "c"}]},
                "status": {"phase": phase, "containerStatuses": [{
                    "name": "c", "image": "", "imageID": "", "ready": false,
                    "restartCount": restarts, "state": state,
                }]},
            });
            goes_on(&serde_json::from_value(pod).unwrap(), "c", 1)
        };
        let running = || serde_json::json!({"running": {}});
        let ended = |code: i32| serde_json::json!({"terminated": {"exitCode": code}});
        let waiting = || serde_json::json!({"waiting": {"reason": "CrashLoopBackOff"}});
        assert_eq!(go("Always", "Running", 1, running()), GoesOn::Later);
        assert_eq!(go("Always", "Running", 1, ended(0)), GoesOn::Later);
        assert_eq!(go("Always", "Running", 1, waiting()), GoesOn::Later);
        assert_eq!(go("Always", "Running", 3, running()), GoesOn::InRun(2));
        assert_eq!(go("OnFailure", "Running", 1, ended(1)), GoesOn::Later);
        assert_eq!(go("OnFailure", "Running", 1, ended(0)), GoesOn::No);
        assert_eq!(go("Never", "Running", 1, ended(1)), GoesOn::No);
        assert_eq!(go("Always", "Failed", 1, waiting()), GoesOn::No);
    }

    #[test]
    fn a_link_in_the_place_of_a_log_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("0.log");
        std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
        assert!(open(&file).is_err());
    }
}
