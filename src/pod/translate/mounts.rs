//! What a container sees: its root, the kernel's file systems, its volumes, the pod's own files.

use super::Input;
use crate::error::{Error, Result};
use crate::image::rootfs;
use k8s_openapi::api::core::v1::VolumeMount;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// All mounts, in order. What a volume is mounted upon gives way to it.
pub fn mounts(input: &Input<'_>, is_privileged: bool) -> Result<Vec<Value>> {
    let mut mounts = vec![root(input)];
    mounts.extend(kernel(is_privileged));
    if input.image.is_host() {
        mounts.extend(input.places.hidden.iter().map(|dir| hide(dir)));
    }
    let mut binds = Vec::new();
    let volumes = input.container.volume_mounts.as_deref().unwrap_or_default();
    for (index, mount) in volumes.iter().enumerate() {
        binds.push(volume(input, index, mount)?);
    }
    for (destination, source, access) in pod_files(input) {
        if !volumes.iter().any(|mount| Path::new(&mount.mount_path) == Path::new(destination)) {
            binds.push((PathBuf::from(destination), bind(destination, source, access)));
        }
    }
    // A mount upon another one's directory comes after it, whatever the manifest's order.
    binds.sort_by_key(|(destination, _)| destination.components().count());
    mounts.extend(binds.into_iter().map(|(_, mount)| mount));
    Ok(mounts)
}

/// The root file system, mounted by the runtime inside the container's mount namespace: a kill
/// at any time leaves no mount on the host. The runtime resolves all that follows inside it.
fn root(input: &Input<'_>) -> Value {
    let options = rootfs::overlay(input.image, input.places.overlay);
    json!({"destination": "/", "type": "overlay", "source": "overlay", "options": options})
}

fn kernel(is_privileged: bool) -> [Value; 6] {
    // Only who owns the machine anyhow writes the kernel's settings.
    let access = if is_privileged { "rw" } else { "ro" };
    let mount = |kind: &str, destination: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    [
        mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", access]),
        mount("cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
    ]
}

/// An empty directory over one that must not be seen.
fn hide(dir: &Path) -> Value {
    let options = ["ro", "nosuid", "nodev", "noexec", "mode=000", "size=4k"];
    json!({"destination": dir, "type": "tmpfs", "source": "tmpfs", "options": options})
}

/// The pod's own files and where they go. Those that only the engine writes are read-only, so that
/// no container fills the host's disk through them (CVE-2020-8557).
fn pod_files<'a>(input: &'a Input<'_>) -> [(&'a str, &'a Path, &'static [&'static str]); 5] {
    let places = input.places;
    let message = input.container.termination_message_path.as_deref();
    [
        ("/dev/shm", places.shm, &["rw", "nosuid", "nodev", "noexec"]),
        ("/etc/hostname", places.hostname, &["ro"]),
        ("/etc/resolv.conf", places.resolv_conf, &["ro"]),
        ("/etc/hosts", places.hosts, &["ro"]),
        (message.unwrap_or("/dev/termination-log"), places.termination_log, &["rw"]),
    ]
}

fn volume(input: &Input<'_>, index: usize, mount: &VolumeMount) -> Result<(PathBuf, Value)> {
    let known = input.places.volumes.iter().find(|(name, _)| *name == mount.name);
    let (_, source) = known.ok_or_else(|| {
        let field = format!("volumeMounts[{index}].name");
        Error::user(format!("{field}: there is no volume {:?} in the pod", mount.name))
    })?;
    let access = if mount.read_only == Some(true) { "ro" } else { "rw" };
    let destination = Path::new("/").join(&mount.mount_path);
    let mount = bind(&destination, source, &[access]);
    Ok((destination, mount))
}

fn bind(destination: impl AsRef<Path>, source: &Path, flags: &[&str]) -> Value {
    let options = [&["rbind", "rprivate"], flags].concat();
    json!({
        "destination": destination.as_ref(), "type": "bind", "source": source, "options": options,
    })
}
