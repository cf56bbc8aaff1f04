//! Namespaces that a pod shares with the host, or its containers with each other.

use super::instance::{Instance, PATIENCE};
use runp::sys::{clone, poll};
use std::os::fd::AsFd;

fn own(namespace: &str) -> String {
    let link = std::fs::read_link(format!("/proc/thread-self/ns/{namespace}")).unwrap();
    link.to_str().unwrap().to_owned() + "\n"
}

#[test]
fn host_namespaces_are_the_hosts() {
    let Some(instance) = Instance::new("hostns") else { return };
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: Never
  hostPID: true
  hostIPC: true
  containers:
  - {name: long, image: host, command: [sleep, "1000"]}
  - {name: short, image: host, command: [sh, -c, "sleep 1357986420 & echo $!"]}
"#;
    instance.apply(manifest);
    let status = instance.wait_for("host", |status| {
        status["containerStatuses"][1]["state"]["terminated"].is_object()
    });
    assert_eq!(status["containerStatuses"][1]["state"]["terminated"]["reason"], "Completed");
    // No PID namespace ends with it: what it left behind is killed in its cgroup, soon after.
    let orphan = instance.podctl(&["logs", "host", "-c", "short"]).ok();
    if let Ok(orphan) = clone::pidfd_open(orphan.trim().parse().unwrap()) {
        assert_eq!(poll::poll_in(&[orphan.as_fd()], Some(PATIENCE)).unwrap(), [true]);
    }
    let sh = |script: &str| instance.sh("host", "long", script);
    assert_eq!(sh("readlink /proc/self/ns/pid"), own("pid"));
    assert_eq!(sh("readlink /proc/self/ns/ipc"), own("ipc"));
    assert_ne!(sh("readlink /proc/self/ns/uts"), own("uts"));
    assert_ne!(sh("readlink /proc/self/ns/net"), own("net"));
    let name = format!("/dev/shm/runp-test-{}", std::process::id());
    std::fs::write(&name, "shared\n").unwrap();
    let read = sh(&format!("cat {name}"));
    std::fs::remove_file(&name).unwrap();
    assert_eq!(read, "shared\n");
    assert!(!sh(&format!("cat /proc/{}/comm", std::process::id())).is_empty());
    instance.delete("host");
    instance.assert_nothing_left();
}

#[test]
fn containers_that_share_processes_have_pause_for_init() {
    let Some(instance) = Instance::new("sharepid") else { return };
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: shared}
spec:
  terminationGracePeriodSeconds: 1
  shareProcessNamespace: true
  containers:
  - {name: a, image: host, command: [sleep, "1357"]}
  - {name: b, image: host, command: [sh, -c, "trap 'exit 3' USR1; sleep 2468 & wait"]}
"#;
    instance.apply(manifest);
    instance.wait_running("shared");
    let sh = |script: &str| instance.sh("shared", "a", script);
    assert_eq!(sh("cat /proc/1/comm"), "pause\n");
    let running = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '";
    let all = sh(running);
    assert!(all.contains("sleep 1357") && all.contains("sleep 2468"), "{all}");
    // An orphan is pause's, who reaps it.
    let orphan = sh("sh -c 'sh -c \"read x < /proc/self/fd/9\" 9<&0 & echo $!' < /dev/null");
    sh(&format!("while [ -e /proc/{} ]; do :; done", orphan.trim()));
    // Of a container that has ended nothing is left, though its namespace lives on.
    sh("kill -USR1 $(grep -l -z '^trap' /proc/[0-9]*/cmdline | head -n 1 | cut -d / -f 3)");
    instance.wait_for("shared", |status| {
        let b = &status["containerStatuses"][1];
        b["restartCount"] == 1 && b["state"]["running"].is_object()
    });
    let status = instance.get("shared");
    let b = &status["status"]["containerStatuses"][1];
    assert_eq!(b["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(sh(running).matches("sleep 2468").count(), 2, "its shell and its sleep");
    instance.delete("shared");
    instance.assert_nothing_left();
}

#[test]
fn a_hostname_may_be_the_full_one() {
    let Some(instance) = Instance::new("fqdn") else { return };
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  subdomain: sub
  setHostnameAsFQDN: true
  containers: [{name: c, image: host, command: [sleep, "1000"]}]
"#;
    instance.apply(manifest);
    instance.wait_running("web");
    let said = instance.sh("web", "c", "hostname; cat /etc/hostname; echo $HOSTNAME");
    let full = "web.sub.default.svc.cluster.local";
    assert_eq!(said, format!("{full}\n{full}\n{full}\n"));
    instance.delete("web");
    instance.assert_nothing_left();
}
