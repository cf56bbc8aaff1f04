//! podctl's verbs for images.

use crate::build::{Member, sh, skip, tar_of, write_layout};
use crate::proxy::{Fault, Proxy};
use crate::registry::{Registry, app};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

struct Root(tempfile::TempDir);

impl Root {
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podctl"));
        command.current_dir(self.0.path()).env("RUNP_ROOT", self.0.path().join("root"));
        command.args(args).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, args: &[&str], why: &str) {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(errors.starts_with(&format!("error: {why}")), "{errors}");
    }

    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn names_come_and_go_and_the_last_takes_the_image_along() {
    if skip(&[]) {
        return;
    }
    let root = Root::new();
    app(&root.path("layout"), "x");
    let loaded = root.ok(&["load", "-i", "layout", "--name", "app:1"]);
    assert_eq!(loaded, "Loaded image: docker.io/library/app:1\n");
    root.ok(&["tag", "app:1", "other.test/app:2"]);
    let id = root.ok(&["images", "-q", "--no-trunc"]);
    let id = id.trim();
    let listed = root.ok(&["images", "--digests"]);
    let tags: Vec<&str> =
        listed.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(tags, ["1", "2"], "{listed}");
    let shown: Value = serde_json::from_str(&root.ok(&["inspect", &id[7..19]])).unwrap();
    assert_eq!(shown[0]["Id"], id);
    assert_eq!(shown[0]["Config"]["Labels"]["name"], "x");
    assert_eq!(shown[0]["RootFS"]["Layers"].as_array().unwrap().len(), 3);
    assert_eq!(
        shown[0]["RepoTags"],
        serde_json::json!(["docker.io/library/app:1", "other.test/app:2"])
    );
    assert_eq!(root.ok(&["rmi", "app:1"]), "Untagged: docker.io/library/app:1\n");
    root.fails(&["rmi", "app:1"], "no such image: app:1\n");
    root.fails(&["inspect", "app:1"], "no such image: app:1\n");
    root.fails(&["tag", "nope", "x"], "no such image: nope\n");
    root.fails(&["tag", "other.test/app:2", "BAD"], "couldn't parse image name");
    let gone = root.ok(&["rmi", id]);
    assert_eq!(gone, format!("Untagged: other.test/app:2\nDeleted: {id}\n"));
    for dir in ["blobs/sha256", "layers", "tmp", "leases"] {
        let left = fs::read_dir(root.path("root/lib/images").join(dir)).unwrap().count();
        assert_eq!(left, 0, "{dir}");
    }
}

#[test]
fn what_is_saved_is_what_others_load() {
    if skip(&["skopeo"]) {
        return;
    }
    let root = Root::new();
    app(&root.path("layout"), "x");
    root.ok(&["load", "-i", "layout", "--name", "app:1"]);
    app(&root.path("layout2"), "y");
    root.ok(&["load", "-i", "layout2", "--name", "two:1"]);
    root.ok(&["save", "-o", "oci.tar", "app:1", "two:1"]);
    root.ok(&["save", "-o", "docker.tar", "--format", "docker-archive", "app:1", "two:1"]);
    sh(
        "cd \"$1\"; mkdir direct; RUNP_ROOT=root \"$2\" save app:1 > direct/oci.tar",
        &[root.0.path(), Path::new(env!("CARGO_BIN_EXE_podctl"))],
    );
    // The same image is the same archive, byte by byte.
    root.ok(&["save", "-o", "again.tar", "app:1"]);
    sh("cmp \"$1/again.tar\" \"$1/direct/oci.tar\"", &[root.0.path()]);
    sh(
        "cd \"$1\"; for from in oci-archive:oci.tar:docker.io/library/two:1 docker-archive:docker.tar:app:1
        do rm -rf out; skopeo copy -q --insecure-policy $from oci:out:x; done",
        &[root.0.path()],
    );
    let before = root.ok(&["images", "-q", "--no-trunc"]);
    for archive in ["oci.tar", "docker.tar"] {
        root.ok(&["rmi", "--all"]);
        root.ok(&["load", "-i", archive]);
        let names = root.ok(&["images"]);
        for name in ["docker.io/library/app", "docker.io/library/two"] {
            assert!(names.contains(name), "{archive}: {names}");
        }
        let mut ids: Vec<&str> = before.lines().collect();
        let after = root.ok(&["images", "-q", "--no-trunc"]);
        let mut now: Vec<&str> = after.lines().collect();
        ids.sort_unstable();
        now.sort_unstable();
        assert_eq!(ids, now, "{archive}");
    }
    root.fails(&["save", "-o", "x.tar", "nope"], "no such image: nope\n");
    root.fails(&["save", "-o", "no/where.tar", "app:1"], "save to no/where.tar: ENOENT");
    root.fails(&["save", "-o", "x.tar", "host"], "the image \"host\" is this machine");
    let left = fs::read_dir(root.0.path()).unwrap().flatten();
    let left = left.filter(|it| it.file_name().to_string_lossy().contains("x.tar")).count();
    assert_eq!(left, 0);
}

#[test]
fn gc_takes_what_no_pod_uses() {
    if skip(&[]) {
        return;
    }
    let root = Root::new();
    app(&root.path("layout"), "x");
    root.ok(&["load", "-i", "layout", "--name", "app:1"]);
    fs::write(root.path("root/lib/images/tmp/blob-part"), vec![1; 100_000]).unwrap();
    let usage = root.ok(&["images", "--usage"]);
    let row: Vec<&str> = usage.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(&row[..2], ["1", "0"], "{usage}");
    let would = root.ok(&["gc", "--dry-run"]);
    assert!(would.starts_with("would remove docker.io/library/app:1 ("), "{would}");
    assert_eq!(root.ok(&["images", "-q"]).lines().count(), 1);
    let done = root.ok(&["gc"]);
    assert!(done.starts_with("Untagged: docker.io/library/app:1\nDeleted: sha256:"), "{done}");
    assert!(done.lines().last().unwrap().starts_with("freed "), "{done}");
    assert_eq!(root.ok(&["images", "-q"]), "");
    assert!(!root.path("root/lib/images/tmp/blob-part").exists());
}

#[test]
fn pull_tells_what_it_does() {
    if skip(&["skopeo", "docker-registry"]) {
        return;
    }
    let registry = Registry::with_app();
    let root = Root::new();
    let name = format!("127.0.0.1:{}/app:1", registry.port);
    let output = root.run(&["pull", &name]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("Pulled image: {name}\n"));
    let lines = String::from_utf8(output.stderr).unwrap();
    assert_eq!(lines.lines().filter(|line| line.ends_with(": pulled")).count(), 3, "{lines}");
    let quiet = root.run(&["pull", "-q", &name]);
    assert!(quiet.stdout.starts_with(b"sha256:") && quiet.stderr.is_empty(), "{quiet:?}");
    root.fails(&["pull"], "you must specify at least one image to pull\n");
    root.fails(&["pull", "host"], "failed to pull and unpack image");
    // On a terminal a bar tells how far a slow one is: here for as long as we look.
    let proxy = Proxy::before(registry.port);
    proxy.fault("GET /v2/app/blobs/", 100, Fault::Stall(100_000));
    let root = Root::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_podctl"));
    command.args(["pull", &format!("127.0.0.1:{}/app:1", proxy.port)]);
    command.env("RUNP_ROOT", root.path("root")).env("TERM", "xterm");
    let mut session = rexpect::session::spawn_command(command, Some(30_000)).unwrap();
    session.exp_string(&format!("Pulling 127.0.0.1:{}/app:1 [", proxy.port)).unwrap();
    session.exp_string("/3.16MB ").unwrap();
}

/// As the kubelet's collector: no more than the disk needs, what was used last stays.
#[test]
fn gc_frees_what_the_disk_needs_and_the_oldest_first() {
    if skip(&[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, mut state) in [("old", 1_u32), ("new", 77)] {
        // Xorshift: nothing that a compressor finds.
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        let noise: Vec<u8> = (0..2_000_000).map(|_| byte()).collect();
        let layers = [tar_of(&[Member::file("noise", &noise)])];
        write_layout(&dir.path().join(name), &layers, &serde_json::json!({}));
    }
    let script = r#"mkdir root; mount -t tmpfs -o size=20m none root
        gc() { "$0" gc --image-gc-high-threshold "$@" 2>&1 | sed 's/[0-9]*%/N%/; s/([0-9.MB]*)/(N)/'; }
        "$0" load -i old --name old:1; "$0" load -i new --name new:1
        gc 85
        gc 10 --image-gc-low-threshold 11
        gc 10 --image-gc-low-threshold 10 | sed 's/[0-9][0-9]* bytes/N bytes/g'
        gc 30 --image-gc-low-threshold 25 --minimum-image-ttl-duration 0 --dry-run
        gc 30 --image-gc-low-threshold 25 --minimum-image-ttl-duration 0
        "$0" images | awk '{ print $1 }'"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", script, env!("CARGO_BIN_EXE_podctl")]);
    let output = command.current_dir(dir.path()).env("RUNP_ROOT", "root").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let told: Vec<&str> = told.lines().filter(|line| !line.starts_with("Deleted: ")).collect();
    let wanted = [
        "Loaded image: docker.io/library/old:1",
        "Loaded image: docker.io/library/new:1",
        "the disk is N% full: nothing to do",
        "error: --image-gc-low-threshold 11 is above the high one, 10",
        "error: Failed to garbage collect required amount of images. Attempted to free N bytes, but \
         only found N bytes eligible to free.",
        "would remove docker.io/library/old:1 (N)",
        "Untagged: docker.io/library/old:1",
        "IMAGE",
        "docker.io/library/new",
    ];
    assert_eq!(told, wanted, "{}", String::from_utf8_lossy(&output.stderr));
}
