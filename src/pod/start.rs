//! Starting containers, and what follows from their end: the restart policy and the back-offs.

use super::action::{Action, EventKind};
use super::event::{Event, ExitStatus, Hook, ImageFault, Pulled, StartStage};
use super::machine::Turn;
use super::restart::{go_duration, go_millis, hold, later, raise};
use super::state::{
    ContainerState, Exit, KillReason, PodState, SandboxStep, Step, Waiting, container_id,
};
use super::{order, probes, restart_all, stop};
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::jiff::Timestamp;

/// How often a container in back-off is reported, in seconds: the kubelet's resync.
const RESYNC: i64 = 60;
/// Seconds after which a failed pull is shown as held back.
const SHOW_PULL_HOLD: i64 = 1;
/// Seconds after which a start that failed for want of something is tried again.
const RETRY: i64 = 10;
/// Seconds after which a program that could not be executed is dealt with as ended: the kubelet
/// notices it that late, and `RunContainerError` would not be seen otherwise.
const NOTICE_START_ERROR: i64 = 1;

/// Starts the next container that is to run and may, in the order of the spec: one at a time, its
/// postStart hook included, as the kubelet does.
pub fn start_next(turn: &mut Turn<'_>, state: &mut PodState) {
    for container in &mut state.containers {
        remind(turn, container);
    }
    order::note_initialized(state);
    if state.containers.iter().any(is_on_its_way) {
        return;
    }
    for at in order::candidates(state) {
        let Some(container) = state.containers.get_mut(at) else { continue };
        let later = container.not_before.is_some_and(|time| time > turn.now);
        if later || is_held(turn, container) {
            continue;
        }
        let attempt = container.next_attempt();
        container.step = Step::Starting;
        container.remind = None;
        let spec = turn.spec(&container.name);
        container.image.wanted = spec.and_then(|spec| spec.image.clone()).unwrap_or_default();
        let container = container.name.clone();
        return turn.actions.push(Action::StartContainer { container, attempt });
    }
}

/// When the starts want their next tick.
pub fn deadline(state: &PodState) -> Option<Timestamp> {
    if state.sandbox.step != SandboxStep::Ready || state.is_ending() || state.restarting {
        return None;
    }
    let is_free = !state.containers.iter().any(is_on_its_way);
    let waits = |container: &ContainerState| {
        let remind = container.remind.filter(|remind| Some(*remind) < container.not_before);
        [container.not_before.filter(|_| is_free), remind]
    };
    let candidates = order::candidates(state).into_iter();
    candidates.filter_map(|at| state.containers.get(at)).flat_map(waits).flatten().min()
}

/// Takes the answer to a `StartContainer`; `doomed` if the pod has been given up since.
pub fn answered(
    turn: &mut Turn<'_>,
    container: &mut ContainerState,
    event: &Event,
    doomed: Option<(KillReason, i64)>,
) {
    if container.step != Step::Starting {
        return;
    }
    match event {
        Event::ImagePulling { volume, .. } => {
            container.image.pulling = true;
            container.image.of_volume.clone_from(volume);
            let message = format!("Pulling image {:?}", container.image.sought());
            turn.record(EventKind::Normal, "Pulling", message, Some(&container.name));
        }
        Event::ImageReady { image, image_id, stop_signal, pulled, .. } => {
            container.image.pulling = false;
            container.image.of_volume = None;
            container.image.name.clone_from(image);
            container.image.id.clone_from(image_id);
            container.image.stop_signal = *stop_signal;
            container.image.backoff = None;
            let message = got_image(&container.image.wanted, pulled.as_ref());
            turn.record(EventKind::Normal, "Pulled", message, Some(&container.name));
        }
        Event::ImageFailed { volume, fault, message, .. } => {
            container.step = Step::Idle;
            container.image.of_volume.clone_from(volume);
            container.image.pulling = false;
            if doomed.is_none() {
                image_failed(turn, container, *fault, message);
            }
        }
        Event::ContainerStarted { attempt, pid, user, .. }
            if *attempt == container.next_attempt() =>
        {
            created(turn, container);
            container.user = Some(user.clone());
            started(turn, container, *pid, doomed);
        }
        Event::ContainerFailed { attempt, stage, message, .. }
            if *attempt == container.next_attempt() =>
        {
            container.step = Step::Idle;
            container.image.pulling = false;
            // What nobody waits for any more has not failed.
            if doomed.is_none() {
                failed(turn, container, *stage, message);
            }
        }
        _ => {}
    }
}

/// Nobody waits for what is being pulled for a pod that goes.
pub fn cancel_pulls(turn: &mut Turn<'_>, state: &PodState) {
    if state.is_ending() {
        let pulls = |it: &&ContainerState| it.step == Step::Starting && it.image.pulling;
        for container in state.containers.iter().filter(pulls) {
            let container = container.name.clone();
            turn.actions.push(Action::CancelPull { container });
        }
    }
}

/// As the kubelet, which goes on without them.
pub fn secrets_missing(turn: &mut Turn<'_>, names: &[String]) {
    let message = format!(
        "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not \
         succeed.",
        names.join(", ")
    );
    turn.record(EventKind::Warning, "FailedToRetrieveImagePullSecret", message, None);
}

fn got_image(wanted: &str, pulled: Option<&Pulled>) -> String {
    let Some(Pulled { took, with_waiting, size }) = pulled else {
        return format!(
            "Container image {wanted:?} already present on machine and can be accessed by the pod"
        );
    };
    format!(
        "Successfully pulled image {wanted:?} in {} ({} including waiting). Image size: {size} bytes.",
        go_millis(*took),
        go_millis(*with_waiting)
    )
}

/// The postStart hook has returned.
pub fn post_start_done(turn: &mut Turn<'_>, container: &mut ContainerState, failure: Option<&str>) {
    if container.step != Step::PostStart || container.kill.is_some() {
        return;
    }
    let Some(failure) = failure else {
        return runs(turn, container);
    };
    let message = "PostStartHook failed".into();
    turn.record(EventKind::Warning, "FailedPostStartHook", message, Some(&container.name));
    container.waiting = waiting("PostStartHookError", failure);
    let grace = turn.grace();
    stop::kill(turn, container, KillReason::PostStart, grace);
}

/// How an instance ended.
pub struct Ended<'a> {
    /// Its exit status.
    pub status: ExitStatus,
    /// When.
    pub finished_at: Timestamp,
    /// Its termination message.
    pub message: &'a str,
}

/// The container's process has ended: it is cleaned up, and restarted if the policy says so, at
/// once or after its back-off.
pub fn ended(turn: &mut Turn<'_>, container: &mut ContainerState, end: &Ended<'_>) {
    let (name, attempt) = (container.name.clone(), container.attempt);
    turn.actions.push(Action::CleanContainer { container: name, attempt });
    let (code, reason, message) = verdict(end);
    let kill = container.kill.take().map(|kill| kill.why);
    container.exit = Some(Exit {
        id: container.id.clone(),
        code,
        reason: reason.into(),
        message: message.into(),
        started_at: container.started_at.unwrap_or(end.finished_at),
        finished_at: end.finished_at,
    });
    container.step = Step::Idle;
    container.pid = 0;
    container.probes = Default::default();
    container.started = false;
    container.finished = turn.is_final(container, kill, code);
    if kill != Some(KillReason::PostStart) || container.finished {
        container.waiting = None;
    }
    match kill {
        Some(KillReason::Deleted | KillReason::Ended | KillReason::RestartAll) => {}
        // The kubelet decides on these restarts before it kills: what counts is when the instance
        // before this one ended.
        Some(KillReason::Liveness | KillReason::Startup | KillReason::Sandbox) => {
            let before = container.last.as_ref().map(|last| last.finished_at);
            restart_after(turn, container, before);
        }
        Some(KillReason::Changed) => forget_backoff(container),
        // It is begun anew with all the others, which no back-off holds.
        _ if restart_all::asks(turn, container) => {}
        Some(KillReason::PostStart) | None => {
            restart_after(turn, container, Some(end.finished_at));
        }
    }
}

/// A container whose definition has changed starts afresh.
pub fn forget_backoff(container: &mut ContainerState) {
    container.backoff = None;
    container.image.backoff = None;
    container.not_before = None;
    container.remind = None;
    container.waiting = None;
}

fn is_on_its_way(container: &ContainerState) -> bool {
    matches!(container.step, Step::Starting | Step::PostStart)
}

/// A due restart asks its back-off again; others have asked already.
fn is_held(turn: &mut Turn<'_>, container: &mut ContainerState) -> bool {
    if container.not_before.take().is_none() {
        return false;
    }
    let before = container.exit.as_ref().map(|exit| exit.finished_at);
    restart_after(turn, container, before);
    container.not_before.is_some()
}

/// Asks the back-off whether the restart after what ended at `before` may go on.
fn restart_after(turn: &mut Turn<'_>, container: &mut ContainerState, before: Option<Timestamp>) {
    if container.finished {
        return;
    }
    let held = before.and_then(|before| hold(&mut container.backoff, before, turn.now));
    if held.is_none() {
        container.not_before = None;
        return;
    }
    let delay = container.backoff.map_or(0, |backoff| backoff.delay);
    let finished = container.exit.as_ref().map_or(turn.now, |exit| exit.finished_at);
    container.not_before = Some(later(finished, delay));
    let message = format!(
        "back-off {} restarting failed container={} pod={}",
        go_duration(delay),
        container.name,
        turn.pod_name()
    );
    container.waiting = waiting("CrashLoopBackOff", &message);
    tell_crash_loop(turn, container);
}

fn tell_crash_loop(turn: &mut Turn<'_>, container: &mut ContainerState) {
    let (name, pod) = (&container.name, turn.pod_name());
    let message = format!("Back-off restarting failed container {name} in pod {pod}");
    turn.record(EventKind::Warning, "BackOff", message, Some(name));
    container.remind = Some(later(turn.now, RESYNC));
}

/// Tells again of a back-off that lasts, and shows a failed pull as one.
fn remind(turn: &mut Turn<'_>, container: &mut ContainerState) {
    let is_over = container.not_before.is_none_or(|time| time <= turn.now);
    if is_over || container.remind.is_none_or(|time| time > turn.now) {
        return;
    }
    match container.waiting.as_ref().map(|waiting| waiting.reason.as_str()) {
        Some("CrashLoopBackOff") => tell_crash_loop(turn, container),
        Some("ErrImagePull" | "RegistryUnavailable" | "ImagePullBackOff") => {
            tell_pull_hold(turn, container)
        }
        _ => container.remind = None,
    }
}

fn tell_pull_hold(turn: &mut Turn<'_>, container: &mut ContainerState) {
    let held = format!("Back-off pulling image {:?}", container.image.sought());
    if let Some(Waiting { reason, message }) = container.waiting.take() {
        // The first time it is still the pull's own error.
        let shown = if reason == "ImagePullBackOff" {
            message
        } else {
            format!("{held}: {reason}: {message}")
        };
        container.waiting = waiting("ImagePullBackOff", &shown);
    }
    turn.record(EventKind::Normal, "BackOff", held, Some(&container.name));
    record_error(turn, container, "ImagePullBackOff");
    container.remind = Some(later(turn.now, RESYNC));
}

fn image_failed(
    turn: &mut Turn<'_>,
    container: &mut ContainerState,
    fault: ImageFault,
    message: &str,
) {
    let image = container.image.sought();
    let (reason, event, text) = match fault {
        ImageFault::InvalidName => (
            "InvalidImageName",
            "InspectFailed",
            format!("Failed to apply default image tag {image:?}: {message}"),
        ),
        ImageFault::NeverPull => (
            "ErrImageNeverPull",
            "ErrImageNeverPull",
            format!("Container image {image:?} is not present with pull policy of Never"),
        ),
        ImageFault::Inspect => (
            "ImageInspectError",
            "InspectFailed",
            format!("Failed to inspect image {image:?}: {message}"),
        ),
        ImageFault::Pull => {
            ("ErrImagePull", "Failed", format!("Failed to pull image {image:?}: {message}"))
        }
        ImageFault::Unavailable => {
            let text = format!("Failed to pull image {image:?}: RegistryUnavailable: {message}");
            ("RegistryUnavailable", "Failed", text)
        }
    };
    let shown = match fault {
        ImageFault::Pull => message.to_owned(),
        ImageFault::Unavailable => {
            format!("image pull failed for {image} because the registry is unavailable: {message}")
        }
        _ => text.clone(),
    };
    turn.record(EventKind::Warning, event, text, Some(&container.name));
    record_error(turn, container, reason);
    container.waiting = waiting(reason, &shown);
    if matches!(fault, ImageFault::Pull | ImageFault::Unavailable) {
        raise(&mut container.image.backoff, turn.now, turn.now);
        let delay = container.image.backoff.map_or(0, |backoff| backoff.delay);
        container.not_before = Some(later(turn.now, delay));
        container.remind = Some(later(turn.now, SHOW_PULL_HOLD));
    } else {
        container.not_before = Some(later(turn.now, RETRY));
    }
}

fn failed(turn: &mut Turn<'_>, container: &mut ContainerState, stage: StartStage, message: &str) {
    let reason = match stage {
        StartStage::Config => "CreateContainerConfigError",
        StartStage::Create => "CreateContainerError",
        StartStage::Start => "RunContainerError",
    };
    let id = container_id(turn.uid(), &container.name, container.next_attempt());
    container.waiting = waiting(reason, message);
    container.not_before = Some(later(turn.now, RETRY));
    if stage == StartStage::Start {
        created(turn, container);
        container.exit = Some(Exit {
            id: container.id.clone(),
            code: 128,
            reason: "StartError".into(),
            message: message.into(),
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: turn.now,
        });
        container.finished = turn.is_final(container, None, 128);
        container.not_before = Some(later(turn.now, NOTICE_START_ERROR));
    }
    // As the kubelet does: otherwise no two such events would be the same.
    record_error(turn, container, &message.replace(&id, &container.name));
}

/// The next instance has been made: the last one moves to `lastState`.
fn created(turn: &mut Turn<'_>, container: &mut ContainerState) {
    container.attempt = container.next_attempt();
    container.begun = true;
    container.id = container_id(turn.uid(), &container.name, container.attempt);
    if let Some(exit) = container.exit.take() {
        container.last = Some(exit);
    }
    container.started_at = None;
    container.user = None;
    turn.record(EventKind::Normal, "Created", "Container created".into(), Some(&container.name));
}

fn started(
    turn: &mut Turn<'_>,
    container: &mut ContainerState,
    pid: i32,
    doomed: Option<(KillReason, i64)>,
) {
    container.pid = pid;
    container.started_at = Some(turn.now);
    turn.record(EventKind::Normal, "Started", "Container started".into(), Some(&container.name));
    if let Some((why, grace)) = doomed {
        container.step = Step::Running;
        container.started = true;
        container.waiting = None;
        stop::kill(turn, container, why, grace);
    } else if turn.spec(&container.name).is_some_and(has_post_start) {
        container.step = Step::PostStart;
        let (container, attempt) = (container.name.clone(), container.attempt);
        let which = Hook::PostStart;
        turn.actions.push(Action::RunHook { container, attempt, which, timeout: None });
    } else {
        runs(turn, container);
    }
}

fn runs(turn: &mut Turn<'_>, container: &mut ContainerState) {
    container.step = Step::Running;
    container.waiting = None;
    let clock = turn.clock(container);
    if let Some(spec) = turn.spec(&container.name) {
        container.probes = probes::begin(spec, clock);
        container.started = spec.startup_probe.is_none();
    }
}

fn has_post_start(container: &api::Container) -> bool {
    container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some())
}

/// Exit code, reason and message of `state.terminated`.
fn verdict<'a>(end: &Ended<'a>) -> (i32, &'static str, &'a str) {
    match end.status {
        ExitStatus::Unknown => (
            137,
            "ContainerStatusUnknown",
            "The container could not be located when the pod was terminated",
        ),
        // containerd's words.
        ExitStatus::Rebooted => (255, "Unknown", ""),
        ExitStatus::Code { code: 0, .. } => (0, "Completed", end.message),
        ExitStatus::Code { code: 137, oom: true } => (137, "OOMKilled", end.message),
        ExitStatus::Code { code, .. } => (code, "Error", end.message),
    }
}

fn waiting(reason: &str, message: &str) -> Option<Waiting> {
    Some(Waiting { reason: reason.into(), message: message.into() })
}

fn record_error(turn: &mut Turn<'_>, container: &ContainerState, error: &str) {
    turn.record(EventKind::Warning, "Failed", format!("Error: {error}"), Some(&container.name));
}
