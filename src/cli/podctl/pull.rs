//! `podctl pull`: images from registries into the store.

use super::{Call, Outcome, done, print, tell};
use crate::error::{Error, Result};
use crate::image::pull::{Options, Progress, pull};
use crate::image::registry::Keyring;
use crate::image::{Reference, Store};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
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
    let bars = Bars::new(flags.quiet);
    let progress = |progress: Progress<'_>| bars.show(&progress);
    let options =
        Options { keyring: &keyring, if_absent: false, patience: PATIENCE, progress: &progress };
    let pulled = pull(store, &reference, &options).map_err(|failed| failed.error)?;
    bars.clear();
    if flags.quiet {
        return print(&format!("{}\n", pulled.image.id));
    }
    print(&format!("Pulled image: {reference}\n"))
}

/// One bar per layer, on a terminal; elsewhere a line as each is done.
struct Bars {
    all: Option<MultiProgress>,
    quiet: bool,
    layers: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    fn new(quiet: bool) -> Self {
        let shows = !quiet && std::io::stderr().is_terminal();
        let all = shows.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { all, quiet, layers: Mutex::default() }
    }

    fn show(&self, progress: &Progress<'_>) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Layer { digest, size } => {
                let bar = match &self.all {
                    Some(all) => all.add(ProgressBar::new(*size)),
                    None => ProgressBar::hidden(),
                };
                bar.set_style(style());
                bar.set_prefix(short(digest));
                layers.insert((*digest).to_owned(), bar);
            }
            Progress::Received { digest, bytes } => {
                if let Some(bar) = layers.get(*digest) {
                    bar.set_position(*bytes);
                }
            }
            Progress::Unpacked { digest } => match layers.get(*digest) {
                Some(bar) if self.all.is_some() => bar.finish_with_message("done"),
                Some(_) if !self.quiet => tell(&format!("{}: pulled", short(digest))),
                None if !self.quiet && self.all.is_none() => {
                    tell(&format!("{}: already there", short(digest)));
                }
                _ => {}
            },
        }
    }

    fn clear(&self) {
        if let Some(all) = &self.all {
            // The terminal is gone: nobody sees it.
            drop(all.clear());
        }
    }
}

fn style() -> ProgressStyle {
    let template = "{prefix}: {bar:30} {bytes:>10}/{total_bytes:10} {bytes_per_sec:>12} {msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn short(digest: &str) -> String {
    let digits = digest.split_once(':').map_or(digest, |(_, digits)| digits);
    digits.chars().take(SHORT).collect()
}
