//! Which image of an index is for this machine.

use crate::error::{Error, Result};
use oci_spec::image::{Arch, Descriptor, ImageIndex, MediaType, Os};

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Whether it describes an index (OCI) or a manifest list (Docker).
pub(super) fn is_index(media_type: &MediaType) -> bool {
    matches!(media_type, MediaType::ImageIndex) || media_type.to_string() == DOCKER_LIST
}

/// The manifest for this machine.
pub(super) fn pick(index: &ImageIndex) -> Result<&Descriptor> {
    let manifests = index.manifests();
    manifests
        .iter()
        .find(|manifest| is_ours(manifest))
        .ok_or_else(|| none(&manifests.iter().map(name).collect::<Vec<_>>()))
}

/// Without a platform, it is the configuration that tells.
pub(super) fn is_ours(descriptor: &Descriptor) -> bool {
    descriptor.platform().as_ref().is_none_or(|platform| {
        platform.os() == &Os::default() && platform.architecture() == &Arch::default()
    })
}

/// `linux/arm64/v8`.
pub(super) fn name(descriptor: &Descriptor) -> String {
    let Some(platform) = descriptor.platform() else { return "an image without a platform".into() };
    let variant = platform.variant().iter().map(|variant| format!("/{variant}"));
    format!("{}/{}{}", platform.os(), platform.architecture(), variant.collect::<String>())
}

/// The refusal of what is not for this machine, and what it is for instead.
pub(super) fn none(others: &[String]) -> Error {
    let ours = format!("no image for {}/{}", Os::default(), Arch::default());
    // Attestations stand in indexes as images for "unknown".
    let others: Vec<&str> =
        others.iter().map(String::as_str).filter(|other| *other != "unknown/unknown").collect();
    if others.is_empty() {
        return Error::user(ours);
    }
    Error::user(format!("{ours}, only for {}", others.join(", ")))
}
