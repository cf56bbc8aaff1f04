//! What a command or a monitor that was killed has left in the store: a pod half stored, or one
//! half removed. Everything else of a pod has its record, by which its next monitor removes it.

use super::Config;
use super::apply::Settings;
use super::effects::{self, Place};
use super::lock::lock_path;
use super::store::{self, Store, bury, remove_tree};
use crate::error::Result;
use crate::kube::Pod;
use crate::sys::fs;
use std::path::Path;

/// Removes `leftover`, a directory of the store without a pod, unless somebody is at work on it.
pub fn sweep(config: &Config, leftover: &Path) -> Result<()> {
    let paths = &config.paths;
    let name = leftover.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(uid) = name.strip_prefix('.') else {
        // Half stored: whoever is storing holds its lock.
        return Store::try_lock(leftover).map_or(Ok(()), |locked| locked.abandon());
    };
    let lock = lock_path(paths, uid);
    if lock.exists() && fs::try_lock(&lock).is_err() {
        return Ok(());
    }
    let run = paths.run.join(uid);
    // One that cannot be read had a uid too, and that is all it takes.
    let pod = store::read_json::<Pod>(&leftover.join("pod.json"));
    if let Some(pod) = pod.unwrap_or_else(|_| Some(Pod::default())) {
        let config = Settings::restore(leftover, &pod, config)?;
        let (uid, dir) = (uid.to_owned(), leftover.to_owned());
        effects::detach(&Place { config, pod, uid, dir, run: run.clone() })?;
    }
    remove_tree(&run)?;
    bury(leftover)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::listing::{self, Detail};
    use crate::pod::{Network, Paths};

    #[test]
    fn what_nobody_works_on_goes() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let network = Network::None;
        let config = Config { paths: paths.clone(), node: "n".into(), network, pod_cidr: None };
        let store = Store::new(&paths.lib);
        let half = store.lock("default", "half").unwrap();
        std::fs::write(half.dir().join("settings.json"), "{}").unwrap();
        let leftover = half.dir().to_owned();
        sweep(&config, &leftover).unwrap();
        assert!(leftover.exists(), "locked");
        drop(half);
        let tombstone = store.dir.join("default/.uid");
        std::fs::create_dir_all(tombstone.join("volumes")).unwrap();
        std::fs::write(tombstone.join("pod.json"), "damaged").unwrap();
        std::fs::create_dir_all(paths.run.join("uid")).unwrap();
        let lock = fs::lock(&lock_path(&paths, "uid")).unwrap();
        sweep(&config, &tombstone).unwrap();
        assert!(tombstone.exists(), "its monitor lives");
        drop(lock);
        for leftover in listing::list(&store, None, Detail::All, &|pod| pod).unwrap().others {
            sweep(&config, &leftover).unwrap();
        }
        assert_eq!(std::fs::read_dir(&store.dir).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(&paths.run).unwrap().count(), 0);
    }
}
