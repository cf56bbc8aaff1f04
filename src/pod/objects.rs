//! The objects that are not pods: config maps, secrets and namespaces, one JSON file each,
//! `<lib>/objects/<plural>/<namespace>/<name>.json`, and `<lib>/objects/namespaces/<name>.json`.
//!
//! Written by podctl's commands only, each under the lock of the directory that holds the file;
//! every write replaces a whole file, so that readers, monitors among them, take no lock.
//! A namespace exists when it is used, `default` always: [`list`] shows those without a file too.

use super::Paths;
use super::store::{self, Locked, Store};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::{Object, Resource};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// One object; `None` where there is none.
pub fn get(
    paths: &Paths,
    resource: Resource,
    namespace: &str,
    name: &str,
) -> Result<Option<Object>> {
    let Some(file) = file(paths, resource, namespace, name) else { return Ok(None) };
    let found = read(resource, &file)?;
    if found.is_none() && resource == Resource::Namespaces && in_use(paths)?.contains(name) {
        return Ok(Some(implied(paths, name)));
    }
    Ok(found)
}

/// The config map, for env and volumes.
pub fn config_map(paths: &Paths, namespace: &str, name: &str) -> Result<Option<ConfigMap>> {
    let file = file(paths, Resource::ConfigMaps, namespace, name);
    file.map_or(Ok(None), |file| store::read_json(&file))
}

/// The secret, for env, volumes and pulling images.
pub fn secret(paths: &Paths, namespace: &str, name: &str) -> Result<Option<Secret>> {
    let file = file(paths, Resource::Secrets, namespace, name);
    file.map_or(Ok(None), |file| store::read_json(&file))
}

/// The objects of a kind in one namespace, or in all, sorted by namespace and name.
pub fn list(paths: &Paths, resource: Resource, namespace: Option<&str>) -> Result<Vec<Object>> {
    let top = dir_of(paths, resource);
    if resource == Resource::Namespaces {
        let mut names = in_use(paths)?;
        names.extend(names_in(&top)?);
        let found = names.iter().map(|name| get(paths, resource, "", name));
        return found.filter_map(Result::transpose).collect();
    }
    let namespaces = match namespace {
        Some(namespace) => vec![namespace.to_owned()],
        None => store::entries(&top)?,
    };
    let mut found = Vec::new();
    for namespace in namespaces.iter().filter(|namespace| store::is_name(namespace)) {
        for name in names_in(&top.join(namespace))? {
            found.extend(get(paths, resource, namespace, &name)?);
        }
    }
    Ok(found)
}

/// Locks the place of an object, made if missing, for [`put`] and [`remove`].
pub fn lock(paths: &Paths, resource: Resource, namespace: &str, name: &str) -> Result<Locked> {
    let file = file(paths, resource, namespace, name).ok_or_else(|| resource.not_found(name))?;
    store::lock_made(file.parent().unwrap_or(&paths.lib))
}

/// Stores `object` in the place of what `locked` guards.
pub fn put(locked: &Locked, object: &mut Object) -> Result<()> {
    let version = object.metadata().resource_version.as_deref();
    let old = version.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    object.metadata_mut().resource_version = Some(store::now_version().max(old + 1).to_string());
    let file = locked.dir().join(format!("{}.json", object.name()));
    store::write_json(&file, &object.to_value()?)
}

/// Removes an object, and the directories that are empty then; false where there was none.
pub fn remove(paths: &Paths, resource: Resource, namespace: &str, name: &str) -> Result<bool> {
    let Some(file) = file(paths, resource, namespace, name) else { return Ok(false) };
    if !file.try_exists().doing(|| format!("look at {}", file.display()))? {
        return Ok(false);
    }
    let locked = lock(paths, resource, namespace, name)?;
    let removed = match std::fs::remove_file(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        removed => removed.doing(|| format!("remove {}", file.display())).map(|()| true)?,
    };
    tidy(paths, locked)?;
    Ok(removed)
}

/// Removes what [`lock`] made and nobody uses.
pub fn tidy(paths: &Paths, locked: Locked) -> Result<()> {
    let top = paths.lib.join("objects");
    let emptied = locked.dir().ancestors().take_while(|dir| dir.starts_with(&top));
    for dir in emptied {
        match std::fs::remove_dir(dir) {
            Err(error) if store::is_in_use(&error) => break,
            removed => removed.doing(|| format!("remove the emptied {}", dir.display()))?,
        }
    }
    Ok(())
}

/// The object that a file of the store holds.
fn read(resource: Resource, file: &Path) -> Result<Option<Object>> {
    Ok(match resource {
        Resource::ConfigMaps => {
            store::read_json(file)?.map(|object| Object::ConfigMap(Box::new(object)))
        }
        Resource::Namespaces => {
            store::read_json(file)?.map(|object| Object::Namespace(Box::new(object)))
        }
        Resource::Secrets => store::read_json(file)?.map(|object| Object::Secret(Box::new(object))),
        Resource::Pods | Resource::Events | Resource::Nodes => {
            return Err(Error::new(Kind::Bug, format!("{} are kept elsewhere", resource.plural())));
        }
    })
}

fn dir_of(paths: &Paths, resource: Resource) -> PathBuf {
    paths.lib.join("objects").join(resource.plural())
}

/// Names that could lead elsewhere are of no object.
fn file(paths: &Paths, resource: Resource, namespace: &str, name: &str) -> Option<PathBuf> {
    let mut dir = dir_of(paths, resource);
    if resource.namespaced() {
        dir.push(Some(namespace).filter(|namespace| store::is_name(namespace))?);
    }
    store::is_name(name).then(|| dir.join(format!("{name}.json")))
}

/// The objects with a file in `dir`; one that is being written has another ending.
fn names_in(dir: &Path) -> Result<Vec<String>> {
    let entries = store::entries(dir)?.into_iter();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.strip_suffix(".json").map(str::to_owned)).collect();
    names.retain(|name| store::is_name(name));
    names.sort_unstable();
    Ok(names)
}

/// The namespaces that are there without having been made.
fn in_use(paths: &Paths) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::from(["default".to_owned()]);
    names.extend(Store::new(&paths.lib).namespaces()?);
    for resource in [Resource::ConfigMaps, Resource::Secrets] {
        names.extend(store::entries(&dir_of(paths, resource))?);
    }
    names.retain(|name| store::is_name(name));
    Ok(names)
}

/// A namespace that nobody made: as old as what is in it.
fn implied(paths: &Paths, name: &str) -> Object {
    let dirs = [
        Store::new(&paths.lib).dir.join(name),
        dir_of(paths, Resource::ConfigMaps).join(name),
        dir_of(paths, Resource::Secrets).join(name),
        paths.lib.clone(),
    ];
    let made = dirs.iter().find_map(|dir| std::fs::metadata(dir).ok()?.created().ok());
    let made = made.and_then(|made| Timestamp::try_from(made).ok());
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    namespace.metadata.creation_timestamp = made.map(Time);
    let mut namespace = Object::Namespace(Box::new(namespace));
    namespace.set_defaults();
    namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(name: &str) -> Object {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        map.metadata.namespace = Some("a".to_owned());
        map.data = Some([("k".to_owned(), "v".to_owned())].into());
        Object::ConfigMap(Box::new(map))
    }

    #[test]
    fn objects_come_and_go_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let kind = Resource::ConfigMaps;
        assert_eq!(get(&paths, kind, "a", "x").unwrap(), None);
        assert!(!remove(&paths, kind, "a", "x").unwrap());
        for name in ["y", "x"] {
            let locked = lock(&paths, kind, "a", name).unwrap();
            put(&locked, &mut map(name)).unwrap();
        }
        let found = list(&paths, kind, None).unwrap();
        assert_eq!(found.iter().map(Object::name).collect::<Vec<_>>(), ["x", "y"]);
        assert!(list(&paths, kind, Some("b")).unwrap().is_empty());
        assert!(config_map(&paths, "a", "x").unwrap().unwrap().data.is_some());
        let namespaces = list(&paths, Resource::Namespaces, None).unwrap();
        assert_eq!(namespaces.iter().map(Object::name).collect::<Vec<_>>(), ["a", "default"]);
        assert!(remove(&paths, kind, "a", "x").unwrap() && remove(&paths, kind, "a", "y").unwrap());
        assert_eq!(std::fs::read_dir(&paths.lib).unwrap().count(), 0);
    }

    #[test]
    fn a_name_never_leads_elsewhere() {
        let paths = Paths::below(Path::new("/nowhere"));
        for bad in ["", "..", "../x", "a/b", ".a"] {
            assert_eq!(get(&paths, Resource::Secrets, "default", bad).unwrap(), None, "{bad}");
            assert_eq!(get(&paths, Resource::Secrets, bad, "a").unwrap(), None, "{bad}");
        }
    }
}
