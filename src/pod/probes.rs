//! The probes of a container: when each is due, and what its results come to. One pure function
//! counts for all three.

use super::action::{Action, EventKind};
use super::event::{ProbeKind, ProbeResult};
use super::machine::Turn;
use super::restart::later;
use super::state::{ContainerState, KillReason, ProbeState, Probes, Step};
use super::stop;
use crate::kube::roster::Role;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::jiff::Timestamp;

/// A probe is not asked in the first second of its container: the kubelet, too, needs about that
/// long to see that the container runs, and most programs need it before they can answer.
const SETTLE: i32 = 1;

impl ProbeKind {
    /// In the order in which they are asked.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];

    /// As it begins an event's message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }

    /// The container's probe of that kind.
    pub fn of(self, container: &api::Container) -> Option<&api::Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

impl Probes {
    /// The counters of that kind.
    pub fn get_mut(&mut self, kind: ProbeKind) -> &mut ProbeState {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Readiness => &mut self.readiness,
            ProbeKind::Liveness => &mut self.liveness,
        }
    }

    /// The counters of that kind.
    pub fn get(&self, kind: ProbeKind) -> &ProbeState {
        match kind {
            ProbeKind::Startup => &self.startup,
            ProbeKind::Readiness => &self.readiness,
            ProbeKind::Liveness => &self.liveness,
        }
    }
}

/// The counters of a container that started at `started`. Readiness and liveness wait for the
/// startup probe.
pub fn begin(container: &api::Container, started: Timestamp, now: Timestamp) -> Probes {
    let mut probes = Probes::default();
    if container.startup_probe.is_some() {
        probes.startup.due = first_due(container, ProbeKind::Startup, started, now);
    } else {
        release(container, &mut probes, started, now);
    }
    probes
}

/// Lets readiness and liveness be asked, once the startup probe has succeeded.
pub fn release(
    container: &api::Container,
    probes: &mut Probes,
    started: Timestamp,
    now: Timestamp,
) {
    for kind in [ProbeKind::Readiness, ProbeKind::Liveness] {
        probes.get_mut(kind).due = first_due(container, kind, started, now);
    }
}

/// Has every probe asked that is due.
pub fn ask(turn: &mut Turn<'_>, container: &mut ContainerState) {
    if container.step != Step::Running {
        return;
    }
    for kind in ProbeKind::ALL {
        let Some(probe) = turn.spec(&container.name).and_then(|spec| kind.of(spec)) else {
            continue;
        };
        let state = container.probes.get_mut(kind);
        if state.pending || state.due.is_none_or(|due| due > turn.now) {
            continue;
        }
        state.pending = true;
        state.due = Some(next_due(probe, turn.now));
        let (container, attempt) = (container.name.clone(), container.attempt);
        turn.actions.push(Action::Probe { container, attempt, kind });
    }
}

/// When the probes of a container want their next tick.
pub fn deadline(container: &ContainerState) -> Option<Timestamp> {
    let due = ProbeKind::ALL.into_iter().filter_map(|kind| {
        let probe = container.probes.get(kind);
        probe.due.filter(|_| !probe.pending)
    });
    due.min().filter(|_| container.step == Step::Running)
}

/// Takes a result into the state; a container that fails its liveness or startup probe is stopped.
pub fn done(
    turn: &mut Turn<'_>,
    container: &mut ContainerState,
    kind: ProbeKind,
    result: &ProbeResult,
) {
    let Some(spec) = turn.spec(&container.name).cloned() else { return };
    let Some(probe) = kind.of(&spec) else { return };
    container.probes.get_mut(kind).pending = false;
    if container.kill.is_some() && kind != ProbeKind::Readiness {
        return;
    }
    let name = kind.as_str();
    let (reason, message) = match result {
        ProbeResult::Success => ("", String::new()),
        ProbeResult::Warning(text) => ("ProbeWarning", format!("{name} probe warning: {text}")),
        ProbeResult::Failure(text) => ("Unhealthy", format!("{name} probe failed: {text}")),
        ProbeResult::Unknown(text) => {
            ("Unhealthy", format!("{name} probe errored and resulted in unknown state: {text}"))
        }
    };
    if !reason.is_empty() {
        turn.record(EventKind::Warning, reason, message, Some(&container.name));
    }
    let verdict = count(probe, container.probes.get_mut(kind), result);
    let why = match (kind, verdict) {
        (ProbeKind::Startup, Some(true)) => {
            container.probes.startup.due = None;
            container.started = true;
            let started = container.started_at.unwrap_or(turn.now);
            return release(&spec, &mut container.probes, started, turn.now);
        }
        (ProbeKind::Startup, Some(false)) => KillReason::Startup,
        (ProbeKind::Liveness, Some(false)) => KillReason::Liveness,
        _ => return,
    };
    let grace = probe.termination_grace_period_seconds.unwrap_or_else(|| turn.grace());
    stop::kill(turn, container, why, grace.max(1));
}

/// Counts a result. `Some` is a verdict that has just been reached: as many results in a row as
/// the probe's threshold. An unknown result counts for nothing.
pub fn count(probe: &api::Probe, state: &mut ProbeState, result: &ProbeResult) -> Option<bool> {
    let passed = match result {
        ProbeResult::Success | ProbeResult::Warning(_) => true,
        ProbeResult::Failure(_) => false,
        ProbeResult::Unknown(_) => return None,
    };
    state.run = if state.last == Some(passed) { state.run.saturating_add(1) } else { 1 };
    state.last = Some(passed);
    let threshold = if passed {
        positive(probe.success_threshold, 1)
    } else {
        positive(probe.failure_threshold, 3)
    };
    if i64::from(state.run) < i64::from(threshold) || state.verdict == Some(passed) {
        return None;
    }
    state.verdict = Some(passed);
    Some(passed)
}

/// When the probe is due again after having been asked at `now`.
pub fn next_due(probe: &api::Probe, now: Timestamp) -> Timestamp {
    later(now, positive(probe.period_seconds, 10))
}

/// Seconds until an answer is given up.
pub fn timeout(probe: &api::Probe) -> u32 {
    positive(probe.timeout_seconds, 1).unsigned_abs()
}

/// `started`: it runs, and its startup probe has succeeded.
pub fn is_started(container: &ContainerState) -> bool {
    container.step == Step::Running && container.started
}

/// `ready`: it is started, and its readiness probe succeeds. An init container is once it has done
/// its part.
pub fn is_ready(spec: &api::Container, container: &ContainerState) -> bool {
    match container.role {
        Role::Init => container.exit.as_ref().is_some_and(|exit| exit.code == 0),
        _ => {
            is_started(container)
                && (spec.readiness_probe.is_none()
                    || container.probes.readiness.verdict == Some(true))
        }
    }
}

/// The API's defaulting: 0 and nothing mean the default.
fn positive(value: Option<i32>, default: i32) -> i32 {
    value.filter(|value| *value > 0).unwrap_or(default)
}

fn first_due(
    container: &api::Container,
    kind: ProbeKind,
    started: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    let delay = kind.of(container)?.initial_delay_seconds.unwrap_or(0).max(SETTLE);
    Some(later(started, delay).max(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(success: i32, failure: i32, results: &str) -> String {
        let probe = api::Probe {
            success_threshold: Some(success),
            failure_threshold: Some(failure),
            ..Default::default()
        };
        let mut state = ProbeState::default();
        let verdict = |result: char| {
            let result = match result {
                '+' => ProbeResult::Success,
                '-' => ProbeResult::Failure("no".into()),
                _ => ProbeResult::Unknown("?".into()),
            };
            match count(&probe, &mut state, &result) {
                Some(true) => 'y',
                Some(false) => 'n',
                None => '.',
            }
        };
        results.chars().map(verdict).collect()
    }

    #[test]
    fn a_verdict_needs_its_threshold_in_a_row() {
        assert_eq!(verdicts(1, 3, "+--+---+"), "y.....ny");
        assert_eq!(verdicts(2, 1, "-+-++"), "n...y");
        assert_eq!(verdicts(1, 3, "--?-"), "...n", "an unknown result neither counts nor resets");
    }

    #[test]
    fn a_startup_probe_holds_the_others_back() {
        let at = |seconds: i64| later(Timestamp::UNIX_EPOCH, seconds);
        let probe =
            |delay| Some(api::Probe { initial_delay_seconds: Some(delay), ..Default::default() });
        let container = api::Container {
            startup_probe: probe(0),
            liveness_probe: probe(60),
            readiness_probe: probe(5),
            ..Default::default()
        };
        let mut probes = begin(&container, at(0), at(0));
        assert_eq!(probes.startup.due, Some(at(1)));
        assert_eq!((probes.readiness.due, probes.liveness.due), (None, None));
        release(&container, &mut probes, at(0), at(20));
        assert_eq!((probes.readiness.due, probes.liveness.due), (Some(at(20)), Some(at(60))));
    }
}
