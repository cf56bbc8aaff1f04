//! What only a terminal sees: colours, and a line about work that takes long.

use super::Case;
use super::terminal::{at_terminal, down, exits, up};
use rexpect::session::PtySession;
use std::fs::OpenOptions;

const FAILS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: fails}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers: [{name: a, image: host, command: [sh, -c, 'exit 3']}]
";
const SLOW: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: slow}
spec:
  terminationGracePeriodSeconds: 2
  containers: [{name: a, image: host, command: [sh, -c, \"trap '' TERM; sleep 1000\"]}]
";
const ESC: &str = "\u{1b}[";

/// All that a line prints at a terminal.
fn seen(case: &Case, line: &str, environment: &[(&str, &str)]) -> String {
    let mut session = at_terminal(case, line, "", environment);
    session.exp_eof().unwrap()
}

#[test]
fn colours_are_for_terminals_alone() {
    let Some(case) = up() else { return };
    case.file("fails.yaml", FAILS);
    let done = |line: &str| {
        let (status, out, err) = case.run(line);
        assert_eq!(status, 0, "{line}: {err}");
        out
    };
    done("apply -f fails.yaml");
    done("wait --for=jsonpath={.status.phase}=Failed pod/fails --timeout=60s");
    let lines = [
        ("get po", "\u{1b}[31mError\u{1b}[0m     "),
        ("get po -o wide", "\u{1b}[32mRunning\u{1b}[0m   "),
        ("get po --no-headers", "\u{1b}[32mRunning\u{1b}[0m   "),
        ("describe po web", "Status:           \u{1b}[32mRunning\u{1b}[0m\r\n"),
        ("describe po fails", "Reason:       \u{1b}[31mError\u{1b}[0m\r\n"),
        ("tree web", "\u{1b}[36ma\u{1b}[0m:sleep("),
        ("timeline web", "\u{1b}[32mStarted\u{1b}[0m   "),
        ("doctor", "\u{1b}[32mok   \u{1b}[0m kernel: "),
        ("get po nope", "\u{1b}[31mError from server (NotFound):\u{1b}[0m pods \"nope\" not found"),
        ("get foo", "\u{1b}[31merror:\u{1b}[0m the server doesn't have"),
    ];
    let term = ("TERM", "xterm");
    for (line, painted) in lines {
        let shown = seen(&case, line, &[term]);
        assert!(shown.contains(painted), "{line}: {shown:?}");
        let (_, out, err) = case.run(line);
        assert!(!(out + &err).contains(ESC), "{line}: in a pipe");
        for plain in [&[term, ("NO_COLOR", "1")][..], &[("TERM", "dumb")]] {
            let shown = seen(&case, line, plain);
            assert!(!shown.contains(ESC), "{line}: {plain:?}: {shown:?}");
        }
    }
    // The columns are where they are in a pipe.
    let shown = seen(&case, "get po", &[term]).replace("\r\n", "\n");
    let bare = ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[0m"];
    let bare = bare.iter().fold(shown, |text, colour| text.replace(colour, ""));
    let columns = |text: &str| {
        let line = text.lines().next().unwrap_or_default().to_owned();
        ["READY", "STATUS", "RESTARTS"].map(|header| line.find(header))
    };
    assert_eq!(columns(&bare), columns(&done("get po")), "{bare}");
    assert!(!seen(&case, "get po -o json", &[term]).contains(ESC));
    assert!(!seen(&case, "get po -o custom-columns=STATUS:.status.phase", &[term]).contains(ESC));
    down(&case);
}

/// The line comes, what is waited for happens, and the line is gone before the answer.
fn comes_and_goes(session: &mut PtySession, line: &str, happen: &dyn Fn(), answer: &str) -> String {
    session.exp_string(line).unwrap();
    happen();
    let between = session.exp_string(answer).unwrap();
    assert!(between.ends_with("\r\u{1b}[K"), "{line}: {between:?}");
    between + &session.exp_eof().unwrap()
}

#[test]
fn a_line_tells_of_what_takes_over_a_second() {
    let Some(case) = up() else { return };
    let term = [("TERM", "xterm"), ("NO_COLOR", "1")];
    let done = |line: &str| {
        let (status, _, err) = case.run(line);
        assert_eq!((status, err.as_str()), (0, ""), "{line}");
    };
    case.file("slow.yaml", SLOW);
    done("apply -f slow.yaml");
    done("wait --for=condition=Ready pod/slow --timeout=60s");
    let mut wait =
        at_terminal(&case, "wait --for=jsonpath={.metadata.labels.done}=yes", "pod/web", &term);
    let label = || done("label pod web done=yes");
    comes_and_goes(&mut wait, "Waiting for pod/web ", &label, "pod/web condition met");
    exits(&mut wait, 0);

    // It ignores SIGTERM until its time is over.
    let mut delete = at_terminal(&case, "delete pod", "slow", &term);
    delete.exp_string("pod \"slow\" deleted from default namespace").unwrap();
    let shown = delete.exp_eof().unwrap();
    assert!(
        shown.contains("Waiting for pods to go [>") && shown.ends_with("\r\u{1b}[K"),
        "{shown:?}"
    );
    exits(&mut delete, 0);

    // A tar of the container's own that takes its time.
    let script = "printf '#!/bin/sh\\nread -r go < /tmp/go\\n' > /usr/local/bin/tar\n\
                  chmod 755 /usr/local/bin/tar\nmkfifo /tmp/go\n";
    let (status, _, err) = case.run_with("exec -i web -- sh", script);
    assert_eq!(status, 0, "{err}");
    let mut copy = at_terminal(&case, "cp web:/etc/hostname", "copy", &term);
    let go = || done("exec web -- sh -c echo>/tmp/go");
    copy.exp_string("Copying with pod/web ").unwrap();
    go();
    assert!(copy.exp_eof().unwrap().ends_with("\r\u{1b}[K"));
    exits(&mut copy, 0);
    down(&case);
}

#[test]
fn only_a_terminal_sees_the_line() {
    let case = Case::new();
    // Archives that come slowly: nothing but the line says that podctl is at it.
    let [piped, dumb, seen] = ["piped", "dumb", "seen"].map(|name| {
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&case.0.path().join(name), mode).unwrap();
        move |case: &Case| OpenOptions::new().write(true).open(case.0.path().join(name)).unwrap()
    });
    let mut pipe = case.command("load -i piped");
    let pipe = pipe.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut at_dumb = at_terminal(&case, "load -i dumb", "", &[("TERM", "dumb")]);
    let others = (piped(&case), dumb(&case));
    let mut load = at_terminal(&case, "load -i seen", "", &[("TERM", "xterm"), ("NO_COLOR", "1")]);
    let slow = std::cell::Cell::new(Some((seen(&case), others)));
    // The last one has it, so the others have been at it for long enough.
    comes_and_goes(&mut load, "Loading seen ", &|| drop(slow.take()), "error: load seen: ");
    exits(&mut load, 1);
    let output = pipe.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap() + &at_dumb.exp_eof().unwrap();
    assert_eq!(told.matches("error: load ").count(), 2, "{told}");
    assert!(!told.contains("Loading ") && !told.contains(ESC), "{told}");
}
