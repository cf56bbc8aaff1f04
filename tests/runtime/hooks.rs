//! Hooks: when they run, what they are told, what their failure does.

use super::common::Case;
use serde_json::{Value, json};
use std::fs;

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that adds its name and the state it was given to the case's log. startContainer's runs
/// inside, where only what is bound in can be reached.
fn hook(case: &Case, name: &str) -> Value {
    let log = if name == "startContainer" { "/log".into() } else { case.path("log") };
    let script = format!("read -r state; echo {name} $0 $A \"$state\" >> {}", log.display());
    json!({"path": "/bin/sh", "args": ["sh", "-c", script, "arg0"], "env": ["A=env", "PATH=/bin"]})
}

fn with_hooks(name: &str) -> Option<Case> {
    let mut case = Case::script(name, "true")?;
    fs::write(case.path("log"), "").unwrap();
    let log = case.path("log");
    case.mount(json!({"destination": "/log", "type": "bind", "source": log, "options": ["bind"]}));
    case.config["annotations"] = json!({"key": "value"});
    for kind in KINDS {
        case.config["hooks"][kind] = json!([hook(&case, kind)]);
    }
    Some(case)
}

fn log(case: &Case) -> Vec<(String, Value)> {
    let text = fs::read_to_string(case.path("log")).unwrap();
    let line = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let name = words.next().unwrap().to_owned();
        assert_eq!((words.next(), words.next()), (Some("arg0"), Some("env")), "{line}");
        (name, serde_json::from_str(words.next().unwrap()).unwrap())
    };
    text.lines().map(line).collect()
}

#[test]
fn each_runs_at_its_time_and_is_told_the_state() {
    let Some(case) = with_hooks("hooks") else { return };
    let names = |case: &Case| log(case).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let pid = case.create();
    assert_eq!(names(&case), KINDS[..3]);
    case.start();
    assert_eq!(names(&case), KINDS[..5]);
    super::common::has_exited(pid);
    case.runp(&["delete", &case.id]).ok();
    assert_eq!(names(&case), KINDS);
    for (name, state) in log(&case) {
        assert_eq!(state["id"], json!(case.id), "{name}");
        assert_eq!(state["bundle"], json!(case.path("bundle")), "{name}");
        assert_eq!(state["annotations"]["key"], "value", "{name}");
        assert_eq!(state["ociVersion"], case.config["ociVersion"], "{name}");
        let status = match name.as_str() {
            "createRuntime" | "createContainer" => "creating",
            "prestart" | "startContainer" => "created",
            "poststart" => "running",
            _ => "stopped",
        };
        assert_eq!(state["status"], status, "{name}");
        if matches!(name.as_str(), "prestart" | "createRuntime" | "poststart") {
            assert_eq!(state["pid"], json!(pid), "{name}");
        }
    }
}

#[test]
fn several_run_in_their_order() {
    let Some(mut case) = with_hooks("hook-order") else { return };
    let first = hook(&case, "first");
    let second = hook(&case, "second");
    case.config["hooks"] = json!({"createRuntime": [first, second]});
    case.run().ok();
    let names: Vec<String> = log(&case).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["first", "second"]);
}

#[test]
fn a_failure_before_the_start_undoes_everything() {
    for kind in &KINDS[..5] {
        let Some(mut case) = with_hooks("hook-fails") else { return };
        case.config["hooks"][kind] = json!([{"path": "/bin/sh",
            "args": ["sh", "-c", "echo what went wrong >&2; exit 3"]}]);
        case.run().fails(
            1,
            &format!(
                "error running {kind} hook #0: run /bin/sh (hooks.{kind}[0]): exit status 3, \
                 output: what went wrong"
            ),
        );
        case.assert_nothing_left();
    }
}

#[test]
fn a_failing_poststop_hook_stops_nothing() {
    let Some(mut case) = with_hooks("hook-last") else { return };
    let last = hook(&case, "poststop");
    case.config["hooks"] = json!({"poststop": [{"path": "/not/there"}, last]});
    let pid = case.create();
    case.start();
    super::common::has_exited(pid);
    let done = case.runp(&["delete", &case.id]);
    assert_eq!(done.status, 0, "{done:?}");
    let said =
        "level=warning msg=\"error running poststop hook #0: run /not/there (hooks.poststop[0])";
    assert!(done.err.contains(said), "{done:?}");
    assert_eq!(log(&case).len(), 1, "the next one runs all the same");
    case.assert_nothing_left();
}

#[test]
fn a_hook_has_a_deadline() {
    let Some(mut case) = with_hooks("hook-slow") else { return };
    case.config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh",
        "args": ["sh", "-c", "sleep 1000"], "timeout": 1}]});
    let done = case.run();
    assert_eq!(done.status, 1, "{done:?}");
    assert!(
        done.err.contains("createRuntime")
            && done.err.contains("hook ran past specified timeout of 1.0s"),
        "{done:?}"
    );
    case.assert_nothing_left();
}

#[test]
fn each_runs_in_its_directory() {
    let Some(mut case) = with_hooks("hook-cwd") else { return };
    let pwd = |case: &Case| {
        let script = format!("pwd >> {}", case.path("log").display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}])
    };
    case.config["hooks"] = json!({"createRuntime": pwd(&case), "createContainer": pwd(&case)});
    let bundle = case.path("bundle");
    let run = ["run", "--bundle", bundle.to_str().unwrap(), &case.id];
    case.finish(case.command(&run).current_dir("/")).ok();
    let log = fs::read_to_string(case.path("log")).unwrap();
    assert_eq!(log, format!("{}\n{}\n", bundle.display(), case.rootfs().display()));
}

/// The file it executes may be the image's: it gets no more than the container's own process.
#[test]
fn a_hook_of_the_inside_has_the_containers_rights() {
    let Some(mut case) = with_hooks("hook-rights") else { return };
    let script = "cat /proc/self/status /proc/self/cgroup; pwd; mkdir /tmp/x; id -u";
    let inside = format!("({script}) > /log 2>&1");
    case.config["process"]["user"] = json!({"uid": 7, "gid": 8});
    case.config["process"]["cwd"] = json!("/tmp");
    case.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]});
    fs::set_permissions(case.path("log"), std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .unwrap();
    case.config["hooks"] =
        json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", inside]}]});
    let mut said = Vec::new();
    for how in ["run", "create"] {
        match how {
            "run" => assert_eq!(case.run().ok(), ""),
            _ => assert!(case.up() > 0),
        }
        said.push(fs::read_to_string(case.path("log")).unwrap());
    }
    for log in said {
        let field = |name| super::common::field(&log, name);
        assert_eq!(field("Uid"), "7\t7\t7\t7", "{log}");
        assert_eq!((field("CapBnd"), field("CapEff")), ("0000000020000420", "0000000000000000"));
        assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1", "2"));
        assert!(log.contains(&format!("/{}\n", case.id)), "its cgroup: {log}");
        assert!(log.contains("\n/tmp\n") && log.contains("Operation not supported"), "{log}");
    }
    case.runp(&["delete", "-f", &case.id]).ok();
    case.config["linux"]["seccomp"]["syscalls"][0] =
        json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL"});
    case.config["hooks"]["startContainer"][0]["args"] = json!(["sh", "-c", "mkdir /tmp/x"]);
    case.run().fails(1, "(hooks.startContainer[0]): signal: bad system call");
    case.assert_nothing_left();
}

#[test]
fn a_hook_without_an_environment_has_that_of_whoever_runs_it() {
    let Some(mut case) = with_hooks("hook-env") else { return };
    let env = |at: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("env > {at}")]}]);
    let outside = case.path("env");
    case.config["process"]["env"] = json!(["PATH=/bin", "ONE=two"]);
    case.env = vec![("CALLERS".into(), "own".into())];
    case.config["hooks"] = json!({"createRuntime": env(outside.to_str().unwrap())});
    case.run().ok();
    let read = |path: &std::path::Path| fs::read_to_string(path).unwrap();
    assert!(read(&outside).contains("CALLERS=own\n"));
    case.config["hooks"] = json!({"startContainer": env("/log")});
    for how in ["run", "create"] {
        match how {
            "run" => assert_eq!(case.run().ok(), ""),
            _ => assert!(case.up() > 0),
        }
        let log = read(&case.path("log"));
        assert!(log.contains("ONE=two\n") && log.contains("HOME=/root\n"), "{how}: {log}");
        assert!(!log.contains("CALLERS"), "{how}: {log}");
    }
    case.runp(&["delete", "-f", &case.id]).ok();
    case.config["hooks"] = json!({"createContainer": env(outside.to_str().unwrap())});
    case.run().ok();
    assert!(!read(&outside).contains("CALLERS") && !read(&outside).contains("ONE="));
    case.assert_nothing_left();
}

#[test]
fn a_hook_of_the_containers_runs_below_its_filter() {
    let Some(mut case) = Case::script("hook-filter", "true") else { return };
    case.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}],
    });
    let hook =
        |dir: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("exec mkdir {dir}")]}]);
    case.config["hooks"] = json!({"createRuntime": hook(case.path("x").to_str().unwrap())});
    case.run().ok();
    case.config["hooks"] = json!({"startContainer": hook("/tmp/x")});
    for how in ["run", "create"] {
        let done = match how {
            "run" => case.run(),
            _ => {
                case.create();
                case.runp(&["start", &case.id])
            }
        };
        assert!(done.err.contains("error running startContainer hook #0"), "{how}: {done:?}");
        done.fails(1, "signal: bad system call");
    }
    case.runp(&["delete", "-f", &case.id]).ok();
    case.assert_nothing_left();
}
