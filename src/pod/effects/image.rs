//! What a container needs of its image: layers, configuration, users.

use crate::error::{Error, Result};
use crate::image::{self, Reference};
use crate::pod::Paths;
use crate::pod::event::ImageFault;
use crate::sys::path::open_in_root;
use crate::sys::{Errno, fs};
use k8s_openapi::api::core::v1::Container;
use nix::fcntl::OFlag;
use oci_spec::image::ImageConfiguration;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The embedded image: the host's own root file system, copy on write.
const HOST: &str = "host";
/// A larger one is no user database that anybody wrote (CVE-2024-9676).
const MAX_USERS: u64 = 1 << 20;

/// A container's image, found.
pub struct Found {
    /// Its name, normalised.
    pub name: String,
    /// `NAME@sha256:…`.
    pub id: String,
    /// Its configuration.
    pub config: ImageConfiguration,
    /// Its layers, lowest first.
    pub layers: Vec<PathBuf>,
}

/// Finds the image that `container` wants; the errors are the kubelet's.
pub fn find(
    paths: &Paths,
    container: &Container,
) -> std::result::Result<Found, (ImageFault, String)> {
    let wanted = container.image.as_deref().unwrap_or_default();
    if wanted == HOST {
        let layers = vec![PathBuf::from("/")];
        let config = ImageConfiguration::default();
        return Ok(Found { name: HOST.into(), id: HOST.into(), config, layers });
    }
    let reference = Reference::parse(wanted).map_err(|error| {
        let text = format!("Failed to apply default image tag \"{wanted}\": {error}");
        (ImageFault::InvalidName, text)
    })?;
    let found =
        image::Store::open(&paths.lib.join("images")).and_then(|store| store.find(&reference));
    let inspect = |error: Error| {
        (ImageFault::Inspect, format!("Failed to inspect image \"{wanted}\": {error}"))
    };
    match found.map_err(inspect)? {
        Some(image) => Ok(Found {
            name: name(&reference),
            id: format!("{}@{}", repository(&reference), image.manifest),
            config: image.config,
            layers: image.layers,
        }),
        None if container.image_pull_policy.as_deref() == Some("Never") => {
            let text =
                format!("Container image \"{wanted}\" is not present with pull policy of Never");
            Err((ImageFault::NeverPull, text))
        }
        None => {
            let text = format!(
                "failed to pull image \"{wanted}\": it is not in the image store, and pulling from \
                 registries is not supported: podctl load -i ARCHIVE brings it in"
            );
            Err((ImageFault::Pull, text))
        }
    }
}

fn repository(reference: &Reference) -> String {
    format!("{}/{}", reference.registry, reference.repository)
}

fn name(reference: &Reference) -> String {
    let tag = reference.tag.as_ref().map(|tag| format!(":{tag}"));
    let digest = reference.digest.as_ref().map(|digest| format!("@{digest}"));
    repository(reference) + &tag.or(digest).unwrap_or_default()
}

/// The image's StopSignal as a number; 0 if it names none that there is.
pub fn stop_signal(config: &ImageConfiguration) -> i32 {
    let named = config.config().as_ref().and_then(|config| config.stop_signal().clone());
    named.and_then(|name| signal_number(&name)).unwrap_or(0)
}

/// `SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`.
fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let bare = name.strip_prefix("SIG").unwrap_or(name);
    if let Some(offset) = bare.strip_prefix("RTMIN") {
        let offset: i32 =
            if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    let signal: nix::sys::signal::Signal = format!("SIG{bare}").parse().ok()?;
    Some(signal as i32)
}

/// A user database of the image: `None` if it has none. Looked up inside each layer, the uppermost
/// first; whatever is there that is not a small regular file is refused, never waited for.
pub fn users(layers: &[PathBuf], path: &str) -> Result<Option<String>> {
    for layer in layers.iter().rev() {
        match read_in(layer, path) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            // An overlay's mark for a file that a lower layer has and this image has not.
            Err(Errno::ENXIO) => return Ok(None),
            Err(errno) => return Err(Error::from(errno).doing(format!("read the image's /{path}"))),
            Ok(text) => return Ok(Some(text)),
        }
    }
    Ok(None)
}

fn read_in(layer: &Path, path: &str) -> std::result::Result<String, Errno> {
    let root = fs::open(layer, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = File::from(open_in_root(root, Path::new(path), flags, 0)?);
    let content = fs::read_file_limited(&file, MAX_USERS)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_every_name() {
        let cases = [
            ("SIGQUIT", Some(3)),
            ("QUIT", Some(3)),
            ("15", Some(15)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMIN", Some(34)),
            ("SIGNONE", None),
            ("65", None),
            ("SIGRTMIN+99", None),
        ];
        for (name, expected) in cases {
            assert_eq!(signal_number(name), expected, "{name}");
        }
    }

    #[test]
    fn users_come_from_the_uppermost_layer_that_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> =
            ["a", "b", "c"].iter().map(|name| dir.path().join(name)).collect();
        for layer in &layers {
            std::fs::create_dir_all(layer.join("etc")).unwrap();
        }
        assert_eq!(users(&layers, "etc/passwd").unwrap(), None);
        std::fs::write(layers[0].join("etc/passwd"), "low").unwrap();
        std::fs::write(layers[1].join("etc/passwd"), "high").unwrap();
        assert_eq!(users(&layers, "etc/passwd").unwrap().as_deref(), Some("high"));
        std::os::unix::fs::symlink("/etc/passwd", layers[2].join("etc/passwd")).unwrap();
        assert!(users(&layers, "etc/passwd").is_err(), "a link that leads to itself");
        nix::unistd::mkfifo(&layers[2].join("etc/group"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(users(&layers, "etc/group").is_err(), "a FIFO is not waited for");
    }
}
