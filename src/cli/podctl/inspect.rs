//! `podctl inspect`: all that is known of an image, as `docker image inspect` shows it.

use super::{Call, Outcome, print};
use crate::error::{Error, Result};
use crate::image::{Image, Reference};
use clap::Args;
use serde_json::{Value, json};

/// Flags of `inspect`.
#[derive(Args)]
pub struct Flags {
    /// Names of images, or starts of their ids
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    if flags.images.is_empty() {
        return Err(Error::user("you must specify at least one image to inspect").into());
    }
    let store = call.engine.images()?;
    let images = flags.images.iter().map(|text| {
        let unknown = || Error::user(format!("no such image: {text}"));
        Ok(describe(&store.look_up(text)?.ok_or_else(unknown)?))
    });
    let images = Value::Array(images.collect::<Result<_>>()?);
    let text = serde_json::to_string_pretty(&images).map_err(|it| Error::system(it.to_string()))?;
    print(&format!("{text}\n"))?;
    Ok(0)
}

fn describe(image: &Image) -> Value {
    let config = &image.config;
    let names = image.names.iter().filter_map(|name| Reference::parse(name).ok());
    let digest = image.index.as_ref().unwrap_or(&image.manifest);
    let mut digests: Vec<String> =
        names.map(|name| format!("{}/{}@{digest}", name.registry, name.repository)).collect();
    digests.dedup();
    let layers: Vec<String> = image.layers.iter().map(|it| it.display().to_string()).collect();
    json!({
        "Id": image.id,
        "RepoTags": image.names,
        "RepoDigests": digests,
        "Manifest": image.manifest,
        "Created": config.created(),
        "Author": config.author(),
        "Architecture": config.architecture().to_string(),
        "Os": config.os().to_string(),
        "Size": image.size,
        "Config": config.config(),
        "RootFS": {"Type": "layers", "Layers": config.rootfs().diff_ids()},
        "History": config.history(),
        "UnpackedLayers": layers,
    })
}
