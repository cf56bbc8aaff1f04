//! A text in the caller's editor, until what is saved can be taken: what `edit`, `create --edit` and
//! `apply edit-last-applied` have in common.

use super::tell;
use crate::cli::output::Format;
use crate::error::{Context, Error, Kind, Result};
use crate::kube;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `-o` of what is edited.
pub fn format(output: Option<&str>) -> Result<Format> {
    match output.unwrap_or("yaml") {
        "yaml" | "" => Ok(Format::Yaml),
        "json" => Ok(Format::Json),
        other => {
            let text = "unable to match a printer suitable for the output format";
            Err(Error::user(format!("{text} {other:?}, allowed formats are: json,yaml")))
        }
    }
}

/// Opens `original` until `store` takes what is saved, or the caller gives up. `store` gets what was
/// there and what is there now; what it refuses is shown in the file.
pub fn session(
    header: &str,
    original: &str,
    format: &Format,
    store: &mut dyn FnMut(&Value, &Value) -> Result<()>,
) -> Result<()> {
    let before = kube::value_of("the object", original)?;
    let file = Draft::new(if *format == Format::Json { "json" } else { "yaml" })?;
    let mut text = format!("{header}{original}");
    let mut last_error: Option<Error> = None;
    loop {
        file.write(&text)?;
        edit(&file.0)?;
        let saved = file.read()?;
        if saved == text
            && let Some(error) = last_error
        {
            file.keep();
            return Err(error.doing("Edit cancelled, no valid changes were saved"));
        }
        let body = without_comments(&saved);
        if body.trim().is_empty() {
            tell("Edit cancelled, saved file was empty.");
            return Ok(());
        }
        let stored = match kube::value_of("the edited file", &body) {
            Ok(after) if after == before => {
                tell("Edit cancelled, no changes made.");
                return Ok(());
            }
            Ok(after) => store(&before, &after),
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => return Ok(()),
            // What the caller cannot mend by editing further.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::System | Kind::Bug) => {
                file.keep();
                return Err(error);
            }
            Err(error) => {
                text = format!("{header}{}#\n{body}", commented(&error));
                last_error = Some(error);
            }
        }
    }
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

    /// Leaves the file where it is, and says where that is.
    fn keep(self) {
        tell(&format!("A copy of your changes has been stored to \"{}\"", self.0.display()));
        std::mem::forget(self);
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
        let text = "# A header.\n#\na: 1\n# no\nb: '#2'\n";
        assert_eq!(without_comments(text), "a: 1\nb: '#2'\n");
        assert_eq!(commented(&Error::user("a\nb")), "# a\n# b\n");
    }
}
