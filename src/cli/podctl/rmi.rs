//! `podctl rmi`: names and images out of the store.

use super::{Call, Outcome, done, print};
use crate::error::{Error, Result};
use crate::image::{Image, Reference, Store};
use crate::kube::Pod;
use clap::Args;

/// Flags of `rmi`.
#[derive(Args)]
pub struct Flags {
    /// Names of images, or starts of their ids
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Remove all images
    #[arg(short, long)]
    all: bool,
    /// Remove all images that no pod uses
    #[arg(long)]
    prune: bool,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let store = call.engine.images()?;
    let mut failed = Vec::new();
    if flags.all || flags.prune {
        let pods = call.engine.list_whole()?;
        for image in store.list()? {
            let is_used = !users(&pods, &image).is_empty();
            if flags.all || !is_used {
                failed.extend(remove(call, &store, &image).err());
            }
        }
        return done(failed);
    }
    if flags.images.is_empty() {
        return Err(Error::user("you must specify at least one image to remove").into());
    }
    for text in &flags.images {
        failed.extend(one(call, &store, text).err());
    }
    done(failed)
}

/// By name, the name goes, and the image with its last one; by id, all of them.
fn one(call: &Call, store: &Store, text: &str) -> Result<()> {
    let unknown = || Error::user(format!("no such image: {text}"));
    let image = store.look_up(text)?.ok_or_else(unknown)?;
    if image.is_host() {
        return Err(Error::user("the image \"host\" is embedded: it cannot be removed"));
    }
    let reference = Reference::parse(text).ok();
    let name = reference.filter(|reference| image.names.contains(&reference.to_string()));
    match name.filter(|_| image.names.len() > 1) {
        Some(name) => {
            store.remove(&name)?;
            print(&format!("Untagged: {name}\n"))
        }
        None => {
            let mut same = store.list()?;
            same.retain(|other| other.id == image.id && other.names.is_empty());
            same.retain(|other| other.manifest != image.manifest);
            remove(call, store, &image)?;
            same.iter().try_for_each(|other| remove(call, store, other))
        }
    }
}

/// Removes an image that no pod uses.
pub fn remove(call: &Call, store: &Store, image: &Image) -> Result<()> {
    let unused = || {
        let users = users(&call.engine.list_whole()?, image);
        if users.is_empty() {
            return Ok(());
        }
        let name = image.names.first().unwrap_or(&image.id);
        let what = format!("image {name} is in use by {}", users.join(", "));
        Err(Error::user(what).hint("delete the pods first"))
    };
    unused()?;
    // Again: a pod may just have been applied.
    store.remove_unused(&image.manifest, unused)?;
    for name in &image.names {
        print(&format!("Untagged: {name}\n"))?;
    }
    print(&format!("Deleted: {}\n", image.id))
}

/// The pods whose containers run, or are to run, from `image`.
pub fn users(pods: &[Pod], image: &Image) -> Vec<String> {
    let mut users = Vec::new();
    for pod in pods {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if !matches!(phase, "Succeeded" | "Failed") && uses(pod, image) {
            let meta = &pod.metadata;
            let part = |name: &Option<String>| name.clone().unwrap_or_default();
            users.push(format!("pod {}/{}", part(&meta.namespace), part(&meta.name)));
        }
    }
    users
}

fn uses(pod: &Pod, image: &Image) -> bool {
    let digest = |id: &str| {
        let digest = id.rsplit_once('@').map_or(id, |(_, digest)| digest);
        digest == image.manifest || Some(digest) == image.index.as_deref() || digest == image.id
    };
    let status = pod.status.as_ref();
    let lists = status.into_iter().flat_map(|status| {
        let lists = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        lists.into_iter().flatten().flatten()
    });
    if lists.map(|container| container.image_id.as_str()).any(digest) {
        return true;
    }
    let spec = pod.spec.as_ref();
    let volumes = spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten());
    let of_volumes = volumes.filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
    let containers = spec
        .into_iter()
        .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let of_containers = containers.filter_map(|container| container.image.as_deref());
    let wanted = of_containers.chain(of_volumes).filter_map(|name| Reference::parse(name).ok());
    wanted.map(|name| name.to_string()).any(|name| image.names.contains(&name))
}
