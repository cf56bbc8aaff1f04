//! The pod's processes as its monitor sees them: children, which it reaps, and those of an earlier
//! monitor, adopted by pidfd.

use super::effects::Place;
use super::event::{Event, ExitStatus};
use super::state::{PodState, SandboxStep, Step};
use super::{termination, translate};
use crate::error::{Context, Result};
use crate::oci::cgroup::{Cgroup, Layout};
use crate::oci::container::Container;
use crate::sys::fork::exit_code;
use crate::sys::fs;
use crate::sys::poll::{self, poll_in};
use k8s_openapi::jiff::Timestamp;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How long an ended process that is not ours may wait to be reaped, until nobody knows its status.
const REAP_DEADLINE: Duration = Duration::from_millis(500);

/// A process of the pod that is not this monitor's child.
pub struct Adopted {
    /// On the host.
    pub pid: i32,
    /// Readable once it has ended.
    pub pidfd: OwnedFd,
}

/// A process that ended, and how if anybody knows.
pub struct Ended {
    /// On the host.
    pub pid: i32,
    /// Its wait status.
    pub status: Option<i32>,
}

impl Adopted {
    /// How it ended, once it has.
    pub fn end(&self) -> Result<Ended> {
        // Its parent is somebody else now. Until that reaps it, /proc tells how it ended; from then
        // on the pidfd does. A reaping between the two questions is waited for, not for long.
        if let Some(status) = zombie_status(self.pid) {
            return Ok(Ended { pid: self.pid, status: Some(status) });
        }
        poll::poll_hang_up(self.pidfd.as_fd(), REAP_DEADLINE)
            .doing(|| format!("wait for process {}", self.pid))?;
        Ok(Ended { pid: self.pid, status: poll::pidfd_exit_status(self.pidfd.as_fd()) })
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> Result<bool> {
        let ended = poll_in(&[self.pidfd.as_fd()], Some(Duration::ZERO));
        Ok(ended.doing(|| "look at a process")?.contains(&true))
    }
}

/// Whether the process has a handler for `signal`, or holds it back to read it; also if nobody knows.
pub fn hears(pid: i32, signal: i32) -> bool {
    let status = fs::read_kernel_file(Path::new(&format!("/proc/{pid}/status")));
    let Ok(status) = status else { return true };
    let bit = u32::try_from(signal - 1).ok().and_then(|shift| 1_u64.checked_shl(shift));
    let names = |set: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(set));
        let set = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        set.zip(bit).is_none_or(|(set, bit)| set & bit != 0)
    };
    names("SigCgt:") || names("SigBlk:")
}

/// What tells this boot of the machine from every other.
pub fn boot() -> Result<String> {
    fs::boot_id().doing(|| "find out about the last boot")
}

/// The wait status of a process that has ended and has not been reaped, proc_pid_stat(5).
fn zombie_status(pid: i32) -> Option<i32> {
    let stat = fs::read_kernel_file(Path::new(&format!("/proc/{pid}/stat"))).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // The third field is the state, the last of the 52 the exit code.
    (fields.next()? == "Z").then(|| fields.last()?.parse().ok())?
}

/// The processes that `state` has as running: those that still do, and the pids of the others.
pub fn adopt(place: &Place, state: &PodState) -> Result<(Vec<Adopted>, Vec<Ended>)> {
    let (mut adopted, mut gone) = (Vec::new(), Vec::new());
    let sandbox = (state.sandbox.step == SandboxStep::Ready)
        .then_some((state.sandbox.id.as_str(), state.sandbox.pid));
    let running = |step| matches!(step, Step::Running | Step::PostStart);
    let containers = state.containers.iter().filter(|container| running(container.step));
    let containers = containers.map(|container| (container.id.as_str(), container.pid));
    for (id, pid) in sandbox.into_iter().chain(containers) {
        // The record of the runtime knows the process by its start time too.
        let init = Container::open(&place.config.paths.oci, id).and_then(|found| found.init());
        match init {
            Ok(Some(pidfd)) => adopted.push(Adopted { pid, pidfd }),
            // No record, no process: what cannot be found has ended.
            Ok(None) | Err(_) => gone.push(Ended { pid, status: None }),
        }
    }
    Ok((adopted, gone))
}

/// What the end of `ended` means for the pod, the sandbox first.
pub fn exits(place: &Place, state: &PodState, ended: &[Ended]) -> Vec<Event> {
    let mut events = Vec::new();
    if ended.iter().any(|ended| ended.pid == state.sandbox.pid) {
        events.push(Event::SandboxExited { attempt: state.sandbox.attempt });
    }
    for container in &state.containers {
        let Some(ended) = ended.iter().find(|ended| ended.pid == container.pid) else { continue };
        let code = ended.status.map(exit_code);
        let status = match code {
            None => ExitStatus::Unknown,
            Some(code) => ExitStatus::Code {
                code,
                oom: code == 137 && was_out_of_memory(place, &container.id),
            },
        };
        events.push(Event::ContainerExited {
            container: container.name.clone(),
            attempt: container.attempt,
            status,
            finished_at: Timestamp::now(),
            message: termination::message(place, container, code),
        });
    }
    events
}

/// Whether the OOM killer struck in the container's cgroup; one that is gone tells nothing.
fn was_out_of_memory(place: &Place, id: &str) -> bool {
    let path = translate::pod_cgroup(&place.pod).join(id);
    let cgroup = Layout::probe().and_then(|layout| Cgroup::resolve(&layout, Some(&path), id));
    cgroup.and_then(|cgroup| cgroup.oom_kills()).is_ok_and(|kills| kills > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_tells_how_it_ended() {
        let mut child =
            std::process::Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(zombie_status(std::process::id().try_into().unwrap()), None);
        let adopted = Adopted { pid, pidfd: crate::sys::clone::pidfd_open(pid).unwrap() };
        poll_in(&[adopted.pidfd.as_fd()], None).unwrap();
        assert!(adopted.has_ended().unwrap());
        assert_eq!(adopted.end().unwrap().status, Some(7 << 8));
        child.wait().unwrap();
    }
}
