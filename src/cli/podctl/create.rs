//! `podctl create`: objects that must not be there yet, from manifests or from flags alone.

mod configmap;
mod namespace;
mod secret;
mod sources;

use super::edit::HEADER;
use super::write::{self, DryRun, Files, Printer, Sent, Unknown, usage};
use super::{Call, Outcome, done, editor, files, refused};
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::error::{Error, Kind, Result};
use crate::kube::{self, Decoded, Fields, Object, Selector};
use crate::pod::Key;
use crate::pod::apply::with_last_applied;
use clap::{Args, Subcommand};

/// Generators of kubectl for kinds that runp does not have.
const OTHERS: [&str; 18] = [
    "clusterrole",
    "clusterrolebinding",
    "cj",
    "cronjob",
    "deploy",
    "deployment",
    "ing",
    "ingress",
    "job",
    "pdb",
    "poddisruptionbudget",
    "priorityclass",
    "quota",
    "role",
    "rolebinding",
    "service",
    "serviceaccount",
    "token",
];

/// The API server's longest generated name, and how often it looks for one that is free.
const GENERATED: usize = 63;
const TRIES: usize = 8;

/// Flags of `create`.
#[derive(Args)]
#[command(subcommand_precedence_over_arg = true)]
pub struct Flags {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    sent: Sent,
    #[command(flatten)]
    saved: Saved,
    /// Change the manifests in an editor first
    #[arg(long)]
    edit: bool,
    /// Only the manifests with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    #[command(subcommand)]
    generator: Option<Generator>,
    #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
    words: Vec<String>,
}

/// `--save-config` and `--validate`.
#[derive(Args)]
pub struct Saved {
    /// Note the object as what was applied last, for a later apply
    #[arg(long)]
    save_config: bool,
    #[command(flatten)]
    unknown: Unknown,
}

/// Objects from flags alone.
#[derive(Subcommand)]
enum Generator {
    /// Create a config map from files, directories or literal values
    #[command(visible_alias = "cm")]
    Configmap(configmap::Flags),
    /// Create a namespace
    #[command(visible_alias = "ns")]
    Namespace(namespace::Flags),
    /// Create a secret
    Secret(secret::Flags),
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    match &flags.generator {
        Some(Generator::Configmap(flags)) => return configmap::run(call, flags),
        Some(Generator::Namespace(flags)) => return namespace::run(call, flags),
        Some(Generator::Secret(flags)) => return secret::run(call, flags),
        None => {}
    }
    if let Some(word) = flags.words.first() {
        if word.starts_with('-') {
            return Err(unknown(word).into());
        }
        if OTHERS.contains(&word.as_str()) {
            return Err(Error::user(format!("create {word}: not supported by runp"))
                .hint("runp creates pods, config maps, secrets and namespaces")
                .into());
        }
        return Err(
            usage("create", &format!("Unexpected args: [{}]", flags.words.join(" "))).into()
        );
    }
    flags.files.needed()?;
    let mut printer = flags.sent.printer()?;
    let selector = flags.selector.as_deref().map(Selector::parse).transpose()?;
    let mut failed = Vec::new();
    let mut manifests = files::read_as(&flags.files, flags.saved.unknown.fields()?)?;
    manifests.retain(|one| {
        let labels = one.decoded.object.metadata().labels.as_ref();
        selector.as_ref().is_none_or(|selector| selector.matches(labels))
    });
    if manifests.is_empty() {
        return Err(Error::user("no objects passed to create").into());
    }
    let (progress, count) = Progress::through("Creating", manifests.len());
    // An editor has the terminal for itself.
    let _progress = (!flags.edit).then_some(progress);
    for mut manifest in manifests {
        write::place(call, &mut manifest.decoded)?;
        let created = match flags.edit {
            true => edited(call, flags, &manifest.decoded, &mut printer),
            false => one(call, manifest.decoded, &flags.saved, &mut printer),
        };
        if let Err(error) = created {
            failed.push(write::in_file(error, "creating", &manifest.file));
        }
        count.add(1);
    }
    done(failed)
}

/// A flag stands among the words, as whatever follows them may be a generator of kubectl's.
fn unknown(word: &str) -> Error {
    let name = word.split('=').next().unwrap_or_default();
    let error = match name.strip_prefix("--") {
        Some(_) => format!("unknown flag: {name}"),
        None => {
            let letter = name.chars().nth(1).unwrap_or_default();
            format!("unknown shorthand flag: '{letter}' in {name}")
        }
    };
    let error = Error::user(format!("{error}\nSee 'podctl create --help' for usage."));
    match refused::flag(&["create"], name) {
        Some(instead) => error.hint(instead),
        None => error,
    }
}

/// `--edit`: creates what the caller makes of a manifest.
fn edited(call: &Call, flags: &Flags, manifest: &Decoded, printer: &mut Printer) -> Result<()> {
    let format = editor::format(flags.sent.form.output.as_deref())?;
    let mut given = manifest.given.clone();
    if let Some(namespace) = &manifest.object.metadata().namespace {
        given["metadata"]["namespace"] = namespace.clone().into();
    }
    let original = output::one(&given, &format)?;
    editor::session(HEADER, &original, &format, &mut |_, after| {
        let kind = manifest.object.resource();
        one(
            call,
            kube::object_of(kind, after, flags.saved.unknown.fields()?)?,
            &flags.saved,
            printer,
        )
    })
}

/// Creates what a generator made.
fn generated(call: &Call, mut object: Object, saved: &Saved, sent: &Sent) -> Outcome {
    saved.unknown.fields()?;
    if object.resource().namespaced() && (call.namespace_given || sent.dry_run()? != DryRun::Client)
    {
        object.metadata_mut().namespace = Some(call.namespace.clone());
    }
    let decoded = Decoded { given: object.to_value()?, object, warnings: Vec::new() };
    let kind = decoded.object.resource().singular();
    let created = one(call, decoded, saved, &mut sent.printer()?.typed());
    created.map_err(|error| match (error.kind(), kind) {
        (Kind::AlreadyExists, "configmap") => {
            Error::user(format!("failed to create configmap: {error}"))
        }
        (Kind::AlreadyExists, "secret") => Error::user(format!("failed to create secret {error}")),
        _ => error,
    })?;
    Ok(0)
}

/// Creates one object and says so.
fn one(call: &Call, decoded: Decoded, saved: &Saved, printer: &mut Printer) -> Result<()> {
    let mut object = decoded.object;
    if saved.save_config {
        let given = with_last_applied(&decoded.given, object.namespace())?;
        let named = object.metadata().namespace.clone();
        object = kube::object_of(object.resource(), &given, Fields::Ignore)?.object;
        object.metadata_mut().namespace = named;
    }
    if printer.dry_run == DryRun::Client {
        return printer.one(&object, "created");
    }
    let created = named(call, object, printer.dry_run)?;
    printer.one(&created, "created")
}

/// Stores an object; one that has only the beginning of a name gets a name that is free.
fn named(call: &Call, mut object: Object, dry_run: DryRun) -> Result<Object> {
    let prefix = object.metadata().generate_name.clone().unwrap_or_default();
    if prefix.is_empty() || !object.name().is_empty() {
        return make(call, &object, dry_run);
    }
    let mut tries = 0;
    loop {
        let letters = write::random_letters()?;
        let prefix: String = prefix.chars().take(GENERATED - letters.len()).collect();
        object.metadata_mut().name = Some(prefix + &letters);
        tries += 1;
        match make(call, &object, dry_run) {
            Err(error) if error.kind() == Kind::AlreadyExists && tries < TRIES => {}
            made => return made,
        }
    }
}

/// Stores an object that must not be there yet.
pub fn make(call: &Call, object: &Object, dry_run: DryRun) -> Result<Object> {
    let key = Key::of(object);
    let created = call.engine.change(&key, dry_run.commit(), &mut |stored| match stored {
        Some(_) => Err(key.resource.already_exists(&key.name)),
        None => Ok(object.clone()),
    });
    created.map(|(_, object)| object)
}
