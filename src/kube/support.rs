//! Which fields of a Pod runp honours, and what becomes of the others: the one table behind the
//! refusals of `decode` and `docs/compat-kubernetes.md`.
//!
//! Contract: every field that the API knows has a rule (a test walks them all). A field without
//! effect here is a documented decision, never an accident; anything else is refused by name.

use super::rules::RULES;
use crate::error::{Error, Result};
use serde_json::Value;
use std::fmt::Write as _;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does what Kubernetes says.
    Honoured,
    /// These values do what Kubernetes says; others are refused.
    Only(&'static [&'static str]),
    /// Accepted, and without effect on one machine, for the reason given.
    NoEffect,
    /// Refused by name, unless it holds the value that it has when it is absent.
    Refused,
}

/// A field (`spec.containers[].image`), with all below it, and what becomes of it.
#[derive(Debug)]
pub struct Rule {
    /// The path, `[]` for every item of a list.
    pub path: &'static str,
    /// What becomes of it.
    pub support: Support,
    /// Why, for the documentation.
    pub why: &'static str,
}

/// Refuses what the manifest `value` of the Pod `name` asks for and runp does not do, all at once.
pub fn check(name: &str, value: &Value) -> Result<()> {
    let mut found = Refusals::default();
    for part in ["metadata", "spec"] {
        if let Some(value) = value.get(part) {
            found.at(value, part, part);
        }
    }
    match super::cause::invalid(name, found.causes) {
        Some(error) => Err(Error::hint(error, "docs/compat-kubernetes.md lists what runp does")),
        None => Ok(()),
    }
}

/// The other lists of containers, whose fields follow the rules of `spec.containers[]`.
const MORE_CONTAINERS: [&str; 2] = ["spec.initContainers[]", "spec.ephemeralContainers[]"];

/// The rule for `path`, if it has one of its own.
pub fn rule(path: &str) -> Option<&'static Rule> {
    let find = |path: &str| {
        let at = RULES.binary_search_by(|rule| rule.path.cmp(path)).ok()?;
        RULES.get(at)
    };
    find(path).or_else(|| {
        let below = MORE_CONTAINERS.iter().find_map(|list| path.strip_prefix(list))?;
        find(&format!("spec.containers[]{below}"))
    })
}

#[derive(Default)]
struct Refusals {
    causes: Vec<String>,
}

impl Refusals {
    /// `path` is how the table names the field, `shown` how the user finds it.
    fn at(&mut self, value: &Value, path: &str, shown: &str) {
        let rule = rule(path);
        match (rule.map(|rule| rule.support), value) {
            (_, Value::Null) | (Some(Support::Honoured | Support::NoEffect), _) => {}
            (Some(Support::Only(values)), _) => {
                self.only(value, values, (shown, rule.map_or("", |rule| rule.why)));
            }
            (Some(Support::Refused), _) if is_absent(value) => {}
            (None, Value::Object(fields)) => {
                for (key, value) in fields {
                    self.at(value, &format!("{path}.{key}"), &format!("{shown}.{key}"));
                }
            }
            (None, Value::Array(items)) => {
                for (index, value) in items.iter().enumerate() {
                    self.at(value, &format!("{path}[]"), &format!("{shown}[{index}]"));
                }
            }
            (Some(Support::Refused) | None, _) => {
                let why = because(rule.map_or("", |rule| rule.why));
                self.causes.push(format!("{shown}: Forbidden: not supported by runp yet{why}"));
            }
        }
    }

    fn only(&mut self, value: &Value, values: &[&str], (shown, why): (&str, &str)) {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if text.is_empty() || values.contains(&text.as_str()) {
            return;
        }
        let mut cause = format!("{shown}: Forbidden: \"{text}\" is not supported by runp yet");
        for (index, value) in values.iter().enumerate() {
            let start = if index == 0 { ", only" } else { "," };
            cause.push_str(&format!("{start} \"{value}\""));
        }
        self.causes.push(cause + &because(why));
    }
}

fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(": {why}") }
}

/// Whether the API takes the value for none given.
fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// The table as `docs/compat-kubernetes.md` shows it.
pub fn table() -> String {
    let mut text = String::from("| Field | runp | Why, or how |\n|---|---|---|\n");
    for rule in RULES {
        let support = match rule.support {
            Support::Honoured => "honoured".to_owned(),
            Support::Only(values) => format!("only `{}`", values.join("`, `")),
            Support::NoEffect => "no effect".to_owned(),
            Support::Refused => "refused".to_owned(),
        };
        // Writing to a String cannot fail.
        writeln!(text, "| `{}` | {support} | {} |", rule.path, rule.why).unwrap_or_default();
    }
    text
}

#[cfg(test)]
#[path = "support_tests.rs"]
mod tests;
