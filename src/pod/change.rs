//! One object changed, while nobody else changes it: `apply`, `create`, `replace`, `patch`, `edit`,
//! `label` and `annotate` differ in what they make of the stored object, and in nothing else.

use super::apply::Settings;
use super::store::{self, Locked, Store};
use super::{Applied, Commit, Config, Key, listing, lock, objects, refresh};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::{Object, Pod, Resource};
use crate::sys::fs::read_kernel_file;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::path::Path;

/// Makes the wanted object of the stored one, if there is one.
pub type Decide<'a> = &'a mut dyn FnMut(Option<&Object>) -> Result<Object>;

/// See [`super::Engine::change`].
pub fn change(
    config: &Config,
    key: &Key,
    commit: Commit,
    decide: Decide<'_>,
) -> Result<(Applied, Object)> {
    if key.name.is_empty() {
        return Err(Error::user("resource name may not be empty"));
    }
    if !store::is_name(&key.name) {
        // There is none of that name, and validation says why there cannot be.
        next(config, None, decide)?;
        return Err(key.resource.not_found(&key.name));
    }
    match (key.resource, commit) {
        (Resource::Pods, Commit::Check) => {
            let dir = Store::new(&config.paths.lib).pod_dir(&key.namespace, &key.name)?;
            next(config, listing::read_pod(&dir)?.map(of_pod), decide)
        }
        (Resource::Pods, Commit::Store) => change_pod(config, key, decide),
        (resource, Commit::Check) => {
            next(config, objects::get(&config.paths, resource, &key.namespace, &key.name)?, decide)
        }
        (_, Commit::Store) => change_object(config, key, decide),
    }
}

fn of_pod(pod: Pod) -> Object {
    Object::Pod(Box::new(pod))
}

fn change_pod(config: &Config, key: &Key, decide: Decide<'_>) -> Result<(Applied, Object)> {
    let locked = Store::new(&config.paths.lib).lock(&key.namespace, &key.name)?;
    let (applied, pod) = match store_pod(&locked, config, decide) {
        Ok(stored) => stored,
        Err(error) => {
            locked.abandon()?;
            return Err(error);
        }
    };
    drop(locked);
    lock::tell_monitor(&config.paths, &pod)?;
    if applied == Applied::Configured {
        refresh::pod_changed(config, &pod)?;
    }
    Ok((applied, of_pod(pod)))
}

fn store_pod(locked: &Locked, config: &Config, decide: Decide<'_>) -> Result<(Applied, Pod)> {
    let stored = listing::read_pod(locked.dir())?.map(of_pod);
    let (applied, Object::Pod(mut pod)) = next(config, stored, decide)? else {
        return Err(Error::new(Kind::Bug, "a pod became something else"));
    };
    if applied == Applied::Created {
        Settings::keep(locked.dir(), config)?;
    }
    if applied != Applied::Unchanged {
        let status = pod.status.take();
        locked.put_wanted(&mut pod)?;
        pod.status = status;
    }
    Ok((applied, *pod))
}

fn change_object(config: &Config, key: &Key, decide: Decide<'_>) -> Result<(Applied, Object)> {
    let paths = &config.paths;
    let locked = objects::lock(paths, key.resource, &key.namespace, &key.name)?;
    let stored = objects::get(paths, key.resource, &key.namespace, &key.name)?;
    let changed = next(config, stored, decide).and_then(|(applied, mut object)| {
        if applied != Applied::Unchanged {
            objects::put(&locked, &mut object)?;
        }
        Ok((applied, object))
    });
    match &changed {
        Err(_) => objects::tidy(paths, locked)?,
        Ok((Applied::Unchanged, _)) => {}
        Ok(_) => {
            drop(locked);
            refresh::object_changed(config, key.resource, &key.namespace, &key.name)?;
        }
    }
    changed
}

/// The object to store in the place of `stored`.
fn next(config: &Config, stored: Option<Object>, decide: Decide<'_>) -> Result<(Applied, Object)> {
    let mut new = decide(stored.as_ref())?;
    new.set_defaults();
    let Some(stored) = stored else {
        new.validate()?;
        new.metadata_mut().resource_version = None;
        created(&mut new, config)?;
        return Ok((Applied::Created, new));
    };
    keep(&mut new, &stored)?;
    new.validate()?;
    new.validate_update(&stored)?;
    if new == stored {
        return Ok((Applied::Unchanged, new));
    }
    if let (Object::Pod(new), Object::Pod(stored)) = (&mut new, &stored)
        && new.spec != stored.spec
    {
        new.metadata.generation = stored.metadata.generation.map(|generation| generation + 1);
    }
    Ok((Applied::Configured, new))
}

/// What only the server sets stays as it is. A resource version that was given must be the stored
/// one: somebody else has changed the object otherwise.
fn keep(new: &mut Object, stored: &Object) -> Result<()> {
    let old = stored.metadata();
    if let Some(version) = &new.metadata().resource_version
        && Some(version) != old.resource_version.as_ref()
    {
        let (kind, name) = (stored.resource().plural(), stored.name());
        return Err(Error::new(
            Kind::Conflict,
            format!(
                "Operation cannot be fulfilled on {kind} \"{name}\": the object has been modified; \
                 please apply your changes to the latest version and try again"
            ),
        ));
    }
    if new.name() != stored.name() || new.namespace() != stored.namespace() {
        let (given, name) = (new.name(), stored.name());
        return Err(Error::new(
            Kind::BadRequest,
            format!("the name of the object ({given}) does not match the name on the URL ({name})"),
        ));
    }
    let metadata = new.metadata_mut();
    metadata.uid.clone_from(&old.uid);
    metadata.creation_timestamp.clone_from(&old.creation_timestamp);
    metadata.deletion_timestamp.clone_from(&old.deletion_timestamp);
    metadata.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    metadata.generation = old.generation;
    metadata.resource_version.clone_from(&old.resource_version);
    if let (Object::Pod(new), Object::Pod(old)) = (new, stored) {
        new.status.clone_from(&old.status);
        if let (Some(new), Some(old)) = (&mut new.spec, &old.spec) {
            new.node_name.clone_from(&old.node_name);
            new.ephemeral_containers.clone_from(&old.ephemeral_containers);
        }
    }
    Ok(())
}

fn created(object: &mut Object, config: &Config) -> Result<()> {
    let uid = read_kernel_file(Path::new("/proc/sys/kernel/random/uuid"));
    let metadata = object.metadata_mut();
    metadata.uid = Some(uid.doing(|| "make an object's uid")?.trim().to_owned());
    metadata.creation_timestamp = Some(Time(Timestamp::now()));
    if let Object::Pod(pod) = object {
        if pod.spec.iter().flat_map(|spec| &spec.ephemeral_containers).any(|all| !all.is_empty()) {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let cause = "spec.ephemeralContainers: Forbidden: cannot be set on create";
            let story = format!("The Pod \"{name}\" is invalid: {cause}");
            return Err(Error::new(Kind::Invalid, story));
        }
        pod.metadata.generation = Some(1);
        if let Some(spec) = &mut pod.spec {
            spec.node_name = Some(config.node.clone());
        }
    }
    Ok(())
}
