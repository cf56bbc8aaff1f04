//! A pod's pull makes room on a disk that is full, as the kubelet does.

use crate::build::sh;
use crate::pods::World;
use crate::registry::{Setup, app};

/// Goes: pulled, unused, old. Stays: what was loaded, what is young, what a pod uses.
#[test]
fn a_pods_pull_makes_room_on_a_full_disk() {
    let Some(world) = World::new("collect", &Setup::default()) else { return };
    let images = world.instance.root().join("lib/images");
    sh("mkdir -p \"$1\"; mount -t tmpfs -o size=40m none \"$1\"", &[&images]);
    world.registry.push_app("old:1", "");
    world.registry.push_app("young:1", "");
    let (old, young, used) = (world.image("old:1"), world.image("young:1"), world.image("bb:1"));
    app(&world.instance.path("layout"), "kept");
    let layout = world.instance.path("layout").display().to_string();
    world.instance.podctl(&["load", "-i", &layout, "--name", "kept:1"]).ok();
    world.instance.podctl(&["pull", "-q", &old]).ok();
    let names = || {
        let images = world.instance.engine().images().unwrap().list().unwrap();
        let mut names: Vec<String> = images.into_iter().flat_map(|image| image.names).collect();
        names.sort();
        names
    };
    let age = "find \"$1/blobs\" -type f -exec touch -d '1 hour ago' {} +";
    sh(age, &[&images]);
    world.apply("first", &used, "IfNotPresent", "");
    world.instance.wait_running("first");
    assert!(names().contains(&old), "{:?}: the disk is not full", names());

    sh(age, &[&images]);
    world.instance.podctl(&["pull", "-q", &young]).ok();
    sh("head -c 29500000 /dev/zero > \"$1/filler\"", &[&images]);
    let told = "gc --dry-run --image-gc-high-threshold 85";
    let told: Vec<&str> = told.split(' ').collect();
    let told = world.instance.podctl(&told).ok();
    assert!(told.contains("kept:1") && told.contains(&old) && !told.contains(&young), "{told}");
    world.apply("second", &used, "Always", "");
    world.instance.wait_running("second");
    let mut left = vec!["docker.io/library/kept:1".to_owned(), young, used];
    left.sort();
    assert_eq!(names(), left);
    world.end_unmounted(&["first", "second"]);
}
