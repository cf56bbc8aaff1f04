//! `get -w`: what there is and then every change, one row each, until interrupted.

use super::{Asking, Flags, columns};
use crate::cli::output::{self, Asked, Format, json, table::Writer, yaml};
use crate::cli::podctl::chosen::Chosen;
use crate::cli::podctl::resource::Wanted;
use crate::cli::podctl::selection::Selection;
use crate::cli::podctl::{Call, Outcome, print};
use crate::error::{Error, Result};
use crate::kube::table::{self, Columns, Table};
use crate::kube::{Object, Resource};
use crate::pod::{Change, ChangeKind, WatchOptions};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

/// Runs it.
pub fn run(call: &Call, flags: &Flags, format: &Format, asking: &Asking) -> Outcome {
    let watched = match flags.files.given()? {
        true => of_file(call, flags)?,
        false => one(call, flags, &asking.wanted)?,
    };
    let Watched { resource, name, namespace } = watched;
    let (labels, fields) = (flags.selector.as_deref(), flags.field_selector.as_deref());
    let selection = Selection::parse(resource, labels, fields)?;
    let chosen = |object: &Object| {
        name.as_ref().is_none_or(|name| object.name() == name) && selection.matches(object)
    };
    let options =
        WatchOptions { resource, namespace: namespace.as_deref(), timeout: None, chosen: &chosen };
    let mut shown = Shown {
        format,
        columns: columns(flags, format, asking),
        events: flags.output_watch_events,
        writer: match format {
            Format::Columns(_) => Writer::default(),
            _ => Writer::of_stdout(),
        },
        first: !flags.no_headers,
    };
    call.engine.watch(&options, &mut |change| {
        if !(flags.watch_only && change.kind == ChangeKind::Present) {
            print(&shown.change(resource, &change)?)?;
        }
        Ok(true)
    })?;
    Ok(0)
}

/// What is watched: of one kind, one object or all.
struct Watched {
    resource: Resource,
    name: Option<String>,
    /// None for all.
    namespace: Option<String>,
}

/// The object of the one manifest.
fn of_file(call: &Call, flags: &Flags) -> Result<Watched> {
    let (objects, errors) = Chosen { files: &flags.files, ..Chosen::NONE }.objects(call, false)?;
    match (objects.as_slice(), errors.into_iter().next()) {
        (_, Some(error)) => Err(error),
        ([object], None) => {
            let namespace = object.resource().namespaced().then(|| object.namespace().to_owned());
            let name = Some(object.name().to_owned());
            Ok(Watched { resource: object.resource(), name, namespace })
        }
        (several, None) => Err(Error::user(format!(
            "watch is only supported on individual resources and resource collections - {} \
             resources were found",
            several.len()
        ))),
    }
}

fn one(call: &Call, flags: &Flags, wanted: &Wanted) -> Result<Watched> {
    let namespace = (!flags.all_namespaces).then(|| call.namespace.clone());
    match wanted {
        Wanted::All(kinds) => match kinds.as_slice() {
            [kind] => Ok(Watched { resource: *kind, name: None, namespace }),
            _ => Err(Error::user("you may only specify a single resource type")),
        },
        Wanted::Named(items) => match items.as_slice() {
            [(kind, name)] => {
                if !flags.ignore_not_found {
                    call.engine.get_object(*kind, &call.namespace, name)?;
                }
                Ok(Watched { resource: *kind, name: Some(name.clone()), namespace })
            }
            _ => Err(Error::user("you may only specify a single resource name to watch")),
        },
    }
}

struct Shown<'a> {
    format: &'a Format,
    columns: Columns,
    /// `--output-watch-events`.
    events: bool,
    writer: Writer,
    /// Nothing has been printed yet that headers or documents follow.
    first: bool,
}

impl Shown<'_> {
    fn change(&mut self, resource: Resource, change: &Change) -> Result<String> {
        let kind = match change.kind {
            ChangeKind::Present | ChangeKind::Added => "ADDED",
            ChangeKind::Modified => "MODIFIED",
            ChangeKind::Deleted => "DELETED",
        };
        let object = &change.object;
        let first = std::mem::take(&mut self.first);
        match self.format {
            Format::Table | Format::Wide => {
                let mut table = table::objects(resource, [object], &self.columns, Timestamp::now());
                if self.events {
                    prepend(&mut table, kind);
                }
                Ok(if first { self.writer.table(&table) } else { self.writer.rows(&table) })
            }
            Format::Columns(custom) => {
                let table = custom.table(&[output::value(object)?])?;
                Ok(if first { self.writer.table(&table) } else { self.writer.rows(&table) })
            }
            Format::Json | Format::Yaml if self.events => {
                let event = json!({"type": kind, "object": output::value(object)?});
                let yaml = *self.format == Format::Yaml;
                let text = if yaml { yaml::document(&event) } else { json::document(&event) };
                Ok(self.document(first, text))
            }
            format => {
                let text = output::objects(std::slice::from_ref(object), format, Asked::One)?;
                Ok(self.document(first, text))
            }
        }
    }

    fn document(&self, first: bool, text: String) -> String {
        let separated = *self.format == Format::Yaml && !first;
        if separated { format!("---\n{text}") } else { text }
    }
}

fn prepend(table: &mut Table, kind: &str) {
    table.headers.insert(0, "EVENT".to_owned());
    table.rows.iter_mut().for_each(|row| row.insert(0, kind.to_owned()));
}
