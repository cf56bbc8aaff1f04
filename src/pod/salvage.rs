//! A pod whose files cannot be read, on its way out: what is left says who it is, and no more is
//! needed to end its containers and to remove what it had.

use super::state::PodState;
use super::store::{self, Store, entries};
use super::{Paths, listing};
use crate::error::{Context, Result};
use crate::kube::Pod;
use crate::sys::fs::read_kernel_file;
use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, PodSpec, PodStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;
use std::path::Path;

/// See [`super::Engine::salvage`].
pub fn salvage(paths: &Paths, namespace: &str, name: &str) -> Result<()> {
    let store = Store::new(&paths.lib);
    let dir = store.pod_dir(namespace, name)?;
    if listing::read_pod(&dir).is_ok() {
        return Ok(());
    }
    let locked = store.lock(namespace, name)?;
    let uid = match locked.wanted() {
        Ok(pod) => pod.and_then(|pod| pod.metadata.uid).unwrap_or_default(),
        Err(_) => {
            let status = store::read_status(&dir);
            let mut pod = stub(paths, (namespace, name), status)?;
            locked.put_wanted(&mut pod)?;
            pod.metadata.uid.unwrap_or_default()
        }
    };
    // Without it the monitor finds the containers by what they left below `run`.
    match store.record::<PodState>(&dir, &uid) {
        Ok(_) => Ok(()),
        Err(_) => {
            let path = dir.join("status.json");
            std::fs::remove_file(&path).doing(|| format!("remove {}", path.display()))
        }
    }
}

/// The pod as far as its status tells, or its logs, which are named by its uid.
fn stub(
    paths: &Paths,
    (namespace, name): (&str, &str),
    status: Option<(String, PodStatus)>,
) -> Result<Pod> {
    let (uid, status) = match status {
        Some((uid, status)) => (uid, status),
        None => (uid_of_logs(paths, namespace, name)?, PodStatus::default()),
    };
    let of = |all: Option<Vec<ContainerStatus>>| -> Vec<Container> {
        all.into_iter().flatten().map(container).collect()
    };
    let init = of(status.init_container_statuses);
    let resources = resources(&paths.run.join(&uid))?;
    let mut pod = Pod::default();
    pod.metadata.namespace = Some(namespace.to_owned());
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.uid = Some(uid);
    pod.spec = Some(PodSpec {
        containers: of(status.container_statuses),
        init_containers: (!init.is_empty()).then_some(init),
        resources,
        ..PodSpec::default()
    });
    Ok(pod)
}

fn container(status: ContainerStatus) -> Container {
    Container { name: status.name, image: Some(status.image), ..Container::default() }
}

/// Some of the pod's class, which says where its cgroup is; its bundles tell.
fn resources(run: &Path) -> Result<Option<ResourceRequirements>> {
    let bundles = run.join("bundles");
    let path = entries(&bundles)?.iter().find_map(|bundle| {
        let config = bundles.join(bundle).join("config.json");
        let config: Value = store::read_json(&config).ok()??;
        Some(config.pointer("/linux/cgroupsPath")?.as_str()?.to_owned())
    });
    let some = [("cpu", "1m"), ("memory", "1Mi")]
        .map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())));
    Ok(match path {
        Some(path) if path.contains("/burstable/") => {
            Some(ResourceRequirements { requests: Some(some.into()), ..Default::default() })
        }
        Some(path) if !path.contains("/besteffort/") => {
            Some(ResourceRequirements { limits: Some(some.into()), ..Default::default() })
        }
        _ => None,
    })
}

/// A uid of nobody's where there are no logs: then nothing of the pod ever ran.
fn uid_of_logs(paths: &Paths, namespace: &str, name: &str) -> Result<String> {
    let prefix = format!("{namespace}_{name}_");
    let logs = entries(&paths.logs)?;
    let mut uids = logs.iter().filter_map(|entry| entry.strip_prefix(&prefix));
    match uids.find(|uid| paths.run.join(uid).exists()) {
        Some(uid) => Ok(uid.to_owned()),
        None => read_kernel_file(Path::new("/proc/sys/kernel/random/uuid"))
            .map(|uid| uid.trim().to_owned())
            .doing(|| "make a uid"),
    }
}
