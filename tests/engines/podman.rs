//! podman: what people type.

use super::image::BUSYBOX;
use super::world::{Done, World, runtime};

/// What podman itself leaves of pods, and its parent of containers' cgroups.
const ITS_CGROUPS: &[&str] = &["libpod_parent"];

struct Podman {
    world: World,
}

impl Podman {
    fn new(case: &str) -> Option<Self> {
        let world = World::new(case, &["podman", "conmon", "netavark", "script"])?;
        // No systemd here; and the hard limits may be below podman's defaults.
        let settings = format!(
            "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"ours\"\n\
             [engine.runtimes]\nours = [{:?}]\n\
             [containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n",
            runtime()
        );
        world.write("containers.conf", &settings);
        let podman = Self { world };
        podman.call(&["load", "--quiet", "-i", &podman.world.text("images.tar")]).ok();
        Some(podman)
    }

    fn arguments(&self, args: &[&str]) -> Vec<String> {
        let option = |name: &str, dir: &str| [name.to_owned(), self.world.text(dir)];
        let options =
            [option("--root", "root"), option("--runroot", "run"), option("--tmpdir", "tmp")];
        let words = options.into_iter().flatten().chain(args.iter().map(|&arg| arg.to_owned()));
        ["env", &format!("CONTAINERS_CONF={}", self.world.text("containers.conf")), "podman"]
            .map(str::to_owned)
            .into_iter()
            .chain(words)
            .collect()
    }

    #[track_caller]
    fn call(&self, args: &[&str]) -> Done {
        let args = self.arguments(args);
        self.world.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// With a terminal of its own.
    #[track_caller]
    fn on_terminal(&self, args: &[&str]) -> Done {
        let line = self.arguments(args).join(" ");
        self.world.run(&["script", "--quiet", "--return", "--command", &line, "/dev/null"])
    }

    /// `podman run --rm` of busybox.
    #[track_caller]
    fn run(&self, options: &[&str], command: &[&str]) -> Done {
        self.call(&[&["run", "--rm", "--network", "none"], options, &[BUSYBOX], command].concat())
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        assert_eq!(self.call(&["ps", "--all", "--quiet"]).ok(), "");
        self.world.assert_nothing_left(ITS_CGROUPS);
    }
}

#[test]
fn runs_with_what_people_ask_for() {
    let Some(podman) = Podman::new("podman-run") else { return };
    assert_eq!(podman.run(&[], &["echo", "hello"]).ok(), "hello");
    podman.run(&[], &["sh", "-c", "exit 7"]).fails(7, "");
    podman.run(&[], &["nosuch"]).fails(127, "nosuch");
    podman.run(&[], &["/etc/passwd"]).fails(126, "/etc/passwd");
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert_eq!(podman.run(&["--memory", "64m"], &["sh", "-c", limit]).ok(), "67108864");
    podman.run(&["--read-only"], &["touch", "/file"]).fails(1, "Read-only file system");
    assert_eq!(
        podman.run(&["--read-only"], &["sh", "-c", "touch /tmp/file && ls /tmp"]).ok(),
        "file"
    );
    let first = podman.run(&["--init"], &["ps", "-o", "pid,args"]).ok();
    assert!(
        first.lines().any(|line| line.trim().starts_with("1 /") && line.contains("init")),
        "{first}"
    );
    let mapping = ["--uidmap", "0:100000:2000", "--gidmap", "0:100000:2000"];
    let map = podman.run(&mapping, &["cat", "/proc/self/uid_map"]).ok();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "2000"]);
    assert_eq!(podman.run(&["--user", "user"], &["id", "-un"]).ok(), "user");
    let volume = podman.world.text("volume");
    std::fs::create_dir(&volume).unwrap();
    let mount = format!("{volume}:/var/volume:ro");
    podman.run(&["-v", &mount], &["touch", "/var/volume/x"]).fails(1, "Read-only file system");
    assert_eq!(
        podman.run(&["--privileged"], &["sh", "-c", "mount -t tmpfs x /tmp && echo on"]).ok(),
        "on"
    );
    podman
        .run(&["--memory", "8m"], &["sh", "-c", "x=0123456789; while :; do x=$x$x; done"])
        .fails(137, "");
    podman.assert_nothing_left();
}

#[test]
fn lives_as_it_is_told_to() {
    let Some(podman) = Podman::new("podman-life") else { return };
    let script =
        "trap 'echo bye; exit 0' TERM; echo out; echo err >&2; while :; do sleep 0.1; done";
    podman.call(&["run", "-d", "--name", "web", BUSYBOX, "sh", "-c", script]).ok();
    podman.call(&["exec", "web", "sh", "-c", "echo in; exit 3"]).fails(3, "");
    let tty = podman.on_terminal(&["exec", "-it", "web", "tty"]).ok();
    assert!(tty.contains("/dev/pts/0"), "{tty}");
    assert_eq!(
        podman.call(&["exec", "--user", "1000", "--workdir", "/tmp", "web", "pwd"]).ok(),
        "/tmp"
    );
    podman.call(&["pause", "web"]).ok();
    let state = || podman.call(&["inspect", "--format", "{{.State.Status}}", "web"]).ok();
    assert_eq!(state(), "paused");
    podman.call(&["unpause", "web"]).ok();
    assert_eq!(state(), "running");
    podman.call(&["update", "--memory", "50m", "web"]).ok();
    let top = podman.call(&["top", "web", "args"]).ok();
    assert!(top.contains("sleep 0.1") || top.contains("while"), "{top}");
    podman.call(&["stats", "--no-stream", "--no-reset", "web"]).ok();
    podman.call(&["stop", "--time", "30", "web"]).ok();
    assert_eq!(podman.call(&["inspect", "--format", "{{.State.ExitCode}}", "web"]).ok(), "0");
    let logs = podman.call(&["logs", "web"]).ok();
    assert!(logs.contains("out\n") && logs.ends_with("bye"), "{logs}");
    podman.call(&["start", "web"]).ok();
    podman.call(&["kill", "--signal", "KILL", "web"]).ok();
    assert_eq!(podman.call(&["wait", "web"]).ok(), "137");
    podman.call(&["rm", "web"]).ok();
    podman.assert_nothing_left();
}

#[test]
fn pods_share_a_network() {
    let Some(podman) = Podman::new("podman-pod") else { return };
    podman
        .call(&[
            "pod",
            "create",
            "--name",
            "pod",
            "--infra-image",
            BUSYBOX,
            "--infra-command",
            "sleep 1000000",
        ])
        .ok();
    let serve = "echo pong | nc -l -p 8080";
    podman.call(&["run", "-d", "--pod", "pod", "--name", "serve", BUSYBOX, "sh", "-c", serve]).ok();
    let ask = "until nc 127.0.0.1 8080 </dev/null 2>/dev/null; do sleep 0.1; done";
    assert_eq!(
        podman.call(&["run", "--rm", "--pod", "pod", BUSYBOX, "sh", "-c", ask]).ok(),
        "pong"
    );
    podman.call(&["pod", "stop", "--time", "1", "pod"]).ok();
    podman.call(&["pod", "rm", "pod"]).ok();
    podman.assert_nothing_left();
}
