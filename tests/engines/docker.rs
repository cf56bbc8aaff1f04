//! docker: dockerd with `--add-runtime`, and its command line.

use super::image::BUSYBOX;
use super::world::{Done, World, runtime};

struct Docker {
    world: World,
}

impl Docker {
    fn new(case: &str) -> Option<Self> {
        let world = World::new(case, &["dockerd", "docker", "script"])?;
        let (host, root) = (format!("unix://{}", world.text("sock")), world.text("root"));
        let (state, pid) = (world.text("state"), world.text("pid"));
        let settings = world.write("daemon.json", "{}");
        let runtime = format!("ours={}", runtime());
        let mut args = vec!["dockerd", "--config-file", &settings, "--host", &host];
        args.extend(["--data-root", &root, "--exec-root", &state, "--pidfile", &pid]);
        args.extend(["--add-runtime", &runtime, "--default-runtime", "ours"]);
        args.extend(["--exec-opt", "native.cgroupdriver=cgroupfs", "--storage-driver", "overlay2"]);
        // The kernel of a test machine need not have what a bridge with NAT takes.
        args.extend(["--bridge", "none", "--iptables=false", "--ip6tables=false"]);
        world.daemon(&args, "sock");
        let docker = Self { world };
        docker.call(&["load", "--quiet", "--input", &docker.world.text("images.tar")]).ok();
        Some(docker)
    }

    #[track_caller]
    fn call(&self, args: &[&str]) -> Done {
        let host = format!("unix://{}", self.world.text("sock"));
        self.world.run(&[&["docker", "--host", &host], args].concat())
    }

    #[track_caller]
    fn run(&self, options: &[&str], command: &[&str]) -> Done {
        self.call(&[&["run", "--rm"], options, &[BUSYBOX], command].concat())
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        assert_eq!(self.call(&["ps", "--all", "--quiet"]).ok(), "");
        self.world.end_daemons();
        self.world.assert_nothing_left(&["/docker"]);
    }
}

#[test]
fn docker_runs_and_ends_containers() {
    let Some(docker) = Docker::new("docker") else { return };
    assert_eq!(docker.run(&[], &["echo", "hello"]).ok(), "hello");
    docker.run(&[], &["sh", "-c", "exit 7"]).fails(7, "");
    docker.run(&[], &["nosuch"]).fails(127, "nosuch");
    docker.run(&[], &["/etc/passwd"]).fails(126, "/etc/passwd");
    docker.run(&["--read-only"], &["touch", "/file"]).fails(1, "Read-only file system");
    docker
        .run(&["--memory", "8m"], &["sh", "-c", "x=0123456789; while :; do x=$x$x; done"])
        .fails(137, "");
    let first = docker.run(&["--init"], &["ps", "-o", "pid,args"]).ok();
    assert!(first.contains("init -- ps"), "{first}");
    assert_eq!(docker.run(&["--user", "user"], &["id", "-un"]).ok(), "user");

    let script = "trap 'echo bye; exit 0' TERM; echo out; while :; do sleep 0.1; done";
    docker.call(&["run", "--detach", "--name", "web", BUSYBOX, "sh", "-c", script]).ok();
    let look = |what: &str| docker.call(&["inspect", "--format", what, "web"]).ok();
    assert_eq!(look("{{.HostConfig.Runtime}} {{.State.Status}}"), "ours running");
    docker.call(&["exec", "web", "sh", "-c", "exit 3"]).fails(3, "");
    let tty = format!("docker --host unix://{} exec -it web tty", docker.world.text("sock"));
    let tty = docker.world.run(&["script", "--quiet", "--return", "--command", &tty, "/dev/null"]);
    assert!(tty.ok().contains("/dev/pts/0"), "a terminal");
    let top = docker.call(&["top", "web"]).ok();
    assert!(top.contains("while"), "{top}");
    docker.call(&["pause", "web"]).ok();
    assert_eq!(look("{{.State.Status}}"), "paused");
    docker.call(&["unpause", "web"]).ok();
    docker.call(&["update", "--memory", "50m", "--memory-swap", "60m", "web"]).ok();
    docker.call(&["stop", "--time", "30", "web"]).ok();
    assert_eq!(look("{{.State.ExitCode}}"), "0");
    assert_eq!(docker.call(&["logs", "web"]).ok(), "out\nbye");
    docker.call(&["start", "web"]).ok();
    docker.call(&["kill", "web"]).ok();
    assert_eq!(docker.call(&["wait", "web"]).ok(), "137");
    docker.call(&["rm", "web"]).ok();
    docker.assert_nothing_left();
}
