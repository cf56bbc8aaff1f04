//! Images: 500 MiB in 10,000 files from a registry on loopback into an empty store, unpacked, beside
//! podman and containerd, and the most memory that ours takes for it.

use super::{Figure, figure, installed, median, seconds, succeed};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 3;
const LAYERS: usize = 5;
const FILES: usize = 2000;
const FILE_SIZE: usize = 52_429;
/// What the files are cut from: words that come back, so that gzip finds about half.
const POOL: usize = 16 << 20;
const WORDS: u32 = 4096;
const PODCTL: &str = env!("CARGO_BIN_EXE_podctl");

/// A process that ends with the bench.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().expect("kill a server");
        self.0.wait().expect("wait for a server");
    }
}

/// Nothing where there is no registry to measure with. All is made in `dir`, and stays.
pub fn figures(dir: &Path) -> Vec<Figure> {
    if !installed("docker-registry") || !installed("skopeo") {
        return Vec::new();
    }
    fs::create_dir(dir).expect("a directory");
    let (_registry, port) = registry(dir);
    layout(&dir.join("layout"));
    let from = format!("oci:{}", dir.join("layout").display());
    let image = format!("127.0.0.1:{port}/bench:1");
    let to = format!("docker://{image}");
    succeed("skopeo", ["copy", "-q", "--insecure-policy", "--dest-tls-verify=false", &from, &to]);
    fs::remove_dir_all(dir.join("layout")).expect("remove the layout");

    let has_podman = installed("podman");
    let (mut ours, mut memory, mut podman, mut ctr) = (vec![], vec![], vec![], vec![]);
    // Nothing is removed between: ext4 goes around the inodes removed in the last minutes one by
    // one, for each file it makes, so whoever pulls next would pay for 10,000 removals: seconds.
    for round in 0..ROUNDS {
        let place = dir.join(round.to_string());
        fs::create_dir(&place).expect("a place for stores");
        let (time, peak) = pull(&place.join("runp"), &image);
        ours.push(time);
        memory.push(peak);
        if has_podman {
            podman.push(podman_pull(&place, &image));
        }
        if let Some(time) = ctr_pull(&place, &image) {
            ctr.push(time);
        }
    }
    let mut timed = vec![("runp".to_owned(), median(ours))];
    for (name, times) in [("podman pull", podman), ("containerd", ctr)] {
        if !times.is_empty() {
            timed.push((name.to_owned(), median(times)));
        }
    }
    vec![
        figure("pull and unpack 500 MiB", "s", &timed),
        figure("memory of that pull", "MiB", &[("runp".to_owned(), median(memory))]),
    ]
}

/// Seconds, and MiB of resident memory at the most.
fn pull(root: &Path, image: &str) -> (f64, f64) {
    settle();
    let begin = Instant::now();
    let output = Command::new("/usr/bin/time")
        .args(["-f", "%M", PODCTL, "--root"])
        .arg(root)
        .args(["pull", "-q", image])
        .output()
        .expect("time, of Debian's package of that name");
    let time = begin.elapsed().as_secs_f64();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let kib = errors.lines().last().and_then(|line| line.trim().parse().ok());
    (time, kib.map_or(f64::NAN, |kib: f64| kib / 1024.0))
}

/// What others have left to be written is not to be waited for by the next.
fn settle() {
    rustix::fs::sync();
}

fn podman_pull(dir: &Path, image: &str) -> f64 {
    let (root, run) = (dir.join("podman"), dir.join("podman-run"));
    let at = ["--root", &root.display().to_string(), "--runroot", &run.display().to_string()];
    let pull = ["pull", "-q", "--tls-verify=false", image];
    settle();
    seconds(|| succeed("podman", at.iter().chain(&pull)))
}

/// Into a containerd of its own.
fn ctr_pull(dir: &Path, image: &str) -> Option<f64> {
    let _server = installed("ctr").then(|| containerd(dir)).flatten()?;
    let socket = dir.join("containerd.sock").display().to_string();
    settle();
    Some(seconds(|| {
        succeed("ctr", ["-a", &socket, "images", "pull", "--plain-http", image]);
    }))
}

/// A containerd of our own; none where it does not come up.
fn containerd(dir: &Path) -> Option<Server> {
    let path = |name: &str| dir.join(name).display().to_string();
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = {:?}\n",
        path("containerd"),
        path("containerd-run"),
        path("containerd.sock")
    );
    fs::write(path("containerd.toml"), config).expect("containerd's configuration");
    let child = Command::new("containerd")
        .args(["--config", &path("containerd.toml")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let server = Server(child);
    let begin = Instant::now();
    while std::os::unix::net::UnixStream::connect(path("containerd.sock")).is_err() {
        if begin.elapsed().as_secs() > 20 {
            return None;
        }
        std::thread::yield_now();
    }
    Some(server)
}

fn registry(dir: &Path) -> (Server, u16) {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let port = port.port();
    let config = json!({
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": true}},
        "storage": {"filesystem": {"rootdirectory": dir.join("registry")}},
        "http": {"addr": format!("127.0.0.1:{port}")},
    });
    let file = dir.join("registry.yml");
    fs::write(&file, config.to_string()).expect("the registry's configuration");
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry");
    let server = Server(child);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::yield_now();
    }
    (server, port)
}

/// An OCI layout of the image.
fn layout(dir: &Path) {
    fs::create_dir_all(dir.join("blobs/sha256")).expect("the layout");
    let mut random = Random(1);
    let pool = pool(&mut random);
    let (mut layers, mut diffs) = (Vec::new(), Vec::new());
    for layer in 0..LAYERS {
        let plain = tar(layer, &pool, &mut random);
        diffs.push(format!("sha256:{}", sha256(&plain)));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&plain).expect("compress");
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        layers.push(blob(dir, &gzip.finish().expect("compress"), kind));
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    });
    let config =
        blob(dir, config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
    let manifest = blob(dir, manifest.to_string().as_bytes(), kind);
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(dir.join("index.json"), index.to_string()).expect("the index");
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("the layout");
}

fn tar(layer: usize, pool: &[u8], random: &mut Random) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for file in 0..FILES {
        let mut header = tar::Header::new_ustar();
        header.set_size(FILE_SIZE as u64);
        header.set_mode(0o644);
        let at = random.below(pool.len() - FILE_SIZE);
        let name = format!("usr/layer{layer}/dir{}/file{file}", file / 50);
        let content = &pool[at..at + FILE_SIZE];
        builder.append_data(&mut header, name, content).expect("a file in memory");
    }
    builder.into_inner().expect("a tar in memory")
}

fn pool(random: &mut Random) -> Vec<u8> {
    let word = |random: &mut Random| -> Vec<u8> {
        (0..3 + random.below(10)).map(|_| random.next() as u8).collect()
    };
    let words: Vec<Vec<u8>> = (0..WORDS).map(|_| word(random)).collect();
    let mut pool = Vec::with_capacity(POOL);
    while pool.len() < POOL {
        pool.extend(&words[random.below(words.len())]);
    }
    pool
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn blob(dir: &Path, content: &[u8], kind: &str) -> serde_json::Value {
    let hex = sha256(content);
    fs::write(dir.join("blobs/sha256").join(&hex), content).expect("a blob");
    json!({"mediaType": kind, "digest": format!("sha256:{hex}"), "size": content.len()})
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
