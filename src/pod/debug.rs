//! Ephemeral containers: added to a pod that runs, for debugging it.

use super::store::Store;
use super::{Config, lock};
use crate::error::{Error, Kind, Result};
use crate::kube::defaults::set_ephemeral_defaults;
use crate::kube::{Pod, roster};
use k8s_openapi::api::core::v1::EphemeralContainer;

/// See [`super::Engine::add_ephemeral`].
pub fn add_ephemeral(
    config: &Config,
    (namespace, name): (&str, &str),
    mut container: EphemeralContainer,
) -> Result<Pod> {
    let store = Store::new(&config.paths.lib);
    let (locked, mut pod) = store.lock_existing(namespace, name)?;
    set_ephemeral_defaults(&mut container);
    check(&pod, &container)?;
    pod.metadata.generation = pod.metadata.generation.map(|generation| generation + 1);
    let spec = pod.spec.get_or_insert_default();
    spec.ephemeral_containers.get_or_insert_default().push(container);
    locked.put_wanted(&mut pod)?;
    drop(locked);
    lock::tell_monitor(&config.paths, &pod)?;
    Ok(pod)
}

/// What the API server refuses.
fn check(pod: &Pod, container: &EphemeralContainer) -> Result<()> {
    let spec = pod.spec.as_ref();
    let at = spec.and_then(|spec| spec.ephemeral_containers.as_ref()).map_or(0, Vec::len);
    let path = format!("spec.ephemeralContainers[{at}]");
    let name = &container.name;
    let target = container.target_container_name.as_deref().filter(|target| !target.is_empty());
    let is_there = |name: &str| {
        let found = roster::find(pod, name);
        found.is_some_and(|(role, _)| role == roster::Role::Regular)
    };
    let cause = if name.is_empty() {
        format!("{path}.name: Required value")
    } else if roster::find(pod, name).is_some() {
        format!("{path}.name: Duplicate value: {name:?}")
    } else if container.image.as_ref().is_none_or(String::is_empty) {
        format!("{path}.image: Required value")
    } else if let Some(target) = target.filter(|target| !is_there(target)) {
        format!("{path}.targetContainerName: Not found: {target:?}")
    } else {
        return Ok(());
    };
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    Err(Error::new(Kind::Invalid, format!("The Pod \"{pod}\" is invalid: {cause}")))
}
