//! conmon as CRI-O starts it: no engine but these calls.

use super::world::{World, runtime};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

struct Conmon {
    world: World,
    bundle: String,
}

const ID: &str = "4c6d1a3f";

impl Conmon {
    /// A bundle whose container runs `script`.
    fn new(case: &str, script: &str, terminal: bool) -> Option<Self> {
        let world = World::new(case, &["conmon"])?;
        let bundle = world.text("bundle");
        let root = Path::new(&bundle).join("rootfs");
        for name in ["bin", "dev", "proc", "sys"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        let config = runp::oci::example::config(runp::oci::example::Flavour::Plain);
        let mut config: Value = serde_json::from_str(&config).unwrap();
        config["process"]["terminal"] = json!(terminal);
        config["process"]["args"] = json!(["/bin/busybox", "sh", "-c", script]);
        config["linux"]["cgroupsPath"] = json!(format!("/pods/crio-{ID}"));
        world.write("bundle/config.json", &config.to_string());
        fs::create_dir(world.path("exits")).unwrap();
        fs::create_dir(world.path("attach")).unwrap();
        let conmon = Self { world, bundle };
        let terminal: &[&str] = if terminal { &["--terminal"] } else { &[] };
        let bundle = conmon.bundle.clone();
        conmon.conmon(&[&["--bundle", &bundle], terminal].concat());
        Some(conmon)
    }

    /// Starts conmon, which goes to the background, with the options that CRI-O gives.
    #[track_caller]
    fn conmon(&self, options: &[&str]) {
        let (runtime, text) = (runtime(), |name: &str| self.world.text(name));
        let arg = format!("--root={}", text("runtime"));
        let mut args = vec!["conmon", "--syslog", "--cid", ID, "--cuuid", ID, "--name", "k8s_c_p"];
        args.extend(["--runtime", &runtime, "--runtime-arg", &arg]);
        let (exits, attach, log) =
            (text("exits"), text("attach"), format!("k8s-file:{}", text("container.log")));
        args.extend(["--exit-dir", &exits, "--socket-dir-path", &attach, "--log-path", &log]);
        let (pid_file, conmon_pid) = (text("pidfile"), text("conmon-pidfile"));
        args.extend(["--container-pidfile", &pid_file, "--conmon-pidfile", &conmon_pid]);
        args.extend(options);
        self.world.run(&args).ok();
        // It goes to the background before the runtime has been called.
        let made = self.world.wait_in("", || {
            fs::read_to_string(self.world.path("pidfile")).ok().filter(|pid| !pid.is_empty())
        });
        assert!(
            made.is_some(),
            "conmon reports no process: {:?}",
            fs::read_to_string(self.world.path("container.log"))
        );
    }

    #[track_caller]
    fn runtime(&self, args: &[&str]) -> super::world::Done {
        let root = format!("--root={}", self.world.text("runtime"));
        self.world.run(&[&[runtime().as_str(), &root], args].concat())
    }

    /// Waits for the exit status that conmon writes.
    #[track_caller]
    fn exit_status(&self) -> String {
        let file = self.world.path("exits").join(ID);
        let read = || fs::read_to_string(&file).ok().filter(|status| !status.is_empty());
        self.world.wait_in("exits", read).expect("conmon writes an exit status")
    }
}

#[test]
fn conmon_logs_and_reports_the_end() {
    let script =
        "trap 'echo bye; exit 9' TERM; echo out; echo err >&2; while :; do busybox sleep 0.1; done";
    let Some(conmon) = Conmon::new("conmon", script, false) else { return };
    let state = |field: &str| {
        let state: Value = serde_json::from_str(&conmon.runtime(&["state", ID]).ok()).unwrap();
        state[field].to_string()
    };
    assert_eq!(state("status"), "\"created\"");
    assert_eq!(state("pid"), fs::read_to_string(conmon.world.path("pidfile")).unwrap());
    conmon.runtime(&["start", ID]).ok();
    assert_eq!(state("status"), "\"running\"");
    let log = || fs::read_to_string(conmon.world.path("container.log")).ok();
    let both =
        || log().filter(|log| log.contains(" stdout F out\n") && log.contains(" stderr F err\n"));
    assert!(conmon.world.wait_in("", both).is_some(), "{:?}", log());
    conmon.runtime(&["kill", ID, "TERM"]).ok();
    assert_eq!(conmon.exit_status(), "9");
    assert!(log().unwrap().contains(" stdout F bye\n"), "{:?}", log());
    conmon.runtime(&["delete", ID]).ok();
    conmon.world.assert_nothing_left(&["/pods"]);
}

#[test]
fn conmon_holds_the_terminal_and_execs() {
    let Some(conmon) = Conmon::new("conmon-tty", "busybox tty; busybox sleep 1000000", true) else {
        return;
    };
    conmon.runtime(&["start", ID]).ok();
    let log = || fs::read_to_string(conmon.world.path("container.log")).ok();
    let said = || log().filter(|log| log.contains("/dev/pts/0"));
    assert!(conmon.world.wait_in("", said).is_some(), "{:?}", log());

    // As for an exec of the kubelet: a process file, its output logged beside.
    let process = json!({
        "cwd": "/", "args": ["/bin/busybox", "sh", "-c", "echo inside; exit 5"],
        "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "terminal": false,
    });
    let process = conmon.world.write("process.json", &process.to_string());
    let exec_log = conmon.world.text("exec.log");
    fs::remove_file(conmon.world.path("pidfile")).unwrap();
    conmon.conmon(&[
        "--bundle",
        &conmon.bundle,
        "--exec",
        "--exec-process-spec",
        &process,
        "--log-path",
        &exec_log,
    ]);
    assert_eq!(conmon.exit_status(), "5");
    assert!(fs::read_to_string(&exec_log).unwrap().contains("stdout F inside"), "{exec_log}");
    fs::remove_file(conmon.world.path("exits").join(ID)).unwrap();

    conmon.runtime(&["kill", ID, "KILL"]).ok();
    assert_eq!(conmon.exit_status(), "137");
    conmon.runtime(&["delete", ID]).ok();
    conmon.world.assert_nothing_left(&["/pods"]);
}
