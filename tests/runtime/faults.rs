//! Each step of a launch goes wrong in turn: by an error, or by SIGKILL of whoever does it.
//! Nothing may be left that `delete --force` does not remove. Needs the `fault` feature.

use super::common::Case;
use serde_json::{Value, json};
use std::collections::HashMap;

/// A container that needs nearly every step there is.
fn everything(name: &str) -> Option<Case> {
    if !cfg!(feature = "fault") {
        eprintln!("SKIP {name}: needs --features fault");
        return None;
    }
    let mut case = Case::script(name, "exit 0")?;
    case.config["domainname"] = json!("domain");
    case.config["hooks"] = json!({
        "createRuntime": [{"path": "/bin/true"}],
        "createContainer": [{"path": "/bin/true"}],
    });
    let process = &mut case.config["process"];
    process["user"] = json!({"uid": 1, "gid": 1, "umask": 63, "additionalGids": [2]});
    process["oomScoreAdj"] = json!(10);
    let linux = &mut case.config["linux"];
    linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    linux["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    linux["resources"]["pids"] = json!({"limit": 20});
    linux["resources"]["memory"] = json!({"limit": 64 << 20});
    linux["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]});
    linux["devices"] = json!([{"path": "/dev/mine", "type": "c", "major": 1, "minor": 5}]);
    Some(case)
}

/// What is configured seldom, and the steps that the rest does not have.
fn everything_else(name: &str) -> Option<Case> {
    let mut case = everything(name)?;
    let all = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    let process = &mut case.config["process"];
    process["scheduler"] = json!({"policy": "SCHED_BATCH"});
    process["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 1});
    process["terminal"] = json!(true);
    let linux = &mut case.config["linux"];
    let namespaces = linux["namespaces"].as_array_mut().unwrap();
    namespaces.extend([json!({"type": "user"}), json!({"type": "time"})]);
    (linux["uidMappings"], linux["gidMappings"]) = (all.clone(), all);
    linux["timeOffsets"] = json!({"monotonic": {"secs": 1}});
    linux["memoryPolicy"] = json!({"mode": "MPOL_DEFAULT"});
    linux["devices"] = json!([]);
    linux["personality"] = json!({"domain": "LINUX"});
    case.mount(json!({"destination": "/bound", "source": "/usr/bin", "options": ["bind", "ro"]}));
    case.mount(json!({"destination": "/over", "type": "tmpfs", "options": ["ro"]}));
    Some(case)
}

/// The first step of each kind fails, and says what was attempted, for which field, why, and what to
/// try; the same as text and as JSON. Steps that need what is not there fail by themselves.
#[test]
fn each_step_says_how_it_failed() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/faults.txt");
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("SKIP each_step_says_how_it_failed: its steps are those of cgroup v1");
        return;
    }
    let cases = ["says", "says-asked", "says-net"].map(everything);
    let [Some(first), Some(mut asking), Some(mut moving)] = cases else { return };
    let Some(second) = everything_else("says-more") else { return };
    asking.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/none", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_NOTIFY"}]});
    asking.without_namespace("ipc");
    let namespaces = asking.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "ipc", "path": "/proc/self/ns/ipc"}));
    moving.config["linux"]["netDevices"] = json!({"none": {"name": "inside"}});
    let mut text = String::new();
    let mut seen = std::collections::BTreeSet::new();
    for mut case in [first, second, asking, moving] {
        for (point, _) in points(&case) {
            let name = point.split('#').next().unwrap();
            // Waits for its start, which `run` has not.
            if !point.ends_with("#1") || !seen.insert(name.to_owned()) {
                continue;
            }
            with_fault(&mut case, &point, "EPERM");
            let said = failure(&case, &["--log-format", "json"]);
            let json = said.lines().next().unwrap_or_default();
            let json: Value =
                serde_json::from_str(json).unwrap_or_else(|_| panic!("{point}: {said}"));
            let message = json["msg"].as_str().unwrap().trim_start_matches("runp run failed: ");
            text += &format!("{name}\n    {message}\n");
            said.lines().skip(1).for_each(|line| text += &format!("    {line}\n"));
            let plain = failure(&case, &[]).replace("\\\"", "\"");
            assert!(plain.contains(message), "{point}: {plain} without {message}");
            case.assert_nothing_left();
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap_or_default(), "UPDATE_GOLDEN=1");
}

/// What `run` says when it fails, without what differs each time.
fn failure(case: &Case, globals: &[&str]) -> String {
    let socket = case.path("console");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let terminal = case.config["process"]["terminal"] == true;
    let console: &[&str] =
        if terminal { &["--console-socket", socket.to_str().unwrap()] } else { &[] };
    let done = case.runp(&[globals, &["run"], console, &[&case.id]].concat());
    drop(listener);
    std::fs::remove_file(&socket).unwrap();
    assert_eq!(done.status, 1, "{done:?}");
    let dir = case.path("");
    done.err.replace(dir.to_str().unwrap(), "DIR/").replace(&case.id, "ID")
}

/// Each step of the plan as a fault point, and who does it.
fn points(case: &Case) -> Vec<(String, String)> {
    let plan: Vec<Value> = serde_json::from_str(&case.runp(&["explain", "--json"]).ok()).unwrap();
    assert!(plan.len() > 50, "{plan:#?}");
    let mut seen: HashMap<String, usize> = HashMap::new();
    let point = |step: &Value| {
        let name = step["step"].as_str().unwrap().to_owned();
        let number = seen.entry(name.clone()).or_default();
        *number += 1;
        (format!("{name}#{number}"), step["side"].as_str().unwrap().to_owned())
    };
    plan.iter().map(point).collect()
}

fn with_fault(case: &mut Case, point: &str, effect: &str) {
    case.env = vec![("RUNP_FAULT".into(), format!("{point}:{effect}"))];
}

#[test]
fn an_error_at_any_step_of_run_leaves_nothing() {
    let Some(mut case) = everything("fault-run") else { return };
    for (point, _) in points(&case) {
        with_fault(&mut case, &point, "EOWNERDEAD");
        let done = case.run();
        assert_eq!(done.status, 1, "{point}: {done:?}");
        assert!(done.err.contains("runp run failed: "), "{point}: {done:?}");
        // What hinders execve is told in runc's words.
        let named = ["EOWNERDEAD", "owner died"].iter().any(|word| done.err.contains(word));
        assert!(named, "{point}: {done:?}");
        case.assert_nothing_left();
    }
}

#[test]
fn a_kill_at_any_step_leaves_what_delete_removes() {
    let Some(mut case) = everything("fault-kill") else { return };
    for (point, side) in points(&case) {
        with_fault(&mut case, &point, "kill");
        let done = case.run();
        if side == "parent" {
            assert_eq!(done.status, -9, "{point}: {done:?}");
            case.env.clear();
            case.runp(&["delete", "--force", &case.id]).ok();
        } else {
            // Once all is ready, a death cannot be told from that of the program.
            assert!(matches!(done.status, 1 | 137), "{point}: {done:?}");
        }
        case.assert_nothing_left();
    }
}

#[test]
fn an_error_in_exec_leaves_the_container_as_it_was() {
    let Some(mut case) = everything("fault-exec") else { return };
    case.args(&["sleep", "1000"]);
    case.up();
    let points = [
        "clone",
        "join-container",
        "enter-cgroup",
        "bounding",
        "user",
        "capabilities",
        "no-new-privileges",
        "seccomp",
        "find-program",
        "close-fds",
        "execve",
    ];
    for point in points {
        for effect in ["EOWNERDEAD", "kill"] {
            with_fault(&mut case, point, effect);
            let done = case.exec("true");
            // The runtime's own process is killed, or the child when all is ready.
            let killed = effect == "kill" && matches!(done.status, -9 | 137);
            assert!(killed || done.status == 255, "{point}: {done:?}");
            case.env.clear();
            // The program and this shell, which expands the pattern itself.
            assert_eq!(case.exec("set -- /proc/[0-9]*; echo $#").ok(), "2\n", "{point}");
            assert_eq!(case.status(), "running", "{point}");
        }
    }
}

#[test]
fn a_slow_step_is_waited_for() {
    let Some(mut case) = everything("fault-slow") else { return };
    for point in ["record", "pivot-root"] {
        with_fault(&mut case, point, "delay=50");
        case.run().ok();
    }
}

#[test]
fn delete_waits_for_a_create_under_way() {
    let Some(mut case) = everything("fault-race") else { return };
    with_fault(&mut case, "pivot-root", "delay=300");
    std::thread::scope(|scope| {
        let create = scope.spawn(|| case.runp(&["create", &case.id]));
        let dir = case.path("state");
        super::common::wait_until(&case.path(""), || dir.exists().then_some(()));
        super::common::wait_until(&dir, || dir.join(&case.id).exists().then_some(()));
        case.runp(&["delete", "--force", &case.id]).ok();
        create.join().unwrap();
    });
    case.assert_nothing_left();
}
