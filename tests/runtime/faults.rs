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
