//! `podctl diff`: what apply would change, shown by an external program.

use super::write::{self, Files};
use super::{Call, Outcome, files, tell};
use crate::cli::output::{self, Asked, Format};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::{Fields, Object, Selector};
use crate::pod::Commit;
use clap::Args;
use k8s_openapi::ByteString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Flags of `diff`.
#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    files: Files,
    /// Only the manifests with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Accepted for kubectl's sake
    #[arg(long, hide = true)]
    server_side: bool,
    /// Accepted for kubectl's sake
    #[arg(long, hide = true)]
    force_conflicts: bool,
    /// Accepted for kubectl's sake
    #[arg(long, hide = true, value_name = "NAME")]
    field_manager: Option<String>,
    /// Accepted for kubectl's sake
    #[arg(long, hide = true)]
    show_managed_fields: bool,
    /// Accepted for kubectl's sake
    #[arg(long, hide = true, value_name = "N")]
    concurrency: Option<u32>,
}

/// Runs it; 1 says that there are differences, more that something went wrong.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    match compare(call, flags) {
        Ok(status) => Ok(status),
        Err(error) => {
            crate::cli::report::kubectl(&error);
            Ok(2)
        }
    }
}

fn compare(call: &Call, flags: &Flags) -> Result<u8> {
    flags.files.needed()?;
    let selector = flags.selector.as_deref().map(Selector::parse).transpose()?.unwrap_or_default();
    let (live, merged) = (Versions::new("LIVE")?, Versions::new("MERGED")?);
    for mut manifest in files::read_as(&flags.files, Fields::Strict)? {
        if !selector.matches(manifest.decoded.object.metadata().labels.as_ref()) {
            continue;
        }
        write::place(call, &mut manifest.decoded)?;
        let given = &manifest.decoded.object;
        let there = call.engine.get_object(given.resource(), given.namespace(), given.name());
        let there = match there {
            Err(error) if error.kind() == Kind::NotFound => None,
            there => Some(there?),
        };
        let would_be = call.engine.apply(&manifest.decoded, Commit::Check)?.object;
        let name = file_name(given);
        let (there, would_be) = masked(there, would_be);
        if let Some(there) = there {
            live.add(&name, &there)?;
        }
        merged.add(&name, &would_be)?;
    }
    shown(&live.0, &merged.0)
}

/// As kubectl names it: `v1.Pod.default.web`.
fn file_name(object: &Object) -> String {
    format!("v1.{}.{}.{}", object.resource().kind(), object.namespace(), object.name())
}

/// Secrets show that they differ, not what they hold.
fn masked(there: Option<Object>, would_be: Object) -> (Option<Object>, Object) {
    let (mut there, mut would_be) = (there, would_be);
    if let Object::Secret(new) = &mut would_be {
        let old = match &mut there {
            Some(Object::Secret(old)) => old.data.as_mut(),
            _ => None,
        };
        let mut none = std::collections::BTreeMap::new();
        let old = old.unwrap_or(&mut none);
        let text = |text: &str| ByteString(text.as_bytes().to_vec());
        for (key, value) in new.data.iter_mut().flatten() {
            let same = old.get(key) == Some(value);
            if let Some(old) = old.get_mut(key).filter(|_| !same) {
                *old = text("*** (before)");
                *value = text("*** (after)");
            } else {
                *value = text("***");
            }
        }
        let plain = |value: &ByteString| value.0.starts_with(b"***");
        old.values_mut().filter(|value| !plain(value)).for_each(|value| *value = text("***"));
    }
    (there, would_be)
}

/// A directory of versions, gone with this value.
struct Versions(PathBuf);

impl Versions {
    fn new(prefix: &str) -> Result<Self> {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join(format!("{prefix}-XXXXXX")))
            .doing(|| "make a temporary directory")?;
        Ok(Self(dir))
    }

    fn add(&self, name: &str, object: &Object) -> Result<()> {
        let text = output::objects(std::slice::from_ref(object), &Format::Yaml, Asked::One)?;
        let path = self.0.join(name);
        std::fs::write(&path, text).doing(|| format!("write {}", path.display()))
    }
}

impl Drop for Versions {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tell(&format!("warning: remove {}: {error}", self.0.display()));
        }
    }
}

/// Runs the program that shows differences: `diff -u -N`, or the caller's.
fn shown(live: &Path, merged: &Path) -> Result<u8> {
    let given = std::env::var("KUBECTL_EXTERNAL_DIFF").unwrap_or_default();
    let mut words = given.split_whitespace();
    let program = words.next().unwrap_or("diff");
    let mut command = Command::new(program);
    match given.is_empty() {
        true => command.args(["-u", "-N"]),
        // As kubectl: only plain words, so that an environment is no program.
        false => command.args(words.filter(|word| {
            word.chars().all(|c| c.is_ascii_alphanumeric() || "-=_,./".contains(c))
        })),
    };
    let status = command.arg(live).arg(merged).status();
    let status = status.map_err(|error| {
        Error::user(format!("failed to run \"{program}\": {error}"))
            .hint("install diffutils, or name a program in KUBECTL_EXTERNAL_DIFF")
    })?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
}
