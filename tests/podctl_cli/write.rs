//! Everyday writing: kubectl's commands, with podctl in its place; those that need no server are
//! also given to kubectl itself, if it is installed.

use super::{Case, is_empty, transcript};
use nix::sched::{CloneFlags, unshare};
use std::process::Command;

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: a, image: host, command: [sleep, '1000']}
  - {name: b, image: host, command: [sh, -c, 'echo one; exec sleep 1000']}
";
const OBJECTS: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {color: blue}
---
apiVersion: v1
kind: Secret
metadata: {name: login, labels: {app: web}}
stringData: {password: hunter2}
---
apiVersion: v1
kind: Namespace
metadata: {name: team}
";

fn case() -> Case {
    let case = Case::new();
    let files = case.0.path().join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::create_dir(files.join("sub")).unwrap();
    case.file("files/a.txt", "one");
    case.file("files/sub/b.txt", "two\n");
    case.file("files/env", "A=1\n# a comment\nB=x y\n");
    std::fs::write(files.join("c.bin"), b"\xff\0bin").unwrap();
    case.file("pod.yaml", POD);
    case.file("objects.yaml", OBJECTS);
    case.file("changed.yaml", &OBJECTS.replace("blue", "red").replace("hunter2", "hunter3"));
    case.file("settings.yaml", OBJECTS.split("---").next().unwrap());
    case
}

#[test]
fn writing_is_as_with_kubectl() {
    let case = case();
    transcript::play(&case, "write.txt");
    assert!(is_empty(&case.root()), "files are left");
}

#[test]
fn pods_are_written_to_as_with_kubectl() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: needs root");
        return;
    }
    // What this thread starts is in there with it.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
    assert!(up.success());
    let case = case();
    transcript::play(&case, "pods.txt");
    assert!(is_empty(&case.root()), "files are left");
}

/// kubectl's lines that reach no server.
const ALONE: &[&str] = &[
    "create configmap cm --from-literal=a=1 --from-literal=b= --dry-run=client -o yaml",
    "create cm cm --from-file=files --dry-run=client -o yaml",
    "create cm cm --from-file=k=files/a.txt --dry-run=client",
    "create cm cm --from-env-file=files/env --dry-run=client -o yaml",
    "create cm cm --from-file=k=files/a.txt --from-env-file=files/env --dry-run=client",
    "create cm cm --from-literal=a --dry-run=client",
    "create cm cm --from-literal==a --dry-run=client",
    "create cm cm --from-file=nope --dry-run=client",
    "create cm cm --from-literal=a=1 --from-literal=a=2 --dry-run=client",
    "create cm cm --from-literal=a=1 --append-hash --dry-run=client",
    "create cm cm --from-literal=a=1 -n x --dry-run=client -o yaml",
    "create cm cm --from-literal=a/b=1 --dry-run=client",
    "create cm cm --dry-run=client",
    "create secret generic s --from-literal=a=1 --dry-run=client -o yaml",
    "create secret generic s --from-file=files/a.txt --type=foo/bar --dry-run=client -o yaml",
    "create secret generic s --from-literal=a=1 --append-hash --dry-run=client -o name",
    "create secret docker-registry r --docker-username=u --docker-password=p --docker-email=e \
     --dry-run=client -o yaml",
    "create secret docker-registry r --docker-username=u --dry-run=client",
    "create secret tls t --dry-run=client",
    "create secret tls t --cert=files/env --key=files/env --dry-run=client",
    "create namespace n --dry-run=client",
    "create ns n --dry-run=client -o jsonpath={.metadata.name}",
    "create ns n --dry-run=foo",
    "create",
    "run web --image=nginx --restart=Never --env=A --dry-run=client",
    "run web --image=nginx --labels=a --dry-run=client",
];

/// Whether there is a kubectl with the words of 1.32 and newer; Debian's 1.20 has others.
pub fn has_kubectl() -> bool {
    let version = Command::new("kubectl").args(["version", "--client"]).output();
    let version = version.map(|output| String::from_utf8(output.stdout).unwrap_or_default());
    let version = version.unwrap_or_default();
    let minor = version.split_once("Client Version: v1.").and_then(|(_, rest)| rest.get(..2));
    minor.and_then(|minor| minor.parse().ok()).is_some_and(|minor: u32| minor >= 32)
}

#[test]
fn what_kubectl_says_alone_podctl_says_too() {
    if !has_kubectl() {
        eprintln!("SKIP: no kubectl of 1.32 or newer is installed");
        return;
    }
    let case = case();
    for line in ALONE {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kubectl = Command::new("kubectl")
            .args(&words)
            .current_dir(case.0.path())
            .env("KUBECONFIG", "/dev/null")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        // Kubernetes 1.34 has left off saying so.
        let plain = |text: String| -> String {
            let kept =
                text.split_inclusive('\n').filter(|line| !line.contains("creationTimestamp"));
            kept.collect()
        };
        let (status, out, err) = case.run(line);
        assert_eq!(plain(text(&kubectl.stdout)), out, "{line}");
        assert_eq!(text(&kubectl.stderr), err, "{line}");
        assert_eq!(kubectl.status.code(), Some(status), "{line}");
    }
}
