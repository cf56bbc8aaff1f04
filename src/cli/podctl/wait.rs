//! `podctl wait`: until objects are as they should be.

use super::chosen::{Chosen, Selectors};
use super::flags::parse_duration;
use super::form::Form;
use super::write::Files;
use super::{Call, Outcome, done, print, resource};
use crate::cli::output::{self, Asked, Format, jsonpath::Template};
use crate::cli::progress::Progress;
use crate::error::{Error, Result};
use crate::kube::Object;
use crate::pod::{ChangeKind, WatchOptions};
use clap::Args;
use serde_json::Value;
use std::time::{Duration, Instant};

/// What a negative timeout stands for.
const A_WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Flags of `wait`.
#[derive(Args)]
pub struct Flags {
    /// A kind, a kind and names, or KIND/NAME…
    #[arg(value_name = "TYPE [NAME]")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// What to wait for: condition=NAME[=VALUE], delete, create or jsonpath={PATH}[=VALUE]
    #[arg(long = "for", value_name = "CONDITION", default_value = "", hide_default_value = true)]
    until: String,
    /// For how long; 0 looks once, a negative time is a week [default: 30s]
    #[arg(long, value_parser = parse_timeout, value_name = "DURATION", default_value = "30s",
        hide_default_value = true, allow_hyphen_values = true)]
    timeout: Duration,
    #[command(flatten)]
    selectors: Selectors,
    #[command(flatten)]
    form: Form,
}

/// What is waited for.
#[derive(Debug, PartialEq)]
enum Until {
    Created,
    Deleted,
    Condition { kind: String, value: String },
    Path { template: Template, value: Option<String> },
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let until = until(&flags.until)?;
    let format = flags.form.format()?;
    let end = Instant::now() + flags.timeout;
    let chosen = Chosen {
        verb: "wait",
        files: &flags.files,
        words: &flags.words,
        selectors: &flags.selectors,
    };
    if until == Until::Created {
        created(call, &flags.words, end)?;
    }
    let (objects, mut failed) = chosen.objects(call, false)?;
    if until == Until::Deleted {
        failed.retain(|error| !resource::is_missing(error));
    } else if objects.is_empty() && failed.is_empty() {
        return Err(Error::user("no matching resources found").into());
    }
    for object in &objects {
        match wait(call, object, &until, end) {
            Ok(Some(met)) => say(&met, &format)?,
            Ok(None) => {
                let (kind, name) = (object.resource().plural(), object.name());
                let text = match flags.timeout {
                    Duration::ZERO => format!("condition not met for {kind}/{name}"),
                    _ => format!("timed out waiting for the condition on {kind}/{name}"),
                };
                failed.push(Error::user(text));
            }
            Err(error) => failed.push(error),
        }
    }
    done(failed)
}

fn say(object: &Object, format: &Format) -> Result<()> {
    if *format == Format::Table {
        let kind = object.resource().singular();
        return print(&format!("{kind}/{} condition met\n", object.name()));
    }
    print(&output::objects(std::slice::from_ref(object), format, Asked::One)?)
}

fn until(text: &str) -> Result<Until> {
    let unknown = || Error::user(format!("unrecognized condition: {text:?}"));
    match text.split_once('=') {
        None if text.eq_ignore_ascii_case("delete") => Ok(Until::Deleted),
        None if text.eq_ignore_ascii_case("create") => Ok(Until::Created),
        Some(("condition", rest)) => {
            let (kind, value) = rest.split_once('=').unwrap_or((rest, "true"));
            Ok(Until::Condition { kind: kind.to_owned(), value: value.to_owned() })
        }
        Some(("jsonpath", rest)) => {
            if rest.is_empty() {
                return Err(Error::user("jsonpath expression cannot be empty"));
            }
            let relaxed = || rest.split_once('=').filter(|_| !rest.starts_with('{'));
            let (path, value) = match (rest.rsplit_once("}="), relaxed()) {
                (Some((path, value)), _) => (format!("{path}}}"), Some(value)),
                (None, Some((path, value))) => (path.to_owned(), Some(value)),
                (None, None) => (rest.to_owned(), None),
            };
            let value = value.map(|value| value.trim_matches(['"', '\'']));
            if value == Some("") {
                return Err(Error::user("jsonpath wait value cannot be empty"));
            }
            let template = Template::relaxed(&path).map_err(Error::user)?;
            Ok(Until::Path { template, value: value.map(str::to_owned) })
        }
        _ => Err(unknown()),
    }
}

/// Waits until `object` is as it should be; `None` when the time is over.
fn wait(call: &Call, object: &Object, until: &Until, end: Instant) -> Result<Option<Object>> {
    let uid = object.metadata().uid.as_ref();
    let chosen = |other: &Object| other.name() == object.name();
    let namespace = object.resource().namespaced().then_some(object.namespace());
    let timeout = Some(end.saturating_duration_since(Instant::now()));
    let options = WatchOptions { resource: object.resource(), namespace, timeout, chosen: &chosen };
    let mut met = None;
    let (kind, name) = (object.resource().singular(), object.name());
    let _progress = Progress::wait(format!("Waiting for {kind}/{name}"));
    call.engine.watch(&options, &mut |change| {
        let other = change.object.metadata().uid.as_ref() != uid;
        let gone = change.kind == ChangeKind::Deleted || other;
        let is_met = match until {
            Until::Deleted => gone,
            Until::Created => true,
            _ if gone => return Err(object.resource().not_found(object.name())),
            _ => holds(until, &change.object)?,
        };
        met = is_met.then(|| change.object.clone());
        Ok(!is_met)
    })?;
    if met.is_none() && *until == Until::Deleted {
        // It went before the watch began.
        let found = call.engine.get_object(object.resource(), object.namespace(), object.name());
        met = found.is_err_and(|error| resource::is_missing(&error)).then(|| object.clone());
    }
    Ok(met)
}

/// Waits until what the words name is there.
fn created(call: &Call, words: &[String], end: Instant) -> Result<()> {
    let resource::Wanted::Named(items) = resource::wanted(words)? else { return Ok(()) };
    for (kind, name) in items {
        let chosen = |object: &Object| object.name() == name;
        let namespace = kind.namespaced().then_some(call.namespace.as_str());
        let timeout = Some(end.saturating_duration_since(Instant::now()));
        let options = WatchOptions { resource: kind, namespace, timeout, chosen: &chosen };
        let mut found = false;
        let _progress = Progress::wait(format!("Waiting for {}/{name}", kind.singular()));
        call.engine.watch(&options, &mut |_| {
            found = true;
            Ok(false)
        })?;
        if !found {
            return Err(Error::user("timed out waiting for the condition"));
        }
    }
    Ok(())
}

fn holds(until: &Until, object: &Object) -> Result<bool> {
    let whole = output::value(object)?;
    match until {
        Until::Condition { kind, value } => {
            let conditions = whole.pointer("/status/conditions").and_then(Value::as_array);
            let mut conditions = conditions.into_iter().flatten();
            let is = |condition: &&Value, field: &str, wanted: &str| {
                let text = condition.get(field).and_then(Value::as_str);
                text.is_some_and(|text| text.eq_ignore_ascii_case(wanted))
            };
            let found = conditions.find(|condition| is(condition, "type", kind));
            Ok(found.is_some_and(|condition| is(&condition, "status", value)))
        }
        Until::Path { template, value } => {
            let found = template.find(&whole).map_err(Error::user)?;
            match (found.as_slice(), value) {
                ([], _) => Ok(false),
                (_, None) => Ok(true),
                ([Value::String(text)], Some(value)) => Ok(text == value),
                ([Value::Array(_) | Value::Object(_)], Some(_)) => Err(Error::user(
                    "jsonpath leads to a nested object or list which is not supported",
                )),
                ([one], Some(value)) => Ok(one.to_string() == *value),
                _ => Err(Error::user("given jsonpath expression matches more than one value")),
            }
        }
        Until::Created | Until::Deleted => Ok(false),
    }
}

fn parse_timeout(text: &str) -> std::result::Result<Duration, String> {
    match text.strip_prefix('-') {
        Some(rest) => parse_duration(rest).map(|_| A_WEEK),
        None => parse_duration(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_kubectl_reads_them() {
        let condition = |kind: &str, value: &str| {
            let (kind, value) = (kind.to_owned(), value.to_owned());
            Until::Condition { kind, value }
        };
        let path = |path: &str, value: Option<&str>| {
            let template = Template::relaxed(path).unwrap();
            Until::Path { template, value: value.map(str::to_owned) }
        };
        assert_eq!(until("delete").unwrap(), Until::Deleted);
        assert_eq!(until("condition=Ready").unwrap(), condition("Ready", "true"));
        assert_eq!(until("condition=Ready=false").unwrap(), condition("Ready", "false"));
        let phase = path("{.status.phase}", Some("Running"));
        assert_eq!(until("jsonpath={.status.phase}=Running").unwrap(), phase);
        assert_eq!(until("jsonpath=.status.phase=Running").unwrap(), phase);
        assert_eq!(until("jsonpath={.status.podIP}").unwrap(), path("{.status.podIP}", None));
        assert_eq!(until("x").unwrap_err().to_string(), "unrecognized condition: \"x\"");
        assert_eq!(until("").unwrap_err().to_string(), "unrecognized condition: \"\"");
    }
}
