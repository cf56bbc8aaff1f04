//! Real cgroups of this host, as root: made, entered, limited, frozen, killed, removed.

use runp::oci::cgroup::{Cgroup, Layout, enter};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The cgroup of one case, gone with it, and its processes too.
struct Case {
    cgroup: Cgroup,
}

impl Case {
    fn new(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIP {name}: needs root");
            return None;
        }
        let path = format!("/runp-test-{name}-{}", std::process::id());
        let cgroup = Cgroup::resolve(&Layout::probe().unwrap(), Some(Path::new(&path)), "id");
        Some(Self { cgroup: cgroup.unwrap() })
    }

    /// A shell that enters the cgroup, then runs `script`: nothing of it starts outside.
    fn spawn(&self, script: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read go && eval \"$0\"", script]).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        self.cgroup.join(child.id().cast_signed()).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        child
    }

    fn left(&self) -> usize {
        self.cgroup.dirs.iter().filter(|dir| dir.path().exists()).count()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        self.cgroup.kill_all(Duration::from_secs(5)).unwrap();
        self.cgroup.remove().unwrap();
        assert_eq!(self.left(), 0);
    }
}

#[test]
fn a_cgroup_is_made_once_and_removed_whole() {
    let Some(case) = Case::new("make") else { return };
    case.cgroup.make(false).unwrap();
    case.cgroup.make(false).unwrap();
    assert_eq!(case.left(), case.cgroup.dirs.len());
    let mut child = case.spawn("exec sleep 60");
    assert_eq!(case.cgroup.pids().unwrap(), [child.id().cast_signed()]);
    let error = case.cgroup.make(false).unwrap_err().to_string();
    assert!(error.ends_with("container's cgroup is not empty: 1 process(es) found"), "{error}");
    case.cgroup.make(true).unwrap();
    case.cgroup.kill_all(Duration::from_secs(5)).unwrap();
    // Killed, not reaped: a zombie does not hold the directories.
    case.cgroup.remove().unwrap();
    case.cgroup.remove().unwrap();
    case.cgroup.kill_all(Duration::from_secs(5)).unwrap();
    assert_eq!(case.left(), 0);
    child.wait().unwrap();
}

#[test]
fn a_frozen_fork_bomb_is_killed() {
    let Some(case) = Case::new("bomb") else { return };
    case.cgroup.make(false).unwrap();
    let bomb = "for i in 1 2 3; do (while :; do sleep 60 & sleep 0.01; done) & done; wait";
    let mut child = case.spawn(bomb);
    while case.cgroup.pids().unwrap().len() < 6 {
        std::thread::yield_now();
    }
    case.cgroup.freeze(true).unwrap();
    assert!(case.cgroup.is_frozen().unwrap());
    case.cgroup.kill_all(Duration::from_secs(5)).unwrap();
    assert_eq!(case.cgroup.pids().unwrap(), [0; 0]);
    child.wait().unwrap();
}

#[test]
fn a_pod_is_removed_with_what_it_holds() {
    let Some(case) = Case::new("pod") else { return };
    let mut below = case.cgroup.clone();
    for dir in &mut below.dirs {
        dir.below.push("a/b");
    }
    below.make(false).unwrap();
    case.cgroup.remove_if_empty().unwrap();
    assert_eq!(case.left(), case.cgroup.dirs.len(), "not empty, so it stays");
    let mut child = case.spawn("exec sleep 60");
    below.join(child.id().cast_signed()).unwrap();
    assert_eq!(case.cgroup.pids().unwrap(), [child.id().cast_signed()]);
    case.cgroup.kill_all(Duration::from_secs(5)).unwrap();
    case.cgroup.remove().unwrap();
    assert_eq!(case.left(), 0);
    child.wait().unwrap();
}

#[test]
fn a_single_thread_enters_by_itself() {
    let Some(case) = Case::new("enter") else { return };
    case.cgroup.make(false).unwrap();
    let tasks = case.cgroup.tasks().unwrap();
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("/bin/cat");
    command.arg("/proc/self/cgroup").stdout(Stdio::piped());
    // SAFETY: the closure makes write(2) calls only.
    #[expect(unsafe_code, reason = "a child between fork and exec is what is tested")]
    unsafe {
        command.pre_exec(move || enter(&tasks).map_err(Into::into));
    }
    let output = command.output().unwrap();
    let own = String::from_utf8(output.stdout).unwrap();
    for dir in case.cgroup.dirs.iter().filter(|dir| !dir.is_v2()) {
        let line = format!(":{}:/{}\n", dir.controllers.join(","), dir.below.display());
        assert!(own.contains(&line), "{line} is not in {own}");
    }
}
