//! `podctl tag`: another name for an image.

use super::{Call, Outcome};
use crate::error::Error;
use crate::image::Reference;
use clap::Args;

/// Flags of `tag`.
#[derive(Args)]
pub struct Flags {
    /// A name of the image, or the start of its id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The new name
    #[arg(value_name = "NAME")]
    name: String,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let store = call.engine.images()?;
    let unknown = || Error::user(format!("no such image: {}", flags.image));
    let image = store.look_up(&flags.image)?.ok_or_else(unknown)?;
    if image.is_host() {
        return Err(Error::user("the image \"host\" is embedded: it has no other name").into());
    }
    store.tag(&image, &Reference::parse(&flags.name)?)?;
    Ok(0)
}
