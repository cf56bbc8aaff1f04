//! The kinds of objects that there are, and what kubectl calls them: the rows of `api-resources`.

use crate::error::{Error, Kind};

/// A kind of object (an "API resource").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// `cm`.
    ConfigMaps,
    /// What happened to the others; nobody but a monitor writes one.
    Events,
    /// Exist when used.
    Namespaces,
    /// This machine.
    Nodes,
    /// `po`.
    Pods,
    /// Values that `describe` does not show.
    Secrets,
}

/// What is fixed about a kind.
struct Facts {
    plural: &'static str,
    singular: &'static str,
    short: &'static str,
    kind: &'static str,
    namespaced: bool,
    verbs: &'static [&'static str],
}

const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const READ_VERBS: &[&str] = &["get", "list", "watch"];

impl Resource {
    /// Every kind, in the order of `api-resources`.
    pub const ALL: [Self; 6] =
        [Self::ConfigMaps, Self::Events, Self::Namespaces, Self::Nodes, Self::Pods, Self::Secrets];

    /// Reads `po`, `pod`, `Pods`, `pods.v1` or `pods.v1.`.
    pub fn parse(word: &str) -> Option<Self> {
        let (bare, version) = word.split_once('.').unwrap_or((word, "v1"));
        let bare = bare.to_lowercase();
        let is = |facts: &Facts| [facts.plural, facts.singular, facts.short].contains(&&*bare);
        let known = version.trim_end_matches('.') == "v1" && !bare.is_empty();
        Self::ALL.into_iter().find(|resource| known && is(&resource.facts()))
    }

    /// The kind of a manifest's `apiVersion` and `kind`.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|found| api_version == "v1" && found.facts().kind == kind)
    }

    /// `pods`.
    pub fn plural(self) -> &'static str {
        self.facts().plural
    }

    /// `pod`, as in `pod/web created`.
    pub fn singular(self) -> &'static str {
        self.facts().singular
    }

    /// `po`; empty for secrets.
    pub fn short(self) -> &'static str {
        self.facts().short
    }

    /// `Pod`, as a manifest says it.
    pub fn kind(self) -> &'static str {
        self.facts().kind
    }

    /// Whether an object of it belongs to a namespace.
    pub fn namespaced(self) -> bool {
        self.facts().namespaced
    }

    /// Whether its objects are made by manifests; the others are only read.
    pub fn is_stored(self) -> bool {
        !matches!(self, Self::Events | Self::Nodes)
    }

    /// What the API can do with it.
    pub fn verbs(self) -> &'static [&'static str] {
        self.facts().verbs
    }

    /// kubectl's `pods "x" not found`.
    pub fn not_found(self, name: &str) -> Error {
        Error::new(Kind::NotFound, format!("{} \"{name}\" not found", self.plural()))
    }

    /// kubectl's `pods "x" already exists`.
    pub fn already_exists(self, name: &str) -> Error {
        Error::new(Kind::AlreadyExists, format!("{} \"{name}\" already exists", self.plural()))
    }

    fn facts(self) -> Facts {
        let (plural, singular, short, kind) = match self {
            Self::ConfigMaps => ("configmaps", "configmap", "cm", "ConfigMap"),
            Self::Events => ("events", "event", "ev", "Event"),
            Self::Namespaces => ("namespaces", "namespace", "ns", "Namespace"),
            Self::Nodes => ("nodes", "node", "no", "Node"),
            Self::Pods => ("pods", "pod", "po", "Pod"),
            Self::Secrets => ("secrets", "secret", "", "Secret"),
        };
        let namespaced = !matches!(self, Self::Namespaces | Self::Nodes);
        let read_only = matches!(self, Self::Events | Self::Nodes);
        let verbs = if read_only { READ_VERBS } else { ALL_VERBS };
        Facts { plural, singular, short, kind, namespaced, verbs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_by_many_names() {
        let cases = [
            ("po", Some(Resource::Pods)),
            ("Pod", Some(Resource::Pods)),
            ("pods.v1", Some(Resource::Pods)),
            ("pods.v1.", Some(Resource::Pods)),
            ("cm", Some(Resource::ConfigMaps)),
            ("secret", Some(Resource::Secrets)),
            ("ns", Some(Resource::Namespaces)),
            ("pods.v2", None),
            ("deploy", None),
            ("", None),
        ];
        for (word, resource) in cases {
            assert_eq!(Resource::parse(word), resource, "{word:?}");
        }
        assert_eq!(Resource::of("v1", "Secret"), Some(Resource::Secrets));
        assert_eq!(Resource::of("apps/v1", "Pod"), None);
    }
}
