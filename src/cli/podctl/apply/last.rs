//! `podctl apply view-last-applied`, `set-last-applied` and `edit-last-applied`: what `apply` notes of
//! a manifest in an annotation, to know the next time what was taken out of it.

use crate::cli::output::{self, Format};
use crate::cli::podctl::chosen::{Chosen, Selectors};
use crate::cli::podctl::write::{self, DryRun, Files, Sent, Unknown, usage};
use crate::cli::podctl::{Call, Outcome, done, editor, files, print, tell};
use crate::error::{Error, Result};
use crate::kube::{Decoded, Fields, Object};
use crate::pod::apply::{last_applied, note_last_applied};
use crate::pod::{Commit, Key};
use clap::{Args, Subcommand};

const HEADER: &str = "\
# Please edit the 'last-applied-configuration' annotations below.
# Lines beginning with a '#' will be ignored, and an empty file will abort the edit.
#
";

/// The three.
#[derive(Subcommand)]
pub enum Last {
    /// Show what was applied last
    #[command(name = "view-last-applied")]
    View(View),
    /// Note a manifest as what was applied last, and change nothing else
    #[command(name = "set-last-applied")]
    Set(Set),
    /// Change the note of what was applied last in an editor
    #[command(name = "edit-last-applied")]
    Edit(Edit),
}

/// Flags of `apply view-last-applied`.
#[derive(Args)]
pub struct View {
    /// TYPE NAME or TYPE/NAME
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    /// Output format: yaml or json
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    output: String,
}

/// Flags of `apply set-last-applied`.
#[derive(Args)]
pub struct Set {
    #[command(flatten)]
    files: Files,
    /// Also of objects that have no such note
    #[arg(long)]
    create_annotation: bool,
    #[command(flatten)]
    sent: Sent,
}

/// Flags of `apply edit-last-applied`.
#[derive(Args)]
pub struct Edit {
    /// TYPE NAME or TYPE/NAME
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    sent: Sent,
    #[command(flatten)]
    unknown: Unknown,
}

/// Runs one of them.
pub fn run(call: &Call, last: &Last) -> Outcome {
    match last {
        Last::View(flags) => view(call, flags),
        Last::Set(flags) => set(call, flags),
        Last::Edit(flags) => edit(call, flags),
    }
}

fn view(call: &Call, flags: &View) -> Outcome {
    let format = match flags.output.as_str() {
        "yaml" => Format::Yaml,
        "json" => Format::Json,
        other => {
            let text = "the flag 'output' must be one of yaml|json";
            let text = format!("Unexpected -o output mode: {other}, {text}");
            return Err(usage("apply view-last-applied", &text).into());
        }
    };
    let chosen = Chosen {
        verb: "apply view-last-applied",
        files: &flags.files,
        words: &flags.words,
        selectors: &flags.selectors,
    };
    let (objects, failed) = chosen.objects(call, false)?;
    for object in &objects {
        match last_applied(object) {
            Some(last) if format == Format::Json => {
                print(&format!("{}\n", output::json::indented(&last, b"  ")))?;
            }
            Some(last) => print(&output::one(&last, &format)?)?,
            // kubectl says nothing, and does not fail.
            None => tell(&format!(
                "no last-applied-configuration annotation found on {}",
                object.name()
            )),
        }
    }
    done(failed)
}

fn set(call: &Call, flags: &Set) -> Outcome {
    flags.files.needed()?;
    let mut printer = flags.sent.printer()?;
    let mut failed = Vec::new();
    for mut manifest in files::read_as(&flags.files, Fields::Ignore)? {
        write::place(call, &mut manifest.decoded)?;
        match note(call, flags, &manifest.decoded, printer.dry_run) {
            Ok(Some(object)) => printer.one(&object, "configured")?,
            Ok(None) => {
                let name = manifest.decoded.object.name();
                print(&format!("set-last-applied {name}: no changes required.\n"))?;
            }
            Err(error) => failed.push(error),
        }
    }
    done(failed)
}

/// Notes a manifest; none if it is noted already.
fn note(call: &Call, flags: &Set, new: &Decoded, dry_run: DryRun) -> Result<Option<Object>> {
    let key = Key::of(&new.object);
    let mut same = false;
    let (_, object) = call.engine.change(&key, dry_run.commit(), &mut |stored| {
        let stored = stored.ok_or_else(|| key.resource.not_found(&key.name))?;
        let before = last_applied(stored);
        if before.is_none() && !flags.create_annotation {
            return Err(Error::user(format!(
                "no last-applied-configuration annotation found on resource: {}, to create the \
                 annotation, run the command with --create-annotation",
                key.name
            )));
        }
        let mut noted = stored.clone();
        note_last_applied(&mut noted, &new.given)?;
        same = last_applied(&noted) == before;
        Ok(noted)
    })?;
    Ok((!same).then_some(object))
}

fn edit(call: &Call, flags: &Edit) -> Outcome {
    let format = editor::format(flags.sent.form.output.as_deref())?;
    let (files, words) = (&flags.files, flags.words.as_slice());
    let chosen = Chosen { verb: "apply edit-last-applied", files, words, ..Chosen::NONE };
    let (objects, mut failed) = chosen.objects(call, false)?;
    for object in &objects {
        let Some(last) = last_applied(object) else {
            failed.push(Error::user(
                "no last-applied-configuration annotation found on resources, to create the \
                 annotation, use command `podctl apply set-last-applied --create-annotation`",
            ));
            continue;
        };
        let original = output::one(&last, &format)?;
        let edited = editor::session(HEADER, &original, &format, &mut |_, after| {
            let key = Key::of(object);
            call.engine.change(&key, Commit::Store, &mut |stored| {
                let mut noted = stored.cloned().ok_or_else(|| key.resource.not_found(&key.name))?;
                note_last_applied(&mut noted, after)?;
                Ok(noted)
            })?;
            print(&format!("{}/{} edited\n", key.resource.singular(), key.name))
        });
        failed.extend(edited.err());
    }
    done(failed)
}
