//! Whether and when what has ended is started again: the restart policy, and exponential back-off
//! as the kubelet counts it (`CrashLoopBackOff`, `ImagePullBackOff`): 10 s, doubled up to 5 min,
//! forgotten after 10 min of good conduct. No jitter.

use super::state::{Backoff, KillReason};
use crate::kube::roster::Role;
use k8s_openapi::api::core::v1::{Container, ContainerRestartRule};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// The first delay, in seconds.
const FIRST: u32 = 10;
/// The longest delay, in seconds.
const LONGEST: u32 = 300;

/// `spec.restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Whatever its exit status.
    Always,
    /// Unless it ended with 0.
    OnFailure,
    /// Once.
    Never,
}

impl Policy {
    /// As the API spells it; without one, Always.
    pub fn of(text: Option<&str>) -> Self {
        match text {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }
}

/// On what terms a container is started again.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// What it is to its pod.
    pub role: Role,
    /// Its own policy, else the pod's.
    pub policy: Policy,
    /// `restartPolicyRules`, which go before the policy.
    pub rules: &'a [ContainerRestartRule],
}

impl<'a> Terms<'a> {
    /// Those of `container` in a pod of that policy.
    pub fn new(role: Role, container: &'a Container, pod: Policy) -> Self {
        let own = container.restart_policy.as_deref();
        let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
        Self { role, policy: own.map_or(pod, |own| Policy::of(Some(own))), rules }
    }

    /// Whether an instance that ended with `code` stays ended; `kill` if it was stopped by us.
    pub fn is_final(&self, kill: Option<KillReason>, code: i32) -> bool {
        use KillReason::{Changed, Liveness, RestartAll, Sandbox, Startup};
        let by_rule = by_rule(self.rules, code).is_some();
        match (self.role, kill, self.policy) {
            (Role::Ephemeral, ..) => true,
            (Role::Sidecar, ..) | (_, Some(Changed | RestartAll), _) => false,
            (Role::Init, ..) if code == 0 => true,
            _ if by_rule => false,
            (_, _, Policy::Never) => true,
            (Role::Init, ..) | (_, _, Policy::Always) => false,
            (_, Some(Liveness | Startup | Sandbox), _) => false,
            (_, _, Policy::OnFailure) => code == 0,
        }
    }
}

/// What a restart rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The container is started again.
    Restart,
    /// All containers of the pod are ([`super::restart_all`]).
    RestartAll,
}

/// What `rule` asks for where it is met.
pub fn remedy(rule: &ContainerRestartRule) -> Option<Remedy> {
    match rule.action.as_str() {
        "Restart" => Some(Remedy::Restart),
        "RestartAllContainers" => Some(Remedy::RestartAll),
        _ => None,
    }
}

/// What the first rule asks for that the exit status `code` meets.
pub fn by_rule(rules: &[ContainerRestartRule], code: i32) -> Option<Remedy> {
    rules.iter().find(|rule| is_met(rule, code)).and_then(remedy)
}

fn is_met(rule: &ContainerRestartRule, code: i32) -> bool {
    rule.exit_codes.as_ref().is_some_and(|codes| {
        let listed = codes.values.iter().flatten().any(|value| *value == code);
        listed == (codes.operator == "In")
    })
}

/// Until when a restart is held back, if the instance before it ended at `finished`; `None` if it
/// may go on, for which the delay is raised: the next one waits.
pub fn hold(
    backoff: &mut Option<Backoff>,
    finished: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    if let Some(Backoff { delay, .. }) = backoff.filter(|backoff| !is_forgotten(backoff, finished))
    {
        let until = later(finished, delay);
        if now < until {
            return Some(until);
        }
    }
    raise(backoff, finished, now);
    None
}

/// Raises the delay because of what happened at `seen`.
pub fn raise(backoff: &mut Option<Backoff>, seen: Timestamp, now: Timestamp) {
    let delay = match backoff.filter(|backoff| !is_forgotten(backoff, seen)) {
        Some(backoff) => backoff.delay.saturating_mul(2).min(LONGEST),
        None => FIRST,
    };
    *backoff = Some(Backoff { delay, updated: now });
}

/// `seconds` after `time`.
pub fn later(time: Timestamp, seconds: impl Into<i64>) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
}

/// As Go prints a duration of whole seconds: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(seconds: u32) -> String {
    match seconds / 60 {
        0 => format!("{seconds}s"),
        minutes => format!("{minutes}m{}s", seconds % 60),
    }
}

/// Milliseconds as Go prints them: `12ms`, `1.234s`, `1m2.5s`.
pub fn go_millis(millis: u64) -> String {
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    match millis {
        0 => return "0s".into(),
        1..1000 => return format!("{millis}ms"),
        _ => {}
    }
    let fraction = format!(".{:03}", rest % 1000);
    let seconds =
        format!("{}{}s", rest / 1000, fraction.trim_end_matches('0').trim_end_matches('.'));
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

fn is_forgotten(backoff: &Backoff, seen: Timestamp) -> bool {
    seen.duration_since(backoff.updated) > SignedDuration::from_secs(2 * i64::from(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, seconds)
    }

    #[test]
    fn the_first_restart_is_free_and_the_delay_doubles_to_five_minutes() {
        let mut backoff = None;
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..8 {
            // It dies one second after each start.
            let finished = now + 1;
            now = hold(&mut backoff, at(finished), at(finished)).map_or(finished, |until| {
                assert_eq!(hold(&mut backoff, at(finished), until), None, "free once it is over");
                until.as_second()
            });
            waits.push(now - finished);
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_minutes_up_forget_it() {
        let raised = Some(Backoff { delay: 300, updated: at(0) });
        assert_eq!(hold(&mut raised.clone(), at(600), at(600)), Some(at(900)));
        let mut backoff = raised;
        assert_eq!(hold(&mut backoff, at(601), at(601)), None);
        assert_eq!(backoff, Some(Backoff { delay: 10, updated: at(601) }));
    }

    #[test]
    fn the_policy_decides_on_exit_statuses_and_on_what_was_stopped() {
        use KillReason::{Changed, Liveness, PostStart};
        let final_under =
            |role, policy, kill, code| Terms { role, policy, rules: &[] }.is_final(kill, code);
        let cases = [
            // Who stopped it, its exit status, final under Always, OnFailure, Never.
            (None, 0, [false, true, true]),
            (None, 1, [false, false, true]),
            (Some(PostStart), 0, [false, true, true]),
            (Some(Liveness), 0, [false, false, true]),
            (Some(Changed), 0, [false, false, false]),
        ];
        for (kill, code, expected) in cases {
            let policies = [Policy::Always, Policy::OnFailure, Policy::Never];
            let found = policies.map(|policy| final_under(Role::Regular, policy, kill, code));
            assert_eq!(found, expected, "{kill:?} {code}");
        }
        let init = |policy, code| final_under(Role::Init, policy, None, code);
        assert!(init(Policy::Always, 0) && init(Policy::Never, 1) && !init(Policy::Always, 1));
        assert!(!final_under(Role::Sidecar, Policy::Never, None, 0));
        assert!(final_under(Role::Ephemeral, Policy::Always, None, 1));
    }

    #[test]
    fn rules_go_before_the_policy() {
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "c", "restartPolicy": "Never", "restartPolicyRules": [
                {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}},
                {"action": "RestartAllContainers",
                 "exitCodes": {"operator": "NotIn", "values": [0, 1]}},
            ],
        }))
        .unwrap();
        let terms = Terms::new(Role::Regular, &container, Policy::Always);
        let codes = [0, 1, 2, 42].map(|code| terms.is_final(None, code));
        assert_eq!(codes, [true, true, false, false]);
        let remedies = [0, 2, 42].map(|code| by_rule(terms.rules, code));
        assert_eq!(remedies, [None, Some(Remedy::RestartAll), Some(Remedy::Restart)]);
    }

    #[test]
    fn durations_read_as_in_go() {
        let printed = [10, 40, 80, 160, 300].map(go_duration);
        assert_eq!(printed, ["10s", "40s", "1m20s", "2m40s", "5m0s"]);
        let printed = [0, 12, 1234, 2000, 62_500, 3_600_010].map(go_millis);
        assert_eq!(printed, ["0s", "12ms", "1.234s", "2s", "1m2.5s", "1h0m0.01s"]);
    }
}
