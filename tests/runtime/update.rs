//! update: other limits for a container that runs.

use super::common::{Case, has_exited};
use serde_json::json;
use std::fs;
use std::path::Path;

fn v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The value of a limit, whatever the kind of host: `v1` stands below the hierarchy of its name.
fn value(case: &Case, v1: &str, v2_name: &str) -> String {
    let controller = v1.split('.').next().unwrap();
    let path = match v2() {
        true => format!("/sys/fs/cgroup/{}/{v2_name}", case.id),
        false => format!("/sys/fs/cgroup/{controller}/{}/{v1}", case.id),
    };
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}

fn up(name: &str) -> Option<(Case, i32)> {
    let mut case = Case::new(name)?;
    case.args(&["sleep", "1000"]);
    case.config["linux"]["resources"] = json!({
        "memory": {"limit": 32 << 20, "reservation": 24 << 20},
        "cpu": {"shares": 100, "quota": 500_000, "period": 1_000_000},
        "pids": {"limit": 20},
    });
    let pid = case.up();
    Some((case, pid))
}

/// Quota and period.
fn bandwidth(case: &Case) -> String {
    match v2() {
        true => value(case, "", "cpu.max").replace("max", "-1"),
        false => {
            let quota = value(case, "cpu.cfs_quota_us", "");
            format!("{quota} {}", value(case, "cpu.cfs_period_us", ""))
        }
    }
}

#[test]
fn flags() {
    let Some((case, _)) = up("update") else { return };
    let update = |args: &[&str]| {
        let line: Vec<&str> = ["update", &case.id].iter().chain(args).copied().collect();
        case.runp(&line).ok();
    };
    for (args, bandwidth_then) in [
        (&["--cpu-period", "900000"][..], "500000 900000"),
        (&["--cpu-quota", "600000"], "600000 900000"),
        (&["--cpu-quota", "-1"], "-1 900000"),
        (&["--cpu-quota", "3000", "--cpu-period", "10000"], "3000 10000"),
        (&["--pids-limit", "10", "--cpu-share", "200"], "3000 10000"),
    ] {
        update(args);
        assert_eq!(bandwidth(&case), bandwidth_then, "{args:?}");
    }
    assert_eq!(value(&case, "pids.max", "pids.max"), "10");
    if !v2() {
        assert_eq!(value(&case, "cpu.shares", ""), "200");
    }
    for (args, memory) in
        [(["--memory", "64M"], "67108864"), (["--memory", "52428800"], "52428800")]
    {
        update(&args);
        assert_eq!(value(&case, "memory.limit_in_bytes", "memory.max"), memory);
    }
    update(&["--memory", "-1", "--pids-limit", "-1"]);
    let lifted = value(&case, "memory.limit_in_bytes", "memory.max");
    assert!(["max", "9223372036854771712"].contains(&lifted.as_str()), "{lifted}");
    assert_eq!(value(&case, "pids.max", "pids.max"), "max");
    update(&["--pids-limit", "0", "--cpuset-cpus", "0", "--cpu-idle", "1"]);
    assert_eq!(value(&case, "pids.max", "pids.max"), "1", "0 is as little as there can be");
    assert_eq!(value(&case, "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(value(&case, "cpu.idle", "cpu.idle"), "1");
}

#[test]
fn from_a_file_and_from_standard_input() {
    let Some((case, _)) = up("update-file") else { return };
    let limits = |memory: i64| json!({"memory": {"limit": memory}, "pids": {"limit": 7}});
    fs::write(case.path("limits.json"), limits(40 << 20).to_string()).unwrap();
    let file = case.path("limits.json");
    case.runp(&["update", "-r", file.to_str().unwrap(), &case.id]).ok();
    assert_eq!(value(&case, "memory.limit_in_bytes", "memory.max"), "41943040");
    assert_eq!(value(&case, "pids.max", "pids.max"), "7");
    fs::write(&file, limits(44 << 20).to_string()).unwrap();
    let mut command = case.command(&["update", "--resources", "-", &case.id]);
    case.finish(command.stdin(fs::File::open(&file).unwrap())).ok();
    assert_eq!(value(&case, "memory.limit_in_bytes", "memory.max"), "46137344");
    fs::write(&file, r#"{"cpu": {"shares": "many"}, "pids": {}}"#).unwrap();
    case.runp(&["update", "-r", file.to_str().unwrap(), &case.id]).fails(1, "cpu.shares: invalid");
    fs::write(&file, r#"{"pids": {}}"#).unwrap();
    case.runp(&["update", "-r", file.to_str().unwrap(), &case.id]).ok();
    assert_eq!(value(&case, "pids.max", "pids.max"), "7", "no limit named is no limit of none");
}

#[test]
fn what_is_refused_leaves_the_limits_of_before() {
    let Some((case, pid)) = up("update-bad") else { return };
    let bad = ["update", "--pids-limit", "5", "--cpu-share", "300", "--memory", "1"];
    let mut line = bad.to_vec();
    line.extend(["--cpuset-cpus", "4096", &case.id]);
    case.runp(&line).fails(1, "linux.resources.cpu.cpus");
    assert_eq!(value(&case, "pids.max", "pids.max"), "20");
    assert_eq!(bandwidth(&case), "500000 1000000");
    if !v2() {
        assert_eq!(value(&case, "cpu.shares", ""), "100");
    }
    case.runp(&["update", "--memory", "5x", &case.id]).fails(1, "invalid size: '5x'");
    case.runp(&["update", "--l3-cache-schema", "x", &case.id]).fails(1, "is not enabled");
    assert_eq!(case.status(), "running");
    case.runp(&["kill", &case.id, "KILL"]).ok();
    assert!(has_exited(pid));
    case.runp(&["update", "--pids-limit", "5", &case.id]).fails(1, "container not running");
}

#[test]
fn a_paused_container_stays_paused() {
    let Some((case, _)) = up("update-paused") else { return };
    case.runp(&["pause", &case.id]).ok();
    case.runp(&["update", "--pids-limit", "30", &case.id]).ok();
    assert_eq!(value(&case, "pids.max", "pids.max"), "30");
    assert_eq!(case.status(), "paused");
}
