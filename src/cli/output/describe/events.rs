//! What happened to a pod.

use super::Lines;
use crate::kube::duration::since_or_unknown;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;

/// The events, the latest last, with how long ago each happened first and last.
pub fn write(lines: &mut Lines, events: &[Event], now: Timestamp) {
    if events.is_empty() {
        return lines.add(0, "Events:\t<none>");
    }
    let mut sorted: Vec<&Event> = events.iter().collect();
    sorted.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    lines.add(0, "Events:");
    lines.add(1, "Type\tReason\tAge\tFrom\tMessage");
    lines.add(1, "----\t------\t----\t----\t-------");
    for event in sorted {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let source = event.source.as_ref().and_then(|source| source.component.clone());
        let source = source.filter(|source| !source.is_empty());
        let object = match event.involved_object.field_path.as_deref() {
            None | Some("") => String::new(),
            Some(path) => format!("{path}: "),
        };
        let message = text(&event.message);
        lines.add(
            1,
            format_args!(
                "{}\t{}\t{}\t{}\t{object}{}",
                text(&event.type_),
                text(&event.reason),
                age(event, now),
                source.unwrap_or_else(|| text(&event.reporting_component)),
                message.trim(),
            ),
        );
    }
}

/// `4s (x5 over 3m59s)`.
fn age(event: &Event, now: Timestamp) -> String {
    let first = event.event_time.as_ref().map(|time| time.0);
    let first = first.or(event.first_timestamp.as_ref().map(|time| time.0));
    let first = since_or_unknown(first, now);
    let (last, count) = match (&event.series, event.count) {
        (Some(series), _) => (series.last_observed_time.as_ref().map(|time| time.0), series.count),
        (None, count) => (event.last_timestamp.as_ref().map(|time| time.0), count),
    };
    match count {
        Some(count) if count > 1 || event.series.is_some() => {
            format!("{} (x{count} over {first})", since_or_unknown(last, now))
        }
        _ => first,
    }
}
