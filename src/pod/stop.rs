//! Stopping a container: its Killing event, the preStop hook, the stop signal, SIGKILL, each in
//! what is left of one grace period. All containers of a pod are stopped side by side, but for the
//! signals of its sidecars, which outlive the others and end in reverse order.

use super::action::{Action, EventKind};
use super::event::Hook;
use super::machine::Turn;
use super::restart::{Policy, later};
use super::state::{ContainerState, Kill, KillReason, KillStage, Step};
use crate::image::config;
use crate::kube::roster::Role;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

/// Seconds a program has between its stop signal and SIGKILL however little grace is left.
const LEAST_TERM: i64 = 2;
/// SIGKILL is repeated after as many seconds; it has failed only if the kernel holds the process.
const KILL_AGAIN: i64 = 5;
/// `SIGTERM`, for an image without StopSignal.
const SIGTERM: i32 = 15;

/// Begins to stop a container that has a process. A grace of 0 is a forced deletion's, and counts as
/// 1 (docs/decisions/0019).
pub fn kill(turn: &mut Turn<'_>, container: &mut ContainerState, why: KillReason, grace: i64) {
    if container.kill.is_some() {
        return shorten(turn, container, why, grace);
    }
    let message = announcement(turn, container, why);
    turn.record(EventKind::Normal, "Killing", message, Some(&container.name));
    // A container on its way out is no longer judged; whether it is ready still is.
    container.probes.startup.due = None;
    container.probes.liveness.due = None;
    let limit = grace.max(1);
    let until = later(turn.now, limit);
    let stage = KillStage::PreStop;
    container.kill = Some(Kill { why, since: turn.now, grace, stage, until, stuck: None });
    if has_pre_stop(turn.spec(&container.name)) {
        run_pre_stop(turn, container, limit);
    } else {
        await_turn(turn, container);
    }
}

/// Signals the sidecars whose turn has come: nobody runs any more that they are to outlive.
pub fn take_turns(turn: &mut Turn<'_>, containers: &mut [ContainerState]) {
    let runs = |it: &ContainerState| it.step != Step::Idle;
    if containers.iter().any(|it| it.role == Role::Regular && runs(it)) {
        return;
    }
    for container in containers.iter_mut().rev().filter(|it| it.role == Role::Sidecar) {
        if is_at(container, KillStage::Turn) {
            terminate(turn, container);
        }
        if runs(container) {
            return;
        }
    }
}

/// Moves on if the present stage has used up its time.
pub fn tick(turn: &mut Turn<'_>, container: &mut ContainerState) {
    match &container.kill {
        Some(kill) if kill.until <= turn.now => match kill.stage {
            KillStage::PreStop => await_turn(turn, container),
            KillStage::Turn => terminate(turn, container),
            KillStage::Term => sigkill(turn, container),
            KillStage::Kill => {
                let (name, attempt) = (container.name.clone(), container.attempt);
                turn.actions.push(Action::Examine { container: name, attempt });
                sigkill(turn, container);
            }
        },
        _ => {}
    }
}

/// The preStop hook has returned.
pub fn pre_stop_done(turn: &mut Turn<'_>, container: &mut ContainerState, failed: bool) {
    if is_at(container, KillStage::PreStop) {
        // One that only ran out of time has not failed.
        let in_time = container.kill.as_ref().is_some_and(|kill| turn.now < kill.until);
        if failed && in_time {
            let message = "PreStopHook failed".into();
            let about = Some(container.name.as_str());
            turn.record(EventKind::Warning, "FailedPreStopHook", message, about);
        }
        await_turn(turn, container);
    }
}

/// SIGKILL has not ended it: the kernel holds on to a process.
pub fn kill_failed(turn: &mut Turn<'_>, container: &mut ContainerState, message: &str) {
    if let Some(kill) = container.kill.as_mut().filter(|kill| kill.stage == KillStage::Kill) {
        kill.stuck = Some(message.into());
        let message = format!("error killing pod: {message}");
        turn.record(EventKind::Warning, "FailedKillPod", message, None);
    }
}

/// Gives the present stage out again: the monitor that did so is gone, perhaps before it was done.
pub fn resume(turn: &mut Turn<'_>, container: &mut ContainerState) {
    match container.kill.as_ref().map(|kill| kill.stage) {
        Some(KillStage::PreStop) => {
            let left = container.kill.as_ref().map_or(0, |kill| kill.until.as_second())
                - turn.now.as_second();
            if left > 0 {
                run_pre_stop(turn, container, left);
            }
        }
        Some(KillStage::Term) => signal(turn, container),
        Some(KillStage::Kill) => sigkill(turn, container),
        Some(KillStage::Turn) | None => {}
    }
}

/// Less grace than before; never more.
fn shorten(turn: &mut Turn<'_>, container: &mut ContainerState, why: KillReason, grace: i64) {
    let Some(kill) = &mut container.kill else { return };
    if why == KillReason::Deleted {
        kill.why = why;
    }
    if kill.stage == KillStage::Kill {
        return;
    }
    let least = if kill.stage == KillStage::Term { LEAST_TERM } else { 1 };
    kill.until = kill.until.min(later(turn.now, grace.max(least)));
    kill.grace = match grace {
        0 => 0,
        grace => kill.grace.min(turn.now.as_second() - kill.since.as_second() + grace),
    };
    if grace == 0 && kill.stage == KillStage::Term {
        signal(turn, container);
    }
}

/// The stop signal is next: a sidecar that goes with its pod waits until [`take_turns`], or until
/// its grace is used up.
fn await_turn(turn: &mut Turn<'_>, container: &mut ContainerState) {
    match &mut container.kill {
        Some(kill) if container.role == Role::Sidecar && is_of_pod(kill.why) => {
            kill.stage = KillStage::Turn;
            kill.until = later(kill.since, kill.grace.max(1));
            if kill.until <= turn.now {
                terminate(turn, container);
            }
        }
        _ => terminate(turn, container),
    }
}

fn is_of_pod(why: KillReason) -> bool {
    matches!(why, KillReason::Deleted | KillReason::Ended | KillReason::Sandbox)
}

fn is_at(container: &ContainerState, stage: KillStage) -> bool {
    container.kill.as_ref().is_some_and(|kill| kill.stage == stage)
}

fn terminate(turn: &mut Turn<'_>, container: &mut ContainerState) {
    if let Some(kill) = &mut container.kill {
        let spent = turn.now.duration_since(kill.since).as_secs();
        kill.stage = KillStage::Term;
        kill.until = later(turn.now, (kill.grace - spent).max(LEAST_TERM));
        let goes = matches!(kill.why, KillReason::Deleted | KillReason::Ended);
        if goes && turn.spec(&container.name).is_some_and(has_host_ports) {
            let container = container.name.clone();
            turn.actions.push(Action::ClosePorts { container });
        }
        signal(turn, container);
    }
}

fn signal(turn: &mut Turn<'_>, container: &ContainerState) {
    let own = turn.spec(&container.name).and_then(|spec| spec.lifecycle.as_ref());
    let own = own.and_then(|lifecycle| config::signal(lifecycle.stop_signal.as_deref()?));
    let of_image = Some(container.image.stop_signal).filter(|signal| *signal > 0);
    let signal = own.or(of_image).unwrap_or(SIGTERM);
    let is_forced = container.kill.as_ref().is_some_and(|kill| kill.grace == 0);
    let (container, attempt) = (container.name.clone(), container.attempt);
    turn.actions.push(match is_forced {
        true => Action::Dismiss { container, attempt, signal },
        false => Action::Signal { container, attempt, signal },
    });
}

fn sigkill(turn: &mut Turn<'_>, container: &mut ContainerState) {
    if let Some(kill) = &mut container.kill {
        kill.stage = KillStage::Kill;
        kill.until = later(turn.now, KILL_AGAIN);
        let (container, attempt) = (container.name.clone(), container.attempt);
        turn.actions.push(Action::KillContainer { container, attempt });
    }
}

fn run_pre_stop(turn: &mut Turn<'_>, container: &ContainerState, seconds: i64) {
    turn.actions.push(Action::RunHook {
        container: container.name.clone(),
        attempt: container.attempt,
        which: Hook::PreStop,
        timeout: Some(Duration::from_secs(seconds.unsigned_abs())),
    });
}

fn has_host_ports(container: &api::Container) -> bool {
    container.ports.iter().flatten().any(|port| port.host_port.is_some_and(|port| port != 0))
}

fn has_pre_stop(container: Option<&api::Container>) -> bool {
    container.and_then(|container| container.lifecycle.as_ref()?.pre_stop.as_ref()).is_some()
}

/// The message of the Killing event.
fn announcement(turn: &Turn<'_>, container: &ContainerState, why: KillReason) -> String {
    let name = &container.name;
    let text = match why {
        KillReason::Deleted | KillReason::Ended | KillReason::Sandbox | KillReason::RestartAll => {
            return format!("Stopping container {name}");
        }
        KillReason::PostStart => return "FailedPostStartHook".into(),
        KillReason::Liveness if container.role == Role::Sidecar => {
            return format!("Init container {name} failed liveness probe");
        }
        KillReason::Startup if container.role == Role::Sidecar => {
            return format!("Init container {name} failed startup probe");
        }
        KillReason::Liveness => format!("Container {name} failed liveness probe"),
        KillReason::Startup => format!("Container {name} failed startup probe"),
        KillReason::Changed => format!("Container {name} definition changed"),
    };
    // A new definition is started whatever the policy.
    if why == KillReason::Changed || turn.policy() != Policy::Never {
        format!("{text}, will be restarted")
    } else {
        text
    }
}

/// When the stopping of a container wants its next tick.
pub fn deadline(container: &ContainerState) -> Option<Timestamp> {
    container.kill.as_ref().filter(|_| container.step != Step::Idle).map(|kill| kill.until)
}
