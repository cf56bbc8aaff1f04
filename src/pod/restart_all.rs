//! The restart rule `RestartAllContainers`: an exit status that a rule names has every container of
//! the pod, init containers included, ended and begun anew in the same sandbox, with its address and
//! its volumes. No back-off holds what is started so: to the kubelet the containers before have
//! never been.

use super::machine::Turn;
use super::restart::{self, Remedy};
use super::state::{ContainerState, Exit, KillReason, PodState, Step, Waiting};
use super::{life, stop};
use crate::kube::roster::Role;
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::jiff::Timestamp;

/// The reason of containers that are to be begun anew, and of what they were before.
pub const REASON: &str = "RestartingAllContainers";
const MESSAGE: &str = "The container is removed because RestartAllContainers in place";

/// Whether a rule of any container asks for it: only then the pod has the condition.
pub fn may_happen<'a>(mut containers: impl Iterator<Item = &'a Container>) -> bool {
    let asks = |container: &Container| {
        let rules = container.restart_policy_rules.iter().flatten();
        rules.into_iter().any(|rule| restart::remedy(rule) == Some(Remedy::RestartAll))
    };
    containers.any(asks)
}

/// Sees whether an exit status asks for it, stops what still runs, and once nothing does has all
/// begin anew.
pub fn follow(turn: &mut Turn<'_>, state: &mut PodState) {
    if state.is_ending() {
        state.restarting = false;
        return;
    }
    state.restarting |= state.containers.iter().any(|container| asks(turn, container));
    if !state.restarting {
        return;
    }
    let grace = turn.grace();
    let alive = state.containers.iter_mut().filter(|it| takes_part(it) && it.has_process());
    for container in alive.filter(|container| container.kill.is_none()) {
        stop::kill(turn, container, KillReason::RestartAll, grace);
    }
    let mut all = state.containers.iter().filter(|container| takes_part(container));
    if all.all(|container| container.step == Step::Idle) {
        state.restarting = false;
        state.containers.iter_mut().filter(|it| takes_part(it)).for_each(forget);
        life::begin_anew(state);
    }
}

/// Whether the exit status of `container` meets a rule that asks for it.
pub fn asks(turn: &Turn<'_>, container: &ContainerState) -> bool {
    let Some(code) = container.exit.as_ref().map(|exit| exit.code) else { return false };
    takes_part(container)
        && turn.spec(&container.name).is_some_and(|spec| {
            let rules = spec.restart_policy_rules.as_deref().unwrap_or_default();
            restart::by_rule(rules, code) == Some(Remedy::RestartAll)
        })
}

fn takes_part(container: &ContainerState) -> bool {
    container.role != Role::Ephemeral
}

/// The kubelet removes the containers, and with them all it knew of how they ended.
fn forget(container: &mut ContainerState) {
    container.finished = false;
    container.not_before = None;
    container.remind = None;
    if container.exit.take().is_none() {
        return;
    }
    container.attempt += 1;
    container.waiting = Some(Waiting { reason: REASON.into(), message: MESSAGE.into() });
    container.last = Some(Exit {
        id: String::new(),
        code: 137,
        reason: REASON.into(),
        message: MESSAGE.into(),
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: Timestamp::UNIX_EPOCH,
    });
}
