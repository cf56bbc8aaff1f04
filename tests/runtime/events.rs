//! events and ps: what is seen of a container from outside.

use super::common::{Case, has_exited, wait_until};
use serde_json::{Value, json};
use std::fs::{self, File};

fn up(name: &str) -> Option<(Case, i32)> {
    let mut case = Case::new(name)?;
    case.args(&["sleep", "1000"]);
    let pid = case.up();
    Some((case, pid))
}

#[test]
fn statistics_once() {
    let Some((case, pid)) = up("stats") else { return };
    let line = case.runp(&["events", "--stats", &case.id]).ok();
    let start =
        format!("{{\"type\":\"stats\",\"id\":\"{}\",\"data\":{{\"cpu\":{{\"usage\"", case.id);
    assert!(line.starts_with(&start) && line.lines().count() == 1, "{line}");
    let data: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(data["data"]["pids"]["current"], json!(1));
    assert!(data["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{line}");
    assert!(data["data"]["cpu"]["usage"]["total"].as_u64().unwrap() > 0, "{line}");
    case.runp(&["events", "--interval", "0s", &case.id]).fails(1, "must be greater than 0");
    case.runp(&["events", "--interval", "5", &case.id]).fails(1, "parse error");
    case.runp(&["kill", &case.id, "KILL"]).ok();
    assert!(has_exited(pid));
    let said = format!("container with id {} is not running", case.id);
    case.runp(&["events", "--stats", &case.id]).fails(1, &said);
}

/// The document has the keys of runc's, where runc 1.1 leaves none of them out.
#[test]
fn statistics_are_those_of_runc() {
    let Some((case, _)) = up("stats-runc") else { return };
    let there = std::process::Command::new("runc").arg("--version").output();
    if there.is_err() || std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("SKIP statistics_are_those_of_runc: needs runc, and a runc that knows this v2");
        return;
    }
    let root = case.path("runc");
    let runc = |args: &[&str]| {
        let mut command = std::process::Command::new("runc");
        command.arg("--root").arg(&root).args(args).current_dir(case.path("bundle"));
        case.finish(command.stdin(std::process::Stdio::null()))
    };
    let mut config = case.config.clone();
    config["linux"]["cgroupsPath"] = json!(format!("/{}-theirs", case.id));
    fs::write(case.path("bundle/config.json"), config.to_string()).unwrap();
    let theirs = format!("{}-theirs", case.id);
    runc(&["run", "-d", &theirs]).ok();
    let read = |text: String| -> Value { serde_json::from_str(&text).unwrap() };
    let expected = read(runc(&["events", "--stats", &theirs]).ok());
    runc(&["delete", "-f", &theirs]).ok();
    fs::remove_dir_all(&root).unwrap();
    let ours = read(case.runp(&["events", "--stats", &case.id]).ok());
    let mut missing = Vec::new();
    compare("", &expected["data"], &ours["data"], &mut missing);
    assert_eq!(missing, [""; 0]);
}

/// Adds to `missing` where `ours` lacks what `theirs` has, numbers that may be 0 left aside.
fn compare(at: &str, theirs: &Value, ours: &Value, missing: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (key, value) in theirs {
                let at = format!("{at}.{key}");
                match ours.get(key) {
                    Some(ours) => compare(&at, value, ours, missing),
                    None if value.is_number() => {}
                    None => missing.push(at),
                }
            }
        }
        _ if std::mem::discriminant(theirs) == std::mem::discriminant(ours) => {}
        _ => missing.push(at.into()),
    }
}

#[test]
fn an_out_of_memory_kill_is_an_event() {
    let Some(mut case) = Case::script("oom-event", "sleep 1000; true") else { return };
    case.config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    case.up();
    let log = case.path("events");
    let mut command = case.command(&["events", "--interval", "50ms", &case.id]);
    let mut events = command.stdout(File::create(&log).unwrap()).spawn().unwrap();
    let read = || fs::read_to_string(&log).unwrap();
    wait_until(&case.path(""), || read().contains("stats").then_some(()));
    case.exec("exec tail /dev/zero");
    let line = format!("{{\"type\":\"oom\",\"id\":\"{}\"}}\n", case.id);
    wait_until(&case.path(""), || read().contains(&line).then_some(()));
    // It ends with the container.
    case.runp(&["delete", "-f", &case.id]).ok();
    assert!(has_exited(events.id() as i32));
    assert!(events.wait().unwrap().success());
}

#[test]
fn processes_are_listed() {
    let Some((case, pid)) = up("ps") else { return };
    assert_eq!(case.runp(&["ps", "-f", "json", &case.id]).ok(), format!("[{pid}]\n"));
    if std::process::Command::new("ps").arg("--version").output().is_err() {
        eprintln!("SKIP processes_are_listed: no ps");
        return;
    }
    let table = case.runp(&["ps", &case.id]).ok();
    assert!(table.lines().next().unwrap().starts_with("UID"), "{table}");
    assert_eq!(table.lines().count(), 2, "{table}");
    let table = case.runp(&["ps", &case.id, "-e", "-o", "pid,comm"]).ok();
    assert_eq!(table.lines().nth(1).unwrap().trim(), format!("{pid} sleep"));
    case.runp(&["ps", &case.id, "-e", "-o", "comm"]).fails(1, "couldn't find PID field");
    case.runp(&["ps", "-f", "yaml", &case.id]).fails(1, "invalid format option");
    case.runp(&["kill", &case.id, "KILL"]).ok();
    assert!(has_exited(pid));
    assert_eq!(case.runp(&["ps", &case.id]).ok().lines().count(), 1);
    assert_eq!(case.runp(&["ps", "--format", "json", &case.id]).ok(), "null\n");
}
