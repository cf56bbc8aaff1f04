//! Hostile root file systems: whatever is planted in them, the host is not touched. Each case is a
//! known vulnerability of a runtime.

use super::common::Case;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A directory outside of the bundle with known content, and how it looked.
struct Canary {
    dir: PathBuf,
    before: Vec<String>,
}

impl Canary {
    fn plant(case: &Case) -> Self {
        let dir = case.path("canary");
        fs::create_dir(&dir).unwrap();
        for name in ["passwd", "ptmx", "null"] {
            fs::write(dir.join(name), "canary\n").unwrap();
        }
        let before = look(&dir);
        Self { dir, before }
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(look(&self.dir), self.before);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.dir.to_str().unwrap()), "mounted over: {mounts}");
    }
}

/// Each entry with all that a write to it would change.
fn look(dir: &Path) -> Vec<String> {
    let entry = |path: &Path| {
        let meta = fs::symlink_metadata(path).unwrap();
        let content = fs::read_to_string(path).unwrap_or_default();
        let (mode, uid, time) = (meta.mode(), meta.uid(), meta.ctime_nsec());
        format!("{} {mode:o} {uid} {} {time} {content}", path.display(), meta.ctime())
    };
    let mut entries: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| entry(&e.unwrap().path())).collect();
    entries.push(entry(dir));
    entries.sort();
    entries
}

/// Replaces `name` in the root file system by a link.
fn link(case: &Case, name: &str, target: &Path) {
    let path = case.rootfs().join(name);
    if path.is_dir() {
        fs::remove_dir(&path).unwrap();
    }
    symlink(target, path).unwrap();
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2025-54867: procfs where the container wants it.
#[test]
fn proc_and_sys_must_be_directories() {
    for name in ["proc", "sys"] {
        for absolute in [true, false] {
            let Some(case) = Case::script("proc-link", "true") else { return };
            fs::create_dir(case.rootfs().join("fake")).unwrap();
            link(&case, name, Path::new(if absolute { "/fake" } else { "fake" }));
            let done = case.run();
            assert_eq!(done.status, 1, "{name}: {done:?}");
            assert!(done.err.contains("must be mounted on ordinary directory"), "{done:?}");
            case.assert_nothing_left();
        }
    }
}

/// CVE-2026-41579, CVE-2026-47766: /dev is a link to a directory of the host.
#[test]
fn dev_may_be_a_link_and_the_host_does_not_notice() {
    for through_tmpfs in [true, false] {
        let Some(mut case) = Case::script("dev-link", "ls -l /dev/") else { return };
        let canary = Canary::plant(&case);
        link(&case, "dev", &canary.dir);
        if !through_tmpfs {
            let mounts = case.config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        }
        let done = case.run();
        canary.assert_untouched();
        assert!(!done.out.contains("canary"), "{done:?}");
        case.assert_nothing_left();
    }
}

/// CVE-2019-18837, CVE-2021-30465, CVE-2024-45310: links in the way of a mount point.
#[test]
fn mount_points_stay_inside() {
    let Some(mut case) = Case::script("dest-link", "cat /proc/self/mountinfo") else { return };
    let canary = Canary::plant(&case);
    let up = format!("../../../../../../../..{}", canary.dir.display());
    for (name, target) in [("absolute", canary.dir.to_str().unwrap()), ("relative", &up)] {
        symlink(target, case.rootfs().join(name)).unwrap();
    }
    symlink("/tmp", case.rootfs().join("inside")).unwrap();
    let good = case.config["mounts"].clone();
    for destination in ["/absolute", "/relative", "/absolute/new/dir", "/relative/passwd"] {
        for kind in ["tmpfs", "bind"] {
            case.config["mounts"] = good.clone();
            let source = case.path("bundle");
            case.mount(json!({"destination": destination, "type": kind, "source": source,
                "options": if kind == "bind" { vec!["bind"] } else { vec![] }}));
            drop(case.run());
            canary.assert_untouched();
            case.assert_nothing_left();
        }
    }
    case.config["mounts"] = good;
    case.mount(json!({"destination": "/inside/deep", "type": "tmpfs", "source": "t"}));
    let text = case.run().ok();
    assert!(text.contains(" /tmp/deep "), "a link inside the root is followed: {text}");
}

/// As above, while somebody swaps the directory for the link all the time.
#[test]
fn mount_points_stay_inside_in_a_race() {
    let Some(mut case) = Case::script("race", "true") else { return };
    let canary = Canary::plant(&case);
    let volume = case.path("volume");
    fs::create_dir_all(volume.join("x")).unwrap();
    symlink(&canary.dir, volume.join("y")).unwrap();
    case.mount(json!({"destination": "/v", "source": volume, "options": ["bind"]}));
    for name in ["a", "b/c", "d/e/f"] {
        case.mount(json!({"destination": format!("/v/x/{name}"), "type": "tmpfs", "source": "t"}));
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (x, y) = (volume.join("x"), volume.join("y"));
            while !stop.load(Ordering::Relaxed) {
                let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, &x, nix::fcntl::AT_FDCWD, &y, exchange)
                    .unwrap();
            }
        });
        for _ in 0..30 {
            drop(case.run());
        }
        stop.store(true, Ordering::Relaxed);
    });
    canary.assert_untouched();
    case.assert_nothing_left();
}

/// CVE-2025-31133: what masks a path is the real null device, whatever /dev/null is.
#[test]
fn masks_do_not_come_from_the_container() {
    let Some(mut case) = Case::script("null-swap", "cat /secret; echo x > /secret") else { return };
    let canary = Canary::plant(&case);
    fs::write(case.rootfs().join("secret"), "secret\n").unwrap();
    let dev = case.path("dev");
    fs::create_dir(&dev).unwrap();
    symlink(canary.dir.join("null"), dev.join("null")).unwrap();
    for mount in case.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/dev" {
            *mount = json!({"destination": "/dev", "source": dev, "options": ["bind"]});
        }
    }
    case.config["linux"]["maskedPaths"] = json!(["/secret"]);
    let done = case.run();
    assert!(!done.out.contains("secret") && !done.out.contains("canary"), "{done:?}");
    canary.assert_untouched();
    assert_eq!(fs::read_to_string(case.rootfs().join("secret")).unwrap(), "secret\n");
}

/// CVE-2019-16884: an LSM label or a sysctl must not go to a file of the image.
#[test]
fn nothing_is_mounted_over_or_below_proc() {
    let Some(mut case) = Case::script("over-proc", "true") else { return };
    let good = case.config["mounts"].clone();
    fs::create_dir(case.path("fake")).unwrap();
    for destination in ["/proc/self/attr", "/proc/sys/kernel", "/proc/1", "/proc/../proc/sys"] {
        case.config["mounts"] = good.clone();
        case.mount(json!({"destination": destination, "source": case.path("fake"),
            "type": "bind", "options": ["bind"]}));
        let done = case.run();
        assert_eq!(done.status, 1, "{destination}: {done:?}");
        assert!(done.err.contains("proc"), "{destination}: {done:?}");
        case.assert_nothing_left();
    }
}

/// CVE-2019-5736: the container must not get to write to the runtime's own binary.
#[test]
fn the_runtime_itself_is_out_of_reach() {
    let script = "while [ ! -e /stop ]; do for p in /proc/[0-9]*; do
        case $p in /proc/1|/proc/$$) continue;; esac
        { exec 9< $p/exe && echo opened; } 2>/dev/null || continue
        case $(readlink $p/exe) in */busybox) continue;; esac
        n=0; while [ $n -lt 200 ]; do n=$((n + 1)); (echo overwritten > /proc/self/fd/9) 2>/dev/null && break; done
        done; done";
    let Some(mut case) = Case::script("self-exe", script) else { return };
    // Who may trace the host's processes has the host already.
    let own = caps::read(None, caps::CapSet::Permitted).unwrap();
    let all = own.into_iter().filter(|cap| *cap != caps::Capability::CAP_SYS_PTRACE);
    let all: Vec<String> = all.map(|cap| cap.to_string()).collect();
    for set in ["bounding", "permitted", "effective"] {
        case.config["process"]["capabilities"][set] = json!(all);
    }
    // A copy, since a success would break every other case.
    let copy = case.path("runp");
    fs::copy(case.command(&[]).get_program(), &copy).unwrap();
    let before = fs::read(&copy).unwrap();
    let with_copy = |case: &Case, args: &[&str]| {
        let inner = case.command(args);
        let mut command = std::process::Command::new(&copy);
        command
            .args(inner.get_args())
            .current_dir(case.path("bundle"))
            .stdin(std::process::Stdio::null());
        case.finish(&mut command)
    };
    // Not every host has all capabilities to give; that is warned about.
    assert_eq!(with_copy(&case, &["run", "-d", &case.id]).status, 0);
    for _ in 0..40 {
        with_copy(&case, &["exec", &case.id, "/bin/true"]);
        with_copy(&case, &["exec", &case.id, "/proc/self/exe", "--version"]);
    }
    assert_eq!(fs::read(&copy).unwrap().len(), before.len());
    assert!(fs::read(&copy).unwrap() == before, "the runtime's binary was changed");
    fs::write(case.rootfs().join("stop"), "").unwrap();
    case.runp(&["delete", "-f", &case.id]).ok();
    // The same as the container's first program.
    case.args(&["/proc/self/exe", "--version"]);
    drop(with_copy(&case, &["run", &case.id]));
    assert!(fs::read(&copy).unwrap() == before, "the runtime's binary was changed");
}

/// CVE-2024-9676 and the like: special files where the runtime reads or makes something.
#[test]
fn special_files_do_not_hang_it() {
    let Some(mut case) = Case::script("special", "true") else { return };
    let fifo = |path: PathBuf| {
        drop(fs::remove_file(&path));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    };
    fifo(case.rootfs().join("etc/passwd"));
    fifo(case.rootfs().join("masked"));
    case.config["linux"]["maskedPaths"] = json!(["/masked"]);
    case.config["linux"]["readonlyPaths"] = json!(["/etc/passwd"]);
    let done = case.run();
    assert_eq!((done.status, done.err.as_str()), (0, ""), "{done:?}");
}
