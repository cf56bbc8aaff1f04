//! `podctl gc`: out of the image store what no pod uses; all of it, or as the kubelet does, no more
//! than the disk needs and what was not used for longest first.

use super::flags::parse_duration;
use super::rmi::remove;
use super::{Call, Outcome, done, print};
use crate::cli::progress::Progress;
use crate::cli::size;
use crate::error::{Error, Result};
use crate::image::{Count, Image, Store, Usage};
use crate::pod::image_gc::{self, Choice, Thresholds, used_percent};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use std::time::Duration;

const REMOVING: &str = "Removing images";

/// Flags of `gc`.
#[derive(Args)]
pub struct Flags {
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// Do nothing unless the disk is that full, in percent
    #[arg(long, value_name = "PERCENT", value_parser = percent())]
    image_gc_high_threshold: Option<u64>,
    /// Then remove until it is no fuller than this
    #[arg(long, value_name = "PERCENT", value_parser = percent(), default_value = "80")]
    #[arg(requires = "image_gc_high_threshold")]
    image_gc_low_threshold: u64,
    /// And no image that was used since, or is younger
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "2m")]
    #[arg(requires = "image_gc_high_threshold")]
    minimum_image_ttl_duration: Duration,
}

fn percent() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(0..=100)
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let store = call.engine.images()?;
    match flags.image_gc_high_threshold {
        None => all(call, &store, flags),
        Some(high) => if_full(call, &store, (high, flags)),
    }
}

fn all(call: &Call, store: &Store, flags: &Flags) -> Outcome {
    let images = image_gc::unused(&call.engine.config, store)?;
    if flags.dry_run {
        images.iter().try_for_each(would_remove)?;
        return Ok(0);
    }
    let before = store.usage();
    // Tidying up is a step, too.
    let (progress, count) = Progress::through(REMOVING, images.len() + 1);
    let failed = remove_each(call, store, (&images, &count));
    store.tidy()?;
    drop(progress);
    let after = store.usage();
    let total = |usage: Usage| usage.blobs + usage.layers + usage.unfinished;
    let freed = total(before).saturating_sub(total(after));
    print(&format!("freed {}\n", size(freed)))?;
    done(failed)
}

fn if_full(call: &Call, store: &Store, (high, flags): (u64, &Flags)) -> Outcome {
    let low = flags.image_gc_low_threshold;
    if low > high {
        let what = format!("--image-gc-low-threshold {low} is above the high one, {high}");
        return Err(Error::user(what).into());
    }
    let thresholds = Thresholds { high, low, age: flags.minimum_image_ttl_duration };
    let any = |_: &Image| true;
    let Some(choice) = image_gc::choose(&call.engine.config, store, (thresholds, any))? else {
        let used = used_percent(store.disk()?);
        print(&format!("the disk is {used}% full: nothing to do\n"))?;
        return Ok(0);
    };
    let Choice { images, wanted, found } = choice;
    if flags.dry_run {
        images.iter().try_for_each(would_remove)?;
        return Ok(0);
    }
    let (_progress, count) = Progress::through(REMOVING, images.len());
    let mut failed = remove_each(call, store, (&images, &count));
    if found < wanted {
        failed.push(Error::system(format!(
            "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, \
             but only found {found} bytes eligible to free."
        )));
    }
    done(failed)
}

/// What could not be removed.
fn remove_each(call: &Call, store: &Store, (images, count): (&[Image], &Count)) -> Vec<Error> {
    let mut failed = Vec::new();
    for image in images {
        failed.extend(remove(call, store, image).err());
        count.add(1);
    }
    failed
}

fn would_remove(image: &Image) -> Result<()> {
    let name = image.names.first().unwrap_or(&image.id);
    print(&format!("would remove {name} ({})\n", size(image.size)))
}
