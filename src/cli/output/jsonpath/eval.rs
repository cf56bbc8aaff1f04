//! From a template and a value to text.

use super::{Comparison, Filter, Missing, Node, Slice, Step};
use crate::cli::output::json;
use serde_json::Value;
use std::cmp::Ordering;

type Found<'a> = Result<Vec<&'a Value>, String>;

/// Adds what the nodes print of `value` to `out`.
pub fn print(
    nodes: &[Node],
    value: &Value,
    missing: Missing,
    out: &mut String,
) -> Result<(), String> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(steps) => {
                for (index, found) in walk(steps, value, missing)?.into_iter().enumerate() {
                    if index > 0 {
                        out.push(' ');
                    }
                    out.push_str(&text(found));
                }
            }
            Node::Range(steps, body) => {
                for found in walk(steps, value, missing)? {
                    print(body, found, missing, out)?;
                }
            }
        }
    }
    Ok(())
}

/// The values that the nodes' paths lead to.
pub fn find<'a>(nodes: &'a [Node], value: &'a Value) -> Found<'a> {
    let mut all = Vec::new();
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Path(steps) => all.extend(walk(steps, value, Missing::Nothing)?),
            Node::Range(steps, body) => {
                for found in walk(steps, value, Missing::Nothing)? {
                    all.extend(find(body, found)?);
                }
            }
        }
    }
    Ok(all)
}

/// Text as it is, everything else as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => json::line(other),
    }
}

fn walk<'a>(steps: &'a [Step], value: &'a Value, missing: Missing) -> Found<'a> {
    let mut values = vec![value];
    for step in steps {
        values = take(step, &values, missing)?;
    }
    Ok(values)
}

fn take<'a>(step: &'a Step, values: &[&'a Value], missing: Missing) -> Found<'a> {
    match step {
        Step::Field(name) => {
            let found: Vec<&Value> = values.iter().filter_map(|value| value.get(name)).collect();
            match (found.is_empty(), missing) {
                (true, Missing::Error) => Err(format!("{name} is not found")),
                _ => Ok(found),
            }
        }
        Step::Literal(value) => Ok(vec![value]),
        Step::Wrong(why) => Err(why.clone()),
        Step::Wildcard => Ok(values.iter().copied().flat_map(children).collect()),
        Step::Recursive => {
            let mut all = Vec::new();
            values.iter().for_each(|value| descend(value, &mut all));
            Ok(all)
        }
        Step::Slice(wanted) => each(values, |value| slice(value, *wanted)),
        Step::Filter(filter) => each(values, |value| filtered(value, filter, missing)),
        Step::Union(parts) => {
            let mut all = Vec::new();
            for part in parts {
                let mut found = values.to_vec();
                for step in part {
                    found = take(step, &found, missing)?;
                }
                all.extend(found);
            }
            Ok(all)
        }
    }
}

fn each<'a>(values: &[&'a Value], of: impl Fn(&'a Value) -> Found<'a>) -> Found<'a> {
    let mut all = Vec::new();
    for value in values.iter().filter(|value| !value.is_null()) {
        all.extend(of(value)?);
    }
    Ok(all)
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// A value that has something in it, and all such below it.
fn descend<'a>(value: &'a Value, all: &mut Vec<&'a Value>) {
    let children = children(value);
    if !children.is_empty() {
        all.push(value);
    }
    children.into_iter().for_each(|child| descend(child, all));
}

fn slice(value: &Value, wanted: Slice) -> Found<'_> {
    let items = value.as_array();
    let items = items.ok_or_else(|| format!("{} is not array or slice", kind(value)))?;
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let mut start = wanted.start.unwrap_or(0);
    if start < 0 {
        start += length;
    }
    let mut end = wanted.end.unwrap_or(length);
    if end < 0 || (end == 0 && wanted.single) {
        end += length;
    }
    if start == end {
        return Ok(Vec::new());
    }
    let out = |index| Err(format!("array index out of bounds: index {index}, length {length}"));
    if start >= length || start < 0 {
        return out(start);
    }
    if end > length || end < 0 {
        return out(end.saturating_sub(1));
    }
    if start > end {
        return Err(format!("starting index {start} is greater than ending index {end}"));
    }
    let step = wanted.step.unwrap_or(1);
    let step = usize::try_from(step).ok().filter(|step| *step > 0).ok_or("step must be > 0")?;
    let index = |number: i64| usize::try_from(number).unwrap_or(0);
    let chosen = items.get(index(start)..index(end)).unwrap_or_default();
    Ok(chosen.iter().step_by(step).collect())
}

fn filtered<'a>(value: &'a Value, filter: &'a Filter, missing: Missing) -> Found<'a> {
    let items = value.as_array();
    let items = items
        .ok_or_else(|| format!("{} is not array or slice and cannot be filtered", text(value)))?;
    let mut passed = Vec::new();
    for item in items {
        // What has no such field does not pass, also where a missing field is an error.
        let left = match walk(&filter.left, item, missing) {
            Err(why) if why.ends_with(" is not found") => continue,
            walked => walked?,
        };
        let passes = match &filter.compared {
            None => !left.is_empty(),
            Some((comparison, right)) => {
                let right = walk(right, item, Missing::Nothing)?;
                match (left.as_slice(), right.as_slice()) {
                    ([], _) | (_, []) => false,
                    ([left], [right]) => compare(left, *comparison, right)?,
                    _ => return Err("can only compare one element at a time".to_owned()),
                }
            }
        };
        if passes {
            passed.push(item);
        }
    }
    Ok(passed)
}

fn compare(left: &Value, comparison: Comparison, right: &Value) -> Result<bool, String> {
    let order = match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left.as_f64().partial_cmp(&right.as_f64()).ok_or("invalid number")?
        }
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        _ => return Err("incompatible types for comparison".to_owned()),
    };
    Ok(match comparison {
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        Comparison::GreaterOrEqual => order != Ordering::Less,
        Comparison::Greater => order == Ordering::Greater,
    })
}

/// Go's name for the type of a value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
