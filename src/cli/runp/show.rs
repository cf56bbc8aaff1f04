//! Commands that only show something: `state`, `list`, `features`, `explain`.

use super::log::{Level, Log};
use super::parse::{self, Count};
use super::{Call, Outcome, flags, only, print};
use crate::error::{Context, Error, Result};
use crate::oci::bundle::Bundle;
use crate::oci::container::State;
use crate::oci::{ops, plan};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use std::ffi::OsString;
use std::path::Path;

/// `runp state`: indented by two blanks, no newline at the end, as runc prints it.
pub fn state(rest: Vec<OsString>, call: &Call) -> Outcome {
    let flags: flags::State = parse::plainly(rest)?;
    parse::count::<flags::State>(flags.ids.len(), Count::Exactly(1))?;
    let state = ops::state(&call.root, &only(&flags.ids))?;
    print(&indented(&state, b"  ")?)?;
    Ok(0)
}

/// `runp list`. A container whose record cannot be read is named in the log, not in the list.
pub fn list(rest: Vec<OsString>, call: &Call, log: &Log) -> Outcome {
    let flags: flags::List = parse::command(rest)?;
    parse::count::<flags::List>(flags.arguments.len(), Count::Exactly(0))?;
    if !matches!(flags.format.as_str(), "table" | "json") && !flags.quiet {
        return Err(Error::user("invalid format option").into());
    }
    if call.root_given {
        // A default root that nobody has used yet is empty; a given one must be there.
        std::fs::metadata(&call.root).doing(|| format!("open {}", call.root.display()))?;
    }
    let mut states = Vec::new();
    for (id, loaded) in ops::list_all(&call.root)? {
        match loaded {
            Ok(state) => states.push(state),
            Err(error) => log.write(Level::Warning, &format!("load container {id}: {error}")),
        }
    }
    let text = match flags.format.as_str() {
        _ if flags.quiet => states.iter().map(|state| format!("{}\n", state.id)).collect(),
        "json" => json_list(&states)?,
        _ => table(&states),
    };
    print(&text)?;
    Ok(0)
}

/// `runp features`.
pub fn features(rest: Vec<OsString>) -> Outcome {
    let flags: flags::Features = parse::command(rest)?;
    parse::count::<flags::Features>(flags.arguments.len(), Count::Exactly(0))?;
    print(&(indented(&ops::features(), b"    ")? + "\n"))?;
    Ok(0)
}

/// `runp explain`: the plan of a bundle, as text or JSON. Nothing is done, and no root is needed.
pub fn explain(rest: Vec<OsString>, call: &Call) -> Outcome {
    let flags: flags::Explain = parse::command(rest)?;
    parse::count::<flags::Explain>(flags.arguments.len(), Count::Exactly(0))?;
    let bundle = Bundle::load(flags.bundle.as_deref().unwrap_or(Path::new(".")))?;
    let options = ops::CreateOptions {
        root: call.root.clone(),
        id: "explained".into(),
        rootless: call.rootless,
        systemd_cgroup: call.systemd_cgroup,
        ..ops::CreateOptions::default()
    };
    print(&plan::explain(&bundle, &options, flags.json)?)?;
    Ok(0)
}

fn indented<T: Serialize>(value: &T, indent: &[u8]) -> Result<String> {
    let mut text = Vec::new();
    let mut serializer =
        Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(indent));
    value.serialize(&mut serializer).map_err(|error| Error::system(error.to_string()))?;
    String::from_utf8(text).map_err(|error| Error::system(error.to_string()))
}

/// One line; `null` where there is none, as Go encodes an empty list.
fn json_list(states: &[State]) -> Result<String> {
    if states.is_empty() {
        return Ok("null\n".into());
    }
    let list = serde_json::to_string(states).map_err(|error| Error::system(error.to_string()))?;
    Ok(list + "\n")
}

/// runc's table: columns of at least 12, three blanks between them, the last one ragged.
fn table(states: &[State]) -> String {
    const HEADER: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let mut rows = vec![HEADER.map(String::from)];
    rows.extend(states.iter().map(|state| {
        let bundle = state.bundle.display().to_string();
        let (pid, status) = (state.pid.to_string(), state.status.to_string());
        [state.id.clone(), pid, status, bundle, state.created.clone(), state.owner.clone()]
    }));
    let mut text = String::new();
    for row in &rows {
        let (last, columns) = match row.split_last() {
            Some(split) => split,
            None => continue,
        };
        for (index, cell) in columns.iter().enumerate() {
            let widest = rows.iter().map(|row| row[index].chars().count()).max().unwrap_or(0);
            text.push_str(&format!("{cell:<width$}", width = (widest + 3).max(12)));
        }
        text.push_str(last);
        text.push('\n');
    }
    text
}
