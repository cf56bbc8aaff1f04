//! `scripts/bench`: what a start costs, beside crun, runc and the kernel's own floor.
//!
//! Every figure of a group is measured in turn, round by round, and reported as a median, so a
//! machine that slows down slows all of them. Peers that are not installed are left out.
#![expect(unsafe_code, reason = "the floor is bare system calls")]
#![expect(clippy::expect_used, reason = "a bench that cannot run should say where and stop")]

mod floor;
mod image;
mod many;
mod pod;
mod read;

use runp::pod::translate::seccomp::default_profile;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 40;
const RUNP: &str = env!("CARGO_BIN_EXE_runp");

/// One line of the report.
#[derive(serde::Serialize)]
struct Figure {
    name: String,
    unit: &'static str,
    ours: f64,
    peers: BTreeMap<String, f64>,
    /// Ours to each peer.
    ratio: BTreeMap<String, f64>,
}

/// Something to time, by name; `runp` is ours.
type Timed<'a> = (&'a str, Box<dyn FnMut() + 'a>);

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--json").skip(1);
    let json = arguments.next();
    let work = tempfile::tempdir().expect("a directory to work in");
    let bundle = Bundle::make(work.path());
    println!("{:<32} {:>10}  beside (ours to it)", "", "runp");
    let mut figures = Vec::new();
    let mut measured = |group: Vec<Figure>| {
        group.iter().for_each(print);
        figures.extend(group);
    };
    let empty = empty_program(work.path());
    // First, and its files stay until the end: see there what removals cost those who come next.
    measured(image::figures(&work.path().join("images")));
    measured(vec![bundle.run(), bundle.seccomp(), bundle.memory()]);
    measured(vec![bundle.exec(), version(&empty), size()]);
    measured(pod::figures(&bundle.dir.join("rootfs")));
    measured(read::figures(&empty));
    measured(many::figures(&floor::Floor::new(&bundle.dir.join("rootfs"))));
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&figures).expect("figures are plain data");
        fs::write(&file, text).expect("the JSON file");
    }
}

fn figure(name: &str, unit: &'static str, measured: &[(String, f64)]) -> Figure {
    let mut peers: BTreeMap<String, f64> = measured.iter().cloned().collect();
    let ours = peers.remove("runp").expect("ours is measured");
    let ratio = peers.iter().map(|(peer, value)| (peer.clone(), ours / value)).collect();
    Figure { name: name.into(), unit, ours, peers, ratio }
}

/// Times each in turn, `rounds` times after one round of warming up; medians in milliseconds.
fn in_turn(rounds: usize, mut timed: Vec<Timed<'_>>) -> Vec<(String, f64)> {
    let mut times = vec![Vec::new(); timed.len()];
    for round in 0..=rounds {
        for (index, (_, run)) in timed.iter_mut().enumerate() {
            let start = Instant::now();
            run();
            if round > 0 {
                times[index].push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    timed.iter().zip(times).map(|((name, _), times)| ((*name).into(), median(times))).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn seconds(work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_secs_f64()
}

fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok()
}

fn succeed<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// A busybox rootfs with the configuration of `runp spec`.
struct Bundle {
    dir: PathBuf,
    state: PathBuf,
}

impl Bundle {
    fn make(work: &Path) -> Self {
        let dir = work.join("bundle");
        for part in ["bin", "dev", "proc", "sys"] {
            fs::create_dir_all(dir.join("rootfs").join(part)).expect("rootfs");
        }
        fs::copy("/bin/busybox", dir.join("rootfs/bin/busybox")).expect("busybox-static");
        for name in ["true", "sleep", "sh"] {
            std::os::unix::fs::symlink("busybox", dir.join("rootfs/bin").join(name)).expect("link");
        }
        succeed(RUNP, ["spec", "--bundle", dir.to_str().expect("a plain path")]);
        let bundle = Self { dir, state: work.join("state") };
        bundle.set_args(&["/bin/true"]);
        bundle
    }

    fn set_args(&self, args: &[&str]) {
        self.change(|spec| {
            spec["process"]["args"] = args.into();
            // The newest that every peer knows.
            spec["ociVersion"] = "1.0.2".into();
            spec["process"]["terminal"] = false.into();
        });
    }

    fn change(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let file = self.dir.join("config.json");
        let text = fs::read(&file).expect("config.json");
        let mut spec: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        change(&mut spec);
        fs::write(&file, spec.to_string()).expect("config.json");
    }

    fn root(&self, runtime: &str) -> String {
        let root = self.state.join(Path::new(runtime).file_name().expect("a name"));
        root.to_str().expect("a plain path").to_owned()
    }

    fn command(&self, runtime: &str, verb: &str, rest: &[&str]) {
        let root = self.root(runtime);
        let mut arguments = vec!["--root", &root, verb];
        arguments.extend(rest);
        succeed(runtime, arguments);
    }

    fn runtimes(&self) -> Vec<(&'static str, &'static str)> {
        let peers = ["crun", "runc"].into_iter().filter(|peer| installed(peer));
        [("runp", RUNP)].into_iter().chain(peers.map(|peer| (peer, peer))).collect()
    }

    fn run(&self) -> Figure {
        let bundle = self.dir.to_str().expect("a plain path");
        let floor = floor::Floor::new(&self.dir.join("rootfs"));
        let mut timed: Vec<Timed<'_>> = vec![("floor", Box::new(|| floor.run()))];
        for (name, runtime) in self.runtimes() {
            let run = move || self.command(runtime, "run", &["--bundle", bundle, "bench-run"]);
            timed.push((name, Box::new(run)));
        }
        figure("run /bin/true", "ms", &in_turn(ROUNDS, timed))
    }

    /// What the default profile adds to a run.
    fn seccomp(&self) -> Figure {
        let bundle = self.dir.to_str().expect("a plain path");
        let profile = default_profile(&BTreeSet::new()).expect("the default profile");
        let profile = serde_json::to_value(profile).expect("the default profile as JSON");
        let run = || self.command(RUNP, "run", &["--bundle", bundle, "bench-run"]);
        let with = || {
            self.change(|spec| spec["linux"]["seccomp"] = profile.clone());
            let time = seconds(run) * 1e3;
            self.change(|spec| spec["linux"]["seccomp"] = serde_json::Value::Null);
            time
        };
        let (with, without): (Vec<_>, Vec<_>) =
            (0..ROUNDS).map(|_| (with(), seconds(run) * 1e3)).unzip();
        let (with, without) = (median(with), median(without));
        let (more, whole) = (("runp".into(), with - without), ("a run without".into(), without));
        figure("the default seccomp profile", "ms", &[more, whole])
    }

    /// The most memory that a `create` has.
    fn memory(&self) -> Figure {
        let bundle = self.dir.to_str().expect("a plain path");
        let peak = |runtime: &str| {
            let root = self.root(runtime);
            let create = ["--root", &root, "create", "--bundle", bundle, "bench-create"];
            let output = Command::new("/usr/bin/time")
                .args(["-f", "%M", runtime])
                .args(create)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(self.state.join("time")).expect("a file"))
                .status();
            assert!(output.is_ok_and(|status| status.success()), "{runtime} create");
            self.command(runtime, "delete", &["--force", "bench-create"]);
            let said = fs::read_to_string(self.state.join("time")).expect("what time says");
            said.lines().last().and_then(|line| line.trim().parse().ok()).unwrap_or(f64::NAN)
        };
        let peaks = |(name, runtime): (&str, &str)| {
            (name.to_owned(), median((0..5).map(|_| peak(runtime)).collect()))
        };
        let peaks: Vec<_> = self.runtimes().into_iter().map(peaks).collect();
        figure("peak memory of create", "KiB", &peaks)
    }

    fn exec(&self) -> Figure {
        self.set_args(&["/bin/sleep", "1000"]);
        let bundle = self.dir.to_str().expect("a plain path");
        let mut timed: Vec<Timed<'_>> = Vec::new();
        for (name, runtime) in self.runtimes() {
            let id = format!("bench-exec-{name}");
            self.command(runtime, "run", &["--detach", "--bundle", bundle, &id]);
            let exec = move || self.command(runtime, "exec", &[&id, "/bin/true"]);
            timed.push((name, Box::new(exec)));
        }
        let measured = in_turn(ROUNDS, timed);
        for (name, runtime) in self.runtimes() {
            self.command(runtime, "delete", &["--force", &format!("bench-exec-{name}")]);
        }
        figure("exec /bin/true", "ms", &measured)
    }
}

/// A static program that does nothing.
fn empty_program(work: &Path) -> String {
    let (source, empty) = (work.join("empty.rs"), work.join("empty"));
    fs::write(&source, "fn main() {}").expect("source");
    let flags = [
        "-O",
        "-Cstrip=symbols",
        "-Ctarget-feature=+crt-static",
        "-Crelocation-model=static",
        "-o",
    ];
    let rustc = Command::new("rustc").args(flags).arg(&empty).arg(&source).status();
    assert!(rustc.is_ok_and(|status| status.success()), "rustc of an empty program");
    empty.to_str().expect("a plain path").to_owned()
}

/// `--version` beside a static program that does nothing.
fn version(empty: &str) -> Figure {
    let mut timed: Vec<Timed<'_>> = vec![
        ("empty", Box::new(move || succeed(empty, [""; 0]))),
        ("runp", Box::new(|| succeed(RUNP, ["--version"]))),
    ];
    for peer in ["crun", "runc"].into_iter().filter(|peer| installed(peer)) {
        timed.push((peer, Box::new(move || succeed(peer, ["--version"]))));
    }
    figure("--version", "ms", &in_turn(ROUNDS * 2, timed))
}

fn size() -> Figure {
    let size = |path: &Path| fs::metadata(path).map_or(0.0, |file| file.len() as f64 / 1e6);
    let mut sizes = vec![("runp".into(), size(Path::new(RUNP)))];
    for (peer, path) in [("crun", "/usr/bin/crun"), ("runc", "/usr/sbin/runc")] {
        if Path::new(path).exists() {
            sizes.push((peer.into(), size(Path::new(path))));
        }
    }
    figure("size of the binary", "MB", &sizes)
}

fn print(figure: &Figure) {
    let peer =
        |(name, value): (&String, &f64)| format!("{name} {value:.2} ({:.2})", figure.ratio[name]);
    let peers: Vec<String> = figure.peers.iter().map(peer).collect();
    let ours = format!("{:.2} {}", figure.ours, figure.unit);
    println!("{:<32} {ours:>10}  {}", figure.name, peers.join(", "));
}
