//! Real cgroups of this host, as root: made, entered, limited, frozen, killed, removed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use oci_spec::runtime::LinuxResources;
use runp::oci::cgroup::{Cgroup, Layout, Mode, enter};
use runp::sys::clone::{Forked, clone3, exit, wait};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The cgroup of one case, gone with it, and its processes too.
struct Case {
    cgroup: Cgroup,
}

impl Case {
    fn new(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIP {name}: needs root");
            return None;
        }
        let path = format!("/runp-test-{name}-{}", std::process::id());
        let cgroup = Cgroup::resolve(&Layout::probe().unwrap(), Some(Path::new(&path)), "id");
        Some(Self { cgroup: cgroup.unwrap() })
    }

    fn spawn(&self, script: &str) -> Child {
        spawn(&self.cgroup, script)
    }

    /// Where `controller`'s files are.
    fn dir(&self, controller: &str) -> std::path::PathBuf {
        let holds = |name: &String| name == controller;
        let mut dirs = self.cgroup.dirs.iter();
        let dir = dirs.find(|dir| self.v2() || dir.controllers.iter().any(holds));
        dir.unwrap_or_else(|| panic!("no {controller} hierarchy")).path()
    }

    fn v2(&self) -> bool {
        self.cgroup.mode == Mode::V2
    }

    fn read(&self, file: &str) -> String {
        let controller = file.split('.').next().unwrap();
        let text = std::fs::read_to_string(self.dir(controller).join(file));
        text.unwrap_or_else(|error| panic!("{file}: {error}")).trim().to_owned()
    }

    fn left(&self) -> usize {
        self.cgroup.dirs.iter().filter(|dir| dir.path().exists()).count()
    }
}

/// A shell that enters the cgroup, then runs `script`: nothing of it starts outside.
fn spawn(cgroup: &Cgroup, script: &str) -> Child {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "read go && eval \"$0\"", script]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    cgroup.join(child.id().cast_signed()).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    child
}

impl Drop for Case {
    fn drop(&mut self) {
        self.cgroup.kill_all(Duration::from_secs(5)).unwrap();
        self.cgroup.remove().unwrap();
        assert_eq!(self.left(), 0);
    }
}

#[test]
fn a_cgroup_is_made_once_and_removed_whole() {
    let Some(case) = Case::new("make") else { return };
    case.cgroup.make(false).unwrap();
    case.cgroup.make(false).unwrap();
    assert_eq!(case.left(), case.cgroup.dirs.len());
    let mut child = case.spawn("exec sleep 60");
    assert_eq!(case.cgroup.pids().unwrap(), [child.id().cast_signed()]);
    let error = case.cgroup.make(false).unwrap_err().to_string();
    assert!(error.ends_with("container's cgroup is not empty: 1 process(es) found"), "{error}");
    case.cgroup.make(true).unwrap();
    case.cgroup.kill_all(Duration::from_secs(5)).unwrap();
    // Killed, not reaped: a zombie does not hold the directories.
    case.cgroup.remove().unwrap();
    case.cgroup.remove().unwrap();
    case.cgroup.kill_all(Duration::from_secs(5)).unwrap();
    assert_eq!(case.left(), 0);
    child.wait().unwrap();
}

#[test]
fn a_frozen_fork_bomb_is_killed() {
    let Some(case) = Case::new("bomb") else { return };
    kill_bomb(&case);
}

/// v1 alone: no kill file, no events, and frozen tasks that no signal reaches.
#[test]
fn a_frozen_fork_bomb_is_killed_without_v2() {
    let Some(mut case) = Case::new("bomb-v1") else { return };
    if case.v2() {
        println!("SKIP a_frozen_fork_bomb_is_killed_without_v2: this host has no v1");
        return;
    }
    case.cgroup.mode = Mode::V1;
    case.cgroup.dirs.retain(|dir| !dir.is_v2());
    kill_bomb(&case);
}

fn kill_bomb(case: &Case) {
    case.cgroup.make(false).unwrap();
    let bomb = "for i in 1 2 3; do (while :; do sleep 60 & sleep 0.01; done) & done; wait";
    let mut child = case.spawn(bomb);
    while case.cgroup.pids().unwrap().len() < 6 {
        std::thread::yield_now();
    }
    case.cgroup.freeze(true).unwrap();
    assert!(case.cgroup.is_frozen().unwrap());
    case.cgroup.freeze(false).unwrap();
    assert!(!case.cgroup.is_frozen().unwrap());
    case.cgroup.freeze(true).unwrap();
    case.cgroup.kill_all(Duration::from_secs(5)).unwrap();
    assert_eq!(case.cgroup.pids().unwrap(), [0; 0]);
    child.wait().unwrap();
}

#[test]
fn a_pod_is_removed_with_what_it_holds() {
    let Some(case) = Case::new("pod") else { return };
    let mut below = case.cgroup.clone();
    for dir in &mut below.dirs {
        dir.below.push("a/b");
    }
    below.make(false).unwrap();
    case.cgroup.remove_if_empty().unwrap();
    assert_eq!(case.left(), case.cgroup.dirs.len(), "not empty, so it stays");
    let mut child = spawn(&below, "exec sleep 60");
    assert_eq!(case.cgroup.pids().unwrap(), [child.id().cast_signed()]);
    case.cgroup.kill_all(Duration::from_secs(5)).unwrap();
    case.cgroup.remove().unwrap();
    assert_eq!(case.left(), 0);
    child.wait().unwrap();
}

/// Our writing to each would have the kernel look at all cpusets and tasks of the machine.
#[test]
fn a_pods_containers_have_their_cpusets_from_the_kernel() {
    let Some(case) = Case::new("cpuset") else { return };
    if case.v2() {
        println!("SKIP a_pods_containers_have_their_cpusets_from_the_kernel: this host has no v1");
        return;
    }
    case.cgroup.make(true).unwrap();
    let (cpus, mems) = (case.read("cpuset.cpus"), case.read("cpuset.mems"));
    let container = case.dir("cpuset").join("container");
    std::fs::create_dir(&container).unwrap();
    let read = |file: &str| std::fs::read_to_string(container.join(file)).unwrap();
    assert_eq!((read("cpuset.cpus").trim(), read("cpuset.mems").trim()), (&*cpus, &*mems));
    assert!(!cpus.is_empty() && !mems.is_empty());
    case.cgroup.remove().unwrap();
    assert_eq!(case.left(), 0);
}

#[test]
fn a_child_is_born_inside_and_enters_the_rest() {
    let Some(case) = Case::new("enter") else { return };
    case.cgroup.make(false).unwrap();
    let tree = case.cgroup.clone_into().unwrap();
    let tasks = case.cgroup.tasks().unwrap();
    let Forked::Parent { pid, pidfd } = clone3(0, tree.as_ref().map(AsFd::as_fd)).unwrap() else {
        // Nothing but system calls: this process has threads.
        if enter(&tasks).is_err() {
            exit(1);
        }
        nix::unistd::pause();
        exit(2);
    };
    let asleep = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") S");
    while !asleep() {
        std::thread::yield_now();
    }
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    for dir in &case.cgroup.dirs {
        let line = format!(":{}:/{}\n", dir.controllers.join(","), dir.below.display());
        assert!(own.contains(&line), "{line} is not in {own}");
    }
    assert_eq!(case.cgroup.pids().unwrap(), [pid]);
    case.cgroup.kill_all(Duration::from_secs(5)).unwrap();
    assert_eq!(wait(&pidfd).unwrap(), 128 + 9);
}

fn resources(json: serde_json::Value) -> LinuxResources {
    serde_json::from_value(json).unwrap()
}

/// cgroups-rs knows nothing of ours and finds the same limits in the same cgroup.
fn another_reader_agrees(case: &Case) {
    use cgroups_rs::fs::{MaxValue, cpu::CpuController, memory::MemController, pid::PidController};
    let below = &case.cgroup.dirs[0].below;
    let relative = below.strip_prefix("/").unwrap_or(below);
    let read = cgroups_rs::fs::Cgroup::load(cgroups_rs::fs::hierarchies::auto(), relative);
    let memory: &MemController = read.controller_of().unwrap();
    assert_eq!(memory.memory_stat().limit_in_bytes, 33_554_432);
    let cpu: &CpuController = read.controller_of().unwrap();
    assert_eq!(cpu.shares().unwrap(), if case.v2() { 59 } else { 512 });
    let pids: &PidController = read.controller_of().unwrap();
    assert_eq!(pids.get_pid_max().unwrap(), MaxValue::Value(42));
}

#[test]
fn limits_hold_in_the_files() {
    let Some(case) = Case::new("limits") else { return };
    case.cgroup.make(false).unwrap();
    let limits = serde_json::json!({
        "cpu": {"shares": 512, "quota": 20000, "period": 50000, "burst": 5000, "cpus": "0", "mems": "0"},
        "memory": {"limit": 33554432, "swap": 50331648, "reservation": 16777216},
        "pids": {"limit": 42},
    });
    case.cgroup.set(&resources(limits)).unwrap();
    let expected: &[(&str, &str)] = if case.v2() {
        &[
            ("cpu.weight", "59"),
            ("cpu.max", "20000 50000"),
            ("cpu.max.burst", "5000"),
            ("memory.max", "33554432"),
            ("memory.swap.max", "16777216"),
            ("memory.low", "16777216"),
        ]
    } else {
        &[
            ("cpu.shares", "512"),
            ("cpu.cfs_quota_us", "20000"),
            ("cpu.cfs_period_us", "50000"),
            ("cpu.cfs_burst_us", "5000"),
            ("memory.limit_in_bytes", "33554432"),
            ("memory.memsw.limit_in_bytes", "50331648"),
            ("memory.soft_limit_in_bytes", "16777216"),
        ]
    };
    let same = [("cpuset.cpus", "0"), ("cpuset.mems", "0"), ("pids.max", "42")];
    for (file, value) in expected.iter().chain(&same) {
        assert_eq!(case.read(file), *value, "{file}");
    }
    another_reader_agrees(&case);
    // Any direction, in one call: what one limit forbids now, the next one makes room for.
    for (memory, quota) in [(67_108_864, 5000), (16_777_216, 40_000), (-1, -1)] {
        let limits = serde_json::json!({
            "cpu": {"quota": quota, "period": 10000, "burst": 1000},
            "memory": {"limit": memory, "swap": memory},
            "pids": {"limit": -1},
        });
        case.cgroup.set(&resources(limits)).unwrap_or_else(|error| panic!("{memory}: {error}"));
        assert_eq!(case.read("pids.max"), "max");
    }
    let file = if case.v2() { "memory.max" } else { "memory.memsw.limit_in_bytes" };
    assert!(["max", "9223372036854771712"].contains(&&*case.read(file)), "{}", case.read(file));
}

#[test]
fn a_limit_that_cannot_hold_names_its_origin_and_its_file() {
    let Some(case) = Case::new("refused") else { return };
    case.cgroup.make(false).unwrap();
    for (limits, words) in [
        (
            serde_json::json!({"cpu": {"cpus": "4096"}}),
            &["resources.cpu.cpus: ", "cpuset.cpus"][..],
        ),
        (serde_json::json!({"pids": {"limit": i64::MAX}}), &["resources.pids.limit: ", "pids.max"]),
        (
            serde_json::json!({"hugepageLimits": [{"pageSize": "7MB", "limit": 0}]}),
            &["resources.hugepageLimits: ", "hugetlb.7MB."],
        ),
        (
            serde_json::json!({"hugepageLimits": [{"pageSize": "../x", "limit": 0}]}),
            &["resources.hugepageLimits: ", "is not a page size"],
        ),
    ] {
        let error = case.cgroup.set(&resources(limits)).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn the_unified_map_is_for_v2() {
    let Some(case) = Case::new("unified") else { return };
    case.cgroup.make(false).unwrap();
    let unified = |file: &str, value: &str| {
        case.cgroup.set(&resources(serde_json::json!({"unified": {file: value}})))
    };
    if !case.v2() {
        let error = unified("memory.high", "16777216").unwrap_err().to_string();
        assert_eq!(error, "linux.resources.unified: invalid configuration: needs a cgroup v2 host");
        return;
    }
    unified("memory.high", "16777216").unwrap();
    assert_eq!(case.read("memory.high"), "16777216");
    for (file, words) in [
        ("cgroup.freeze", "not the name of a controller's file"),
        ("../x.y", "not the name of a controller's file"),
        ("memory.none", "unified[\"memory.none\"]: write 1 to "),
    ] {
        let error = unified(file, "1").unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn an_out_of_memory_kill_is_counted() {
    let Some(case) = Case::new("oom") else { return };
    case.cgroup.make(false).unwrap();
    let limit = serde_json::json!({"memory": {"limit": 8_388_608, "swap": 8_388_608}});
    case.cgroup.set(&resources(limit)).unwrap();
    assert_eq!(case.cgroup.oom_kills().unwrap(), 0);
    let mut child = case.spawn("x=$(head -c 64M /dev/zero | tr '\\0' x)");
    child.wait().unwrap();
    assert!(case.cgroup.oom_kills().unwrap() > 0);
}

#[test]
fn devices_beyond_the_rules_are_closed() {
    let Some(case) = Case::new("devices") else { return };
    case.cgroup.make(false).unwrap();
    let rules = serde_json::json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"},
    ]);
    case.cgroup.set_devices(&serde_json::from_value::<Vec<_>>(rules).unwrap()).unwrap();
    let node = std::env::temp_dir().join(format!("runp-kmem-{}", std::process::id()));
    let script = format!(
        "head -c1 /dev/zero >/dev/null || exit 1; true >/dev/kmsg || exit 2; \
         head -c1 /dev/kmsg && exit 3; mknod {0} c 1 2 || exit 4; true <{0} && exit 5; exit 0",
        node.display()
    );
    let status = case.spawn(&format!("({script}) 2>/dev/null")).wait().unwrap();
    std::fs::remove_file(&node).unwrap();
    assert_eq!(status.code(), Some(0), "{script}");
}
