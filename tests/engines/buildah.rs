//! buildah, whose RUN instructions are containers.

use super::image::BUSYBOX;
use super::world::{World, runtime};

#[test]
fn builds_an_image() {
    let Some(world) = World::new("buildah", &["buildah"]) else { return };
    let runtime = runtime();
    let (root, run) = (world.text("root"), world.text("run"));
    let call = |args: &[&str]| {
        let storage = ["buildah", "--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
        world.run(&[&storage, args].concat())
    };
    call(&["pull", "--quiet", &format!("docker-archive:{}:{BUSYBOX}", world.text("images.tar"))])
        .ok();
    let recipe = format!(
        "FROM {BUSYBOX}\nENV WHO=runp\nRUN echo \"made by $WHO\" >/var/made && id -un >>/var/made\n\
         USER user\nRUN id -un >/tmp/user\nCMD [\"cat\", \"/var/made\"]\n"
    );
    let recipe = world.write("context/Containerfile", &recipe);
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let build = ["build", "--isolation", "oci", "--runtime", &runtime, "--network", "host"];
    let context = world.text("context");
    let target = ["--tag", "localhost/made:1", "--file", &recipe, &context];
    call(&[&build[..], &limits, &target].concat()).ok();

    let container = call(&["from", "--pull-never", "localhost/made:1"]).ok();
    let run = ["run", "--isolation", "oci", "--runtime", &runtime, &container];
    assert_eq!(
        call(&[&run[..], &["cat", "/var/made", "/tmp/user"]].concat()).ok(),
        "made by runp\nroot\nuser"
    );
    call(&[&run[..], &["sh", "-c", "exit 7"]].concat()).fails(7, "");
    call(&["rm", &container]).ok();
    world.assert_nothing_left(&["/buildah"]);
}
