//! `podctl pull`: images from registries into the store.

use super::{Call, Outcome, done, print, tell};
use crate::cli::progress::{Progress as Bar, Unit};
use crate::error::{Error, Result};
use crate::image::pull::{Options, Progress, pull};
use crate::image::registry::Keyring;
use crate::image::{Count, Reference, Store};
use clap::Args;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a registry may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// Digits of a digest that tell layers apart.
const SHORT: usize = 12;

/// Flags of `pull`.
#[derive(Args)]
pub struct Flags {
    /// Names of the images
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Name and password for the registry; by default what Docker's and containers' files hold
    #[arg(long, value_name = "USER:PASSWORD")]
    creds: Option<String>,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    if flags.images.is_empty() {
        return Err(Error::user("you must specify at least one image to pull").into());
    }
    let store = call.engine.images()?;
    let mut failed = Vec::new();
    for name in &flags.images {
        match one(&store, name, flags) {
            Ok(()) => {}
            Err(error) => failed.push(error),
        }
    }
    done(failed)
}

fn one(store: &Store, name: &str, flags: &Flags) -> Result<()> {
    let reference = Reference::parse(name)?;
    let mut keyring = Keyring::default();
    match &flags.creds {
        Some(creds) => keyring.add_pair(&reference.registry, creds)?,
        None => keyring.add_files()?,
    }
    let shown = Shown::new(&reference, flags.quiet);
    let progress = |progress: Progress<'_>| shown.tell(&progress);
    let options =
        Options { keyring: &keyring, if_absent: false, patience: PATIENCE, progress: &progress };
    let pulled = pull(store, &reference, &options).map_err(|failed| failed.error)?;
    drop(shown);
    if flags.quiet {
        return print(&format!("{}\n", pulled.image.id));
    }
    print(&format!("Pulled image: {reference}\n"))
}

/// A line as each layer is there, and how much of all of them is, unless told to be quiet.
struct Shown {
    quiet: bool,
    /// What of each layer has been counted.
    layers: Mutex<HashMap<String, u64>>,
    count: Arc<Count>,
    _bar: Option<Bar>,
}

impl Shown {
    fn new(reference: &Reference, quiet: bool) -> Self {
        let count = Arc::default();
        let bar = || Bar::show(format!("Pulling {reference}"), Unit::Bytes, &count);
        let _bar = (!quiet).then(bar);
        Self { quiet, layers: Mutex::default(), count, _bar }
    }

    fn tell(&self, progress: &Progress<'_>) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Layer { digest, size } => {
                layers.insert((*digest).to_owned(), 0);
                self.count.total.fetch_add(*size, Ordering::Relaxed);
            }
            Progress::Received { digest, bytes } => {
                if let Some(counted) = layers.get_mut(*digest) {
                    // Less than before where a download begins anew.
                    self.count.done.fetch_add(bytes.wrapping_sub(*counted), Ordering::Relaxed);
                    *counted = *bytes;
                }
            }
            Progress::Unpacked { .. } if self.quiet => {}
            Progress::Unpacked { digest } => {
                let how = if layers.contains_key(*digest) { "pulled" } else { "already there" };
                tell(&format!("{}: {how}", short(digest)));
            }
        }
    }
}

fn short(digest: &str) -> String {
    let digits = digest.split_once(':').map_or(digest, |(_, digits)| digits);
    digits.chars().take(SHORT).collect()
}
