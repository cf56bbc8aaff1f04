//! Namespaces: new ones, none, and those of others by path.

use super::common::Case;
use serde_json::json;
use std::fs;

const KINDS: [(&str, &str); 6] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
];

const SHOW: &str = "for n in pid net ipc uts mnt cgroup user; do readlink /proc/self/ns/$n; done";

#[test]
fn each_is_new_only_if_asked_for() {
    let Some(mut case) = Case::script("new", SHOW) else { return };
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    case.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    let out = case.run().ok();
    for (_, name) in KINDS {
        let host = own(name).display().to_string();
        assert!(!out.lines().any(|line| line == host), "{name} is the host's: {out}");
    }
    assert!(out.contains(&own("user").display().to_string()));
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("pid", "pid")] {
        case.without_namespace(kind);
        // Without its own network namespace sysfs may not be mounted by others than the host.
        let out = case.run().ok();
        assert!(out.contains(&own(name).display().to_string()), "{name}: {out}");
    }
}

#[test]
fn those_of_another_container_by_path() {
    let Some(mut first) = Case::new("first") else { return };
    first.args(&["sleep", "1000"]);
    let pid = first.up();
    let Some(mut second) = Case::script("second", SHOW) else { return };
    let mut namespaces = vec![json!({"type": "mount"})];
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        namespaces.push(json!({"type": kind, "path": format!("/proc/{pid}/ns/{name}")}));
    }
    second.config["linux"]["namespaces"] = json!(namespaces);
    second.config.as_object_mut().unwrap().remove("hostname");
    let out = second.run().ok();
    for name in ["net", "ipc", "uts", "pid"] {
        let path = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert!(out.contains(path.to_str().unwrap()), "{name}: {out}");
    }
    // Its processes die with it, and the first goes on.
    second.args(&["sleep", "1000"]);
    second.up();
    second.runp(&["delete", "-f", &second.id]).ok();
    second.assert_nothing_left();
    assert_eq!(first.status(), "running");
}

#[test]
fn a_path_must_be_a_namespace_of_that_kind() {
    let Some(mut case) = Case::script("wrong-ns", "true") else { return };
    let own = "/proc/self/ns/uts".to_owned();
    let file = case.path("bundle/config.json").display().to_string();
    for path in [&own, &file, &"/not/there".to_owned()] {
        case.without_namespace("network");
        let namespaces = case.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "network", "path": path}));
        let done = case.run();
        assert_eq!(done.status, 1, "{path}: {done:?}");
        assert!(done.err.contains(path), "{path}: {done:?}");
        case.assert_nothing_left();
    }
}

#[test]
fn a_user_namespace_with_mappings() {
    let Some(mut case) = Case::script("userns", "id -u; cat /proc/self/uid_map; touch /tmp/file")
    else {
        return;
    };
    case.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        case.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    for dir in ["", "tmp"] {
        use std::os::unix::fs::chown;
        chown(case.rootfs().join(dir), Some(100_000), Some(100_000)).unwrap();
    }
    let open = |path| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    open(case.path(""));
    open(case.path("bundle"));
    let out = case.run().ok();
    let map: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(map, ["0", "0", "100000", "65536"]);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(case.rootfs().join("tmp/file")).unwrap().uid(), 100_000);
}

#[test]
fn the_init_process_is_the_first_and_sees_only_its_own() {
    let Some(case) = Case::script("pid", "echo $$; set -- /proc/[0-9]*; echo $#") else { return };
    assert_eq!(case.run().ok(), "1\n1\n", "the shell alone");
}

#[test]
fn sysctls_of_a_users_own_and_not_of_the_hosts_network() {
    let Some(mut case) = Case::script("sysctl-ns", "cat /proc/sys/user/max_uts_namespaces") else {
        return;
    };
    case.config["linux"]["sysctl"] = json!({"user.max_uts_namespaces": "7"});
    case.run().fails(1, "not allowed without a private user namespace");
    case.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        case.config["linux"][name] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    }
    assert_eq!(case.run().ok(), "7\n");
    case.without_namespace("user");
    case.without_namespace("network");
    for name in ["uidMappings", "gidMappings"] {
        case.config["linux"][name] = json!([]);
    }
    let namespaces = case.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "network", "path": "/proc/self/ns/net"}));
    case.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    case.run().fails(1, "not allowed in host network namespace");
    case.assert_nothing_left();
}

/// The host's root has rights over the namespaces, root of the new user namespace has not.
#[test]
fn those_of_others_are_joined_from_a_new_user_namespace() {
    let Some(mut first) = Case::new("owner") else { return };
    first.args(&["sleep", "1000"]);
    let pid = first.up();
    let Some(mut second) = Case::script("joiner", SHOW) else { return };
    second.config.as_object_mut().unwrap().remove("hostname");
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    let before = ["net", "ipc", "uts", "pid"].map(own);
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        second.without_namespace(kind);
        let namespaces = second.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": kind, "path": format!("/proc/{pid}/ns/{name}")}));
    }
    let namespaces = second.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user"}));
    // What the owner of these alone may mount.
    let mounts = second.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["type"] != "sysfs" && mount["type"] != "mqueue");
    mounts.retain(|mount| mount["type"] != "cgroup");
    mounts[0] = json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]});
    for name in ["uidMappings", "gidMappings"] {
        second.config["linux"][name] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    }
    let out = second.run().ok();
    for name in ["net", "ipc", "uts", "pid"] {
        let path = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert!(out.contains(path.to_str().unwrap()), "{name}: {out}");
    }
    assert!(!out.contains(&own("user").display().to_string()));
    assert_eq!(before, ["net", "ipc", "uts", "pid"].map(own));
    second.assert_nothing_left();
}

/// What is the host's is joined with the host's rights, what the user namespace owns with either.
#[test]
fn namespaces_of_two_owners_are_joined() {
    let Some(mut first) = Case::new("owned") else { return };
    first.args(&["sleep", "1000"]);
    first.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        first.config["linux"][name] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    }
    let owner = first.up();
    let Some(mut other) = Case::new("other") else { return };
    other.args(&["sleep", "1000"]);
    let stranger = other.up();
    let Some(mut case) = Case::script("two", "sleep 1000") else { return };
    case.config.as_object_mut().unwrap().remove("hostname");
    let joined = [("user", "user", owner), ("ipc", "ipc", owner), ("uts", "uts", stranger)];
    for (kind, name, pid) in [("network", "net", stranger)].into_iter().chain(joined) {
        case.without_namespace(kind);
        let namespaces = case.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": kind, "path": format!("/proc/{pid}/ns/{name}")}));
    }
    let mounts = case.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["type"] != "sysfs" && mount["type"] != "cgroup");
    let pid = case.up();
    let link = |pid: i32, name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
    let out = case.exec(SHOW).ok();
    for (name, of) in [("user", owner), ("ipc", owner), ("uts", stranger), ("net", stranger)] {
        assert_eq!(link(pid, name), link(of, name), "{name}");
        assert!(out.contains(link(of, name).to_str().unwrap()), "exec, {name}: {out}");
    }
}

#[test]
fn versions_of_the_specification() {
    let Some(mut case) = Case::new("version") else { return };
    case.args(&["sleep", "1000"]);
    for version in ["1.0.2-dev", "1.2.1+more", ""] {
        case.config["ociVersion"] = json!(version);
        case.create();
        assert_eq!(case.state()["ociVersion"], "1.3.0", "that of the state itself");
        case.runp(&["delete", "-f", &case.id]).ok();
    }
    case.config.as_object_mut().unwrap().remove("ociVersion");
    case.create();
    case.runp(&["delete", "-f", &case.id]).ok();
    case.assert_nothing_left();
}
