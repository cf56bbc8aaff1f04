//! `podctl images`: what is in the store, as crictl lists it.

use super::{Call, Outcome, print};
use crate::cli::output::table::Writer;
use crate::cli::size;
use crate::image::{Image, Reference, Store};
use crate::kube::table::Table;
use crate::pod::image_gc::users;
use clap::Args;

/// Flags of `images`.
#[derive(Args)]
pub struct Flags {
    /// Print ids whole
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show what the store takes on disk instead
    #[arg(long)]
    usage: bool,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let store = call.engine.images()?;
    let images = store.list()?;
    if flags.usage {
        return usage(call, &store, &images);
    }
    if flags.quiet {
        let ids = images.iter().map(|image| format!("{}\n", id(image, flags)));
        print(&ids.collect::<String>())?;
        return Ok(0);
    }
    let mut headers = ["IMAGE", "TAG", "IMAGE ID", "SIZE"].map(str::to_owned).to_vec();
    if flags.digests {
        headers.insert(2, "DIGEST".to_owned());
    }
    let rows = images.iter().flat_map(|image| rows(image, flags)).collect();
    print(&Writer::default().table(&Table { headers, rows }))?;
    Ok(0)
}

/// One row for each of an image's names.
fn rows(image: &Image, flags: &Flags) -> Vec<Vec<String>> {
    let digest = image.index.as_ref().unwrap_or(&image.manifest);
    let row = |name: String, tag: String| {
        let digest = flags.digests.then(|| digest.clone());
        let end = [id(image, flags), size(image.size)];
        [name, tag].into_iter().chain(digest).chain(end).collect()
    };
    let none = || "<none>".to_owned();
    if image.names.is_empty() {
        return vec![row(none(), none())];
    }
    let named = image.names.iter().map(|name| match Reference::parse(name) {
        Ok(reference) => {
            let Reference { registry, repository, tag, .. } = reference;
            row(format!("{registry}/{repository}"), tag.unwrap_or_else(none))
        }
        Err(_) => row(name.clone(), none()),
    });
    named.collect()
}

/// What is there, and how much of it could go.
fn usage(call: &Call, store: &Store, images: &[Image]) -> Outcome {
    let pods = call.engine.list(None)?;
    let used = images.iter().filter(|image| !users(&pods, image).is_empty()).count();
    let usage = store.usage();
    let headers = ["IMAGES", "IN USE", "BLOBS", "LAYERS", "UNFINISHED"];
    let headers = headers.map(str::to_owned).to_vec();
    let sizes = [usage.blobs, usage.layers, usage.unfinished].map(size);
    let row = [images.len().to_string(), used.to_string()].into_iter().chain(sizes).collect();
    print(&Writer::default().table(&Table { headers, rows: vec![row] }))?;
    Ok(0)
}

fn id(image: &Image, flags: &Flags) -> String {
    if flags.no_trunc {
        return image.id.clone();
    }
    let digits = image.id.split_once(':').map_or(image.id.as_str(), |(_, digits)| digits);
    digits.chars().take(13).collect()
}
