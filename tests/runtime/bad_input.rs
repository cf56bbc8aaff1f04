//! Bad input: one clear error each, and nothing left.

use super::common::Case;
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_bundle_without_what_it_needs() {
    let Some(case) = Case::new("bundle") else { return };
    case.runp(&["run", "--bundle", "/not/there", &case.id]).fails(1, "/not/there");
    let empty = case.path("empty");
    fs::create_dir(&empty).unwrap();
    let empty = empty.to_str().unwrap();
    case.runp(&["run", "-b", empty, &case.id])
        .fails(1, "runp run failed: JSON specification file config.json not found");
    let config = case.path("empty/config.json");
    let table = [
        ("{", "line 1 column 1"),
        ("", "line 1"),
        ("null", "null"),
        ("{\"ociVersion\": 1}", "ociVersion: invalid type"),
        (
            "{\"ociVersion\": \"1.0.2\", \"process\": {\"args\": [1]}}",
            "process.args[0]: invalid type",
        ),
    ];
    for (text, said) in table {
        fs::write(&config, text).unwrap();
        let done = case.runp(&["run", "-b", empty, &case.id]);
        assert_eq!(done.status, 1, "{text}: {done:?}");
        assert!(done.err.contains("config.json") && done.err.contains(said), "{text}: {done:?}");
        case.assert_nothing_left();
    }
    nix::unistd::unlink(&config).unwrap();
    nix::unistd::mkfifo(&config, nix::sys::stat::Mode::S_IRWXU).unwrap();
    case.runp(&["run", "-b", empty, &case.id]).fails(1, "config.json");
    case.assert_nothing_left();
}

#[test]
fn names_that_are_none() {
    let Some(case) = Case::new("name") else { return };
    for name in ["", ".", "..", "a/b", "../x", "a b", "ä", "a\nb", "a:b", &"x".repeat(300)] {
        let done = case.runp(&["create", "--", name]);
        assert_eq!(done.status, 1, "{name:?}: {done:?}");
        assert!(done.err.contains("invalid container ID format") || name.is_empty(), "{done:?}");
    }
    case.assert_nothing_left();
}

/// Sets the value at a JSON pointer, with objects made on the way; `null` removes it.
fn set(config: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut at = config;
    for part in parent.split('/').skip(1) {
        at = match part.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[part],
        };
    }
    match value {
        Value::Null => drop(at.as_object_mut().unwrap().remove(name)),
        value => at[name] = value,
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_wrong_value_is_named() {
    let table: &[(&str, Value, &str)] = &[
        ("/ociVersion", json!("0.9"), "ociVersion"),
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/ociVersion", json!("one"), "ociVersion"),
        ("/process", Value::Null, "process"),
        ("/process/cwd", Value::Null, "cwd"),
        ("/process/cwd", json!("relative"), "cwd"),
        ("/process/cwd", json!(""), "cwd"),
        ("/process/args", Value::Null, "args"),
        ("/process/args", json!([]), "args"),
        ("/process/args", json!(["a\u{0}b"]), "args"),
        ("/process/env", json!(["A=\u{0}"]), "env"),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]),
            "RLIMIT_NONSENSE",
        ),
        ("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]), "rlimits"),
        ("/process/oomScoreAdj", json!(5000), "oomScoreAdj"),
        ("/process/selinuxLabel", json!("a:b:c:d"), "selinux"),
        ("/process/apparmorProfile", json!("nonsense"), "apparmor"),
        ("/root", Value::Null, "root"),
        ("/root/path", json!("not-there"), "not-there"),
        ("/root/path", json!("config.json"), "config.json"),
        ("/mounts/0/destination", Value::Null, "destination"),
        ("/linux/namespaces/0/type", json!("nonsense"), "nonsense"),
        ("/linux/namespaces/5", json!({"type": "pid"}), "pid"),
        ("/linux/rootfsPropagation", json!("nonsense"), "rootfsPropagation"),
        ("/linux/maskedPaths", json!(["relative"]), "maskedPaths"),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 1}]),
            "devices",
        ),
        (
            "/linux/devices",
            json!([{"path": "relative", "type": "c", "major": 1, "minor": 3}]),
            "devices",
        ),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
            "user namespace",
        ),
        (
            "/linux/resources/devices",
            json!([{"allow": true, "type": "x", "access": "rwm"}]),
            "devices",
        ),
        ("/linux/resources/devices", json!([{"allow": true, "access": "xyz"}]), "access"),
        ("/hooks", json!({"createRuntime": [{"path": "relative"}]}), "hooks"),
        ("/hooks", json!({"createRuntime": [{"path": "/bin/true", "timeout": 0}]}), "timeout"),
        ("/linux/intelRdt", json!({"closID": "x"}), "intelRdt"),
        ("/linux/personality", json!({"domain": "NONSENSE"}), "personality"),
    ];
    let Some(mut case) = Case::script("wrong", "true") else { return };
    let good = case.config.clone();
    let mut wrong = Vec::new();
    for (pointer, value, said) in table {
        case.config = good.clone();
        if *pointer == "/linux/namespaces/5" {
            case.config["linux"]["namespaces"].as_array_mut().unwrap().push(value.clone());
        } else {
            set(&mut case.config, pointer, value.clone());
        }
        let done = case.run();
        if done.status != 1 || !done.err.contains(said) {
            wrong.push(format!("{pointer} = {value}: want {said}, {} {}", done.status, done.err));
        }
        case.assert_nothing_left();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_unknown_capability_is_only_warned_about() {
    let Some(mut case) = Case::script("future", "echo ran") else { return };
    case.config["process"]["capabilities"]["bounding"] = json!(["CAP_KILL", "CAP_FROM_THE_FUTURE"]);
    let done = case.run();
    assert_eq!((done.status, done.out.as_str()), (0, "ran\n"), "{done:?}");
    assert!(
        done.err.contains("level=warning") && done.err.contains("CAP_FROM_THE_FUTURE"),
        "{done:?}"
    );
}

#[test]
fn an_ambient_capability_that_is_not_inheritable_is_only_warned_about() {
    let Some(mut case) = Case::script("ambient", "grep CapAmb /proc/self/status") else { return };
    case.config["process"]["capabilities"]["inheritable"] = json!(["CAP_KILL"]);
    case.config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL", "CAP_NET_RAW"]);
    let done = case.run();
    assert!(done.out.ends_with("0000000000000020\n"), "{done:?}");
    let said = |name| done.err.contains(&format!("can't raise ambient capability {name}: "));
    assert_eq!((said("CAP_KILL"), said("CAP_NET_RAW")), (false, true), "{done:?}");
}

#[test]
fn flags_that_cannot_be_met() {
    let Some(case) = Case::script("flags", "true") else { return };
    case.runp(&["run", "--pid-file", "/not/there/pid", &case.id]).fails(1, "/not/there/pid");
    case.assert_nothing_left();
    case.runp(&["run", "--console-socket", "/x", &case.id]).fails(1, "console socket");
    case.assert_nothing_left();
    case.runp(&["--systemd-cgroup", "run", &case.id]).fails(1, "systemd");
    case.assert_nothing_left();
}
