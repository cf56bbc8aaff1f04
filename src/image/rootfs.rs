//! The root file system of a container made from an image: an overlay that the runtime mounts in
//! the container's own mount namespace, so that nothing on the host can leak.

use super::Image;
use super::merged::Merged;
use super::users::{MAX_FILE, User, Wanted, resolve};
use crate::error::{Context, Result};
use crate::sys::{fs, inode};
use nix::fcntl::OFlag;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Our mount option instead of `upperdir` and `workdir`: both on a tmpfs that lives only in the
/// container's mount namespace. The image `host` needs it, as overlayfs forbids an upper directory
/// below its lower one, which is `/` there.
pub const UPPER_TMPFS: &str = "runp.upper=tmpfs";

/// Options of the overlay mount for layers given lowest first. `scratch` holds the directories
/// `upper` and `work` that [`prepare`] makes.
pub fn overlay(image: &Image, scratch: &Path) -> Vec<String> {
    let lower = lower(&image.layers);
    if image.is_host() {
        return vec![lower, UPPER_TMPFS.into()];
    }
    let dir = |name| scratch.join(name).to_string_lossy().replace('\\', "\\\\");
    vec![lower, format!("upperdir={}", dir("upper")), format!("workdir={}", dir("work"))]
}

/// The option that names layers given lowest first; alone, of several layers that are only read.
pub fn lower(layers: &[PathBuf]) -> String {
    // The first of `lowerdir` is the topmost; `:` in a name is escaped, overlayfs.rst.
    let escape =
        |layer: &PathBuf| layer.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:");
    let lower: Vec<String> = layers.iter().rev().map(escape).collect();
    format!("lowerdir={}", lower.join(":"))
}

/// Makes `upper` and `work` in `scratch`. The root of the merged tree is the upper directory, so
/// that looks as the image's root does.
pub fn prepare(image: &Image, scratch: &Path) -> Result<()> {
    let Some(top) = image.layers.last().filter(|_| !image.is_host()) else { return Ok(()) };
    let what = || format!("make the writable layer {}", scratch.display());
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    for name in ["upper", "work"] {
        std::fs::create_dir(scratch.join(name)).doing(what)?;
    }
    let root = std::fs::metadata(top).doing(|| format!("layer {}", top.display()))?;
    let upper = fs::open(&scratch.join("upper"), flags, 0).doing(what)?;
    inode::chown(&upper, root.uid(), root.gid()).doing(what)?;
    inode::fchmod(&upper, root.mode() & 0o7777).doing(what)
}

/// The content of a regular file of the image, links followed inside it; `None` if there is none.
/// Nothing is mounted and nothing outside the image opened: FIFOs, devices, and files of more than
/// `limit` bytes are errors (CVE-2024-9676).
pub fn read(image: &Image, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    Merged::open(&image.layers)?.read(path, limit)
}

/// Who a process in a container of this image is.
pub fn user(image: &Image, wanted: Wanted<'_>) -> Result<User> {
    let tree = Merged::open(&image.layers)?;
    let file = |path| tree.read(Path::new(path), MAX_FILE);
    let (passwd, group) = (file("etc/passwd")?, file("etc/group")?);
    resolve(wanted, &passwd.unwrap_or_default(), &group.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::host;

    #[test]
    fn the_topmost_layer_comes_first() {
        let layers = vec![PathBuf::from("/s/base"), PathBuf::from("/s/a:b\\c")];
        let image = Image { id: "sha256:0".into(), layers, ..host() };
        let options = overlay(&image, Path::new("/run/x"));
        let wanted =
            ["lowerdir=/s/a\\:b\\\\c:/s/base", "upperdir=/run/x/upper", "workdir=/run/x/work"];
        assert_eq!(options, wanted);
        assert_eq!(overlay(&host(), Path::new("/run/x")), ["lowerdir=/", "runp.upper=tmpfs"]);
    }
}
