//! create, start, run, state, kill, delete, list.

use super::common::{Case, PATIENCE, has_exited, wait_until};
use serde_json::json;
use std::fs;
use std::process::Command;
use std::thread;

#[test]
fn from_create_to_delete() {
    let Some(mut case) = Case::new("life") else { return };
    case.args(&["sleep", "1000"]);
    case.config["annotations"] = json!({"b": "2", "a": "1"});
    let pid = case.create();
    let state = case.state();
    assert_eq!(state["ociVersion"], case.config["ociVersion"]);
    assert_eq!((&state["id"], &state["pid"]), (&json!(case.id), &json!(pid)));
    assert_eq!(state["status"], "created");
    assert_eq!(state["bundle"], json!(case.path("bundle")));
    assert_eq!(state["rootfs"], json!(case.rootfs()));
    assert_eq!(state["annotations"], json!({"a": "1", "b": "2"}));
    assert!(state["created"].as_str().unwrap().ends_with('Z'), "{state}");

    case.start();
    assert_eq!(case.status(), "running");
    case.runp(&["kill", &case.id, "KILL"]).ok();
    assert!(has_exited(pid));
    let state = case.state();
    assert_eq!((&state["status"], &state["pid"]), (&json!("stopped"), &json!(0)));
    case.runp(&["kill", &case.id]).fails(1, "container not running");
    case.runp(&["kill", "--all", &case.id]).ok();
    case.runp(&["delete", &case.id]).ok();
    case.assert_nothing_left();
    case.runp(&["state", &case.id]).fails(1, "container does not exist");
    case.runp(&["delete", &case.id]).fails(1, "container does not exist");
    case.runp(&["delete", "--force", &case.id]).ok();
}

#[test]
fn state_has_the_fields_of_runc_in_its_order() {
    let Some(mut case) = Case::new("fields") else { return };
    case.args(&["true"]);
    case.create();
    let text = case.runp(&["state", &case.id]).ok();
    let keys: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next()).collect();
    assert_eq!(keys, ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"]);
    assert!(text.starts_with("{\n  \"") && text.ends_with("\n}"), "{text:?}");
}

#[test]
fn a_running_container_is_not_deleted_without_force() {
    let Some(mut case) = Case::new("busy") else { return };
    case.args(&["sleep", "1000"]);
    let pid = case.up();
    let words = format!("cannot delete container {} that is not stopped: running", case.id);
    case.runp(&["delete", &case.id]).fails(1, &words);
    assert_eq!(case.status(), "running");
    case.runp(&["delete", "-f", &case.id]).ok();
    assert!(has_exited(pid));
    case.assert_nothing_left();
}

#[test]
fn a_created_container_is_deleted_without_force() {
    let Some(mut case) = Case::new("created") else { return };
    case.args(&["true"]);
    let pid = case.create();
    case.runp(&["delete", &case.id]).ok();
    assert!(has_exited(pid));
    case.assert_nothing_left();
}

/// Nobody has to wait for the SIGKILL that follows, though process 1 sees no signal it does not ask
/// for.
#[test]
fn a_created_container_ends_by_the_signals_of_the_polite() {
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let Some(mut case) = Case::new("polite") else { return };
        case.args(&["sleep", "1000"]);
        let pid = case.create();
        case.runp(&["kill", &case.id, signal]).ok();
        assert!(has_exited(pid), "{signal}");
        assert_eq!(case.status(), "stopped");
        case.runp(&["start", &case.id]).fails(1, "cannot start a container that has stopped");
    }
}

#[test]
fn start_is_for_created_containers() {
    let Some(mut case) = Case::new("start") else { return };
    case.args(&["sleep", "1000"]);
    let pid = case.up();
    case.runp(&["start", &case.id]).fails(1, "cannot start an already running container");
    case.runp(&["kill", &case.id, "9"]).ok();
    assert!(has_exited(pid));
    case.runp(&["start", &case.id]).fails(1, "cannot start a container that has stopped");
}

#[test]
fn a_name_is_taken_once() {
    let Some(mut case) = Case::new("taken") else { return };
    case.args(&["true"]);
    case.create();
    case.runp(&["create", &case.id]).fails(1, "container with given ID already exists");
    case.runp(&["run", &case.id]).fails(1, "container with given ID already exists");
    assert_eq!(case.status(), "created", "the first one is untouched");
}

#[test]
fn of_many_creates_at_once_one_wins() {
    let Some(mut case) = Case::new("race") else { return };
    case.args(&["true"]);
    let won = thread::scope(|scope| {
        let racers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| case.runp(&["create", &case.id]))).collect();
        let done: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
        for lost in done.iter().filter(|done| done.status != 0) {
            assert!(lost.err.contains("container with given ID already exists"), "{lost:?}");
        }
        done.iter().filter(|done| done.status == 0).count()
    });
    assert_eq!(won, 1);
    assert_eq!(case.status(), "created");
}

#[test]
fn run_passes_on_the_exit_status_and_leaves_nothing() {
    let table = [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$; exit 7", 7)];
    for (script, status) in table {
        let Some(case) = Case::script("status", script) else { return };
        let done = case.run();
        assert_eq!((done.status, done.err.as_str()), (status, ""), "{script}");
        case.assert_nothing_left();
    }
    let Some(mut case) = Case::script("signal", "kill -9 $$") else { return };
    // Without a PID namespace of its own the shell is no init, and signals reach it.
    case.without_namespace("pid");
    assert_eq!(case.run().status, 128 + 9);
}

#[test]
fn run_connects_the_standard_streams() {
    let Some(case) = Case::script("streams", "cat; echo error >&2") else { return };
    fs::write(case.path("in"), "input\n").unwrap();
    let mut command = case.command(&["run", &case.id]);
    command.stdin(fs::File::open(case.path("in")).unwrap());
    let done = case.finish(&mut command);
    assert_eq!((done.status, done.out.as_str(), done.err.as_str()), (0, "input\n", "error\n"));
}

#[test]
fn run_detached_and_run_kept() {
    let Some(mut case) = Case::script("detach", "sleep 1000") else { return };
    let pid_file = case.path("pid");
    case.runp(&["run", "-d", "--pid-file", pid_file.to_str().unwrap(), &case.id]).ok();
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert_eq!(case.state()["pid"], json!(pid));
    assert_eq!(case.status(), "running");
    case.runp(&["delete", "-f", &case.id]).ok();

    case.args(&["sh", "-c", "exit 4"]);
    assert_eq!(case.runp(&["run", "--keep", &case.id]).status, 4);
    assert_eq!(case.status(), "stopped");
    case.runp(&["delete", &case.id]).ok();
    case.assert_nothing_left();
}

#[test]
fn run_forwards_signals() {
    let script = "trap 'kill $!; exit 5' TERM; echo ready; while :; do sleep 1000 & wait; done";
    let Some(case) = Case::script("forward", script) else { return };
    let out = case.path("script-out");
    let mut command = case.command(&["run", &case.id]);
    let mut child = command.stdout(fs::File::create(&out).unwrap()).spawn().unwrap();
    wait_until(out.parent().unwrap(), || {
        fs::read_to_string(&out).unwrap().contains("ready").then_some(())
    });
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(has_exited(pid.as_raw()), "still there after {PATIENCE:?}");
    assert_eq!(child.wait().unwrap().code(), Some(5));
    case.assert_nothing_left();
}

#[test]
fn signals_by_name_and_number() {
    let script = "trap 'echo hup' HUP; trap 'echo usr1' USR1; trap 'echo usr2' 12; echo ready
        trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";
    let Some(case) = Case::script("signals", script) else { return };
    let pid = case.up();
    let says = |word: &str| {
        wait_until(&case.path(""), || case.output_of(0).contains(word).then_some(()));
    };
    says("ready");
    for (signal, word) in [("HUP", "hup"), ("SIGUSR1", "usr1"), ("12", "usr2")] {
        case.runp(&["kill", &case.id, signal]).ok();
        says(word);
    }
    case.runp(&["kill", &case.id, "NONE"]).fails(1, "unknown signal \"NONE\"");
    case.runp(&["kill", &case.id]).ok();
    assert!(has_exited(pid), "SIGTERM is the default");
}

#[test]
fn kill_ends_all_processes_of_a_shared_pid_namespace() {
    let Some(mut case) = Case::script("shared", "sleep 1000 & sleep 1000 & echo up; wait") else {
        return;
    };
    case.without_namespace("pid");
    case.up();
    wait_until(&case.path(""), || case.output_of(0).contains("up").then_some(()));
    case.runp(&["kill", &case.id, "KILL"]).ok();
    case.runp(&["delete", "--force", &case.id]).ok();
    case.assert_nothing_left();
}

#[test]
fn kill_ends_those_whom_a_dead_init_left() {
    let script = "sleep 1000 & sleep 1000 & echo up; exit 0";
    let Some(mut case) = Case::script("left", script) else { return };
    case.without_namespace("pid");
    let pid = case.up();
    assert!(has_exited(pid));
    let list = || case.runp(&["ps", "-f", "json", &case.id]).ok();
    assert_eq!(list().split(',').count(), 2);
    case.runp(&["kill", &case.id, "TERM"]).fails(1, "container not running");
    case.runp(&["kill", &case.id, "KILL"]).ok();
    assert_eq!(list(), "null\n");
    case.runp(&["kill", &case.id, "KILL"]).fails(1, "container not running");
    case.runp(&["kill", "--all", &case.id, "0"]).ok();
}

#[test]
fn list_shows_what_runc_shows() {
    let Some(mut case) = Case::script("list", "sleep 1000") else { return };
    let root = case.path("state");
    fs::create_dir(&root).unwrap();
    assert_eq!(case.runp(&["list", "-q"]).ok(), "");
    assert_eq!(case.runp(&["list", "--format", "json"]).ok(), "null\n");
    case.config["annotations"] = json!({"key": "value"});
    let pid = case.up();
    assert_eq!(case.runp(&["list", "-q"]).ok(), format!("{}\n", case.id));
    let list = case.runp(&["list", "-f", "json"]).ok();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0]["pid"], json!(pid));
    assert_eq!(list[0]["owner"], "root");
    assert_eq!(list[0]["annotations"], json!({"key": "value"}));
    let table = case.runp(&["list"]).ok();
    let mut lines = table.lines();
    let (header, row) = (lines.next().unwrap(), lines.next().unwrap());
    for (column, cell) in [("PID", pid.to_string()), ("STATUS", "running".into())] {
        let at = header.find(column).unwrap();
        assert!(row[at..].starts_with(&cell), "{table}");
    }
    assert_eq!(header.find("PID"), Some((case.id.len() + 3).max(12)), "{table}");
}

#[test]
fn delete_finishes_what_others_left() {
    let Some(mut case) = Case::new("halfway") else { return };
    case.args(&["sleep", "1000"]);
    let pid = case.up();
    // The record is damaged: the cgroup is found through the configuration.
    fs::write(case.path("state").join(&case.id).join("state.json"), "{").unwrap();
    case.runp(&["delete", &case.id]).fails(1, "state.json");
    case.runp(&["delete", "--force", &case.id]).ok();
    assert!(has_exited(pid));
    case.assert_nothing_left();

    // The init process is gone and somebody has removed the record.
    let pid = case.up();
    case.runp(&["kill", &case.id, "KILL"]).ok();
    assert!(has_exited(pid));
    fs::remove_file(case.path("state").join(&case.id).join("state.json")).unwrap();
    case.runp(&["delete", "--force", &case.id]).ok();
    case.assert_nothing_left();
}

#[test]
fn many_deletes_at_once_all_succeed_with_force() {
    let Some(mut case) = Case::new("deletes") else { return };
    case.args(&["sleep", "1000"]);
    case.up();
    thread::scope(|scope| {
        let deletes: Vec<_> =
            (0..6).map(|_| scope.spawn(|| case.runp(&["delete", "-f", &case.id]))).collect();
        deletes.into_iter().for_each(|delete| drop(delete.join().unwrap().ok()));
    });
    case.assert_nothing_left();
}

#[test]
fn a_hundred_lives_leave_nothing() {
    let Some(mut case) = Case::new("hundred") else { return };
    case.args(&["sleep", "1000"]);
    let before = machine();
    for _ in 0..100 {
        case.up();
        case.runp(&["kill", &case.id, "KILL"]).ok();
        case.runp(&["delete", "--force", &case.id]).ok();
    }
    case.assert_nothing_left();
    let after = machine();
    // Another case of this suite makes links that it moves into containers.
    if before[0].lines().count() == 1 && !after[0].contains("rnetdev") {
        assert_eq!(after, before);
    } else {
        eprintln!("SKIP links and rules: this network namespace has other users");
    }
}

/// What no container of `runp` adds to: links and nft rules of this network namespace.
fn machine() -> [String; 2] {
    [&["ip", "-o", "link"][..], &["nft", "list", "ruleset"]].map(|line| {
        let output = Command::new(line[0]).args(&line[1..]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    })
}

#[test]
fn a_trace_has_a_line_for_each_step() {
    let Some(case) = Case::script("trace", "exit 3") else { return };
    let trace = case.path("trace");
    let flags = ["--trace", trace.to_str().unwrap(), "run", &case.id];
    assert_eq!(case.runp(&flags).status, 3);
    let lines = fs::read_to_string(&trace).unwrap();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let plan = case.runp(&["explain", "--json"]).ok();
    let plan: Vec<serde_json::Value> = serde_json::from_str(&plan).unwrap();
    assert_eq!(lines.len(), plan.len());
    let mut last = 0;
    for line in &lines {
        let step = &plan[line["step"].as_u64().unwrap() as usize];
        assert_eq!((&line["call"], &line["side"]), (&step["step"], &step["side"]), "{line}");
        let began = line["ns"].as_u64().unwrap();
        let done = line["result"] == "ok" || line["call"] == "execve";
        assert!(began >= last && done, "{line}");
        last = began;
    }
}

#[test]
fn start_writes_a_trace_of_its_own() {
    let Some(case) = Case::script("start-trace", "exit 0") else { return };
    case.create();
    let trace = case.path("trace");
    case.runp(&["--trace", trace.to_str().unwrap(), "start", &case.id]).ok();
    let lines = fs::read_to_string(&trace).unwrap();
    let calls: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| format!("{} {}", line["call"].as_str().unwrap(), line["result"]))
        .collect();
    let expected = ["lock", "startContainer", "go", "poststart"].map(|c| format!("{c} \"ok\""));
    assert_eq!(calls, expected);
}

#[test]
fn a_pidfd_of_init_is_sent() {
    use std::os::unix::net::UnixListener;
    let Some(mut case) = Case::new("create-pidfd") else { return };
    case.args(&["sleep", "1000"]);
    let path = case.path("pidfd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    case.runp(&["create", "--pidfd-socket", path.to_str().unwrap(), &case.id]).ok();
    let (connection, _) = listener.accept().unwrap();
    let pidfd = runp::sys::socket::receive_fd(connection).unwrap().expect("a descriptor");
    let pid = case.state()["pid"].as_i64().unwrap() as i32;
    runp::sys::clone::pidfd_send_signal(&pidfd, 9).unwrap();
    assert!(has_exited(pid));
    assert_eq!(case.status(), "stopped");
    case.runp(&["delete", &case.id]).ok();
    let failed = case.runp(&["create", "--pidfd-socket", "/nowhere", &case.id]);
    failed.fails(1, "connect to pidfd socket /nowhere");
    case.assert_nothing_left();
}

#[test]
fn sockets_of_systemd_are_passed_on() {
    let script = "echo $LISTEN_FDS $LISTEN_PID; ls /proc/$$/fd | tr '\\n' ' '; cat <&3";
    let Some(case) = Case::script("listen", script) else { return };
    fs::write(case.path("passed"), "in the third\n").unwrap();
    let inner = case.command(&["run", &case.id]);
    let mut command = std::process::Command::new("sh");
    let shell = "exec 3<\"$1\" 4</dev/null; shift; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"";
    command.args(["-c", shell, "sh"]).arg(case.path("passed"));
    command.arg(inner.get_program()).args(inner.get_args()).stdin(std::process::Stdio::null());
    command.current_dir(case.path("bundle"));
    let out = case.finish(&mut command).ok();
    assert!(out.starts_with("2 1\n0 1 2 3 4 "), "{out}");
    assert!(out.ends_with("in the third\n"), "{out}");
}
