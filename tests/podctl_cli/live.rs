//! Every verb on a pod that runs, in a network namespace of its own, as root.

use super::{Case, is_empty};
use nix::sched::{CloneFlags, unshare};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const PODS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: a, image: host, command: [sleep, '1000']}
  - {name: b, image: host, command: [sh, -c, 'echo one; echo two; exec sleep 1000']}
---
apiVersion: v1
kind: Pod
metadata: {name: once, namespace: jobs}
spec:
  restartPolicy: Never
  containers: [{name: c, image: host, command: ['true']}]
";

/// Reads the rows of `get -w` until one has `status`; they end with the command.
fn watch(case: &Case, line: &str, status: &str) -> Vec<String> {
    let mut child = case.command(line).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = Vec::new();
    for row in BufReader::new(child.stdout.take().unwrap()).lines() {
        seen.push(row.unwrap());
        if seen.last().unwrap().split_whitespace().any(|cell| cell == status) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    seen
}

#[test]
fn every_verb_on_a_running_pod() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: needs root");
        return;
    }
    // What this thread starts is in there with it.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let case = Case::new();
    case.file("pods.yaml", PODS);
    let out = |line: &str| {
        let (status, out, err) = case.run(line);
        assert_eq!(status, 0, "{line}: {err}");
        out
    };
    assert_eq!(out("apply -f pods.yaml"), "pod/web created\npod/once created\n");
    let rows = watch(&case, "get po web -w", "Running");
    assert!(rows[0].starts_with("NAME   READY   STATUS"), "{rows:?}");
    watch(&case, "-n jobs get po -w", "Completed");
    assert_eq!(out("apply -f pods.yaml"), "pod/web unchanged\npod/once unchanged\n");
    looks(&out);
    runs(&case);
    ends(&case);
}

/// get, describe, logs, tree.
fn looks(out: &dyn Fn(&str) -> String) {
    let wide = out("get po web -owide --no-headers");
    let cells: Vec<&str> = wide.split_whitespace().collect();
    assert_eq!((cells[1], cells[2], cells[3]), ("2/2", "Running", "0"), "{wide}");
    assert!(wide.contains("   10."), "an address of the bridge's: {wide}");
    assert_eq!(out("get po -A -o name"), "pod/web\npod/once\n");
    assert!(out("get pods -l app=web --show-labels").contains("   app=web\n"));
    assert!(out("get pod/web -ojson").contains("\"phase\": \"Running\""));
    assert!(out("get po web -oyaml").contains("\n  phase: Running\n"));
    let described = out("describe pod web");
    assert!(
        described.starts_with("Name:             web\nNamespace:        default\n"),
        "{described}"
    );
    assert!(described.contains("Container started"), "{described}");
    assert_eq!(out("logs web -c b"), "one\ntwo\n");
    assert_eq!(out("logs pod/web b --tail=1"), "two\n");
    assert_eq!(out("logs web a"), "");
    assert_eq!(out("-n jobs logs once -f"), "");
    let tree = out("tree web");
    assert!(tree.starts_with("pause(") && tree.contains(")-+-a:sleep("), "{tree}");
    assert!(tree.lines().nth(1).is_some_and(|line| line.trim_start().starts_with("`-b:sleep(")));
}

/// exec.
fn runs(case: &Case) {
    let defaulted = "Defaulted container \"a\" out of: a, b\n";
    let said = |status: i32, out: &str, err: &str| (status, out.to_owned(), err.to_owned());
    assert_eq!(case.run("exec web -- echo hi"), said(0, "hi\n", defaulted));
    assert_eq!(case.run_with("exec -i web -c b -- cat", "to and fro"), said(0, "to and fro", ""));
    let seven = "command terminated with exit code 7\n";
    let mut exit = case.command("exec web -c a -- sh -c");
    let output = exit.arg("exit 7").output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), seven);
    let (status, _, err) = case.run("exec web -c x -- true");
    let not_valid = "error: container x is not valid for pod web out of: a, b\n";
    assert_eq!((status, err.as_str()), (1, not_valid));
    let completed = "error: cannot exec into a container in a completed pod; current phase is \
                     Succeeded\n";
    assert_eq!(case.run("-n jobs exec once -- true"), said(1, "", completed));
}

/// delete, and nothing is left.
fn ends(case: &Case) {
    let deleted = "pod \"web\" deleted from default namespace\n\
                   pod \"once\" deleted from jobs namespace\n";
    assert_eq!(case.run("delete -f pods.yaml"), (0, deleted.to_owned(), String::new()));
    assert_eq!(case.run("get po -A").2, "No resources found\n");
    assert!(is_empty(&case.root()), "files are left");
    for (program, argument) in [("ip", "-br link"), ("nft", "list tables")] {
        let output = std::process::Command::new(program).args(argument.split(' ')).output();
        let left = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(!left.contains("runp") && !left.contains("veth"), "{left}");
    }
}
