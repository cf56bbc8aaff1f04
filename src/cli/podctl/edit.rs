//! `podctl edit`: an object as a file in the caller's editor, and back.

use super::chosen::Chosen;
use super::write::{Files, Sent};
use super::{Call, Outcome, done, print, tell};
use crate::cli::output::{self, Asked, Format};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::{self, Fields, Object, patch};
use crate::pod::{Commit, Key};
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const HEADER: &str = "\
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
    /// Accepted for kubectl's sake
    #[arg(long, hide = true, value_name = "HOW", num_args = 0..=1, require_equals = true,
        default_missing_value = "strict")]
    validate: Option<String>,
    /// Accepted for kubectl's sake
    #[arg(long, hide = true)]
    save_config: bool,
}

/// Runs it: the objects one after another.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let format = match flags.sent.output.as_deref().unwrap_or("yaml") {
        "yaml" => Format::Yaml,
        "json" => Format::Json,
        other => {
            let text = format!("The flag 'output' must be one of yaml|json, got {other:?}");
            return Err(Error::user(text).into());
        }
    };
    let chosen = Chosen { verb: "edit", files: &flags.files, words: &flags.words, ..Chosen::NONE };
    let (objects, mut failed) = chosen.objects(call, false)?;
    for object in objects {
        failed.extend(one(call, &object, &format).err());
    }
    done(failed)
}

/// Opens one object until what is saved can be stored, or is given up.
fn one(call: &Call, object: &Object, format: &Format) -> Result<()> {
    let original = output::objects(std::slice::from_ref(object), format, Asked::One)?;
    let before = kube::value_of("the object", &original)?;
    let ending = if *format == Format::Json { "json" } else { "yaml" };
    let file = Draft::new(ending)?;
    let mut text = format!("{HEADER}{original}");
    let mut last_error: Option<Error> = None;
    loop {
        file.write(&text)?;
        edit(&file.0)?;
        let saved = file.read()?;
        if saved == text
            && let Some(error) = last_error
        {
            let kept = file.keep();
            tell(&format!("A copy of your changes has been stored to \"{}\"", kept.display()));
            return Err(error.doing("Edit cancelled, no valid changes were saved"));
        }
        let body = without_comments(&saved);
        if body.trim().is_empty() {
            return print("Edit cancelled, saved file was empty.\n");
        }
        let changed = match kube::value_of("the edited file", &body) {
            Ok(after) if after == before => return print("Edit cancelled, no changes made.\n"),
            Ok(after) => store(call, object, &before, &after),
            Err(error) => Err(error),
        };
        match changed {
            Ok(object) => {
                let (kind, name) = (object.resource().singular(), object.name());
                return print(&format!("{kind}/{name} edited\n"));
            }
            // What the caller cannot mend by editing further.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::System | Kind::Bug) => {
                let kept = file.keep();
                tell(&format!("A copy of your changes has been stored to \"{}\"", kept.display()));
                return Err(error);
            }
            Err(error) => {
                text = format!("{HEADER}{}#\n{body}", commented(&error));
                last_error = Some(error);
            }
        }
    }
}

/// Merges what was edited into the object as it is by now.
fn store(call: &Call, object: &Object, before: &Value, after: &Value) -> Result<Object> {
    let key = Key::of(object);
    let stored = call.engine.change(&key, Commit::Store, &mut |stored| {
        let stored = stored.ok_or_else(|| key.resource.not_found(&key.name))?;
        let merged = patch::three_way(Some(before), after, &stored.to_value()?);
        let decoded = kube::object_of(key.resource, &merged, Fields::Strict)?;
        Ok(decoded.object)
    });
    stored.map(|(_, object)| object)
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

fn commented(error: &Error) -> String {
    let text = error.to_string();
    text.lines().map(|line| format!("# {line}\n")).collect()
}

/// Runs the caller's editor on the file, in a shell, since it may have arguments.
fn edit(file: &Path) -> Result<()> {
    let given = |name: &str| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    let editor = given("KUBE_EDITOR").or_else(|| given("EDITOR")).unwrap_or_else(|| "vi".into());
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$0\"")])
        .arg(file)
        .status()
        .doing(|| format!("run the editor {editor}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::user(format!("there was a problem with the editor {editor:?}"))
            .hint("name another in KUBE_EDITOR or EDITOR")),
    }
}

/// The file that is edited; only its owner can read it, and it goes with this value.
struct Draft(PathBuf);

impl Draft {
    fn new(ending: &str) -> Result<Self> {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("podctl-edit-XXXXXX"))
            .doing(|| "make a temporary directory")?;
        Ok(Self(dir.join(format!("object.{ending}"))))
    }

    fn write(&self, text: &str) -> Result<()> {
        std::fs::write(&self.0, text).doing(|| format!("write {}", self.0.display()))
    }

    fn read(&self) -> Result<String> {
        std::fs::read_to_string(&self.0).doing(|| format!("read {}", self.0.display()))
    }

    /// Leaves the file where it is.
    fn keep(self) -> PathBuf {
        let path = self.0.clone();
        std::mem::forget(self);
        path
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let dir = self.0.parent().unwrap_or(&self.0);
        if let Err(error) = std::fs::remove_dir_all(dir) {
            tell(&format!("warning: remove {}: {error}", dir.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_left_out() {
        let text = format!("{HEADER}a: 1\n# no\nb: '#2'\n");
        assert_eq!(without_comments(&text), "a: 1\nb: '#2'\n");
        assert_eq!(commented(&Error::user("a\nb")), "# a\n# b\n");
    }
}
