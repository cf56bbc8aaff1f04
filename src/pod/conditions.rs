//! The pod's status as the API shows it: phase, conditions, container statuses.

use super::probes;
use super::state::{Condition, ContainerState, Exit, Phase, PodState, SandboxStep, Step};
use crate::kube::Pod;
use crate::kube::resources::qos;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// What of the node stands in a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The node's address; a pod on the host's network has it too.
    pub ip: Option<String>,
}

/// `status` of the pod.
pub fn status(pod: &Pod, state: &PodState, node: &Node) -> api::PodStatus {
    let spec = pod.spec.as_ref();
    let on_host = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let ip = if on_host { node.ip.clone() } else { state.sandbox.ip.clone() };
    let ip = ip.filter(|_| state.sandbox.step == SandboxStep::Ready || state.is_ending());
    let mut containers: Vec<_> =
        state.containers.iter().map(|container| container_status(pod, container)).collect();
    // The API lists them by name, whatever their order in the spec.
    containers.sort_by(|one, other| one.name.cmp(&other.name));
    api::PodStatus {
        phase: Some(state.phase.as_str().into()),
        conditions: Some(conditions(pod, state)),
        container_statuses: Some(containers),
        host_ips: node.ip.clone().map(|ip| vec![api::HostIP { ip }]),
        host_ip: node.ip.clone(),
        pod_ips: ip.clone().map(|ip| vec![api::PodIP { ip }]),
        pod_ip: ip,
        observed_generation: pod.metadata.generation,
        qos_class: Some(qos(pod).to_string()),
        start_time: state.started.map(Time),
        ..Default::default()
    }
}

/// Brings phase and conditions up to what the rest of the state says.
pub(super) fn settle(pod: &Pod, state: &mut PodState, now: Timestamp) {
    if !state.phase.is_terminal() {
        state.phase = phase(state);
    }
    let judged: Vec<_> = judge(pod, state).into_iter().map(|it| (it.name, it.status)).collect();
    for (name, status) in judged {
        match state.conditions.iter_mut().find(|condition| condition.name == name) {
            Some(condition) if condition.status == status => {}
            Some(condition) => (condition.status, condition.since) = (status, now),
            None => state.conditions.push(Condition { name: name.into(), status, since: now }),
        }
    }
}

/// What a container is to the API.
enum Shown<'a> {
    Waiting(&'a str, &'a str),
    Running,
    Terminated(&'a Exit),
}

fn shown(container: &ContainerState) -> Shown<'_> {
    match (&container.waiting, &container.exit) {
        // Until its postStart hook has returned it does not count as running.
        _ if container.step == Step::Running => Shown::Running,
        (Some(waiting), _) if !container.finished => {
            Shown::Waiting(&waiting.reason, &waiting.message)
        }
        (_, Some(exit)) => Shown::Terminated(exit),
        _ => Shown::Waiting("ContainerCreating", ""),
    }
}

/// The phase before a terminal one, or the terminal one once every container has ended for good.
fn phase(state: &PodState) -> Phase {
    let has_ended = state.is_ending() && state.is_still();
    let waits = |container: &ContainerState| {
        let has_ended = container.exit.is_some() || container.last.is_some();
        matches!(shown(container), Shown::Waiting(..)) && !has_ended
    };
    if has_ended {
        let succeeded =
            |container| matches!(shown(container), Shown::Terminated(exit) if exit.code == 0);
        let all = state.containers.iter().all(succeeded);
        return if all { Phase::Succeeded } else { Phase::Failed };
    }
    // One container that has never run keeps the whole pod Pending.
    if state.containers.iter().any(waits) { Phase::Pending } else { Phase::Running }
}

fn container_status(pod: &Pod, container: &ContainerState) -> api::ContainerStatus {
    let spec = spec_of(pod, container);
    let (state, last) = match shown(container) {
        Shown::Running => {
            let running = api::ContainerStateRunning { started_at: container.started_at.map(Time) };
            (api::ContainerState { running: Some(running), ..Default::default() }, &container.last)
        }
        Shown::Waiting(reason, message) => {
            let waiting = api::ContainerStateWaiting {
                reason: Some(reason.into()),
                message: Some(message.into()).filter(|message: &String| !message.is_empty()),
            };
            let last = container.exit.as_ref().or(container.last.as_ref());
            let state = api::ContainerState { waiting: Some(waiting), ..Default::default() };
            return with_states(spec, container, state, last);
        }
        Shown::Terminated(exit) => (terminated(exit), &container.last),
    };
    with_states(spec, container, state, last.as_ref())
}

fn with_states(
    spec: Option<&api::Container>,
    container: &ContainerState,
    state: api::ContainerState,
    last: Option<&Exit>,
) -> api::ContainerStatus {
    let wanted = spec.and_then(|spec| spec.image.clone()).unwrap_or_default();
    let found = Some(container.image.name.clone()).filter(|name| !name.is_empty());
    api::ContainerStatus {
        name: container.name.clone(),
        state: Some(state),
        last_state: Some(last.map(terminated).unwrap_or_default()),
        ready: spec.is_some_and(|spec| probes::is_ready(spec, container)),
        started: Some(spec.is_some_and(|spec| probes::is_started(spec, container))),
        restart_count: i32::try_from(container.attempt).unwrap_or(i32::MAX),
        image: found.unwrap_or(wanted),
        image_id: container.image.id.clone(),
        container_id: container_id(&container.id),
        ..Default::default()
    }
}

fn terminated(exit: &Exit) -> api::ContainerState {
    let terminated = api::ContainerStateTerminated {
        container_id: container_id(&exit.id),
        exit_code: exit.code,
        finished_at: Some(Time(exit.finished_at)),
        message: Some(exit.message.clone()).filter(|message| !message.is_empty()),
        reason: Some(exit.reason.clone()),
        started_at: Some(Time(exit.started_at)),
        ..Default::default()
    };
    api::ContainerState { terminated: Some(terminated), ..Default::default() }
}

fn container_id(id: &str) -> Option<String> {
    (!id.is_empty()).then(|| format!("runp://{id}"))
}

fn conditions(pod: &Pod, state: &PodState) -> Vec<api::PodCondition> {
    let of = |it: Judgement| {
        let since = state.conditions.iter().find(|condition| condition.name == it.name);
        api::PodCondition {
            type_: it.name.into(),
            status: if it.status { "True" } else { "False" }.into(),
            reason: it.reason.map(str::to_owned),
            message: it.message,
            last_transition_time: since.map(|condition| Time(condition.since)),
            observed_generation: pod.metadata.generation,
            ..Default::default()
        }
    };
    judge(pod, state).into_iter().map(of).collect()
}

/// One condition: its status, and why.
struct Judgement {
    name: &'static str,
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

/// The conditions, in the order in which the kubelet lists them.
fn judge(pod: &Pod, state: &PodState) -> [Judgement; 5] {
    let unready: Vec<&str> = state
        .containers
        .iter()
        .filter(|it| !spec_of(pod, it).is_some_and(|spec| probes::is_ready(spec, it)))
        .map(|container| container.name.as_str())
        .collect();
    let (ready, reason, message) = match state.phase {
        Phase::Succeeded => (false, Some("PodCompleted"), None),
        Phase::Failed => (false, Some("PodFailed"), None),
        _ if unready.is_empty() => (true, None, None),
        _ => {
            let message = format!("containers with unready status: [{}]", unready.join(" "));
            (false, Some("ContainersNotReady"), Some(message))
        }
    };
    let plain = |name, status| Judgement { name, status, reason: None, message: None };
    let completed = (state.phase == Phase::Succeeded).then_some("PodCompleted");
    [
        plain("PodReadyToStartContainers", state.sandbox.step == SandboxStep::Ready),
        Judgement { reason: completed, ..plain("Initialized", true) },
        Judgement { name: "Ready", status: ready, reason, message: message.clone() },
        Judgement { name: "ContainersReady", status: ready, reason, message },
        plain("PodScheduled", true),
    ]
}

fn spec_of<'a>(pod: &'a Pod, container: &ContainerState) -> Option<&'a api::Container> {
    pod.spec.as_ref()?.containers.iter().find(|spec| spec.name == container.name)
}
