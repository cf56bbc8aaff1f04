//! Loading: every form of archive, and every way in which one can be wrong.

use crate::build::{
    Member, Scene, blob, gzip, image, sh, sha256, skip, tar_of, write_index, write_layout,
};
use runp::image::{Reference, Store};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Bytes of the larger file: enough for many writes.
const NOISE: u32 = 500_000;

fn two_layers() -> [Vec<u8>; 2] {
    let noise: Vec<u8> = (0..NOISE).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    [
        tar_of(&[Member::dir("etc/"), Member::file("etc/passwd", b"web:x:7:8::/:\n")]),
        tar_of(&[Member::file("noise", &noise)]),
    ]
}

/// An OCI layout at `layout` with one image named `name`.
fn named_layout(layout: &Path, name: &str) {
    let mut manifest = image(layout, &two_layers(), &json!({}));
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    write_index(layout, &[manifest]);
}

#[test]
fn every_form_of_archive_holds_the_same_image() {
    if skip(&["skopeo", "zstd", "xz"]) {
        return;
    }
    let scene = Scene::new();
    named_layout(&scene.path("layout"), "nginx:1.15.2");
    sh(
        "cd \"$1\"; from=oci:layout:nginx:1.15.2; copy() { skopeo copy -q --insecure-policy \"$@\"; }
        copy $from oci-archive:oci.tar:nginx:1.15.2; copy $from docker-archive:docker.tar:nginx:1.15.2
        copy --dest-compress-format zstd $from oci:zstd:nginx:1.15.2
        gzip -k oci.tar docker.tar; zstd -q oci.tar; zstd -q docker.tar
        xz -k -T2 --block-size=100000 oci.tar; xz -k -9 docker.tar; tar -cf plain.tar -C layout .",
        &[scene.dir.path()],
    );
    let name = Reference::parse("nginx:1.15.2").unwrap();
    let mut ids = Vec::new();
    for form in [
        "layout",
        "zstd",
        "plain.tar",
        "oci.tar",
        "oci.tar.gz",
        "oci.tar.zst",
        "oci.tar.xz",
        "docker.tar",
        "docker.tar.gz",
        "docker.tar.zst",
        "docker.tar.xz",
    ] {
        let store = Store::open(&scene.path(&format!("store-{form}"))).unwrap();
        let loaded = store.load(&scene.path(form), None).unwrap();
        assert_eq!(loaded.len(), 1, "{form}");
        assert_eq!(loaded[0].names, [name.to_string()], "{form}");
        let found = store.find(&name).unwrap().unwrap();
        assert_eq!(found.manifest, loaded[0].manifest, "{form}");
        assert!(found.layers.iter().all(|layer| layer.is_dir()), "{form}: {:?}", found.layers);
        ids.push((found.id, found.layers[1].file_name().unwrap().to_owned()));
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    // Our store is a layout that others read.
    let store = format!("oci:{}:{name}", scene.path("store-oci.tar").display());
    sh(
        "skopeo copy -q --insecure-policy \"$1\" dir:\"$2\"",
        &[Path::new(&store), &scene.path("back")],
    );
}

#[test]
fn an_archive_through_a_pipe() {
    if skip(&[]) {
        return;
    }
    let scene = Scene::new();
    named_layout(&scene.path("layout"), "piped");
    sh("cd \"$1\"; tar -cf a.tar -C layout .; mkfifo fifo", &[scene.dir.path()]);
    let mut writer = Command::new("sh")
        .args(["-c", "cat a.tar > fifo"])
        .current_dir(scene.dir.path())
        .spawn()
        .unwrap();
    assert_eq!(scene.store.load(&scene.path("fifo"), None).unwrap().len(), 1);
    assert!(writer.wait().unwrap().success());
}

/// Damages what `damage` says and returns the error; nothing may be visible or left.
fn failure(damage: impl FnOnce(&Path)) -> String {
    let scene = Scene::new();
    let layout = scene.path("layout");
    named_layout(&layout, "broken");
    damage(&layout);
    let error = scene.store.load(&layout, None).unwrap_err().to_string();
    assert!(scene.store.list().unwrap().is_empty(), "{error}");
    // The next writer sweeps what was left.
    scene.store.remove(&Reference::parse("broken").unwrap()).unwrap();
    assert!(scene.leftovers().is_empty());
    for dir in ["store/blobs/sha256", "store/layers"] {
        assert_eq!(fs::read_dir(scene.path(dir)).unwrap().count(), 0, "{dir} after: {error}");
    }
    error
}

/// The largest blob, which is the layer with noise.
fn largest(layout: &Path) -> std::path::PathBuf {
    let blobs = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    blobs
        .map(|blob| blob.unwrap().path())
        .max_by_key(|blob| blob.metadata().unwrap().len())
        .unwrap()
}

#[test]
fn damage_is_refused_by_digest() {
    if skip(&[]) {
        return;
    }
    let named = |layout: &Path| largest(layout).file_name().unwrap().to_str().unwrap().to_owned();
    let mut hex = String::new();
    let error = failure(|layout| {
        hex = named(layout);
        let mut content = fs::read(largest(layout)).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        fs::write(largest(layout), content).unwrap();
    });
    let damaged = format!("content of sha256:{hex} is damaged: its digest is sha256:");
    assert!(error.contains(&damaged), "{error}");

    let error = failure(|layout| {
        let content = fs::read(largest(layout)).unwrap();
        fs::write(largest(layout), &content[..content.len() - 1]).unwrap();
    });
    assert!(error.contains(&format!("sha256:{hex} has ")), "{error}");
    assert!(error.contains("bytes instead of"), "{error}");

    let error = failure(|layout| fs::remove_file(largest(layout)).unwrap());
    assert!(error.ends_with(&format!("sha256:{hex} is not in the archive")), "{error}");
}

#[test]
fn documents_that_lie_are_refused() {
    if skip(&[]) {
        return;
    }
    let [layer, other] = two_layers();
    let wrong_diff =
        json!({"rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&other))]}});
    let plain = format!("its digest is sha256:{}", sha256(&layer));
    for (change, why) in [
        (wrong_diff, plain.as_str()),
        (json!({"rootfs": {"type": "layers", "diff_ids": []}}), "1 layers, 0 diff_ids"),
        (
            json!({"rootfs": {"type": "layers", "diff_ids": ["sha256:../../x"]}}),
            "is not a sha256 digest",
        ),
        (json!({"architecture": "s390x"}), "no image for linux/amd64, only for linux/s390x"),
        (json!({"config": 7}), "invalid type: integer `7`"),
    ] {
        let error = failure(|layout| {
            fs::remove_dir_all(layout).unwrap();
            write_layout(layout, std::slice::from_ref(&layer), &change);
        });
        assert!(error.contains(why), "{error}");
    }
    for (index, why) in [
        ("{", "index.json: EOF while parsing an object at line 1 column 1"),
        (r#"{"schemaVersion":2,"manifests":[]}"#, "no image for linux/amd64"),
    ] {
        let error = failure(|layout| fs::write(layout.join("index.json"), index).unwrap());
        assert!(error.ends_with(why), "{error}");
    }
    let error = failure(|layout| fs::remove_file(layout.join("index.json")).unwrap());
    assert!(error.contains("not an image"), "{error}");
}

#[test]
fn files_that_are_no_archive_are_refused() {
    if skip(&[]) {
        return;
    }
    let scene = Scene::new();
    named_layout(&scene.path("layout"), "cut");
    sh("tar -cf \"$1/a.tar\" -C \"$1/layout\" .", &[scene.dir.path()]);
    let whole = fs::read(scene.path("a.tar")).unwrap();
    for (content, why) in [
        (b"hello\n".to_vec(), "ends within a header"),
        (vec![b'x'; 4096], "not a tar header at byte 0"),
        (Vec::new(), "not an image"),
        (whole[..whole.len() / 2].to_vec(), ""),
        (gzip(&whole)[..5000].to_vec(), ""),
        (b"\xfd7zXZ\0 and so on".to_vec(), "XZ stream header CRC32 mismatch"),
        (b"BZh9 and so on".to_vec(), "compressed with bzip2; gzip, zstd and xz are understood"),
        (tar_of(&[Member::file("etc/passwd", b"")]), "neither index.json (OCI) nor manifest.json"),
    ] {
        let path = scene.path("file");
        fs::write(&path, content).unwrap();
        let error = scene.store.load(&path, None).unwrap_err().to_string();
        assert!(error.starts_with(&format!("load {}", path.display())), "{error}");
        assert!(error.contains(why), "{error}");
    }
    let error = scene.store.load(&scene.path("nothing"), None).unwrap_err().to_string();
    assert!(error.ends_with("ENOENT: no such file or directory"), "{error}");
    assert!(scene.store.list().unwrap().is_empty());
}

fn on(mut descriptor: Value, os: &str, architecture: &str) -> Value {
    descriptor["mediaType"] = "application/vnd.oci.image.manifest.v1+json".into();
    descriptor["platform"] = json!({"os": os, "architecture": architecture});
    descriptor
}

#[test]
fn the_machine_s_image_is_picked_from_an_index() {
    if skip(&[]) {
        return;
    }
    let scene = Scene::new();
    let layout = scene.path("layout");
    let [layer, _] = two_layers();
    let ours = image(&layout, &[layer], &json!({}));
    let foreign = on(blob(&layout, b"{}"), "linux", "arm64");
    let unknown = on(blob(&layout, b"[]"), "unknown", "unknown");
    let index = |layout: &Path, manifests: &[Value]| {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        let mut index = blob(layout, index.to_string().as_bytes());
        index["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
        index["annotations"] = json!({"io.containerd.image.name": "docker.io/library/app:1",
            "org.opencontainers.image.ref.name": "1"});
        index
    };
    let many =
        index(&layout, &[foreign.clone(), on(ours.clone(), "linux", "amd64"), unknown.clone()]);
    write_index(&layout, std::slice::from_ref(&many));
    let loaded = scene.store.load(&layout, None).unwrap();
    assert_eq!(loaded[0].names, ["docker.io/library/app:1"]);
    assert_eq!(loaded[0].manifest, ours["digest"].as_str().unwrap());
    for digest in [&ours["digest"], &many["digest"]] {
        let pinned = format!("app@{}", digest.as_str().unwrap());
        assert_eq!(scene.find(&pinned).unwrap().manifest, loaded[0].manifest, "{pinned}");
    }
    assert!(scene.find(&format!("other@{}", ours["digest"].as_str().unwrap())).is_none());

    write_index(&layout, &[index(&layout, &[foreign, unknown])]);
    let error = scene.store.load(&layout, None).unwrap_err().to_string();
    assert!(error.ends_with("app:1: no image for linux/amd64, only for linux/arm64"), "{error}");
}

#[test]
fn names_move_and_go_and_take_their_content_along() {
    if skip(&[]) {
        return;
    }
    let scene = Scene::new();
    named_layout(&scene.path("host"), "host");
    let [one, two] = two_layers();
    let first = scene.load_layers(&[one.clone(), two.clone()]).unwrap();
    assert_eq!(first.names, ["docker.io/library/test:latest"]);
    let again = scene.load_layers(&[one.clone(), two]).unwrap();
    assert_eq!((&again.manifest, again.loaded), (&first.manifest, first.loaded));
    let second = scene.load_layers(&[one]).unwrap();
    assert_eq!(scene.find("test").unwrap().manifest, second.manifest);
    assert_eq!(second.layers[0], first.layers[0], "layers are shared");
    let names: Vec<usize> =
        scene.store.list().unwrap().iter().map(|image| image.names.len()).collect();
    assert_eq!(names.iter().sum::<usize>(), 1, "the old image stays without a name: {names:?}");
    assert_eq!(names.len(), 2);
    assert!(first.layers[1].is_dir());

    let test = Reference::parse("test").unwrap();
    assert!(scene.store.remove(&test).unwrap());
    assert!(!scene.store.remove(&test).unwrap());
    assert!(scene.find("test").is_none());
    assert!(first.layers[0].is_dir(), "the nameless image has it still");
    let named_host = scene.store.load(&scene.path("host"), None).unwrap_err().to_string();
    assert!(named_host.ends_with("the name \"host\" is the embedded image's"), "{named_host}");
    let host = scene.find("host").unwrap();
    assert_eq!((host.is_host(), host.layers), (true, vec!["/".into()]));
}

#[test]
fn many_loads_at_once() {
    if skip(&[]) {
        return;
    }
    let scene = Scene::new();
    named_layout(&scene.path("a"), "a");
    named_layout(&scene.path("b"), "b");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            for layout in ["a", "b"] {
                let (store, path) = (&scene.store, scene.path(layout));
                scope.spawn(move || store.load(&path, None).unwrap());
            }
        }
    });
    assert_eq!(scene.store.list().unwrap().len(), 1);
    assert_eq!(scene.find("a").unwrap().names.len(), 2);
    assert!(scene.leftovers().is_empty());
}

/// At how many points of a load it is killed.
const ROUNDS: u32 = 20;
const CHILD: &str = "RUNP_TEST_LOAD";

/// The process that the next test kills; by itself, nothing.
#[test]
fn load_for_the_test_that_kills() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let dir = Path::new(&dir);
    Store::open(&dir.join("store")).unwrap().load(&dir.join("layout"), None).unwrap();
}

#[test]
fn a_killed_load_leaves_no_half_image() {
    if skip(&[]) {
        return;
    }
    let scene = Scene::new();
    named_layout(&scene.path("layout"), "whole");
    let spawn = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "load::load_for_the_test_that_kills"])
            .env(CHILD, scene.dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let whole = Instant::now();
    assert!(spawn().wait().unwrap().success());
    let whole = whole.elapsed();
    let image = scene.find("whole").unwrap();
    let mut killed = 0;
    for part in 1..=ROUNDS {
        scene.store.remove(&Reference::parse("whole").unwrap()).unwrap();
        let mut child = spawn();
        let end = Instant::now() + whole * part / ROUNDS;
        while Instant::now() < end && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().signal() == Some(9));
        // Either not there, or whole.
        for found in scene.store.list().unwrap() {
            assert_eq!(found.manifest, image.manifest);
            let noise = fs::metadata(found.layers[1].join("noise")).unwrap();
            assert_eq!(noise.len(), u64::from(NOISE));
        }
        scene.store.load(&scene.path("layout"), None).unwrap();
        assert!(scene.leftovers().is_empty());
        assert_eq!(fs::metadata(image.layers[1].join("noise")).unwrap().len(), u64::from(NOISE));
    }
    assert!(killed > ROUNDS / 4, "only {killed} of {ROUNDS} were killed in time");
}
