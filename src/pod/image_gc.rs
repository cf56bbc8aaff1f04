//! Images that no pod uses, and which of them go when the disk is full, as with the kubelet
//! (pkg/kubelet/images/image_gc_manager.go): down to a threshold, what was not used for longest
//! first.
//!
//! The kubelet looks every five minutes. There is no daemon here that could: a pod's pull looks,
//! after which the disk may be fuller ([`after_pull`]), and `podctl gc` does when told. Nothing goes
//! by itself that a registry might not give again.

use super::Config;
use super::listing::{self, Detail};
use super::store::Store;
use crate::error::{Error, Result};
use crate::image::{self, Disk, Image, Reference};
use crate::kube::Pod;
use std::time::{Duration, SystemTime};

/// How full the disk may be.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Percent; nothing happens below.
    pub high: u64,
    /// Percent; where it ends.
    pub low: u64,
    /// What was used since so long ago stays, and what is younger.
    pub age: Duration,
}

impl Default for Thresholds {
    /// The kubelet's.
    fn default() -> Self {
        Self { high: 85, low: 80, age: Duration::from_secs(120) }
    }
}

/// What is to be done, before anything is.
#[derive(Debug)]
pub struct Choice {
    /// The images that go, in their order.
    pub images: Vec<Image>,
    /// Bytes that the disk needs.
    pub wanted: u64,
    /// Bytes that go with the images.
    pub found: u64,
}

/// Which images go, of those that `may` go; `None` if the disk is not as full as that.
pub fn choose(
    config: &Config,
    images: &image::Store,
    (thresholds, may): (Thresholds, impl Fn(&Image) -> bool),
) -> Result<Option<Choice>> {
    let disk = images.disk()?;
    if used_percent(disk) < thresholds.high {
        return Ok(None);
    }
    let wanted = to_free(disk, thresholds.low);
    let mut choice = Choice { images: Vec::new(), wanted, found: 0 };
    let mut removals = images.removals()?;
    for image in oldest_first(config, images, thresholds.age)?.into_iter().filter(may) {
        if choice.found >= wanted {
            break;
        }
        choice.found += removals.add(&image)?;
        choice.images.push(image);
    }
    Ok(Some(choice))
}

/// Makes room at the kubelet's thresholds, of images that came from registries alone. The one just
/// pulled is in use already, by the pod that wanted it.
pub fn after_pull(config: &Config, images: &image::Store) -> Result<()> {
    let chosen = choose(config, images, (Thresholds::default(), |image| image.is_pulled))?;
    let chosen = chosen.map(|choice| choice.images).unwrap_or_default();
    chosen.iter().try_for_each(|image| remove(config, images, image))
}

/// Removes an image that no pod uses.
pub fn remove(config: &Config, images: &image::Store, image: &Image) -> Result<()> {
    let unused = || {
        let users = users(&pods(config)?, image);
        if users.is_empty() {
            return Ok(());
        }
        let name = image.names.first().unwrap_or(&image.id);
        let what = format!("image {name} is in use by {}", users.join(", "));
        Err(Error::user(what).hint("delete the pods first"))
    };
    unused()?;
    // Again: a pod may just have been applied.
    images.remove_unused(&image.manifest, unused).map(drop)
}

/// The images that no pod uses.
pub fn unused(config: &Config, images: &image::Store) -> Result<Vec<Image>> {
    let pods = pods(config)?;
    let mut all = images.list()?;
    all.retain(|image| users(&pods, image).is_empty());
    Ok(all)
}

/// One that cannot be read might use any image.
fn pods(config: &Config) -> Result<Vec<Pod>> {
    let store = Store::new(&config.paths.lib);
    let mut all = listing::list(&store, None, Detail::All, &|pod| pod)?;
    all.damaged.pop().map_or(Ok(all.pods), Err)
}

/// Unused images that were used before `age` ago, the longest ago first.
fn oldest_first(config: &Config, images: &image::Store, age: Duration) -> Result<Vec<Image>> {
    let now = SystemTime::now();
    let mut old: Vec<(SystemTime, Image)> = Vec::new();
    for image in unused(config, images)? {
        let used = images.last_used(&image)?;
        if now.duration_since(used).unwrap_or_default() >= age {
            old.push((used, image));
        }
    }
    old.sort_by_key(|(used, image)| (*used, image.loaded));
    Ok(old.into_iter().map(|(_, image)| image).collect())
}

/// How full the disk is, in percent.
pub fn used_percent(disk: Disk) -> u64 {
    let available = u128::from(disk.available) * 100 / u128::from(disk.capacity.max(1));
    100_u64.saturating_sub(u64::try_from(available).unwrap_or(100))
}

/// How much has to go until only `low` percent are used.
fn to_free(disk: Disk, low: u64) -> u64 {
    let wanted = u128::from(disk.capacity) * u128::from(100_u64.saturating_sub(low)) / 100;
    u64::try_from(wanted).unwrap_or(u64::MAX).saturating_sub(disk.available)
}

/// The pods whose containers run, or are to run, from `image`.
pub fn users(pods: &[Pod], image: &Image) -> Vec<String> {
    let mut users = Vec::new();
    for pod in pods {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if !matches!(phase, "Succeeded" | "Failed") && uses(pod, image) {
            let meta = &pod.metadata;
            let part = |name: &Option<String>| name.clone().unwrap_or_default();
            users.push(format!("pod {}/{}", part(&meta.namespace), part(&meta.name)));
        }
    }
    users
}

fn uses(pod: &Pod, image: &Image) -> bool {
    let digest = |id: &str| {
        let digest = id.rsplit_once('@').map_or(id, |(_, digest)| digest);
        digest == image.manifest || Some(digest) == image.index.as_deref() || digest == image.id
    };
    let status = pod.status.as_ref();
    let lists = status.into_iter().flat_map(|status| {
        let lists = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        lists.into_iter().flatten().flatten()
    });
    if lists.map(|container| container.image_id.as_str()).any(digest) {
        return true;
    }
    let spec = pod.spec.as_ref();
    let volumes = spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten());
    let of_volumes = volumes.filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
    let containers = spec
        .into_iter()
        .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let of_containers = containers.filter_map(|container| container.image.as_deref());
    let wanted = of_containers.chain(of_volumes).filter_map(|name| Reference::parse(name).ok());
    wanted.map(|name| name.to_string()).any(|name| image.names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_the_kubelets() {
        for (capacity, available, percent, free) in [
            (1000, 150, 85, 50),
            (1000, 149, 86, 51),
            (1000, 200, 80, 0),
            (1000, 0, 100, 200),
            (0, 0, 100, 0),
        ] {
            let disk = Disk { capacity, available };
            assert_eq!((used_percent(disk), to_free(disk, 80)), (percent, free), "{disk:?}");
        }
    }
}
