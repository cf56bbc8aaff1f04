//! Mounts whose owners are mapped, and sources that root of a user namespace cannot reach.

use super::common::Case;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

/// A container with a user namespace that starts at 100000 on the host.
fn in_user_namespace(name: &str, script: &str) -> Option<Case> {
    let mut case = Case::script(name, script)?;
    case.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        case.config["linux"][name] = map(0, 100_000);
    }
    chown(case.rootfs(), Some(100_000), Some(100_000)).unwrap();
    for path in [case.path(""), case.path("bundle")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    Some(case)
}

fn map(container: u32, host: u32) -> Value {
    json!([{"containerID": container, "hostID": host, "size": 65536}])
}

/// A directory that only root of the host may enter, with a file of each owner and a mount in it.
fn source(case: &Case) -> std::path::PathBuf {
    let source = case.path("closed/source");
    fs::create_dir_all(&source).unwrap();
    for owner in [0, 5] {
        let file = source.join(format!("of-{owner}"));
        fs::write(&file, "").unwrap();
        chown(file, Some(owner), Some(owner + 1)).unwrap();
    }
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(case.path("closed"), closed).unwrap();
    source
}

const SHOW: &str = "cd /m; stat -c '%n %u:%g' of-0 of-5; touch new && stat -c '%n %u:%g' new";

#[test]
fn owners_are_mapped_as_the_user_namespace_maps() {
    let Some(mut case) = in_user_namespace("idmap-user", SHOW) else { return };
    let source = source(&case);
    let mount = |options: Value| json!({"destination": "/m", "source": source, "options": options});
    case.mount(mount(json!(["bind", "idmap"])));
    assert_eq!(case.run().ok(), "of-0 0:1\nof-5 5:6\nnew 0:0\n");
    assert_eq!(fs::metadata(source.join("new")).unwrap().uid(), 0, "as it is on the host");
    fs::remove_file(source.join("new")).unwrap();
    // Mapped by numbers of its own, and without any option.
    let last = case.config["mounts"].as_array().unwrap().len() - 1;
    case.config["mounts"][last]["options"] = json!(["bind"]);
    case.config["mounts"][last]["uidMappings"] = map(0, 100_010);
    case.config["mounts"][last]["gidMappings"] = map(0, 100_000);
    let done = case.run();
    assert!(done.out.starts_with("of-0 10:1\nof-5 15:6\n"), "{done:?}");
    case.assert_nothing_left();
}

#[test]
fn owners_are_mapped_without_a_user_namespace() {
    let Some(mut case) = Case::script("idmap", SHOW) else { return };
    let source = source(&case);
    case.mount(json!({"destination": "/m", "source": source, "options": ["rbind", "ridmap"],
        "uidMappings": map(0, 1000), "gidMappings": map(0, 2000)}));
    case.mount(json!({"destination": "/plain", "source": source, "options": ["bind"]}));
    let done = case.run();
    assert!(done.out.starts_with("of-0 1000:2001\nof-5 1005:2006\n"), "{done:?}");
    assert!(done.err.contains("Value too large"), "root is mapped to nobody: {done:?}");
    case.assert_nothing_left();
}

#[test]
fn a_source_that_root_of_the_user_namespace_cannot_reach() {
    let script = "stat -c '%n %u' /m/of-0 /again/of-5; cat /proc/self/mountinfo";
    let Some(mut case) = in_user_namespace("closed", script) else { return };
    let source = source(&case);
    case.mount(json!({"destination": "/m", "source": source, "options": ["bind", "ro", "shared"]}));
    // What was mounted by now can be a source itself.
    let again = case.rootfs().join("m");
    case.mount(json!({"destination": "/again", "source": again, "options": ["rbind"]}));
    let out = case.run().ok();
    assert!(out.starts_with("/m/of-0 65534\n/again/of-5 65534\n"), "{out}");
    let line = out.lines().find(|line| line.contains(" /m ")).unwrap();
    assert!(line.contains(" ro,") && line.contains("shared:"), "{line}");
    let last = case.config["mounts"].as_array().unwrap().len() - 1;
    case.config["mounts"][last]["source"] = json!("/not/there");
    case.run().fails(1, "open /not/there (mounts[8]): ENOENT: no such file or directory");
    case.assert_nothing_left();
}
