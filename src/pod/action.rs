//! What to do: the machine's only word to `effects`, one function there per [`Action`].
//!
//! Actions are carried out in their order where they concern the same container. Each that has an
//! answer is answered by exactly one event, whatever goes wrong; given out again after a crash, it
//! first removes what the earlier try left under the same id.

use super::event::{Hook, ProbeKind};
use std::borrow::Cow;
use std::time::Duration;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Makes the pod's directories, cgroup and volumes, the network, then pause.
    /// Answer: `SandboxReady` or `SandboxFailed`.
    CreateSandbox {
        /// Which sandbox (`state::sandbox_id`).
        attempt: u32,
    },
    /// Removes pause and the network, keeps the volumes. Answer: `SandboxStopped`.
    StopSandbox {
        /// Which sandbox.
        attempt: u32,
    },
    /// Finds the image, makes the bundle, creates and starts the container.
    /// Answer: `ImageFailed`, or `ImageReady` and then `ContainerStarted` or `ContainerFailed`.
    StartContainer {
        /// Which container.
        container: String,
        /// Which instance (`state::container_id`): also the name of its log file.
        attempt: u32,
    },
    /// Gives up the pull of the image that a `StartContainer` waits for, and the start with it.
    CancelPull {
        /// Whose.
        container: String,
    },
    /// Runs a lifecycle hook (`prober::run_hook`). Answer: `HookDone`.
    RunHook {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
        /// Which hook.
        which: Hook,
        /// Given up after that.
        timeout: Option<Duration>,
    },
    /// Runs a probe (`prober::run_probe`). Answer: `ProbeDone`.
    Probe {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
        /// Which probe.
        kind: ProbeKind,
    },
    /// Signals the container's init process. Its end comes as `ContainerExited`.
    Signal {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
        /// The signal's number.
        signal: i32,
    },
    /// As `Signal`, by force: an init process that cannot hear of the signal is killed at once.
    Dismiss {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
        /// The signal's number.
        signal: i32,
    },
    /// SIGKILLs each process of the container. Its end comes as `ContainerExited`.
    KillContainer {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
    },
    /// Takes no new connection to the container's host ports. No answer.
    ClosePorts {
        /// Which container.
        container: String,
    },
    /// Finds out what is left of a container that has had SIGKILL. Answer: `KillFailed`.
    Examine {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
    },
    /// Removes what an ended instance leaves (OCI state, cgroup, bundle, writable layer); its log
    /// stays. No answer.
    CleanContainer {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
    },
    /// Records an event of the pod. No answer.
    RecordEvent(PodEvent),
    /// Measures what the pod has on disk. Answer: `Measured`.
    Measure,
    /// Removes everything but the pod's record and its logs. Answer: `TornDown`.
    Teardown,
    /// Removes the record and the logs, and ends the monitor.
    Remove,
    /// Ends the monitor of a pod that has ended: the record stays.
    Exit,
}

/// An event as the API has it; counting and aggregation are the store's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// `Normal` or `Warning`.
    pub kind: EventKind,
    /// `Started`, `BackOff`, …
    pub reason: Cow<'static, str>,
    /// For humans.
    pub message: String,
    /// The container it is about: `fieldPath` is `spec.containers{NAME}`.
    pub container: Option<String>,
}

/// The two types of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// As expected.
    Normal,
    /// Not so.
    Warning,
}

impl EventKind {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}
