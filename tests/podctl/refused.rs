//! Pods that a kubelet does not run, or no longer: refused by the machine, evicted by their own
//! limits.

use super::instance::Instance;
use serde_json::Value;

const EVICTED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: volume}
spec:
  containers:
  - name: web
    image: host
    command: [sh, -c, "trap 'echo term > /out/volume; exit 0' TERM; head -c 3000000 /dev/zero > /cache/file; while :; do sleep 1 & wait $!; done"]
    volumeMounts: [{name: cache, mountPath: /cache}, {name: out, mountPath: /out}]
  volumes: [{name: cache, emptyDir: {sizeLimit: 2Mi}}, {name: out, hostPath: {path: DIR}}]
---
apiVersion: v1
kind: Pod
metadata: {name: layer}
spec:
  containers:
  - name: web
    image: host
    command: [sh, -c, "head -c 3000000 /dev/zero > /root/file; exec sleep 1000"]
    resources: {limits: {ephemeral-storage: 2Mi}}
  - {name: peer, image: host, command: [sleep, "1000"], resources: {limits: {ephemeral-storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: message}
spec:
  containers:
  - name: web
    image: host
    command: [sh, -c, "head -c 3000000 /dev/zero > /dev/termination-log; exec sleep 1000"]
    resources: {limits: {ephemeral-storage: 2Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: logs}
spec:
  containers:
  - name: web
    image: host
    command: [sh, -c, "head -c 3000000 /dev/zero | tr '\\0' x; exec sleep 1000"]
    resources: {limits: {ephemeral-storage: 2Mi}}
"#;

fn events(instance: &Instance, pod: &str) -> Vec<(String, String)> {
    let events = std::fs::read(instance.pod_dir(pod).join("events.json")).unwrap();
    let events: Vec<Value> = serde_json::from_slice(&events).unwrap();
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    events.iter().map(|event| (text(event, "reason"), text(event, "message"))).collect()
}

#[test]
fn a_pod_that_outgrows_its_own_limits_is_evicted() {
    let Some(instance) = Instance::new("evicted") else { return };
    let dir = instance.path("out");
    std::fs::create_dir(&dir).unwrap();
    instance.apply(&EVICTED.replace("DIR", dir.to_str().unwrap()));
    let volume = "Usage of EmptyDir volume \"cache\" exceeds the limit \"2Mi\". ";
    let layer = "Container web exceeded its local ephemeral storage limit \"2Mi\". ";
    let total = "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ";
    let all = [("volume", volume), ("layer", layer), ("message", total), ("logs", total)];
    for (pod, message) in all {
        let status = instance.wait_for(pod, |status| status["phase"] == "Failed");
        assert_eq!((&status["reason"], &status["message"]), (&"Evicted".into(), &message.into()));
        instance.wait_told(pod, "Evicted");
        let events = events(&instance, pod);
        assert!(events.contains(&("Evicted".into(), message.into())), "{events:?}");
    }
    // What is evicted is told to go, and has time to.
    assert_eq!(std::fs::read_to_string(dir.join("volume")).unwrap(), "term\n");
    for (pod, _) in all {
        instance.delete(pod);
    }
    instance.assert_nothing_left();
}

const REFUSED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 1
  SPEC
  containers: [{name: web, image: host, command: [sleep, "1000"], resources: {requests: REQUESTS}}]
"#;

#[test]
fn a_pod_that_the_machine_cannot_run_has_failed() {
    let Some(instance) = Instance::new("refused") else { return };
    let sysctls = "securityContext: {sysctls: [{name: kernel.msgmax, value: \"1\"}]}";
    let arch = "nodeSelector: {kubernetes.io/arch: z80}";
    let affinity = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
        {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/arch, operator: In, \
        values: [z80]}]}]}}}";
    let cases = [
        ("cpu", "", "{cpu: 9000}", "OutOfcpu", "cpu, requested: 9000000, used: 0, capacity: "),
        (
            "memory",
            "",
            "{memory: 9000Ti}",
            "OutOfmemory",
            "Node didn't have enough resource: memory",
        ),
        (
            "sysctl",
            sysctls,
            "{}",
            "SysctlForbidden",
            "forbidden sysctl: \"kernel.msgmax\" not allow",
        ),
        ("arch", arch, "{}", "NodeAffinity", "node(s) didn't match Pod's node affinity/selector"),
        ("affinity", affinity, "{}", "NodeAffinity", "Predicate NodeAffinity failed: node(s)"),
    ];
    for (name, spec, requests, reason, message) in cases {
        let manifest = REFUSED.replace("NAME", name).replace("SPEC", spec);
        instance.apply(&manifest.replace("REQUESTS", requests));
        let status = instance.wait_for(name, |status| status["phase"] == "Failed");
        assert_eq!(status["reason"], reason);
        let told = status["message"].as_str().unwrap();
        assert!(told.starts_with("Pod was rejected: ") && told.contains(message), "{told}");
        instance.wait_told(name, reason);
        let events = events(&instance, name);
        assert!(events.iter().any(|(of, why)| of == reason && why.contains(message)), "{events:?}");
        let table = instance.podctl(&["get", "pods"]).ok();
        let row = table.lines().find(|line| line.starts_with(name)).unwrap();
        let columns: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(columns[1..3], ["0/1", reason], "{table}");
        instance.delete(name);
        instance.assert_nothing_left();
    }
}

#[test]
fn a_pull_secret_that_is_not_there_is_told() {
    let Some(instance) = Instance::new("secrets") else { return };
    let secrets = "imagePullSecrets: [{name: one}, {name: other}]";
    instance
        .apply(&REFUSED.replace("NAME", "web").replace("SPEC", secrets).replace("REQUESTS", "{}"));
    instance.wait_running("web");
    let told = "Unable to retrieve some image pull secrets (one, other); attempting to pull the \
                image may not succeed.";
    let event = ("FailedToRetrieveImagePullSecret".to_owned(), told.to_owned());
    instance.wait_told("web", &event.0);
    let events = events(&instance, "web");
    assert!(events.contains(&event), "{events:?}");
    instance.delete("web");
    instance.assert_nothing_left();
}
