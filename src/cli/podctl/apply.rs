//! `podctl apply`: manifests in, pods wanted.

use super::flags::parse_bool;
use super::{Call, Outcome, done, files, print, tell};
use crate::cli::output::{self, Asked, Format};
use crate::error::{Error, Kind, Result};
use crate::kube::Object;
use crate::pod::{Applied, Commit};
use clap::Args;

/// Flags of `apply`.
#[derive(Args)]
pub struct Flags {
    /// Files or directories of manifests, or - for standard input
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: Vec<String>,
    /// Process directories recursively
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Only check: none, client or server
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true,
        default_missing_value = "client", default_value = "none",
        value_parser = ["none", "client", "server"], hide_possible_values = true)]
    dry_run: String,
    /// Refuse unknown fields; runp knows no other way
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true,
        default_missing_value = "strict", default_value = "strict", hide_default_value = true)]
    validate: String,
    /// Output format: json, yaml or name
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    /// Accepted for kubectl's sake: apply runs no server
    #[arg(long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", hide = true)]
    server_side: Option<bool>,
}

/// Runs it: everything is checked before anything is stored.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    if flags.filename.is_empty() {
        return Err(Error::user("must specify one of -f and -k").into());
    }
    let format = Format::parse(flags.output.as_deref())?;
    match flags.validate.as_str() {
        "strict" | "true" => {}
        other => {
            let text = format!("--validate={other}: not supported by runp");
            let hint = "an unknown field is never ignored: leave --validate out";
            return Err(Error::user(text).hint(hint).into());
        }
    }
    let mut manifests = files::read(&flags.filename, flags.recursive)?;
    if manifests.is_empty() {
        return Err(Error::user("no objects passed to apply").into());
    }
    for manifest in &mut manifests {
        place(call, &mut manifest.decoded.object)?;
        let mut object = manifest.decoded.object.clone();
        object.set_defaults();
        object.validate()?;
    }
    let commit = if flags.dry_run == "none" { Commit::Store } else { Commit::Check };
    let (mut stored, mut failed) = (Vec::new(), Vec::new());
    for manifest in manifests {
        match call.engine.apply(&manifest.decoded, commit) {
            Ok((applied, object)) if format == Format::Table => say(flags, applied, &object)?,
            Ok((_, object)) => stored.push(object),
            Err(error) => failed.push(in_file(error, &manifest.file)),
        }
    }
    if !stored.is_empty() {
        let asked = if stored.len() == 1 { Asked::One } else { Asked::Many };
        print(&output::objects(&stored, format, asked)?)?;
    }
    done(failed)
}

/// The namespace: the manifest's own, or the one given.
fn place(call: &Call, object: &mut Object) -> Result<()> {
    if !object.resource().namespaced() {
        object.metadata_mut().namespace = None;
        return Ok(());
    }
    let own = object.metadata_mut().namespace.get_or_insert_with(|| call.namespace.clone());
    if !call.namespace_given || *own == call.namespace {
        return Ok(());
    }
    Err(Error::user(format!(
        "the namespace from the provided object \"{own}\" does not match the namespace \"{}\". \
         You must pass '--namespace={own}' to perform this operation.",
        call.namespace
    )))
}

fn say(flags: &Flags, applied: Applied, object: &Object) -> Result<()> {
    let (kind, name) = (object.resource().singular(), object.name());
    let what = match applied {
        Applied::Created => "created",
        Applied::Configured => "configured",
        Applied::Unchanged => "unchanged",
    };
    if applied == Applied::Configured && object.metadata().deletion_timestamp.is_some() {
        let text = "which is currently being deleted.";
        tell(&format!("Warning: Detected changes to resource {name} {text}"));
    }
    let suffix = match flags.dry_run.as_str() {
        "client" => " (dry run)",
        "server" => " (server dry run)",
        _ => "",
    };
    print(&format!("{kind}/{name} {what}{suffix}\n"))
}

/// The API's errors say which file they are about; those about invalid pods name the pod.
fn in_file(error: Error, file: &str) -> Error {
    match error.kind() {
        Kind::NotFound | Kind::AlreadyExists | Kind::Conflict | Kind::BadRequest => {
            error.doing(format!("error when creating \"{file}\""))
        }
        _ => error,
    }
}
