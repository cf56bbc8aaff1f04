//! containerd, through its runc shim.

use super::image::BUSYBOX;
use super::world::{Done, World, runtime};

pub struct Containerd {
    pub world: World,
}

impl Containerd {
    fn new(case: &str) -> Option<Self> {
        Self::with(case, |_| {})
    }

    /// `prepare` adds to what the daemon finds when it starts.
    pub fn with(case: &str, prepare: impl Fn(&World)) -> Option<Self> {
        let world = World::new(case, &["containerd", "containerd-shim-runc-v2", "ctr", "script"])?;
        prepare(&world);
        let settings = format!(
            r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
  address = "{dir}/sock"
[ttrpc]
  address = "{dir}/ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{runtime}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/cni"
"#,
            dir = world.text(""),
            runtime = runtime()
        );
        let settings = world.write("config.toml", &settings.replace("//", "/"));
        world.daemon(&["containerd", "--config", &settings], "sock");
        let containerd = Self { world };
        let images = containerd.world.text("images.tar");
        for namespace in ["default", "k8s.io"] {
            containerd.ctr(&["--namespace", namespace, "image", "import", &images]).ok();
        }
        Some(containerd)
    }

    #[track_caller]
    pub fn ctr(&self, args: &[&str]) -> Done {
        self.world.run(&[&["ctr", "--address", &self.world.text("sock")], args].concat())
    }

    #[track_caller]
    fn run(&self, options: &[&str], id: &str, command: &[&str]) -> Done {
        let runtime = runtime();
        let run = ["run", "--runc-binary", &runtime];
        self.ctr(&[&run, options, &[BUSYBOX, id], command].concat())
    }

    /// Ends the daemon and looks at what is there then.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        self.world.end_daemons();
        self.world.assert_nothing_left(&["/default", "/k8s.io", "/pods"]);
    }
}

#[test]
fn ctr_runs_and_ends_tasks() {
    let Some(containerd) = Containerd::new("containerd-ctr") else { return };
    assert_eq!(containerd.run(&["--rm"], "hello", &["echo", "hello"]).ok(), "hello");
    containerd.run(&["--rm"], "seven", &["sh", "-c", "exit 7"]).fails(7, "");
    containerd.run(&["--rm"], "none", &["nosuch"]).fails(1, "nosuch");
    assert_eq!(
        containerd.run(&["--rm", "--read-only", "--cwd", "/tmp"], "dir", &["pwd"]).ok(),
        "/tmp"
    );

    containerd.run(&["--detach", "--memory-limit", "33554432"], "web", &["sleep", "1000000"]).ok();
    let task = |args: &[&str]| containerd.ctr(&[&["task"], args].concat());
    let status =
        || task(&["ls"]).ok().lines().find(|line| line.starts_with("web")).unwrap().to_owned();
    assert!(status().ends_with("RUNNING"), "{}", status());
    task(&["exec", "--exec-id", "one", "web", "sh", "-c", "exit 5"]).fails(5, "");
    let tty = format!(
        "ctr --address {} task exec -t --exec-id two web tty",
        containerd.world.text("sock")
    );
    let tty =
        containerd.world.run(&["script", "--quiet", "--return", "--command", &tty, "/dev/null"]);
    assert!(tty.ok().contains("/dev/pts/0"), "a terminal");
    assert!(task(&["ps", "web"]).ok().lines().count() == 2, "{:?}", task(&["ps", "web"]));
    let metrics = task(&["metrics", "web"]).ok();
    assert!(metrics.contains("33554432"), "{metrics}");
    task(&["pause", "web"]).ok();
    assert!(status().ends_with("PAUSED"), "{}", status());
    task(&["resume", "web"]).ok();
    assert!(status().ends_with("RUNNING"), "{}", status());
    task(&["kill", "--signal", "SIGKILL", "web"]).ok();
    task(&["rm", "--force", "web"]).ok();
    containerd.ctr(&["container", "rm", "web"]).ok();
    containerd.assert_nothing_left();
}
