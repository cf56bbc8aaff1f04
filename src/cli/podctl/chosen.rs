//! The objects that a verb is to change: by name, by label, or those of manifests.

use super::resource::{self, Wanted};
use super::selection::Selection;
use super::write::Files;
use super::{Call, files};
use crate::error::{Error, Result};
use crate::kube::{Fields, Object, Resource, Selector};
use clap::Args;

/// Which objects of a kind are meant: `--all`, `-A`, `-l` and `--field-selector`.
#[derive(Args)]
pub struct Selectors {
    /// All objects of those kinds in the namespace
    #[arg(long)]
    pub all: bool,
    /// Of all namespaces, with --all, -l or --field-selector
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Objects with these labels: app=nginx,env!=prod,tier in (a,b),!old
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Objects with these fields: status.phase=Failed,metadata.name!=web
    #[arg(long, value_name = "SELECTOR")]
    pub field_selector: Option<String>,
}

impl Selectors {
    /// Nothing selected.
    pub const NONE: Self =
        Self { all: false, all_namespaces: false, selector: None, field_selector: None };

    /// Whether there is anything to select by.
    fn given(&self) -> bool {
        self.all || self.selector.is_some() || self.field_selector.is_some()
    }
}

/// What a command line says of them.
pub struct Chosen<'a> {
    /// For messages.
    pub verb: &'static str,
    /// `-f`.
    pub files: &'a Files,
    /// `TYPE NAME…`.
    pub words: &'a [String],
    /// `--all`, `-l` and others.
    pub selectors: &'a Selectors,
}

impl Chosen<'_> {
    /// Nothing chosen yet.
    pub const NONE: Chosen<'static> = Chosen {
        verb: "",
        files: &Files { filename: Vec::new(), recursive: false, kustomize: None },
        words: &[],
        selectors: &Selectors::NONE,
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
        let selects = self.selectors.given();
        match resource::wanted(self.words)? {
            Wanted::Named(_) if selects => {
                Err(Error::user("name cannot be provided when a selector is specified"))
            }
            Wanted::Named(items) => Ok(resource::found(call, &items)),
            Wanted::All(_) if self.selectors.all && self.selectors.selector.is_some() => {
                // kubectl's words end so.
                Err(Error::user("setting 'all' parameter but found a non empty selector. "))
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
        let Selectors { selector, field_selector, all_namespaces, .. } = self.selectors;
        let selection = Selection::parse(kind, selector.as_deref(), field_selector.as_deref())?;
        let namespace = (!all_namespaces).then_some(call.namespace.as_str());
        let mut found = call.engine.list_objects(kind, namespace)?;
        found.retain(|one| selection.matches(one));
        Ok(found)
    }

    fn of_files(&self, call: &Call, local: bool) -> Result<(Vec<Object>, Vec<Error>)> {
        let selector = self
            .selectors
            .selector
            .as_deref()
            .map(Selector::parse)
            .transpose()?
            .unwrap_or_default();
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
