//! The probes of a container: when each is due, and what its results come to. One pure function
//! counts for all three.
//!
//! As the kubelet's workers do, a probe ticks in its period from the moment its pod was taken up,
//! whenever its container starts; only readiness is asked at once when a container is seen to run,
//! or to have started up, and ticks from there. A tick before `initialDelaySeconds` is lost.

use super::action::{Action, EventKind};
use super::event::{ProbeKind, ProbeResult};
use super::machine::Turn;
use super::restart::later;
use super::state::{ContainerState, KillReason, ProbeState, Probes, Step};
use super::stop;
use crate::kube::roster::Role;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Seconds until a container is seen to run: the kubelet lists containers that often.
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

/// From when on a container's probes are asked.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When the pod was taken up.
    pub pod: Timestamp,
    /// When the container was started.
    pub started: Timestamp,
    /// The present.
    pub now: Timestamp,
}

/// The counters of a container that has been started. Readiness and liveness wait for the startup
/// probe.
pub fn begin(container: &api::Container, clock: Clock) -> Probes {
    let mut probes = Probes::default();
    if container.startup_probe.is_some() {
        probes.startup.due = first_due(container, ProbeKind::Startup, clock);
    } else {
        release(container, &mut probes, clock);
    }
    probes
}

/// A new monitor asks as a kubelet that was restarted: each probe at some moment of its first
/// period, so that not all pods are asked at once.
pub fn spread(turn: &Turn<'_>, container: &mut ContainerState) {
    let Some(spec) = turn.spec(&container.name).cloned() else { return };
    for kind in ProbeKind::ALL {
        let state = container.probes.get_mut(kind);
        state.pending = false;
        if let (Some(_), Some(probe)) = (state.due, kind.of(&spec)) {
            let period = u64::from(positive(probe.period_seconds, 10).unsigned_abs()) * 1000;
            let seed = format!("{}/{}/{}", turn.uid(), container.name, kind.as_str());
            let part = i64::try_from(scattered(&seed) % period).unwrap_or(0);
            let part = SignedDuration::from_millis(part.max(1));
            state.due = turn.now.checked_add(part).ok();
        }
    }
}

/// The same number for the same text (FNV-1a): no two pods have the same.
fn scattered(text: &str) -> u64 {
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, add)
}

/// Lets readiness and liveness be asked, once the startup probe has succeeded.
pub fn release(container: &api::Container, probes: &mut Probes, clock: Clock) {
    for kind in [ProbeKind::Readiness, ProbeKind::Liveness] {
        probes.get_mut(kind).due = first_due(container, kind, clock);
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
        let Some(due) = state.due.filter(|due| *due <= turn.now && !state.pending) else {
            continue;
        };
        state.pending = true;
        state.due = Some(tick_after(due, probe, turn.now));
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
            let clock = turn.clock(container);
            return release(&spec, &mut container.probes, clock);
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

/// The first tick after `now` of a probe that ticked at `tick`: what was missed is lost.
fn tick_after(tick: Timestamp, probe: &api::Probe, now: Timestamp) -> Timestamp {
    let period = SignedDuration::from_secs(positive(probe.period_seconds, 10).into());
    let passed = now.duration_since(tick).as_millis().max(0) / period.as_millis().max(1);
    let periods = i32::try_from(passed).unwrap_or(i32::MAX).saturating_add(1);
    let next = period.checked_mul(periods).and_then(|after| tick.checked_add(after).ok());
    next.unwrap_or(Timestamp::MAX)
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

fn first_due(container: &api::Container, kind: ProbeKind, clock: Clock) -> Option<Timestamp> {
    let probe = kind.of(container)?;
    let seen = later(clock.started, SETTLE).max(clock.now);
    let least = later(clock.started, probe.initial_delay_seconds.unwrap_or(0)).max(seen);
    let first = if kind == ProbeKind::Readiness { seen } else { clock.pod };
    if first >= least {
        return Some(first);
    }
    // A tick at that very moment counts.
    let before = least.checked_sub(SignedDuration::from_millis(1)).unwrap_or(least);
    Some(tick_after(first, probe, before))
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
        let clock = Clock { pod: at(0), started: at(2), now: at(2) };
        let mut probes = begin(&container, clock);
        assert_eq!(probes.startup.due, Some(at(10)), "a period after the pod was taken up");
        assert_eq!((probes.readiness.due, probes.liveness.due), (None, None));
        release(&container, &mut probes, Clock { now: at(20), ..clock });
        assert_eq!((probes.readiness.due, probes.liveness.due), (Some(at(20)), Some(at(70))));
        release(&container, &mut probes, clock);
        assert_eq!(probes.readiness.due, Some(at(13)), "its tick before the delay is lost");
        let probe = api::Probe { period_seconds: Some(10), ..Default::default() };
        assert_eq!(tick_after(at(10), &probe, at(10)), at(20));
        assert_eq!(tick_after(at(10), &probe, at(39)), at(40), "what was missed is lost");
    }
}
