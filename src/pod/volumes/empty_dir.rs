//! `emptyDir`: a directory of the pod's, or memory.

use super::{Setup, is_mounted};
use crate::error::{Error, Result};
use crate::kube::quantity::{Quantity, ZERO};
use crate::kube::{resources, roster};
use crate::pod::store::{make_private_dir, remove_tree};
use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use nix::mount::{MsFlags, mount};
use std::collections::BTreeSet;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Makes it at `path`, or finds it made.
pub fn prepare(source: &EmptyDirVolumeSource, path: &Path, setup: &Setup<'_>) -> Result<()> {
    match source.medium.as_deref().unwrap_or_default() {
        "" => make(path, setup.fs_group()),
        "Memory" => mount_tmpfs(path, setup.fs_group(), tmpfs_size(source, setup)),
        medium => mount_huge_pages(path, medium, setup),
    }
}

/// Made under another name first: once it has its own, nothing is missing.
pub fn make(path: &Path, fs_group: Option<i64>) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let mut making = path.to_owned();
    making.set_extension("making~");
    remove_tree(&making)?;
    DirBuilder::new().mode(0o700).create(&making)?;
    let (group, mode) = group_and_mode(fs_group)?;
    std::os::unix::fs::lchown(&making, None, group)?;
    // Not at the making: the umask would count.
    std::fs::set_permissions(&making, Permissions::from_mode(mode))?;
    Ok(std::fs::rename(&making, path)?)
}

/// The size of a `medium: Memory` volume: its limit, and no more than the pod may have or there is.
fn tmpfs_size(source: &EmptyDirVolumeSource, setup: &Setup<'_>) -> u64 {
    let limit = source.size_limit.as_ref().and_then(|limit| Quantity::parse(&limit.0).ok());
    let limits = [limit.map(Quantity::value), resources::pod(setup.pod).memory];
    let limits = limits.into_iter().flatten().filter_map(|limit| u64::try_from(limit).ok());
    limits.filter(|limit| *limit > 0).fold(setup.memory, u64::min)
}

/// Mounted is made: the one call sets everything.
fn mount_tmpfs(path: &Path, fs_group: Option<i64>, size: u64) -> Result<()> {
    let (group, mode) = group_and_mode(fs_group)?;
    let options = format!("mode={mode:o},gid={},size={size}", group.unwrap_or(0));
    mount_at(path, "tmpfs", &options)
}

/// `HugePages-2Mi`, or `HugePages` where the pod asks for pages of one size.
fn mount_huge_pages(path: &Path, medium: &str, setup: &Setup<'_>) -> Result<()> {
    let asked = page_sizes(setup);
    let size = match medium.strip_prefix("HugePages-") {
        Some(size) => asked.get(size).map(String::as_str),
        None if asked.len() > 1 => {
            let why = "medium `HugePages` can only be used if the pod asks for pages of one size";
            return Err(Error::user(why));
        }
        None => asked.first().map(String::as_str),
    };
    let size = size.and_then(|size| Quantity::parse(size).ok()).ok_or_else(|| {
        Error::user(format!("medium {medium:?}: no container of the pod asks for such huge pages"))
    })?;
    let (group, mode) = group_and_mode(setup.fs_group())?;
    let options = format!("pagesize={},mode={mode:o},gid={}", size.value(), group.unwrap_or(0));
    mount_at(path, "hugetlbfs", &options)
}

/// Of huge pages that the pod's containers ask for: `2Mi`.
fn page_sizes(setup: &Setup<'_>) -> BTreeSet<String> {
    let mut sizes = BTreeSet::new();
    for (_, container) in roster::all(setup.pod) {
        let requests = container.resources.as_ref().and_then(|it| it.requests.as_ref());
        for (name, quantity) in requests.into_iter().flatten() {
            let asked = Quantity::parse(&quantity.0).is_ok_and(|quantity| quantity > ZERO);
            let size = name.strip_prefix("hugepages-").filter(|_| asked);
            sizes.extend(size.map(str::to_owned));
        }
    }
    sizes
}

fn mount_at(path: &Path, kind: &str, options: &str) -> Result<()> {
    make_private_dir(path)?;
    if is_mounted(path) {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some(kind), path, Some(kind), flags, Some(options))?)
}

/// A volume is everybody's; with `fsGroup` what is made in it belongs to the group too.
fn group_and_mode(fs_group: Option<i64>) -> Result<(Option<u32>, u32)> {
    let Some(group) = fs_group else { return Ok((None, 0o777)) };
    let group = u32::try_from(group).map_err(|_| Error::user("fsGroup is out of range"))?;
    Ok((Some(group), 0o2777))
}
