//! A pull may be killed at any byte, and many may run at once.

use crate::build::{Scene, skip};
use crate::proxy::Proxy;
use crate::registry::{Registry, assert_app, pull_anonymously};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const ROUNDS: u32 = 10;
const CHILD: &str = "RUNP_TEST_PULL";

/// The process that the tests kill, or start several of; by itself, nothing.
#[test]
fn pull_for_the_tests_that_kill() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (store, name) = task.split_once(' ').unwrap();
    let options = runp::image::pull::Options {
        keyring: &runp::image::registry::Keyring::default(),
        if_absent: true,
        patience: std::time::Duration::from_secs(20),
        progress: &|_| {},
    };
    let store = runp::image::Store::open(Path::new(store)).unwrap();
    runp::image::pull::pull(&store, &runp::image::Reference::parse(name).unwrap(), &options)
        .unwrap();
}

fn spawn(scene: &Scene, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::pull_for_the_tests_that_kill"])
        .env(CHILD, format!("{} {name}", scene.path("store").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_pull_leaves_no_half_image() {
    if skip(&["skopeo", "docker-registry"]) {
        return;
    }
    let registry = Registry::with_app();
    let name = format!("127.0.0.1:{}/app:1", registry.port);
    let scene = Scene::new();
    let begin = Instant::now();
    assert!(spawn(&scene, &name).wait().unwrap().success());
    let whole = begin.elapsed();
    let manifest = scene.find(&name).unwrap().manifest;
    let mut unfinished = 0;
    for part in 1..=ROUNDS {
        scene.store.remove_image(&manifest).unwrap();
        let mut child = spawn(&scene, &name);
        let end = Instant::now() + whole * part / ROUNDS;
        while Instant::now() < end && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        unfinished += u32::from(scene.find(&name).is_none());
        // Parts of the killed one are taken over, and it is whole.
        assert_app(&scene, &pull_anonymously(&scene, &name).unwrap());
    }
    assert!(unfinished > ROUNDS / 4, "only {unfinished} of {ROUNDS} were killed in time");
    scene.store.remove_image(&manifest).unwrap();
    scene.store.tidy().unwrap();
    crate::registry::assert_nothing(&scene);
}

#[test]
fn many_pulls_at_once_fetch_every_blob_once() {
    if skip(&["skopeo", "docker-registry"]) {
        return;
    }
    let registry = Registry::with_app();
    // Other names, and so other pulls, of the same layers.
    for name in ["b:1", "c:1", "c:2"] {
        registry.push_app(name, "");
    }
    let proxy = Proxy::before(registry.port);
    let scene = Scene::new();
    let name = |image: &str| format!("127.0.0.1:{}/{image}", proxy.port);
    let images = ["app:1", "app:1", "app:1", "b:1", "c:1", "c:2"];
    let children: Vec<Child> = images.iter().map(|image| spawn(&scene, &name(image))).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    for image in images {
        assert_app(&scene, &pull_anonymously(&scene, &name(image)).unwrap());
    }
    assert_eq!(scene.store.list().unwrap().len(), 4);
    // Three layers once, and four configurations.
    assert_eq!(proxy.seen("GET ").iter().filter(|seen| seen.line.contains("/blobs/")).count(), 7);
}
