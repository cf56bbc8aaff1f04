//! What a pod has on the node's disk: its volumes, writable layers and logs.

use super::{Place, container, sandbox};
use crate::error::{Context, Result};
use crate::image;
use crate::pod::eviction::{Usage, counts};
use crate::pod::state::{ContainerState, PodState};
use crate::pod::volumes::{self, Dirs};
use crate::sys::tree;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Measures it.
pub fn measure(place: &Place, state: &PodState) -> Result<Usage> {
    let mut usage = Usage::default();
    let (disk, memory) = (place.dir.join("volumes"), sandbox::memory_dir(place).join("volumes"));
    let dirs = Dirs { disk: &disk, memory: &memory };
    let all = place.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    for volume in all.filter(|volume| counts(volume)) {
        let used = on_disk(&volumes::path(volume, dirs))?;
        usage.volumes.insert(volume.name.clone(), used);
    }
    for container in &state.containers {
        let logs = on_disk(&place.logs().join(&container.name))?;
        usage.containers.insert(container.name.clone(), logs + layer(place, container)?);
    }
    // Blocks are of 512 bytes, inode(7).
    let hosts =
        std::fs::symlink_metadata(place.dir.join("hosts")).map_or(0, |is| is.blocks() * 512);
    usage.files = hosts + on_disk(&place.dir.join("termination"))?;
    Ok(usage)
}

/// Bytes of the writable layer of the instance that is there.
fn layer(place: &Place, container: &ContainerState) -> Result<u64> {
    if container.id.is_empty() {
        return Ok(0);
    }
    if container.image.name != image::HOST {
        return on_disk(&container::overlay(place, &container.id));
    }
    // That of the host's image is a file system of its own, in the container's mount namespace;
    // an overlay tells of the one that it writes to.
    let root = format!("/proc/{}/root", container.pid);
    let running = (container.pid > 0).then(|| rustix::fs::statvfs(root.as_str()).ok()).flatten();
    Ok(running.map_or(0, |is| is.f_blocks.saturating_sub(is.f_bfree).saturating_mul(is.f_frsize)))
}

fn on_disk(path: &Path) -> Result<u64> {
    tree::disk_usage(path).doing(|| format!("measure {}", path.display()))
}
