//! One instance of podctl per case: its root directory, its namespaces, and the comparison of the
//! machine before and after.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use runp::pod::{Config, Engine, Network, Paths};
use runp::sys::fs::last_line;
use runp::sys::{clone, poll};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before the case is given up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// An instance of podctl.
pub struct Instance {
    dir: tempfile::TempDir,
    before: BTreeSet<String>,
    runs: AtomicUsize,
    /// Of every pod that was applied.
    uids: RefCell<BTreeSet<String>>,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Standard output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }

    /// A command that must have failed with `status` and said `message`.
    #[track_caller]
    pub fn fails(self, status: i32, message: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.err.contains(message), "{message:?} is not in {self:?}");
    }
}

impl Instance {
    /// A fresh one. `None`, said aloud, where it cannot be.
    pub fn new(case: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIP {case}: needs root");
            return None;
        }
        // Of this thread alone, and of what it starts.
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.unwrap().success());
        let dir = tempfile::Builder::new().prefix("runp-pods-").tempdir().unwrap();
        let before = BTreeSet::new();
        let mut instance =
            Self { dir, before, runs: AtomicUsize::new(0), uids: RefCell::default() };
        instance.before = instance.world();
        Some(instance)
    }

    /// Takes the machine as it is now for what is to be left.
    #[allow(dead_code, reason = "for suites that set up a network")]
    pub fn look_again(&mut self) {
        self.before = self.world();
    }

    /// A path beside the instance's root.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The instance's root.
    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// Where the store has a pod.
    pub fn pod_dir(&self, pod: &str) -> PathBuf {
        self.root().join("lib/pods/default").join(pod)
    }

    /// The engine itself, for what is not podctl's grammar.
    pub fn engine(&self) -> Engine {
        let (paths, node) = (Paths::below(&self.root()), "node".into());
        let network = Network::Bridge;
        Engine::open(Config { paths, node, network, pod_cidr: None }).unwrap()
    }

    /// `podctl ARGS`, to be started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podctl"));
        command.arg("--root").arg(self.root()).args(args).stdin(Stdio::null());
        command
    }

    /// Starts `podctl ARGS`, its output in files.
    pub fn start(&self, args: &[&str]) -> Running {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (self.path(&format!("out.{run}")), self.path(&format!("err.{run}")));
        let mut command = self.command(args);
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Running { child: command.spawn().unwrap(), out, err }
    }

    /// Runs `podctl ARGS`.
    #[track_caller]
    pub fn podctl(&self, args: &[&str]) -> Done {
        self.start(args).finish()
    }

    /// Writes a manifest.
    pub fn manifest(&self, text: &str) -> String {
        let path = self.path("manifest.yaml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `podctl apply` of a manifest, which must succeed.
    #[track_caller]
    pub fn apply(&self, text: &str) -> String {
        let out = self.podctl(&["apply", "-f", &self.manifest(text)]).ok();
        self.remember_uids();
        out
    }

    /// The uids of the pods that are there: their names lead to what they might leave.
    pub fn remember_uids(&self) {
        for pod in
            fs::read_dir(self.root().join("lib/pods/default")).into_iter().flatten().flatten()
        {
            let Ok(text) = fs::read(pod.path().join("pod.json")) else { continue };
            let pod: Value = serde_json::from_slice(&text).unwrap();
            self.uids.borrow_mut().insert(pod["metadata"]["uid"].as_str().unwrap().to_owned());
        }
    }

    /// The pod as podctl has it.
    #[track_caller]
    pub fn get(&self, pod: &str) -> Value {
        let text = self.podctl(&["get", "pod", pod, "-o", "json"]).ok();
        serde_json::from_str(&text).unwrap()
    }

    /// The status in the store: no command runs, so nothing is mended.
    pub fn status(&self, pod: &str) -> Option<Value> {
        let text = fs::read(self.pod_dir(pod).join("status.json")).ok()?;
        let record: Value = serde_json::from_slice(last_line(&text)).unwrap();
        Some(record["status"].clone())
    }

    /// Waits until the pod's status is as `wanted`; returns it.
    #[track_caller]
    pub fn wait_for(&self, pod: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_longer(PATIENCE, pod, wanted)
    }

    /// As [`Self::wait_for`], with another patience.
    #[track_caller]
    pub fn wait_longer(
        &self,
        patience: Duration,
        pod: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let ready = || self.status(pod).filter(|status| wanted(status));
        wait_longer(patience, &self.pod_dir(pod), ready).unwrap_or_else(|| {
            let events = fs::read_to_string(self.pod_dir(pod).join("events.json"));
            panic!("never came: {:#?}; {events:?}", self.status(pod))
        })
    }

    /// Waits until the pod's events tell `story`, as JSON has it, which they do a moment after its
    /// status.
    #[track_caller]
    pub fn wait_told(&self, pod: &str, story: &str) {
        let dir = self.pod_dir(pod);
        let events = || fs::read_to_string(dir.join("events.json")).unwrap_or_default();
        let told = wait_until(&dir, || events().contains(story).then_some(()));
        assert!(told.is_some(), "{story}: {}", events());
    }

    /// Waits until every container of the pod runs.
    #[track_caller]
    pub fn wait_running(&self, pod: &str) -> Value {
        self.wait_for(pod, |status| {
            let containers = status["containerStatuses"].as_array();
            containers.is_some_and(|containers| {
                containers.iter().all(|container| container["state"]["running"].is_object())
            })
        })
    }

    /// Output of a command in a container, which must succeed.
    #[track_caller]
    pub fn sh(&self, pod: &str, container: &str, script: &str) -> String {
        self.podctl(&["exec", pod, "-c", container, "--", "sh", "-c", script]).ok()
    }

    /// `podctl delete`, which must succeed, and leave nothing.
    #[track_caller]
    pub fn delete(&self, pod: &str) {
        self.podctl(&["delete", "pod", pod]).ok();
    }

    /// `podctl delete --force`, which must succeed, and the end of what goes on behind it.
    #[track_caller]
    pub fn force_delete(&self, pod: &str) {
        let wanted = fs::read(self.pod_dir(pod).join("pod.json")).unwrap();
        let wanted: Value = serde_json::from_slice(&wanted).unwrap();
        let uid = wanted["metadata"]["uid"].as_str().unwrap();
        let monitor = clone::pidfd_open(self.monitor(uid));
        self.podctl(&["delete", "pod", pod, "--force", "--grace-period=0"]).ok();
        assert!(!self.pod_dir(pod).exists(), "gone at once");
        if let Ok(monitor) = monitor {
            assert!(poll::poll_in(&[monitor.as_fd()], Some(PATIENCE)).unwrap()[0]);
        }
        self.settle(uid);
    }

    /// Waits until the pod of that uid has no monitor.
    #[track_caller]
    pub fn settle(&self, uid: &str) {
        let lock = self.root().join("run").join(uid).join("lock");
        let pid = || fs::read_to_string(&lock).ok()?.trim().parse().ok();
        while let Some(monitor) = pid().and_then(|pid: i32| clone::pidfd_open(pid).ok()) {
            assert!(poll::poll_in(&[monitor.as_fd()], Some(PATIENCE)).unwrap()[0]);
            if fs::exists(&lock).unwrap() && runp::sys::fs::try_lock(&lock).is_ok() {
                break;
            }
        }
        // A worker that it had just forked may still be about to die with it.
        while fs::exists(&lock).unwrap() && runp::sys::fs::try_lock(&lock).is_err() {
            std::thread::yield_now();
        }
    }

    /// The pid of a pod's monitor.
    pub fn monitor(&self, uid: &str) -> i32 {
        let dir = self.root().join("run").join(uid);
        let pid = || fs::read_to_string(dir.join("lock")).ok()?.trim().parse().ok();
        wait_until(&dir, pid).expect("the monitor writes its pid")
    }

    /// Kills the pause of a pod.
    #[allow(dead_code, reason = "for suites that end sandboxes")]
    pub fn kill_pause(&self, pod: &str) {
        let uid = self.get(pod)["metadata"]["uid"].as_str().unwrap().to_owned();
        let monitor = self.monitor(&uid);
        let children = fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children"));
        let is_pause = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "pause\n")
        };
        let children = children.unwrap();
        let pids = children.split_whitespace().map(|pid| pid.parse().unwrap());
        let pause = clone::pidfd_open(pids.into_iter().find(is_pause).unwrap()).unwrap();
        clone::pidfd_send_signal(&pause, 9).unwrap();
    }

    /// Kills the monitor of a pod, and waits for its end.
    pub fn kill_monitor(&self, pod: &str) -> i32 {
        let wanted: Value =
            serde_json::from_slice(&fs::read(self.pod_dir(pod).join("pod.json")).unwrap()).unwrap();
        let pid = self.monitor(wanted["metadata"]["uid"].as_str().unwrap());
        let pidfd = clone::pidfd_open(pid).unwrap();
        clone::pidfd_send_signal(&pidfd, 9).unwrap();
        assert!(poll::poll_in(&[pidfd.as_fd()], Some(PATIENCE)).unwrap()[0]);
        pid
    }

    /// Asserts that the machine is as it was: processes, mounts, cgroups, links, rules and files.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let left = || self.world().difference(&self.before).cloned().collect::<Vec<_>>();
        // A monitor ends only after all that it removes, the file by which it is found included.
        for process in left().iter().filter_map(|line| line.strip_prefix("process ")) {
            let pid = process.split(' ').next().and_then(|pid| pid.parse().ok());
            if let Some(process) = pid.and_then(|pid: i32| clone::pidfd_open(pid).ok()) {
                poll::poll_in(&[process.as_fd()], Some(PATIENCE)).unwrap();
            }
        }
        let left = left();
        assert!(left.is_empty(), "left: {left:#?}");
    }

    /// All that a pod of this instance could leave.
    fn world(&self) -> BTreeSet<String> {
        let mut world = BTreeSet::new();
        let netns = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let dir = self.dir.path().to_str().unwrap();
        for pid in fs::read_dir("/proc").unwrap().filter_map(|entry| number(&entry.unwrap())) {
            let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let text = |name: &str| String::from_utf8_lossy(&read(name)).replace('\0', " ");
            let ours = text("cmdline").contains(dir)
                || fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|of| of == netns);
            // A zombie waits for the machine's init.
            let dead = text("stat").contains(") Z ");
            // One that is ending has no memory any more: a worker goes with its killed monitor.
            let dead = dead || (ours && text("cmdline").is_empty() && has_ended(pid));
            if ours && !dead && pid != std::process::id() {
                world.insert(format!("process {pid} {}", text("cmdline")));
            }
        }
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        world.extend(mounts.lines().map(|line| format!("mount {line}")));
        for (program, args) in [("ip", ["-o", "link"]), ("nft", ["list", "ruleset"])] {
            let done = Command::new(program).args(args).output().unwrap();
            let text = String::from_utf8(done.stdout).unwrap();
            // The count after the name is of all links of the machine.
            world.extend(text.lines().map(|line| format!("{program} {line}")));
        }
        files(&self.root(), &mut world);
        for uid in self.uids.borrow().iter() {
            cgroups(Path::new("/sys/fs/cgroup"), uid, &mut world);
            files(&Path::new("/dev/shm").join(format!("runp-{uid}")), &mut world);
        }
        // The instance's own skeleton, in which nothing is.
        world.remove(&format!("file {}", self.root().display()));
        for dir in SKELETON {
            world.remove(&format!("file {}", self.root().join(dir).display()));
        }
        world
    }
}

/// Empty directories that may stay once an instance has been used.
const SKELETON: &[&str] = &["lib", "lib/pods", "lib/images", "runp", "logs", "run"];

/// A command that was started.
pub struct Running {
    pub child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Done {
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        let pidfd = clone::pidfd_open(self.child.id() as i32).unwrap();
        if !poll::poll_in(&[pidfd.as_fd()], Some(PATIENCE)).unwrap()[0] {
            self.child.kill().unwrap();
            panic!("podctl hangs: {} {}", read(&self.out), read(&self.err));
        }
        let status = self.child.wait().unwrap().code().unwrap_or(-1);
        Done { status, out: read(&self.out), err: read(&self.err) }
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub fn wait_output(&self, text: &str) {
        let dir = self.out.parent().unwrap();
        let printed = || fs::read_to_string(&self.out).ok().filter(|out| out.contains(text));
        assert!(wait_until(dir, printed).is_some(), "{text:?} was not printed");
    }
}

/// Waits, told by inotify, until `ready` finds what it wants in a file of `dir`.
pub fn wait_until<T>(dir: &Path, ready: impl Fn() -> Option<T>) -> Option<T> {
    wait_longer(PATIENCE, dir, ready)
}

fn wait_longer<T>(patience: Duration, dir: &Path, ready: impl Fn() -> Option<T>) -> Option<T> {
    use nix::sys::inotify::AddWatchFlags;
    let watcher = poll::Watcher::new().unwrap();
    let deadline = Instant::now() + patience;
    watcher.add(dir, AddWatchFlags::IN_ALL_EVENTS).unwrap();
    loop {
        if let Some(found) = ready() {
            return Some(found);
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        poll::poll_in(&[watcher.as_fd()], Some(left)).unwrap();
        watcher.read().unwrap();
    }
}

fn has_ended(pid: u32) -> bool {
    let Ok(process) = clone::pidfd_open(pid.cast_signed()) else { return true };
    poll::poll_in(&[process.as_fd()], Some(PATIENCE)).unwrap()[0]
}

fn number(entry: &fs::DirEntry) -> Option<u32> {
    entry.file_name().to_str()?.parse().ok()
}

fn files(path: &Path, world: &mut BTreeSet<String>) {
    let Ok(is) = path.symlink_metadata() else { return };
    world.insert(format!("file {}", path.display()));
    if is.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            files(&entry.unwrap().path(), world);
        }
    }
}

fn cgroups(dir: &Path, uid: &str, world: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.path().to_string_lossy().contains(uid) {
                world.insert(format!("cgroup {}", entry.path().display()));
            }
            cgroups(&entry.path(), uid, world);
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // What a failed case leaves must not outlive it.
        let pods = fs::read_dir(self.root().join("lib/pods/default"));
        for pod in pods.into_iter().flatten().flatten() {
            let name = pod.file_name();
            let args = ["delete", "pod", name.to_str().unwrap(), "--grace-period=1"];
            let done = self.start(&args).child.wait().unwrap();
            assert!(std::thread::panicking() || done.success(), "{done:?}");
        }
        if !std::thread::panicking() {
            self.assert_nothing_left();
        }
    }
}
