//! Which containers may be started now, and in which order: ephemeral ones, init containers one
//! after another with the sidecars among them, then the others.

use super::probes;
use super::state::{ContainerState, PodState, Step};
use crate::kube::roster::Role;

/// Sees whether the last init container has done its part. Once that is so it stays so until the
/// sandbox is made anew: a sidecar that fails later on holds up nobody.
pub fn note_initialized(state: &mut PodState) {
    let mut init = state.containers.iter().filter(|container| is_init(container));
    state.initialized |= init.next_back().is_none_or(has_done_its_part);
}

/// The containers that may be started, in the order in which they are, by their place.
pub fn candidates(state: &PodState) -> Vec<usize> {
    let ephemeral = of_role(state, |role| role == Role::Ephemeral);
    let init = of_role(state, |role| matches!(role, Role::Init | Role::Sidecar));
    let regular = of_role(state, |role| role == Role::Regular);
    let idle = |at: &usize| state.containers.get(*at).is_some_and(can_start);
    let init = init.take_while(|at| *at <= furthest(state)).filter(|at| {
        let role = state.containers.get(*at).map(|container| container.role);
        !state.initialized || role == Some(Role::Sidecar)
    });
    let regular = regular.filter(|_| state.initialized);
    ephemeral.chain(init).chain(regular).filter(idle).collect()
}

/// The last init container that may be started: the one after the last that has begun, if that
/// has done its part.
fn furthest(state: &PodState) -> usize {
    let begun = |it: &ContainerState| is_init(it) && it.begun;
    match state.containers.iter().rposition(begun) {
        None => 0,
        Some(last) if state.containers.get(last).is_some_and(has_done_its_part) => last + 1,
        Some(last) => last,
    }
}

fn of_role(state: &PodState, is: impl Fn(Role) -> bool) -> impl Iterator<Item = usize> {
    let all = state.containers.iter().enumerate();
    all.filter(move |(_, container)| is(container.role)).map(|(at, _)| at)
}

fn is_init(container: &ContainerState) -> bool {
    matches!(container.role, Role::Init | Role::Sidecar)
}

/// An init container lets the next one be started.
fn has_done_its_part(container: &ContainerState) -> bool {
    match container.role {
        Role::Sidecar => probes::is_started(container),
        _ => {
            container.begun
                && container.step == Step::Idle
                && container.exit.as_ref().is_some_and(|exit| exit.code == 0)
        }
    }
}

fn can_start(container: &ContainerState) -> bool {
    container.step == Step::Idle && !container.finished
}
