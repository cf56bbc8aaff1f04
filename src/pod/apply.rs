//! What is wanted: `apply` and `delete` change a pod's `pod.json`, and see to it that the pod's
//! monitor runs.

use super::lock;
use super::state::{End, PodState};
use super::store::{self, Locked, Record, Store};
use super::{Applied, Config, DeleteOptions, Network, Paths};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::{self, Pod};
use crate::sys::Errno;
use crate::sys::fs::read_kernel_file;
use crate::sys::poll::{Watcher, poll_in};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use nix::sys::inotify::AddWatchFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// `settings.json`: what the instance was told when the pod was made. Its monitor goes by that,
/// whoever starts it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The node's name.
    pub node: String,
    /// `--network none`.
    pub no_network: bool,
    /// `--pod-cidr`.
    pub pod_cidr: Option<String>,
}

impl Settings {
    fn of(config: &Config) -> Self {
        let no_network = config.network == Network::None;
        Self { node: config.node.clone(), no_network, pod_cidr: config.pod_cidr.clone() }
    }

    /// The settings that `pod_dir`'s pod was made with, over those of `config`.
    pub fn restore(pod_dir: &Path, config: &Config) -> Result<Config> {
        let mut config = config.clone();
        if let Some(settings) = store::read_json::<Self>(&pod_dir.join("settings.json"))? {
            config.node = settings.node;
            config.network = if settings.no_network { Network::None } else { Network::Bridge };
            config.pod_cidr = settings.pod_cidr;
        }
        Ok(config)
    }
}

/// See [`super::Engine::apply`].
pub fn apply(config: &Config, mut pod: Pod, dry_run: bool) -> Result<(Applied, Pod)> {
    let store = Store::new(&config.paths.lib);
    let namespace = pod.metadata.namespace.get_or_insert_with(|| "default".into()).clone();
    let Some(name) = pod.metadata.name.clone() else {
        return Err(Error::user("resource name may not be empty"));
    };
    if dry_run {
        let dir = store.pod_dir(&namespace, &name)?;
        return merge(store::read_json(&dir.join("pod.json"))?, pod, config);
    }
    let locked = store.lock(&namespace, &name)?;
    let stored = match store_wanted(&locked, pod, config) {
        Ok(stored) => stored,
        Err(error) => {
            locked.abandon()?;
            return Err(error);
        }
    };
    drop(locked);
    lock::ensure_monitor(&config.paths, &stored.1)?;
    Ok(stored)
}

fn store_wanted(locked: &Locked, pod: Pod, config: &Config) -> Result<(Applied, Pod)> {
    let (applied, mut pod) = merge(locked.wanted()?, pod, config)?;
    if applied == Applied::Created {
        store::write_json(&locked.dir().join("settings.json"), &Settings::of(config))?;
    }
    if applied != Applied::Unchanged {
        locked.put_wanted(&mut pod)?;
    }
    Ok((applied, pod))
}

/// The pod to store: kubectl's three-way merge of the one there is, what was applied last, and what
/// is applied now.
fn merge(stored: Option<Pod>, mut new: Pod, config: &Config) -> Result<(Applied, Pod)> {
    if !new.metadata.annotations.iter().flatten().any(|(key, _)| key == LAST_APPLIED) {
        let text = last_applied(&new)?;
        new.metadata.annotations.get_or_insert_default().insert(LAST_APPLIED.into(), text);
    }
    let Some(stored) = stored else {
        return created(new, config).map(|pod| (Applied::Created, pod));
    };
    kube::validate_update(&new, &stored)?;
    let last: Option<Pod> = stored
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(LAST_APPLIED))
        .and_then(|text| serde_json::from_str(text).ok());
    let last = last.unwrap_or_default().metadata;
    let mut merged = stored.clone();
    let meta = &mut merged.metadata;
    meta.labels = merge_map(&stored.metadata.labels, last.labels, new.metadata.labels);
    meta.annotations =
        merge_map(&stored.metadata.annotations, last.annotations, new.metadata.annotations);
    let node = merged.spec.as_ref().and_then(|spec| spec.node_name.clone());
    merged.spec = new.spec;
    if let Some(spec) = &mut merged.spec {
        spec.node_name = node;
    }
    if merged.spec != stored.spec {
        merged.metadata.generation = stored.metadata.generation.map(|generation| generation + 1);
    }
    let applied = if merged == stored { Applied::Unchanged } else { Applied::Configured };
    Ok((applied, merged))
}

/// kubectl's annotation: the object as it was given.
fn last_applied(pod: &Pod) -> Result<String> {
    let mut given = pod.clone();
    given.metadata.annotations.get_or_insert_default();
    given.status = None;
    let text = serde_json::to_string(&given);
    text.map(|text| text + "\n").map_err(|error| Error::new(Kind::Bug, error.to_string()))
}

type Map = Option<BTreeMap<String, String>>;

/// What somebody else added stays, what was applied and is no more goes.
fn merge_map(stored: &Map, last: Map, new: Map) -> Map {
    let mut merged = stored.clone().unwrap_or_default();
    let new = new.unwrap_or_default();
    for key in last.unwrap_or_default().keys().filter(|key| !new.contains_key(*key)) {
        merged.remove(key);
    }
    merged.extend(new);
    (stored.is_some() || !merged.is_empty()).then_some(merged)
}

fn created(mut pod: Pod, config: &Config) -> Result<Pod> {
    let uid = read_kernel_file(Path::new("/proc/sys/kernel/random/uuid"));
    pod.metadata.uid = Some(uid.doing(|| "make a pod's uid")?.trim().to_owned());
    pod.metadata.creation_timestamp = Some(Time(Timestamp::now()));
    pod.metadata.generation = Some(1);
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(config.node.clone());
    }
    Ok(pod)
}

/// A pod that was told to go.
#[derive(Debug, Default)]
pub struct Ending {
    /// Its monitor, if one ran.
    monitor: Option<OwnedFd>,
    /// By force: it counts as gone once its record is, though the kernel may still be at work on
    /// its network.
    forced: bool,
}

/// See [`super::Engine::delete`]. Returns the pod's uid, and what to wait for.
pub fn delete(
    config: &Config,
    namespace: &str,
    name: &str,
    options: DeleteOptions,
) -> Result<(String, Ending)> {
    let store = Store::new(&config.paths.lib);
    let locked = store.lock_existing(namespace, name)?;
    let Some(mut pod) = locked.wanted()? else { return Err(store::not_found(name)) };
    let ended = store::read_pod(locked.dir())?
        .and_then(|pod| pod.status?.phase)
        .is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
    let grace = grace(&pod, options, ended);
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    // Looked for first: once it knows, it may be gone before anybody looks.
    let monitor = lock::monitor_pidfd(&config.paths, &uid)?;
    // A second delete may only shorten the first.
    let known = pod.metadata.deletion_grace_period_seconds.unwrap_or(i64::MAX);
    if pod.metadata.deletion_timestamp.is_none() || grace < known {
        let now = Timestamp::now();
        let end = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
        pod.metadata.deletion_timestamp = Some(Time(end));
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        locked.put_wanted(&mut pod)?;
    }
    drop(locked);
    let started = lock::ensure_monitor(&config.paths, &pod)?;
    Ok((uid, Ending { monitor: started.or(monitor), forced: options.force && grace == 0 }))
}

/// Seconds that the pod gets, as the API server decides it.
fn grace(pod: &Pod, options: DeleteOptions, ended: bool) -> i64 {
    let own = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    match options.grace_period.or(own).unwrap_or(30) {
        _ if ended || (options.force && options.grace_period.is_none()) => 0,
        negative if negative < 0 => 1,
        grace => grace,
    }
}

/// See [`super::Engine::wait_deleted`].
pub fn wait_deleted(
    config: &Config,
    (namespace, name, uid): (&str, &str, &str),
    ending: Ending,
    timeout: Option<Duration>,
) -> Result<bool> {
    let Ending { monitor: mut known, forced } = ending;
    let store = Store::new(&config.paths.lib);
    let end = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let monitor = match known.take() {
            Some(monitor) => Some(monitor),
            None => lock::monitor_pidfd(&config.paths, uid)?,
        };
        // Watched before it is looked for, in which case it is seen to go.
        let removal = if forced { watch_removal(&store, namespace)? } else { None };
        let there = match store.get(namespace, name) {
            Ok(pod) if pod.metadata.uid.as_deref() == Some(uid) => Some(pod),
            Err(error) if error.kind() != Kind::NotFound => return Err(error),
            _ => None,
        };
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        match (&monitor, &there) {
            (None, None) => return Ok(true),
            (Some(_), None) if forced => return Ok(true),
            // It was lost; the one that is started now takes the pod's end up again.
            (None, Some(pod)) => known = lock::ensure_monitor(&config.paths, pod)?,
            (Some(_), _) if left == Some(Duration::ZERO) => return Ok(there.is_none()),
            (Some(process), _) => {
                let mut fds = vec![process.as_fd()];
                fds.extend(removal.as_ref().map(AsFd::as_fd));
                let ended = poll_in(&fds, left).doing(|| "wait for the pod's end")?;
                known = monitor.filter(|_| ended.first() != Some(&true));
            }
        }
    }
}

/// Tells when a pod of the namespace is taken out of the store; `None` if none is there.
fn watch_removal(store: &Store, namespace: &str) -> Result<Option<Watcher>> {
    let watcher = Watcher::new().doing(|| "watch the pods")?;
    let dir = store.dir.join(namespace);
    match watcher.add(&dir, AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_DELETE) {
        Ok(_) => Ok(Some(watcher)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno).doing(|| format!("watch {}", dir.display())),
    }
}

/// Starts the monitor of a pod that was left without one, unless it has ended and been torn down.
pub fn revive(paths: &Paths, pod: &Pod) -> Result<()> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    if ended && pod.metadata.deletion_timestamp.is_none() && is_torn_down(paths, pod)? {
        return Ok(());
    }
    lock::ensure_monitor(paths, pod).map(drop)
}

fn is_torn_down(paths: &Paths, pod: &Pod) -> Result<bool> {
    let meta = &pod.metadata;
    let part = |name: &Option<String>| name.clone().unwrap_or_default();
    let store = Store::new(&paths.lib);
    let dir = store.pod_dir(&part(&meta.namespace), &part(&meta.name))?;
    let record: Option<Record<PodState>> = store.record(&dir, &part(&meta.uid))?;
    Ok(record.is_some_and(|record| record.state.end == End::TornDown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> Map {
        Some(entries.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    }

    #[test]
    fn labels_are_merged_three_ways() {
        let stored = map(&[("applied", "1"), ("other", "2"), ("kept", "3")]);
        let last = map(&[("applied", "1"), ("kept", "3")]);
        let merged = merge_map(&stored, last, map(&[("kept", "4")]));
        assert_eq!(merged, map(&[("kept", "4"), ("other", "2")]));
        assert_eq!(merge_map(&None, None, None), None);
    }

    #[test]
    fn the_grace_is_the_callers_the_pods_or_none() {
        let mut pod = Pod::default();
        let given = |grace_period, force| DeleteOptions { grace_period, force };
        assert_eq!(grace(&pod, given(None, false), false), 30);
        pod.spec.get_or_insert_default().termination_grace_period_seconds = Some(7);
        let cases = [
            (None, false, false, 7),
            (Some(3), false, false, 3),
            (Some(-5), false, false, 1),
            (Some(0), true, false, 0),
            (None, true, false, 0),
            (Some(3), false, true, 0),
        ];
        for (period, force, ended, expected) in cases {
            assert_eq!(grace(&pod, given(period, force), ended), expected, "{period:?} {force}");
        }
    }
}
