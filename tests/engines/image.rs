//! Images for the engines, made of busybox: there is no registry here.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// What the engines call the image whose program is a shell.
pub const BUSYBOX: &str = "localhost/busybox:1";
/// The one that sleeps: a sandbox's.
pub const PAUSE: &str = "localhost/pause:1";

/// Writes both images into one archive, as `docker save` does.
pub fn archive(path: &Path) {
    let layer = layer();
    let digest: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut archive = tar::Builder::new(fs::File::create(path).unwrap());
    let mut manifest = Vec::new();
    for (tag, command) in [(BUSYBOX, json!(["sh"])), (PAUSE, json!(["sleep", "1000000"]))] {
        let config = config(&digest, &command).to_string();
        let id: String = Sha256::digest(&config).iter().map(|byte| format!("{byte:02x}")).collect();
        append(&mut archive, &format!("{id}.json"), config.as_bytes(), 0o644);
        let layers = [format!("{digest}/layer.tar")];
        manifest.push(json!({"Config": format!("{id}.json"), "RepoTags": [tag], "Layers": layers}));
    }
    append(&mut archive, &format!("{digest}/layer.tar"), &layer, 0o644);
    append(&mut archive, "manifest.json", Value::from(manifest).to_string().as_bytes(), 0o644);
    archive.finish().unwrap();
}

fn config(layer: &str, command: &Value) -> Value {
    json!({
        "architecture": "amd64",
        "os": "linux",
        // Without it podman gives a container no PATH at all.
        "config": {"Env": ["PATH=/bin"], "Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
    })
}

fn layer() -> Vec<u8> {
    const APPLETS: &str = "cat chmod cp echo env false grep hostname id ip ls mkdir mount nc ps \
        pwd rm sh sleep sort stty tail test touch true tty umount uname wc";
    let mut layer = tar::Builder::new(Vec::new());
    for name in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(if name == "tmp" { 0o1777 } else { 0o755 });
        header.set_size(0);
        layer.append_data(&mut header, format!("{name}/"), [].as_slice()).unwrap();
    }
    append(&mut layer, "bin/busybox", &fs::read("/bin/busybox").unwrap(), 0o755);
    for applet in APPLETS.split_whitespace() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n";
    append(&mut layer, "etc/passwd", users.as_bytes(), 0o644);
    append(&mut layer, "etc/group", b"root:x:0:\nuser:x:1000:\n", 0o644);
    layer.into_inner().unwrap()
}

fn append<W: std::io::Write>(archive: &mut tar::Builder<W>, path: &str, content: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, path, content).unwrap();
}
