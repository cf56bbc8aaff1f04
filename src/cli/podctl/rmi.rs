//! `podctl rmi`: names and images out of the store.

use super::{Call, Outcome, done, print};
use crate::error::{Error, Result};
use crate::image::{Image, Reference, Store};
use crate::pod::image_gc;
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
        let images = match flags.all {
            true => store.list()?,
            false => image_gc::unused(&call.engine.config, &store)?,
        };
        failed.extend(images.iter().filter_map(|image| remove(call, &store, image).err()));
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
    image_gc::remove(&call.engine.config, store, image)?;
    for name in &image.names {
        print(&format!("Untagged: {name}\n"))?;
    }
    print(&format!("Deleted: {}\n", image.id))
}
