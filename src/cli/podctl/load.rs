//! `podctl load`: images from an archive into the store.

use super::{Call, Outcome, print};
use crate::cli::progress::{Progress, Unit};
use crate::error::Error;
use crate::image::{Count, Reference};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

/// Flags of `load`.
#[derive(Args)]
pub struct Flags {
    /// An OCI archive, an OCI layout or a docker archive
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Name of an image that the archive leaves nameless
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let Some(input) = &flags.input else {
        return Err(Error::user("required flag(s) \"input\" not set").into());
    };
    let name = flags.name.as_deref().map(Reference::parse).transpose()?;
    let count = Arc::new(Count::default());
    let progress = Progress::show(format!("Loading {}", input.display()), Unit::Bytes, &count);
    let loaded = call.engine.images()?.load_counting(input, name.as_ref(), count)?;
    drop(progress);
    for image in loaded {
        match image.names.as_slice() {
            [] => print(&format!("Loaded image ID: {}\n", image.id))?,
            names => {
                for name in names {
                    print(&format!("Loaded image: {name}\n"))?;
                }
            }
        }
    }
    Ok(0)
}
