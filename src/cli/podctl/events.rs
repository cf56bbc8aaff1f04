//! `podctl events`: what happened, the latest last.

use super::form::Form;
use super::{Call, Outcome, print, resource, tell};
use crate::cli::output::{
    self, Asked, Format,
    table::{Writer, text},
};
use crate::error::{Error, Result};
use crate::kube::table::Table;
use crate::kube::{Object, Resource, duration};
use crate::pod::{ChangeKind, WatchOptions};
use clap::Args;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;

/// Flags of `events`.
#[derive(Args)]
pub struct Flags {
    /// Events of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only what happened to this object: pod/web
    #[arg(long = "for", value_name = "TYPE/NAME")]
    about: Option<String>,
    /// Only these types: Warning, Normal
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Go on with every event
    #[arg(short, long)]
    watch: bool,
    /// Leave the headers out
    #[arg(long)]
    no_headers: bool,
    #[command(flatten)]
    form: Form,
    /// Accepted for kubectl's sake: there is no server to spare
    #[arg(long, value_name = "N", allow_negative_numbers = true, hide = true)]
    chunk_size: Option<i64>,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let format = flags.form.format()?;
    if !flags.types.iter().all(|kind| is_type(kind)) {
        let text = "valid --types are Normal or Warning";
        return Err(Error::user(text).into());
    }
    let about = flags.about.as_deref().map(about).transpose()?;
    let chosen = |object: &Object| is_chosen(flags, about.as_ref(), object);
    let namespace = (!flags.all_namespaces).then_some(call.namespace.as_str());
    if flags.watch {
        return watch(call, flags, &chosen);
    }
    let mut events = call.engine.list_objects(Resource::Events, namespace)?;
    events.retain(chosen);
    events.sort_by_key(|object| of(object).and_then(|event| seen(event).last));
    match format {
        Format::Table | Format::Wide if events.is_empty() => tell(&match namespace {
            Some(namespace) => format!("No events found in {namespace} namespace."),
            None => "No events found.".to_owned(),
        }),
        Format::Table | Format::Wide => {
            print(&text(&table(flags, &events), flags.no_headers))?;
        }
        format => print(&output::objects(&events, &format, Asked::Many)?)?,
    }
    Ok(0)
}

fn watch(call: &Call, flags: &Flags, chosen: &dyn Fn(&Object) -> bool) -> Outcome {
    let namespace = (!flags.all_namespaces).then_some(call.namespace.as_str());
    let options = WatchOptions { resource: Resource::Events, namespace, timeout: None, chosen };
    let mut writer = Writer::of_stdout();
    let mut headers = !flags.no_headers;
    call.engine.watch(&options, &mut |change| {
        if change.kind == ChangeKind::Deleted {
            return Ok(true);
        }
        let table = table(flags, &[change.object]);
        let with_headers = std::mem::take(&mut headers);
        print(&if with_headers { writer.table(&table) } else { writer.rows(&table) })?;
        Ok(true)
    })?;
    Ok(0)
}

fn is_type(text: &str) -> bool {
    ["normal", "warning"].contains(&text.to_lowercase().as_str())
}

/// Kind and name of `--for`.
fn about(text: &str) -> Result<(Resource, String)> {
    match text.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
            Ok((resource::kind(kind)?, name.to_owned()))
        }
        _ => Err(Error::user("--for must be in resource/name form")),
    }
}

fn is_chosen(flags: &Flags, about: Option<&(Resource, String)>, object: &Object) -> bool {
    let Some(event) = of(object) else { return false };
    let kind = event.type_.as_deref().unwrap_or_default();
    let involved = &event.involved_object;
    (flags.types.is_empty() || flags.types.iter().any(|wanted| wanted.eq_ignore_ascii_case(kind)))
        && about.is_none_or(|(resource, name)| {
            involved.kind.as_deref() == Some(resource.kind())
                && involved.name.as_deref() == Some(name)
        })
}

fn of(object: &Object) -> Option<&Event> {
    match object {
        Object::Event(event) => Some(event),
        _ => None,
    }
}

struct Seen {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    count: i32,
}

fn seen(event: &Event) -> Seen {
    let first = event.first_timestamp.as_ref().map(|time| time.0);
    let first = first.or(event.event_time.as_ref().map(|time| time.0));
    let last = event.last_timestamp.as_ref().map(|time| time.0).or(first);
    Seen { first, last, count: event.count.unwrap_or(1) }
}

fn table(flags: &Flags, events: &[Object]) -> Table {
    let mut headers =
        ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"].map(str::to_owned).to_vec();
    if flags.all_namespaces {
        headers.insert(0, "NAMESPACE".to_owned());
    }
    let now = Timestamp::now();
    let rows = events.iter().filter_map(of).map(|event| row(flags, event, now));
    Table { rows: rows.collect(), headers }
}

fn row(flags: &Flags, event: &Event, now: Timestamp) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let Seen { first, last, count } = seen(event);
    let mut age = duration::since_or_unknown(last, now);
    if count > 1 {
        age = format!("{age} (x{count} over {})", duration::since_or_unknown(first, now));
    }
    let object = &event.involved_object;
    let object = format!("{}/{}", text(&object.kind), text(&object.name));
    let message = text(&event.message).trim().to_owned();
    let mut row = vec![age, text(&event.type_), text(&event.reason), object, message];
    if flags.all_namespaces {
        row.insert(0, text(&event.metadata.namespace));
    }
    row
}
