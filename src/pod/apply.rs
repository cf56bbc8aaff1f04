//! What is wanted: `apply` and `delete` change a pod's `pod.json`, and see to it that the pod's
//! monitor runs.

use super::lock;
use super::state::{End, PodState};
use super::store::{self, Record, Store};
use super::{Applied, Commit, Config, DeleteOptions, Key, Network, Paths};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::{Decoded, Object, Pod};
use crate::sys::Errno;
use crate::sys::poll::{Watcher, poll_in};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use nix::sys::inotify::AddWatchFlags;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
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
    pub(super) fn of(config: &Config) -> Self {
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
pub fn apply(config: &Config, manifest: &Decoded, commit: Commit) -> Result<(Applied, Object)> {
    let mut new = manifest.object.clone();
    let text = last_applied(&manifest.given, new.namespace())?;
    new.metadata_mut().annotations.get_or_insert_default().insert(LAST_APPLIED.into(), text);
    super::change::change(config, &Key::of(&new), commit, &mut |stored| Ok(merge(stored, &new)))
}

/// kubectl's three-way merge of the object there is, what was applied last, and what is applied now.
fn merge(stored: Option<&Object>, new: &Object) -> Object {
    let mut merged = new.clone();
    let Some(stored) = stored.map(Object::metadata) else { return merged };
    let last = stored.annotations.as_ref().and_then(|annotations| annotations.get(LAST_APPLIED));
    let last: Option<serde_json::Value> = last.and_then(|text| serde_json::from_str(text).ok());
    let last = last.and_then(|last| serde_json::from_value(last.get("metadata")?.clone()).ok());
    let last: ObjectMeta = last.unwrap_or_default();
    let metadata = merged.metadata_mut();
    metadata.labels = merge_map(&stored.labels, last.labels, metadata.labels.take());
    metadata.annotations =
        merge_map(&stored.annotations, last.annotations, metadata.annotations.take());
    merged
}

/// kubectl's annotation: the object as it was given.
fn last_applied(given: &Value, namespace: &str) -> Result<String> {
    let mut given = given.clone();
    let metadata =
        given.as_object_mut().map(|object| object.entry("metadata").or_insert(json!({})));
    if let Some(metadata) = metadata.and_then(Value::as_object_mut) {
        if !namespace.is_empty() {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        let annotations = metadata.entry("annotations").or_insert(json!({}));
        annotations.as_object_mut().map(|annotations| annotations.remove(LAST_APPLIED));
    }
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
    let started = lock::tell_monitor(&config.paths, &pod)?;
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
    // A command that was killed may have marked it for deletion and told nobody.
    let told = if pod.metadata.deletion_timestamp.is_some() {
        lock::tell_monitor(paths, pod)
    } else {
        lock::ensure_monitor(paths, pod)
    };
    told.map(drop)
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
