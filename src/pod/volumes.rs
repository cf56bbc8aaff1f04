//! A pod's volumes on the host: made before its sandbox, removed with it. `emptyDir` lives below
//! the pod's directory, with `medium: Memory` as a tmpfs mounted there; `hostPath` is what the host
//! has. Mounting into a container is the runtime's business.

use super::store::{make_private_dir, remove_tree};
use crate::error::{Context, Error, Result};
use crate::kube::quantity::Quantity;
use crate::sys::Errno;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Volume};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{DirBuilder, Metadata, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The kubelet's names of the directories that plugins have.
const EMPTY_DIR: &str = "kubernetes.io~empty-dir";

/// Makes one volume below `dir`, or finds it made, and says where it is.
pub fn prepare(volume: &Volume, dir: &Path, fs_group: Option<i64>, memory: u64) -> Result<PathBuf> {
    if let Some(host_path) = &volume.host_path {
        return prepare_host_path(host_path);
    }
    let source = volume.empty_dir.clone().unwrap_or_default();
    let path = dir.join(EMPTY_DIR).join(&volume.name);
    make_private_dir(&dir.join(EMPTY_DIR))?;
    let made = match tmpfs_size(&source, memory) {
        Some(size) => mount_tmpfs(&path, fs_group, size),
        None => make_empty_dir(&path, fs_group),
    };
    made.doing(|| format!("make {}", path.display()))?;
    Ok(path)
}

/// Unmounts and removes all that [`prepare`] made below `dir`.
pub fn remove(dir: &Path) -> Result<()> {
    let plugin = dir.join(EMPTY_DIR);
    let entries = match std::fs::read_dir(&plugin) {
        Err(error) if error.kind() == ErrorKind::NotFound => return remove_tree(dir),
        entries => entries.doing(|| format!("list {}", plugin.display()))?,
    };
    for entry in entries {
        let path = entry.doing(|| format!("list {}", plugin.display()))?.path();
        unmount(&path).doing(|| format!("unmount {}", path.display()))?;
    }
    remove_tree(dir)
}

/// The size of a `medium: Memory` volume: its limit, and no more than there is.
fn tmpfs_size(source: &EmptyDirVolumeSource, memory: u64) -> Option<u64> {
    if source.medium.as_deref() != Some("Memory") {
        return None;
    }
    let limit = source.size_limit.as_ref().and_then(|limit| Quantity::parse(&limit.0).ok());
    let limit =
        limit.and_then(|limit| u64::try_from(limit.value()).ok()).filter(|limit| *limit > 0);
    Some(limit.map_or(memory, |limit| limit.min(memory)))
}

/// Made under another name first: once it has its own, nothing is missing.
fn make_empty_dir(path: &Path, fs_group: Option<i64>) -> Result<()> {
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

/// Mounted is made: the one call sets everything.
fn mount_tmpfs(path: &Path, fs_group: Option<i64>, size: u64) -> Result<()> {
    make_private_dir(path)?;
    if is_mounted(path) {
        return Ok(());
    }
    let (group, mode) = group_and_mode(fs_group)?;
    let options = format!("mode={mode:o},gid={},size={size}", group.unwrap_or(0));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options.as_str()))?)
}

/// A volume is everybody's; with `fsGroup` what is made in it belongs to the group too.
fn group_and_mode(fs_group: Option<i64>) -> Result<(Option<u32>, u32)> {
    let Some(group) = fs_group else { return Ok((None, 0o777)) };
    let group = u32::try_from(group).map_err(|_| Error::user("fsGroup is out of range"))?;
    Ok((Some(group), 0o2777))
}

fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| path.symlink_metadata().map(|is| is.dev()).ok();
    device(path).is_some() && path.parent().and_then(device) != device(path)
}

/// Unmounts whatever is mounted at `path` itself, if anything is.
fn unmount(path: &Path) -> std::result::Result<(), Errno> {
    if !is_mounted(path) {
        return Ok(());
    }
    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
}

fn prepare_host_path(source: &HostPathVolumeSource) -> Result<PathBuf> {
    let path = PathBuf::from(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let make = matches!(kind, "" | "DirectoryOrCreate" | "FileOrCreate");
    let found = match std::fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound && make => None,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(wrong_type(&path, kind)),
        found => Some(found.doing(|| format!("look at {}", path.display()))?),
    };
    match found {
        Some(is) if has_type(&is, kind) => {}
        Some(_) => return Err(wrong_type(&path, kind)),
        None if kind == "FileOrCreate" => {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
            made.doing(|| format!("make the file {}", path.display()))?;
        }
        None => {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(&path);
            made.doing(|| format!("make the directory {}", path.display()))?;
        }
    }
    Ok(path)
}

fn has_type(is: &Metadata, kind: &str) -> bool {
    match kind {
        "Directory" | "DirectoryOrCreate" => is.is_dir(),
        "File" | "FileOrCreate" => is.is_file(),
        "Socket" => is.file_type().is_socket(),
        "CharDevice" => is.file_type().is_char_device(),
        "BlockDevice" => is.file_type().is_block_device(),
        _ => true,
    }
}

/// The kubelet's words.
fn wrong_type(path: &Path, kind: &str) -> Error {
    let expected = match kind {
        "Directory" | "DirectoryOrCreate" => "directory",
        "Socket" => "socket file",
        "CharDevice" => "character device",
        "BlockDevice" => "block device",
        _ => "file",
    };
    let path = path.display();
    Error::user(format!("hostPath type check failed: {path} is not a {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_path(path: &Path, kind: &str) -> Result<PathBuf> {
        let path = path.to_string_lossy().into_owned();
        prepare_host_path(&HostPathVolumeSource { path, type_: Some(kind.into()) })
    }

    #[test]
    fn host_paths_are_checked_and_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let error = host_path(&file, "File").unwrap_err().to_string();
        assert_eq!(error, format!("hostPath type check failed: {} is not a file", file.display()));
        host_path(&file, "FileOrCreate").unwrap();
        host_path(&file, "File").unwrap();
        for kind in ["Directory", "DirectoryOrCreate", "Socket", "CharDevice", "BlockDevice"] {
            assert!(host_path(&file, kind).is_err(), "{kind}");
        }
        assert!(host_path(&dir.path().join("a/b"), "FileOrCreate").is_err(), "no parents");
        host_path(&dir.path().join("a/b"), "").unwrap();
        host_path(&dir.path().join("a/b"), "Directory").unwrap();
        host_path(Path::new("/dev/null"), "CharDevice").unwrap();
    }

    #[test]
    fn an_empty_dir_is_for_everybody_and_goes_whole() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume { name: "data".into(), ..Volume::default() };
        let path = prepare(&volume, dir.path(), None, 0).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o777);
        std::fs::write(path.join("file"), "").unwrap();
        assert_eq!(prepare(&volume, dir.path(), None, 0).unwrap(), path);
        assert!(path.join("file").is_file(), "what is there stays");
        remove(dir.path()).unwrap();
        assert!(!dir.path().exists());
        remove(dir.path()).unwrap();
    }
}
