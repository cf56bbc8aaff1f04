//! Bind mounts: which flags they have, and sources that earlier mounts of the container make.

use super::common::{Case, Done};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};

/// `runp run` beside a tmpfs on `source` whose mount has `flags`, seen by nobody else.
fn beside(case: &Case, source: &str, flags: &str) -> Done {
    let run = case.command(&["run", &case.id]);
    let script = "mount -t tmpfs -o rw,suid,dev,exec,strictatime t \"$1\" \
        && mount -o remount,bind,\"$2\" \"$1\" && shift 2 && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", source, flags]);
    command.arg(run.get_program()).args(run.get_args()).stdin(Stdio::null());
    command.current_dir(case.path("bundle"));
    case.finish(&mut command)
}

fn in_user_namespace(case: &mut Case) {
    case.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        case.config["linux"][name] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    }
}

/// (flags of the source, options of the mount, the flags it has, those in a user namespace).
const FLAGS: [(&str, &str, &str, Option<&str>); 13] = [
    // Nothing named: all are kept.
    (
        "ro,noexec,nosymfollow,nodiratime",
        "bind",
        "ro,noexec,nodiratime,relatime,nosymfollow",
        Some("ro,noexec,nodiratime,relatime,nosymfollow"),
    ),
    // One named: the mount has what is named, but for the times.
    ("ro,noexec,noatime", "bind,dev", "rw,noatime", Some("ro,noexec,noatime")),
    ("ro", "bind,nosuid,nodev,rprivate", "rw,nosuid,nodev", Some("ro,nosuid,nodev")),
    // What a user namespace may not clear is refused if it was named.
    ("ro", "bind,rw,nosuid", "rw,nosuid", None),
    ("nosuid,nodev,noexec,noatime", "bind,dev,suid,exec,atime", "rw,noatime", None),
    (
        "nodev,nosuid,noexec,noatime",
        "bind,ro",
        "ro,noatime",
        Some("ro,nosuid,nodev,noexec,noatime"),
    ),
    ("nodev,nosymfollow", "bind,ro,symfollow", "ro", Some("ro,nodev")),
    ("nodev,nosymfollow", "bind,rw", "rw", Some("rw,nodev")),
    // Times: only a mode that is named changes them.
    ("noatime", "bind,norelatime", "rw,noatime", Some("rw,noatime")),
    ("noatime", "bind,relatime", "rw,relatime", None),
    ("noatime", "bind,nodiratime", "rw,nodiratime,relatime", None),
    ("nodiratime", "bind,strictatime", "rw", None),
    ("noatime,nodiratime", "bind,diratime", "rw,noatime,nodiratime", Some("rw,noatime,nodiratime")),
];

#[test]
fn flags_are_those_named_or_else_the_sources() {
    let script = "awk '$5 == \"/m\" { print $6 }' /proc/self/mountinfo";
    let Some(mut case) = Case::script("flags", script) else { return };
    fs::create_dir(case.path("source")).unwrap();
    let source = case.path("source").to_str().unwrap().to_owned();
    case.mount(Value::Null);
    let last = case.config["mounts"].as_array().unwrap().len() - 1;
    for userns in [false, true] {
        if userns {
            in_user_namespace(&mut case);
        }
        for (flags, options, plain, locked) in FLAGS {
            let options: Vec<&str> = options.split(',').collect();
            case.config["mounts"][last] =
                json!({"destination": "/m", "source": source, "options": options});
            let done = beside(&case, &source, flags);
            match if userns { locked } else { Some(plain) } {
                Some(expected) => {
                    assert_eq!(
                        sorted(&done.ok()),
                        sorted(expected),
                        "{flags} {options:?} {userns}"
                    );
                }
                None => done.fails(1, "(mounts[7]): EPERM: operation not permitted"),
            }
        }
    }
    case.assert_nothing_left();
}

fn sorted(flags: &str) -> Vec<&str> {
    let mut flags: Vec<&str> = flags.trim().split(',').collect();
    flags.sort_unstable();
    flags
}

/// As runc's own test has it: each of the four views is made of the ones before it.
#[test]
fn sources_that_earlier_mounts_make() {
    let read = ["cat", "/final/x/y/z/z/x/y/z/x/file"];
    for userns in [false, true] {
        for extra in [None, Some("idmap")] {
            let Some(mut case) = Case::new("order") else { return };
            case.args(&read);
            let mut tree = vec!["rbind", "rprivate"];
            tree.extend(extra);
            if userns {
                in_user_namespace(&mut case);
            }
            order(&mut case, &tree, extra.is_some());
            assert_eq!(case.run().ok(), "a/x\n", "{userns} {extra:?}");
            case.assert_nothing_left();
        }
    }
}

fn order(case: &mut Case, tree: &[&str], mapped: bool) {
    for dir in ["a/x", "b/y", "c/z"] {
        fs::create_dir_all(case.path("source").join(dir)).unwrap();
        fs::write(case.path("source").join(dir).join("file"), format!("{dir}\n")).unwrap();
    }
    std::os::unix::fs::symlink("b", case.path("source/sym-b")).unwrap();
    for dir in ["mnt", "final"] {
        fs::create_dir_all(case.rootfs().join(dir)).unwrap();
    }
    for (source, destination) in [("a", "/mnt"), ("sym-b", "/mnt/x"), ("c", "/mnt/x/y")] {
        let source = case.path("source").join(source);
        case.mount(json!({"source": source, "destination": destination, "options": ["bind"]}));
    }
    let source = case.path("source/a");
    case.mount(json!({"source": source, "destination": "/mnt/x/y/z", "options": ["bind"]}));
    // Destinations may be given as paths of the host, too.
    let root = case.rootfs();
    for (source, destination) in
        [("mnt/x", "mnt/x/y/z/x"), ("mnt/x/y", "mnt/x/y/z"), ("mnt", "final")]
    {
        let mut mount = json!({"source": root.join(source), "destination": root.join(destination),
            "type": "bind", "options": tree});
        if mapped {
            for name in ["uidMappings", "gidMappings"] {
                mount[name] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            }
        }
        case.mount(mount);
    }
}

/// A source below the root is the container's, whatever its links say.
#[test]
fn a_source_in_the_root_leads_nowhere_else() {
    let Some(mut case) = Case::script("inner", "cat /m/hostname; ls /m") else { return };
    fs::create_dir(case.rootfs().join("inner")).unwrap();
    fs::write(case.rootfs().join("inner/hostname"), "the image's\n").unwrap();
    for (link, target) in [("abs", "/inner"), ("up", "../../../../../../inner")] {
        std::os::unix::fs::symlink(target, case.rootfs().join(link)).unwrap();
        let source = case.rootfs().join(link);
        case.mount(json!({"source": source, "destination": "/m", "options": ["bind"]}));
        assert_eq!(case.run().ok(), "the image's\nhostname\n");
        case.config["mounts"].as_array_mut().unwrap().pop();
    }
    let source = case.rootfs().join("not-there");
    case.mount(json!({"source": source, "destination": "/m", "options": ["bind"]}));
    case.run().fails(1, "mount bind the container's /not-there on /m (mounts[7]): ENOENT");
    case.assert_nothing_left();
}
