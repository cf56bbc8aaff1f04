//! `status.phase`, and what each container is to the API (kubelet_pods.go, `getPhase`).

use super::state::{ContainerState, Exit, Phase, PodState, Step};
use crate::kube::roster::Role;
use k8s_openapi::jiff::Timestamp;

/// What a container is to the API.
pub enum Shown<'a> {
    /// `state.waiting`: reason and message.
    Waiting(&'a str, &'a str),
    /// `state.running`.
    Running,
    /// `state.terminated`.
    Terminated(&'a Exit),
}

/// How `container` of the pod `state` is shown.
pub fn shown<'a>(container: &'a ContainerState, state: &PodState) -> Shown<'a> {
    let begins = if state.containers.iter().any(|it| is_init(it.role)) {
        "PodInitializing"
    } else {
        "ContainerCreating"
    };
    // What is not to be started again waits for nothing.
    let is_over = container.finished || (state.is_ending() && container.exit.is_some());
    match (&container.waiting, &container.exit) {
        // Until its postStart hook has returned it does not count as running.
        _ if container.step == Step::Running => Shown::Running,
        (Some(waiting), _) if !is_over => Shown::Waiting(&waiting.reason, &waiting.message),
        (_, Some(exit)) => Shown::Terminated(exit),
        _ => Shown::Waiting(begins, ""),
    }
}

/// The phase, were it not that a terminal one is never left.
pub fn phase(state: &PodState) -> Phase {
    if state.failure.is_some() {
        return Phase::Failed;
    }
    let of = |role: fn(Role) -> bool| state.containers.iter().filter(move |it| role(it.role));
    if of(|role| role == Role::Init).any(ContainerState::has_failed_init) {
        return Phase::Failed;
    }
    let regular: Vec<_> = of(|role| role == Role::Regular).collect();
    let has_ended = |it: &ContainerState| it.exit.is_some() || it.last.is_some();
    let waits =
        |it: &ContainerState| matches!(shown(it, state), Shown::Waiting(..)) && !has_ended(it);
    let runs = |it: &ContainerState| matches!(shown(it, state), Shown::Running);
    let has_begun = regular.iter().any(|it| runs(it) || has_ended(it));
    if state.is_ending() && state.is_still() {
        let ended_well = |it: &&ContainerState| matches!(shown(it, state), Shown::Terminated(exit) if exit.code == 0);
        return if regular.iter().all(ended_well) { Phase::Succeeded } else { Phase::Failed };
    }
    let init_waits = |it: &ContainerState| runs(it) || (waits(it) && it.last.is_none());
    let sidecar_waits = |it: &ContainerState| (runs(it) && !it.started) || waits(it);
    // One container that has never run keeps the whole pod Pending.
    let pending = of(|role| role == Role::Init).any(init_waits)
        || (!has_begun && of(|role| role == Role::Sidecar).any(sidecar_waits))
        || regular.iter().any(|it| waits(it));
    if pending { Phase::Pending } else { Phase::Running }
}

/// In a pod that is over every container has ended: one that has left no trace counts as lost, if
/// it could have begun.
pub fn account_for_all(state: &mut PodState, now: Timestamp) {
    let was_initialized = state.initialized;
    let lost = state.containers.iter_mut().filter(|it| it.exit.is_none());
    for container in lost.filter(|it| it.role == Role::Regular && was_initialized) {
        container.exit = Some(Exit {
            id: String::new(),
            code: 137,
            reason: "ContainerStatusUnknown".into(),
            message: "The container could not be located when the pod was terminated".into(),
            started_at: now,
            finished_at: now,
        });
    }
}

fn is_init(role: Role) -> bool {
    matches!(role, Role::Init | Role::Sidecar)
}
