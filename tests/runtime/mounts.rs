//! Mounts: types, options, order, propagation; the root file system; masked and read-only paths.

use super::common::Case;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// The line of `mountinfo` whose mount point is `at`, as (options, type, super options).
fn mount_at<'a>(mountinfo: &'a str, at: &str) -> (&'a str, &'a str, &'a str) {
    let found = mountinfo.lines().rev().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(4);
        let mut right = right.split(' ');
        (left.next() == Some(at)).then(|| (left.next(), right.next(), right.nth(1)))
    });
    match found {
        Some((Some(options), Some(kind), Some(super_options))) => (options, kind, super_options),
        _ => panic!("no {at} in {mountinfo}"),
    }
}

fn has(options: &str, name: &str) -> bool {
    options.split(',').any(|option| option == name)
}

const MOUNTINFO: &str = "cat /proc/self/mountinfo";

#[test]
fn the_example_is_mounted_as_by_the_installed_runc() {
    let Some(case) = Case::script("same", MOUNTINFO) else { return };
    let ours = case.run().ok();
    let runc = Command::new("runc")
        .arg("--root")
        .arg(case.path("runc"))
        .args(["run", &case.id])
        .current_dir(case.path("bundle"))
        .output();
    let Ok(theirs) = runc else {
        eprintln!("SKIP the_example_is_mounted_as_by_the_installed_runc: runc is not installed");
        return;
    };
    let theirs = String::from_utf8(theirs.stdout).unwrap();
    // How a path is masked and what a super block says of itself is each one's own affair.
    let own = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"];
    let table = |text: &str| -> BTreeSet<String> {
        let points = text.lines().filter_map(|line| line.split(' ').nth(4));
        let row = |at: &str| match mount_at(text, at) {
            (_, _, _) if own.contains(&at) => at.to_owned(),
            // Ours is read-only as a whole; in runc's only the hierarchies are.
            (_, kind, _) if at == "/sys/fs/cgroup" => format!("{at} {kind}"),
            (options, kind, _) => format!("{at} {options} {kind}"),
        };
        points.map(row).collect()
    };
    let (ours, theirs) = (table(&ours), table(&theirs));
    let only_ours: Vec<_> = ours.difference(&theirs).collect();
    let only_theirs: Vec<_> = theirs.difference(&ours).collect();
    assert!(only_ours.is_empty() && only_theirs.is_empty(), "{only_ours:#?} {only_theirs:#?}");
}

#[test]
fn the_root_is_read_only_if_asked() {
    let Some(mut case) = Case::script("root-ro", "echo x > /new; cat /proc/self/mountinfo") else {
        return;
    };
    case.config["root"]["readonly"] = json!(true);
    let done = case.run();
    assert!(done.err.contains("Read-only file system"), "{done:?}");
    assert!(has(mount_at(&done.out, "/").0, "ro"), "{done:?}");
    assert!(!case.rootfs().join("new").exists());
    case.config["root"]["readonly"] = json!(false);
    case.run().ok();
    assert!(case.rootfs().join("new").exists());
}

#[test]
fn each_type_with_its_data() {
    let Some(mut case) = Case::script("types", MOUNTINFO) else { return };
    case.mount(json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs",
        "options": ["size=64k", "mode=1770", "uid=3", "gid=4", "nr_inodes=50"]}));
    case.mount(json!({"destination": "/p", "type": "proc", "source": "proc",
        "options": ["nosuid", "noexec", "nodev", "hidepid=invisible"]}));
    case.mount(json!({"destination": "/s", "type": "sysfs", "source": "sysfs", "options": ["ro"]}));
    case.mount(json!({"destination": "/q", "type": "mqueue", "source": "mqueue"}));
    case.mount(json!({"destination": "/y", "type": "devpts", "source": "devpts",
        "options": ["newinstance", "ptmxmode=0600", "mode=0600"]}));
    case.args(&["sh", "-c", "cat /proc/self/mountinfo; stat -c '%a %u %g' /t"]);
    let text = case.run().ok();
    let (_, kind, data) = mount_at(&text, "/t");
    assert_eq!(kind, "tmpfs");
    assert!(has(data, "size=64k") && has(data, "nr_inodes=50"), "{data}");
    assert!(text.ends_with("1770 3 4\n"), "{text}");
    let (options, kind, data) = mount_at(&text, "/p");
    assert_eq!(kind, "proc");
    assert!(has(options, "nosuid") && has(options, "noexec") && has(options, "nodev"), "{options}");
    assert!(has(data, "hidepid=invisible"), "{data}");
    assert!(has(mount_at(&text, "/s").0, "ro"));
    assert_eq!(mount_at(&text, "/q").1, "mqueue");
    let (_, kind, data) = mount_at(&text, "/y");
    assert!(kind == "devpts" && has(data, "ptmxmode=600") && has(data, "mode=600"), "{data}");
}

#[test]
fn each_option_of_a_mount() {
    let table = [
        (&["ro"][..], &["ro"][..], &[][..]),
        (&["nosuid", "nodev", "noexec"], &["rw", "nosuid", "nodev", "noexec"], &[]),
        (&["nosuid", "suid"], &["rw"], &["nosuid"]),
        (&["noexec", "exec", "nodev", "dev"], &["rw"], &["noexec", "nodev"]),
        (&["ro", "rw"], &["rw"], &["ro"]),
        (&["noatime"], &["noatime"], &["relatime"]),
        (&["nodiratime"], &["nodiratime", "relatime"], &[]),
        (&["strictatime"], &[], &["relatime", "noatime"]),
        (&["relatime"], &["relatime"], &[]),
        (&["nosymfollow"], &["nosymfollow"], &[]),
        (&["defaults"], &["rw", "relatime"], &["nosuid", "nodev", "noexec"]),
    ];
    let Some(mut case) = Case::script("options", MOUNTINFO) else { return };
    fs::create_dir(case.path("source")).unwrap();
    for (index, (options, _, _)) in table.iter().enumerate() {
        let destination = format!("/t{index}");
        case.mount(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs",
            "options": options}));
        let bind: Vec<&str> = ["bind"].iter().chain(*options).copied().collect();
        case.mount(json!({"destination": format!("/b{index}"), "type": "bind",
            "source": case.path("source"), "options": bind}));
    }
    let text = case.run().ok();
    for (index, (options, with, without)) in table.iter().enumerate() {
        for kind in ["t", "b"] {
            let found = mount_at(&text, &format!("/{kind}{index}")).0;
            assert!(with.iter().all(|name| has(found, name)), "{kind} {options:?}: {found}");
            assert!(!without.iter().any(|name| has(found, name)), "{kind} {options:?}: {found}");
        }
    }
}

#[test]
fn super_block_options() {
    let Some(mut case) = Case::script("super", MOUNTINFO) else { return };
    case.mount(json!({"destination": "/s", "type": "tmpfs", "source": "tmpfs",
        "options": ["sync", "dirsync", "lazytime"]}));
    let text = case.run().ok();
    let data = mount_at(&text, "/s").2;
    assert!(has(data, "sync") && has(data, "dirsync") && has(data, "lazytime"), "{data}");
}

#[test]
fn binds_of_directories_files_and_trees() {
    let script = "cat /dir/file /one; echo more >> /one; echo x > /ro/file || echo refused
        ls /tree/sub; ls /flat/sub | wc -l; cat /proc/self/mountinfo";
    let Some(mut case) = Case::script("bind", script) else { return };
    let source = case.path("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    fs::write(source.join("file"), "content\n").unwrap();
    let bind = |at: &str, from: &std::path::Path, options: &[&str]| json!({"destination": at, "source": from, "options": options});
    case.mount(bind("/dir", &source, &["bind"]));
    case.mount(bind("/one", &source.join("file"), &["rbind", "rprivate"]));
    case.mount(bind("/ro", &source, &["bind", "ro"]));
    // A mount below a source: a recursive bind shows it, a plain one does not.
    case.mount(json!({"destination": "/inner/sub", "type": "tmpfs", "source": "t"}));
    case.mount(bind("/tree", &source, &["rbind", "ro"]));
    case.mount(bind("/flat", &source, &["bind"]));
    fs::write(source.join("sub/seen"), "").unwrap();
    let done = case.run();
    assert!(done.out.starts_with("content\ncontent\nrefused\nseen\n"), "{done:?}");
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "content\nmore\n");
    assert!(has(mount_at(&done.out, "/ro").0, "ro"));
    assert!(has(mount_at(&done.out, "/tree").0, "ro"));
    assert!(has(mount_at(&done.out, "/dir").0, "rw"));
}

#[test]
fn options_of_whole_trees() {
    let script = "cat /proc/self/mountinfo; echo x > /tree/sub/file || echo refused";
    let Some(mut case) = Case::script("recursive", script) else { return };
    // The tree's mounts are made by an outer container-less namespace: the suite's own.
    let source = case.path("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    let inner = case.command(&["run", &case.id]);
    case.mount(json!({"destination": "/tree", "source": source, "type": "bind",
        "options": ["rbind", "rro", "rnosuid", "rnodev", "rnoexec"]}));
    fs::write(case.path("bundle/config.json"), case.config.to_string()).unwrap();
    let mut command = Command::new("unshare");
    let line = "mount -t tmpfs inner \"$0/sub\" && exec \"$@\"";
    command.args(["--mount", "sh", "-c", line]).arg(&source);
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(case.path("bundle"));
    let done = case.finish(&mut command);
    assert!(done.out.ends_with("refused\n"), "{done:?}");
    for at in ["/tree", "/tree/sub"] {
        let options = mount_at(&done.out, at).0;
        let all = ["ro", "nosuid", "nodev", "noexec"];
        assert!(all.iter().all(|name| has(options, name)), "{at}: {options}");
    }
}

#[test]
fn later_mounts_lie_on_earlier_ones() {
    let Some(mut case) = Case::script("order", "ls /a /a/b; cat /proc/self/mountinfo") else {
        return;
    };
    for at in ["/a", "/a/b", "/a/b/c"] {
        case.mount(json!({"destination": at, "type": "tmpfs", "source": at}));
    }
    let text = case.run().ok();
    assert!(text.starts_with("/a:\nb\n\n/a/b:\nc\n"), "{text}");
    assert_eq!(fs::read_dir(case.rootfs().join("a")).unwrap().count(), 0);
}

#[test]
fn propagation_of_mounts_and_of_the_root() {
    let fields = |text: &str, at: &str| -> String {
        let line = text.lines().rev().find(|line| line.split(' ').nth(4) == Some(at)).unwrap();
        let (left, _) = line.split_once(" - ").unwrap();
        left.split(' ')
            .skip(6)
            .map(|field| field.split(':').next().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let Some(mut case) = Case::script("propagation", MOUNTINFO) else { return };
    for (at, how) in [
        ("/private", "private"),
        ("/shared", "shared"),
        ("/slave", "rslave"),
        ("/unbindable", "unbindable"),
        ("/plain", "nosuid"),
    ] {
        case.mount(json!({"destination": at, "type": "tmpfs", "source": "t", "options": [how]}));
    }
    let text = case.run().ok();
    assert_eq!(fields(&text, "/"), "");
    assert_eq!(fields(&text, "/private"), "");
    assert_eq!(fields(&text, "/shared"), "shared");
    assert_eq!(fields(&text, "/unbindable"), "unbindable");
    assert_eq!(fields(&text, "/plain"), "");
    for (value, root, proc) in [
        ("shared", "shared", ""),
        ("rshared", "shared", "shared"),
        ("private", "", ""),
        ("rprivate", "", ""),
        ("unbindable", "unbindable", ""),
        ("runbindable", "unbindable", "unbindable"),
    ] {
        case.config["linux"]["rootfsPropagation"] = json!(value);
        let text = case.run().ok();
        assert_eq!(
            (fields(&text, "/"), fields(&text, "/proc")),
            (root.into(), proc.into()),
            "{value}"
        );
    }
    // Where the host's root is shared, a slave hears of what is mounted there.
    for value in ["slave", "rslave"] {
        case.config["linux"]["rootfsPropagation"] = json!(value);
        let run = case.command(&["run", &case.id]);
        let mut shared = Command::new("unshare");
        shared.args(["--mount", "--propagation", "shared"]).arg(run.get_program());
        shared.args(run.get_args()).current_dir(case.path("bundle"));
        assert_eq!(fields(&case.finish(&mut shared).ok(), "/"), "master", "{value}");
    }
    case.config["linux"]["rootfsPropagation"] = json!("private");
    case.runp(&["run", "--no-pivot", &case.id]).fails(1, "is not safe without pivot_root");
}

#[test]
fn an_overlay_may_be_the_root() {
    let Some(mut case) = Case::script(
        "overlay",
        "cat /from; echo new > /new; grep -o overlay.rw,.* /proc/self/mountinfo | cut -c1-7",
    ) else {
        return;
    };
    if std::env::var_os("RUNTIME").is_some() {
        eprintln!("SKIP an_overlay_may_be_the_root: an extension of runp");
        return;
    }
    let long = format!("{}/{}", "l".repeat(200), "o".repeat(200));
    for name in ["upper", "work", "lower", &format!("{long}/upper"), &format!("{long}/work")] {
        fs::create_dir_all(case.path(name)).unwrap();
    }
    fs::write(case.path("lower/from"), "lower\n").unwrap();
    let lower = format!("lowerdir={}:{}", case.path("lower").display(), case.rootfs().display());
    let upper = format!("upperdir={}", case.path("upper").display());
    let work = format!("workdir={}", case.path("work").display());
    fs::create_dir(case.path("bundle/empty")).unwrap();
    case.config["root"]["path"] = json!("empty");
    let overlay = |options: Value| json!({"destination": "/", "type": "overlay", "source": "overlay", "options": options});
    let mounts = case.config["mounts"].as_array_mut().unwrap();
    mounts.insert(0, overlay(json!([lower.clone(), upper, work])));
    assert_eq!(case.run().ok(), "lower\noverlay\n");
    assert_eq!(fs::read_to_string(case.path("upper/new")).unwrap(), "new\n");
    // Longer paths than fsconfig takes.
    let long = |key, name| format!("{key}={}/{name}", case.path(&long).display());
    let options = json!([lower, long("upperdir", "upper"), long("workdir", "work"), "volatile"]);
    case.config["mounts"][0] = overlay(options);
    assert_eq!(case.run().ok(), "lower\noverlay\n");
    // The host's root as the lower layer, what is written on a tmpfs of the container's own.
    case.config["mounts"][0] = overlay(json!(["lowerdir=/", "runp.upper=tmpfs"]));
    case.args(&["sh", "-c", "echo x > /runp-was-here; cat /runp-was-here"]);
    assert_eq!(case.run().ok(), "x\n");
    assert!(!std::path::Path::new("/runp-was-here").exists());
}

#[test]
fn masked_and_readonly_paths() {
    let script = "cat /proc/keys /masked/file; ls /masked/dir; cat /sys/firmware/x 2>/dev/null
        echo x > /masked/file; for path in /proc/sys/kernel/hostname /readonly/file; do
        (echo x > $path) 2>/dev/null || echo refused $path; done; touch /masked/dir/x || echo full
        cat /proc/self/mountinfo";
    let Some(mut case) = Case::script("masked", script) else { return };
    for name in ["masked/dir", "readonly"] {
        fs::create_dir_all(case.rootfs().join(name)).unwrap();
    }
    for name in ["masked/file", "masked/dir/file", "readonly/file"] {
        fs::write(case.rootfs().join(name), "secret\n").unwrap();
    }
    let linux = &mut case.config["linux"];
    linux["maskedPaths"] = json!(["/masked/file", "/masked/dir", "/proc/keys", "/not/there"]);
    linux["readonlyPaths"] = json!(["/readonly", "/proc/sys", "/not/there/either"]);
    let done = case.run();
    assert!(!done.out.contains("secret"), "{done:?}");
    assert!(
        done.out.starts_with("refused /proc/sys/kernel/hostname\nrefused /readonly/file\nfull\n"),
        "{done:?}"
    );
    assert_eq!(fs::read_to_string(case.rootfs().join("masked/file")).unwrap(), "secret\n");
    assert!(has(mount_at(&done.out, "/readonly").0, "ro"), "{done:?}");
    assert!(!case.rootfs().join("not").exists());
}

#[test]
fn cgroups_are_seen_and_cannot_be_changed() {
    let script = "for d in /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs; do
        [ -e $d ] || continue; grep -q . $d && echo seen; (echo $$ > $d) 2>/dev/null && echo $d; done; true";
    let Some(case) = Case::script("cgroup-mount", script) else { return };
    let out = case.run().ok();
    assert!(out.contains("seen"), "{out}");
    assert!(out.lines().all(|line| line == "seen"), "writable: {out}");
}

#[test]
fn an_impossible_mount_names_itself() {
    let table = [
        (
            json!({"destination": "/x", "type": "bind", "source": "/not/there", "options": ["bind"]}),
            "/not/there",
        ),
        (json!({"destination": "/x", "type": "nonsense", "source": "x"}), "nonsense"),
        (
            json!({"destination": "/x", "type": "tmpfs", "source": "x", "options": ["nonsense=1"]}),
            "mounts[7]",
        ),
        (
            json!({"destination": "/x", "type": "proc", "source": "x", "options": ["tmpcopyup"]}),
            "tmpcopyup",
        ),
        (
            json!({"destination": "/x", "type": "tmpfs", "source": "x", "options": ["size=huge"]}),
            "mounts[7]",
        ),
        (json!({"destination": "/etc/passwd/x", "type": "tmpfs", "source": "x"}), "/etc/passwd/x"),
        (json!({"destination": "/etc/passwd", "type": "tmpfs", "source": "x"}), "/etc/passwd"),
    ];
    let Some(mut case) = Case::script("bad-mount", "true") else { return };
    let good = case.config["mounts"].clone();
    for (mount, said) in table {
        case.config["mounts"] = good.clone();
        case.mount(mount.clone());
        let done = case.run();
        assert_eq!(done.status, 1, "{mount}: {done:?}");
        assert!(done.err.contains(said), "{mount}: {done:?}");
        case.assert_nothing_left();
    }
}
