//! The wall clock may be set while a pod lives. The times of its state are wall times, which readers
//! and a later boot understand; but a grace period, a back-off or a probe's period is as long as it
//! was meant to be. So all of them move along when the clock jumps.

use super::state::PodState;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Milliseconds that are a jump: the clock is also made to go a little faster or slower.
const JUMP: i64 = 1000;
/// Milliseconds that reading two clocks may take: this process may have to wait in between.
const BETWEEN: i64 = 100;

/// How many milliseconds the wall clock is ahead of the time since boot; `None` if this process did
/// not get to read both at once.
pub fn ahead() -> Option<i64> {
    let millis = |time: Timespec| time.tv_sec.saturating_mul(1000) + time.tv_nsec / 1_000_000;
    let before = millis(clock_gettime(ClockId::Boottime));
    let wall = millis(clock_gettime(ClockId::Realtime));
    let after = millis(clock_gettime(ClockId::Boottime));
    (after - before < BETWEEN).then_some(wall - before)
}

/// Moves the times of `state` along with a wall clock that is `ahead` now; false if it has not
/// jumped since they were written.
pub fn follow(state: &mut PodState, ahead: i64) -> bool {
    let jump = ahead - *state.clock.get_or_insert(ahead);
    if jump.abs() < JUMP {
        return false;
    }
    state.clock = Some(ahead);
    for time in times(state) {
        // The epoch stands for a start that never was.
        if *time != Timestamp::UNIX_EPOCH {
            *time = time.saturating_add(SignedDuration::from_millis(jump)).unwrap_or(*time);
        }
    }
    true
}

fn times(state: &mut PodState) -> Vec<&mut Timestamp> {
    let mut times: Vec<&mut Timestamp> = Vec::new();
    for time in [&mut state.started, &mut state.sandbox.retry, &mut state.storage.due] {
        times.extend(time);
    }
    times.extend(state.deletion.as_mut().map(|deletion| &mut deletion.since));
    times.extend(state.conditions.iter_mut().map(|condition| &mut condition.since));
    for container in &mut state.containers {
        let probes = &mut container.probes;
        for time in [
            &mut container.started_at,
            &mut container.not_before,
            &mut container.remind,
            &mut probes.startup.due,
            &mut probes.readiness.due,
            &mut probes.liveness.due,
        ] {
            times.extend(time);
        }
        for exit in [&mut container.exit, &mut container.last].into_iter().flatten() {
            times.extend([&mut exit.started_at, &mut exit.finished_at]);
        }
        for backoff in [&mut container.backoff, &mut container.image.backoff] {
            times.extend(backoff.as_mut().map(|backoff| &mut backoff.updated));
        }
        if let Some(kill) = &mut container.kill {
            times.extend([&mut kill.since, &mut kill.until]);
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_time_moves_with_the_clock() {
        let at = "2026-01-01T10:00:00Z";
        let backoff = json!({"delay": 10, "updated": at});
        let probe = json!({"verdict": null, "last": null, "run": 0, "due": at, "pending": false});
        let exit = json!({
            "id": "", "code": 0, "reason": "", "message": "", "started_at": at, "finished_at": at,
        });
        let state = json!({
            "clock": 5000,
            "started": at,
            "sandbox": {
                "step": "Ready", "attempt": 0, "id": "", "pid": 0, "ip": null, "failures": 0,
                "retry": at,
            },
            "deletion": {"since": at, "grace": 30},
            "storage": {"due": at, "pending": false},
            "conditions": [{"name": "Ready", "status": true, "since": at}],
            "containers": [{
                "started_at": at, "not_before": at, "remind": at, "backoff": backoff,
                "exit": exit, "last": exit,
                "image": {
                    "wanted": "", "name": "", "id": "", "stop_signal": 0, "backoff": backoff,
                },
                "probes": {"startup": probe, "readiness": probe, "liveness": probe},
                "kill": {
                    "why": "Deleted", "since": at, "grace": 30, "stage": "Term", "until": at,
                },
            }],
        });
        let mut state: PodState = serde_json::from_value(state).unwrap();
        let before = serde_json::to_string(&state).unwrap();
        assert!(!follow(&mut state, 5999), "no jump");
        assert_eq!(serde_json::to_string(&state).unwrap(), before);
        assert!(follow(&mut state, 3_605_000));
        let after = serde_json::to_string(&state).unwrap();
        let moved = before.replace("T10:00:00Z", "T11:00:00Z").replace(":5000", ":3605000");
        assert_eq!(after, moved);
        assert!(follow(&mut state, 5000), "back again");
        assert_eq!(serde_json::to_string(&state).unwrap(), before);
    }

    #[test]
    fn what_never_was_stays() {
        let exit = json!({
            "id": "", "code": 128, "reason": "StartError", "message": "",
            "started_at": Timestamp::UNIX_EPOCH, "finished_at": "2026-01-01T10:00:00Z",
        });
        let state = json!({"clock": 0, "containers": [{"exit": exit}]});
        let mut state: PodState = serde_json::from_value(state).unwrap();
        assert!(follow(&mut state, 60_000));
        let exit = state.containers[0].exit.clone().unwrap();
        assert_eq!(exit.started_at, Timestamp::UNIX_EPOCH);
        assert_eq!(exit.finished_at.to_string(), "2026-01-01T10:01:00Z");
    }
}
