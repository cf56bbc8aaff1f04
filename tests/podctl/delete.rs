//! The end of a pod.

use super::apply::TWO;
use super::instance::{Done, Instance};
use std::time::{Duration, Instant};

const STUBBORN: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  terminationGracePeriodSeconds: 2
  containers:
  - {name: deaf, image: host, command: [sh, -c, "trap '' TERM; echo ready; while :; do sleep 1000; done"]}
  - {name: polite, image: host, command: [sh, -c, "trap 'echo bye > /data/bye; exit 0' TERM; echo ready; while :; do sleep 1 & wait $!; done"], volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, hostPath: {path: DIR}}]
"#;

#[test]
fn the_grace_period_ends_in_sigkill() {
    let Some(instance) = Instance::new("grace") else { return };
    let dir = instance.path("shared");
    std::fs::create_dir(&dir).unwrap();
    instance.apply(&STUBBORN.replace("DIR", dir.to_str().unwrap()));
    instance.wait_running("stubborn");
    for container in ["deaf", "polite"] {
        let logs = instance.start(&["logs", "-f", "stubborn", "-c", container]);
        logs.wait_output("ready");
        let mut logs = logs;
        logs.child.kill().unwrap();
        logs.finish();
    }
    let begin = Instant::now();
    instance.delete("stubborn");
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(std::fs::read_to_string(dir.join("bye")).unwrap(), "bye\n");
    instance.assert_nothing_left();
}

#[test]
fn force_does_not_wait_for_the_stubborn() {
    let Some(instance) = Instance::new("force") else { return };
    let dir = instance.path("shared");
    std::fs::create_dir(&dir).unwrap();
    let patient = STUBBORN.replace("PeriodSeconds: 2", "PeriodSeconds: 300");
    instance.apply(&patient.replace("DIR", dir.to_str().unwrap()));
    instance.wait_running("stubborn");
    // Would be given up long before the grace period is over.
    instance.force_delete("stubborn");
    instance.podctl(&["get", "pod", "stubborn"]).fails(1, "pods \"stubborn\" not found");
    instance.assert_nothing_left();
}

#[test]
fn damaged_files_hinder_no_other_pod_and_go_by_force() {
    let Some(instance) = Instance::new("damaged") else { return };
    let pod = |name: &str| TWO.replace("name: two", &format!("name: {name}"));
    for name in ["lease", "wanted", "all", "sound"] {
        instance.apply(&pod(name));
        instance.wait_running(name);
    }
    let uid = |name: &str| instance.get(name)["metadata"]["uid"].as_str().unwrap().to_owned();
    std::fs::write(instance.root().join("lib/network/pods").join(uid("lease")), "{}").unwrap();
    instance.kill_monitor("all");
    for (name, file) in [("wanted", "pod.json"), ("all", "pod.json"), ("all", "status.json")] {
        std::fs::write(instance.pod_dir(name).join(file), "damaged").unwrap();
    }
    let listed = instance.podctl(&["get", "pods", "-o", "name"]);
    assert_eq!(listed.ok(), "pod/lease\npod/sound\n");
    let warned = instance.podctl(&["get", "pods"]).err;
    let lines: Vec<&str> = warned.lines().collect();
    assert_eq!(lines.len(), 2, "{warned}");
    assert!(lines.iter().all(|line| line.starts_with("Warning: pod default/")), "{warned}");
    instance.podctl(&["gc"]).fails(1, "cannot be read");
    for name in ["lease", "wanted", "all"] {
        instance.podctl(&["delete", "pod", name, "--force"]).ok();
    }
    assert_eq!(instance.podctl(&["get", "pods", "-o", "name"]).ok(), "pod/sound\n");
    instance.force_delete("sound");
    instance.assert_nothing_left();
}

#[test]
fn damaged_objects_hinder_no_other_one_and_go_by_force() {
    let Some(instance) = Instance::new("objects") else { return };
    for (kind, args) in [("configmap", vec!["configmap"]), ("secret", vec!["secret", "generic"])] {
        for name in ["bad", "good"] {
            instance.podctl(&[&["create"], &args[..], &[name, "--from-literal=a=b"]].concat()).ok();
        }
        let file = format!("lib/objects/{kind}s/default/bad.json");
        std::fs::write(instance.root().join(file), "damaged").unwrap();
        let Done { status, out, err } = instance.podctl(&["get", kind, "-o", "name"]);
        assert_eq!((status, out), (0, format!("{kind}/good\n")));
        let warning = format!("Warning: {kind} default/bad cannot be read: ");
        assert!(err.starts_with(&warning) && err.contains("--force` removes it"), "{err}");
        instance.podctl(&["delete", kind, "bad"]).fails(1, "decode ");
        instance.podctl(&["delete", kind, "bad", "good", "--force"]).ok();
    }
    instance.assert_nothing_left();
}

#[test]
fn a_hundred_pods_leave_nothing() {
    let Some(instance) = Instance::new("cycles") else { return };
    for _ in 0..100 {
        instance.apply(TWO);
        instance.wait_running("two");
        instance.force_delete("two");
    }
    instance.assert_nothing_left();
}

#[test]
fn a_pod_deleted_while_it_starts_leaves_nothing() {
    let Some(instance) = Instance::new("early") else { return };
    for _ in 0..10 {
        instance.apply(TWO);
        instance.force_delete("two");
        instance.assert_nothing_left();
    }
}

#[test]
fn a_name_can_be_used_again_at_once() {
    let Some(instance) = Instance::new("again") else { return };
    for _ in 0..5 {
        instance.apply(TWO);
        let uid = instance.get("two")["metadata"]["uid"].clone();
        instance.force_delete("two");
        instance.apply(TWO);
        assert_ne!(instance.get("two")["metadata"]["uid"], uid);
        instance.wait_running("two");
        instance.force_delete("two");
    }
}

#[test]
fn a_volume_deeper_than_any_path_goes_too() {
    let Some(instance) = Instance::new("deep") else { return };
    instance.apply(TWO);
    instance.wait_running("two");
    let dig = "cd /data; exec perl -e 'for (1..3000) { mkdir \"d\" or die; chdir \"d\" or die }'";
    instance.sh("two", "side", dig);
    instance.delete("two");
    instance.assert_nothing_left();
}
