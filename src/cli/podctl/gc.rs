//! `podctl gc`: out of the image store what no pod uses; all of it, or as the kubelet does, no more
//! than the disk needs and what was not used for longest first.

use super::flags::parse_duration;
use super::rmi::{remove, users};
use super::{Call, Outcome, done, print};
use crate::cli::progress::{Progress, Unit};
use crate::cli::size;
use crate::error::{Error, Result};
use crate::image::{Count, Disk, Image, Store, Usage};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

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
    let mut failed = Vec::new();
    let before = store.usage();
    let unused = unused(call, store)?;
    // Tidying up is a step, too.
    let (progress, count) = Progress::through("Removing images", unused.len() + 1);
    for image in &unused {
        if flags.dry_run {
            would_remove(image)?;
        } else {
            failed.extend(remove(call, store, image).err());
        }
        count.add(1);
    }
    if !flags.dry_run {
        store.tidy()?;
        drop(progress);
        let after = store.usage();
        let total = |usage: Usage| usage.blobs + usage.layers + usage.unfinished;
        let freed = total(before).saturating_sub(total(after));
        print(&format!("freed {}\n", size(freed)))?;
    }
    done(failed)
}

/// As pkg/kubelet/images/image_gc_manager.go.
fn if_full(call: &Call, store: &Store, (high, flags): (u64, &Flags)) -> Outcome {
    let low = flags.image_gc_low_threshold;
    if low > high {
        let what = format!("--image-gc-low-threshold {low} is above the high one, {high}");
        return Err(Error::user(what).into());
    }
    let disk = store.disk()?;
    if used_percent(disk) < high {
        print(&format!("the disk is {}% full: nothing to do\n", used_percent(disk)))?;
        return Ok(0);
    }
    let wanted = to_free(disk, low);
    let mut failed = Vec::new();
    let mut found = 0;
    let oldest = oldest_first(call, store, flags.minimum_image_ttl_duration)?;
    let count = Arc::new(Count::of(wanted));
    let _progress = Progress::show("Freeing the disk", Unit::Bytes, &count);
    for image in &oldest {
        if found >= wanted {
            break;
        }
        found += image.size;
        if flags.dry_run {
            would_remove(image)?;
            continue;
        }
        failed.extend(remove(call, store, image).err());
        // What an image takes is known when it is gone: others may share its layers.
        found = store.disk()?.available.saturating_sub(disk.available);
        count.done.store(found, Ordering::Relaxed);
    }
    if found < wanted && !flags.dry_run {
        failed.push(Error::system(format!(
            "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, \
             but only found {found} bytes eligible to free."
        )));
    }
    done(failed)
}

fn used_percent(disk: Disk) -> u64 {
    let available = u128::from(disk.available) * 100 / u128::from(disk.capacity.max(1));
    100_u64.saturating_sub(u64::try_from(available).unwrap_or(100))
}

/// How much has to go until only `low` percent are used.
fn to_free(disk: Disk, low: u64) -> u64 {
    let wanted = u128::from(disk.capacity) * u128::from(100_u64.saturating_sub(low)) / 100;
    u64::try_from(wanted).unwrap_or(u64::MAX).saturating_sub(disk.available)
}

fn unused(call: &Call, store: &Store) -> Result<Vec<Image>> {
    let pods = call.engine.list_whole()?;
    let mut images = store.list()?;
    images.retain(|image| users(&pods, image).is_empty());
    Ok(images)
}

/// Unused images that were used before `age` ago, the longest ago first.
fn oldest_first(call: &Call, store: &Store, age: Duration) -> Result<Vec<Image>> {
    let now = SystemTime::now();
    let mut images: Vec<(SystemTime, Image)> = Vec::new();
    for image in unused(call, store)? {
        let used = store.last_used(&image)?;
        if now.duration_since(used).unwrap_or_default() >= age {
            images.push((used, image));
        }
    }
    images.sort_by_key(|(used, image)| (*used, image.loaded));
    Ok(images.into_iter().map(|(_, image)| image).collect())
}

fn would_remove(image: &Image) -> Result<()> {
    let name = image.names.first().unwrap_or(&image.id);
    print(&format!("would remove {name} ({})\n", size(image.size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_the_kubelets() {
        for (capacity, available, percent, free) in [
            (1000, 150, 85, 50),
            (1000, 149, 86, 51),
            (1000, 200, 80, 0),
            (1000, 0, 100, 200),
            (0, 0, 100, 0),
        ] {
            let disk = Disk { capacity, available };
            assert_eq!((used_percent(disk), to_free(disk, 80)), (percent, free), "{disk:?}");
        }
    }
}
