//! `podctl images`: what is in the store, as crictl lists it.

use super::{Call, Outcome, print};
use crate::cli::output::table::Writer;
use crate::image::{Image, Reference};
use crate::kube::table::Table;
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
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let images = call.engine.images()?.list()?;
    if flags.quiet {
        let ids = images.iter().map(|image| format!("{}\n", id(image, flags)));
        print(&ids.collect::<String>())?;
        return Ok(0);
    }
    let headers = ["IMAGE", "TAG", "IMAGE ID", "SIZE"].map(str::to_owned).to_vec();
    let rows = images.iter().flat_map(|image| rows(image, flags)).collect();
    print(&Writer::default().table(&Table { headers, rows }))?;
    Ok(0)
}

/// One row for each of an image's names.
fn rows(image: &Image, flags: &Flags) -> Vec<Vec<String>> {
    let row = |name: String, tag: String| vec![name, tag, id(image, flags), size(image.size)];
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

fn id(image: &Image, flags: &Flags) -> String {
    if flags.no_trunc {
        return image.id.clone();
    }
    let digits = image.id.split_once(':').map_or(image.id.as_str(), |(_, digits)| digits);
    digits.chars().take(13).collect()
}

/// Bytes as crictl writes them: three digits, thousands.
fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if size < 1000.0 {
            break;
        }
        (size, unit) = (size / 1000.0, larger);
    }
    match size {
        _ if unit == "B" => format!("{bytes}B"),
        size if size >= 100.0 => format!("{size:.0}{unit}"),
        size if size >= 10.0 => format!("{size:.1}{unit}"),
        size => format!("{size:.2}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let cases = [(0, "0B"), (999, "999B"), (1500, "1.50kB"), (74_320_000, "74.3MB")];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected);
        }
        assert_eq!(size(123_456_789_012), "123GB");
    }
}
