//! DECIDE: what a pod does next. Pure: no clock, no files, no processes.

use super::action::Action;
use super::event::Event;
use super::state::PodState;
use crate::kube::Pod;
use k8s_openapi::jiff::Timestamp;

/// What follows from `event`. Changes `state`, which is to be written before the actions are done.
pub fn next(pod: &Pod, state: &mut PodState, event: &Event, now: Timestamp) -> Vec<Action> {
    todo!("poddecide: {pod:?} {state:?} {event:?} {now}")
}

/// When the machine wants its next [`Event::Tick`]; `None` for never.
pub fn deadline(state: &PodState) -> Option<Timestamp> {
    todo!("poddecide: {state:?}")
}
