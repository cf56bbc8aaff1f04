//! Building blocks of the tests: tar streams, OCI layouts, stores.

use runp::image::{Image, Reference, Store};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Prints why and returns true where a test cannot run.
pub fn skip(tools: &[&str]) -> bool {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIP: needs root");
        return true;
    }
    let lacks = |tool: &&&str| Command::new(tool).arg("--version").output().is_err();
    match tools.iter().find(lacks) {
        Some(tool) => {
            println!("SKIP: {tool} is not installed");
            true
        }
        None => false,
    }
}

/// A scratch directory with a store in it.
pub struct Scene {
    pub dir: TempDir,
    pub store: Store,
}

impl Scene {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Loads an image of these layers under the name `test`.
    pub fn load_layers(&self, layers: &[Vec<u8>]) -> runp::error::Result<Image> {
        let layout = tempfile::tempdir_in(self.dir.path()).unwrap();
        write_layout(layout.path(), layers, &json!({}));
        let mut images =
            self.store.load(layout.path(), Some(&Reference::parse("test").unwrap()))?;
        assert_eq!(images.len(), 1);
        Ok(images.remove(0))
    }

    pub fn find(&self, name: &str) -> Option<Image> {
        self.store.find(&Reference::parse(name).unwrap()).unwrap()
    }

    /// What work in progress has left in the store.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let tmp = fs::read_dir(self.path("store/tmp")).unwrap();
        tmp.map(|entry| entry.unwrap().path()).collect()
    }
}

/// Runs a shell command that has to succeed; its standard output.
pub fn sh(script: &str, arguments: &[&Path]) -> String {
    let Output { status, stdout, stderr } =
        Command::new("sh").args(["-euc", script, "sh"]).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{script}\n{status}: {errors}");
    String::from_utf8(stdout).unwrap()
}

/// One member of a tar stream.
pub struct Member<'a> {
    pub name: &'a str,
    pub kind: tar::EntryType,
    pub content: &'a [u8],
    pub link: &'a str,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: i64,
    pub device: (u32, u32),
    pub xattr: Option<(&'a str, &'a [u8])>,
    /// Records of a pax header before it.
    pub pax: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Member<'a> {
    fn new(kind: tar::EntryType, name: &'a str, mode: u32) -> Self {
        let (content, link) = (b"".as_slice(), "");
        let (owner, mtime, device, xattr) = ((0, 0), 1_000_000_000, (0, 0), None);
        Self { name, kind, content, link, mode, owner, mtime, device, xattr, pax: Vec::new() }
    }

    pub fn file(name: &'a str, content: &'a [u8]) -> Self {
        Self { content, ..Self::new(tar::EntryType::Regular, name, 0o644) }
    }

    pub fn dir(name: &'a str) -> Self {
        Self::new(tar::EntryType::Directory, name, 0o755)
    }

    pub fn symlink(name: &'a str, link: &'a str) -> Self {
        Self { link, ..Self::new(tar::EntryType::Symlink, name, 0o777) }
    }

    pub fn hard_link(name: &'a str, link: &'a str) -> Self {
        Self { link, ..Self::new(tar::EntryType::Link, name, 0o644) }
    }

    pub fn fifo(name: &'a str) -> Self {
        Self::new(tar::EntryType::Fifo, name, 0o600)
    }

    /// A character device; `kind` makes it another.
    pub fn device(name: &'a str, device: (u32, u32)) -> Self {
        Self { device, ..Self::new(tar::EntryType::Char, name, 0o620) }
    }
}

/// A tar stream of these members, names as they are.
pub fn tar_of(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for member in members {
        if let Some((name, value)) = member.xattr {
            let key = format!("SCHILY.xattr.{name}");
            builder.append_pax_extensions([(key.as_str(), value)]).unwrap();
        }
        if !member.pax.is_empty() {
            builder.append_pax_extensions(member.pax.iter().copied()).unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(member.kind);
        header.set_mode(member.mode);
        header.set_uid(member.owner.0);
        header.set_gid(member.owner.1);
        header.set_mtime(member.mtime.cast_unsigned());
        header.set_device_major(member.device.0).unwrap();
        header.set_device_minor(member.device.1).unwrap();
        header.set_size(member.content.len() as u64);
        // set_path and set_link_name refuse what hostile archives hold.
        let old = header.as_old_mut();
        old.name[..member.name.len()].copy_from_slice(member.name.as_bytes());
        old.linkname[..member.link.len()].copy_from_slice(member.link.as_bytes());
        header.set_cksum();
        builder.append(&header, member.content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts a blob into a layout; its descriptor without a media type.
pub fn blob(layout: &Path, content: &[u8]) -> Value {
    let dir = layout.join("blobs/sha256");
    fs::create_dir_all(&dir).unwrap();
    let hex = sha256(content);
    fs::write(dir.join(&hex), content).unwrap();
    json!({"digest": format!("sha256:{hex}"), "size": content.len()})
}

/// Puts an image into a layout; the descriptor of its manifest. `change` overrides parts of the
/// configuration.
pub fn image(layout: &Path, layers: &[Vec<u8>], change: &Value) -> Value {
    let diffs: Vec<String> =
        layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
    let mut config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    });
    for (key, value) in change.as_object().unwrap() {
        config[key] = value.clone();
    }
    let mut config = blob(layout, config.to_string().as_bytes());
    config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| {
            let mut layer = blob(layout, &gzip(layer));
            layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip".into();
            layer
        })
        .collect();
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    let mut manifest = blob(layout, manifest.to_string().as_bytes());
    manifest["mediaType"] = "application/vnd.oci.image.manifest.v1+json".into();
    manifest
}

/// An OCI layout of one nameless image.
pub fn write_layout(layout: &Path, layers: &[Vec<u8>], change: &Value) {
    let manifest = image(layout, layers, change);
    write_index(layout, &[manifest]);
}

pub fn write_index(layout: &Path, manifests: &[Value]) {
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
