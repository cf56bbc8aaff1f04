//! Changes of the store, as they happen: inotify(7) tells when to look, resource versions tell what
//! has changed. Nothing is polled, and a reader never holds up a writer.

use super::Change;
use super::store::{Store, make_private_dir};
use crate::error::{Context, Result};
use crate::kube::Pod;
use crate::sys::Errno;
use crate::sys::poll::{Watcher, poll_in};
use nix::sys::inotify::AddWatchFlags;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The known pods by namespace and name.
type Known = BTreeMap<(String, String), Pod>;

/// See [`super::Engine::watch`].
pub fn watch(
    store: &Store,
    namespace: Option<&str>,
    timeout: Option<Duration>,
    seen: &mut dyn FnMut(Change) -> Result<bool>,
) -> Result<()> {
    let end = timeout.map(|timeout| Instant::now() + timeout);
    // Something has to be there that a first pod appears in.
    make_private_dir(&store.dir)?;
    let watcher = Watcher::new().doing(|| "watch the pods")?;
    let mut known = Known::new();
    loop {
        // Watched before it is read: what changes in between wakes the wait below.
        add_watches(store, &watcher)?;
        for change in changes(&mut known, store.list(namespace)?) {
            if !seen(change)? {
                return Ok(());
            }
        }
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(());
        }
        poll_in(&[watcher.as_fd()], left).doing(|| "watch the pods")?;
        watcher.read().doing(|| "watch the pods")?;
    }
}

/// Watches the store, its namespaces and its pods. A directory that is watched already stays so.
fn add_watches(store: &Store, watcher: &Watcher) -> Result<()> {
    // Renames complete every write and every removal.
    let mask = AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_ONLYDIR;
    let add = |dir: &Path| match watcher.add(dir, mask) {
        Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
        Err(errno) => Err(errno).doing(|| format!("watch {}", dir.display())),
    };
    add(&store.dir)?;
    for namespace in store.namespaces()? {
        add(&store.dir.join(namespace))?;
    }
    for (namespace, name) in store.names(None)? {
        add(&store.dir.join(namespace).join(name))?;
    }
    Ok(())
}

/// What differs between the `known` pods and those there are `now`, which become the known ones.
fn changes(known: &mut Known, now: Vec<Pod>) -> Vec<Change> {
    let key = |pod: &Pod| {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        (name(&pod.metadata.namespace), name(&pod.metadata.name))
    };
    let mut old = std::mem::take(known);
    let mut changes = Vec::new();
    for pod in now {
        let change = |kind: fn(Box<Pod>) -> Change| kind(Box::new(pod.clone()));
        match old.remove(&key(&pod)) {
            None => changes.push(change(Change::Added)),
            Some(before) if before.metadata.uid != pod.metadata.uid => {
                changes.push(Change::Deleted(Box::new(before)));
                changes.push(change(Change::Added));
            }
            Some(before) if before.metadata.resource_version != pod.metadata.resource_version => {
                changes.push(change(Change::Modified));
            }
            Some(_) => {}
        }
        known.insert(key(&pod), pod);
    }
    let gone = old.into_values().map(|pod| Change::Deleted(Box::new(pod)));
    changes.splice(0..0, gone);
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str, version: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.uid = Some(uid.into());
        pod.metadata.resource_version = Some(version.into());
        pod
    }

    fn kinds(changes: &[Change]) -> Vec<String> {
        let kind = |change: &Change| match change {
            Change::Added(pod) => format!("+{}", pod.metadata.name.clone().unwrap()),
            Change::Modified(pod) => format!("~{}", pod.metadata.name.clone().unwrap()),
            Change::Deleted(pod) => format!("-{}", pod.metadata.name.clone().unwrap()),
        };
        changes.iter().map(kind).collect()
    }

    #[test]
    fn versions_tell_what_changed() {
        let mut known = Known::new();
        let first = vec![pod("a", "1", "1"), pod("b", "2", "1"), pod("c", "3", "1")];
        assert_eq!(kinds(&changes(&mut known, first)), ["+a", "+b", "+c"]);
        let second = vec![pod("a", "1", "1"), pod("b", "2", "2"), pod("c", "4", "3")];
        assert_eq!(kinds(&changes(&mut known, second)), ["~b", "-c", "+c"]);
        assert_eq!(kinds(&changes(&mut known, vec![])), ["-a", "-b", "-c"]);
    }

    #[test]
    fn a_stored_pod_wakes_the_watch() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let mut seen = Vec::new();
        store.lock("default", "a").unwrap().put_wanted(&mut pod("a", "1", "0")).unwrap();
        let watched = watch(&store, None, None, &mut |change| {
            seen.extend(kinds(&[change]));
            match seen.len() {
                1 => store.lock("other", "b")?.put_wanted(&mut pod("b", "2", "0"))?,
                2 => drop(store.remove("default", "a", "1")?),
                _ => return Ok(false),
            }
            Ok(true)
        });
        watched.unwrap();
        assert_eq!(seen, ["+a", "+b", "-a"]);
    }
}
