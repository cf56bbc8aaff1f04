//! `podctl apply`: manifests in, objects made or merged with what there is.

mod last;

use super::flags::{parse_bool, parse_duration};
use super::write::{self, DryRun, Files, Printer, Sent, Unknown};
use super::{Call, Outcome, done, files, tell};
use crate::cli::progress::Progress;
use crate::error::{Error, Kind, Result};
use crate::kube::{Decoded, Object, Resource, Selector};
use crate::pod::apply::{last_applied, with_last_applied};
use crate::pod::{Applied, DeleteOptions, Key};
use clap::Args;
use std::collections::BTreeSet;
use std::time::Duration;

/// Flags of `apply`.
#[derive(Args)]
#[command(subcommand_precedence_over_arg = true)]
pub struct Flags {
    #[command(subcommand)]
    last: Option<last::Last>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    sent: Sent,
    #[command(flatten)]
    unknown: Unknown,
    /// Only the manifests with these labels; with --prune what may be removed
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Remove what was applied before and is in no manifest now; with -l or --all
    #[arg(long)]
    prune: bool,
    /// With --prune: whatever its labels
    #[arg(long)]
    all: bool,
    /// With --prune: only these kinds, as core/v1/ConfigMap
    #[arg(long, value_name = "KIND")]
    prune_allowlist: Vec<String>,
    /// Delete and make anew what may not be changed
    #[arg(long)]
    force: bool,
    /// Seconds to stop in, with --force and --prune; -1 for the pod's own
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true,
        hide_default_value = true)]
    grace_period: i64,
    /// How long to wait for what is deleted; 0 for as long as it takes
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// Wait until what is deleted is gone
    #[arg(long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "false", hide_default_value = true)]
    wait: bool,
    /// Accepted for kubectl's sake: runp merges in one way
    #[arg(long)]
    server_side: bool,
    /// Accepted for kubectl's sake
    #[arg(long, hide = true)]
    force_conflicts: bool,
    /// Accepted for kubectl's sake
    #[arg(long, hide = true)]
    overwrite: bool,
    /// Accepted for kubectl's sake
    #[arg(long, hide = true)]
    openapi_patch: bool,
    /// Accepted for kubectl's sake
    #[arg(long, hide = true, value_name = "KIND", num_args = 0..=1, require_equals = true,
        default_missing_value = "background")]
    cascade: Option<String>,
}

/// Runs it: everything is checked before anything is stored.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    if let Some(last) = &flags.last {
        return last::run(call, last);
    }
    flags.files.needed()?;
    checked(flags)?;
    let mut printer = flags.sent.printer()?;
    let selector = flags.selector.as_deref().map(Selector::parse).transpose()?;
    let mut manifests = files::read_as(&flags.files, flags.unknown.fields()?)?;
    if let Some(selector) = &selector {
        manifests.retain(|one| selector.matches(one.decoded.object.metadata().labels.as_ref()));
    }
    if manifests.is_empty() {
        return Err(Error::user("no objects passed to apply").into());
    }
    for manifest in &mut manifests {
        write::place(call, &mut manifest.decoded)?;
        let mut object = manifest.decoded.object.clone();
        if let Some(prefix) = &object.metadata().generate_name
            && object.name().is_empty()
        {
            let text = format!("from {prefix}: cannot use generate name with apply");
            return Err(Error::user(text).hint("podctl create -f makes a name").into());
        }
        object.set_defaults();
        object.validate()?;
    }
    let (mut stored, mut failed) = (Vec::new(), Vec::new());
    let (progress, count) = Progress::through("Applying", manifests.len());
    for manifest in &manifests {
        match one(call, flags, &manifest.decoded, printer.dry_run) {
            Ok((object, what)) => {
                if !printer.shows() {
                    printer.one(&object, what)?;
                }
                stored.push(object);
            }
            Err(error) => failed.push(write::in_file(error, "creating", &manifest.file)),
        }
        count.add(1);
    }
    drop(progress);
    if printer.shows() {
        printer.all(&stored)?;
    }
    if flags.prune && failed.is_empty() {
        prune(call, flags, selector.as_ref(), &stored, &mut printer)?;
    }
    done(failed)
}

fn checked(flags: &Flags) -> Result<()> {
    if flags.prune && flags.selector.is_none() && !flags.all {
        return Err(Error::user(
            "all resources selected for prune without explicitly passing --all. To prune all \
             resources, pass the --all flag. If you did not mean to prune all resources, specify a \
             label selector",
        ));
    }
    if flags.server_side && flags.force {
        return Err(Error::user("--force cannot be used with --server-side"));
    }
    if flags.force_conflicts && !flags.server_side {
        return Err(Error::user("--force-conflicts only works with --server-side"));
    }
    if flags.server_side && flags.sent.dry_run()? == DryRun::Client {
        return Err(Error::user(
            "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)",
        ));
    }
    Ok(())
}

/// Applies one manifest; the object, and what became of it.
fn one(
    call: &Call,
    flags: &Flags,
    manifest: &Decoded,
    dry_run: DryRun,
) -> Result<(Object, &'static str)> {
    if dry_run == DryRun::Client {
        return only_shown(call, manifest);
    }
    let mut merged = call.engine.apply(manifest, dry_run.commit());
    let refused = |kind| matches!(kind, Kind::Invalid | Kind::Conflict);
    if flags.force && merged.as_ref().is_err_and(|error| refused(error.kind())) {
        replace_by_force(call, flags, &manifest.object, dry_run)?;
        merged = call.engine.apply(manifest, dry_run.commit());
        return merged.map(|merged| (merged.object, "configured"));
    }
    let merged = merged?;
    if merged.unmanaged && !flags.server_side {
        missing_annotation(&merged.object);
    }
    let what = match merged.applied {
        _ if flags.server_side => "serverside-applied",
        Applied::Created => "created",
        Applied::Configured => "configured",
        Applied::Unchanged => "unchanged",
    };
    if merged.applied == Applied::Configured
        && merged.object.metadata().deletion_timestamp.is_some()
    {
        let name = merged.object.name();
        let text = "which is currently being deleted.";
        tell(&format!("Warning: Detected changes to resource {name} {text}"));
    }
    Ok((merged.object, what))
}

/// `--dry-run=client`: what there is, or what was given; nothing is merged.
fn only_shown(call: &Call, manifest: &Decoded) -> Result<(Object, &'static str)> {
    let new = &manifest.object;
    match call.engine.get_object(new.resource(), new.namespace(), new.name()) {
        Ok(there) => Ok((there, "configured")),
        Err(error) if error.kind() == Kind::NotFound => {
            let given = with_last_applied(&manifest.given, new.namespace())?;
            let shown = crate::kube::object_of(new.resource(), &given, Default::default())?;
            Ok((shown.object, "created"))
        }
        Err(error) => Err(error),
    }
}

fn missing_annotation(object: &Object) {
    let (kinds, name) = (object.resource().plural(), object.name());
    tell(&format!(
        "Warning: resource {kinds}/{name} is missing the \
         kubectl.kubernetes.io/last-applied-configuration annotation which is required by podctl \
         apply. podctl apply should only be used on resources created declaratively by either \
         podctl create --save-config or podctl apply. The missing annotation will be patched \
         automatically."
    ));
}

/// Deletes what cannot be changed, and waits for its end.
fn replace_by_force(call: &Call, flags: &Flags, object: &Object, dry_run: DryRun) -> Result<()> {
    if dry_run != DryRun::No {
        return Ok(());
    }
    let grace_period = (flags.grace_period >= 0).then_some(flags.grace_period);
    let options = DeleteOptions { grace_period, force: grace_period == Some(0) };
    super::delete::at_once(call, object, options, flags.timeout)
}

/// Removes what was applied once, is selected, and is in no manifest.
fn prune(
    call: &Call,
    flags: &Flags,
    selector: Option<&Selector>,
    kept: &[Object],
    printer: &mut Printer,
) -> Result<()> {
    let kept_keys: Vec<Key> = kept.iter().map(Key::of).collect();
    let namespaces: BTreeSet<&str> = kept.iter().map(Object::namespace).collect();
    let mut old = Vec::new();
    for kind in pruned_kinds(flags)? {
        match kind.namespaced() {
            false => old.extend(call.engine.list_objects(kind, None)?),
            true => {
                for namespace in namespaces.iter().filter(|namespace| !namespace.is_empty()) {
                    old.extend(call.engine.list_objects(kind, Some(namespace))?);
                }
            }
        }
    }
    for object in old {
        let selected = selector.is_none_or(|it| it.matches(object.metadata().labels.as_ref()));
        if !selected || last_applied(&object).is_none() || kept_keys.contains(&Key::of(&object)) {
            continue;
        }
        if printer.dry_run == DryRun::No {
            let grace_period = (flags.grace_period >= 0).then_some(flags.grace_period);
            let options = DeleteOptions { grace_period, force: false };
            super::delete::tell_to_go(call, options, &object)?;
        }
        if !printer.shows() || flags.sent.form.output.as_deref() == Some("name") {
            printer.one(&object, "pruned")?;
        }
    }
    Ok(())
}

/// What `--prune` looks at: pods, config maps, secrets and namespaces, unless told otherwise.
fn pruned_kinds(flags: &Flags) -> Result<Vec<Resource>> {
    if flags.prune_allowlist.is_empty() {
        return Ok(Resource::ALL.into_iter().filter(|kind| kind.is_stored()).collect());
    }
    let kind = |text: &String| {
        let parts: Vec<&str> = text.split('/').collect();
        let [group, version, kind] = parts.as_slice() else {
            let text = format!(
                "invalid GroupVersionKind format: {text}, please follow <group/version/kind>"
            );
            return Err(Error::user(text));
        };
        let known = Resource::of(version, kind).filter(|_| ["core", ""].contains(group));
        known.ok_or_else(|| {
            Error::user(format!("no matches for kind \"{kind}\" in version \"{group}/{version}\""))
        })
    };
    flags.prune_allowlist.iter().map(kind).collect()
}
