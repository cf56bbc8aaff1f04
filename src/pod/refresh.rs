//! Volumes follow the objects that they are made of: whoever stores a changed ConfigMap, Secret or
//! pod brings the volumes up to date, at once. (The kubelet notices within about a minute.)

use super::Config;
use super::effects::{Place, inputs};
use super::references::Names;
use super::store::Store;
use crate::error::{Context, Result};
use crate::kube::{Pod, Resource};

/// After a change of a ConfigMap or Secret: the pods of its namespace that have it in a volume.
pub fn object_changed(
    config: &Config,
    resource: Resource,
    namespace: &str,
    name: &str,
) -> Result<()> {
    if !matches!(resource, Resource::ConfigMaps | Resource::Secrets) {
        return Ok(());
    }
    let mut refreshed = Ok(());
    for pod in Store::new(&config.paths.lib).list(Some(namespace))? {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref());
        let names = Names::of_volumes(volumes.unwrap_or_default());
        let used = match resource {
            Resource::Secrets => names.secrets.contains(name),
            _ => names.config_maps.contains(name),
        };
        if used {
            refreshed = refreshed.and(pod_changed(config, &pod));
        }
    }
    refreshed
}

/// After a change of a pod: its own volumes, whose files may hold its labels.
pub fn pod_changed(config: &Config, pod: &Pod) -> Result<()> {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let meta = &pod.metadata;
    let (namespace, name, uid) = (part(&meta.namespace), part(&meta.name), part(&meta.uid));
    let dir = Store::new(&config.paths.lib).pod_dir(&namespace, &name)?;
    let run = config.paths.run.join(&uid);
    let place = Place { config: config.clone(), pod: pod.clone(), uid, dir, run };
    inputs::refresh_volumes(&place).doing(|| format!("update the volumes of pod {name}"))
}
