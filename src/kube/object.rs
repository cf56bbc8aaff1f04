//! One object, of any kind.

use super::{Pod, Resource, validate};
use crate::error::{Error, Kind, Result};
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Namespace, NamespaceSpec, NamespaceStatus, Node, Secret,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// `kind: ConfigMap`.
    ConfigMap(Box<ConfigMap>),
    /// `kind: Event`.
    Event(Box<Event>),
    /// `kind: Namespace`.
    Namespace(Box<Namespace>),
    /// `kind: Node`.
    Node(Box<Node>),
    /// `kind: Pod`.
    Pod(Box<Pod>),
    /// `kind: Secret`.
    Secret(Box<Secret>),
}

impl Object {
    /// Its kind.
    pub fn resource(&self) -> Resource {
        match self {
            Self::ConfigMap(_) => Resource::ConfigMaps,
            Self::Event(_) => Resource::Events,
            Self::Namespace(_) => Resource::Namespaces,
            Self::Node(_) => Resource::Nodes,
            Self::Pod(_) => Resource::Pods,
            Self::Secret(_) => Resource::Secrets,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::ConfigMap(object) => &object.metadata,
            Self::Event(object) => &object.metadata,
            Self::Namespace(object) => &object.metadata,
            Self::Node(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
            Self::Secret(object) => &object.metadata,
        }
    }

    /// Its metadata, to change.
    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::ConfigMap(object) => &mut object.metadata,
            Self::Event(object) => &mut object.metadata,
            Self::Namespace(object) => &mut object.metadata,
            Self::Node(object) => &mut object.metadata,
            Self::Pod(object) => &mut object.metadata,
            Self::Secret(object) => &mut object.metadata,
        }
    }

    /// Its name; empty where it has none yet.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// Its namespace; empty where it has none.
    pub fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or_default()
    }

    /// As JSON, fields in the order of their names.
    pub fn to_value(&self) -> Result<Value> {
        let value = match self {
            Self::ConfigMap(object) => serde_json::to_value(object),
            Self::Event(object) => serde_json::to_value(object),
            Self::Namespace(object) => serde_json::to_value(object),
            Self::Node(object) => serde_json::to_value(object),
            Self::Pod(object) => serde_json::to_value(object),
            Self::Secret(object) => serde_json::to_value(object),
        };
        value.map_err(|error| Error::new(Kind::Bug, format!("an object into JSON: {error}")))
    }

    /// Fills in what the API server does before it stores the object; idempotent.
    pub fn set_defaults(&mut self) {
        match self {
            Self::ConfigMap(_) | Self::Event(_) | Self::Node(_) => {}
            Self::Namespace(namespace) => namespace_defaults(namespace),
            Self::Pod(pod) => super::set_defaults(pod),
            Self::Secret(secret) => secret_defaults(secret),
        }
    }

    /// Kubernetes' validation of a defaulted object, in its words.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::ConfigMap(map) => validate::objects::config_map(map),
            // Nobody but runp writes them.
            Self::Event(_) | Self::Node(_) => Ok(()),
            Self::Namespace(namespace) => validate::objects::namespace(namespace),
            Self::Pod(pod) => validate::validate(pod),
            Self::Secret(secret) => validate::objects::secret(secret),
        }
    }

    /// Whether it may take the place of `old`, which is of the same kind; both are defaulted.
    pub fn validate_update(&self, old: &Self) -> Result<()> {
        match (self, old) {
            (Self::ConfigMap(new), Self::ConfigMap(old)) => {
                validate::objects::config_map_update(new, old)
            }
            (Self::Pod(new), Self::Pod(old)) => validate::validate_update(new, old),
            (Self::Secret(new), Self::Secret(old)) => validate::objects::secret_update(new, old),
            _ => Ok(()),
        }
    }
}

fn namespace_defaults(namespace: &mut Namespace) {
    let metadata = &mut namespace.metadata;
    let name = metadata.name.clone().unwrap_or_default();
    metadata.namespace = None;
    let labels = metadata.labels.get_or_insert_default();
    labels.insert("kubernetes.io/metadata.name".to_owned(), name);
    namespace.spec = Some(NamespaceSpec { finalizers: Some(vec!["kubernetes".to_owned()]) });
    let phase = Some("Active".to_owned());
    namespace.status = Some(NamespaceStatus { phase, conditions: None });
}

/// `stringData` is for writing only: it goes into `data`, and wins.
fn secret_defaults(secret: &mut Secret) {
    if let Some(strings) = secret.string_data.take() {
        let data = secret.data.get_or_insert_default();
        for (key, text) in strings {
            data.insert(key, k8s_openapi::ByteString(text.into_bytes()));
        }
    }
    let kind = secret.type_.get_or_insert_default();
    if kind.is_empty() {
        "Opaque".clone_into(kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_data_wins_and_is_gone() {
        let mut secret: Secret = serde_json::from_value(serde_json::json!({
            "data": {"a": "YQ==", "b": "Yg=="}, "stringData": {"b": "new"},
        }))
        .unwrap();
        secret_defaults(&mut secret);
        let expected = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {}, "type": "Opaque",
            "data": {"a": "YQ==", "b": "bmV3"},
        });
        assert_eq!(serde_json::to_value(secret).unwrap(), expected);
    }
}
