//! Containers without a mount namespace of their own: their mounts are the host's, and gone with
//! them.

use super::common::{Case, Done};
use serde_json::json;
use std::fs;
use std::process::{Command, Stdio};

const KINDS: [&str; 6] = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// A container without mount namespace, whose masked paths would be the host's.
fn bare(name: &str, script: &str) -> Option<Case> {
    let mut case = Case::script(name, script)?;
    case.without_namespace("mount");
    for paths in ["maskedPaths", "readonlyPaths"] {
        case.config["linux"][paths] = json!([]);
    }
    Some(case)
}

/// `runp` in a mount namespace where everything is shared, as systemd makes it; then `script`.
fn shared(case: &Case, script: &str) -> Done {
    let run = case.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "shared", "sh", "-ec", script, "sh"]);
    command.args([case.path("tree").parent().unwrap().to_str().unwrap(), &case.id]);
    command.arg(run.get_program()).args(run.get_args()).stdin(Stdio::null());
    command.current_dir(case.path("bundle"));
    case.finish(&mut command)
}

#[test]
fn all_namespaces_may_be_the_hosts() {
    let script = "for n in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; ls /";
    let Some(mut case) = bare("no-ns", script) else { return };
    case.config["linux"]["namespaces"] = json!([]);
    case.config.as_object_mut().unwrap().remove("hostname");
    case.config["root"]["readonly"] = json!(true);
    let out = case.run().ok();
    for kind in KINDS {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert!(out.contains(own.to_str().unwrap()), "{kind}: {out}");
    }
    assert!(out.ends_with("bin\ndev\netc\nproc\nroot\nsys\ntmp\n"), "{out}");
    case.assert_nothing_left();
    // Processes that it leaves behind are ended with it.
    case.args(&["sh", "-c", "sleep 1000 & exec sleep 1000"]);
    let pid = case.up();
    let root = case.rootfs();
    assert_eq!(fs::read_link(format!("/proc/{pid}/root")).unwrap(), root);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(mounts.contains(&format!(" {}/proc ", root.display())), "{mounts}");
    let inside = case.exec("touch /new; ls /bin/busybox; pwd; readlink /proc/self/ns/mnt");
    assert!(inside.out.starts_with("/bin/busybox\n/\nmnt:["), "{inside:?}");
    assert!(inside.err.contains("Read-only file system"), "{inside:?}");
    case.runp(&["kill", &case.id, "KILL"]).ok();
    super::common::has_exited(pid);
    case.runp(&["delete", &case.id]).ok();
    case.assert_nothing_left();
}

#[test]
fn killed_at_any_step_nothing_is_left() {
    let steps = ["make-cgroup", "bind-root", "clone", "record", "mount#1", "mount#6", "device#3"];
    let later = ["pivot-root", "await-start"];
    for (how, step) in ["kill", "EIO"]
        .iter()
        .flat_map(|how| steps.iter().chain(&later).map(move |step| (how, step)))
    {
        let Some(mut case) = bare("host-kill", "true") else { return };
        case.env = vec![("RUNP_FAULT".into(), format!("{step}:{how}"))];
        let done = case.runp(&["create", &case.id]);
        assert!(done.status != 0 || *step == "await-start", "{step} {how}: {done:?}");
        case.env.clear();
        case.runp(&["delete", "--force", &case.id]).ok();
        case.assert_nothing_left();
    }
}

/// The host's own mounts stay, though all are shared: neither what the container mounts below a
/// tree of the host's nor its end reaches them.
#[test]
fn mounts_of_the_host_are_not_touched() {
    let script = "mount -t tmpfs t \"$1/tree\" && mkdir \"$1/tree/sub\" \
        && mount -t tmpfs s \"$1/tree/sub\" && echo kept >\"$1/tree/sub/file\"
        id=$2 dir=$1; shift 2
        before=$(cat /proc/self/mountinfo)
        \"$@\" create \"$id\" >/dev/null
        \"$@\" start \"$id\"
        grep -c \"$dir/bundle/rootfs\" /proc/self/mountinfo
        test ! -e \"$dir/tree/sub/over\" || echo reached
        \"$@\" delete --force \"$id\"
        cat \"$dir/tree/sub/file\"
        test \"$before\" = \"$(cat /proc/self/mountinfo)\" && echo same";
    let Some(mut case) = bare("host-shared", "sleep 1000") else { return };
    fs::create_dir(case.path("tree")).unwrap();
    let tree = case.path("tree");
    case.mount(json!({"destination": "/tree", "source": tree, "options": ["rbind"]}));
    case.mount(json!({"destination": "/tree/sub", "type": "tmpfs", "source": "over"}));
    let out = shared(&case, script).ok();
    assert!(out.ends_with("\nkept\nsame\n") && !out.contains("reached"), "{out}");
}

#[test]
fn what_would_change_the_hosts_is_refused() {
    let Some(mut case) = bare("host-refused", "true") else { return };
    case.config["linux"]["maskedPaths"] = json!(["/proc/kcore"]);
    case.run().fails(1, "unable to restrict sys entries without a private MNT namespace");
    case.config["linux"]["maskedPaths"] = json!([]);
    case.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        case.config["linux"][name] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    }
    case.run().fails(1, "root of a user namespace may mount nothing in the host's mount namespace");
    case.without_namespace("user");
    for name in ["uidMappings", "gidMappings"] {
        case.config["linux"][name] = json!([]);
    }
    case.config["root"]["path"] = json!("/");
    case.run().fails(1, "root.path: / takes a mount namespace");
    case.assert_nothing_left();
}
