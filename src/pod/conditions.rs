//! The pod's status as the API shows it: phase, conditions, container statuses.

use super::phase::{self, Shown, phase, shown};
use super::state::{Condition, ContainerState, Exit, Phase, PodState, SandboxStep};
use super::translate::Credentials;
use super::{probes, restart_all};
use crate::kube::Pod;
use crate::kube::resources::qos;
use crate::kube::roster::{self, Role};
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
    let of = |list: fn(Role) -> bool| -> Vec<_> {
        let rejected = state.failure.as_ref().is_some_and(|failure| failure.rejected);
        let all = state.containers.iter().filter(|_| !rejected);
        let listed = all.filter(|container| list(container.role));
        listed.map(|container| container_status(pod, container, state)).collect()
    };
    let some = |list: Vec<_>| Some(list).filter(|list| !list.is_empty());
    let mut containers = of(|role| role == Role::Regular);
    // The API lists these by name, whatever their order in the spec.
    containers.sort_by(|one, other| one.name.cmp(&other.name));
    let failure = state.failure.as_ref().filter(|_| state.phase == Phase::Failed);
    api::PodStatus {
        phase: Some(state.phase.as_str().into()),
        reason: failure.map(|failure| failure.reason.clone()),
        message: failure.map(|failure| failure.message.clone()),
        conditions: Some(conditions(pod, state)),
        container_statuses: some(containers),
        init_container_statuses: some(of(|role| matches!(role, Role::Init | Role::Sidecar))),
        ephemeral_container_statuses: some(of(|role| role == Role::Ephemeral)),
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
        let phase = phase(state);
        // A pod counts as over once nothing of it can run any more.
        if !phase.is_terminal() || state.is_still() {
            state.phase = phase;
        }
    }
    if state.phase.is_terminal() && state.is_still() {
        phase::account_for_all(state, now);
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

fn container_status(
    pod: &Pod,
    container: &ContainerState,
    pod_state: &PodState,
) -> api::ContainerStatus {
    let found = roster::find(pod, &container.name);
    let spec = found.as_ref().map(|(_, spec)| &**spec);
    let (state, last) = match shown(container, pod_state) {
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
        started: Some(probes::is_started(container)),
        restart_count: i32::try_from(container.attempt).unwrap_or(i32::MAX),
        image: found.unwrap_or(wanted),
        image_id: container.image.id.clone(),
        container_id: container_id(&container.id),
        user: container.user.as_ref().map(user),
        ..Default::default()
    }
}

fn user(user: &Credentials) -> api::ContainerUser {
    let groups = user.groups.iter().copied().map(i64::from).collect();
    let (uid, gid) = (user.uid.into(), user.gid.into());
    let linux = api::LinuxContainerUser { uid, gid, supplemental_groups: Some(groups) };
    api::ContainerUser { linux: Some(linux) }
}

fn terminated(exit: &Exit) -> api::ContainerState {
    // Of an instance that nobody can find nobody knows when it was.
    let time = |time| Some(Time(time)).filter(|_| !exit.id.is_empty());
    let terminated = api::ContainerStateTerminated {
        container_id: container_id(&exit.id),
        exit_code: exit.code,
        finished_at: time(exit.finished_at),
        message: Some(exit.message.clone()).filter(|message| !message.is_empty()),
        reason: Some(exit.reason.clone()),
        started_at: time(exit.started_at),
        ..Default::default()
    };
    api::ContainerState { terminated: Some(terminated), ..Default::default() }
}

fn container_id(id: &str) -> Option<String> {
    (!id.is_empty()).then(|| format!("runp://{id}"))
}

fn conditions(pod: &Pod, state: &PodState) -> Vec<api::PodCondition> {
    let of = |it: Judgement<'_>| {
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
struct Judgement<'a> {
    name: &'static str,
    status: bool,
    reason: Option<&'a str>,
    message: Option<String>,
}

/// The conditions, in the order in which the kubelet lists them.
fn judge<'a>(pod: &Pod, state: &'a PodState) -> Vec<Judgement<'a>> {
    let plain = |name, status| Judgement { name, status, reason: None, message: None };
    let containers = judge_ready(pod, state);
    let mut ready = Judgement { name: "Ready", message: containers.message.clone(), ..containers };
    if state.deletion.is_some() && ready.status {
        // Where there are services, a pod leaves them the moment it is told to go.
        let message = Some("the pod is being deleted".to_owned());
        ready = Judgement { status: false, reason: Some("PodTerminating"), message, ..ready };
    }
    let sandbox = plain("PodReadyToStartContainers", state.sandbox.step == SandboxStep::Ready);
    let trouble = state.sandbox.trouble.as_ref();
    let (reason, message) = trouble.map(|it| (&it.reason, &it.message)).unzip();
    let mut all = vec![
        // The kubelet tells that there is no sandbox; here it is told why, too.
        Judgement { reason: reason.map(String::as_str), message: message.cloned(), ..sandbox },
        judge_initialized(state),
        ready,
        containers,
        plain("PodScheduled", true),
    ];
    all.extend(judge_restarting(pod, state));
    all
}

/// Only a pod with such a rule has it.
fn judge_restarting(pod: &Pod, state: &PodState) -> Option<Judgement<'static>> {
    let name = "AllContainersRestarting";
    let spec = pod.spec.as_ref()?;
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    if !restart_all::may_happen(containers) {
        return None;
    }
    let (status, reason) = match state.phase {
        Phase::Succeeded => (false, Some("PodCompleted")),
        Phase::Failed => (false, Some("PodFailed")),
        _ if state.restarting => (true, Some("RestartAllContainersStarted")),
        _ => (false, None),
    };
    let message = status.then(|| "container exited with restart policy rule".to_owned());
    Some(Judgement { name, status, reason, message })
}

fn judge_initialized(state: &PodState) -> Judgement<'static> {
    let has_run = |it: &&ContainerState| it.has_process() || it.exit.is_some() || it.last.is_some();
    let mut regular = state.containers.iter().filter(|it| it.role == Role::Regular);
    let is_incomplete = |it: &&ContainerState| match it.role {
        Role::Init => it.exit.as_ref().is_none_or(|exit| exit.code != 0),
        Role::Sidecar => !probes::is_started(it),
        Role::Regular | Role::Ephemeral => false,
    };
    let incomplete: Vec<&str> =
        state.containers.iter().filter(is_incomplete).map(|it| it.name.as_str()).collect();
    let judge =
        |status, reason, message| Judgement { name: "Initialized", status, reason, message };
    if state.phase == Phase::Succeeded {
        return judge(true, Some("PodCompleted"), None);
    }
    if incomplete.is_empty() || regular.any(|it| has_run(&it)) {
        return judge(true, None, None);
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    judge(false, Some("ContainersNotInitialized"), Some(message))
}

fn judge_ready(pod: &Pod, state: &PodState) -> Judgement<'static> {
    let counts = |it: &&ContainerState| matches!(it.role, Role::Sidecar | Role::Regular);
    let is_ready = |it: &ContainerState| {
        roster::find(pod, &it.name).is_some_and(|(_, spec)| probes::is_ready(&spec, it))
    };
    let unready: Vec<&str> = state
        .containers
        .iter()
        .filter(counts)
        .filter(|container| !is_ready(container))
        .map(|container| container.name.as_str())
        .collect();
    let judge =
        |status, reason, message| Judgement { name: "ContainersReady", status, reason, message };
    match state.phase {
        Phase::Succeeded => judge(false, Some("PodCompleted"), None),
        Phase::Failed => judge(false, Some("PodFailed"), None),
        _ if unready.is_empty() => judge(true, None, None),
        _ => {
            let message = format!("containers with unready status: [{}]", unready.join(" "));
            judge(false, Some("ContainersNotReady"), Some(message))
        }
    }
}
