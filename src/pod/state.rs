//! What a pod is. The monitor keeps one [`PodState`], hands it to `machine::next` with every event,
//! and writes it with the status: a new monitor goes on from it.
//!
//! Instances are counted, and their ids follow from the count ([`sandbox_id`], [`container_id`]):
//! whoever finds a half-made container after a crash knows its name without having been told.

use super::eviction::Watch;
use super::translate::Credentials;
use crate::kube::roster::Role;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A pod, as its monitor knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodState {
    /// The boot of the machine in which its processes were started.
    pub boot: String,
    /// How many milliseconds the wall clock was ahead of the time since boot when its times were
    /// written (`pod::clock`).
    pub clock: Option<i64>,
    /// `status.startTime`: when the first monitor took the pod up.
    pub started: Option<Timestamp>,
    /// A terminal phase is never left.
    pub phase: Phase,
    /// The sandbox.
    pub sandbox: Sandbox,
    /// All of them, in the order of `kube::roster`.
    pub containers: Vec<ContainerState>,
    /// In the present sandbox the init containers have done their part.
    pub initialized: bool,
    /// A restart rule asks for all containers to begin anew, and some still run.
    pub restarting: bool,
    /// Why the pod has failed as a whole, whatever its containers do.
    pub failure: Option<Failure>,
    /// Set once the pod is told to go.
    pub deletion: Option<Deletion>,
    /// How far its end has come.
    pub end: End,
    /// When what it has on disk is measured.
    pub storage: Watch,
    /// The conditions with the time they last changed.
    pub conditions: Vec<Condition>,
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Something has never started.
    #[default]
    Pending,
    /// Everything has started, something runs or will again.
    Running,
    /// Everything ended well, for good.
    Succeeded,
    /// Everything ended for good, something badly.
    Failed,
}

/// What went wrong with a pod as a whole: `status.reason` and `status.message` of one that was ended
/// for it, or why it has no sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `DeadlineExceeded`, `NetworkNotReady`, …
    pub reason: String,
    /// For humans.
    pub message: String,
    /// The machine did not take the pod: it has no containers to tell of.
    #[serde(default)]
    pub rejected: bool,
}

/// The sandbox: the pause process with its namespaces and the pod's address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Where it stands.
    pub step: SandboxStep,
    /// Counts the sandboxes made before this one.
    pub attempt: u32,
    /// Its OCI id.
    pub id: String,
    /// The pause process, on the host.
    pub pid: i32,
    /// The pod's address; kept after the end, as the kubelet does.
    pub ip: Option<String>,
    /// Failures in a row.
    pub failures: u32,
    /// What keeps it from being made.
    #[serde(default)]
    pub trouble: Option<Failure>,
    /// When to try again to make or to remove it after a failure.
    pub retry: Option<Timestamp>,
}

/// Where a sandbox stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxStep {
    /// There is none.
    #[default]
    Absent,
    /// `CreateSandbox` is under way.
    Creating,
    /// It runs.
    Ready,
    /// It died; its containers are being stopped.
    Lost,
    /// `StopSandbox` is under way.
    Stopping,
}

/// One container of the pod: its current instance and what is known of the ones before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// As in the spec.
    pub name: String,
    /// What it is to its pod.
    pub role: Role,
    /// The current or last instance, counted from 0: `restartCount`, and the log file's name.
    pub attempt: u32,
    /// Where that instance stands.
    pub step: Step,
    /// The OCI id of the last instance that was made.
    pub id: String,
    /// Its init process, on the host, while it runs.
    pub pid: i32,
    /// Whom the last instance ran as.
    pub user: Option<Credentials>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// It has had an instance in the present sandbox.
    pub begun: bool,
    /// Of the instance that runs: its startup probe has succeeded, or it has none.
    pub started: bool,
    /// How it ended; `None` while it runs or if there was none.
    pub exit: Option<Exit>,
    /// How the instance before it ended.
    pub last: Option<Exit>,
    /// It has ended and will not be started again.
    pub finished: bool,
    /// Why it is not running, once something has failed.
    pub waiting: Option<Waiting>,
    /// Not to be started before; whether its back-off still holds is asked anew then.
    pub not_before: Option<Timestamp>,
    /// When the back-off it waits for is next told.
    pub remind: Option<Timestamp>,
    /// The restart back-off.
    pub backoff: Option<Backoff>,
    /// What is known of its image.
    pub image: Image,
    /// The probes' counters.
    pub probes: Probes,
    /// Set while it is being stopped.
    pub kill: Option<Kill>,
}

/// Where a container's instance stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// No process: never started, or ended.
    #[default]
    Idle,
    /// `StartContainer` is under way.
    Starting,
    /// It runs, its postStart hook has not finished.
    PostStart,
    /// It runs.
    Running,
}

/// How an instance ended: `state.terminated`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    /// Its OCI id.
    pub id: String,
    /// 128+N for signal N.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`, `Unknown`.
    pub reason: String,
    /// The termination message, or why it could not start.
    pub message: String,
    /// The epoch if it never did.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// `state.waiting`, once something has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// `CrashLoopBackOff`, `ErrImagePull`, …
    pub reason: String,
    /// The details.
    pub message: String,
}

/// An exponential back-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The present delay, in seconds.
    pub delay: u32,
    /// When it was last raised.
    pub updated: Timestamp,
}

/// What is known of a container's image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// `spec.containers[].image` of the current instance.
    pub wanted: String,
    /// The one that could not be had, if it is that of a volume.
    #[serde(default)]
    pub of_volume: Option<String>,
    /// The name of what was found: `docker.io/library/nginx:1.15.2`.
    pub name: String,
    /// What was found: `docker.io/library/nginx@sha256:…`.
    pub id: String,
    /// The image's StopSignal; 0 for SIGTERM.
    pub stop_signal: i32,
    /// It is being pulled.
    #[serde(default)]
    pub pulling: bool,
    /// The back-off of failed pulls.
    pub backoff: Option<Backoff>,
}

impl Image {
    /// What is pulled, or was to be.
    pub fn sought(&self) -> &str {
        self.of_volume.as_ref().unwrap_or(&self.wanted)
    }
}

/// The counters of a container's probes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Probes {
    /// `startupProbe`.
    pub startup: ProbeState,
    /// `readinessProbe`.
    pub readiness: ProbeState,
    /// `livenessProbe`.
    pub liveness: ProbeState,
}

/// One probe's counters, anew for each instance of the container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeState {
    /// The verdict that counts; `None` before there is one.
    pub verdict: Option<bool>,
    /// The last result.
    pub last: Option<bool>,
    /// How many like it in a row.
    pub run: u32,
    /// When the next is due; `None` if there is no such probe, or it has done its work.
    pub due: Option<Timestamp>,
    /// One is under way.
    pub pending: bool,
}

/// A container being stopped: preStop, then its stop signal, then SIGKILL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kill {
    /// Who wants it.
    pub why: KillReason,
    /// When it began.
    pub since: Timestamp,
    /// Seconds for all of it.
    pub grace: i64,
    /// How far it has come.
    pub stage: KillStage,
    /// When the next stage begins by itself.
    pub until: Timestamp,
    /// What SIGKILL has not ended.
    #[serde(default)]
    pub stuck: Option<String>,
}

/// Why a container is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KillReason {
    /// The pod is being deleted.
    Deleted,
    /// The pod has nothing left to do, or has failed.
    Ended,
    /// Its liveness probe failed.
    Liveness,
    /// Its startup probe failed.
    Startup,
    /// Its postStart hook failed.
    PostStart,
    /// The pod's spec wants another image.
    Changed,
    /// The sandbox died.
    Sandbox,
    /// A restart rule has all containers begin anew.
    RestartAll,
}

/// How far the stopping of a container has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KillStage {
    /// The preStop hook runs.
    PreStop,
    /// It waits for those that it is to outlive.
    Turn,
    /// It has its stop signal.
    Term,
    /// It has SIGKILL.
    Kill,
}

/// The pod's deletion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deletion {
    /// When the monitor saw it.
    pub since: Timestamp,
    /// Seconds; may only shrink. 0 is by force.
    pub grace: i64,
}

/// How far the pod's end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It lives.
    #[default]
    Alive,
    /// `Teardown` is under way.
    TearingDown,
    /// Nothing of it is left but its record and its logs.
    TornDown,
    /// `Remove` was given out: the record goes too.
    Removed,
}

/// A condition's status and the time of its last change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// `Ready`, `Initialized`, …
    pub name: String,
    /// True or False.
    pub status: bool,
    /// When it became so.
    pub since: Timestamp,
}

impl PodState {
    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerState> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The pod is to go, has failed, or has nothing left to run.
    pub fn is_ending(&self) -> bool {
        let mut regular = self.containers.iter().filter(|it| it.role == Role::Regular);
        self.deletion.is_some()
            || self.failure.is_some()
            || self.containers.iter().any(ContainerState::has_failed_init)
            || regular.all(|container| container.finished)
    }

    /// No container has a process, or is getting one.
    pub fn is_still(&self) -> bool {
        self.containers.iter().all(|container| container.step == Step::Idle)
    }
}

impl ContainerState {
    /// The instance that the next start makes. `attempt` is of the last one made: a start that
    /// failed before there was an instance, or was cut off by a crash, is not counted.
    pub fn next_attempt(&self) -> u32 {
        if self.exit.is_some() { self.attempt + 1 } else { self.attempt }
    }

    /// It is an init container that has failed for good, and the pod with it.
    pub fn has_failed_init(&self) -> bool {
        let failed = self.exit.as_ref().is_some_and(|exit| exit.code != 0);
        self.role == Role::Init && self.finished && failed
    }

    /// It has a process of ours.
    pub fn has_process(&self) -> bool {
        matches!(self.step, Step::PostStart | Step::Running)
    }
}

impl Phase {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// Succeeded or Failed.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// The OCI id of a pod's sandbox: 64 hexadecimal digits.
pub fn sandbox_id(uid: &str, attempt: u32) -> String {
    // No container can be called "", so the two never meet.
    container_id(uid, "", attempt)
}

/// The OCI id of an instance of a container: 64 hexadecimal digits.
pub fn container_id(uid: &str, container: &str, attempt: u32) -> String {
    let digest = Sha256::digest(format!("{uid}/{container}/{attempt}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
