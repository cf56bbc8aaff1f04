//! What a container sees: its root, the kernel's file systems, its volumes, the pod's own files.

use super::{Input, names};
use crate::error::{Error, Result};
use crate::image::rootfs;
use k8s_openapi::api::core::v1::{Container, VolumeMount};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What a `volumeMount` mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// On the host; of a `subPath` the descriptor that the runtime inherits.
    pub path: PathBuf,
    /// Read-only whatever the manifest says.
    pub read_only: bool,
    /// Of an image, lowest first; with several `path` does not count.
    pub layers: Vec<PathBuf>,
}

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

/// The pod's own files and where they go. Containers may write to `hosts` and to their termination
/// message, as under the kubelet, and not to the others, so that nobody fills the host's disk
/// through them (CVE-2020-8557).
fn pod_files<'a>(input: &'a Input<'_>) -> [(&'a str, &'a Path, &'static [&'static str]); 5] {
    let places = input.places;
    let message = input.container.termination_message_path.as_deref();
    let shm = if names::is_on_host_ipc(input.pod) { Path::new("/dev/shm") } else { places.shm };
    [
        ("/dev/shm", shm, &["rw", "nosuid", "nodev", "noexec"]),
        ("/etc/hostname", places.hostname, &["ro"]),
        ("/etc/resolv.conf", places.resolv_conf, &["ro"]),
        ("/etc/hosts", places.hosts, &["rw"]),
        (message.unwrap_or("/dev/termination-log"), places.termination_log, &["rw"]),
    ]
}

fn volume(input: &Input<'_>, index: usize, mount: &VolumeMount) -> Result<(PathBuf, Value)> {
    let source = input.places.volumes.get(index).ok_or_else(|| {
        let field = format!("volumeMounts[{index}].name");
        Error::user(format!("{field}: there is no volume {:?} in the pod", mount.name))
    })?;
    let destination = Path::new("/").join(&mount.mount_path);
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => "rslave",
        Some("Bidirectional") => "rshared",
        _ => "rprivate",
    };
    if source.layers.len() > 1 {
        let options = [&rootfs::lower(&source.layers), "ro", "nosuid", "nodev", "noexec"];
        let mount = json!({
            "destination": destination, "type": "overlay", "source": "overlay", "options": options,
        });
        return Ok((destination, mount));
    }
    let mut options = vec!["rbind", propagation];
    if !source.layers.is_empty() {
        options.extend(["nosuid", "nodev", "noexec"]);
    }
    options.push(if source.read_only || mount.read_only == Some(true) { "ro" } else { "rw" });
    if matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible")) {
        options.push("rro");
    }
    let mount = json!({
        "destination": destination, "type": "bind", "source": source.path, "options": options,
    });
    Ok((destination, mount))
}

/// `linux.rootfsPropagation`: as much as the mounts of `container` need, as containerd has it.
pub fn propagation(container: &Container) -> Option<&'static str> {
    let wants = |how: &str| {
        let mut mounts = container.volume_mounts.iter().flatten();
        mounts.any(|mount| mount.mount_propagation.as_deref() == Some(how))
    };
    match (wants("Bidirectional"), wants("HostToContainer")) {
        (true, _) => Some("rshared"),
        (_, true) => Some("rslave"),
        _ => None,
    }
}

fn bind(destination: impl AsRef<Path>, source: &Path, flags: &[&str]) -> Value {
    let options = [&["rbind", "rprivate"], flags].concat();
    json!({
        "destination": destination.as_ref(), "type": "bind", "source": source, "options": options,
    })
}
