//! The image of the real pod manifest: `nginx:1.15.2`, made of Debian's nginx.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The OCI archive of that name; built once, after which it needs no network.
pub fn nginx_archive() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/nginx-image");
    let output = Command::new(script).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/nginx-image: {errors}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}
