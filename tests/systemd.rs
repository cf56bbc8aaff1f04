//! Containers whose cgroups systemd makes, with a real systemd: process 1 of namespaces of its own,
//! booted for each case by `systemd/boot`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use common::{Case, has_exited};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// What `script` prints, run as a unit of the booted systemd in the case's bundle, where `runp` is
/// the program with its state root and `--systemd-cgroup`.
fn booted(name: &str, prepare: impl FnOnce(&mut Case), script: &str) -> Option<String> {
    let mut case = Case::new(name)?;
    if !Path::new("/lib/systemd/systemd").exists() {
        eprintln!("SKIP {name}: systemd is not installed");
        return None;
    }
    case.args(&["sleep", "1000"]);
    case.config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    prepare(&mut case);
    // Writes config.json.
    drop(case.command(&[]));
    let dir = case.path("");
    let dir = dir.to_str().unwrap().trim_end_matches('/');
    fs::hard_link(env!("CARGO_BIN_EXE_runp"), case.path("runp"))
        .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_runp"), case.path("runp")).map(drop))
        .unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let commands = format!(
        "runp() {{ timeout 60 {dir}/runp --root /run/state --systemd-cgroup \"$@\" </dev/null; }}
        dir={dir}; cd {dir}/bundle
        {script}
        echo the end\n"
    );
    fs::write(case.path("commands"), commands).unwrap();
    let boot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd/boot");
    let mut command = Command::new("sh");
    command.arg(boot).args([dir, &case.id]).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    // An emulated machine takes its time.
    if !(0..5).any(|_| has_exited(child.id() as i32)) {
        child.kill().unwrap();
    }
    child.wait().unwrap();
    remove_cgroups(&case.id);
    let out = fs::read_to_string(case.path("out")).unwrap_or_default();
    let console = fs::read_to_string(case.path("console")).unwrap_or_default();
    assert!(out.ends_with("the end\n"), "{out}\n--- console\n{console}");
    Some(out)
}

/// systemd leaves the slices it has made; there is nobody in them.
fn remove_cgroups(id: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let mut hierarchies = vec![root.to_owned()];
    hierarchies.extend(fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()));
    for dir in hierarchies.iter().map(|dir| dir.join(id)).filter(|dir| dir.exists()) {
        remove_tree(&dir);
    }
}

fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            remove_tree(&entry);
        }
    }
    fs::remove_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
}

fn section<'a>(out: &'a str, name: &str) -> &'a str {
    let start = format!("== {name}\n");
    let from = out.find(&start).unwrap_or_else(|| panic!("no {name} in {out}")) + start.len();
    out[from..].split("== ").next().unwrap()
}

#[test]
fn a_container_is_a_scope() {
    let limits = |case: &mut Case| {
        case.config["linux"]["resources"] = json!({
            "memory": {"limit": 32 << 20}, "pids": {"limit": 20},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
        });
        case.config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "7"});
    };
    let script = "
        echo == create
        runp create one
        systemctl show runp-one.scope -p Slice,Delegate,TasksMax,CPUQuotaPerSecUSec,TimeoutStopUSec,Description
        systemctl show runp-one.scope -p MemoryLimit,MemoryMax
        echo == exec
        runp start one
        runp exec one cat /proc/self/cgroup
        echo == update
        runp update --pids-limit 30 one
        systemctl daemon-reload
        systemctl show runp-one.scope -p TasksMax
        cat $(find /sys/fs/cgroup -path '*runp-one.scope/pids.max')
        echo == pause
        runp pause one; runp list | tail -n 1 | tr -s ' ' | cut -d' ' -f3; runp resume one
        echo == again
        runp create one; runp run -d two; runp list -q
        echo == delete
        runp delete -f one; runp kill two KILL; runp delete -f two
        systemctl list-units --all --no-legend 'runp*'
        find /sys/fs/cgroup -name '*runp*'
    ";
    let Some(out) = booted("systemd", limits, script) else { return };
    let created = section(&out, "create");
    for line in [
        "Slice=system.slice",
        "Delegate=yes",
        "TasksMax=20",
        "CPUQuotaPerSecUSec=500ms",
        "TimeoutStopUSec=7s",
        "Description=runp container runp-one.scope",
    ] {
        assert!(created.lines().any(|found| found == line), "{line}: {out}");
    }
    assert!(created.contains("=33554432\n"), "{out}");
    let cgroups = section(&out, "exec");
    assert!(cgroups.lines().all(|l| l.ends_with(":/system.slice/runp-one.scope")), "{out}");
    assert_eq!(section(&out, "update"), "TasksMax=30\n30\n", "{out}");
    assert_eq!(section(&out, "pause"), "paused\n", "{out}");
    let again = section(&out, "again");
    assert!(again.contains("already exists") && again.ends_with("one\ntwo\n"), "{out}");
    assert_eq!(section(&out, "delete"), "the end\n", "{out}");
}

#[test]
fn lives_follow_each_other_under_one_name() {
    let placed = |case: &mut Case| {
        case.args(&["true"]);
        case.config["linux"]["cgroupsPath"] = json!("a-b.slice:pre:name");
    };
    let script = "
        echo == lives
        for i in 1 2 3 4 5 6 7 8; do runp run one || echo failed; done
        echo == taken
        runp create one; systemctl show pre-name.scope -p ControlGroup
        runp create two
        runp delete one
        echo == left
        systemctl list-units --all --no-legend 'pre*'
        find /sys/fs/cgroup -name 'pre-*'
        echo == bad
        sed -i s/a-b.slice:pre:name/.abs/ config.json; runp create three
    ";
    let Some(out) = booted("systemd-lives", placed, script) else { return };
    assert_eq!(section(&out, "lives"), "", "{out}");
    let taken = section(&out, "taken");
    assert!(taken.starts_with("ControlGroup=/a.slice/a-b.slice/pre-name.scope\n"), "{out}");
    assert!(taken.contains("container's cgroup is not empty"), "{out}");
    assert_eq!(section(&out, "left"), "", "{out}");
    assert!(section(&out, "bad").contains("format \\\"slice:prefix:name\\\""), "{out}");
}

/// The container of a user is a scope of his own manager, which here runs as logind would start it.
#[test]
fn a_users_container_is_a_scope_of_his_manager() {
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("SKIP a_users_container_is_a_scope_of_his_manager: needs cgroup v2");
        return;
    }
    let rootless = |case: &mut Case| {
        let flavour =
            runp::oci::example::Flavour::Rootless { uid: 54_321, gid: 54_321, unified: true };
        case.config = serde_json::from_str(&runp::oci::example::config(flavour)).unwrap();
        case.config["process"]["terminal"] = json!(false);
        case.config["linux"]["resources"] = json!({"pids": {"limit": 20}});
        case.args(&["sleep", "1000"]);
    };
    let script = "
        user=/run/user/54321
        echo runp-test:x:54321:54321::/:/bin/sh >>/etc/passwd
        echo runp-test:x:54321: >>/etc/group
        mkdir -p $user; chown -R 54321:54321 $user .
        cat >/run/systemd/system/user@54321.service <<END
[Unit]
DefaultDependencies=no
[Service]
Type=notify
User=54321
Slice=user-54321.slice
Delegate=pids memory cpu
Environment=XDG_RUNTIME_DIR=$user
ExecStart=/lib/systemd/systemd --user
END
        systemctl daemon-reload
        systemctl start user@54321.service || systemctl --no-pager -l status user@54321
        # Where his shells are: without a bus his manager moves nobody in from elsewhere.
        shells=/sys/fs/cgroup/user.slice/user-54321.slice/user@54321.service/shells
        mkdir $shells; chown -R 54321 $shells
        theirs() {
            sh -c 'echo $$ >\"$0/cgroup.procs\"; exec \"$@\"' $shells \\
            setpriv --reuid 54321 --regid 54321 --clear-groups env XDG_RUNTIME_DIR=$user \
                timeout 60 $dir/runp --systemd-cgroup \"$@\" </dev/null
        }
        echo == run
        theirs run -d --pid-file $user/pid one
        cat /proc/$(cat $user/pid)/cgroup
        cat $(find /sys/fs/cgroup -path '*runp-one.scope/pids.max')
        echo == exec
        theirs exec -d --pid-file $user/exec one sleep 1000
        cat /proc/$(cat $user/exec)/cgroup
        theirs update --pids-limit 30 one
        cat $(find /sys/fs/cgroup -path '*runp-one.scope/pids.max')
        theirs pause one; theirs list | tail -n 1 | tr -s ' ' | cut -d' ' -f3; theirs resume one
        echo == delete
        theirs delete -f one
        find /sys/fs/cgroup -name '*runp*'
    ";
    let Some(out) = booted("systemd-user", rootless, script) else { return };
    let place = "0::/user.slice/user-54321.slice/user@54321.service/user.slice/runp-one.scope\n";
    assert_eq!(section(&out, "run"), format!("{place}20\n"), "{out}");
    assert_eq!(section(&out, "exec"), format!("{place}30\npaused\n"), "{out}");
    assert_eq!(section(&out, "delete"), "the end\n", "{out}");
}

/// As in a container that shares the host's bus and no more of /run.
#[test]
fn the_systems_bus_will_do() {
    if !Path::new("/usr/bin/dbus-daemon").exists() {
        eprintln!("SKIP the_systems_bus_will_do: dbus is not installed");
        return;
    }
    let script = "
        systemctl start --job-mode=ignore-dependencies dbus.socket dbus.service
        mv /run/systemd/private /run/systemd/hidden
        echo == create
        runp create one && runp update --pids-limit 30 one
        cat $(find /sys/fs/cgroup -path '*system.slice/runp-one.scope/pids.max')
        echo == delete
        runp delete -f one
        find /sys/fs/cgroup -name '*runp*'
    ";
    let Some(out) = booted("systemd-bus", |_| (), script) else { return };
    assert_eq!(section(&out, "create"), "30\n", "{out}");
    assert_eq!(section(&out, "delete"), "the end\n", "{out}");
}

#[test]
fn without_systemd_it_is_said() {
    let Some(mut case) = Case::new("no-systemd") else { return };
    if Path::new("/run/systemd/private").exists() {
        eprintln!("SKIP without_systemd_it_is_said: this host has it");
        return;
    }
    case.config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    let done = case.runp(&["--systemd-cgroup", "run", &case.id]);
    assert!(done.err.contains("hint: is systemd running?"), "{done:?}");
    done.fails(1, "connect to systemd at /run/systemd/private");
    case.assert_nothing_left();
}
