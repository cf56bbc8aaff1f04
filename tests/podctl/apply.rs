//! A pod of two containers: what it is, and what its containers share.

use super::instance::Instance;
use runp::sys::fs::last_line;
use serde_json::Value;
use std::fs;
use std::path::Path;

pub const TWO: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: two}}
spec:
  terminationGracePeriodSeconds: 3
  containers:
  - name: web
    image: host
    command: [sh, -c, "trap 'exit 0' TERM; busybox httpd -p 8080 -h /data; echo hello from web; while :; do sleep 1 & wait $!; done"]
    resources: {limits: {memory: 64Mi, cpu: 500m}}
    volumeMounts: [{name: data, mountPath: /data}]
  - name: side
    image: host
    command: [sh, -c, "trap 'exit 0' TERM; echo shared > /data/file; echo hello from side; while :; do sleep 1 & wait $!; done"]
    env: [{name: COLOUR, value: blue}]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes:
  - name: data
    emptyDir: {}
"#;

#[test]
fn two_containers_share_what_a_pod_shares() {
    let Some(instance) = Instance::new("apply") else { return };
    assert_eq!(instance.apply(TWO), "pod/two created\n");
    let status = instance.wait_running("two");
    let ip = status["podIP"].as_str().unwrap();
    for container in ["web", "side"] {
        let addresses = instance.sh("two", container, "ip -4 -o addr show dev eth0");
        assert!(addresses.contains(&format!(" {ip}/")), "{ip}: {addresses}");
        assert_eq!(instance.sh("two", container, "hostname"), "two\n");
        assert!(instance.sh("two", container, "cat /etc/hosts").contains(&format!("{ip}\ttwo\n")));
    }
    let fetched = instance.sh("two", "side", "busybox wget -qO- http://127.0.0.1:8080/file");
    assert_eq!(fetched, "shared\n", "localhost and the volume");
    instance.sh("two", "side", "echo x > /dev/shm/x");
    assert_eq!(instance.sh("two", "web", "cat /dev/shm/x"), "x\n", "shared memory");
    assert_eq!(instance.sh("two", "side", "echo $COLOUR"), "blue\n");
    assert!(!instance.sh("two", "web", "env").contains("blue"));
    assert_ne!(
        instance.sh("two", "web", "readlink /proc/self/ns/pid"),
        instance.sh("two", "side", "readlink /proc/self/ns/pid"),
    );
    let table = instance.podctl(&["get", "pods"]).ok();
    assert!(table.contains("two    2/2     Running   0"), "{table}");
    assert_eq!(instance.apply(TWO), "pod/two unchanged\n");
    let labelled = TWO.replace("app: two", "app: other");
    assert_eq!(instance.apply(&labelled), "pod/two configured\n");
    assert_eq!(instance.get("two")["metadata"]["labels"]["app"], "other");
    instance.delete("two");
    instance.assert_nothing_left();
}

#[test]
fn limits_are_in_the_cgroup() {
    let Some(instance) = Instance::new("limits") else { return };
    instance.apply(TWO);
    let status = instance.wait_running("two");
    let pid = init_pid(&instance, &status, "web");
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let file = |controller: &str, v1: &str, v2: &str| {
        let path = |line: &str| line.rsplit(':').next().unwrap().trim_start_matches('/').to_owned();
        let of_v1 = cgroups
            .lines()
            .find(|line| line.split(':').nth(1).unwrap().split(',').any(|name| name == controller));
        match of_v1 {
            Some(line) => Path::new("/sys/fs/cgroup").join(controller).join(path(line)).join(v1),
            None => {
                Path::new("/sys/fs/cgroup").join(path(cgroups.lines().last().unwrap())).join(v2)
            }
        }
    };
    let read = |path| fs::read_to_string(path).unwrap().trim().to_owned();
    let memory = file("memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(read(memory), (64 << 20).to_string());
    let cpu = read(file("cpu", "cpu.cfs_quota_us", "cpu.max"));
    assert!(cpu == "50000" || cpu == "50000 100000", "{cpu}");
    instance.delete("two");
}

#[test]
fn the_tree_shows_pause_and_the_containers() {
    let Some(instance) = Instance::new("tree") else { return };
    instance.apply(TWO);
    instance.wait_running("two");
    let tree = instance.podctl(&["tree", "two"]).ok();
    for part in ["pause", "web", "side", "busybox"] {
        assert!(tree.contains(part), "{part}: {tree}");
    }
    instance.delete("two");
}

#[test]
fn exec_gives_status_and_output() {
    let Some(instance) = Instance::new("exec") else { return };
    instance.apply(TWO);
    instance.wait_running("two");
    let run =
        |script: &str| instance.podctl(&["exec", "two", "-c", "side", "--", "sh", "-c", script]);
    let done = run("echo out; echo err >&2; exit 7");
    assert_eq!((done.status, done.out.as_str()), (7, "out\n"), "{done:?}");
    assert!(done.err.contains("err\n"), "{done:?}");
    assert!(done.err.contains("command terminated with exit code 7"), "{done:?}");
    let missing = instance.podctl(&["exec", "two", "-c", "side", "--", "/not/there"]);
    assert_ne!(missing.status, 0, "{missing:?}");
    instance.delete("two");
}

/// The init process of a container, as the runtime's record has it.
pub fn init_pid(instance: &Instance, status: &Value, container: &str) -> i32 {
    let containers = status["containerStatuses"].as_array().unwrap();
    let status = containers.iter().find(|status| status["name"] == container).unwrap();
    let id = status["containerID"].as_str().unwrap().trim_start_matches("runp://");
    let record = fs::read(instance.root().join("runp").join(id).join("state.json")).unwrap();
    let record: Value = serde_json::from_slice(last_line(&record)).unwrap();
    i32::try_from(record["pid"].as_i64().unwrap()).unwrap()
}
