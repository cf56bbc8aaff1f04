//! Limits, as the kernel has them, and the cgroup's end.

use super::common::{Case, has_exited, wait_until};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the case's cgroup: `v1` in the hierarchy of `controller`, or `v2`.
fn value(case: &Case, controller: &str, v1: &str, v2: &str) -> String {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let path: PathBuf = match unified {
        true => format!("/sys/fs/cgroup/{}/{v2}", case.id).into(),
        false => format!("/sys/fs/cgroup/{controller}/{}/{v1}", case.id).into(),
    };
    let read = fs::read_to_string(&path);
    read.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

#[test]
fn limits_are_set() {
    let Some(mut case) = Case::new("limits") else { return };
    case.args(&["sleep", "1000"]);
    case.config["linux"]["resources"] = json!({
        "devices": [{"allow": false, "access": "rwm"}],
        "memory": {"limit": 64 << 20, "reservation": 32 << 20},
        "cpu": {"quota": 50_000, "period": 100_000, "shares": 512, "cpus": "0"},
        "pids": {"limit": 33},
    });
    case.up();
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert_eq!(value(&case, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(value(&case, "memory", "memory.soft_limit_in_bytes", "memory.low"), "33554432");
    assert_eq!(value(&case, "pids", "pids.max", "pids.max"), "33");
    assert_eq!(value(&case, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    if unified {
        assert_eq!(value(&case, "cpu", "", "cpu.max"), "50000 100000");
    } else {
        assert_eq!(value(&case, "cpu", "cpu.cfs_quota_us", ""), "50000");
        assert_eq!(value(&case, "cpu", "cpu.cfs_period_us", ""), "100000");
        assert_eq!(value(&case, "cpu", "cpu.shares", ""), "512");
    }
}

#[test]
fn a_container_starts_in_half_a_mebibyte() {
    let Some(mut case) = Case::script("tiny", "echo started") else { return };
    case.config["linux"]["resources"]["memory"] = json!({"limit": 512 << 10});
    assert_eq!(case.run().ok(), "started\n");
}

#[test]
fn the_limit_of_processes_holds() {
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all";
    let Some(mut case) = Case::script("pids", script) else { return };
    case.config["linux"]["resources"]["pids"] = json!({"limit": 4});
    let done = case.run();
    assert!(!done.out.contains("all") || done.err.contains("fork"), "{done:?}");
}

#[test]
fn every_process_is_in_the_cgroup_from_the_start() {
    let Some(case) = Case::script("inside", "cat /proc/self/cgroup; cat /proc/1/cgroup") else {
        return;
    };
    let out = case.run().ok();
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    // A hybrid host's v2 tree holds no controllers, and not everyone uses it.
    for line in out.lines().filter(|line| unified || !line.starts_with("0::")) {
        assert!(line.ends_with(&format!("/{}", case.id)), "{line}");
    }
}

#[test]
fn a_relative_path_and_none() {
    let Some(mut case) = Case::script("path", "cat /proc/self/cgroup") else { return };
    for path in [Some("relative/inner"), None] {
        match path {
            Some(path) => {
                case.config["linux"]["cgroupsPath"] = json!(format!("{}-{path}", case.id))
            }
            None => drop(case.config["linux"].as_object_mut().unwrap().remove("cgroupsPath")),
        }
        let out = case.run().ok();
        assert!(out.contains(&case.id), "{path:?}: {out}");
        // A parent that cgroupsPath names may stay; it is empty.
        case.remove_cgroup_parents();
    }
}

#[test]
fn a_cgroup_with_processes_is_not_taken() {
    let Some(mut first) = Case::new("owner") else { return };
    first.args(&["sleep", "1000"]);
    let pid = first.up();
    let Some(mut second) = Case::script("thief", "true") else { return };
    second.config["linux"]["cgroupsPath"] = first.config["linux"]["cgroupsPath"].clone();
    second.run().fails(1, "cgroup");
    second.assert_nothing_left();
    assert_eq!(first.status(), "running");
    assert!(Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn what_a_container_leaves_running_goes_with_its_cgroup() {
    let script = "setsid sleep 1000 & sleep 1000 & echo up; exit 0";
    let Some(mut case) = Case::script("orphans", script) else { return };
    case.without_namespace("pid");
    let pid = case.up();
    assert!(has_exited(pid));
    wait_until(&case.path(""), || case.output_of(0).contains("up").then_some(()));
    assert_eq!(case.status(), "stopped");
    case.runp(&["delete", &case.id]).ok();
    case.assert_nothing_left();
}

#[test]
fn cgroups_made_inside_go_too() {
    let script = "mkdir /sys/fs/cgroup/pids/inner /sys/fs/cgroup/inner 2>/dev/null; sleep 1000";
    let Some(mut case) = Case::script("nested", script) else { return };
    for mount in case.config["mounts"].as_array_mut().unwrap() {
        if mount["type"] == "cgroup" {
            mount["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
        }
    }
    case.up();
    case.runp(&["delete", "-f", &case.id]).ok();
    case.assert_nothing_left();
}

#[test]
fn bad_limits_name_themselves() {
    let table = [
        (json!({"memory": {"limit": 1}}), "memory"),
        (json!({"cpu": {"period": 1}}), "cpu"),
        (json!({"cpu": {"cpus": "99"}}), "cpu"),
        (json!({"unified": {"nonsense.max": "1"}}), "unified"),
    ];
    let Some(mut case) = Case::script("bad-limit", "true") else { return };
    for (resources, said) in table {
        case.config["linux"]["resources"] = resources.clone();
        let done = case.run();
        if resources["memory"] == json!({"limit": 1}) && done.status == 137 {
            continue; // taken by the kernel, and its OOM killer did the rest
        }
        assert_eq!(done.status, 1, "{resources}: {done:?}");
        assert!(done.err.contains(said), "{resources}: {done:?}");
        case.assert_nothing_left();
    }
}
