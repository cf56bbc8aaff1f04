//! The termination message: what a container leaves to say about its end.

use super::effects::Place;
use super::logread;
use super::state::ContainerState;
use crate::kube::roster;
use crate::sys::fs;
use nix::fcntl::OFlag;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the file that count, from its end (the kubelet's `MaxContainerTerminationMessageLength`).
const MAX_MESSAGE: u64 = 4096;
/// Bytes of all containers of a pod together (`MaxPodTerminationMessageLogLength`).
const MAX_OF_POD: usize = 12 << 10;
/// Lines of the log that stand in, and of them bytes, from the end.
const LOG_LINES: usize = 80;
const LOG_BYTES: usize = 2048;

/// What the container wrote into its file; with `FallbackToLogsOnError` the end of its log, if that
/// is nothing and it has failed.
pub fn message(place: &Place, state: &ContainerState, code: Option<i32>) -> String {
    let mut message = file(&place.termination_log(&state.id)).unwrap_or_default();
    let container = roster::find(&place.pod, &state.name).map(|(_, container)| container);
    let policy = container.and_then(|it| it.termination_message_policy.clone());
    let falls_back = policy.as_deref() == Some("FallbackToLogsOnError");
    if message.is_empty() && falls_back && code != Some(0) {
        let log = place.log(&state.name, state.attempt);
        // Without a log there is nothing to say.
        message = logread::tail(&log, LOG_LINES, LOG_BYTES).unwrap_or_default();
    }
    let containers = roster::all(&place.pod).len().max(1);
    let room = MAX_OF_POD / containers;
    let end = (0..=room.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
    message.truncate(end.unwrap_or(0));
    message
}

/// The file is the container's to write, but not to replace; still only a regular one is read.
fn file(path: &Path) -> std::io::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = fs::open(path, flags, 0)?;
    let size = file.metadata()?.len();
    let start = size.saturating_sub(MAX_MESSAGE);
    let mut message = vec![0; usize::try_from(size - start).unwrap_or(0)];
    let read = file.read_at(&mut message, start)?;
    message.truncate(read);
    Ok(String::from_utf8_lossy(&message).into_owned())
}
