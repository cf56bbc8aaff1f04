//! A docker-registry of a test's own, and images in it.

use crate::build::{Member, Scene, image, sh, tar_of, write_index};
use runp::image::pull::{Failed, Options, Pulled, pull};
use runp::image::registry::Keyring;
use runp::image::{Reference, Store};
use serde_json::{Value, json};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of the larger file: many reads, and no compression.
const NOISE: u32 = 1_500_000;

/// A registry process, and its data.
pub struct Registry {
    pub port: u16,
    pub dir: tempfile::TempDir,
    process: Child,
}

/// What a registry wants and has.
#[derive(Default)]
pub struct Setup {
    /// The contents of its htpasswd file.
    pub htpasswd: Option<String>,
    /// Whether it speaks TLS, with a certificate for registry.test and 127.0.0.1.
    pub tls: bool,
}

impl Registry {
    pub fn start() -> Self {
        Self::with(&Setup::default())
    }

    pub fn with(setup: &Setup) -> Self {
        let dir = tempfile::Builder::new().prefix("runp-registry-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = json!({
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": path("data")}},
            "http": {"addr": format!("127.0.0.1:{port}")},
        });
        if let Some(users) = &setup.htpasswd {
            fs::write(path("htpasswd"), users).unwrap();
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": path("htpasswd")}});
        }
        if setup.tls {
            certificates(dir.path());
            config["http"]["tls"] = json!({"certificate": path("reg.crt"), "key": path("reg.key")});
        }
        fs::write(path("config.yml"), config.to_string()).unwrap();
        let mut process = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        // Nothing tells of a listening socket but a connection.
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "{:?}", fs::read_to_string(path("log")));
            assert!(Instant::now() < deadline, "the registry does not listen");
            std::thread::yield_now();
        }
        Self { port, dir, process }
    }

    /// Puts the image of a layout into the registry as `name`.
    pub fn push(&self, layout: &Path, name: &str, more: &str) {
        let script = format!(
            "skopeo copy -q --insecure-policy --dest-tls-verify=false {more} \"$1\" \"$2\""
        );
        let from = format!("oci:{}", layout.display());
        let to = format!("docker://127.0.0.1:{}/{name}", self.port);
        sh(&script, &[Path::new(&from), Path::new(&to)]);
    }

    /// A registry with the image `app:1`.
    pub fn with_app() -> Self {
        let registry = Self::start();
        registry.push_app("app:1", "");
        registry
    }

    pub fn push_app(&self, name: &str, more: &str) {
        let layout = tempfile::tempdir().unwrap();
        app(layout.path(), name);
        self.push(layout.path(), name, more);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A layout of three layers; `name` makes its configuration, and so its digest, another one.
pub fn app(layout: &Path, name: &str) {
    // Xorshift: nothing that a compressor finds.
    let noise = |mut state: u32| -> Vec<u8> {
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        (0..NOISE).map(|_| byte()).collect()
    };
    let layers = [
        tar_of(&[Member::dir("bin/"), Member::file("bin/a", b"a")]),
        tar_of(&[Member::file("noise", &noise(1))]),
        tar_of(&[Member::file("more", &noise(77)), Member::file("bin/.wh.a", b"")]),
    ];
    let change = json!({"config": {"Cmd": ["/bin/sh"], "Labels": {"name": name}}});
    write_index(layout, &[image(layout, &layers, &change)]);
}

/// An authority, and what it signed for registry.test and 127.0.0.1.
fn certificates(dir: &Path) {
    sh(
        "cd \"$1\"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key \
            -out ca.crt -subj /CN=ca -days 2 2>/dev/null
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout reg.key \
            -out reg.csr -subj /CN=registry.test 2>/dev/null
        printf 'subjectAltName=DNS:registry.test,IP:127.0.0.1\\nbasicConstraints=CA:FALSE' > ext
        openssl x509 -req -in reg.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
            -extfile ext -out reg.crt 2>/dev/null",
        &[dir],
    );
}

/// Pulls into the scene's store.
pub fn pull_with(scene: &Scene, name: &str, keyring: &Keyring) -> Result<Pulled, Failed> {
    pull_within(scene, name, (keyring, Duration::from_secs(60)))
}

/// As [`pull_anonymously`], of a server that says nothing.
pub fn pull_impatiently(scene: &Scene, name: &str) -> Result<Pulled, Failed> {
    pull_within(scene, name, (&Keyring::default(), Duration::from_secs(2)))
}

fn pull_within(
    scene: &Scene,
    name: &str,
    (keyring, patience): (&Keyring, Duration),
) -> Result<Pulled, Failed> {
    let options = Options { keyring, if_absent: false, patience, progress: &|_| {} };
    pull(&scene.store, &Reference::parse(name).unwrap(), &options)
}

pub fn pull_anonymously(scene: &Scene, name: &str) -> Result<Pulled, Failed> {
    pull_with(scene, name, &Keyring::default())
}

/// Asserts that the scene has the app's tree, whole.
pub fn assert_app(scene: &Scene, pulled: &Pulled) {
    let image = &pulled.image;
    assert_eq!(image.layers.len(), 3);
    for (layer, file) in [(1, "noise"), (2, "more")] {
        let size = fs::metadata(image.layers[layer].join(file)).unwrap().len();
        assert_eq!(size, u64::from(NOISE), "{file}");
    }
    assert_eq!(scene.leftovers(), Vec::<std::path::PathBuf>::new());
    let index: Value =
        serde_json::from_slice(&fs::read(scene.path("store/index.json")).unwrap()).unwrap();
    assert!(!index["manifests"].as_array().unwrap().is_empty());
}

/// Asserts that a failed pull has left nothing behind but parts to go on with.
pub fn assert_nothing(scene: &Scene) {
    assert!(scene.store.list().unwrap().is_empty());
    Store::open(&scene.path("store")).unwrap().tidy().unwrap();
    for dir in ["tmp", "leases", "blobs/sha256", "layers"] {
        let left = fs::read_dir(scene.path("store").join(dir)).unwrap().count();
        assert_eq!(left, 0, "{dir}");
    }
}
