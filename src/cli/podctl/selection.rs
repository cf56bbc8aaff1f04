//! `-l` and `--field-selector`: which objects of a kind are meant.

use crate::error::{Error, Kind, Result};
use crate::kube::{FieldSelector, Object, Resource, Selector};

/// The selectors of a command line, read for one kind.
pub struct Selection {
    labels: Selector,
    fields: FieldSelector,
}

impl Selection {
    /// Reads both; what is wrong with them is told as the API server does.
    pub fn parse(resource: Resource, labels: Option<&str>, fields: Option<&str>) -> Result<Self> {
        let (given, wanted) = (labels.unwrap_or_default(), fields.unwrap_or_default());
        let bad = |why: String| {
            let plural = resource.plural();
            Error::new(
                Kind::BadRequest,
                format!(
                    "Unable to find \"/v1, Resource={plural}\" that match label selector \
                     \"{given}\", field selector \"{wanted}\": {why}"
                ),
            )
        };
        let labels = Selector::parse(given).map_err(|error| {
            let hint = error.hint_text().unwrap_or_default().to_owned();
            bad(error.to_string()).hint(hint)
        })?;
        Ok(Self { labels, fields: FieldSelector::parse(wanted, resource).map_err(bad)? })
    }

    /// Whether `object` is meant.
    pub fn matches(&self, object: &Object) -> bool {
        self.labels.matches(object.metadata().labels.as_ref()) && self.fields.matches(object)
    }
}
