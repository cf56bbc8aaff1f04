//! The ConfigMaps and Secrets that a pod refers to: which they are, and what they hold. One that is
//! not there is an error only where something of it is asked for, in the kubelet's words.

use super::{Paths, objects};
use crate::error::{Error, Kind, Result};
use crate::kube::Pod;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret, Volume};
use std::collections::{BTreeMap, BTreeSet};

/// Names of objects in the pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Of ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Of Secrets.
    pub secrets: BTreeSet<String>,
}

/// The objects, as far as they are there.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// By name.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
    /// The namespace they are of.
    pub namespace: String,
}

impl Names {
    /// What the environment of `container` refers to.
    pub fn of_container(container: &Container) -> Self {
        let mut names = Self::default();
        for source in container.env_from.iter().flatten() {
            names.config_maps.extend(source.config_map_ref.iter().map(|it| it.name.clone()));
            names.secrets.extend(source.secret_ref.iter().map(|it| it.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|it| it.value_from.as_ref()) {
            names.config_maps.extend(source.config_map_key_ref.iter().map(|it| it.name.clone()));
            names.secrets.extend(source.secret_key_ref.iter().map(|it| it.name.clone()));
        }
        names
    }

    /// What `volumes` are made of.
    pub fn of_volumes(volumes: &[Volume]) -> Self {
        let mut names = Self::default();
        for volume in volumes {
            names.config_maps.extend(volume.config_map.iter().map(|it| it.name.clone()));
            let secret = volume.secret.as_ref().and_then(|it| it.secret_name.clone());
            names.secrets.extend(secret);
            let sources = volume.projected.iter().flat_map(|it| it.sources.iter().flatten());
            for source in sources {
                names.config_maps.extend(source.config_map.iter().map(|it| it.name.clone()));
                names.secrets.extend(source.secret.iter().map(|it| it.name.clone()));
            }
        }
        names
    }
}

impl Objects {
    /// Reads those of `names` that are there, in the namespace of `pod`.
    pub fn read(paths: &Paths, pod: &Pod, names: &Names) -> Result<Self> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let mut found = Self { namespace, ..Self::default() };
        for name in &names.config_maps {
            let map = objects::config_map(paths, &found.namespace, name)?;
            found.config_maps.extend(map.map(|map| (name.clone(), map)));
        }
        for name in &names.secrets {
            let secret = objects::secret(paths, &found.namespace, name)?;
            found.secrets.extend(secret.map(|secret| (name.clone(), secret)));
        }
        Ok(found)
    }

    /// A ConfigMap; `None` if it is not there and need not be.
    pub fn config_map(&self, name: &str, optional: Option<bool>) -> Result<Option<&ConfigMap>> {
        found(self.config_maps.get(name), optional, || format!("configmap {name:?} not found"))
    }

    /// A Secret; `None` if it is not there and need not be.
    pub fn secret(&self, name: &str, optional: Option<bool>) -> Result<Option<&Secret>> {
        found(self.secrets.get(name), optional, || format!("secret {name:?} not found"))
    }
}

/// What is there, or need not be.
pub fn found<T>(
    it: Option<T>,
    optional: Option<bool>,
    missing: impl FnOnce() -> String,
) -> Result<Option<T>> {
    match it {
        None if optional != Some(true) => Err(Error::new(Kind::User, missing())),
        it => Ok(it),
    }
}
