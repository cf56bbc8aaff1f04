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

/// The spam filter of one pod: a bucket of tokens.
pub struct Recorder {
    tokens: u32,
    refilled: Timestamp,
}

impl Recorder {
    /// A full one.
    pub fn new(now: Timestamp) -> Self {
        Self { tokens: BURST, refilled: now }
    }

    /// Adds `new` to `events`, the ones known of `pod`, oldest first.
    pub fn record(&mut self, events: &mut Vec<Event>, pod: &Pod, new: &PodEvent, now: Timestamp) {
        if !self.admit(now) {
            return;
        }
        let mut event = event(pod, new, now);
        let similar = events.iter().filter(|old| is_similar(old, &event, now)).count();
        let known = events.iter().any(|old| is_same(old, &event));
        if similar >= MAX_SIMILAR && !known {
            event.message = event.message.map(|message| format!("{COMBINED}{message}"));
        }
        match events.iter().position(|old| is_same(old, &event)) {
            Some(at) => {
                let old = events.remove(at);
                event.count = Some(old.count.unwrap_or(1) + 1);
                event.first_timestamp = old.first_timestamp;
                event.metadata = old.metadata;
                events.push(event);
            }
            None => events.push(event),
        }
        events.retain(|old| age(old, now) < TIME_TO_LIVE);
        let surplus = events.len().saturating_sub(MAX_EVENTS);
        events.drain(..surplus);
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
        reason: Some(new.reason.to_owned()),
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

/// The same thing again.
fn is_same(old: &Event, new: &Event) -> bool {
    let combined =
        |event: &Event| event.message.as_ref().is_some_and(|message| message.starts_with(COMBINED));
    let message = old.message == new.message || (combined(old) && combined(new));
    let object = old.involved_object.field_path == new.involved_object.field_path;
    message && object && is_of_reason(old, new)
}

fn is_similar(old: &Event, new: &Event, now: Timestamp) -> bool {
    is_of_reason(old, new) && age(old, now) <= SIMILAR_WITHIN
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
        PodEvent { kind, reason: "Unhealthy", message: message.into(), container: Some("c".into()) }
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
        assert_eq!(events.len(), MAX_SIMILAR + 1);
        let last = events.last().unwrap();
        assert_eq!(last.count, Some(3));
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
        recorder.record(&mut events, &Pod::default(), &failing("y"), at(TIME_TO_LIVE + 1));
        assert_eq!(events.len(), 1);
    }
}
