//! `podctl edit`: an object as a file in the caller's editor, and back.

use super::chosen::Chosen;
use super::write::{Files, Sent, Unknown};
use super::{Call, Outcome, done, editor, print};
use crate::cli::output::{self, Asked, Format};
use crate::error::Result;
use crate::kube::{self, Fields, Object, patch};
use crate::pod::{Commit, Key};
use clap::Args;
use serde_json::Value;

/// What the file begins with.
pub const HEADER: &str = "\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

/// Flags of `edit`.
#[derive(Args)]
pub struct Flags {
    /// pod NAME or pod/NAME
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    sent: Sent,
    #[command(flatten)]
    unknown: Unknown,
    /// Accepted for kubectl's sake
    #[arg(long, hide = true)]
    save_config: bool,
}

/// Runs it: the objects one after another.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let format = editor::format(flags.sent.form.output.as_deref())?;
    let fields = flags.unknown.fields()?;
    let chosen = Chosen { verb: "edit", files: &flags.files, words: &flags.words, ..Chosen::NONE };
    let (objects, mut failed) = chosen.objects(call, false)?;
    for object in objects {
        failed.extend(one(call, &object, &format, fields).err());
    }
    done(failed)
}

fn one(call: &Call, object: &Object, format: &Format, fields: Fields) -> Result<()> {
    let original = output::objects(std::slice::from_ref(object), format, Asked::One)?;
    editor::session(HEADER, &original, format, &mut |before, after| {
        let stored = store(call, object, (before, after), fields)?;
        let (kind, name) = (stored.resource().singular(), stored.name());
        print(&format!("{kind}/{name} edited\n"))
    })
}

/// Merges what was edited into the object as it is by now.
fn store(
    call: &Call,
    object: &Object,
    (before, after): (&Value, &Value),
    fields: Fields,
) -> Result<Object> {
    let key = Key::of(object);
    let stored = call.engine.change(&key, Commit::Store, &mut |stored| {
        let stored = stored.ok_or_else(|| key.resource.not_found(&key.name))?;
        let merged = patch::three_way(Some(before), after, &stored.to_value()?);
        let decoded = kube::object_of(key.resource, &merged, fields)?;
        Ok(decoded.object)
    });
    stored.map(|(_, object)| object)
}
