//! Finding the image of a container.

use crate::error::Error;
use crate::image::{self, Image, Reference};
use crate::pod::Paths;
use crate::pod::event::ImageFault;
use k8s_openapi::api::core::v1::Container;

/// A container's image, found.
pub struct Found {
    /// Its name, normalised.
    pub name: String,
    /// `NAME@sha256:…`.
    pub id: String,
    /// The image.
    pub image: Image,
}

/// Finds the image that `container` wants; the errors are the kubelet's.
pub fn find(
    paths: &Paths,
    container: &Container,
) -> std::result::Result<Found, (ImageFault, String)> {
    let wanted = container.image.as_deref().unwrap_or_default();
    if wanted == image::HOST {
        return Ok(Found { name: wanted.into(), id: wanted.into(), image: image::host() });
    }
    let reference = Reference::parse(wanted).map_err(|error| {
        // The machine adds the kubelet's words around what is found here.
        (ImageFault::InvalidName, error.to_string())
    })?;
    let store = image::Store::open(&paths.lib.join("images"));
    let found = store
        .and_then(|store| store.find(&reference))
        .map_err(|error: Error| (ImageFault::Inspect, error.to_string()))?;
    let repository = format!("{}/{}", reference.registry, reference.repository);
    match found {
        Some(image) => {
            let id = format!("{repository}@{}", image.manifest);
            Ok(Found { name: reference.to_string(), id, image })
        }
        None if container.image_pull_policy.as_deref() == Some("Never") => {
            Err((ImageFault::NeverPull, String::new()))
        }
        None => {
            let text = "it is not in the image store, and pulling from registries is not \
                        supported; podctl load -i ARCHIVE brings it in";
            Err((ImageFault::Pull, text.into()))
        }
    }
}
