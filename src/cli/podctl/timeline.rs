//! `podctl timeline`: when each step of a pod's life happened and how long it took, as text or as
//! a trace that chrome://tracing and Perfetto show.

use super::{Call, Outcome, print, resource};
use crate::cli::output::{json, table::text};
use crate::error::Error;
use crate::kube::{Pod, table::Table};
use clap::Args;
use k8s_openapi::api::core::v1::{ContainerStatus, Event};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// The lane of what is about the pod as a whole.
const POD: &str = "pod";

/// Flags of `timeline`.
#[derive(Args)]
pub struct Flags {
    /// The pod
    #[arg(value_name = "POD")]
    words: Vec<String>,
    /// Output format: text, or trace, which chrome://tracing and ui.perfetto.dev show
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// One step of a pod or of one of its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    at: Timestamp,
    /// The container, or [`POD`].
    lane: String,
    what: String,
    message: String,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let name = match flags.words.as_slice() {
        [name] => resource::name(name)?,
        [kind, name] => resource::name(&format!("{kind}/{name}"))?,
        _ => return Err(Error::user("expected 'timeline POD'").into()),
    };
    let pod = call.engine.get(&call.namespace, &name)?;
    let steps = steps(&pod, &call.engine.events(&call.namespace, &name)?);
    print(&match flags.output.as_deref() {
        None | Some("" | "text") => text(&table(&steps), false),
        Some("trace") => json::document(&trace(&name, &steps)),
        Some(other) => {
            let text = format!("unknown output format {other:?}: text or trace");
            return Err(Error::user(text).into());
        }
    })?;
    Ok(0)
}

fn steps(pod: &Pod, events: &[Event]) -> Vec<Step> {
    let mut steps: Vec<Step> = events.iter().flat_map(of_event).collect();
    let statuses = pod.status.iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    });
    for status in statuses {
        steps.extend(end(status, &steps));
    }
    steps.sort_by_key(|step| step.at);
    steps
}

/// The first time it happened, and the last.
fn of_event(event: &Event) -> Vec<Step> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let field = event.involved_object.field_path.as_deref().unwrap_or_default();
    let lane = field.split_once('{').and_then(|(_, rest)| rest.strip_suffix('}')).unwrap_or(POD);
    let count = event.count.unwrap_or(1);
    let step = |at: Timestamp, times: &str| Step {
        at,
        lane: lane.to_owned(),
        what: text(&event.reason),
        message: format!("{}{times}", text(&event.message).trim()),
    };
    let first = precise(event).or(event.first_timestamp.as_ref().map(|time| time.0));
    let last = event.last_timestamp.as_ref().map(|time| time.0).filter(|_| count > 1);
    let first = first.map(|at| step(at, ""));
    first.into_iter().chain(last.map(|at| step(at, &format!(" (x{count})")))).collect()
}

/// An event is named by the nanosecond it first happened; its times are in whole seconds.
fn precise(event: &Event) -> Option<Timestamp> {
    let (_, nanos) = event.metadata.name.as_deref()?.rsplit_once('.')?;
    Timestamp::from_nanosecond(i128::from_str_radix(nanos, 16).ok()?).ok()
}

/// The end of a container's last run, which no event tells of: not before its last event.
fn end(status: &ContainerStatus, known: &[Step]) -> Option<Step> {
    let state = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let ended = state.or(last)?;
    let finished = ended.finished_at.as_ref()?.0;
    let second = |at: Timestamp| at.as_second() == finished.as_second();
    let same = known.iter().filter(|step| step.lane == status.name && second(step.at));
    // A run that another has followed ended before what is known of that one.
    let at = same
        .filter(|_| state.is_some())
        .map(|step| step.at)
        .max()
        .map_or(finished, |latest| latest.max(finished));
    let reason = ended.reason.as_deref().unwrap_or("Ended");
    Some(Step {
        at,
        lane: status.name.clone(),
        what: "Ended".to_owned(),
        message: format!("{reason}, exit code {}", ended.exit_code),
    })
}

/// How long a step took: from the one before it in its lane. A lane begins where the last step of any
/// ended, as containers are started one after another.
fn took(steps: &[Step], index: usize) -> SignedDuration {
    let Some(step) = steps.get(index) else { return SignedDuration::ZERO };
    let before = steps.get(..index).unwrap_or_default();
    let lane = before.iter().rev().find(|other| other.lane == step.lane);
    let earlier = lane.or(before.last());
    earlier.map_or(SignedDuration::ZERO, |earlier| step.at.duration_since(earlier.at))
}

fn table(steps: &[Step]) -> Table {
    let begin = steps.first().map_or(Timestamp::UNIX_EPOCH, |step| step.at);
    let rows = steps.iter().enumerate().map(|(index, step)| {
        let at = format!("+{}", seconds(step.at.duration_since(begin)));
        let lane = step.lane.clone();
        vec![at, seconds(took(steps, index)), lane, step.what.clone(), step.message.clone()]
    });
    let headers = ["AT", "TOOK", "CONTAINER", "STEP", "MESSAGE"].map(str::to_owned).to_vec();
    Table { rows: rows.collect(), headers }
}

/// `0.0183s`, `12.5s`, `1h2m3s`.
fn seconds(time: SignedDuration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{:.1}ms", time.as_secs_f64() * 1e3),
        1..60 => format!("{:.3}s", time.as_secs_f64()),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The Trace Event Format: each step as a slice that ends when it happened, a thread per lane.
fn trace(pod: &str, steps: &[Step]) -> Value {
    let mut lanes: Vec<&str> = vec![POD];
    let mut events =
        vec![json!({"name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": {"name": pod}})];
    for (index, step) in steps.iter().enumerate() {
        let lane = lanes.iter().position(|lane| *lane == step.lane).unwrap_or(lanes.len());
        if lane == lanes.len() {
            lanes.push(&step.lane);
        }
        let (end, took) = (step.at.as_microsecond(), took(steps, index).as_micros());
        let took = i64::try_from(took).unwrap_or(i64::MAX);
        events.push(json!({
            "name": step.what, "cat": "pod", "ph": "X", "ts": end.saturating_sub(took),
            "dur": took, "pid": 1, "tid": lane, "args": {"message": step.message},
        }));
    }
    events.extend(lanes.iter().enumerate().map(|(lane, name)| {
        json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": lane, "args": {"name": name}})
    }));
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::table::Writer;

    fn step(micros: i64, lane: &str, what: &str) -> Step {
        let at = Timestamp::from_microsecond(1_000_000 + micros).unwrap();
        Step { at, lane: lane.into(), what: what.into(), message: String::new() }
    }

    #[test]
    fn a_step_takes_the_time_since_the_one_before_in_its_lane() {
        let steps = [
            step(0, POD, "Scheduled"),
            step(2_000, "a", "Created"),
            step(3_500, "b", "Created"),
            step(4_000, "a", "Started"),
        ];
        let shown = "\
AT       TOOK    CONTAINER   STEP        MESSAGE
+0.0ms   0.0ms   pod         Scheduled   \n\
+2.0ms   2.0ms   a           Created     \n\
+3.5ms   1.5ms   b           Created     \n\
+4.0ms   2.0ms   a           Started     \n";
        assert_eq!(Writer::default().table(&table(&steps)), shown);
        let trace = trace("web", &steps);
        let slice = &trace["traceEvents"][4];
        assert_eq!(
            (&slice["ts"], &slice["dur"], &slice["tid"]),
            (&json!(1_002_000), &json!(2000), &json!(1))
        );
    }

    #[test]
    fn times_are_short() {
        let cases = [(0.0184, "18.4ms"), (2.5, "2.500s"), (75.0, "1m15s"), (7260.0, "2h1m")];
        for (time, text) in cases {
            assert_eq!(seconds(SignedDuration::try_from_secs_f64(time).unwrap()), text);
        }
    }
}
