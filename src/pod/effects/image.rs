//! Finding the image of a container, and pulling it if its policy says so.

use super::Place;
use crate::error::{Context, Error, Result};
use crate::image::pull::{self, Options};
use crate::image::registry::Keyring;
use crate::image::{self, Image, Reference, Store};
use crate::pod::event::{Event, ImageFault, Pulled};
use crate::pod::worker::Reply;
use crate::pod::{image_gc, objects};
use k8s_openapi::api::core::v1::{Container, Secret};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a registry may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A container's image, found.
pub struct Found {
    /// Its name, normalised.
    pub name: String,
    /// `NAME@sha256:…`.
    pub id: String,
    /// The image.
    pub image: Image,
    /// The pull, if one was needed.
    pub pulled: Option<Pulled>,
}

/// Why there is none; the machine adds the kubelet's words.
type Fault = (ImageFault, String);

/// The images of the volumes that `container` mounts, by the volumes' names; pulled if need be. The
/// name of the image that cannot be had comes with the fault.
pub fn of_volumes(
    place: &Place,
    container: &Container,
    reply: &mut Reply,
) -> std::result::Result<BTreeMap<String, Image>, (String, Fault)> {
    let mut images = BTreeMap::new();
    for volume in place.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let Some(source) = &volume.image else { continue };
        if !container.volume_mounts.iter().flatten().any(|mount| mount.name == volume.name) {
            continue;
        }
        let name = source.reference.as_deref().unwrap_or_default();
        let wanted = Wanted { name, policy: source.pull_policy.as_deref() };
        let pulling =
            Event::ImagePulling { container: container.name.clone(), volume: Some(name.into()) };
        let found = match name {
            image::HOST => Err((ImageFault::InvalidName, "use a hostPath volume".to_owned())),
            _ => wanted.find(place, &pulling, reply),
        };
        images.insert(volume.name.clone(), found.map_err(|fault| (name.into(), fault))?.image);
    }
    Ok(images)
}

/// Finds the image that `container` wants, and pulls it if need be.
pub fn find(
    place: &Place,
    container: &Container,
    reply: &mut Reply,
) -> std::result::Result<Found, Fault> {
    let name = container.image.as_deref().unwrap_or_default();
    if name == image::HOST {
        let (name, id) = (name.into(), name.into());
        return Ok(Found { name, id, image: image::host(), pulled: None });
    }
    let wanted = Wanted { name, policy: container.image_pull_policy.as_deref() };
    let pulling = Event::ImagePulling { container: container.name.clone(), volume: None };
    wanted.find(place, &pulling, reply)
}

/// An image as a manifest names it.
struct Wanted<'a> {
    name: &'a str,
    policy: Option<&'a str>,
}

impl Wanted<'_> {
    /// Reports `pulling` should it have to be pulled.
    fn find(
        &self,
        place: &Place,
        pulling: &Event,
        reply: &mut Reply,
    ) -> std::result::Result<Found, Fault> {
        let reference = Reference::parse(self.name)
            .map_err(|error| (ImageFault::InvalidName, error.to_string()))?;
        let inspect = |error: Error| (ImageFault::Inspect, error.to_string());
        let store = Store::open(&place.config.paths.lib.join("images")).map_err(inspect)?;
        let there = store.find(&reference).map_err(inspect)?;
        let policy = self.policy.unwrap_or("IfNotPresent");
        match there {
            Some(image) if policy != "Always" => {
                store.touch(&image).map_err(inspect)?;
                Ok(found(&reference, image, None))
            }
            None if policy == "Never" => Err((ImageFault::NeverPull, String::new())),
            _ => {
                let lost = |error: Error| (ImageFault::Pull, error.to_string());
                reply.send(pulling).map_err(lost)?;
                pull(place, &store, &reference, policy)
            }
        }
    }
}

fn found(reference: &Reference, image: Image, pulled: Option<Pulled>) -> Found {
    let digest = image.index.as_ref().unwrap_or(&image.manifest);
    let id = format!("{}/{}@{digest}", reference.registry, reference.repository);
    Found { name: reference.to_string(), id, image, pulled }
}

fn pull(
    place: &Place,
    store: &Store,
    reference: &Reference,
    policy: &str,
) -> std::result::Result<Found, Fault> {
    let keyring = keyring(place).map_err(|error| (ImageFault::Pull, error.to_string()))?;
    let began = Instant::now();
    let options = Options {
        keyring: &keyring,
        if_absent: policy != "Always",
        patience: PATIENCE,
        progress: &|_| {},
    };
    let done = pull::pull(store, reference, &options).map_err(|failed| {
        let fault = if failed.is_unavailable { ImageFault::Unavailable } else { ImageFault::Pull };
        (fault, failed.error.to_string())
    })?;
    let all = began.elapsed();
    // It is here, whatever became of the others: the next pull tries again, `podctl gc` says why.
    image_gc::after_pull(&place.config, store).unwrap_or_default();
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let pulled = Pulled {
        took: millis(all.saturating_sub(done.waited)),
        with_waiting: millis(all),
        size: done.image.size,
    };
    Ok(found(reference, done.image, Some(pulled)))
}

/// The pod's pull secrets that are not there.
pub fn missing_secrets(place: &Place) -> Result<Vec<String>> {
    let namespace = place.pod.metadata.namespace.as_deref().unwrap_or("default");
    let secrets = place.pod.spec.as_ref().and_then(|spec| spec.image_pull_secrets.as_ref());
    let mut missing = Vec::new();
    for reference in secrets.into_iter().flatten() {
        if objects::secret(&place.config.paths, namespace, &reference.name)?.is_none() {
            missing.push(reference.name.clone());
        }
    }
    Ok(missing)
}

/// The pod's pull secrets, then what the machine has. As with the kubelet, a secret that is not
/// there does not keep an image from being pulled without it.
fn keyring(place: &Place) -> Result<Keyring> {
    let mut keyring = Keyring::default();
    let namespace = place.pod.metadata.namespace.as_deref().unwrap_or("default");
    let secrets = place.pod.spec.as_ref().and_then(|spec| spec.image_pull_secrets.as_ref());
    for reference in secrets.into_iter().flatten() {
        if let Some(secret) = objects::secret(&place.config.paths, namespace, &reference.name)? {
            add(&mut keyring, &secret).doing(|| format!("secret {}", reference.name))?;
        }
    }
    keyring.add_files()?;
    Ok(keyring)
}

/// A secret of another type says nothing about registries.
fn add(keyring: &mut Keyring, secret: &Secret) -> Result<()> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => {
            data(".dockerconfigjson").map_or(Ok(()), |json| keyring.add_dockerconfigjson(&json.0))
        }
        Some("kubernetes.io/dockercfg") => {
            data(".dockercfg").map_or(Ok(()), |json| keyring.add_dockercfg(&json.0))
        }
        _ => Ok(()),
    }
}
