//! The files of the volumes that are made of objects: ConfigMaps, Secrets, the pod itself. Pure.

use crate::error::{Error, Result};
use crate::kube::Pod;
use crate::pod::references::Objects;
use crate::pod::translate::downward::{self, Node};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, Secret, Volume,
};
use std::collections::BTreeMap;

/// A file below the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What it holds.
    pub content: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

/// Files by their path, which is relative and has no `..`.
pub type Files = BTreeMap<String, File>;

/// 0644, where the manifest says nothing.
const MODE: i32 = 0o644;

/// The files of `volume`; `None` if it is not made of files. The errors are the kubelet's.
pub fn files(volume: &Volume, pod: &Pod, objects: &Objects, node: &Node) -> Result<Option<Files>> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let map = objects.config_map(&source.name, source.optional)?;
        let wanted = Wanted::new(source.items.as_deref(), source.default_mode, source.optional);
        wanted.of_map(map, &mut files)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let secret = objects.secret(name, source.optional)?;
        let wanted = Wanted::new(source.items.as_deref(), source.default_mode, source.optional);
        wanted.of_secret(secret, &mut files)?;
    } else if let Some(source) = &volume.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        downward_files(items, source.default_mode, (pod, node), &mut files)?;
    } else if let Some(source) = &volume.projected {
        projected(source, (pod, node), objects, &mut files)?;
    } else {
        return Ok(None);
    }
    Ok(Some(files))
}

/// Which keys of an object become files.
struct Wanted<'a> {
    items: &'a [KeyToPath],
    mode: Option<i32>,
    optional: Option<bool>,
}

impl<'a> Wanted<'a> {
    fn new(items: Option<&'a [KeyToPath]>, mode: Option<i32>, optional: Option<bool>) -> Self {
        Self { items: items.unwrap_or_default(), mode, optional }
    }

    fn of_map(&self, map: Option<&ConfigMap>, into: &mut Files) -> Result<()> {
        let Some(map) = map else { return Ok(()) };
        let mut data: BTreeMap<&str, &[u8]> = BTreeMap::new();
        data.extend(map.binary_data.iter().flatten().map(|(key, it)| (key.as_str(), &it.0[..])));
        data.extend(map.data.iter().flatten().map(|(key, it)| (key.as_str(), it.as_bytes())));
        self.choose(&data, into, |key| {
            format!("configmap references non-existent config key: {key}")
        })
    }

    fn of_secret(&self, secret: Option<&Secret>, into: &mut Files) -> Result<()> {
        let Some(secret) = secret else { return Ok(()) };
        let bytes = |(key, it): (&'_ String, &'_ ByteString)| (key.clone(), it.0.clone());
        let data: BTreeMap<String, Vec<u8>> = secret.data.iter().flatten().map(bytes).collect();
        let data = data.iter().map(|(key, it)| (key.as_str(), it.as_slice())).collect();
        self.choose(&data, into, |key| format!("references non-existent secret key: {key}"))
    }

    fn choose(
        &self,
        data: &BTreeMap<&str, &[u8]>,
        into: &mut Files,
        missing: impl Fn(&str) -> String,
    ) -> Result<()> {
        if self.items.is_empty() {
            let file = |content: &[u8]| File { content: content.to_vec(), mode: bits(self.mode) };
            into.extend(data.iter().map(|(key, content)| ((*key).to_owned(), file(content))));
        }
        for item in self.items {
            match data.get(item.key.as_str()) {
                Some(content) => {
                    let mode = bits(item.mode.or(self.mode));
                    into.insert(item.path.clone(), File { content: content.to_vec(), mode });
                }
                None if self.optional == Some(true) => {}
                None => return Err(Error::user(missing(&item.key))),
            }
        }
        Ok(())
    }
}

fn bits(mode: Option<i32>) -> u32 {
    mode.unwrap_or(MODE).unsigned_abs() & 0o777
}

fn downward_files(
    items: &[DownwardAPIVolumeFile],
    mode: Option<i32>,
    (pod, node): (&Pod, &Node),
    into: &mut Files,
) -> Result<()> {
    for item in items {
        let text = if let Some(source) = &item.field_ref {
            downward::field(pod, &source.field_path, None, node)?
        } else if let Some(source) = &item.resource_field_ref {
            downward::resource(pod, None, source, node)?
        } else {
            continue;
        };
        let mode = bits(item.mode.or(mode));
        into.insert(item.path.clone(), File { content: text.into_bytes(), mode });
    }
    Ok(())
}

/// A later source takes the place of an earlier one; what is wrong is said of all at once.
fn projected(
    volume: &ProjectedVolumeSource,
    (pod, node): (&Pod, &Node),
    objects: &Objects,
    into: &mut Files,
) -> Result<()> {
    let mode = volume.default_mode;
    let mut errors = Vec::new();
    for source in volume.sources.iter().flatten() {
        let done = if let Some(it) = &source.secret {
            let wanted = Wanted::new(it.items.as_deref(), mode, it.optional);
            let secret = objects.secret(&it.name, it.optional);
            secret.and_then(|secret| wanted.of_secret(secret, into))
        } else if let Some(it) = &source.config_map {
            let wanted = Wanted::new(it.items.as_deref(), mode, it.optional);
            let map = objects.config_map(&it.name, it.optional);
            map.and_then(|map| wanted.of_map(map, into))
        } else if let Some(it) = &source.downward_api {
            downward_files(it.items.as_deref().unwrap_or_default(), mode, (pod, node), into)
        } else {
            Ok(())
        };
        errors.extend(done.err().map(|error| error.to_string()));
    }
    match errors.as_slice() {
        [] => Ok(()),
        [error] => Err(Error::user(error)),
        errors => Err(Error::user(format!("[{}]", errors.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn made(source: Value) -> Result<Vec<String>> {
        let mut objects = Objects { namespace: "ns".into(), ..Objects::default() };
        let map = json!({"data": {"a": "1"}, "binaryData": {"b": "AAE="}});
        objects.config_maps.insert("cm".into(), serde_json::from_value(map).unwrap());
        let secret = json!({"data": {"pw": "eA=="}});
        objects.secrets.insert("s".into(), serde_json::from_value(secret).unwrap());
        let pod =
            json!({"metadata": {"name": "web", "labels": {"l": "v"}}, "spec": {"containers": []}});
        let pod = serde_json::from_value(pod).unwrap();
        let mut volume = json!({"name": "v"});
        volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        let volume = serde_json::from_value(volume).unwrap();
        let files = files(&volume, &pod, &objects, &Node::default())?.unwrap();
        let line = |(path, file): (&String, &File)| {
            format!("{path} {:o} {}", file.mode, String::from_utf8_lossy(&file.content))
        };
        Ok(files.iter().map(line).collect())
    }

    #[test]
    fn objects_become_files() {
        let all = made(json!({"configMap": {"name": "cm"}})).unwrap();
        assert_eq!(all, ["a 644 1", "b 644 \0\u{1}"]);
        let items = json!([{"key": "pw", "path": "deep/p", "mode": 0o400}]);
        let some = json!({"secret": {"secretName": "s", "items": items, "defaultMode": 0o600}});
        assert_eq!(made(some).unwrap(), ["deep/p 400 x"]);
        let field = json!({"fieldPath": "metadata.labels"});
        let sources = json!([
            {"configMap": {"name": "cm", "items": [{"key": "a", "path": "x"}]}},
            {"secret": {"name": "s", "items": [{"key": "pw", "path": "x"}]}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": field}]}},
            {"configMap": {"name": "none", "optional": true}},
        ]);
        let projected = json!({"projected": {"sources": sources, "defaultMode": 0o440}});
        assert_eq!(made(projected).unwrap(), ["labels 440 l=\"v\"", "x 440 x"]);
    }

    #[test]
    fn what_is_missing_is_named_as_the_kubelet_does() {
        let item = json!([{"key": "k", "path": "k"}]);
        let sources = json!([{"secret": {"name": "no"}}, {"configMap": {"name": "no"}}]);
        for (source, expected) in [
            (json!({"configMap": {"name": "no"}}), "configmap \"no\" not found"),
            (json!({"secret": {"secretName": "no"}}), "secret \"no\" not found"),
            (
                json!({"configMap": {"name": "cm", "items": item}}),
                "configmap references non-existent config key: k",
            ),
            (
                json!({"secret": {"secretName": "s", "items": item}}),
                "references non-existent secret key: k",
            ),
            (
                json!({"projected": {"sources": sources}}),
                "[secret \"no\" not found, configmap \"no\" not found]",
            ),
        ] {
            assert_eq!(made(source).unwrap_err().to_string(), expected);
        }
        let optional = json!({"configMap": {"name": "cm", "items": item, "optional": true}});
        assert_eq!(made(optional).unwrap(), [""; 0]);
    }
}
