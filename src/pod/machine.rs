//! DECIDE: what a pod does next. Pure: no clock, no files, no processes.
//!
//! One turn takes one event into the state, then follows up on everything that the state now
//! allows: a sandbox first, in it the containers, one started after another (`order`), at the end the
//! teardown. What a container needs is in `start` and `stop`.

use super::action::{Action, EventKind, PodEvent};
use super::event::{Event, Hook};
use super::restart::{Policy, Terms};
use super::start::Ended;
use super::state::{ContainerState, Deletion, End, KillReason, PodState, SandboxStep, Step};
use super::{conditions, eviction, life, probes, restart_all, start, stop};
use crate::kube::Pod;
use crate::kube::roster::{self, Role};
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::jiff::Timestamp;
use std::borrow::Cow;

/// `terminationGracePeriodSeconds`, where nobody says.
const DEFAULT_GRACE: i64 = 30;

/// What follows from `event`. Changes `state`, which is to be written before the actions are done.
pub fn next(pod: &Pod, state: &mut PodState, event: &Event, now: Timestamp) -> Vec<Action> {
    let since = state.started.unwrap_or(now);
    let mut turn = Turn { pod, roster: roster::all(pod), since, now, actions: Vec::new() };
    take_up(&mut turn, state);
    happened(&mut turn, state, event);
    notice_deletion(&mut turn, state);
    life::notice_deadline(&mut turn, state);
    life::notice_end(&mut turn, state);
    restart_all::follow(&mut turn, state);
    notice_images(&mut turn, state);
    start::cancel_pulls(&mut turn, state);
    stop::take_turns(&mut turn, &mut state.containers);
    for container in &mut state.containers {
        stop::tick(&mut turn, container);
        probes::ask(&mut turn, container);
    }
    eviction::ask(&mut turn, state);
    life::follow_sandbox(&mut turn, state);
    conditions::settle(pod, state, now);
    life::follow_end(&mut turn, state);
    turn.actions
}

/// When the machine wants its next [`Event::Tick`]; `None` for never. Always later than the time
/// of the turn before it.
pub fn deadline(pod: &Pod, state: &PodState) -> Option<Timestamp> {
    if matches!(state.end, End::TornDown | End::Removed) {
        return None;
    }
    let of = |container| [probes::deadline(container), stop::deadline(container)];
    let containers = state.containers.iter().flat_map(of);
    let all = [
        life::deadline(state),
        life::active_deadline(pod, state),
        start::deadline(state),
        eviction::deadline(state),
    ];
    containers.chain(all).flatten().min()
}

/// One turn of the machine: what it knows and what it has decided so far.
pub(super) struct Turn<'a> {
    /// The wanted pod.
    pub pod: &'a Pod,
    /// Its containers.
    pub roster: Vec<(Role, Cow<'a, api::Container>)>,
    /// When the pod was taken up.
    pub since: Timestamp,
    /// The time of the turn.
    pub now: Timestamp,
    /// In order.
    pub actions: Vec<Action>,
}

impl Turn<'_> {
    /// The container of that name, as wanted.
    pub fn spec(&self, name: &str) -> Option<&api::Container> {
        let mut all = self.roster.iter().map(|(_, container)| &**container);
        all.find(|container| container.name == name)
    }

    /// Whether an instance of `container` that ended with `code` stays ended.
    pub fn is_final(
        &self,
        container: &ContainerState,
        kill: Option<KillReason>,
        code: i32,
    ) -> bool {
        let spec = self.spec(&container.name);
        let terms = spec.map(|spec| Terms::new(container.role, spec, self.policy()));
        terms.is_none_or(|terms| terms.is_final(kill, code))
    }

    /// Has an event of the pod recorded, or of one of its containers.
    pub fn record(
        &mut self,
        kind: EventKind,
        reason: impl Into<Cow<'static, str>>,
        message: String,
        container: Option<&str>,
    ) {
        let (reason, container) = (reason.into(), container.map(str::to_owned));
        let event = PodEvent { kind, reason, message, container };
        self.actions.push(Action::RecordEvent(event));
    }

    /// The pod in the kubelet's messages: `name_namespace(uid)`.
    pub fn pod_name(&self) -> String {
        let metadata = &self.pod.metadata;
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let (name, namespace) = (part(&metadata.name), part(&metadata.namespace));
        format!("{name}_{namespace}({})", self.uid())
    }

    /// The pod's uid.
    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    /// What the ticks of a container's probes are counted from.
    pub fn clock(&self, container: &ContainerState) -> probes::Clock {
        let started = container.started_at.unwrap_or(self.now);
        probes::Clock { pod: self.since, started, now: self.now }
    }

    /// `spec.restartPolicy`.
    pub fn policy(&self) -> Policy {
        Policy::of(self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()))
    }

    /// The grace of a container that is stopped while its pod lives on.
    pub fn grace(&self) -> i64 {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(DEFAULT_GRACE).max(1)
    }
}

/// On its first turn, takes the pod up; later on, what ephemeral containers have come.
fn take_up(turn: &mut Turn<'_>, state: &mut PodState) {
    for (role, container) in turn.roster.iter().skip(state.containers.len()) {
        let (name, role) = (container.name.clone(), *role);
        state.containers.push(ContainerState { name, role, ..Default::default() });
    }
    if state.started.is_some() {
        return;
    }
    state.started = Some(turn.now);
    let spec = turn.pod.spec.as_ref();
    if let Some(node) = spec.and_then(|spec| spec.node_name.as_deref()) {
        let metadata = &turn.pod.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        let message = format!("Successfully assigned {namespace}/{name} to {node}");
        turn.record(EventKind::Normal, "Scheduled", message, None);
    }
}

/// Takes the event into the state.
fn happened(turn: &mut Turn<'_>, state: &mut PodState, event: &Event) {
    match event {
        Event::Started => resume(turn, state),
        Event::Rebooted => {
            life::rebooted(turn, state);
            resume(turn, state);
        }
        Event::SpecChanged | Event::Tick => {}
        Event::Rejected { reason, message } => life::rejected(turn, state, reason, message),
        Event::SecretsMissing { names } => start::secrets_missing(turn, names),
        Event::Measured { usage } => eviction::measured(turn, state, usage),
        Event::SandboxReady { .. }
        | Event::SandboxFailed { .. }
        | Event::SandboxExited { .. }
        | Event::SandboxStopped { .. } => life::sandbox_happened(turn, state, event),
        Event::ImagePulling { container, .. }
        | Event::ImageReady { container, .. }
        | Event::ImageFailed { container, .. }
        | Event::ContainerStarted { container, .. }
        | Event::ContainerFailed { container, .. } => {
            let doomed = match &state.deletion {
                Some(deletion) => Some((KillReason::Deleted, deletion.grace)),
                None if state.is_ending() => Some((KillReason::Ended, turn.grace())),
                None if state.restarting => Some((KillReason::RestartAll, turn.grace())),
                None if state.sandbox.step == SandboxStep::Ready => None,
                None => Some((KillReason::Sandbox, turn.grace())),
            };
            let Some(container) = find(state, container) else { return };
            start::answered(turn, container, event, doomed);
        }
        Event::ContainerExited { container, attempt, status, finished_at, message } => {
            let Some(container) = find(state, container) else { return };
            if container.has_process() && container.attempt == *attempt {
                let end = Ended { status: *status, finished_at: *finished_at, message };
                start::ended(turn, container, &end);
            }
        }
        Event::KillFailed { container, attempt, message } => {
            let Some(container) = find(state, container) else { return };
            if container.has_process() && container.attempt == *attempt {
                stop::kill_failed(turn, container, message);
            }
        }
        Event::HookDone { container, attempt, which, failure } => {
            let Some(container) = find(state, container) else { return };
            if container.has_process() && container.attempt == *attempt {
                match which {
                    Hook::PostStart => start::post_start_done(turn, container, failure.as_deref()),
                    Hook::PreStop => stop::pre_stop_done(turn, container, failure.is_some()),
                }
            }
        }
        Event::ProbeDone { container, attempt, kind, result } => {
            let Some(container) = find(state, container) else { return };
            if container.step == Step::Running && container.attempt == *attempt {
                probes::done(turn, container, *kind, result);
            }
        }
        Event::TornDown { failure } => life::torn_down(turn, state, failure.as_deref()),
    }
}

/// Gives out anew what a monitor that is gone had under way.
fn resume(turn: &mut Turn<'_>, state: &mut PodState) {
    state.sandbox.step = match state.sandbox.step {
        SandboxStep::Creating => SandboxStep::Absent,
        SandboxStep::Stopping => SandboxStep::Lost,
        step => step,
    };
    state.storage.pending = false;
    state.end = match state.end {
        End::TearingDown => End::Alive,
        End::Removed => End::TornDown,
        end => end,
    };
    for container in &mut state.containers {
        match container.step {
            Step::Starting => {
                container.step = Step::Idle;
                container.image.pulling = false;
            }
            // Whether the hook has run nobody knows; it is not run twice, as by the kubelet.
            Step::PostStart if container.kill.is_none() => {
                start::post_start_done(turn, container, None);
            }
            _ => {}
        }
        probes::spread(turn, container);
        stop::resume(turn, container);
    }
}

/// A deletion stops every container that has a process; a second one may only be quicker.
fn notice_deletion(turn: &mut Turn<'_>, state: &mut PodState) {
    let metadata = &turn.pod.metadata;
    if metadata.deletion_timestamp.is_none() {
        return;
    }
    let grace = metadata.deletion_grace_period_seconds.unwrap_or_else(|| turn.grace()).max(0);
    match &mut state.deletion {
        Some(deletion) if deletion.grace <= grace => return,
        Some(deletion) => deletion.grace = grace,
        None => {
            state.deletion = Some(Deletion { since: turn.now, grace });
            // What failed before need not be waited for.
            state.sandbox.retry = None;
        }
    }
    for container in state.containers.iter_mut().filter(|container| container.has_process()) {
        stop::kill(turn, container, KillReason::Deleted, grace);
    }
}

/// A container whose image is another one now is restarted with it.
fn notice_images(turn: &mut Turn<'_>, state: &mut PodState) {
    if state.is_ending() || state.restarting || state.sandbox.step != SandboxStep::Ready {
        return;
    }
    for container in &mut state.containers {
        let wanted = turn.spec(&container.name).and_then(|spec| spec.image.clone());
        let follows = matches!(container.role, Role::Regular | Role::Sidecar);
        if !follows || wanted.is_none_or(|wanted| wanted == container.image.wanted) {
            continue;
        }
        if container.has_process() && container.kill.is_none() {
            stop::kill(turn, container, KillReason::Changed, turn.grace());
        } else if container.step == Step::Idle {
            start::forget_backoff(container);
        }
    }
}

fn find<'a>(state: &'a mut PodState, name: &str) -> Option<&'a mut ContainerState> {
    state.containers.iter_mut().find(|container| container.name == name)
}
