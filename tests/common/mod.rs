//! What the suites of real containers share: a bundle per case, its `runp`, waiting by events, and
//! the check that nothing is left.
//!
//! Each case has a directory, a state root and a cgroup of its own, so that cases run in parallel.
#![allow(dead_code, reason = "each suite is a crate of its own and uses a part")]

use runp::sys::{clone, poll};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before the case is given up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One test's bundle and container.
pub struct Case {
    dir: tempfile::TempDir,
    /// The container's name, and a part of every name that the case makes anywhere.
    pub id: String,
    /// config.json, written by each command that reads it.
    pub config: Value,
    /// Added to the environment of every `runp`.
    pub env: Vec<(String, String)>,
    runs: AtomicUsize,
}

/// What a program printed and how it ended.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Standard output of a program that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!((self.status, self.err.as_str()), (0, ""), "{self:?}");
        self.out
    }

    /// A program that must have failed with `status` and said `message`.
    #[track_caller]
    pub fn fails(self, status: i32, message: &str) {
        assert_eq!(self.status, status, "{self:?}");
        // The log quotes the message.
        let said = self.err.replace("\\\"", "\"");
        assert!(said.contains(message), "{message:?} is not in {self:?}");
    }
}

impl Case {
    /// A bundle with a busybox root file system and the configuration of `runp spec` without
    /// terminal. `None`, said aloud, where the suite cannot run.
    pub fn new(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIP {name}: needs root");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("runp-").tempdir().unwrap();
        let random = dir.path().file_name().unwrap().to_str().unwrap();
        let id = format!("{name}-{}", random.trim_start_matches("runp-"));
        fs::create_dir(dir.path().join("bundle")).unwrap();
        rootfs(&dir.path().join("bundle/rootfs"));
        let config = runp::oci::example::config(runp::oci::example::Flavour::Plain);
        let mut config: Value = serde_json::from_str(&config).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["env"].as_array_mut().unwrap().push(json!(format!("CASE={id}")));
        config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        Some(Self { dir, id, config, env: Vec::new(), runs: AtomicUsize::new(0) })
    }

    /// As [`Self::new`], running `script` by sh in a root file system that may be written to.
    pub fn script(name: &str, script: &str) -> Option<Self> {
        let mut case = Self::new(name)?;
        case.config["root"]["readonly"] = json!(false);
        case.args(&["sh", "-c", script]);
        Some(case)
    }

    /// The process's arguments.
    pub fn args(&mut self, args: &[&str]) {
        self.config["process"]["args"] = json!(args);
    }

    /// Adds a mount.
    pub fn mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }

    /// Takes a namespace out of the configuration.
    pub fn without_namespace(&mut self, kind: &str) {
        let namespaces = self.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != kind);
    }

    /// A path in the case's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The root file system on the host.
    pub fn rootfs(&self) -> PathBuf {
        self.path("bundle/rootfs")
    }

    /// `runp` in the bundle's directory with the case's state root, its output in files: a
    /// container that goes on must not be waited for.
    pub fn command(&self, args: &[&str]) -> Command {
        let config = serde_json::to_vec_pretty(&self.config).unwrap();
        // Replaced in one step: another command of this case may be reading it.
        let draft = tempfile::NamedTempFile::new_in(self.dir.path()).unwrap();
        fs::write(draft.path(), config).unwrap();
        draft.persist(self.path("bundle/config.json")).unwrap();
        // RUNTIME=runc shows what another runtime does in the same cases.
        let runtime = std::env::var_os("RUNTIME").unwrap_or(env!("CARGO_BIN_EXE_runp").into());
        let mut command = Command::new(runtime);
        command.arg("--root").arg(self.path("state")).args(args);
        command.current_dir(self.path("bundle")).stdin(Stdio::null());
        command.envs(self.env.iter().cloned());
        command
    }

    /// Runs `runp ARGS`.
    pub fn runp(&self, args: &[&str]) -> Done {
        self.finish(&mut self.command(args))
    }

    /// Runs a prepared command.
    pub fn finish(&self, command: &mut Command) -> Done {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (self.path(&format!("out.{run}")), self.path(&format!("err.{run}")));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let mut child = command.spawn().unwrap();
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        if !has_exited(child.id() as i32) {
            child.kill().unwrap();
            panic!("{command:?} hangs: {} {}", read(&out), read(&err));
        }
        use std::os::unix::process::ExitStatusExt;
        let status = child.wait().unwrap();
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or(0));
        Done { status: code, out: read(&out), err: read(&err) }
    }

    /// What the `n`th command of this case has printed by now: a created container writes there.
    pub fn output_of(&self, n: usize) -> String {
        fs::read_to_string(self.path(&format!("out.{n}"))).unwrap()
    }

    /// `runp run`.
    pub fn run(&self) -> Done {
        self.runp(&["run", &self.id])
    }

    /// `runp create`, which must succeed; returns the init process's pid.
    #[track_caller]
    pub fn create(&self) -> i32 {
        let pid_file = self.path("pid");
        self.runp(&["create", "--pid-file", pid_file.to_str().unwrap(), &self.id]).ok();
        fs::read_to_string(pid_file).unwrap().parse().unwrap()
    }

    /// `runp start`, which must succeed.
    #[track_caller]
    pub fn start(&self) {
        self.runp(&["start", &self.id]).ok();
    }

    /// A running container; returns the init process's pid.
    #[track_caller]
    pub fn up(&self) -> i32 {
        let pid = self.create();
        self.start();
        pid
    }

    /// `runp exec ID sh -c SCRIPT`.
    pub fn exec(&self, script: &str) -> Done {
        self.runp(&["exec", &self.id, "sh", "-c", script])
    }

    /// What `runp state` says.
    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.runp(&["state", &self.id]).ok()).unwrap()
    }

    /// The status that `runp state` says.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    /// Removes the empty parents of a cgroup whose path has more than one part of the case's own.
    pub fn remove_cgroup_parents(&self) {
        let mut found = Vec::new();
        cgroups_named(Path::new("/sys/fs/cgroup"), &self.id, 3, &mut found);
        for line in found {
            let dir = line.trim_start_matches("cgroup ");
            fs::remove_dir(dir).unwrap_or_else(|error| panic!("{dir}: {error}"));
        }
    }

    /// Asserts that no process, mount, cgroup or file of the case is left but its bundle.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let left = self.leftovers();
        assert!(left.is_empty(), "{} left: {left:#?}", self.id);
    }

    fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for pid in pids() {
            let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let texts = [read("cmdline"), read("environ"), read("cgroup")];
            if texts.iter().any(|text| String::from_utf8_lossy(text).contains(&self.id))
                && !is_zombie(pid)
            {
                let line = String::from_utf8_lossy(&texts[0]).replace('\0', " ");
                left.push(format!("process {pid}: {line}"));
            }
        }
        let dir = self.dir.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(dir)).map(|l| format!("mount {l}")));
        cgroups_named(Path::new("/sys/fs/cgroup"), &self.id, 3, &mut left);
        if let Ok(entries) = fs::read_dir(self.path("state")) {
            left.extend(entries.map(|entry| format!("file {}", entry.unwrap().path().display())));
        }
        left
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        self.env.clear();
        let deleted = self.runp(&["delete", "--force", &self.id]);
        if !std::thread::panicking() {
            assert_eq!((deleted.status, deleted.err.as_str()), (0, ""), "delete --force");
            self.assert_nothing_left();
        }
    }
}

/// Waits until process `pid` has ended; false if it does not.
pub fn has_exited(pid: i32) -> bool {
    let Ok(pidfd) = clone::pidfd_open(pid) else { return true };
    let deadline = Instant::now() + PATIENCE;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        if poll::poll_in(&[pidfd.as_fd()], Some(left)).unwrap() == [true] {
            return true;
        }
    }
    false
}

/// Waits, told by inotify, until `ready` finds what it wants in a file of `dir`.
#[track_caller]
pub fn wait_until<T>(dir: &Path, ready: impl Fn() -> Option<T>) -> T {
    use nix::sys::inotify::AddWatchFlags;
    let watcher = poll::Watcher::new().unwrap();
    watcher.add(dir, AddWatchFlags::IN_ALL_EVENTS).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ready() {
            return found;
        }
        let left = deadline.checked_duration_since(Instant::now()).expect("it never came");
        poll::poll_in(&[watcher.as_fd()], Some(left)).unwrap();
        watcher.read().unwrap();
    }
}

/// A field of `/proc/<pid>/status`, as it stands in `status`.
pub fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

/// A small root file system: busybox under the names that the cases use.
fn rootfs(dir: &Path) {
    const APPLETS: &str = "[ awk cat chmod chown cp cut dd df echo env false find getopt grep head \
        hostname id kill ln ls mkdir mkfifo mknod mount mv nc nproc ps pwd readlink realpath rm \
        rmdir sed seq sh sleep sort stat stty sync sysctl tail tee test time timeout touch tr true \
        truncate tty umount uname unshare wc which xargs yes";
    for name in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    // A copy: what a container writes to must not be the host's.
    fs::copy("/bin/busybox", dir.join("bin/busybox")).unwrap();
    for applet in APPLETS.split_whitespace() {
        symlink("busybox", dir.join("bin").join(applet)).unwrap();
    }
    fs::write(dir.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(dir.join("etc/group"), "root:x:0:\n").unwrap();
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect()
}

fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

fn cgroups_named(dir: &Path, id: &str, depth: usize, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        if entry.file_name().to_string_lossy().contains(id) {
            found.push(format!("cgroup {}", entry.path().display()));
        } else if depth > 0 {
            cgroups_named(&entry.path(), id, depth - 1, found);
        }
    }
}
