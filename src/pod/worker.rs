//! The monitor's hands: each effect runs in a process forked for it, which reports over a pipe, one
//! event a line, and ends. The monitor itself neither blocks nor grows; and should it be killed, its
//! workers are killed with it, so that whoever holds the pod's lock is alone.

use super::action::Action;
use super::effects::{self, Place};
use super::event::{Event, ProbeResult, SandboxFault, StartStage};
use super::eviction::Usage;
use super::lock;
use super::state::PodState;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::{Errno, fork, poll};
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

/// One effect under way.
pub struct Worker {
    /// Its process.
    pub pid: i32,
    /// Where it reports; readable at its end.
    pub pipe: File,
    /// What it does.
    pub action: Action,
    /// The start of a line.
    buffer: Vec<u8>,
    answered: bool,
}

/// A worker's end of the pipe.
pub struct Reply(File);

impl Reply {
    /// Reports what has happened.
    pub fn send(&mut self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_vec(event)
            .map_err(|error| Error::new(Kind::Bug, error.to_string()))
            .doing(|| "encode an event")?;
        line.push(b'\n');
        self.0.write_all(&line).doing(|| "report to the monitor")
    }

    /// Gives up descriptor numbers below `least`.
    pub fn move_above(&mut self, least: i32) -> Result<()> {
        let moved = fork::dup_above(self.0.as_fd(), least).doing(|| "move a worker's pipe")?;
        self.0 = moved.into();
        Ok(())
    }
}

impl Worker {
    /// Forks one that carries out `action` for the holder of `lock`.
    pub fn start(place: &Place, state: &PodState, action: Action, lock: &File) -> Result<Self> {
        let (read, write) =
            nix::unistd::pipe2(OFlag::O_CLOEXEC).doing(|| "make a worker's pipe")?;
        let mut reply = Reply(write.into());
        let work = || {
            let done = poll::unblock_signals()
                .map_err(Error::from)
                .and_then(|()| lock::become_worker(&place.run, lock, place.free_fd()))
                .and_then(|()| effects::run(place, state, &action, &mut reply));
            u8::from(done.is_err())
        };
        let pid = fork::fork(work).doing(|| "fork a worker")?.as_raw();
        let pipe = File::from(read);
        rustix::io::ioctl_fionbio(&pipe, true)
            .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
            .doing(|| "prepare a worker's pipe")?;
        Ok(Self { pid, pipe, action, buffer: Vec::new(), answered: false })
    }

    /// What it has reported since; true once it will report no more. One that dies without an
    /// answer is answered for. The `reaped` are processes that are gone: what a worker has forked
    /// may hold its pipe open for longer than it lives.
    pub fn read(&mut self, reaped: &[i32]) -> (Vec<Event>, bool) {
        let ended = match self.pipe.read_to_end(&mut self.buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                reaped.contains(&self.pid)
            }
            Ok(_) | Err(_) => true,
        };
        let mut events = Vec::new();
        while let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=at).collect();
            // What does not parse was cut short by the worker's death.
            events.extend(serde_json::from_slice::<Event>(&line).ok());
        }
        self.answered |= events.iter().any(is_answer);
        if ended && !self.answered {
            events.extend(lost(&self.action));
        }
        (events, ended)
    }
}

fn is_answer(event: &Event) -> bool {
    !matches!(
        event,
        Event::SecretsMissing { .. } | Event::ImagePulling { .. } | Event::ImageReady { .. }
    )
}

/// The answer of a worker that died.
pub fn lost(action: &Action) -> Option<Event> {
    let message = || "the worker of the pod's monitor died".to_owned();
    let event = match action.clone() {
        Action::CreateSandbox { attempt } => {
            let fault = SandboxFault::Sandbox;
            Event::SandboxFailed { attempt, fault, message: message() }
        }
        Action::StopSandbox { attempt } => {
            Event::SandboxStopped { attempt, failure: Some(message()) }
        }
        Action::StartContainer { container, attempt } => {
            let stage = StartStage::Create;
            Event::ContainerFailed { container, attempt, stage, message: message() }
        }
        Action::RunHook { container, attempt, which, .. } => {
            Event::HookDone { container, attempt, which, failure: Some(message()) }
        }
        Action::Probe { container, attempt, kind } => {
            let result = ProbeResult::Unknown(message());
            Event::ProbeDone { container, attempt, kind, result }
        }
        Action::Measure => Event::Measured { usage: Usage::default() },
        Action::Teardown => Event::TornDown { failure: Some(message()) },
        _ => return None,
    };
    Some(event)
}

/// What must not be done at the same time: effects of one lane wait for each other, and those of
/// the pod itself for all.
#[derive(PartialEq, Eq)]
pub enum Lane<'a> {
    /// Sandbox and teardown.
    Pod,
    /// Making and removing instances of a container.
    Container(&'a str),
    /// Hooks and probes look on from outside.
    Free,
}

/// The lane of an action.
pub fn lane(action: &Action) -> Lane<'_> {
    match action {
        Action::StartContainer { container, .. }
        | Action::KillContainer { container, .. }
        | Action::CleanContainer { container, .. } => Lane::Container(container),
        Action::RunHook { .. }
        | Action::Probe { .. }
        | Action::ClosePorts { .. }
        | Action::Examine { .. }
        | Action::Measure => Lane::Free,
        _ => Lane::Pod,
    }
}

impl Lane<'_> {
    /// Whether both may be under way at once.
    pub fn is_free_of(&self, other: &Lane<'_>) -> bool {
        match (self, other) {
            (Lane::Free, _) | (_, Lane::Free) => true,
            (Lane::Pod, _) | (_, Lane::Pod) => false,
            (one, other) => one != other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_keep_apart_what_collides() {
        let (a, b, pod, free) = (Lane::Container("a"), Lane::Container("b"), Lane::Pod, Lane::Free);
        assert!(a.is_free_of(&b) && free.is_free_of(&pod) && a.is_free_of(&free));
        assert!(!a.is_free_of(&Lane::Container("a")) && !a.is_free_of(&pod) && !pod.is_free_of(&b));
    }

    #[test]
    fn a_dead_worker_is_answered_for() {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        let action = Action::Teardown;
        let pipe = File::from(read);
        let mut worker = Worker { pid: 7, pipe, action, buffer: Vec::new(), answered: false };
        let mut end = File::from(write);
        end.write_all(b"\"Tick\"\n{\"SandboxE").unwrap();
        assert_eq!(worker.read(&[]), (vec![Event::Tick], false));
        worker.answered = false;
        // What it has forked has the pipe.
        let (events, ended) = worker.read(&[7]);
        assert!(ended);
        assert!(matches!(events[..], [Event::TornDown { failure: Some(_) }]));
        drop(end);
        assert!(worker.read(&[]).1);
    }
}
