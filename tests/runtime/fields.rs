//! Every field of the specification's schema for Linux (1.3): set, it changes what is planned, what
//! is recorded or what the cgroup says, or is refused by its name. None is passed over.

use super::common::Case;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// `field  value  [| field value, which it needs]`. Values that no kernel takes show that the field
/// is looked at, where this machine might lack what a good one asks for.
const FIELDS: &str = r#"
ociVersion                      "2.0.0"
root.path                       "other"
root.readonly                   false
hostname                        "other"
domainname                      "other"
annotations                     {"key": "value"}
mounts                          [{"destination": "/other", "type": "tmpfs", "source": "x"}]
mounts                          [{"destination": "/m", "type": "bind", "source": "/", "options": ["idmap"], "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}], "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}]
process.terminal                true
process.consoleSize             {"height": 70000, "width": 3} | process.terminal true
process.cwd                     "/tmp"
process.args                    ["other"]
process.env                     ["none"]
process.user.uid                7
process.user.gid                7
process.user.umask              7
process.user.additionalGids     [7]
process.capabilities.bounding   ["CAP_KILL"]
process.capabilities.effective  []
process.capabilities.permitted  []
process.capabilities.inheritable ["CAP_KILL"]
process.capabilities.ambient    ["CAP_KILL"] | process.capabilities.inheritable ["CAP_KILL"]
process.rlimits                 [{"type": "RLIMIT_NOFILE", "hard": 9, "soft": 8}]
process.noNewPrivileges         false
process.apparmorProfile         "none"
process.selinuxLabel            "none"
process.oomScoreAdj             10
process.scheduler               {"policy": "SCHED_BATCH"}
process.scheduler.nice          1 | process.scheduler {"policy": "SCHED_BATCH"}
process.scheduler.priority      1 | process.scheduler {"policy": "SCHED_FIFO"}
process.scheduler.flags         ["SCHED_FLAG_RECLAIM"] | process.scheduler {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}
process.scheduler.runtime       7 | process.scheduler {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}
process.scheduler.deadline      7 | process.scheduler {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}
process.scheduler.period        7 | process.scheduler {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}
process.ioPriority              {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
process.ioPriority.priority     1 | process.ioPriority {"class": "IOPRIO_CLASS_BE", "priority": 0}
hooks.prestart                  [{"path": "/bin/true"}]
hooks.createRuntime             [{"path": "/bin/true"}]
hooks.createContainer           [{"path": "/bin/true"}]
hooks.startContainer            [{"path": "/bin/true"}]
hooks.startContainer            [{"path": "/bin/true", "timeout": 1}] | hooks.startContainer [{"path": "/bin/true"}]
hooks.poststart                 [{"path": "/bin/true"}]
hooks.poststart                 [{"path": "/bin/true", "args": ["a"]}] | hooks.poststart [{"path": "/bin/true"}]
hooks.poststop                  [{"path": "/bin/true"}]
hooks.poststop                  [{"path": "/bin/true", "env": ["A=B"]}] | hooks.poststop [{"path": "/bin/true"}]
linux.namespaces                [{"type": "mount"}, {"type": "uts"}, {"type": "pid"}]
linux.namespaces                [{"type": "mount"}, {"type": "uts", "path": "/not/there"}]
linux.uidMappings               [{"containerID": 0, "hostID": 0, "size": 1}]
linux.gidMappings               [{"containerID": 0, "hostID": 0, "size": 1}]
linux.timeOffsets.monotonic.secs 7
linux.timeOffsets.boottime.nanosecs 7
linux.devices                   [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3, "fileMode": 384, "uid": 1, "gid": 2}]
linux.cgroupsPath               "/CASE/other"
linux.rootfsPropagation         "shared"
linux.mountLabel                "none"
linux.maskedPaths               ["/proc/other"]
linux.readonlyPaths             ["/proc/other"]
linux.sysctl                    {"net.ipv4.ip_forward": "1"}
linux.netDevices                {"none": {"name": "other"}}
linux.personality.domain        "LINUX32"
linux.personality.flags         ["NONE"] | linux.personality.domain "LINUX"
linux.memoryPolicy              {"mode": "MPOL_BIND", "nodes": "0"}
linux.memoryPolicy.flags        ["MPOL_F_STATIC_NODES"] | linux.memoryPolicy {"mode": "MPOL_BIND", "nodes": "0"}
linux.intelRdt.closID           "none"
linux.intelRdt.schemata         ["L3:0=f"]
linux.intelRdt.l3CacheSchema    "L3:0=f"
linux.intelRdt.memBwSchema      "MB:0=20"
linux.intelRdt.enableMonitoring true
linux.seccomp                   {"defaultAction": "SCMP_ACT_ALLOW"}
linux.seccomp.defaultAction     "NONE"
linux.seccomp.defaultErrnoRet   -1 | linux.seccomp {"defaultAction": "SCMP_ACT_ALLOW"}
linux.seccomp.architectures     ["NONE"] | linux.seccomp {"defaultAction": "SCMP_ACT_ALLOW"}
linux.seccomp.flags             ["NONE"] | linux.seccomp {"defaultAction": "SCMP_ACT_ALLOW"}
linux.seccomp.listenerPath      "/none" | linux.seccomp {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/other", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}
linux.seccomp.syscalls          [{"names": ["read"], "action": "NONE"}] | linux.seccomp {"defaultAction": "SCMP_ACT_ALLOW"}
linux.seccomp.syscalls          [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": -1}] | linux.seccomp {"defaultAction": "SCMP_ACT_ALLOW"}
linux.seccomp.syscalls          [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 9, "op": "SCMP_CMP_EQ", "value": 1}]}] | linux.seccomp {"defaultAction": "SCMP_ACT_ALLOW"}
linux.seccomp.syscalls          [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "op": "NONE", "value": 1}]}] | linux.seccomp {"defaultAction": "SCMP_ACT_ALLOW"}
linux.resources.cpu.shares      512
linux.resources.cpu.quota       50000
linux.resources.cpu.period      50000
linux.resources.cpu.burst       1000 | linux.resources.cpu.quota 50000
linux.resources.cpu.realtimeRuntime 940000
linux.resources.cpu.realtimePeriod 999999
linux.resources.cpu.cpus        "1023"
linux.resources.cpu.mems        "1023"
linux.resources.cpu.idle        1
linux.resources.pids.limit      77
linux.resources.memory.limit    67108864
linux.resources.memory.reservation 33554432
linux.resources.memory.swap     134217728 | linux.resources.memory.limit 67108864
linux.resources.memory.swappiness 10
linux.resources.memory.disableOOMKiller true
linux.resources.memory.kernelTCP 33554432
linux.resources.memory.useHierarchy false
linux.resources.blockIO.weight  500
linux.resources.blockIO.leafWeight 500
linux.resources.blockIO.weightDevice [{"major": 4095, "minor": 1, "weight": 500}]
linux.resources.blockIO.weightDevice [{"major": 4095, "minor": 1, "leafWeight": 500}]
linux.resources.blockIO.throttleReadBpsDevice [{"major": 4095, "minor": 1, "rate": 500}]
linux.resources.blockIO.throttleWriteBpsDevice [{"major": 4095, "minor": 1, "rate": 500}]
linux.resources.blockIO.throttleReadIOPSDevice [{"major": 4095, "minor": 1, "rate": 500}]
linux.resources.blockIO.throttleWriteIOPSDevice [{"major": 4095, "minor": 1, "rate": 500}]
linux.resources.hugepageLimits  [{"pageSize": "2MB", "limit": 2097152}]
linux.resources.hugepageLimits  [{"pageSize": "3MB", "limit": 2097152}]
linux.resources.network.classID 7
linux.resources.network.priorities [{"name": "lo", "priority": 7}]
linux.resources.rdma            {"none": {"hcaHandles": 1, "hcaObjects": 2}}
linux.resources.unified         {"none.max": "1"}
"#;

/// Sets the field `path`, whose parents are made if missing.
fn set(config: &mut Value, path: &str, value: Value) {
    let mut at = config;
    for name in path.split('.') {
        if at.is_null() {
            *at = serde_json::json!({});
        }
        at = at.as_object_mut().unwrap().entry(name).or_insert(Value::Null);
    }
    *at = value;
}

/// The record and the cgroup's settings, or why it was not created.
type Made = (String, BTreeMap<String, String>);

fn explained(case: &Case) -> String {
    let done = case.runp(&["explain"]);
    format!("{}{}", done.out, done.err)
}

fn created(case: &Case) -> Made {
    let done = case.runp(&["create", &case.id]);
    let records = fs::read_to_string(case.path("state").join(&case.id).join("state.json"));
    // The last one counts.
    let record = records.unwrap_or_default().lines().last().map(serde_json::from_str);
    let mut record: Value = record.map_or(Value::Null, Result::unwrap);
    for changing in ["pid", "startTime", "created", "afterStart"] {
        record[changing] = Value::Null;
    }
    let mut settings = BTreeMap::new();
    read_settings(Path::new("/sys/fs/cgroup"), &case.id, 2, &mut settings);
    case.runp(&["delete", "--force", &case.id]).ok();
    (format!("{record}{}", message(&done.err)), settings)
}

/// An error without its time.
fn message(log: &str) -> String {
    log.lines().map(|line| line.split_once(" level=").map_or(line, |(_, rest)| rest)).collect()
}

fn read_settings(dir: &Path, id: &str, depth: usize, found: &mut BTreeMap<String, String>) {
    let changing = [
        "usage", "stat", "current", "pressure", "procs", "tasks", "threads", "peak", "_time",
        ".time",
    ];
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let path = entry.path();
        let own = path.components().any(|part| part.as_os_str() == id);
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true if own || depth > 0 => read_settings(&path, id, depth.saturating_sub(1), found),
            false if own && !changing.iter().any(|word| name.contains(word)) => {
                let text = fs::read_to_string(&path).unwrap_or_default();
                found.insert(path.display().to_string(), text);
            }
            _ => {}
        }
    }
}

#[test]
fn no_field_is_passed_over() {
    let Some(mut case) = Case::script("fields", "true") else { return };
    case.config["root"]["readonly"] = Value::from(true);
    let base = case.config.clone();
    assert_eq!(created(&case), created(&case), "differences are the fields'");
    let mut wrong = Vec::new();
    let mut plain: BTreeMap<&str, (String, Option<Made>)> = BTreeMap::new();
    for line in FIELDS.lines().filter(|line| !line.is_empty()) {
        let (field, needed) = line.split_once(" | ").unwrap_or((line, ""));
        let (path, value) = field.split_once(' ').unwrap();
        let value = value.trim().replace("CASE", &case.id);
        case.config = base.clone();
        if let Some((path, value)) = needed.split_once(' ') {
            set(&mut case.config, path, serde_json::from_str(value).unwrap());
        }
        let without = plain.entry(needed).or_insert_with(|| (explained(&case), None));
        let config_without = case.config.clone();
        set(&mut case.config, path, serde_json::from_str(&value).unwrap());
        let plan = explained(&case);
        // That there are limits shows in a plan, but not which.
        let shown = !path.starts_with("linux.resources") && message(&plan) != message(&without.0);
        if shown && is_named_if_refused(&plan, path) {
            continue;
        }
        let with = created(&case);
        case.config = config_without;
        let without = without.1.get_or_insert_with(|| created(&case));
        if &with == without {
            wrong.push(format!("{field} is passed over"));
        } else if !is_named_if_refused(&with.0, path) {
            wrong.push(format!("{field} is refused without its name: {}", with.0));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The same of `update -r`: each limit holds then, or is refused by its name.
#[test]
fn no_limit_of_an_update_is_passed_over() {
    let Some(mut case) = Case::new("update-fields") else { return };
    case.args(&["sleep", "1000"]);
    case.up();
    let settings = || {
        let mut settings = BTreeMap::new();
        read_settings(Path::new("/sys/fs/cgroup"), &case.id, 2, &mut settings);
        settings
    };
    let file = case.path("limits");
    let update = |limits: &Value| {
        fs::write(&file, limits.to_string()).unwrap();
        case.runp(&["update", "-r", file.to_str().unwrap(), &case.id])
    };
    for line in FIELDS.lines() {
        let Some(field) = line.strip_prefix("linux.resources.") else { continue };
        let (field, needed) = field.split_once(" | linux.resources.").unwrap_or((field, ""));
        let mut limits = Value::Null;
        for field in [needed, field] {
            if let Some((path, value)) = field.split_once(' ') {
                set(&mut limits, path, serde_json::from_str(value).unwrap());
            }
        }
        let before = settings();
        let done = update(&limits);
        let (path, _) = field.split_once(' ').unwrap();
        let named = done.status == 1 && is_named_if_refused(&done.err, path);
        let ignored = done.err.contains("Kernel memory settings are ignored");
        assert!(named || ignored || settings() != before, "{field}: {done:?}");
    }
}

/// Each word of the path, in its order, as `mounts[0].options` has them.
fn is_named_if_refused(said: &str, path: &str) -> bool {
    if !said.contains("level=error") {
        return true;
    }
    let known = ["ociVersion", "annotations", "linux.cgroupsPath"];
    let last = path.rsplit('.').next().unwrap();
    known.contains(&path) || said.contains(last)
}
