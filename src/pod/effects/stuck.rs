//! What SIGKILL does not end: the kernel ends a process only between two of its own steps, and one
//! that waits for a dead disk or server, or is frozen, never gets there.

use super::Place;
use crate::error::Result;
use crate::oci::cgroup::{Cgroup, Layout};
use crate::pod::translate;
use crate::sys::fs;
use std::path::Path;

/// Processes that are named; there may be thousands.
const MAX_NAMED: usize = 8;
/// Characters of a command line, which may have megabytes.
const MAX_COMMAND: usize = 200;

/// Names the processes that are left of a container; `init` is its first one.
pub fn describe(place: &Place, (id, container): (&str, &str), init: Option<i32>) -> Result<String> {
    let path = translate::pod_cgroup(&place.pod).join(id);
    let cgroup = Cgroup::resolve(&Layout::probe()?, Some(&path), id)?;
    let mut pids: Vec<i32> = cgroup.pids()?.into_iter().chain(init).collect();
    pids.sort_unstable();
    pids.dedup();
    let left: Vec<String> = pids.into_iter().filter_map(process).collect();
    let named = left.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = match left.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Ok(format!("container {container} has had SIGKILL and does not end: {named}{more}"))
}

/// `process 4711 (cat /mnt/file) in state D (disk sleep) at nfs_wait_bit_killable`; `None` if it
/// has ended.
fn process(pid: i32) -> Option<String> {
    let read = |name: &str| fs::read_kernel_file(Path::new(&format!("/proc/{pid}/{name}"))).ok();
    let status = read("status")?;
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned())
    };
    let state = field("State:")?;
    if state.starts_with(['Z', 'X']) {
        return None;
    }
    let command = read("cmdline").unwrap_or_default().replace('\0', " ");
    let command = match command.trim() {
        "" => field("Name:").unwrap_or_default(),
        command => command.chars().take(MAX_COMMAND).collect(),
    };
    let place = read("wchan").filter(|place| !place.is_empty() && place != "0");
    let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
    Some(format!("process {pid} ({command}) in state {state}{place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named() {
        let own = process(std::process::id().try_into().unwrap()).unwrap();
        assert!(own.contains("(running)") || own.contains("(sleeping)"), "{own}");
        assert_eq!(process(i32::MAX), None);
    }
}
