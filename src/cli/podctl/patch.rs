//! `podctl patch`: a part of an object changed.

use super::chosen::Chosen;
use super::write::{self, DryRun, Files, Sent};
use super::{Call, Outcome, done, tell};
use crate::cli::report::opening;
use crate::error::{Context, Error, Result};
use crate::kube::patch::PatchType;
use crate::kube::{self, Fields, Object, patch};
use crate::pod::{Applied, Key};
use clap::Args;
use serde_json::Value;

/// Flags of `patch`.
#[derive(Args)]
pub struct Flags {
    /// pod NAME or pod/NAME
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// The patch, as JSON or YAML
    #[arg(short, long)]
    patch: Option<String>,
    /// A file with the patch
    #[arg(long, value_name = "FILE")]
    patch_file: Option<String>,
    /// What kind of patch: json, merge or strategic
    #[arg(long = "type", value_name = "TYPE", default_value = "strategic")]
    kind: String,
    /// Patch the file's content, and store nothing
    #[arg(long)]
    local: bool,
    /// A part of the object; refused
    #[arg(long, hide = true)]
    subresource: Option<String>,
    #[command(flatten)]
    sent: Sent,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let (kind, patch) = read(flags)?;
    if flags.local && !flags.words.is_empty() {
        return Err(Error::user("cannot specify --local and server resources").into());
    }
    if let Some(part) = flags.subresource.as_deref().filter(|part| !part.is_empty()) {
        return Err(Error::user(format!("--subresource={part}: not supported by runp")).into());
    }
    let mut printer = flags.sent.printer()?;
    let chosen = Chosen { verb: "patch", files: &flags.files, words: &flags.words, ..Chosen::NONE };
    let (objects, mut failed) = chosen.objects(call, flags.local)?;
    for object in objects {
        let patched = if flags.local || printer.dry_run == DryRun::Client {
            shown(&object, kind, &patch)
        } else {
            one(call, &object, kind, &patch, printer.dry_run)
        };
        match patched {
            Ok((Applied::Unchanged, object)) => printer.one(&object, "patched (no change)")?,
            Ok((_, object)) => printer.one(&object, "patched")?,
            Err(error) => failed.push(error),
        }
    }
    done(failed)
}

fn read(flags: &Flags) -> Result<(PatchType, Value)> {
    let kind = match flags.kind.to_lowercase().as_str() {
        "strategic" => PatchType::Strategic,
        "merge" => PatchType::Merge,
        "json" => PatchType::Json,
        other => {
            let text = format!("--type must be one of [json merge strategic], not {other:?}");
            return Err(Error::user(text));
        }
    };
    let text = match (&flags.patch, &flags.patch_file) {
        (Some(_), Some(_)) => {
            return Err(Error::user("cannot specify --patch and --patch-file together"));
        }
        (Some(text), None) if !text.is_empty() => text.clone(),
        (_, Some(file)) => {
            let read = std::fs::read_to_string(file);
            read.map_err(|error| {
                Error::user(format!("unable to read patch file: {}", opening(file, &error)))
            })?
        }
        _ => {
            return Err(Error::user(
                "must specify --patch or --patch-file containing the contents of the patch",
            ));
        }
    };
    Ok((kind, kube::value_of("patch", &text).doing(|| format!("unable to parse {text:?}"))?))
}

/// Patches the object there is.
fn one(
    call: &Call,
    object: &Object,
    kind: PatchType,
    patch: &Value,
    dry_run: DryRun,
) -> Result<(Applied, Object)> {
    let key = Key::of(object);
    let mut warnings = Vec::new();
    let changed = call.engine.change(&key, dry_run.commit(), &mut |stored| {
        let stored = stored.ok_or_else(|| key.resource.not_found(&key.name))?;
        let (patched, told) = patched(stored, kind, patch)?;
        warnings = told;
        Ok(patched)
    })?;
    warnings.iter().for_each(|warning| tell(&format!("Warning: {warning}")));
    Ok(changed)
}

/// The object patched here, and not stored.
fn shown(object: &Object, kind: PatchType, patch: &Value) -> Result<(Applied, Object)> {
    // No server has looked at it.
    let (mut patched, _) =
        patched(object, kind, patch).map_err(|error| Error::user(error.to_string()))?;
    write::keep_server_fields(&mut patched, object);
    let same = patched.to_value()? == object.to_value()?;
    Ok((if same { Applied::Unchanged } else { Applied::Configured }, patched))
}

fn patched(object: &Object, kind: PatchType, change: &Value) -> Result<(Object, Vec<String>)> {
    let value = patch::apply(kind, &object.to_value()?, change)?;
    let decoded = kube::object_of(object.resource(), &value, Fields::Warn)?;
    Ok((decoded.object, decoded.warnings))
}
