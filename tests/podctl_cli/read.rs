//! Everyday reading, on objects that are there: kubectl's commands, with podctl in its place.

use super::{Case, is_empty, transcript};
use nix::sched::{CloneFlags, unshare};

const OBJECTS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: nginx, env: prod}, annotations: {note: hello}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: nginx
    image: host
    command: [sh, -c, 'echo one; echo two; echo three; exec sleep 1000']
    ports: [{containerPort: 80, name: http}]
    env: [{name: TZ, value: Asia/Shanghai}]
    resources: {limits: {memory: 64Mi}}
    volumeMounts: [{name: webroot, mountPath: /data}]
  - {name: side, image: host, command: [sh, -c, 'echo aside; exec sleep 1000']}
  volumes: [{name: webroot, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: once, namespace: jobs, labels: {app: job}}
spec:
  restartPolicy: Never
  containers: [{name: c, image: host, command: [sh, -c, 'echo done']}]
---
apiVersion: v1
kind: Pod
metadata: {name: fails, namespace: jobs, labels: {app: job, tier: back}}
spec:
  restartPolicy: Never
  initContainers: [{name: prepare, image: host, command: [sh, -c, 'echo prepared']}]
  containers: [{name: c, image: host, command: [sh, -c, 'echo failed >&2; exit 3']}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: nginx}}
data: {color: blue, nginx.conf: \"worker_processes 1;\\nevents {}\\n\"}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: secret}
";

/// Deletes the pods of a case that fails.
struct Undo<'a>(&'a Case);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.run("delete -f objects.yaml --grace-period=0 --force");
        }
    }
}

#[test]
fn reading_is_as_with_kubectl() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: needs root");
        return;
    }
    // What this thread starts is in there with it.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let case = Case::new();
    case.file("objects.yaml", OBJECTS);
    let _undo = Undo(&case);
    let done = |line: &str| {
        let (status, _, err) = case.run(line);
        assert_eq!(status, 0, "{line}: {err}");
    };
    done("apply --node-name node1 --pod-cidr 10.77.0.0/24 -f objects.yaml");
    done("wait --for=condition=Ready pod/web");
    done("wait -n jobs --for=jsonpath={.status.phase}=Succeeded pod/once");
    done("wait -n jobs --for=jsonpath={.status.phase}=Failed pod/fails");
    transcript::play(&case, "read.txt");
    done("delete -f objects.yaml");
    assert!(is_empty(&case.root()), "files are left");
}
