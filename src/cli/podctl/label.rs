//! `podctl label` and `podctl annotate`: the two maps of metadata changed, `key=value` to set and
//! `key-` to remove.

use super::chosen::{Chosen, Selectors};
use super::write::{DryRun, Files, Printer, Sent};
use super::{Call, Outcome, done, print};
use crate::error::{Error, Result};
use crate::kube::{self, Object};
use crate::pod::Key;
use clap::Args;
use std::collections::BTreeMap;

/// Flags of `label` and `annotate`.
#[derive(Args)]
pub struct Flags {
    /// TYPE NAME… KEY=VALUE… KEY-…
    #[arg(value_name = "TYPE NAME KEY=VALUE")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    /// Change what is set already
    #[arg(long)]
    overwrite: bool,
    /// Print what is set
    #[arg(long)]
    list: bool,
    /// Change the file's content, and store nothing
    #[arg(long)]
    local: bool,
    /// Only if the object is of this version
    #[arg(long, value_name = "VERSION")]
    resource_version: Option<String>,
    #[command(flatten)]
    sent: Sent,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// `label`.
    Labels,
    /// `annotate`.
    Annotations,
}

impl Map {
    fn word(self) -> &'static str {
        match self {
            Self::Labels => "label",
            Self::Annotations => "annotation",
        }
    }

    fn of(self, object: &mut Object) -> &mut Option<BTreeMap<String, String>> {
        let metadata = object.metadata_mut();
        match self {
            Self::Labels => &mut metadata.labels,
            Self::Annotations => &mut metadata.annotations,
        }
    }
}

/// What is to be set and removed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    set: BTreeMap<String, String>,
    remove: Vec<String>,
}

/// Runs either.
pub fn run(call: &Call, flags: &Flags, map: Map) -> Outcome {
    let is_change = |word: &String| word.contains('=') || word.ends_with('-');
    let first = flags.words.iter().position(is_change).unwrap_or(flags.words.len());
    let (resources, pairs) = flags.words.split_at(first);
    let changes = changes(map, pairs)?;
    if flags.local && flags.files.filename.is_empty() {
        return Err(Error::user(match resources {
            [] => "one or more files must be specified as -f pod.yaml or --filename=pod.json",
            _ => "can only use local files by -f pod.yaml or --filename=pod.json when --local=true is set",
        }).into());
    }
    if resources.is_empty() && flags.files.filename.is_empty() {
        return Err(Error::user(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        )
        .into());
    }
    if changes == Changes::default() && !flags.list {
        return Err(Error::user(format!("at least one {} update is required", map.word())).into());
    }
    let mut printer = flags.sent.printer()?;
    let chosen = Chosen {
        verb: map.word(),
        files: &flags.files,
        words: resources,
        selectors: &flags.selectors,
    };
    let (objects, mut failed) = chosen.objects(call, flags.local)?;
    if flags.resource_version.is_some() && objects.len() > 1 {
        let text = "--resource-version may only be used with a single resource";
        return Err(Error::user(text).into());
    }
    let job = Job { call, flags, map, changes: &changes, single: objects.len() == 1 };
    for object in objects {
        failed.extend(job.one(object, &mut printer).err());
    }
    done(failed)
}

struct Job<'a> {
    call: &'a Call,
    flags: &'a Flags,
    map: Map,
    changes: &'a Changes,
    /// Only one object is meant.
    single: bool,
}

impl Job<'_> {
    fn one(&self, object: Object, printer: &mut Printer) -> Result<()> {
        let before = self.map.of(&mut object.clone()).clone().unwrap_or_default();
        let changes = !self.changes.set.is_empty() || !self.changes.remove.is_empty();
        let mut after = match changes {
            true => self.change(object, printer.dry_run)?,
            false => object,
        };
        if self.map == Map::Labels {
            for key in self.changes.remove.iter().filter(|key| !before.contains_key(*key)) {
                print(&format!("label \"{key}\" not found.\n"))?;
            }
        }
        if self.flags.list {
            return self.list(&mut after);
        }
        let now = self.map.of(&mut after).clone().unwrap_or_default();
        printer.one(&after, self.what(&before, &now))
    }

    /// What became of the map, in kubectl's words.
    fn what(
        &self,
        before: &BTreeMap<String, String>,
        now: &BTreeMap<String, String>,
    ) -> &'static str {
        let gone = before.keys().any(|key| !now.contains_key(key));
        let new = now.iter().any(|(key, value)| before.get(key) != Some(value));
        match (self.map, new, gone) {
            (Map::Annotations, _, _) => "annotated",
            (Map::Labels, true, true) => "modified",
            (Map::Labels, true, false) => "labeled",
            (Map::Labels, false, true) => "unlabeled",
            (Map::Labels, false, false) => "not labeled",
        }
    }

    fn list(&self, object: &mut Object) -> Result<()> {
        let (kind, name) = (object.resource().kind(), object.name().to_owned());
        let mut text = String::new();
        if !self.single {
            let what = if self.map == Map::Labels { "labels" } else { "annotations" };
            text.push_str(&format!("Listing {what} for {kind}./{name}:\n"));
        }
        let indent = if self.single { "" } else { " " };
        for (key, value) in self.map.of(object).iter().flatten() {
            text.push_str(&format!("{indent}{key}={value}\n"));
        }
        print(&text)
    }

    fn change(&self, mut object: Object, dry_run: DryRun) -> Result<Object> {
        if self.flags.local || dry_run == DryRun::Client {
            self.apply(&mut object)?;
            return Ok(object);
        }
        let key = Key::of(&object);
        let changed = self.call.engine.change(&key, dry_run.commit(), &mut |stored| {
            let mut new = stored.cloned().ok_or_else(|| key.resource.not_found(&key.name))?;
            new.metadata_mut().resource_version.clone_from(&self.flags.resource_version);
            self.apply(&mut new)?;
            Ok(new)
        });
        changed.map(|(_, object)| object)
    }

    fn apply(&self, object: &mut Object) -> Result<()> {
        let map = self.map.of(object).get_or_insert_default();
        let mut set = Vec::new();
        for (key, value) in self.changes.set.iter().filter(|_| !self.flags.overwrite) {
            if let Some(old) = map.get(key).filter(|old| *old != value) {
                set.push(format!("'{key}' already has a value ({old})"));
            }
        }
        match (self.map, set.first()) {
            (Map::Labels, Some(first)) => {
                return Err(Error::user(format!("{first}, and --overwrite is false")));
            }
            (Map::Annotations, Some(_)) => {
                let words = "--overwrite is false but found the following declared annotation(s):";
                return Err(Error::user(format!("{words} {}", set.join("; "))));
            }
            (_, None) => {}
        }
        for key in &self.changes.remove {
            map.remove(key);
        }
        map.extend(self.changes.set.clone());
        if map.is_empty() {
            *self.map.of(object) = None;
        }
        Ok(())
    }
}

/// Reads `key=value` and `key-`.
fn changes(map: Map, pairs: &[String]) -> Result<Changes> {
    let mut changes = Changes::default();
    for pair in pairs {
        if let Some((key, value)) = pair.split_once('=') {
            if key.is_empty() {
                return Err(invalid(map, pair));
            }
            let wrong = match map {
                Map::Labels => kube::label_value(value),
                Map::Annotations => Vec::new(),
            };
            if let Some(why) = wrong.first() {
                return Err(Error::user(format!("invalid label value: {pair:?}: {why}")));
            }
            changes.set.insert(key.to_owned(), value.to_owned());
        } else if let Some(key) = pair.strip_suffix('-').filter(|key| !key.is_empty()) {
            changes.remove.push(key.to_owned());
        } else {
            return Err(invalid(map, pair));
        }
    }
    if let Some(both) = changes.remove.iter().find(|key| changes.set.contains_key(*key)) {
        let word = map.word();
        let text = match map {
            Map::Labels => format!("can not both modify and remove a {word} in the same command"),
            Map::Annotations => {
                format!(
                    "can not both modify and remove the following {word}(s) in the same command: {both}"
                )
            }
        };
        return Err(Error::user(text));
    }
    Ok(changes)
}

fn invalid(map: Map, pair: &str) -> Error {
    match map {
        Map::Labels => Error::user(format!("unknown label spec: {pair}")),
        Map::Annotations => Error::user(format!("invalid annotation format: {pair}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_kubectl_reads_them() {
        let read = |pairs: &[&str], map| {
            let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
            changes(map, &pairs).map_err(|error| error.to_string())
        };
        let both = read(&["a=1", "b-", "c=", "d=x=y"], Map::Annotations).unwrap();
        let set = [("a", "1"), ("c", ""), ("d", "x=y")];
        let set = set.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(both, Changes { set, remove: vec!["b".to_owned()] });
        assert!(read(&["a=x y"], Map::Labels).unwrap_err().starts_with("invalid label value: "));
        assert!(read(&["a=1", "a-"], Map::Labels).unwrap_err().starts_with("can not both modify"));
        assert_eq!(read(&["-"], Map::Labels).unwrap_err(), "unknown label spec: -");
    }
}
