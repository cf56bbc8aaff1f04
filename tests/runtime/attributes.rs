//! What programs inherit: scheduling, processors, memory policy, personality, clocks.

use super::common::Case;
use serde_json::json;

/// What chrt(1) says of a process.
fn scheduling(pid: i32) -> String {
    let out = std::process::Command::new("chrt").args(["-p", &pid.to_string()]).output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn scheduling_and_io_priority() {
    let show = "ionice -p $$; cut -d' ' -f19 /proc/self/stat";
    let Some(mut case) = Case::script("sched", show) else { return };
    let process = &mut case.config["process"];
    process["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7, "priority": 0});
    process["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 4});
    assert_eq!(case.run().ok(), "best-effort: prio 4\n7\n");
    case.args(&["sleep", "1000"]);
    assert!(scheduling(case.up()).contains("SCHED_BATCH"));
    assert_eq!(case.exec(show).ok(), "best-effort: prio 4\n7\n", "of exec too");
    let process = json!({"cwd": "/", "args": ["sleep", "1000"], "env": ["PATH=/bin"],
        "scheduler": {"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"],
        "runtime": 42_000_000, "deadline": 100_000_000, "period": 1_000_000_000}});
    let (file, pid) = (case.path("process.json"), case.path("exec.pid"));
    std::fs::write(&file, process.to_string()).unwrap();
    let args = ["exec", "-d", "--process", file.to_str().unwrap(), "--pid-file"];
    let done = case.runp(&[&args[..], &[pid.to_str().unwrap(), &case.id]].concat());
    if done.status == 0 {
        let pid = std::fs::read_to_string(pid).unwrap().parse().unwrap();
        assert!(scheduling(pid).contains("42000000/100000000/1000000000"), "{done:?}");
    } else {
        // Deadlines are granted only to those who may run on every processor there is.
        assert!(done.err.contains("set scheduling policy 6"), "{done:?}");
        assert!(done.err.contains("can't be used together with AllowedCPUs"), "{done:?}");
    }
    case.config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "priority": 3});
    let done = case.runp(&["run", "other"]);
    done.fails(1, "process.scheduler.priority: only for SCHED_FIFO and SCHED_RR");
}

#[test]
fn a_container_runs_on_all_processors_and_exec_on_those_it_is_told_to() {
    let show = "grep Cpus_allowed_list /proc/self/status | cut -f2";
    let Some(mut case) = Case::script("cpus", show) else { return };
    let all = case.run().ok();
    let run = case.command(&["run", &case.id]);
    let mut pinned = std::process::Command::new("taskset");
    pinned.args(["-c", "0"]).arg(run.get_program()).args(run.get_args());
    pinned.current_dir(case.path("bundle"));
    assert_eq!(case.finish(&mut pinned).ok(), all, "not those of the runtime");
    case.args(&["sleep", "1000"]);
    case.config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    case.up();
    assert_eq!(case.exec(show).ok(), "0\n");
    let init = "grep Cpus_allowed_list /proc/1/status | cut -f2".to_string();
    assert_eq!(case.exec(&init).ok(), all, "not of the init process");
}

#[test]
fn memory_policy_and_personality() {
    let script = "head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2; uname -m";
    let Some(mut case) = Case::script("numa", script) else { return };
    let linux = &mut case.config["linux"];
    linux["memoryPolicy"] =
        json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    linux["personality"] = json!({"domain": "LINUX32"});
    // Also where programs may not do it themselves.
    linux["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO"}]});
    assert_eq!(case.run().ok(), "bind=static:0\ni686\n");
    let good = case.config.clone();
    case.config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_DEFAULT"});
    assert_eq!(case.run().ok(), "default\ni686\n");
    for (policy, said) in [
        (json!({}), "invalid memory policy mode"),
        (json!({"mode": "INTERLEAVE"}), "linux.memoryPolicy.mode: invalid memory policy mode"),
        (json!({"mode": "MPOL_BIND", "flags": ["x"]}), "flags[0]: invalid memory policy flag"),
        (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "mode requires 0 nodes but got 8"),
        (json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}), "invalid memory policy node"),
        (json!({"mode": "MPOL_BIND"}), "requires at least one node"),
    ] {
        case.config["linux"]["memoryPolicy"] = policy;
        case.run().fails(1, said);
    }
    case.config = good;
    case.args(&["sleep", "1000"]);
    case.up();
    assert_eq!(case.exec(script).ok(), "bind=static:0\ni686\n");
}

#[test]
fn clocks_of_a_time_namespace_are_set_off() {
    let script = "cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime";
    let Some(mut case) = Case::script("time", script) else { return };
    case.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1}});
    case.run().fails(1, "linux.timeOffsets: time namespace offsets specified");
    case.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
    let offsets = |text: &str| -> Vec<i64> {
        text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    case.config["linux"]["timeOffsets"] = serde_json::Value::Null;
    assert_eq!(offsets(&case.run().ok())[..4], [0; 4]);
    case.config["linux"]["timeOffsets"] = json!({
        "monotonic": {"secs": 7881, "nanosecs": 2_718_281},
        "boottime": {"secs": 100_000_000, "nanosecs": 3_141_519}});
    let seen = offsets(&case.run().ok());
    assert_eq!(seen[..4], [7881, 2_718_281, 100_000_000, 3_141_519]);
    assert!(seen[4] > 100_000_000, "{seen:?}");
    case.args(&["sleep", "1000"]);
    case.up();
    assert_eq!(offsets(&case.exec(script).ok())[..2], [7881, 2_718_281]);
    case.runp(&["delete", "-f", &case.id]).ok();
    case.args(&["sh", "-c", script]);
    case.config["linux"]["timeOffsets"]["tai"] = json!({"secs": 1});
    case.run().fails(1, "linux.timeOffsets: \"tai\" is no clock with an offset");
    case.assert_nothing_left();
}

#[test]
fn clocks_of_a_time_namespace_in_a_user_namespace() {
    let Some(mut case) = Case::script("time-user", "cat /proc/self/timens_offsets") else { return };
    let namespaces = case.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.extend([json!({"type": "time"}), json!({"type": "user"})]);
    for name in ["uidMappings", "gidMappings"] {
        case.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    for path in [case.path(""), case.path("bundle")] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::os::unix::fs::chown(case.rootfs(), Some(100_000), Some(100_000)).unwrap();
    case.config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 77}});
    let process = &mut case.config["process"];
    process["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 1});
    process["scheduler"] = json!({"policy": "SCHED_BATCH"});
    let out = case.run().ok();
    assert!(out.split_whitespace().any(|word| word == "77"), "{out}");
}
