//! The pod as a whole: its sandbox, which is its life, and its end.

use super::action::{Action, EventKind};
use super::event::{Event, ExitStatus, SandboxFault};
use super::machine::Turn;
use super::restart::{Policy, later};
use super::start::Ended;
use super::state::{End, Failure, KillReason, PodState, SandboxStep, sandbox_id};
use super::{eviction, start, stop};
use crate::kube::Pod;
use crate::kube::roster::Role;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Takes what happened to the sandbox into the state.
pub fn sandbox_happened(turn: &mut Turn<'_>, state: &mut PodState, event: &Event) {
    let sandbox = &mut state.sandbox;
    match event {
        Event::SandboxReady { attempt, pid, ip }
            if sandbox.step == SandboxStep::Creating && sandbox.attempt == *attempt =>
        {
            sandbox.step = SandboxStep::Ready;
            sandbox.id = sandbox_id(turn.uid(), *attempt);
            sandbox.pid = *pid;
            sandbox.ip.clone_from(ip);
            sandbox.failures = 0;
            sandbox.retry = None;
            sandbox.trouble = None;
        }
        Event::SandboxFailed { attempt, fault, message }
            if sandbox.step == SandboxStep::Creating && sandbox.attempt == *attempt =>
        {
            failed(turn, state, fault, message);
        }
        Event::SandboxExited { attempt }
            if sandbox.step == SandboxStep::Ready && sandbox.attempt == *attempt =>
        {
            sandbox.step = SandboxStep::Lost;
            sandbox.pid = 0;
            if state.is_ending() {
                return;
            }
            tell_changed(turn);
            for container in state.containers.iter_mut().filter(|c| c.has_process()) {
                stop::kill(turn, container, KillReason::Sandbox, turn.grace());
            }
            give_up(turn, state);
        }
        Event::SandboxStopped { attempt, failure }
            if sandbox.step == SandboxStep::Stopping && sandbox.attempt == *attempt =>
        {
            if let Some(failure) = failure {
                sandbox.step = SandboxStep::Lost;
                return kill_failed(turn, state, failure);
            }
            sandbox.step = SandboxStep::Absent;
            sandbox.attempt += 1;
            sandbox.ip = None;
            sandbox.failures = 0;
            sandbox.retry = None;
            begin_anew(state);
        }
        _ => {}
    }
}

/// A pod that runs once and has begun gets no other sandbox.
fn give_up(turn: &Turn<'_>, state: &mut PodState) {
    if turn.policy() == Policy::Never && state.containers.iter().any(|it| it.begun) {
        let regular = state.containers.iter_mut().filter(|it| it.role == Role::Regular);
        regular.for_each(|container| container.finished = true);
    }
}

/// In the next sandbox everything begins anew, the init containers too.
pub fn begin_anew(state: &mut PodState) {
    state.initialized = false;
    for container in &mut state.containers {
        container.begun = false;
        container.finished &= container.role != Role::Init;
    }
}

/// `activeDeadlineSeconds`: a pod that has been there for too long has failed.
pub fn notice_deadline(turn: &mut Turn<'_>, state: &mut PodState) {
    if active_deadline(turn.pod, state).is_none_or(|deadline| deadline > turn.now) {
        return;
    }
    let message = "Pod was active on the node longer than the specified deadline";
    turn.record(EventKind::Normal, "DeadlineExceeded", message.into(), None);
    let (reason, message) = ("DeadlineExceeded".into(), message.into());
    state.failure = Some(Failure { reason, message, rejected: false });
}

/// When the pod has been there for too long; `None` for never, or if it is ending already.
pub fn active_deadline(pod: &Pod, state: &PodState) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    state.started.filter(|_| !state.is_ending()).map(|started| later(started, seconds))
}

/// Stops what still runs in a pod that has nothing left to do.
pub fn notice_end(turn: &mut Turn<'_>, state: &mut PodState) {
    if state.deletion.is_some() || !state.is_ending() {
        return;
    }
    let is_evicted = state.failure.as_ref().is_some_and(|it| it.reason == eviction::REASON);
    let grace = if is_evicted { eviction::GRACE } else { turn.grace() };
    let running = state.containers.iter_mut().filter(|container| container.has_process());
    for container in running.filter(|container| container.kill.is_none()) {
        stop::kill(turn, container, KillReason::Ended, grace);
    }
}

/// This machine does not run the pod: it has failed before anything of it was made.
pub fn rejected(turn: &mut Turn<'_>, state: &mut PodState, reason: &str, message: &str) {
    if state.sandbox.step == SandboxStep::Creating {
        state.sandbox.step = SandboxStep::Absent;
        turn.record(EventKind::Warning, reason.to_owned(), message.into(), None);
        let message = format!("Pod was rejected: {message}");
        state.failure = Some(Failure { reason: reason.into(), message, rejected: true });
    }
}

fn failed(turn: &mut Turn<'_>, state: &mut PodState, fault: &SandboxFault, message: &str) {
    let sandbox = &mut state.sandbox;
    let delay = retry_delay(fault, sandbox.failures);
    sandbox.step = SandboxStep::Absent;
    sandbox.failures = sandbox.failures.saturating_add(1);
    sandbox.retry = Some(turn.now.saturating_add(delay).unwrap_or(Timestamp::MAX));
    let (reason, message) = match fault {
        SandboxFault::Volume(volume) => {
            let what = format!("MountVolume.SetUp failed for volume {volume:?}");
            // The space is the kubelet's.
            ("FailedMount", format!("{what} : {message}"))
        }
        SandboxFault::Pod => (
            "FailedCreatePodContainer",
            format!("unable to ensure pod container exists: {message}"),
        ),
        SandboxFault::Network => ("NetworkNotReady", format!("network is not ready: {message}")),
        SandboxFault::Sandbox => {
            ("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {message}"))
        }
    };
    sandbox.trouble =
        Some(Failure { reason: reason.into(), message: message.clone(), rejected: false });
    turn.record(EventKind::Warning, reason, message, None);
}

fn tell_changed(turn: &mut Turn<'_>) {
    let message = "Pod sandbox changed, it will be killed and re-created.".into();
    turn.record(EventKind::Normal, "SandboxChanged", message, None);
}

/// The machine has been booted since: the sandbox and all that ran in it are gone, and nobody knows
/// when and how they ended.
pub fn rebooted(turn: &mut Turn<'_>, state: &mut PodState) {
    for container in state.containers.iter_mut().filter(|container| container.has_process()) {
        container.kill = None;
        let (status, finished_at) = (ExitStatus::Rebooted, turn.now);
        start::ended(turn, container, &Ended { status, finished_at, message: "" });
    }
    if state.sandbox.step != SandboxStep::Ready {
        return;
    }
    state.sandbox.step = SandboxStep::Lost;
    state.sandbox.pid = 0;
    give_up(turn, state);
    if !state.is_ending() {
        tell_changed(turn);
    }
}

/// When the sandbox or the end wants its next tick.
pub fn deadline(state: &PodState) -> Option<Timestamp> {
    let is_ending = state.is_ending();
    let waits_to_make = state.sandbox.step == SandboxStep::Absent && !is_ending;
    let waits_to_remove = state.is_still()
        && (state.sandbox.step == SandboxStep::Lost || is_ending)
        && state.end == End::Alive;
    state.sandbox.retry.filter(|_| waits_to_make || waits_to_remove)
}

/// The kubelet retries volumes from 500 ms on, doubling to about 2 min, a network that is not ready
/// every second, and the rest every 10 s.
fn retry_delay(fault: &SandboxFault, failures: u32) -> SignedDuration {
    match fault {
        SandboxFault::Volume(_) => SignedDuration::from_millis(500 << failures.min(8)),
        SandboxFault::Network => SignedDuration::from_secs(1),
        SandboxFault::Pod | SandboxFault::Sandbox => SignedDuration::from_secs(10),
    }
}

/// Something of the pod could not be removed; it is tried again.
fn kill_failed(turn: &mut Turn<'_>, state: &mut PodState, failure: &str) {
    let sandbox = &mut state.sandbox;
    sandbox.retry = Some(later(turn.now, 1_i64 << sandbox.failures.min(4)));
    sandbox.failures = sandbox.failures.saturating_add(1);
    turn.record(EventKind::Warning, "FailedKillPod", format!("error killing pod: {failure}"), None);
}

/// Makes the sandbox a living pod needs, and its containers in it.
pub fn follow_sandbox(turn: &mut Turn<'_>, state: &mut PodState) {
    if state.is_ending() {
        return;
    }
    let is_due = state.sandbox.retry.is_none_or(|retry| retry <= turn.now);
    let attempt = state.sandbox.attempt;
    match state.sandbox.step {
        SandboxStep::Absent if is_due => {
            state.sandbox.step = SandboxStep::Creating;
            state.sandbox.retry = None;
            turn.actions.push(Action::CreateSandbox { attempt });
        }
        SandboxStep::Lost if is_due && state.is_still() => {
            state.sandbox.step = SandboxStep::Stopping;
            state.sandbox.retry = None;
            turn.actions.push(Action::StopSandbox { attempt });
        }
        SandboxStep::Ready if !state.restarting => start::start_next(turn, state),
        _ => {}
    }
}

/// Removes a pod that is to go or has nothing left to run.
pub fn follow_end(turn: &mut Turn<'_>, state: &mut PodState) {
    let is_busy = matches!(state.sandbox.step, SandboxStep::Creating | SandboxStep::Stopping);
    let is_due = state.sandbox.retry.is_none_or(|retry| retry <= turn.now);
    match state.end {
        End::Alive if state.is_ending() && state.is_still() && !is_busy && is_due => {
            state.end = End::TearingDown;
            state.sandbox.retry = None;
            turn.actions.push(Action::Teardown);
        }
        End::TornDown if state.deletion.is_some() => {
            state.end = End::Removed;
            turn.actions.push(Action::Remove);
        }
        End::TornDown => turn.actions.push(Action::Exit),
        _ => {}
    }
}

/// The answer to `Teardown`.
pub fn torn_down(turn: &mut Turn<'_>, state: &mut PodState, failure: Option<&str>) {
    if state.end != End::TearingDown {
        return;
    }
    if let Some(failure) = failure {
        state.end = End::Alive;
        return kill_failed(turn, state, failure);
    }
    state.end = End::TornDown;
    state.sandbox.step = SandboxStep::Absent;
    state.sandbox.pid = 0;
    state.sandbox.retry = None;
}
