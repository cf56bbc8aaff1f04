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

use std::collections::BTreeMap;
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
    measured(bundle.run());
    measured(vec![bundle.exec(), version(work.path()), size()]);
    measured(pod::figures(&bundle.dir.join("rootfs")));
    measured(many::figures());
    measured(image::figures());
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
        let file = self.dir.join("config.json");
        let text = fs::read(&file).expect("config.json");
        let mut spec: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        spec["process"]["args"] = args.into();
        // The newest that every peer knows.
        spec["ociVersion"] = "1.0.2".into();
        spec["process"]["terminal"] = false.into();
        fs::write(&file, spec.to_string()).expect("config.json");
    }

    fn command(&self, runtime: &str, verb: &str, rest: &[&str]) {
        let root = self.state.join(Path::new(runtime).file_name().expect("a name"));
        let root = root.to_str().expect("a plain path");
        let mut arguments = vec!["--root", root, verb];
        arguments.extend(rest);
        succeed(runtime, arguments);
    }

    fn runtimes(&self) -> Vec<(&'static str, &'static str)> {
        let peers = ["crun", "runc"].into_iter().filter(|peer| installed(peer));
        [("runp", RUNP)].into_iter().chain(peers.map(|peer| (peer, peer))).collect()
    }

    fn run(&self) -> Vec<Figure> {
        let bundle = self.dir.to_str().expect("a plain path");
        let floor = floor::Floor::new(&self.dir.join("rootfs"));
        let mut timed: Vec<Timed<'_>> = vec![("floor", Box::new(|| floor.run()))];
        for (name, runtime) in self.runtimes() {
            let run = move || self.command(runtime, "run", &["--bundle", bundle, "bench-run"]);
            timed.push((name, Box::new(run)));
        }
        vec![figure("run /bin/true", "ms", &in_turn(ROUNDS, timed))]
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

/// `--version` beside a static program that does nothing.
fn version(work: &Path) -> Figure {
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
    let empty = empty.to_str().expect("a plain path").to_owned();
    let mut timed: Vec<Timed<'_>> = vec![
        ("empty", Box::new(move || succeed(&empty, [""; 0]))),
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
