//! The order in which the containers of a pod come and go.

use super::instance::{Instance, wait_until};
use k8s_openapi::api::core::v1::EphemeralContainer;
use serde_json::Value;
use std::fs;

const INIT: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: init}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - name: first
    image: host
    command: [sh, -c, "echo first >> /order/log; read x < /order/gate"]
    volumeMounts: [{name: order, mountPath: /order}]
  - name: second
    image: host
    command: [sh, -c, "echo second >> /order/log; [ -e /order/once ] || { touch /order/once; exit 3; }"]
    volumeMounts: [{name: order, mountPath: /order}]
  containers:
  - name: main
    image: host
    command: [sh, -c, "echo main >> /order/log; exec sleep 1000"]
    volumeMounts: [{name: order, mountPath: /order}]
  volumes: [{name: order, hostPath: {path: DIR}}]
"#;

/// A condition's status and reason.
fn condition(status: &Value, name: &str) -> (String, String) {
    let all = status["conditions"].as_array().unwrap();
    let found = all.iter().find(|condition| condition["type"] == name).unwrap();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

fn reasons(instance: &Instance, pod: &str) -> Vec<String> {
    let events = fs::read(instance.pod_dir(pod).join("events.json")).unwrap();
    let events: Value = serde_json::from_slice(&events).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |event: &Value| {
        format!("{} {}", text(&event["involvedObject"]["fieldPath"]), text(&event["reason"]))
    };
    events.as_array().unwrap().iter().map(line).collect()
}

#[test]
fn init_containers_run_one_by_one_and_again_if_they_fail() {
    let Some(instance) = Instance::new("init") else { return };
    let dir = instance.path("order");
    fs::create_dir(&dir).unwrap();
    nix::unistd::mkfifo(&dir.join("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    instance.apply(&INIT.replace("DIR", dir.to_str().unwrap()));
    let status = instance.wait_for("init", |status| {
        status["initContainerStatuses"][0]["state"]["running"].is_object()
    });
    assert_eq!(status["phase"], "Pending");
    let initialized = condition(&status, "Initialized");
    assert_eq!(initialized, ("False".into(), "ContainersNotInitialized".into()));
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    let table = instance.podctl(&["get", "pods"]).ok();
    assert!(table.contains("init   0/1     Init:0/2   0"), "{table}");
    fs::write(dir.join("gate"), "go\n").unwrap();
    let status = instance.wait_running("init");
    assert_eq!(condition(&status, "Initialized").0, "True");
    let second = &status["initContainerStatuses"][1];
    assert_eq!((&second["restartCount"], &second["ready"]), (&1.into(), &true.into()));
    assert_eq!(second["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(second["state"]["terminated"]["reason"], "Completed");
    let log = || fs::read_to_string(dir.join("log")).ok();
    let log = wait_until(&dir, || log().filter(|log| log.contains("main")));
    assert_eq!(log.as_deref(), Some("first\nsecond\nsecond\nmain\n"));
    assert_eq!(instance.podctl(&["logs", "init", "-c", "first"]).ok(), "");
    let reasons = reasons(&instance, "init");
    assert!(reasons.contains(&"spec.initContainers{second} Started".to_owned()), "{reasons:?}");
    instance.delete("init");
    instance.assert_nothing_left();
}

const SIDECARS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: cars}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 10
  initContainers:
  - name: one
    image: host
    restartPolicy: Always
    command: [sh, -c, "trap 'echo one ends >> /order/log; exit' TERM; echo one >> /order/log; sleep 2; touch /ready; while :; do sleep 1 & wait $!; done"]
    startupProbe: {exec: {command: [test, -e, /ready]}, periodSeconds: 1, failureThreshold: 60}
    volumeMounts: [{name: order, mountPath: /order}]
  - name: two
    image: host
    restartPolicy: Always
    command: [sh, -c, "trap 'echo two ends >> /order/log; exit' TERM; echo two >> /order/log; [ -e /order/again ] || { touch /order/again; exit 1; }; while :; do sleep 1 & wait $!; done"]
    volumeMounts: [{name: order, mountPath: /order}]
  containers:
  - name: main
    image: host
    command: [sh, -c, "until [ $(grep -c ^two$ /order/log) = 2 ]; do sleep 0.1; done; echo main >> /order/log"]
    volumeMounts: [{name: order, mountPath: /order}]
  volumes: [{name: order, hostPath: {path: DIR}}]
"#;

#[test]
fn sidecars_come_first_come_back_and_go_last() {
    let Some(instance) = Instance::new("sidecars") else { return };
    let dir = instance.path("order");
    fs::create_dir(&dir).unwrap();
    instance.apply(&SIDECARS.replace("DIR", dir.to_str().unwrap()));
    let status = instance.wait_for("cars", |status| status["phase"] == "Succeeded");
    let log = fs::read_to_string(dir.join("log")).unwrap();
    assert_eq!(log, "one\ntwo\ntwo\nmain\ntwo ends\none ends\n");
    assert_eq!(status["initContainerStatuses"][1]["restartCount"], 1);
    assert_eq!(condition(&status, "Initialized"), ("True".into(), "PodCompleted".into()));
    instance.delete("cars");
    instance.assert_nothing_left();
}

const ENDS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: ends}
spec:
  activeDeadlineSeconds: 2
  terminationGracePeriodSeconds: 1
  containers:
  - name: retry
    image: host
    restartPolicy: Never
    restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]
    command: [sh, -c, "[ -e /data/been ] && exit 7; touch /data/been; exit 42"]
    volumeMounts: [{name: data, mountPath: /data}]
  - {name: stays, image: host, command: [sleep, "1000"]}
  volumes: [{name: data, emptyDir: {}}]
"#;

#[test]
fn a_rule_restarts_and_the_deadline_ends() {
    let Some(instance) = Instance::new("deadline") else { return };
    instance.apply(ENDS);
    let status = instance.wait_for("ends", |status| {
        status["containerStatuses"][0]["restartCount"] == 1
            && status["containerStatuses"][0]["state"]["terminated"].is_object()
    });
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 7);
    let status = instance.wait_for("ends", |status| status["phase"] == "Failed");
    assert_eq!(status["reason"], "DeadlineExceeded");
    instance.delete("ends");
    instance.assert_nothing_left();
}

#[test]
fn an_ephemeral_container_joins_the_pod() {
    let Some(instance) = Instance::new("ephemeral") else { return };
    instance.apply(super::apply::TWO);
    instance.wait_running("two");
    let engine = instance.engine();
    let script = "ps -o args | grep -q '[h]ttpd'; echo found $?; ip addr | grep -c eth0; exit 5";
    let debugger = |name: &str| -> EphemeralContainer {
        serde_json::from_value(serde_json::json!({
            "name": name, "image": "host", "command": ["busybox", "sh", "-c", script],
            "targetContainerName": "web",
        }))
        .unwrap()
    };
    engine.add_ephemeral("default", "two", debugger("shell")).unwrap();
    let status = instance.wait_for("two", |status| {
        status["ephemeralContainerStatuses"][0]["state"]["terminated"].is_object()
    });
    let ended = &status["ephemeralContainerStatuses"][0]["state"]["terminated"];
    assert_eq!(ended["exitCode"], 5);
    let log = instance.podctl(&["logs", "two", "-c", "shell"]).ok();
    assert!(log.starts_with("found 0\n"), "{log}");
    let twice = engine.add_ephemeral("default", "two", debugger("shell")).unwrap_err();
    let cause = "spec.ephemeralContainers[1].name: Duplicate value: \"shell\"";
    assert!(twice.to_string().contains(cause), "{twice}");
    assert!(instance.apply(super::apply::TWO).contains("unchanged"));
    assert!(status["containerStatuses"].as_array().unwrap().iter().all(|it| it["ready"] == true));
    instance.delete("two");
    instance.assert_nothing_left();
}
