//! What a tmpfs takes over from the directory below, and mounts that are changed afterwards.

use super::common::Case;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

fn mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_content_below_is_copied_up() {
    let script =
        "stat -c '%n %a %u:%g' /data /data/sub /data/sub/file; cat /data/sub/file /data/link
        rm /data/sub/file; grep ' /data' /proc/self/mountinfo";
    let Some(mut case) = Case::script("copyup", script) else { return };
    let data = case.rootfs().join("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::write(data.join("sub/file"), "content\n").unwrap();
    symlink("sub/file", data.join("link")).unwrap();
    chown(data.join("sub/file"), Some(7), Some(8)).unwrap();
    mode(&data.join("sub/file"), 0o4755);
    mode(&data.join("sub"), 0o777);
    mode(&data, 0o750);
    case.mount(json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs",
        "options": ["rw", "rprivate", "nosuid", "nodev", "tmpcopyup", "size=1m"]}));
    let out = case.run().ok();
    let expected = "/data 750 0:0\n/data/sub 777 0:0\n/data/sub/file 4755 7:8\ncontent\ncontent\n";
    assert!(out.starts_with(expected), "{out}");
    assert!(out.contains("nosuid,nodev") && out.contains("size=1024k"), "{out}");
    assert_eq!(fs::read_to_string(data.join("sub/file")).unwrap(), "content\n");
    // More than fits is told, and with a read-only mount it is all there.
    let last = case.config["mounts"].as_array().unwrap().len() - 1;
    fs::write(data.join("big"), vec![1; 2 << 20]).unwrap();
    case.run().fails(1, "mount tmpfs on /data (mounts[7]): ENOSPC");
    fs::remove_file(data.join("big")).unwrap();
    case.config["mounts"][last]["options"] = json!(["ro", "tmpcopyup"]);
    case.args(&["sh", "-c", "cat /data/link; touch /data/x"]);
    let done = case.run();
    assert!(done.out == "content\n" && done.err.contains("Read-only"), "{done:?}");
    case.assert_nothing_left();
}

#[test]
fn a_tmpfs_has_the_mode_of_what_it_covers() {
    let Some(mut case) = Case::script("mode", "stat -c %a /kept /own /new /link/below") else {
        return;
    };
    for name in ["kept", "own", "real/below"] {
        fs::create_dir_all(case.rootfs().join(name)).unwrap();
        mode(&case.rootfs().join(name), 0o710);
    }
    symlink("/real", case.rootfs().join("link")).unwrap();
    for (at, options) in [
        ("/kept", json!([])),
        ("/own", json!(["mode=1500"])),
        ("/new", json!([])),
        ("/link/below", json!([])),
    ] {
        case.mount(
            json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": options}),
        );
    }
    assert_eq!(case.run().ok(), "710\n1500\n1777\n710\n");
}

#[test]
fn a_mount_is_changed_by_remounting() {
    let script = "grep -E ' /(t|b|) ' /proc/self/mountinfo; touch /b/x";
    let Some(mut case) = Case::script("remount", script) else { return };
    let source = case.path("source");
    fs::create_dir(&source).unwrap();
    case.mount(json!({"destination": "/t", "type": "tmpfs", "source": "t", "options": ["nodev"]}));
    case.mount(json!({"destination": "/b", "source": source, "options": ["bind", "nosuid"]}));
    case.mount(json!({"destination": "/t", "type": "tmpfs", "options": ["remount", "size=64k"]}));
    case.mount(json!({"destination": "/b", "options": ["remount", "bind", "ro", "noexec"]}));
    case.mount(json!({"destination": "/", "options": ["remount", "bind", "nodev"]}));
    let done = case.run();
    let line = |at: &str| done.out.lines().find(|line| line.contains(at)).unwrap().to_owned();
    assert!(line(" /b ").contains("ro,nosuid,noexec"), "{done:?}");
    assert!(line(" /t ").contains("rw,nodev") && line(" /t ").contains("size=64k"), "{done:?}");
    assert!(line(" / ").contains("nodev"), "{done:?}");
    assert!(done.err.contains("Read-only"), "{done:?}");
    let last = case.config["mounts"].as_array().unwrap().len() - 1;
    case.config["mounts"][last]["destination"] = json!("/usr");
    fs::create_dir_all(case.rootfs().join("usr")).unwrap();
    case.run().fails(1, "remount on /usr (mounts[11]): EINVAL");
    case.assert_nothing_left();
}
