//! A Pod's state in a few words, as `get pods` shows it (`pkg/printers`, `printPod`).

use super::{Pod, duration};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus};
use k8s_openapi::jiff::Timestamp;

/// The columns READY, STATUS and RESTARTS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// `1/2`.
    pub ready: String,
    /// `Running`, `CrashLoopBackOff`, `Init:0/2`…
    pub status: String,
    /// `3 (5m ago)`.
    pub restarts: String,
}

/// Restarts and the latest end of a container before one.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i32,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &ContainerStatus) {
        self.count += container.restart_count;
        let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let finished = last.and_then(|last| last.finished_at.as_ref()).map(|time| time.0);
        self.last = self.last.max(finished);
    }
}

/// Sums `pod` up at the time `now`.
pub fn summary(pod: &Pod, now: Timestamp) -> Summary {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let reason = status.and_then(|status| status.reason.as_deref()).unwrap_or_default();
    let gated = condition(pod, "PodScheduled")
        .and_then(|condition| condition.reason.as_deref())
        .is_some_and(|reason| reason == "SchedulingGated");
    let mut init = init(pod);
    let mut word = match reason {
        _ if gated => "SchedulingGated".to_owned(),
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    let initialized = condition(pod, "Initialized").is_some_and(|c| c.status == "True");
    let pending = init.pending.take();
    let mut restarts = init.restarts;
    let mut ready = init.ready;
    if pending.is_none() || initialized {
        restarts = init.sidecar_restarts;
        let regular = regular(pod, &mut restarts);
        ready += regular.ready;
        word = regular.word(pod).or(pending).unwrap_or(word);
    } else if let Some(pending) = pending {
        word = pending;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        word = match (reason, phase) {
            ("NodeLost", _) => "Unknown".to_owned(),
            (_, "Failed" | "Succeeded") => word,
            _ => "Terminating".to_owned(),
        };
    }
    let restarts = match (restarts.count, restarts.last) {
        (0, _) | (_, None) => restarts.count.to_string(),
        (count, Some(last)) => format!("{count} ({} ago)", duration::since(last, now)),
    };
    let total = pod.spec.as_ref().map_or(0, |spec| spec.containers.len()) + init.sidecars;
    Summary { ready: format!("{ready}/{total}"), status: word, restarts }
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

#[derive(Default)]
struct Init {
    /// `Init:…` while one is not done.
    pending: Option<String>,
    restarts: Restarts,
    sidecar_restarts: Restarts,
    sidecars: usize,
    ready: usize,
}

fn init(pod: &Pod) -> Init {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars: Vec<&str> = containers
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let mut found = Init { sidecars: sidecars.len(), ..Init::default() };
    let total = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).count();
    let statuses =
        pod.status.iter().flat_map(|status| status.init_container_statuses.iter().flatten());
    for (index, status) in statuses.enumerate() {
        let sidecar = sidecars.contains(&status.name.as_str());
        found.restarts.add(status);
        if sidecar {
            found.sidecar_restarts.add(status);
        }
        if sidecar && status.started == Some(true) {
            found.ready += usize::from(status.ready);
            continue;
        }
        match status.state.as_ref() {
            Some(ContainerState { terminated: Some(end), .. }) if end.exit_code == 0 => continue,
            Some(ContainerState { terminated: Some(end), .. }) => {
                found.pending = Some(format!("Init:{}", ending(end)));
            }
            Some(ContainerState { waiting: Some(waiting), .. })
                if !matches!(waiting.reason.as_deref(), None | Some("" | "PodInitializing")) =>
            {
                let reason = waiting.reason.as_deref().unwrap_or_default();
                found.pending = Some(format!("Init:{reason}"));
            }
            _ => found.pending = Some(format!("Init:{index}/{total}")),
        }
        break;
    }
    found
}

#[derive(Default)]
struct Regular {
    /// Of the first container that has one.
    reason: Option<String>,
    /// Of the first container that ended badly.
    error: Option<String>,
    ready: usize,
}

fn regular(pod: &Pod, restarts: &mut Restarts) -> Regular {
    let mut found = Regular::default();
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    for status in statuses {
        restarts.add(status);
        let Some(state) = &status.state else { continue };
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
        match (waiting.filter(|reason| !reason.is_empty()), &state.terminated) {
            (Some(reason), _) => {
                found.reason.get_or_insert(reason);
            }
            (None, Some(end)) => {
                found.reason.get_or_insert_with(|| ending(end));
                if end.exit_code != 0 {
                    found.error.get_or_insert_with(|| ending(end));
                }
            }
            (None, None) => found.ready += usize::from(status.ready && state.running.is_some()),
        }
    }
    found
}

impl Regular {
    /// One that has completed does not hide that others run, or failed.
    fn word(self, pod: &Pod) -> Option<String> {
        let reason = self.reason?;
        if reason != "Completed" {
            return Some(reason);
        }
        let ready = condition(pod, "Ready").is_some_and(|condition| condition.status == "True");
        let running = self.ready > 0;
        Some(match self.error {
            _ if running && ready => "Running".to_owned(),
            Some(error) => error,
            None if running => "NotReady".to_owned(),
            None => reason,
        })
    }
}

/// Why a container ended, in a word.
fn ending(end: &ContainerStateTerminated) -> String {
    match (end.reason.as_deref().unwrap_or_default(), end.signal.unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", end.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sum(pod: Value) -> String {
        let mut pod = pod;
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let Summary { ready, status, restarts } =
            summary(&serde_json::from_value(pod).unwrap(), now);
        format!("{ready} {status} {restarts}")
    }

    /// A pod in a phase with as many containers as `statuses`.
    fn pod(phase: &str, statuses: Value, conditions: Value) -> Value {
        let named: Vec<Value> = (0..statuses.as_array().unwrap().len())
            .map(|i| json!({"name": format!("c{i}")}))
            .collect();
        json!({"metadata": {}, "spec": {"containers": named},
               "status": {"phase": phase, "containerStatuses": statuses, "conditions": conditions}})
    }

    fn with(state: Value) -> Value {
        json!({"name": "c", "image": "", "imageID": "", "restartCount": 0, "ready": false, "state": state})
    }

    fn running(ready: bool) -> Value {
        let mut status = with(json!({"running": {}}));
        status["ready"] = json!(ready);
        status
    }

    #[test]
    fn a_pod_in_three_words() {
        let waiting = |reason: &str| with(json!({"waiting": {"reason": reason}}));
        let ended = |code: i32, reason: &str| {
            with(json!({"terminated": {"exitCode": code, "reason": reason}}))
        };
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let unready = json!([{"type": "Ready", "status": "False"}]);
        let mut crashed = waiting("CrashLoopBackOff");
        crashed["restartCount"] = json!(3);
        crashed["lastState"] =
            json!({"terminated": {"exitCode": 1, "finishedAt": "2026-11-24T11:55:00Z"}});
        let mut restarted = running(true);
        restarted["restartCount"] = json!(1);
        restarted["lastState"] =
            json!({"terminated": {"exitCode": 1, "finishedAt": "2026-11-24T11:59:30Z"}});
        let cases = [
            (pod("Pending", json!([]), json!([])), "0/0 Pending 0"),
            (
                pod("Pending", json!([waiting("ContainerCreating"), waiting("")]), json!([])),
                "0/2 ContainerCreating 0",
            ),
            (pod("Running", json!([running(true), running(true)]), ready.clone()), "2/2 Running 0"),
            (
                pod("Running", json!([running(true), running(false)]), unready.clone()),
                "1/2 Running 0",
            ),
            (
                pod("Running", json!([running(true), crashed]), unready.clone()),
                "1/2 CrashLoopBackOff 3 (5m ago)",
            ),
            (pod("Running", json!([restarted]), ready.clone()), "1/1 Running 1 (30s ago)"),
            (
                pod("Running", json!([waiting("First"), waiting("Second")]), unready.clone()),
                "0/2 First 0",
            ),
            (pod("Succeeded", json!([ended(0, "Completed")]), unready.clone()), "0/1 Completed 0"),
            (pod("Failed", json!([ended(1, "Error")]), unready.clone()), "0/1 Error 0"),
            (pod("Failed", json!([ended(3, "")]), unready.clone()), "0/1 ExitCode:3 0"),
            (
                pod(
                    "Failed",
                    json!([with(json!({"terminated": {"exitCode": 137, "signal": 9}}))]),
                    json!([]),
                ),
                "0/1 Signal:9 0",
            ),
            (pod("Running", json!([ended(0, "Completed"), running(true)]), ready), "1/2 Running 0"),
            (
                pod("Running", json!([ended(0, "Completed"), running(true)]), unready.clone()),
                "1/2 NotReady 0",
            ),
            (
                pod("Running", json!([ended(0, "Completed"), ended(1, "Error")]), unready),
                "0/2 Error 0",
            ),
        ];
        for (pod, line) in cases {
            assert_eq!(sum(pod.clone()), line, "{pod}");
        }
    }

    #[test]
    fn initialising() {
        let init = |statuses: Value, sidecar: bool| {
            let policy = if sidecar { json!("Always") } else { Value::Null };
            let mut pod = pod(
                "Pending",
                json!([with(json!({"waiting": {"reason": "PodInitializing"}}))]),
                json!([]),
            );
            pod["spec"]["initContainers"] =
                json!([{"name": "c", "restartPolicy": policy}, {"name": "d"}]);
            pod["status"]["initContainerStatuses"] = statuses;
            sum(pod)
        };
        let waiting = |reason: &str| with(json!({"waiting": {"reason": reason}}));
        let done = with(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}));
        let failed = with(json!({"terminated": {"exitCode": 1, "reason": "Error"}}));
        let mut sidecar = running(true);
        sidecar["started"] = json!(true);
        assert_eq!(init(json!([waiting("PodInitializing")]), false), "0/1 Init:0/2 0");
        assert_eq!(init(json!([done, with(json!({"running": {}}))]), false), "0/1 Init:1/2 0");
        assert_eq!(init(json!([done, done]), false), "0/1 PodInitializing 0");
        assert_eq!(init(json!([failed]), false), "0/1 Init:Error 0");
        assert_eq!(
            init(json!([waiting("CrashLoopBackOff")]), false),
            "0/1 Init:CrashLoopBackOff 0"
        );
        assert_eq!(init(json!([sidecar, waiting("")]), true), "1/2 Init:1/2 0");
    }

    #[test]
    fn going() {
        let mut going = pod("Running", json!([running(true)]), json!([]));
        going["metadata"]["deletionTimestamp"] = json!("2026-11-24T12:00:00Z");
        assert_eq!(sum(going.clone()), "1/1 Terminating 0");
        going["status"]["phase"] = json!("Failed");
        going["status"]["reason"] = json!("Evicted");
        assert_eq!(sum(going), "1/1 Evicted 0");
    }
}
