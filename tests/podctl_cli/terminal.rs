//! exec, run, attach and debug at a real terminal, and their streams without one.

use super::{Case, is_empty};
use nix::sched::{CloneFlags, unshare};
use rexpect::process::{Signal, WaitStatus};
use rexpect::session::{PtySession, spawn_command};
use rustix::termios::{Winsize, tcsetwinsize};

const PODS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: a, image: host, command: [sleep, '1000']}]
---
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: a
    image: host
    stdin: true
    tty: true
    command: [sh, -c, 'while read -r line; do echo got $line; done']
";
const PATIENCE: u64 = 60_000;

/// A case whose pods run, in a network of its own; none without root.
pub fn up() -> Option<Case> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: needs root");
        return None;
    }
    // What this thread starts is in there with it.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let case = Case::new();
    case.file("pods.yaml", PODS);
    let done = |line: &str| {
        let (status, _, err) = case.run(line);
        assert_eq!(status, 0, "{line}: {err}");
    };
    done("apply -f pods.yaml");
    done("wait --for=condition=Ready pod --all --timeout=60s");
    Some(case)
}

/// The loopback of this thread's network is there.
pub fn lo() {
    let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.unwrap().success());
}

/// The pods go, and leave nothing.
pub fn down(case: &Case) {
    let (status, _, err) = case.run("delete pods --all");
    assert_eq!(status, 0, "{err}");
    assert!(is_empty(&case.root()), "files are left");
}

/// `podctl LINE SCRIPT` at a terminal of 24 rows and 81 columns; the script is one word.
fn session(case: &Case, line: &str, script: &str) -> PtySession {
    at_terminal(case, line, script, &[("NO_COLOR", "1")])
}

/// The same with variables of the environment's.
pub fn at_terminal(
    case: &Case,
    line: &str,
    script: &str,
    environment: &[(&str, &str)],
) -> PtySession {
    let podctl = case.command(line);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "stty rows 24 cols 81; exec \"$0\" \"$@\""]);
    command.arg(podctl.get_program()).args(podctl.get_args());
    command.current_dir(case.0.path()).env_remove("TERM").env_remove("NO_COLOR");
    command.env("RUNP_ROOT", case.root()).envs(environment.iter().copied());
    if !script.is_empty() {
        command.arg(script);
    }
    spawn_command(command, Some(PATIENCE)).unwrap()
}

/// The session is over, with that status.
#[track_caller]
pub fn exits(session: &mut PtySession, expected: i32) {
    session.exp_eof().unwrap();
    match session.process().wait().unwrap() {
        WaitStatus::Exited(_, status) => assert_eq!(status, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn exec_has_the_callers_terminal() {
    let Some(case) = up() else { return };
    let mut small = session(&case, "exec -it web -- sh -c", "tty; stty size");
    small.exp_string("/dev/pts/").unwrap();
    small.exp_string("24 81").unwrap();
    exits(&mut small, 0);

    let script = "trap 'stty size' WINCH; echo up; while :; do sleep 1000 & wait; done";
    let mut grows = session(&case, "exec -it web -- sh -c", script);
    grows.exp_string("up").unwrap();
    let terminal = grows.process().get_file_handle().unwrap();
    for (rows, columns) in [(33, 99), (50, 132)] {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        grows.exp_string(&format!("{rows} {columns}")).unwrap();
    }
    // Ctrl-C is the container's: its shell dies of it, and podctl says so.
    grows.send_control('c').unwrap();
    grows.exp_string("command terminated with exit code 130").unwrap();
    exits(&mut grows, 130);

    let mut cat = session(&case, "exec -it web -- sh -c", "echo up; exec cat");
    cat.exp_string("up\r\n").unwrap();
    cat.send_line("to and fro").unwrap();
    cat.exp_string("to and fro\r\nto and fro\r\n").unwrap();
    cat.send_control('d').unwrap();
    exits(&mut cat, 0);

    let mut ends = session(&case, "exec -it web -- sh -c", "echo up; read -r line; exit $line");
    ends.exp_string("up").unwrap();
    ends.send_line("42").unwrap();
    exits(&mut ends, 42);
    // Our own terminal is as it was: podctl alone had made it raw.
    let script =
        "before=$(stty -g); \"$@\" >/dev/null; test \"$before\" = \"$(stty -g)\" && echo same";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_podctl")]);
    command.args(["exec", "-it", "web", "--", "true"]).env("RUNP_ROOT", case.root());
    let mut restored = spawn_command(command, Some(PATIENCE)).unwrap();
    restored.exp_string("same").unwrap();
    exits(&mut restored, 0);
    down(&case);
}

#[test]
fn exec_passes_statuses_and_streams_on() {
    let Some(case) = up() else { return };
    let shell = |script: &str, stdin: &str| {
        let mut command = std::process::Command::new("sh");
        let podctl = env!("CARGO_BIN_EXE_podctl");
        command.args(["-c", &format!("{stdin}\"$0\" exec -i web -- sh -c \"$1\"")]);
        command.args([podctl, script]).env("RUNP_ROOT", case.root());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let statuses = [
        ("exit 0", 0),
        ("exit 1", 1),
        ("/etc/passwd 2>/dev/null", 126),
        ("no-such-command 2>/dev/null", 127),
        ("kill -HUP $$", 129),
        ("kill -INT $$", 130),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
        ("exit 255", 255),
    ];
    for (script, expected) in statuses {
        let told = match expected {
            0 => String::new(),
            status => format!("command terminated with exit code {status}\n"),
        };
        assert_eq!(shell(script, ""), (expected, String::new(), told), "{script}");
    }
    // The end of the input is passed on, and the command says more after it.
    let (status, out, _) = shell("cat; echo after; exit 3", "printf to | ");
    assert_eq!((status, out.as_str()), (3, "toafter\n"));
    // A command that does not read is no reason to wait.
    assert_eq!(shell("exec <&-; echo read nothing", "yes | ").1, "read nothing\n");
    // One that closes its output goes on.
    assert_eq!(shell("echo out; exec >&-; sleep 0.1; exit 4", "").0, 4);
    down(&case);
}

#[test]
fn exec_loses_nothing_of_a_hundred_megabytes() {
    let Some(case) = up() else { return };
    let script = "head -c 100000000 /dev/urandom > big && cksum < big && \
                  \"$0\" exec -i web -- cat < big | cksum";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_podctl")]);
    command.current_dir(case.0.path()).env("RUNP_ROOT", case.root());
    let output = command.output().unwrap();
    let sums = String::from_utf8(output.stdout).unwrap();
    let sums: Vec<&str> = sums.lines().collect();
    assert!(matches!(sums.as_slice(), [a, b] if a == b && a.ends_with(" 100000000")), "{sums:?}");
    down(&case);
}

#[test]
fn attach_leaves_and_comes_back() {
    let Some(case) = up() else { return };
    for word in ["one", "two"] {
        let mut attached = session(&case, "attach -it shell", "");
        attached.exp_string("If you don't see a command prompt, try pressing enter.").unwrap();
        attached.send_line(word).unwrap();
        attached.exp_string(&format!("got {word}")).unwrap();
        // The terminal is closed: the container goes on.
        attached.process_mut().signal(Signal::SIGHUP).unwrap();
        attached.exp_string("error: hung up").unwrap();
        exits(&mut attached, 1);
    }
    let restarts = "get po shell -o jsonpath={.status.containerStatuses[0].restartCount}";
    assert_eq!(case.run(restarts).1, "0");
    let logs = case.run("logs shell").1.replace('\r', "");
    assert_eq!(logs.matches("got one\n").count() + logs.matches("got two\n").count(), 2, "{logs}");
    down(&case);
}

#[test]
fn run_and_debug_have_the_callers_terminal() {
    let Some(case) = up() else { return };
    // The terminal has its size once podctl is attached.
    let script = "tty; read -r line; echo got $line; stty size; exit 5";
    let line = "run once --image=host --restart=Never -it --rm -- sh -c";
    let mut run = session(&case, line, script);
    run.exp_string("/dev/pts/0\r\n").unwrap();
    run.send_line("hello").unwrap();
    run.exp_string("got hello\r\n24 81\r\n").unwrap();
    run.exp_string("pod \"once\" deleted from default namespace").unwrap();
    exits(&mut run, 5);
    let (status, _, err) = case.run("get po once");
    assert_eq!(
        (status, err.as_str()),
        (1, "Error from server (NotFound): pods \"once\" not found\n")
    );

    let mut debug = session(
        &case,
        "debug web --image=host -c dbg --target=a -it -- sh -c",
        "cat /proc/1/comm; read -r line; echo got $line",
    );
    debug.exp_string("sleep").unwrap();
    debug.send_line("hello").unwrap();
    debug.exp_string("got hello").unwrap();
    exits(&mut debug, 0);
    down(&case);
}
