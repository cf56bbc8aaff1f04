//! Containers of a user who is nobody special: own id mapped alone, ids mapped by newuidmap, no
//! rights to cgroups.

use super::common::{Case, Done, field, has_exited};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// A user and group that no host knows.
const USER: u32 = 54_321;

/// A case of that user's, with what `spec --rootless` writes. The program is copied to where he may
/// execute it.
fn rootless(name: &str, script: &str) -> Option<Case> {
    let mut case = Case::script(name, script)?;
    let may =
        |command: &mut Command| command.stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !may(Command::new("unshare").args(["--user", "true"]).uid(USER).gid(USER)) {
        eprintln!("SKIP {name}: this host lets no user make user namespaces");
        return None;
    }
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let flavour = runp::oci::example::Flavour::Rootless { uid: USER, gid: USER, unified };
    let mut config: Value = serde_json::from_str(&runp::oci::example::config(flavour)).unwrap();
    config["process"] = case.config["process"].clone();
    config["root"]["readonly"] = json!(false);
    case.config = config;
    fs::copy(env!("CARGO_BIN_EXE_runp"), case.path("runp")).unwrap();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(case.path(""), open).unwrap();
    Some(case)
}

/// The command of the case's own, as the user would give it.
fn theirs(case: &Case, args: &[&str]) -> Command {
    let theirs = case.command(args);
    let mut command = Command::new(case.path("runp"));
    command.args(theirs.get_args()).current_dir(case.path("bundle")).stdin(Stdio::null());
    give(&case.path(""));
    command
}

fn runp(case: &Case, args: &[&str]) -> Done {
    case.finish(theirs(case, args).uid(USER).gid(USER).env_clear().env("PATH", "/usr/bin:/bin"))
}

/// Gives all below `path` to the user.
fn give(path: &Path) {
    std::os::unix::fs::lchown(path, Some(USER), Some(USER)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

#[test]
fn with_nothing_but_his_own_id() {
    let script = "id -u; cat /proc/self/uid_map /proc/self/setgroups; cat /proc/self/status";
    let Some(case) = rootless("rootless", script) else { return };
    let out = runp(&case, &["run", &case.id]).ok();
    let words: Vec<&str> = out.split_whitespace().take(5).collect();
    assert_eq!(words, ["0", "0", &USER.to_string(), "1", "deny"], "{out}");
    assert_eq!(field(&out, "CapEff"), "0000000020000420", "as configured, in the namespace");
    case.assert_nothing_left();
}

#[test]
fn a_life_with_exec_kill_and_delete() {
    let Some(mut case) = rootless("rootless-life", "") else { return };
    case.args(&["sleep", "1000"]);
    let pid_file = case.path("pid");
    let pid_flag = ["create", "--pid-file", pid_file.to_str().unwrap(), &case.id];
    runp(&case, &pid_flag).ok();
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    runp(&case, &["start", &case.id]).ok();
    let out = runp(&case, &["exec", &case.id, "sh", "-c", "id -u; ls -l /proc/self/ns"]).ok();
    assert!(out.starts_with("0\n"), "{out}");
    for name in ["pid", "mnt", "user", "uts", "ipc"] {
        let inside = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert!(out.contains(inside.to_str().unwrap()), "{name}: {out}");
    }
    assert_eq!(runp(&case, &["exec", &case.id, "sh", "-c", "exit 7"]).status, 7);
    let list = runp(&case, &["list"]).ok();
    assert!(list.contains("running") && list.contains(&format!("#{USER}")), "{list}");
    runp(&case, &["ps", &case.id]).fails(1, "no cgroup of its own");
    runp(&case, &["pause", &case.id]).fails(1, "no cgroup of its own");
    runp(&case, &["kill", &case.id, "KILL"]).ok();
    assert!(has_exited(pid));
    runp(&case, &["delete", &case.id]).ok();
    case.assert_nothing_left();
}

#[test]
fn what_he_has_no_right_to_is_said() {
    let Some(mut case) = rootless("rootless-no", "true") else { return };
    let plain = case.config.clone();
    case.config["linux"]["resources"] = json!({"pids": {"limit": 5}});
    runp(&case, &["run", &case.id]).fails(1, "rootless needs no limits + no cgrouppath");
    case.config = plain.clone();
    case.config["linux"]["cgroupsPath"] = json!(format!("/{}", case.id));
    runp(&case, &["run", &case.id]).fails(1, "EACCES: permission denied");
    case.config = plain.clone();
    case.config["process"]["user"]["additionalGids"] = json!([0]);
    runp(&case, &["run", &case.id]).fails(1, "process.user");
    case.config = plain.clone();
    // Root's id is not for him to map.
    case.config["linux"]["uidMappings"][0]["hostID"] = json!(0);
    let done = runp(&case, &["run", &case.id]);
    assert!(done.status == 1 && done.err.contains("newuidmap"), "{done:?}");
    case.config = plain;
    let linux = case.config["linux"].as_object_mut().unwrap();
    linux.retain(|key, _| !key.ends_with("Mappings"));
    case.without_namespace("user");
    runp(&case, &["run", &case.id]).fails(1, "EPERM");
    case.assert_nothing_left();
}

#[test]
fn cgroups_that_were_given_to_him_are_used() {
    let Some(mut case) = rootless("rootless-cgroup", "cat /proc/self/cgroup; sleep 1000") else {
        return;
    };
    let v1 = Path::new("/sys/fs/cgroup/pids");
    if !v1.join("cgroup.procs").exists() {
        eprintln!("SKIP cgroups_that_were_given_to_him_are_used: needs a v1 pids hierarchy");
        return;
    }
    let given = v1.join(format!("{}-given", case.id));
    fs::create_dir(&given).unwrap();
    give(&given);
    case.config["linux"]["resources"] = json!({"pids": {"limit": 50}});
    // The runtime is in a cgroup of the user's, and the container below it.
    let mut command = Command::new("sh");
    let inner = theirs(&case, &["run", "-d", &case.id]);
    let script = "echo $$ >\"$1/cgroup.procs\"; shift; exec setpriv --reuid \"$1\" --regid \"$1\" \
                  --clear-groups sh -c 'shift; exec \"$@\"' sh \"$@\"";
    command.args(["-c", script, "sh"]).arg(&given).arg(USER.to_string());
    command.arg(inner.get_program()).args(inner.get_args());
    case.finish(command.current_dir(case.path("bundle")).stdin(Stdio::null())).ok();
    let made = given.join(&case.id);
    assert_eq!(fs::read_to_string(made.join("pids.max")).unwrap(), "50\n");
    runp(&case, &["pause", &case.id]).fails(1, "no freezer");
    assert_eq!(runp(&case, &["ps", "-f", "json", &case.id]).ok().lines().count(), 1);
    runp(&case, &["update", "--pids-limit", "60", &case.id]).ok();
    assert_eq!(fs::read_to_string(made.join("pids.max")).unwrap(), "60\n");
    runp(&case, &["delete", "-f", &case.id]).ok();
    assert!(!made.exists());
    fs::remove_dir(given).unwrap();
    case.assert_nothing_left();
}

/// With names and ranges that exist in the case's mount namespace only.
#[test]
fn ids_mapped_by_the_helpers() {
    let script = "cat /proc/self/uid_map; touch /tmp/f && chown 7:7 /tmp/f && stat -c %u:%g /tmp/f";
    let Some(mut case) = rootless("rootless-map", script) else { return };
    if Command::new("newuidmap").stderr(Stdio::null()).status().is_err() {
        eprintln!("SKIP ids_mapped_by_the_helpers: no newuidmap");
        return;
    }
    for set in ["bounding", "effective", "permitted"] {
        let sets = &mut case.config["process"]["capabilities"];
        sets[set].as_array_mut().unwrap().push(json!("CAP_CHOWN"));
    }
    for (kind, map) in [("uid", "uidMappings"), ("gid", "gidMappings")] {
        case.config["linux"][map] = json!([
            {"containerID": 0, "hostID": USER, "size": 1},
            {"containerID": 1, "hostID": 2_000_000, "size": 1000},
        ]);
        let file = case.path(&format!("sub{kind}"));
        fs::write(file, format!("runp-test:{}:{}\n", 2_000_000, 1000)).unwrap();
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = format!("runp-test:x:{USER}:{USER}::/:/bin/sh\n");
    fs::write(case.path("passwd"), passwd + &line).unwrap();
    let inner = theirs(&case, &["run", &case.id]);
    for name in ["passwd", "subuid", "subgid"] {
        std::os::unix::fs::chown(case.path(name), Some(0), Some(0)).unwrap();
    }
    let script = "for f in passwd subuid subgid; do
            test -e /etc/$f || : >/etc/$f
            mount --bind \"$1/$f\" /etc/$f || exit 9
        done
        user=$2; shift 2
        exec setpriv --reuid \"$user\" --regid \"$user\" --clear-groups \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(case.path("")).arg(USER.to_string());
    command.arg(inner.get_program()).args(inner.get_args());
    let out = case.finish(command.current_dir(case.path("bundle")).stdin(Stdio::null())).ok();
    let words: Vec<&str> = out.split_whitespace().collect();
    let user = USER.to_string();
    assert_eq!(words, ["0", &user, "1", "1", "2000000", "1000", "7:7"], "{out}");
    case.assert_nothing_left();
}
