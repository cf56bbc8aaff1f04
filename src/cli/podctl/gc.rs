//! `podctl gc`: out of the image store what no pod uses.

use super::images::size;
use super::rmi::{remove, users};
use super::{Call, Outcome, done, print};
use clap::Args;

/// Flags of `gc`.
#[derive(Args)]
pub struct Flags {
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let store = call.engine.images()?;
    let pods = call.engine.list(None)?;
    let mut failed = Vec::new();
    let before = store.usage();
    for image in store.list()?.iter().filter(|image| users(&pods, image).is_empty()) {
        if flags.dry_run {
            let name = image.names.first().unwrap_or(&image.id);
            print(&format!("would remove {name} ({})\n", size(image.size)))?;
        } else {
            failed.extend(remove(&store, &pods, image).err());
        }
    }
    if !flags.dry_run {
        store.tidy()?;
        let after = store.usage();
        let total = |usage: crate::image::Usage| usage.blobs + usage.layers + usage.unfinished;
        let freed = total(before).saturating_sub(total(after));
        print(&format!("freed {}\n", size(freed)))?;
    }
    done(failed)
}
