//! Changes of the store, as they happen: inotify(7) tells when to look, and the objects what has
//! changed. Nothing is polled, and a reader never holds up a writer.

use super::store::{Store, entries, make_private_dir};
use super::{Change, ChangeKind, Engine, WatchOptions};
use crate::error::{Context, Result};
use crate::kube::{Object, Resource};
use crate::sys::Errno;
use crate::sys::poll::{Watcher, poll_in};
use nix::sys::inotify::AddWatchFlags;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The known objects by namespace and name.
type Known = BTreeMap<(String, String), Object>;

/// See [`super::Engine::watch`].
pub fn watch(
    engine: &Engine,
    options: &WatchOptions<'_>,
    seen: &mut dyn FnMut(Change) -> Result<bool>,
) -> Result<()> {
    let end = options.timeout.map(|timeout| Instant::now() + timeout);
    // Something has to be there that a first object appears in.
    for top in tops(engine, options.resource) {
        make_private_dir(&top)?;
    }
    let watcher = Watcher::new().doing(|| "watch the store")?;
    let mut known = Known::new();
    let mut kind = ChangeKind::Present;
    loop {
        // Watched before it is read: what changes in between wakes the wait below.
        add_watches(engine, options.resource, &watcher)?;
        let mut now = engine.list_objects(options.resource, options.namespace)?;
        now.retain(options.chosen);
        for change in changes(&mut known, now, kind) {
            if !seen(change)? {
                return Ok(());
            }
        }
        kind = ChangeKind::Added;
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(());
        }
        poll_in(&[watcher.as_fd()], left).doing(|| "watch the store")?;
        watcher.read().doing(|| "watch the store")?;
    }
}

/// The directories that a kind's files are below.
fn tops(engine: &Engine, resource: Resource) -> Vec<PathBuf> {
    let paths = &engine.config.paths;
    let objects = |resource: Resource| paths.lib.join("objects").join(resource.plural());
    match resource {
        Resource::Pods | Resource::Events => vec![Store::new(&paths.lib).dir],
        Resource::Nodes => vec![paths.lib.clone()],
        Resource::ConfigMaps | Resource::Secrets => vec![objects(resource)],
        // They exist when used.
        Resource::Namespaces => vec![
            Store::new(&paths.lib).dir,
            objects(Resource::Namespaces),
            objects(Resource::ConfigMaps),
            objects(Resource::Secrets),
        ],
    }
}

/// Watches a kind's directories. One that is watched already stays so.
fn add_watches(engine: &Engine, resource: Resource, watcher: &Watcher) -> Result<()> {
    // Renames complete every write and every removal of a pod, but for a line more in its status.
    let mask = AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_ONLYDIR;
    let add = |dir: &Path| match watcher.add(dir, mask) {
        Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
        Err(errno) => Err(errno).doing(|| format!("watch {}", dir.display())),
    };
    let tops = tops(engine, resource);
    tops.iter().try_for_each(|top| add(top))?;
    match resource {
        Resource::Pods | Resource::Events => {
            let store = Store::new(&engine.config.paths.lib);
            for namespace in store.namespaces()? {
                add(&store.dir.join(namespace))?;
            }
            for (namespace, name) in store.names(None)? {
                add(&store.dir.join(namespace).join(name))?;
            }
        }
        Resource::ConfigMaps | Resource::Secrets => {
            for top in tops {
                for namespace in entries(&top)? {
                    add(&top.join(namespace))?;
                }
            }
        }
        Resource::Namespaces | Resource::Nodes => {}
    }
    Ok(())
}

/// What differs between the `known` objects and those there are `now`, which become the known ones;
/// new ones are of the kind `new`.
fn changes(known: &mut Known, now: Vec<Object>, new: ChangeKind) -> Vec<Change> {
    let mut old = std::mem::take(known);
    let mut changes = Vec::new();
    for object in now {
        let key = (object.namespace().to_owned(), object.name().to_owned());
        let change = |kind| Change { kind, object: object.clone() };
        match old.remove(&key) {
            None => changes.push(change(new)),
            Some(before) if before.metadata().uid != object.metadata().uid => {
                changes.push(Change { kind: ChangeKind::Deleted, object: before });
                changes.push(change(new));
            }
            Some(before) if differs(&before, &object) => changes.push(change(ChangeKind::Modified)),
            Some(_) => {}
        }
        known.insert(key, object);
    }
    let gone = old.into_values().map(|object| Change { kind: ChangeKind::Deleted, object });
    changes.splice(0..0, gone);
    changes
}

/// Versions tell; of a node, whose heartbeat is that of the clock, nothing does.
fn differs(before: &Object, now: &Object) -> bool {
    match now {
        Object::Event(_) => before != now,
        Object::Node(_) => false,
        _ => before.metadata().resource_version != now.metadata().resource_version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::Pod;
    use crate::pod::{Config, Network, Paths};

    fn pod(name: &str, uid: &str, version: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.uid = Some(uid.into());
        pod.metadata.resource_version = Some(version.into());
        pod
    }

    fn kinds(changes: &[Change]) -> Vec<String> {
        let kind = |change: &Change| {
            let sign = match change.kind {
                ChangeKind::Present => '=',
                ChangeKind::Added => '+',
                ChangeKind::Modified => '~',
                ChangeKind::Deleted => '-',
            };
            format!("{sign}{}", change.object.name())
        };
        changes.iter().map(kind).collect()
    }

    #[test]
    fn versions_tell_what_changed() {
        let mut known = Known::new();
        let mut now = |pods: &[(&str, &str, &str)], kind| {
            let object = |(name, uid, version): &(&str, &str, &str)| {
                Object::Pod(Box::new(pod(name, uid, version)))
            };
            kinds(&changes(&mut known, pods.iter().map(object).collect(), kind))
        };
        let first = [("a", "1", "1"), ("b", "2", "1"), ("c", "3", "1")];
        assert_eq!(now(&first, ChangeKind::Present), ["=a", "=b", "=c"]);
        let second = [("a", "1", "1"), ("b", "2", "2"), ("c", "4", "3")];
        assert_eq!(now(&second, ChangeKind::Added), ["~b", "-c", "+c"]);
        assert_eq!(now(&[], ChangeKind::Added), ["-a", "-b", "-c"]);
    }

    #[test]
    fn a_stored_pod_wakes_the_watch() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let store = Store::new(&paths.lib);
        let network = Network::None;
        let engine =
            Engine::open(Config { paths, node: "n".into(), network, pod_cidr: None }).unwrap();
        let mut seen = Vec::new();
        store.lock("default", "a").unwrap().put_wanted(&mut pod("a", "1", "0")).unwrap();
        let (namespace, timeout) = (None, None);
        let chosen = &|_: &Object| true;
        let options = WatchOptions { resource: Resource::Pods, namespace, timeout, chosen };
        let watched = watch(&engine, &options, &mut |change| {
            seen.extend(kinds(&[change]));
            match seen.len() {
                1 => store.lock("other", "b")?.put_wanted(&mut pod("b", "2", "0"))?,
                2 => drop(store.remove("default", "a", "1")?),
                _ => return Ok(false),
            }
            Ok(true)
        });
        watched.unwrap();
        assert_eq!(seen, ["=a", "+b", "-a"]);
    }
}
