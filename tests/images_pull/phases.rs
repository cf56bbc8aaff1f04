//! Each step of bringing images in and removing them killed in turn: strace(1) sends SIGKILL at the
//! N-th call of a kind, for every N until there are no more.

use crate::build::{Scene, skip};
use crate::registry::{Registry, app, assert_nothing, pull_anonymously};
use runp::image::{Reference, Store};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const CHILD: &str = "RUNP_TEST_PHASE";
/// The calls that change what others see.
const CALLS: [&str; 4] = ["rename", "flock", "unlink", "unlinkat"];
/// Each costs a process: the last ones of long loops are like those before.
const MOST: usize = 4;

/// The process that is killed; by itself, nothing.
#[test]
fn work_for_the_test_that_kills() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (work, rest) = task.split_once(' ').unwrap();
    let (dir, name) = rest.split_once(' ').unwrap();
    let dir = Path::new(dir);
    act(&Store::open(&dir.join("store")).unwrap(), (work, name), &dir.join("layout"));
}

fn act(store: &Store, (work, name): (&str, &str), layout: &Path) {
    let reference = Reference::parse(name).unwrap();
    match work {
        "load" => drop(store.load(layout, Some(&reference)).unwrap()),
        "remove" => drop(store.remove(&reference).unwrap()),
        "tidy" => drop(store.tidy().unwrap()),
        _ => {
            let options = runp::image::pull::Options {
                keyring: &runp::image::registry::Keyring::default(),
                if_absent: false,
                patience: std::time::Duration::from_secs(20),
                progress: &|_| {},
            };
            drop(runp::image::pull::pull(store, &reference, &options).unwrap());
        }
    }
}

/// Does the work in a process that is killed at its `n`-th `call`; false if it has fewer.
fn killed(scene: &Scene, (work, name): (&str, &str), (call, n): (&str, usize)) -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=SIGKILL:when={n}")]);
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "phases::work_for_the_test_that_kills"]);
    command.env(CHILD, format!("{work} {} {name}", scene.dir.path().display()));
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    !status.success()
}

/// Whatever the store names is there, whole.
fn assert_whole(scene: &Scene, case: &str) {
    for image in scene.store.list().unwrap() {
        for (layer, file) in [(1, "noise"), (2, "more")] {
            let size = fs::metadata(image.layers[layer].join(file)).map(|it| it.len());
            assert_eq!(size.ok(), Some(1_500_000), "{case}: {file}");
        }
    }
}

#[test]
fn every_step_may_be_the_last() {
    if skip(&["skopeo", "docker-registry", "strace"]) {
        return;
    }
    let registry = Registry::with_app();
    let pulled = format!("127.0.0.1:{}/app:1", registry.port);
    for work in ["pull", "load", "remove", "tidy"] {
        let scene = Scene::new();
        app(&scene.path("layout"), "app:1");
        let name = if work == "load" { "loaded.test/app:1" } else { pulled.as_str() };
        let mut kills = 0;
        for call in CALLS {
            for n in 1..=MOST {
                let case = format!("{work}, {call} {n}");
                prepare(&scene, work, name);
                if !killed(&scene, (work, name), (call, n)) {
                    break;
                }
                kills += 1;
                assert_whole(&scene, &case);
                act(&scene.store, (work, name), &scene.path("layout"));
                assert_whole(&scene, &case);
                let there = scene.find(name).is_some();
                assert_eq!(there, work != "remove", "{case}");
                assert!(scene.leftovers().is_empty(), "{case}: {:?}", scene.leftovers());
            }
        }
        assert!(kills >= CALLS.len(), "{work} was killed {kills} times");
        scene.store.remove(&Reference::parse(name).unwrap()).unwrap();
        assert_nothing(&scene);
    }
}

/// Makes the store such that there is something to do.
fn prepare(scene: &Scene, work: &str, name: &str) {
    let reference = Reference::parse(name).unwrap();
    match work {
        "pull" | "load" => drop(scene.store.remove(&reference).unwrap()),
        _ => {
            if scene.find(name).is_none() {
                pull_anonymously(scene, name).unwrap();
            }
            fs::create_dir_all(scene.path("store/tmp/layer-x/sub")).unwrap();
            fs::create_dir_all(scene.path("store/layers/unknown")).unwrap();
            fs::write(scene.path("store/blobs/sha256/unknown"), "").unwrap();
        }
    }
}
