//! What a loss of power leaves, and a disk that is full.

use crate::build::{Scene, skip};
use crate::proxy::Proxy;
use crate::registry::{Registry, assert_app, pull_anonymously};
use runp::image::Reference;
use std::fs::{self, File};
use std::process::Command;

const MARK: &str = "\"runp.unsynced\":\"";

fn index(scene: &Scene) -> String {
    fs::read_to_string(scene.path("store/index.json")).unwrap()
}

/// The index as the next boot finds it.
fn boot_again(scene: &Scene) {
    let index = index(scene);
    let (before, after) = index.split_once(MARK).expect("no mark");
    let other = "0".repeat(36);
    let again = format!("{before}{MARK}{other}{}", &after[other.len()..]);
    fs::write(scene.path("store/index.json"), again).unwrap();
}

fn cut(file: &std::path::Path) {
    File::options().write(true).open(file).unwrap().set_len(1000).unwrap();
}

#[test]
fn what_may_be_half_after_a_loss_of_power_is_made_anew() {
    if skip(&["skopeo", "docker-registry"]) {
        return;
    }
    let registry = Registry::with_app();
    let proxy = Proxy::before(registry.port);
    let name = format!("127.0.0.1:{}/app:1", proxy.port);
    let scene = Scene::new();
    let pulled = pull_anonymously(&scene, &name).unwrap();
    let noise = pulled.image.layers[1].join("noise");
    let blobs = proxy.seen("/blobs/").len();
    // Files of the unpacked layers are short: the blobs are whole, and nothing is asked for again.
    boot_again(&scene);
    cut(&noise);
    assert!(scene.find(&name).is_some());
    assert_app(&scene, &pulled);
    assert!(!index(&scene).contains(MARK), "it is on the disk now");
    assert_eq!(proxy.seen("/blobs/").len(), blobs);

    // A second name is as sure as the first.
    scene.store.remove_image(&pulled.image.manifest).unwrap();
    pull_anonymously(&scene, &name).unwrap();
    scene.store.tag(&pulled.image, &Reference::parse("other:1").unwrap()).unwrap();
    assert_eq!(index(&scene).matches(MARK).count(), 2);
    scene.store.tidy().unwrap();
    assert!(!index(&scene).contains(MARK));

    // A blob is short: there is no such image any more, and it comes again.
    scene.store.remove_image(&pulled.image.manifest).unwrap();
    pull_anonymously(&scene, &name).unwrap();
    let blobs = proxy.seen("/blobs/").len();
    boot_again(&scene);
    let largest = fs::read_dir(scene.path("store/blobs/sha256")).unwrap().map(|it| it.unwrap());
    cut(&largest.max_by_key(|it| it.metadata().unwrap().len()).unwrap().path());
    assert_eq!(scene.store.list().unwrap().len(), 1, "nobody has looked");
    assert!(scene.store.look_up(&pulled.image.id[7..20]).unwrap().is_none());
    assert_eq!(scene.store.list().unwrap().len(), 0);
    assert_app(&scene, &pull_anonymously(&scene, &name).unwrap());
    assert!(proxy.seen("/blobs/").len() > blobs);

    // Not even the manifest has come through.
    boot_again(&scene);
    let hex = &pulled.image.manifest[7..];
    File::create(scene.path("store/blobs/sha256").join(hex)).unwrap();
    assert!(scene.store.list().unwrap().is_empty());
    assert!(scene.find(&name).is_none());
    assert_app(&scene, &pull_anonymously(&scene, &name).unwrap());
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half() {
    if skip(&["skopeo", "docker-registry"]) {
        return;
    }
    let registry = Registry::with_app();
    let dir = tempfile::tempdir().unwrap();
    // Too little for the blobs; enough for them, but not for the layers; enough.
    let script = r#"mkdir root; mount -t tmpfs -o size=2m none root
        ! "$0" pull -q "$1" || exit 90
        [ -z "$("$0" images -q)" ] || exit 91
        mount -o remount,size=4500k root
        ! "$0" pull -q "$1" || exit 92
        [ -z "$("$0" images -q)" ] || exit 93
        ! ls root/lib/images/layers/*/more || exit 94
        mount -o remount,size=32m root
        "$0" pull -q "$1"
        [ "$(stat -c %s root/lib/images/layers/*/noise)" = 1500000 ] || exit 95
        [ -z "$(ls root/lib/images/tmp root/lib/images/leases | grep -v :)" ] || exit 96"#;
    let name = format!("127.0.0.1:{}/app:1", registry.port);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", script, env!("CARGO_BIN_EXE_podctl"), &name]);
    let output = command.current_dir(dir.path()).env("RUNP_ROOT", "root").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let told: Vec<&str> = errors.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(told.len(), 2, "{errors}");
    assert!(told.iter().all(|line| line.contains("ENOSPC")), "{errors}");
    assert_eq!(errors.matches("hint: podctl gc removes images that no pod uses").count(), 2);
}
