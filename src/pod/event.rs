//! What happened: the monitor's only word to `machine::next`.
//!
//! `attempt` tells which instance is meant: what arrives about an earlier one is ignored. The
//! monitor delivers a dead sandbox before the deaths of its containers where it learns both at once.

use super::eviction::Usage;
use super::translate::Credentials;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The first event of each monitor. Whatever was under way in the state it found is given out
    /// anew. Containers that the state has as running and that are gone follow as
    /// [`Event::ContainerExited`], a sandbox that is gone as [`Event::SandboxExited`].
    Started,
    /// The first event of a monitor if the machine has been booted since: nothing runs of what the
    /// state it found has as running.
    Rebooted,
    /// The wanted pod was written: a new image, a deletion, a shorter grace.
    SpecChanged,
    /// `machine::deadline` has passed.
    Tick,
    /// Answers `CreateSandbox`: volumes, network and pause are there.
    SandboxReady {
        /// Which sandbox.
        attempt: u32,
        /// The pause process, on the host.
        pid: i32,
        /// The pod's address, where the network gives one.
        ip: Option<String>,
    },
    /// Answers `CreateSandbox`: nothing of it is left.
    SandboxFailed {
        /// Which sandbox.
        attempt: u32,
        /// What failed.
        fault: SandboxFault,
        /// Why.
        message: String,
    },
    /// Answers `CreateSandbox`: this machine does not run the pod.
    Rejected {
        /// `OutOfcpu`, …
        reason: String,
        /// Why.
        message: String,
    },
    /// Image pull secrets that the pod names and that are not there.
    SecretsMissing {
        /// Their names.
        names: Vec<String>,
    },
    /// Answers `Measure`.
    Measured {
        /// What the pod has on disk.
        usage: Usage,
    },
    /// The pause process ended.
    SandboxExited {
        /// Which sandbox.
        attempt: u32,
    },
    /// Answers `StopSandbox`.
    SandboxStopped {
        /// Which sandbox.
        attempt: u32,
        /// What could not be undone.
        failure: Option<String>,
    },
    /// `StartContainer` pulls the image.
    ImagePulling {
        /// Whose.
        container: String,
        /// The image, if it is that of a volume.
        volume: Option<String>,
    },
    /// `StartContainer` found the image; the start goes on.
    ImageReady {
        /// Whose.
        container: String,
        /// Its name, normalised.
        image: String,
        /// `NAME@sha256:…`, or the configuration's digest where there is no manifest's.
        image_id: String,
        /// The image's StopSignal; 0 if it names none.
        stop_signal: i32,
        /// The pull, if one was needed.
        pulled: Option<Pulled>,
    },
    /// Answers `StartContainer`: there is no image.
    ImageFailed {
        /// Whose.
        container: String,
        /// The image, if it is that of a volume.
        volume: Option<String>,
        /// What failed.
        fault: ImageFault,
        /// Why.
        message: String,
    },
    /// Answers `StartContainer`: the program runs.
    ContainerStarted {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
        /// Its init process, on the host.
        pid: i32,
        /// Whom that runs as.
        user: Credentials,
    },
    /// Answers `StartContainer`: it does not run, and nothing of it is left.
    ContainerFailed {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
        /// How far it came.
        stage: StartStage,
        /// Why.
        message: String,
    },
    /// The container's init process ended.
    ContainerExited {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
        /// How.
        status: ExitStatus,
        /// When.
        finished_at: Timestamp,
        /// The termination message.
        message: String,
    },
    /// Answers `Examine`: the container has had SIGKILL, and has not ended.
    KillFailed {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
        /// Its processes: pid, command and state of each.
        message: String,
    },
    /// Answers `RunHook`.
    HookDone {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
        /// Which hook.
        which: Hook,
        /// Why it failed, in the kubelet's words (`prober::run_hook`).
        failure: Option<String>,
    },
    /// Answers `Probe`.
    ProbeDone {
        /// Which container.
        container: String,
        /// Which instance.
        attempt: u32,
        /// Which probe.
        kind: ProbeKind,
        /// The result.
        result: ProbeResult,
    },
    /// Answers `Teardown`.
    TornDown {
        /// What could not be undone; it is tried again.
        failure: Option<String>,
    },
}

/// What of a sandbox could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxFault {
    /// The volume of that name.
    Volume(String),
    /// The pod's directories or cgroup.
    Pod,
    /// The node's network: no pod can be attached to it.
    Network,
    /// The pause container, or its attachment to the network.
    Sandbox,
}

/// A pull that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// How long it took, milliseconds.
    pub took: u64,
    /// The same with the wait for another pull of the image.
    pub with_waiting: u64,
    /// Bytes of the image's blobs.
    pub size: u64,
}

/// Why a container has no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageFault {
    /// Its name cannot be parsed: `InvalidImageName`.
    InvalidName,
    /// It is absent, and the policy is Never: `ErrImageNeverPull`.
    NeverPull,
    /// It could not be pulled: `ErrImagePull`.
    Pull,
    /// The registry could not be reached: `RegistryUnavailable`.
    Unavailable,
    /// The store cannot be read: `ImageInspectError`.
    Inspect,
}

/// How far the start of a container came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartStage {
    /// What the spec refers to is not there: `CreateContainerConfigError`.
    Config,
    /// The bundle could not be made: no such user in the image, no command, a full disk, as under
    /// containerd: `CreateContainerError`.
    Create,
    /// `oci::ops::create` or `start` failed, a missing program included, as under containerd:
    /// `RunContainerError`, and the instance counts as ended with 128, `StartError`.
    Start,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// With this status, 128+N for signal N.
    Code {
        /// The status.
        code: i32,
        /// The OOM killer struck in its cgroup.
        oom: bool,
    },
    /// While no monitor watched: nobody knows.
    Unknown,
    /// With the machine, which has been booted since.
    Rebooted,
}

/// The two lifecycle hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hook {
    /// Right after the start.
    PostStart,
    /// Before the stop signal.
    PreStop,
}

/// The three probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeKind {
    /// Until it succeeds, the others wait.
    Startup,
    /// Decides `ready`.
    Readiness,
    /// Restarts the container.
    Liveness,
}

/// One probe's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeResult {
    /// Passed.
    Success,
    /// Passed, with something to say.
    Warning(String),
    /// Not passed, and why.
    Failure(String),
    /// Could not be asked; counts for nothing.
    Unknown(String),
}
