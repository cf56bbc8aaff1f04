//! Commands that look into a running container from outside: `ps` and `events`.

use super::parse::{self, Count};
use super::{Call, Outcome, flags, print};
use crate::cli::parse_duration;
use crate::error::{Context, Error, Result};
use crate::oci::ops::{self, Event};
use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

/// `runp ps`: what ps(1) says of the container's processes, or their numbers as JSON.
pub fn ps(rest: Vec<OsString>, call: &Call) -> Outcome {
    let flags: flags::Ps = parse::command(rest)?;
    parse::count::<flags::Ps>(flags.arguments.len(), Count::AtLeast(1))?;
    let (id, options) = flags.arguments.split_first().ok_or_else(|| Error::user("no container"))?;
    let pids = ops::ps(&call.root, id)?;
    let text = match flags.format.as_str() {
        "table" => ps_table(options, &pids)?,
        "json" if pids.is_empty() => "null\n".into(),
        "json" => format!("{}\n", serde_json::json!(pids)),
        _ => return Err(Error::user("invalid format option").into()),
    };
    print(&text)?;
    Ok(0)
}

/// The header of ps, and of its lines those of `pids`.
fn ps_table(options: &[String], pids: &[i32]) -> Result<String> {
    let mut command = Command::new("ps");
    match options {
        [] => command.arg("-ef"),
        given => command.args(given),
    };
    let output = command.output().doing(|| "run ps").hint(|| "is it installed?")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = text + &String::from_utf8_lossy(&output.stderr);
        return Err(Error::system(format!("{}: {said}", output.status)).doing("run ps"));
    }
    select(&text, pids)
}

fn select(text: &str, pids: &[i32]) -> Result<String> {
    let header = text.lines().next().unwrap_or_default();
    let column = header.split_ascii_whitespace().position(|title| title == "PID");
    let column = column.ok_or_else(|| Error::user("couldn't find PID field in ps output"))?;
    let mut selected = format!("{header}\n");
    for line in text.lines().skip(1) {
        let pid = line.split_ascii_whitespace().nth(column).and_then(|word| word.parse().ok());
        if pid.is_some_and(|pid: i32| pids.contains(&pid)) {
            selected.push_str(line);
            selected.push('\n');
        }
    }
    Ok(selected)
}

/// `runp events`: one line of JSON each, until the container stops.
pub fn events(rest: Vec<OsString>, call: &Call) -> Outcome {
    let flags: flags::Events = parse::command(rest)?;
    parse::count::<flags::Events>(flags.ids.len(), Count::Exactly(1))?;
    let id = super::only(&flags.ids);
    if flags.interval.is_zero() {
        return Err(Error::user("duration interval must be greater than 0").into());
    }
    let report = |event: &Event| print(&line(&id, event)?);
    if flags.stats {
        report(&Event::Stats(Box::new(ops::stats(&call.root, &id)?)))?;
    } else {
        ops::events(&call.root, &id, flags.interval, report)?;
    }
    Ok(0)
}

fn line(id: &str, event: &Event) -> Result<String> {
    // The order of the keys is that of runc, which callers have been seen to match as text.
    let id = serde_json::Value::from(id);
    Ok(match event {
        Event::Oom => format!("{{\"type\":\"oom\",\"id\":{id}}}\n"),
        Event::Stats(stats) => {
            let data = serde_json::to_string(stats).map_err(|e| Error::system(e.to_string()))?;
            format!("{{\"type\":\"stats\",\"id\":{id},\"data\":{data}}}\n")
        }
    })
}

/// A duration as Go writes it (`5s`, `100ms`, `1m30s`, `1.5h`); a negative one counts as none.
pub fn duration(text: &str) -> std::result::Result<Duration, String> {
    let negative = text.starts_with('-');
    let duration = parse_duration(text.trim_start_matches(['-', '+']));
    let duration = duration.map_err(|_| "parse error".to_owned())?;
    Ok(if negative { Duration::ZERO } else { duration })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        for (text, millis) in [
            ("5s", 5000),
            ("100ms", 100),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("0", 0),
            ("0s", 0),
            ("-1s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "x", "5x", "s", "1.2.3s", "-", "9999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lines_of_ps_are_selected_by_their_pid() {
        let text =
            "  PID TTY          TIME CMD\n    1 ?    00:00:01 init\n   17 ?   00:00:00 sleep 1\n";
        let selected = select(text, &[17]).unwrap();
        assert_eq!(selected, "  PID TTY          TIME CMD\n   17 ?   00:00:00 sleep 1\n");
        assert!(select("USER\nroot\n", &[1]).is_err());
    }
}
