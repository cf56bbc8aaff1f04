//! Pods: from the call of `podctl apply` until both containers are Running in the store, beside
//! `podman kube play`; forced deletion; and the memory of what stays: monitor and pause.

use super::{Figure, RUNP, Timed, figure, in_turn, installed, median, succeed};
use k8s_openapi::api::core::v1::ContainerStatus;
use runp::pod::store::Store;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 20;
const FIRST_ROUNDS: usize = 5;
/// What a look costs does not show in a start.
const LOOK_AGAIN: Duration = Duration::from_micros(500);
const PODCTL: &str = env!("CARGO_BIN_EXE_podctl");

fn manifest(dir: &Path, image: &str) -> PathBuf {
    let container =
        |name| format!("  - {{name: {name}, image: {image}, command: [sleep, infinity]}}");
    let containers = ["a", "b"].map(container).join("\n");
    let file = dir.join("pod.yaml");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: bench}\nspec:\n  containers:\n";
    fs::write(&file, format!("{pod}{containers}\n")).expect("manifest");
    file
}

/// `rootfs` is what podman makes its image of.
pub fn figures(rootfs: &Path) -> Vec<Figure> {
    let root = tempfile::tempdir().expect("a root");
    let bench = manifest(root.path(), "host");
    let keeper = root.path().join("keeper.yaml");
    let text = fs::read_to_string(&bench).expect("manifest").replace("bench", "keeper");
    fs::write(&keeper, text).expect("manifest");
    let podman = installed("podman").then(|| Podman::new(rootfs));
    let (mut first, mut start, mut delete) = (Vec::new(), Vec::new(), Vec::new());
    let mut played = Vec::new();
    // The first pod of a root makes the bridge and its rules; all others find them.
    for round in 0..FIRST_ROUNDS {
        let instance = root.path().join(round.to_string());
        first.push(apply_until_running(&instance, &keeper, "keeper"));
        if round + 1 < FIRST_ROUNDS {
            podctl(&instance, &["delete", "pod", "keeper", "--grace-period=1"]);
        }
    }
    let instance = root.path().join((FIRST_ROUNDS - 1).to_string());
    for round in 0..ROUNDS {
        start.push(apply_until_running(&instance, &bench, "bench"));
        let begin = Instant::now();
        podctl(&instance, &["delete", "pod", "bench", "--grace-period=0", "--force"]);
        delete.push(begin.elapsed().as_secs_f64() * 1e3);
        // A quarter of the rounds is enough for a ratio of ten.
        if round % 4 == 0
            && let Some(podman) = &podman
        {
            played.push(podman.play());
        }
    }
    // The last one's monitor may still be taking its network down. Then only the first pod's monitor
    // and pause are left, idle for long.
    while monitors_and_pauses().len() > 2 {
        std::thread::sleep(LOOK_AGAIN);
    }
    let (pss, private) = idle_memory();
    let exec = exec(&instance);
    podctl(&instance, &["delete", "pod", "keeper", "--grace-period=0", "--force"]);
    let mut started = vec![("runp".into(), median(start))];
    if podman.is_some() {
        started.push(("podman kube play".into(), median(played)));
    }
    vec![
        figure("pod of two until Running", "ms", &started),
        figure("the first pod of a root", "ms", &[("runp".into(), median(first))]),
        figure("delete --force of a pod", "ms", &[("runp".into(), median(delete))]),
        exec,
        figure("idle pod, PSS", "KiB", &[("runp".into(), pss)]),
        figure("idle pod, private", "KiB", &[("runp".into(), private)]),
    ]
}

/// `podctl exec` beside `runp exec` in the same container.
fn exec(instance: &Path) -> Figure {
    let pod = store(instance).get("default", "keeper").expect("a stored pod");
    let containers = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
    let id = containers.first().and_then(|first| first.container_id.clone()).expect("an id");
    let id = id.trim_start_matches("runp://").to_owned();
    let root = instance.join("runp");
    let root = root.to_str().expect("a plain path");
    let ours = || podctl(instance, &["exec", "keeper", "-c", "a", "--", "/bin/true"]);
    let runp = || succeed(RUNP, ["--root", root, "exec", &id, "/bin/true"]);
    let timed: Vec<Timed<'_>> = vec![("runp", Box::new(ours)), ("runp exec", Box::new(runp))];
    figure("podctl exec /bin/true", "ms", &in_turn(ROUNDS * 2, timed))
}

/// Read past the engine, which would start the monitor of a pod that has none yet: this program is
/// not podctl, that a monitor could be.
pub fn store(root: &Path) -> Store {
    Store::new(&root.join("lib"))
}

pub fn podctl(root: &Path, arguments: &[&str]) {
    let root = ["--root", root.to_str().expect("a plain path")];
    succeed(PODCTL, root.iter().chain(arguments));
}

/// Milliseconds; the clock starts before podctl does.
fn apply_until_running(root: &Path, manifest: &Path, name: &str) -> f64 {
    let begin = Instant::now();
    let mut apply = Command::new(PODCTL);
    apply.arg("--root").arg(root).arg("apply").arg("-f").arg(manifest).stdout(Stdio::null());
    let mut apply = apply.spawn().expect("podctl starts");
    let running = || {
        let pod = store(root).get("default", name).ok()?;
        let containers = pod.status?.container_statuses?;
        let runs = |container: &ContainerStatus| {
            container.state.as_ref().is_some_and(|state| state.running.is_some())
        };
        (containers.iter().filter(|container| runs(container)).count() == 2).then_some(())
    };
    let record = root.join("lib/pods/default").join(name).join("status.json");
    let (mut seen, mut runs) = (0, None);
    while runs.is_none() {
        // Decoding takes a processor from the pod: only what has changed is looked at.
        let length = fs::metadata(&record).map_or(0, |record| record.len());
        if length != seen {
            (seen, runs) = (length, running());
            continue;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "the pod runs within 10 s");
        std::thread::sleep(LOOK_AGAIN);
    }
    let elapsed = begin.elapsed();
    assert!(apply.wait().is_ok_and(|status| status.success()), "podctl apply");
    elapsed.as_secs_f64() * 1e3
}

/// Every monitor and pause in this PID namespace, as its directory in /proc.
fn monitors_and_pauses() -> Vec<PathBuf> {
    let is_ours = |process: &PathBuf| {
        let read = |file: &str| fs::read_to_string(process.join(file)).unwrap_or_default();
        match read("comm").trim() {
            "pause" => true,
            "podctl" => read("cmdline").split('\0').any(|argument| argument == "monitor"),
            _ => false,
        }
    };
    let processes = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    processes.filter(is_ours).collect()
}

/// Their PSS and private memory, in KiB.
fn idle_memory() -> (f64, f64) {
    let mut sum = (0.0, 0.0);
    for process in monitors_and_pauses() {
        for line in fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default().lines() {
            let value = || line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok());
            match line.split(':').next() {
                Some("Pss") => sum.0 += value().unwrap_or(0.0),
                Some("Private_Clean" | "Private_Dirty") => sum.1 += value().unwrap_or(0.0),
                _ => {}
            }
        }
    }
    sum
}

/// podman with a store of its own, set up for a machine without systemd and with a hard limit of
/// open files below podman's default.
struct Podman {
    dir: tempfile::TempDir,
}

impl Podman {
    fn new(rootfs: &Path) -> Self {
        let podman = Self { dir: tempfile::tempdir().expect("a directory for podman") };
        let settings = "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
            runtime = \"crun\"\n[containers]\n\
            default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
        fs::write(podman.dir.path().join("containers.conf"), settings).expect("settings");
        let image = podman.dir.path().join("rootfs.tar");
        let tar =
            Command::new("tar").arg("-C").arg(rootfs).arg("-cf").arg(&image).arg(".").status();
        assert!(tar.is_ok_and(|status| status.success()), "tar of the rootfs");
        let image = image.to_string_lossy();
        podman.call(&["import", "--change", "ENV PATH=/bin", &image, "localhost/bench:1"]);
        podman
    }

    fn call(&self, arguments: &[&str]) {
        let dir = self.dir.path();
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", dir.join("containers.conf")).arg("--root");
        command.arg(dir.join("root")).arg("--runroot").arg(dir.join("run")).args(arguments);
        let output = command.stdin(Stdio::null()).output().expect("podman starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "podman {arguments:?}: {}: {said}", output.status);
    }

    /// Milliseconds until `kube play` returns: both containers run then.
    fn play(&self) -> f64 {
        let manifest = manifest(self.dir.path(), "localhost/bench:1");
        let begin = Instant::now();
        // Its default network has no name server, as ours.
        self.call(&["kube", "play", "--network", "podman", &manifest.to_string_lossy()]);
        let elapsed = begin.elapsed().as_secs_f64() * 1e3;
        self.call(&["pod", "rm", "--force", "--time", "0", "bench"]);
        elapsed
    }
}

impl Drop for Podman {
    /// podman leaves the parent of its pods' cgroups.
    fn drop(&mut self) {
        let parents = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for parent in parents.map(|hierarchy| hierarchy.path().join("libpod_parent")) {
            for pod in fs::read_dir(&parent).into_iter().flatten().flatten() {
                drop(fs::remove_dir(pod.path()));
            }
            drop(fs::remove_dir(&parent));
        }
    }
}
