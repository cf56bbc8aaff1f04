//! A container dies and comes back; its pod stays.

use super::apply::init_pid;
use super::instance::Instance;
use runp::sys::clone;

const FAILING: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: failing}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: once
    image: host
    command: [sh, -c, "if [ -e /data/been ]; then echo again; exec sleep 1000; fi; touch /data/been; echo first; exit 3"]
    volumeMounts: [{name: data, mountPath: /data}]
  - name: steady
    image: host
    command: [sleep, "1000"]
  volumes: [{name: data, emptyDir: {}}]
"#;

fn container<'a>(status: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    status["containerStatuses"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

#[test]
fn a_container_comes_back_and_the_address_stays() {
    let Some(instance) = Instance::new("restart") else { return };
    instance.apply(FAILING);
    let status = instance.wait_for("failing", |status| {
        let containers = status["containerStatuses"].as_array();
        containers.is_some_and(|all| {
            all.iter().any(|one| one["restartCount"] == 1 && one["state"]["running"].is_object())
        })
    });
    let once = container(&status, "once");
    assert_eq!(once["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(once["lastState"]["terminated"]["reason"], "Error");
    assert_eq!(instance.podctl(&["logs", "failing", "-c", "once"]).ok(), "again\n");
    let previous = instance.podctl(&["logs", "failing", "-c", "once", "--previous"]).ok();
    assert_eq!(previous, "first\n");

    let ip = status["podIP"].clone();
    let steady = init_pid(&instance, &status, "steady");
    clone::pidfd_send_signal(clone::pidfd_open(steady).unwrap(), 9).unwrap();
    let status = instance.wait_for("failing", |status| {
        let steady = container(status, "steady");
        steady["restartCount"] == 1 && steady["state"]["running"].is_object()
    });
    assert_eq!(status["podIP"], ip);
    assert_eq!(container(&status, "steady")["lastState"]["terminated"]["exitCode"], 137);
    assert_eq!(container(&status, "once")["restartCount"], 1, "the other one is left alone");
    instance.delete("failing");
}

#[test]
fn a_pod_that_is_done_stays_done() {
    let Some(instance) = Instance::new("done") else { return };
    instance.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: done}
spec:
  restartPolicy: Never
  containers:
  - {name: good, image: host, command: ["true"]}
  - {name: bad, image: host, command: [sh, -c, "echo why > /dev/termination-log; exit 9"]}
"#,
    );
    let status = instance.wait_for("done", |status| status["phase"] == "Failed");
    let bad = &container(&status, "bad")["state"]["terminated"];
    assert_eq!((&bad["exitCode"], &bad["message"]), (&9.into(), &"why\n".into()));
    assert_eq!(container(&status, "good")["state"]["terminated"]["reason"], "Completed");
    instance.delete("done");
}

#[test]
fn a_dead_sandbox_is_made_anew() {
    let Some(instance) = Instance::new("sandbox") else { return };
    instance.apply(FAILING);
    instance.wait_for("failing", |status| {
        let all = status["containerStatuses"].as_array();
        all.is_some_and(|all| all.iter().all(|one| one["state"]["running"].is_object()))
            && container(status, "once")["restartCount"] == 1
    });
    instance.kill_pause("failing");
    instance.wait_for("failing", |status| {
        let steady = container(status, "steady");
        steady["state"]["running"].is_object() && steady["restartCount"] == 1
    });
    instance.delete("failing");
}

const TOGETHER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: together}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  initContainers:
  - name: setup
    image: host
    command: [sh, -c, "echo setup >> /data/log"]
    volumeMounts: [{name: data, mountPath: /data}]
  containers:
  - name: worker
    image: host
    restartPolicy: Never
    restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]
    command: [sh, -c, "echo worker >> /data/log; [ -e /data/been ] && exec sleep 1000; read x < /data/gate; touch /data/been; exit 42"]
    volumeMounts: [{name: data, mountPath: /data}]
  - name: peer
    image: host
    command: [sh, -c, "echo peer >> /data/log; exec sleep 1000"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, hostPath: {path: DIR}}]
"#;

#[test]
fn a_rule_restarts_all_containers_in_place() {
    let Some(instance) = Instance::new("together") else { return };
    let dir = instance.path("data");
    std::fs::create_dir(&dir).unwrap();
    nix::unistd::mkfifo(&dir.join("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    instance.apply(&TOGETHER.replace("DIR", dir.to_str().unwrap()));
    let before = instance.wait_running("together");
    std::fs::write(dir.join("gate"), "go\n").unwrap();
    let status = instance.wait_for("together", |status| {
        ["worker", "peer"].iter().all(|name| {
            let container = container(status, name);
            container["restartCount"] == 1 && container["state"]["running"].is_object()
        })
    });
    assert_eq!(status["podIP"], before["podIP"], "the sandbox stays");
    for name in ["worker", "peer"] {
        let last = &container(&status, name)["lastState"]["terminated"];
        assert_eq!(
            (&last["reason"], &last["exitCode"], last.get("finishedAt"), last.get("containerID")),
            (&"RestartingAllContainers".into(), &137.into(), None, None),
            "{last:#}"
        );
    }
    assert_eq!(status["initContainerStatuses"][0]["restartCount"], 1);
    let conditions = status["conditions"].as_array().unwrap();
    let restarting = conditions.iter().find(|it| it["type"] == "AllContainersRestarting").unwrap();
    assert_eq!(restarting["status"], "False");
    let mut log: Vec<String> =
        std::fs::read_to_string(dir.join("log")).unwrap().lines().map(Into::into).collect();
    log[1..3].sort();
    log[4..].sort();
    assert_eq!(log, ["setup", "peer", "worker", "setup", "peer", "worker"]);
    instance.delete("together");
    instance.assert_nothing_left();
}
