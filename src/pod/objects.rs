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

/// What there is of a kind.
#[derive(Default)]
pub struct Listing {
    /// Sorted by namespace and name.
    pub objects: Vec<Object>,
    /// About each that cannot be read.
    pub damaged: Vec<Error>,
}

/// The objects of a kind in one namespace, or in all.
pub fn list(paths: &Paths, resource: Resource, namespace: Option<&str>) -> Result<Listing> {
    let mut all = Listing::default();
    for (namespace, name) in names(paths, resource, namespace)? {
        match get(paths, resource, &namespace, &name) {
            Ok(found) => all.objects.extend(found),
            Err(error) => all.damaged.push(damaged(error, resource, &namespace, &name)),
        }
    }
    Ok(all)
}

/// Namespace and name of each object of a kind, sorted.
pub fn names(
    paths: &Paths,
    resource: Resource,
    namespace: Option<&str>,
) -> Result<Vec<(String, String)>> {
    let top = dir_of(paths, resource);
    if resource == Resource::Namespaces {
        let mut names = in_use(paths)?;
        names.extend(names_in(&top)?);
        return Ok(names.into_iter().map(|name| (String::new(), name)).collect());
    }
    let mut namespaces = match namespace {
        Some(namespace) => vec![namespace.to_owned()],
        None => store::entries(&top)?,
    };
    namespaces.retain(|namespace| store::is_name(namespace));
    let mut all = Vec::new();
    for namespace in namespaces {
        let names = names_in(&top.join(&namespace))?;
        all.extend(names.into_iter().map(|name| (namespace.clone(), name)));
    }
    Ok(all)
}

/// Says how to be rid of an object that cannot be read.
fn damaged(error: Error, resource: Resource, namespace: &str, name: &str) -> Error {
    let kind = resource.singular();
    let (path, option) = match namespace {
        "" => (name.to_owned(), String::new()),
        namespace => (format!("{namespace}/{name}"), format!(" -n {namespace}")),
    };
    error
        .doing(format!("{kind} {path} cannot be read"))
        .hint(format!("`podctl delete {kind} {name}{option} --force` removes it"))
}

/// Puts an empty object in the place of one that cannot be read, so that it can be deleted.
pub fn salvage(paths: &Paths, resource: Resource, namespace: &str, name: &str) -> Result<()> {
    if get(paths, resource, namespace, name).is_ok() {
        return Ok(());
    }
    let mut object = match resource {
        Resource::ConfigMaps => Object::ConfigMap(Box::default()),
        Resource::Secrets => Object::Secret(Box::default()),
        _ => Object::Namespace(Box::default()),
    };
    object.metadata_mut().name = Some(name.to_owned());
    let namespace = Some(namespace).filter(|_| resource.namespaced());
    object.metadata_mut().namespace = namespace.map(str::to_owned);
    put(&lock(paths, resource, namespace.unwrap_or_default(), name)?, &mut object)
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
        let names = |kind, namespace| {
            let all = list(&paths, kind, namespace).unwrap();
            let names: Vec<_> = all.objects.iter().map(|it| it.name().to_owned()).collect();
            (names.join(" "), all.damaged.len())
        };
        assert_eq!(names(kind, None), ("x y".into(), 0));
        assert_eq!(names(kind, Some("b")), (String::new(), 0));
        assert!(config_map(&paths, "a", "x").unwrap().unwrap().data.is_some());
        assert_eq!(names(Resource::Namespaces, None), ("a default".into(), 0));
        std::fs::write(paths.lib.join("objects/configmaps/a/x.json"), "{").unwrap();
        assert_eq!(names(kind, None), ("y".into(), 1), "hinders no other");
        salvage(&paths, kind, "a", "x").unwrap();
        assert_eq!(names(kind, None), ("x y".into(), 0));
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
