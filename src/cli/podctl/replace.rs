//! `podctl replace`: objects that are there, put in the place of themselves as a manifest has them.

use super::create::make;
use super::flags::parse_duration;
use super::write::{self, DryRun, Files, Printer, Sent, Unknown};
use super::{Call, Outcome, delete, done, files, print};
use crate::error::{Error, Kind, Result};
use crate::kube::{self, Decoded, Fields, Object};
use crate::pod::apply::with_last_applied;
use crate::pod::{DeleteOptions, Key};
use clap::Args;
use std::time::Duration;

/// Flags of `replace`.
#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    sent: Sent,
    #[command(flatten)]
    unknown: Unknown,
    /// Note the object as what was applied last, for a later apply
    #[arg(long)]
    save_config: bool,
    /// Delete and make anew
    #[arg(long)]
    force: bool,
    /// Seconds to stop in, with --force; -1 for the pod's own
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true,
        hide_default_value = true)]
    grace_period: i64,
    /// How long to wait for what is deleted; 0 for as long as it takes
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// Accepted for kubectl's sake: --force always waits
    #[arg(long, hide = true)]
    wait: bool,
    /// Accepted for kubectl's sake
    #[arg(long, hide = true, value_name = "KIND", num_args = 0..=1, require_equals = true,
        default_missing_value = "background")]
    cascade: Option<String>,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    flags.files.needed()?;
    if flags.grace_period >= 0 && !flags.force {
        return Err(Error::user("--grace-period must have --force specified").into());
    }
    if flags.timeout.is_some_and(|timeout| !timeout.is_zero()) && !flags.force {
        return Err(Error::user("--timeout must have --force specified").into());
    }
    let mut printer = flags.sent.printer()?;
    if flags.force && printer.dry_run != DryRun::No {
        return Err(Error::user("--dry-run can not be used when --force is set").into());
    }
    let mut manifests = files::read_as(&flags.files, flags.unknown.fields()?)?;
    if manifests.is_empty() {
        return Err(Error::user("no objects passed to replace").into());
    }
    for manifest in &mut manifests {
        write::place(call, &mut manifest.decoded)?;
    }
    if flags.force {
        for manifest in &manifests {
            remove(call, flags, &manifest.decoded.object)?;
        }
    }
    let mut failed = Vec::new();
    for manifest in manifests {
        if let Err(error) = one(call, flags, manifest.decoded, &mut printer) {
            failed.push(write::in_file(error, "replacing", &manifest.file));
        }
    }
    done(failed)
}

fn remove(call: &Call, flags: &Flags, object: &Object) -> Result<()> {
    let grace_period = (flags.grace_period >= 0).then_some(flags.grace_period);
    let options = DeleteOptions { grace_period, force: grace_period == Some(0) };
    let (kind, name) = (object.resource().singular(), object.name());
    match call.engine.get_object(object.resource(), object.namespace(), name) {
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        there => there.map(drop)?,
    }
    delete::at_once(call, object, options, flags.timeout)?;
    match object.namespace() {
        "" => print(&format!("{kind} \"{name}\" deleted\n")),
        namespace => print(&format!("{kind} \"{name}\" deleted from {namespace} namespace\n")),
    }
}

fn one(call: &Call, flags: &Flags, manifest: Decoded, printer: &mut Printer) -> Result<()> {
    let mut new = manifest.object;
    if flags.save_config {
        let given = with_last_applied(&manifest.given, new.namespace())?;
        new = kube::object_of(new.resource(), &given, Fields::Ignore)?.object;
    }
    let version = manifest.given.pointer("/metadata/resourceVersion");
    let version = version.and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
    let key = Key::of(&new);
    let replaced = if flags.force {
        make(call, &new, printer.dry_run)?
    } else if printer.dry_run == DryRun::Client {
        call.engine.get_object(key.resource, &key.namespace, &key.name)?;
        new
    } else {
        let replaced = call.engine.change(&key, printer.dry_run.commit(), &mut |stored| {
            stored.ok_or_else(|| key.resource.not_found(&key.name))?;
            let mut new = new.clone();
            new.metadata_mut().resource_version = version.map(str::to_owned);
            Ok(new)
        });
        replaced?.1
    };
    printer.one(&replaced, "replaced")
}
