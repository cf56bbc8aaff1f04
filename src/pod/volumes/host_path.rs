//! `hostPath`: what the host has, checked, and made where the type says so.

use crate::error::{Context, Error, Result};
use k8s_openapi::api::core::v1::HostPathVolumeSource;
use std::fs::{DirBuilder, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Checks the path and makes what is to be made.
pub fn prepare(source: &HostPathVolumeSource) -> Result<PathBuf> {
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
        prepare(&HostPathVolumeSource { path, type_: Some(kind.into()) })
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
}
