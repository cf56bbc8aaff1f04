//! The objects that a verb is to change: by name, by label, or those of manifests.

use super::resource::{self, Wanted};
use super::selection::Selection;
use super::write::Files;
use super::{Call, files};
use crate::error::{Error, Result};
use crate::kube::{Fields, Object, Resource, Selector};

/// What a command line says of them.
pub struct Chosen<'a> {
    /// For messages.
    pub verb: &'static str,
    /// `-f`.
    pub files: &'a Files,
    /// `TYPE NAME…`.
    pub words: &'a [String],
    /// `-l`.
    pub selector: Option<&'a str>,
    /// `--field-selector`.
    pub field_selector: Option<&'a str>,
    /// `--all`.
    pub all: bool,
    /// `-A`.
    pub all_namespaces: bool,
}

impl Chosen<'_> {
    /// Nothing chosen yet.
    pub const NONE: Chosen<'static> = Chosen {
        verb: "",
        files: &Files { filename: Vec::new(), recursive: false, kustomize: None },
        words: &[],
        selector: None,
        field_selector: None,
        all: false,
        all_namespaces: false,
    };

    /// The objects, as they are stored or, with `local`, as the manifests have them; and the errors
    /// about those that are not there.
    pub fn objects(&self, call: &Call, local: bool) -> Result<(Vec<Object>, Vec<Error>)> {
        if self.files.given()? {
            return self.of_files(call, local);
        }
        if self.words.is_empty() {
            return Err(Error::user(
                "You must provide one or more resources by argument or filename.\n\
                 Example resource specifications include:\n   '-f rsrc.yaml'\n   \
                 '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
            ));
        }
        let selects = self.all || self.selector.is_some() || self.field_selector.is_some();
        match resource::wanted(self.words)? {
            Wanted::Named(_) if selects => {
                Err(Error::user("name cannot be provided when a selector is specified"))
            }
            Wanted::Named(items) => Ok(resource::found(call, &items)),
            Wanted::All(_) if self.all && self.selector.is_some() => {
                Err(Error::user("cannot set --all and --selector at the same time"))
            }
            Wanted::All(kinds) if selects => {
                let mut found = Vec::new();
                for kind in kinds {
                    found.extend(self.of_kind(call, kind)?);
                }
                Ok((found, Vec::new()))
            }
            Wanted::All(_) => {
                Err(Error::user("resource(s) were provided, but no name was specified"))
            }
        }
    }

    fn of_kind(&self, call: &Call, kind: Resource) -> Result<Vec<Object>> {
        let selection = Selection::parse(kind, self.selector, self.field_selector)?;
        let namespace = (!self.all_namespaces).then_some(call.namespace.as_str());
        let mut found = call.engine.list_objects(kind, namespace)?;
        found.retain(|one| selection.matches(one));
        Ok(found)
    }

    fn of_files(&self, call: &Call, local: bool) -> Result<(Vec<Object>, Vec<Error>)> {
        let selector = self.selector.map(Selector::parse).transpose()?.unwrap_or_default();
        let (mut objects, mut failed) = (Vec::new(), Vec::new());
        for manifest in files::read_as(self.files, Fields::Ignore)? {
            let given = manifest.decoded.object;
            if !selector.matches(given.metadata().labels.as_ref()) {
                continue;
            }
            if local {
                objects.push(given);
                continue;
            }
            let namespace = given.metadata().namespace.as_deref().unwrap_or(&call.namespace);
            match call.engine.get_object(given.resource(), namespace, given.name()) {
                Ok(object) => objects.push(object),
                Err(error) if resource::is_missing(&error) && self.verb == "delete" => {
                    failed.push(error.doing(format!("error when deleting \"{}\"", manifest.file)));
                }
                Err(error) => failed.push(error),
            }
        }
        Ok((objects, failed))
    }
}
