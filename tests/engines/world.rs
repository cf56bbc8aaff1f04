//! A world per case: namespaces, a /run and a cgroup subtree of its own, in which engines are
//! started; whatever they leave ends with it. What containers leave is looked for before.

use runp::sys::{clone, poll};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before the case is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where an engine and its containers live.
pub struct World {
    dir: tempfile::TempDir,
    /// The first process's parent, which holds the namespaces but the processes'.
    holder: Child,
    /// The first process.
    first: i32,
    runs: AtomicUsize,
    daemons: RefCell<Vec<Child>>,
}

/// What a program printed and how it ended.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Standard output of a program that must have succeeded, without the end of its last line.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out.trim_end().to_owned()
    }

    /// A program that must have failed with `status` and said `message`.
    #[track_caller]
    pub fn fails(self, status: i32, message: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.err.contains(message), "{message:?} is not in {self:?}");
    }
}

impl World {
    /// A fresh one. `None`, said aloud, where it cannot be.
    pub fn new(case: &str, tools: &[&str]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIP {case}: needs root");
            return None;
        }
        let dirs = ["/usr/bin", "/usr/sbin", "/usr/lib/podman"];
        let lacks = |tool: &&&str| !dirs.iter().any(|dir| Path::new(dir).join(tool).exists());
        if let Some(tool) = ["catatonit", "busybox"].iter().chain(tools).find(lacks) {
            eprintln!("SKIP {case}: {tool} is not installed");
            return None;
        }
        // Short: the sockets in it have at most 107 bytes of path.
        let dir = tempfile::Builder::new().prefix("runp-engine-").tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/enter.sh");
        let mut holder = Command::new("sh");
        holder.arg(script).arg(dir.path().file_name().unwrap());
        holder.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = holder.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "no world for {case}");
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let first = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        let world =
            Self { dir, holder, first, runs: AtomicUsize::new(0), daemons: RefCell::default() };
        super::image::archive(&world.path("images.tar"));
        Some(world)
    }

    /// A path in the case's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file into the case's directory; returns its path.
    pub fn write(&self, name: &str, content: &str) -> String {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
        self.text(name)
    }

    /// `program` with `args` in the world, to be started. RUNTIME=runc shows what another runtime
    /// does in the same cases.
    pub fn command(&self, args: &[&str]) -> Command {
        const ENTER: &str = "for procs in $(awk '$3 ~ /^cgroup/ { print $2 }' /proc/self/mounts); do \
            for leaf in $procs/$2/init $procs/$2; do [ ! -d $leaf ] || break; done; \
            echo $$ >$leaf/cgroup.procs; done; first=$1; shift 2; \
            exec nsenter --target $first --mount --pid --net --ipc --uts --cgroup -- \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", ENTER, "sh", &self.first.to_string(), &self.group()]).args(args);
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        command
    }

    /// Runs a program in the world.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Done {
        self.finish(&mut self.command(args))
    }

    /// Runs a prepared command, its output in files: what it starts may go on.
    #[track_caller]
    pub fn finish(&self, command: &mut Command) -> Done {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (self.path(&format!("out.{run}")), self.path(&format!("err.{run}")));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let mut child = command.spawn().unwrap();
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        if !has_exited(&child) {
            child.kill().unwrap();
            panic!("{command:?} hangs: {} {}", read(&out), read(&err));
        }
        let status = child.wait().unwrap().code().unwrap_or(-1);
        Done { status, out: read(&out), err: read(&err) }
    }

    /// Starts a daemon, its output in the file `log`, and waits for the socket it makes.
    #[track_caller]
    pub fn daemon(&self, args: &[&str], socket: &str) {
        let log = File::create(self.path("log")).unwrap();
        let mut command = self.command(args);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.daemons.borrow_mut().push(command.spawn().unwrap());
        let ready = || std::os::unix::net::UnixStream::connect(self.path(socket)).ok();
        assert!(self.wait_in("", ready).is_some(), "{args:?} makes no {socket}");
    }

    /// Waits, told by inotify, until `ready` finds what it wants in the directory `name`.
    pub fn wait_in<T>(&self, name: &str, ready: impl Fn() -> Option<T>) -> Option<T> {
        use nix::sys::inotify::AddWatchFlags;
        let watcher = poll::Watcher::new().unwrap();
        watcher.add(&self.path(name), AddWatchFlags::IN_ALL_EVENTS).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = ready();
            let left = deadline.checked_duration_since(Instant::now());
            let (None, Some(left)) = (&found, left) else { return found };
            poll::poll_in(&[watcher.as_fd()], Some(left)).unwrap();
            watcher.read().unwrap();
        }
    }

    /// Ends the daemons as their administrator does.
    #[track_caller]
    pub fn end_daemons(&self) {
        for mut daemon in self.daemons.take() {
            // nsenter waits for the daemon and passes no signal on.
            let children = format!("/proc/{0}/task/{0}/children", daemon.id());
            for pid in fs::read_to_string(children).unwrap().split_whitespace() {
                let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
                nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
            }
            assert!(has_exited(&daemon), "the daemon does not end");
            daemon.wait().unwrap();
        }
    }

    /// Asserts that no container has left a process, a mount, a cgroup or a state; `engine` has
    /// words that the paths of the engine's own cgroups end in.
    #[track_caller]
    pub fn assert_nothing_left(&self, engine: &[&str]) {
        let mut left = self.processes();
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", self.first)).unwrap();
        let own = self.dir.path().to_str().unwrap();
        let of_containers = |line: &&str| line.contains(own) && line.contains("/merged ");
        left.extend(mounts.lines().filter(of_containers).map(|line| format!("mount {line}")));
        for hierarchy in self.hierarchies() {
            below(&hierarchy.join(self.group()), &mut |dir| {
                let path = dir.to_str().unwrap();
                if path.ends_with("/init") || engine.iter().any(|word| path.contains(word)) {
                    return;
                }
                left.push(format!("cgroup {path}"));
            });
        }
        let states = self.run(&["find", "/run", own, "-name", "state.json", "-path", "*run*"]).ok();
        left.extend(states.lines().map(|line| format!("state {line}")));
        assert!(left.is_empty(), "left: {left:#?}");
    }

    /// Every process of the world but the first ones.
    fn processes(&self) -> Vec<String> {
        let all = self.run(&["ps", "-eo", "stat=,args="]).ok();
        let own = ["catatonit -- sh", "sh -c echo ready", "cat", "ps -eo"];
        let is_own = |args: &str| own.iter().any(|known| args.contains(known));
        let lines = all.lines().filter(|line| !line.starts_with('Z') && !is_own(line));
        lines.map(|line| format!("process {line}")).collect()
    }

    fn group(&self) -> String {
        self.dir.path().file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn hierarchies(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let ours = fields.filter(|fields| fields[2].starts_with("cgroup"));
        ours.map(|fields| PathBuf::from(fields[1])).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let first = clone::pidfd_open(self.first);
        drop(self.holder.stdin.take());
        self.holder.wait().unwrap();
        if let Ok(first) = first {
            poll::poll_in(&[first.as_fd()], Some(PATIENCE)).unwrap();
        }
        for daemon in self.daemons.get_mut() {
            daemon.wait().unwrap();
        }
        for hierarchy in self.hierarchies() {
            let group = hierarchy.join(self.group());
            below(&group, &mut |dir| drop(fs::remove_dir(dir)));
            if let Err(error) = fs::remove_dir(&group)
                && !std::thread::panicking()
            {
                panic!("{}: {error}", group.display());
            }
        }
        if std::thread::panicking()
            && let Ok(log) = fs::read_to_string(self.path("log"))
        {
            let lines: Vec<_> = log.lines().rev().take(12).collect();
            eprintln!("the end of the daemon's log, backwards: {lines:#?}");
        }
    }
}

/// The `runp` under test.
pub fn runtime() -> String {
    std::env::var("RUNTIME").unwrap_or(env!("CARGO_BIN_EXE_runp").into())
}

fn has_exited(child: &Child) -> bool {
    let Ok(pidfd) = clone::pidfd_open(child.id() as i32) else { return true };
    poll::poll_in(&[pidfd.as_fd()], Some(PATIENCE)).unwrap() == [true]
}

/// Calls `visit` with each directory below `dir`, the deepest first.
fn below(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), visit);
            visit(&entry.path());
        }
    }
}
