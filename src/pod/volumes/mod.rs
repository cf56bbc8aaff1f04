//! A pod's volumes on the host: made before its sandbox, removed with it. Mounting into a container
//! is the runtime's business.
//!
//! `emptyDir` and what is made of ConfigMaps live below the pod's directory (memory as a tmpfs
//! mounted there), what is made of Secrets or of the pod itself in memory, below the pod's own
//! directory in `/dev/shm`. `hostPath` is what the host has.

mod atomic;
mod empty_dir;
mod host_path;
mod payload;
mod sub_path;

use super::references::Objects;
use super::store::make_private_dir;
use super::translate::downward::Node;
use crate::error::{Context, Error, Result};
use crate::kube::Pod;
use k8s_openapi::api::core::v1::Volume;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use sub_path::{check as check_sub_path, find as find_sub_path, open as open_sub_path, read};

/// What volumes are made of.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Where they go.
    pub dirs: Dirs<'a>,
    /// Bytes of the node's memory.
    pub memory: u64,
    /// The ConfigMaps and Secrets that they are made of.
    pub objects: &'a Objects,
    /// The node, for the downward API.
    pub node: &'a Node,
}

/// Where the volumes of a pod go.
#[derive(Clone, Copy, Debug)]
pub struct Dirs<'a> {
    /// On disk.
    pub disk: &'a Path,
    /// In memory: another user's secrets never reach a disk.
    pub memory: &'a Path,
}

impl Setup<'_> {
    fn fs_group(&self) -> Option<i64> {
        self.pod.spec.as_ref()?.security_context.as_ref()?.fs_group
    }
}

/// Where a volume is, once it has been made: as the kubelet names it.
pub fn path(volume: &Volume, dirs: Dirs<'_>) -> PathBuf {
    let (dir, plugin) = match volume {
        Volume { host_path: Some(source), .. } => return PathBuf::from(&source.path),
        Volume { config_map: Some(_), .. } => (dirs.disk, "configmap"),
        Volume { secret: Some(_), .. } => (dirs.memory, "secret"),
        Volume { downward_api: Some(_), .. } => (dirs.memory, "downward-api"),
        Volume { projected: Some(_), .. } => (dirs.memory, "projected"),
        Volume { image: Some(_), .. } => (dirs.disk, "image"),
        _ => (dirs.disk, "empty-dir"),
    };
    dir.join(format!("kubernetes.io~{plugin}")).join(&volume.name)
}

/// Whether containers must not write to it: what is made of objects is the engine's to change.
pub fn is_read_only(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
        || volume.image.is_some()
}

/// Makes one volume, or finds it made; one that is made of objects is brought up to date.
pub fn prepare(volume: &Volume, setup: &Setup<'_>) -> Result<PathBuf> {
    let path = path(volume, setup.dirs);
    if let Some(source) = &volume.host_path {
        return host_path::prepare(source);
    }
    if volume.image.is_some() {
        // Its layers are in the store; the runtime mounts them where they are wanted.
        return Ok(path);
    }
    let files = payload::files(volume, setup.pod, setup.objects, setup.node)?;
    path.parent().map_or(Ok(()), make_private_dir)?;
    let made = match &files {
        Some(_) => empty_dir::make(&path, setup.fs_group()),
        None => {
            let source = volume.empty_dir.clone().unwrap_or_default();
            empty_dir::prepare(&source, &path, setup)
        }
    };
    made.doing(|| format!("make {}", path.display()))?;
    if let Some(files) = files {
        let group = setup.fs_group().map(u32::try_from).transpose();
        let group = group.map_err(|_| Error::user("fsGroup is out of range"))?;
        atomic::write(&path, &files, group)?;
    }
    Ok(path)
}

/// Brings a volume that is made of objects up to date, if it is there; false if nothing changed.
pub fn refresh(volume: &Volume, setup: &Setup<'_>) -> Result<bool> {
    let path = path(volume, setup.dirs);
    match payload::files(volume, setup.pod, setup.objects, setup.node)? {
        Some(files) if path.is_dir() => {
            let group = setup.fs_group().and_then(|group| u32::try_from(group).ok());
            atomic::write(&path, &files, group)
        }
        _ => Ok(false),
    }
}

fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| path.symlink_metadata().map(|is| is.dev()).ok();
    device(path).is_some() && path.parent().and_then(device) != device(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::store::remove_tree;

    #[test]
    fn an_empty_dir_is_for_everybody_and_goes_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (pod, objects, node) = (Pod::default(), Objects::default(), Node::default());
        let dirs = Dirs { disk: dir.path(), memory: dir.path() };
        let setup = Setup { pod: &pod, dirs, memory: 0, objects: &objects, node: &node };
        let volume = Volume { name: "data".into(), ..Volume::default() };
        let path = prepare(&volume, &setup).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o777);
        std::fs::write(path.join("file"), "").unwrap();
        assert_eq!(prepare(&volume, &setup).unwrap(), path);
        assert!(path.join("file").is_file(), "what is there stays");
        remove_tree(dir.path()).unwrap();
        assert!(!dir.path().exists());
        remove_tree(dir.path()).unwrap();
    }
}
