//! A pod's events, counted and aggregated as the kubelet's recorder does
//! (client-go, `tools/record/events_cache.go`), and bounded: the file never grows without end.

use super::action::PodEvent;
use crate::kube::{Pod, roster};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;

/// Events kept of one pod.
const MAX_EVENTS: usize = 100;
/// The API server's time to live, in seconds.
const TIME_TO_LIVE: i64 = 3600;
/// So many messages of one reason within [`SIMILAR_WITHIN`] become one.
const MAX_SIMILAR: usize = 10;
/// Seconds.
const SIMILAR_WITHIN: i64 = 600;
/// Before how many events the spam filter lets everything through.
const BURST: u32 = 25;
/// Seconds after which it lets one more through.
const REFILL: i64 = 300;
const COMBINED: &str = "(combined from similar events): ";

/// The spam filter of one pod: a bucket of tokens. What it holds back is counted all the same, and
/// told with the next one that it lets through.
pub struct Recorder {
    tokens: u32,
    refilled: Timestamp,
    /// Names of events, and how often each was held back since it was last told.
    held: Vec<(String, i32)>,
}

impl Recorder {
    /// A full one.
    pub fn new(now: Timestamp) -> Self {
        Self { tokens: BURST, refilled: now, held: Vec::new() }
    }

    /// Adds `new` to `events`, the ones known of `pod`, oldest first.
    pub fn record(&mut self, events: &mut Vec<Event>, pod: &Pod, new: &PodEvent, now: Timestamp) {
        let mut event = event(pod, new, now);
        let known = events.iter().any(|old| is_same(old, &event));
        let similar = events.iter().filter(|old| is_similar(old, &event, now)).count();
        // With this one there would be too many.
        if similar + 1 >= MAX_SIMILAR && !known {
            event.message = event.message.map(|message| format!("{COMBINED}{message}"));
        }
        let at = events.iter().position(|old| is_same(old, &event));
        if !self.admit(now) {
            if let Some(name) = at.and_then(|at| events.get(at)?.metadata.name.clone()) {
                self.hold(name);
            }
            return;
        }
        if let Some(old) = at.map(|at| events.remove(at)) {
            event.count = Some(old.count.unwrap_or(1) + 1 + self.take_held(&old));
            event.first_timestamp = old.first_timestamp;
            event.involved_object = old.involved_object;
            event.metadata = old.metadata;
        }
        events.push(event);
        events.retain(|old| age(old, now) < TIME_TO_LIVE);
        let surplus = events.len().saturating_sub(MAX_EVENTS);
        events.drain(..surplus);
    }

    fn hold(&mut self, name: String) {
        if let Some((_, count)) = self.held.iter_mut().find(|(known, _)| *known == name) {
            *count = count.saturating_add(1);
        } else if self.held.len() < MAX_EVENTS {
            self.held.push((name, 1));
        }
    }

    fn take_held(&mut self, event: &Event) -> i32 {
        let is_it = |(name, _): &(String, i32)| Some(name) == event.metadata.name.as_ref();
        self.held.iter().position(is_it).map_or(0, |at| self.held.remove(at).1)
    }

    fn admit(&mut self, now: Timestamp) -> bool {
        let earned = (now.as_second() - self.refilled.as_second()) / REFILL;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(BURST);
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.refilled = now;
        }
        let admitted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        admitted
    }
}

fn event(pod: &Pod, new: &PodEvent, now: Timestamp) -> Event {
    let meta = &pod.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    let scheduler = new.reason == "Scheduled";
    let component = if scheduler { "default-scheduler" } else { "kubelet" };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|_| !scheduler);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: meta.namespace.clone(),
            creation_timestamp: Some(Time(now)),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            field_path: new.container.as_ref().map(|name| field_path(pod, name)),
            ..ObjectReference::default()
        },
        reason: Some(new.reason.to_string()),
        message: Some(new.message.clone()),
        type_: Some(new.kind.as_str().to_owned()),
        source: Some(EventSource { component: Some(component.into()), host: node.clone() }),
        reporting_component: Some(component.into()),
        reporting_instance: node,
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

fn field_path(pod: &Pod, container: &str) -> String {
    let role = roster::find(pod, container).map(|(role, _)| role).unwrap_or_default();
    format!("{}{{{container}}}", role.list())
}

/// The same thing again. Combined ones are one whatever container each is about.
fn is_same(old: &Event, new: &Event) -> bool {
    let is_combined = is_combined(old) && is_combined(new);
    let object = old.involved_object.field_path == new.involved_object.field_path;
    (is_combined || (old.message == new.message && object)) && is_of_reason(old, new)
}

fn is_similar(old: &Event, new: &Event, now: Timestamp) -> bool {
    is_of_reason(old, new) && !is_combined(old) && age(old, now) <= SIMILAR_WITHIN
}

fn is_combined(event: &Event) -> bool {
    event.message.as_ref().is_some_and(|message| message.starts_with(COMBINED))
}

fn is_of_reason(old: &Event, new: &Event) -> bool {
    (&old.reason, &old.type_, &old.source) == (&new.reason, &new.type_, &new.source)
}

/// Seconds since it last happened.
fn age(event: &Event, now: Timestamp) -> i64 {
    let last = event.last_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    now.as_second() - last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::action::EventKind;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn failing(message: &str) -> PodEvent {
        let kind = EventKind::Warning;
        PodEvent {
            kind,
            reason: "Unhealthy".into(),
            message: message.into(),
            container: Some("c".into()),
        }
    }

    #[test]
    fn the_same_event_is_counted() {
        let mut events = Vec::new();
        let mut recorder = Recorder::new(at(0));
        for second in 0..3 {
            recorder.record(&mut events, &Pod::default(), &failing("x"), at(second));
        }
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].count, Some(3));
        assert_eq!(events[0].first_timestamp, Some(Time(at(0))));
        assert_eq!(events[0].last_timestamp, Some(Time(at(2))));
    }

    #[test]
    fn many_similar_ones_become_one() {
        let mut events = Vec::new();
        let mut recorder = Recorder::new(at(0));
        for number in 0..13 {
            let event = failing(&format!("failure {number}"));
            recorder.record(&mut events, &Pod::default(), &event, at(number));
        }
        assert_eq!(events.len(), MAX_SIMILAR);
        let last = events.last().unwrap();
        assert_eq!(last.count, Some(4));
        let message = last.message.as_deref().unwrap();
        assert_eq!(message, "(combined from similar events): failure 12");
    }

    #[test]
    fn a_flood_is_cut_and_the_old_forgotten() {
        let mut events = Vec::new();
        let mut recorder = Recorder::new(at(0));
        for _ in 0..2 * BURST {
            recorder.record(&mut events, &Pod::default(), &failing("x"), at(0));
        }
        assert_eq!(events[0].count, Some(25));
        recorder.record(&mut events, &Pod::default(), &failing("x"), at(REFILL));
        assert_eq!(events[0].count, Some(51), "those held back are counted");
        recorder.record(&mut events, &Pod::default(), &failing("y"), at(REFILL + TIME_TO_LIVE));
        assert_eq!(events.len(), 1);
    }
}
