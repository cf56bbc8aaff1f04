//! `podctl save`: images from the store into an archive.

use super::{Call, Outcome};
use crate::cli::progress::{Counted, Progress, Unit};
use crate::error::{Context, Error, Result};
use crate::image::{Count, Format, Image, Reference, Store};
use clap::Args;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, IsTerminal};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BUFFER: usize = 256 * 1024;

/// Flags of `save`.
#[derive(Args)]
pub struct Flags {
    /// Names of images, or starts of their ids
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// The archive [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Form of the archive: oci-archive or docker-archive
    #[arg(long, value_name = "FORMAT", default_value = "oci-archive",
        value_parser = parse_format, hide_default_value = true)]
    format: Format,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    if flags.images.is_empty() {
        return Err(Error::user("you must specify at least one image to save").into());
    }
    let store = call.engine.images()?;
    let images = flags.images.iter().map(|text| find(&store, text)).collect::<Result<Vec<_>>>()?;
    let total = images.iter().map(|(image, _)| image.size).sum();
    let count = Arc::new(Count::of(total));
    let show = |what: String| Progress::show(what, Unit::Bytes, &count);
    match &flags.output {
        None if std::io::stdout().is_terminal() => {
            let what = "refusing to write an archive to a terminal";
            return Err(Error::user(what).hint("give -o FILE").into());
        }
        None => {
            let _progress = show("Saving".to_owned());
            let out = Counted { stream: std::io::stdout().lock(), count: &count };
            let out = BufWriter::with_capacity(BUFFER, out);
            store.save(&images, flags.format, out).doing(|| "save")?;
        }
        Some(file) => {
            let _progress = show(format!("Saving {}", file.display()));
            let save = |out: File| {
                let out = BufWriter::with_capacity(BUFFER, Counted { stream: out, count: &count });
                store.save(&images, flags.format, out)
            };
            to_file(file, save).doing(|| format!("save to {}", file.display()))?;
        }
    }
    Ok(0)
}

/// An image under the name it was asked for by; by id, under all its names.
fn find(store: &Store, text: &str) -> Result<(Image, Vec<Reference>)> {
    let unknown = || Error::user(format!("no such image: {text}"));
    let image = store.look_up(text)?.ok_or_else(unknown)?;
    if image.is_host() {
        return Err(Error::user("the image \"host\" is this machine: it cannot be saved"));
    }
    let asked = Reference::parse(text).ok();
    let names = match asked.filter(|name| image.names.contains(&name.to_string())) {
        Some(name) => vec![name],
        None => image.names.iter().filter_map(|name| Reference::parse(name).ok()).collect(),
    };
    Ok((image, names))
}

/// Whole or not at all, unless `file` is a pipe or a device.
fn to_file(file: &Path, save: impl FnOnce(File) -> Result<()>) -> Result<()> {
    let is_special = std::fs::metadata(file)
        .is_ok_and(|it| it.file_type().is_fifo() || it.file_type().is_char_device());
    if is_special {
        return save(OpenOptions::new().write(true).open(file)?);
    }
    let mut name = file.file_name().ok_or_else(|| Error::user("not a file's name"))?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = file.with_file_name(name);
    let out = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
    let saved = save(out).and_then(|()| Ok(std::fs::rename(&temporary, file)?));
    if saved.is_err() {
        drop(std::fs::remove_file(&temporary));
    }
    saved
}

fn parse_format(text: &str) -> std::result::Result<Format, String> {
    match text {
        "oci-archive" => Ok(Format::Oci),
        "docker-archive" => Ok(Format::Docker),
        _ => Err("must be oci-archive or docker-archive".to_owned()),
    }
}
