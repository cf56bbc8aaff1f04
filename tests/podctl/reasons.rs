//! Every reason a container can be shown with, each reached by a manifest on real processes.

use super::instance::Instance;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

/// Each container is called by what becomes of it.
const REASONS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: reasons}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: invalid-name, image: "Not/A:valid:name", command: ["true"]}
  - {name: never-pull, image: "127.0.0.1:9/none:1", imagePullPolicy: Never}
  - {name: unreachable, image: "127.0.0.1:9/none:1", imagePullPolicy: IfNotPresent}
  - {name: refused, image: "127.0.0.1:PORT/none:1", imagePullPolicy: IfNotPresent}
  - name: no-config
    image: host
    command: ["true"]
    env: [{name: A, valueFrom: {configMapKeyRef: {name: absent, key: a}}}]
  - {name: is-root, image: host, command: ["true"], securityContext: {runAsNonRoot: true}}
  - {name: no-command, image: host, command: [""]}
  - {name: no-program, image: host, command: [/not/there]}
  - name: no-hook
    image: host
    command: [sleep, "1000"]
    lifecycle: {postStart: {exec: {command: ["false"]}}}
  - name: greedy
    image: host
    command: [perl, -e, '$x = "x" x (1 << 28)']
    resources: {limits: {memory: 16Mi}}
  - {name: failing, image: host, command: [sh, -c, "exit 3"]}
  - {name: done, image: host, command: ["true"]}
"#;

const EXPECTED: &[(&str, &str)] = &[
    ("done", "Completed"),
    ("done", "CrashLoopBackOff"),
    ("failing", "CrashLoopBackOff"),
    ("failing", "Error"),
    ("greedy", "OOMKilled"),
    ("invalid-name", "InvalidImageName"),
    ("is-root", "CreateContainerConfigError"),
    ("never-pull", "ErrImageNeverPull"),
    ("no-command", "CreateContainerError"),
    ("no-config", "CreateContainerConfigError"),
    ("no-hook", "PostStartHookError"),
    ("no-program", "RunContainerError"),
    ("no-program", "StartError"),
    ("refused", "ErrImagePull"),
    ("refused", "ImagePullBackOff"),
    ("unreachable", "ImagePullBackOff"),
    ("unreachable", "RegistryUnavailable"),
];

/// Container and reason of each state that a status shows.
fn shown(status: &Value) -> BTreeSet<(String, String)> {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let all = lists.iter().flat_map(|list| status[list].as_array().into_iter().flatten());
    let mut shown = BTreeSet::new();
    for container in all {
        let name = container["name"].as_str().unwrap();
        for (state, kind) in
            [("state", "waiting"), ("state", "terminated"), ("lastState", "terminated")]
        {
            if let Some(reason) = container[state][kind]["reason"].as_str() {
                shown.insert((name.to_owned(), reason.to_owned()));
            }
        }
    }
    shown
}

/// A registry that has nothing, until the test ends; its port.
fn empty_registry() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut request = [0; 4096];
            let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            // A client that has gone is none of ours.
            drop(client.read(&mut request).and_then(|_| client.write_all(answer.as_bytes())));
        }
    });
    port
}

#[test]
fn every_reason_is_reached() {
    let Some(instance) = Instance::new("reasons") else { return };
    let registry = empty_registry();
    instance.apply(&REASONS.replace("PORT", &registry.to_string()));
    let seen = std::cell::RefCell::new(BTreeSet::new());
    let missing = || {
        let seen = seen.borrow();
        let is_missing = |(name, reason): &&(&str, &str)| {
            !seen.contains(&((*name).to_owned(), (*reason).to_owned()))
        };
        EXPECTED.iter().filter(is_missing).copied().collect::<Vec<_>>()
    };
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        instance.wait_for("reasons", |status| {
            seen.borrow_mut().extend(shown(status));
            missing().is_empty()
        })
    }));
    assert!(found.is_ok(), "never shown: {:?}", missing());
    let status = found.unwrap();
    assert_eq!(status["phase"], "Pending", "what has never run keeps it so");
    // The later ones may fall to the kubelet's spam filter, 25 events of a pod at once.
    for message in [
        "Error: InvalidImageName",
        "Error: ErrImageNeverPull",
        "Error: configmap \\\"absent\\\" not found",
        "container has runAsNonRoot and image will run as root",
    ] {
        instance.wait_told("reasons", message);
    }
    instance.delete("reasons");
    // The store of images outlives the pods.
    fs::remove_dir_all(instance.root().join("lib/images")).unwrap();
    instance.assert_nothing_left();
}

#[test]
fn an_unreadable_image_store_is_an_inspect_error() {
    let Some(instance) = Instance::new("inspect") else { return };
    let images = instance.root().join("lib/images");
    fs::create_dir_all(images.parent().unwrap()).unwrap();
    fs::write(&images, "no directory").unwrap();
    instance.apply(&REASONS.replace("reasons", "inspect").replace("PORT", "9"));
    instance.wait_for("inspect", |status| {
        shown(status).contains(&("unreachable".to_owned(), "ImageInspectError".to_owned()))
    });
    instance.delete("inspect");
    fs::remove_file(images).unwrap();
    instance.assert_nothing_left();
}

const PLAIN: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: host, command: [sleep, "1000"]}
"#;

/// The condition that tells of the sandbox: status, reason, message.
fn sandbox(status: &Value) -> [String; 3] {
    let all = status["conditions"].as_array().unwrap();
    let found = all.iter().find(|it| it["type"] == "PodReadyToStartContainers").unwrap();
    ["status", "reason", "message"].map(|field| found[field].as_str().unwrap_or_default().into())
}

fn ip(args: &[&str]) {
    assert!(Command::new("ip").args(args).status().unwrap().success(), "ip {args:?}");
}

#[test]
fn a_network_that_is_not_ready_is_waited_for() {
    let Some(instance) = Instance::new("network") else { return };
    ip(&["link", "add", "other", "type", "bridge"]);
    ip(&["addr", "add", "10.199.0.1/16", "dev", "other"]);
    ip(&["link", "set", "other", "up"]);
    let manifest = instance.manifest(PLAIN);
    instance.podctl(&["--pod-cidr", "10.199.0.0/16", "apply", "-f", &manifest]).ok();
    instance.remember_uids();
    let status = instance.wait_for("plain", |status| sandbox(status)[1] == "NetworkNotReady");
    let [is, _, message] = sandbox(&status);
    assert_eq!(is, "False");
    assert!(message.starts_with("network is not ready: "), "{message}");
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");
    ip(&["link", "del", "other"]);
    let status = instance.wait_running("plain");
    assert_eq!(sandbox(&status), ["True", "", ""].map(String::from));
    instance.delete("plain");
    instance.assert_nothing_left();
}

#[test]
fn a_host_that_cannot_run_pods_says_why() {
    let Some(instance) = Instance::new("host") else { return };
    let cgroups = "/sys/fs/cgroup";
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("none"), cgroups, Some("tmpfs"), flags, None::<&str>).unwrap();
    instance.apply(PLAIN);
    let status = instance.wait_for("plain", |status| !sandbox(status)[1].is_empty());
    let [is, reason, message] = sandbox(&status);
    assert_eq!((is.as_str(), reason.as_str()), ("False", "FailedCreatePodContainer"), "{message}");
    assert!(message.contains("cgroup"), "{message}");
    instance.wait_told("plain", "unable to ensure pod container exists: ");
    // A worker may be looking into it just now.
    nix::mount::umount2(cgroups, nix::mount::MntFlags::MNT_DETACH).unwrap();
    instance.delete("plain");
    instance.assert_nothing_left();
}

const WAITS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: waits}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: host
    command: [sleep, "1000"]
    readinessProbe: {exec: {command: [test, -e, /gate/open]}, periodSeconds: 1}
    volumeMounts: [{name: gate, mountPath: /gate}]
  volumes: [{name: gate, hostPath: {path: DIR}}]
"#;

#[test]
fn conditions_are_all_told() {
    let Some(instance) = Instance::new("conditions") else { return };
    let dir = instance.path("gate");
    fs::create_dir(&dir).unwrap();
    instance.apply(&WAITS.replace("DIR", dir.to_str().unwrap()));
    let status = instance.wait_running("waits");
    let told = |status: &Value, name: &str| -> (String, String, String) {
        let all = status["conditions"].as_array().unwrap();
        let found = all.iter().find(|it| it["type"] == name).unwrap();
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    };
    let message = "containers with unready status: [main]".to_owned();
    let unready = ("False".to_owned(), "ContainersNotReady".to_owned(), message);
    assert_eq!(told(&status, "ContainersReady"), unready);
    assert_eq!(told(&status, "Ready"), unready);
    assert_eq!(told(&status, "PodScheduled").0, "True");
    assert_eq!(told(&status, "Initialized").0, "True");
    fs::write(dir.join("open"), "").unwrap();
    let is_ready = |status: &Value| told(status, "Ready").0 == "True";
    let status = instance.wait_for("waits", is_ready);
    assert_eq!(told(&status, "ContainersReady").0, "True");
    instance.delete("waits");
    instance.assert_nothing_left();
}

#[test]
fn a_sandbox_that_cannot_be_made_is_tried_again() {
    let Some(instance) = Instance::new("sandbox") else { return };
    // The kernel takes no such hostname.
    let spec = "spec:\n  hostname: a\n  setHostnameAsFQDN: true\n  subdomain: SUB";
    let manifest = PLAIN.replace("spec:", &spec.replace("SUB", &"b".repeat(63)));
    instance.apply(&manifest);
    let status = instance.wait_for("plain", |status| !sandbox(status)[1].is_empty());
    let [is, reason, message] = sandbox(&status);
    assert_eq!((is.as_str(), reason.as_str()), ("False", "FailedCreatePodSandBox"), "{message}");
    instance.wait_told("plain", "Failed to create pod sandbox: ");
    instance.delete("plain");
    instance.assert_nothing_left();
}
