//! What is wanted: `apply` and `delete` change a pod's `pod.json`, and see to it that the pod's
//! monitor runs.

use super::lock::{self, Told};
use super::state::{End, PodState};
use super::store::{self, Locked, Record, Store};
use super::{Applied, CniDirs, Commit, Config, DeleteOptions, Key, Network, Paths, listing};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::{self, Decoded, Fields, Object, Pod, patch};
use crate::sys::Errno;
use crate::sys::poll::poll_in;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// `settings.json`: what the instance was told about the network when the pod was made, if anything.
/// Its monitor goes by that, whoever starts it. The node's name is in the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// `--network none`.
    pub no_network: bool,
    /// `--pod-cidr`.
    pub pod_cidr: Option<String>,
    /// `--network cni`, and where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<CniDirs>,
}

impl Settings {
    /// Keeps them for the pod in `pod_dir`.
    pub(super) fn keep(pod_dir: &Path, config: &Config) -> Result<()> {
        let no_network = config.network == Network::None;
        let cni = match &config.network {
            Network::Cni(dirs) => Some(dirs.clone()),
            Network::Bridge | Network::None => None,
        };
        let settings = Self { no_network, pod_cidr: config.pod_cidr.clone(), cni };
        match settings == Self::default() {
            true => Ok(()),
            false => store::write_json(&pod_dir.join("settings.json"), &settings),
        }
    }

    /// The instance `config` as it was told for `pod`, whose directory is `pod_dir`.
    pub fn restore(pod_dir: &Path, pod: &Pod, config: &Config) -> Result<Config> {
        let mut config = config.clone();
        let settings: Self = store::read_json(&pod_dir.join("settings.json"))?.unwrap_or_default();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        config.node = node.unwrap_or_default();
        config.network = match settings.cni {
            Some(dirs) => Network::Cni(dirs),
            None if settings.no_network => Network::None,
            None => Network::Bridge,
        };
        config.pod_cidr = settings.pod_cidr;
        Ok(config)
    }
}

/// What [`super::Engine::apply`] did.
#[derive(Debug)]
pub struct Merged {
    /// What became of the object.
    pub applied: Applied,
    /// The object.
    pub object: Object,
    /// It was there, and not by `apply`: it had no record of what was applied last.
    pub unmanaged: bool,
}

/// See [`super::Engine::apply`].
pub fn apply(config: &Config, manifest: &Decoded, commit: Commit) -> Result<Merged> {
    let new = &manifest.object;
    let modified = with_last_applied(&manifest.given, new.namespace())?;
    let mut unmanaged = false;
    let (applied, object) = super::change::change(config, &Key::of(new), commit, &mut |stored| {
        let resource = new.resource();
        let Some(stored) = stored else {
            return kube::object_of(resource, &modified, Fields::Ignore).map(|new| new.object);
        };
        let last = last_applied(stored);
        unmanaged = last.is_none();
        let merged = patch::three_way(last.as_ref(), &modified, &stored.to_value()?);
        kube::object_of(resource, &merged, Fields::Ignore).map(|new| new.object)
    })?;
    Ok(Merged { applied, object, unmanaged })
}

/// What was applied last.
pub fn last_applied(object: &Object) -> Option<Value> {
    let text = object.metadata().annotations.as_ref()?.get(LAST_APPLIED)?;
    serde_json::from_str(text).ok()
}

/// The manifest as kubectl sends it: in its namespace, and with itself as the annotation.
pub fn with_last_applied(given: &Value, namespace: &str) -> Result<Value> {
    let mut given = given.clone();
    let wrong = || Error::new(Kind::Bug, "a manifest without metadata was decoded");
    let metadata =
        given.as_object_mut().map(|object| object.entry("metadata").or_insert(json!({})));
    let metadata = metadata.and_then(Value::as_object_mut).ok_or_else(wrong)?;
    if !namespace.is_empty() {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    let annotations = metadata.entry("annotations").or_insert(json!({}));
    if annotations.is_null() {
        *annotations = json!({});
    }
    annotations.as_object_mut().ok_or_else(wrong)?.remove(LAST_APPLIED);
    let text = format!("{given}\n");
    if let Some(annotations) = given.pointer_mut("/metadata/annotations") {
        annotations[LAST_APPLIED] = text.into();
    }
    Ok(given)
}

/// Notes `given` as what was applied last, as [`with_last_applied`] has it.
pub fn note_last_applied(object: &mut Object, given: &Value) -> Result<()> {
    let noted = with_last_applied(given, object.namespace())?;
    let text = noted.pointer("/metadata/annotations").and_then(|all| all.get(LAST_APPLIED));
    let text = text.and_then(Value::as_str).unwrap_or_default().to_owned();
    object.metadata_mut().annotations.get_or_insert_default().insert(LAST_APPLIED.to_owned(), text);
    Ok(())
}

/// How often a pod that takes its time to go is asked whether it can.
const ASK: Duration = Duration::from_secs(3);

/// A pod that was told to go.
#[derive(Debug, Default)]
pub struct Ending {
    /// Its monitor, if one ran.
    monitor: Option<OwnedFd>,
    /// Deleted by force: it counts as gone once its record is, which this pipe tells
    /// ([`wake::wake`]), though the kernel may still be at work on its network.
    forced: Option<File>,
}

/// See [`super::Engine::delete`]. Returns the pod's uid, and what to wait for.
pub fn delete(
    config: &Config,
    namespace: &str,
    name: &str,
    options: DeleteOptions,
) -> Result<(String, Ending)> {
    let store = Store::new(&config.paths.lib);
    let (locked, mut pod) = store.lock_existing(namespace, name)?;
    let ended = listing::read_pod(locked.dir())?
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
        put_deleted(&locked, &mut pod)?;
    }
    drop(locked);
    let ending = match lock::tell_monitor(&config.paths, &pod)? {
        Told::Started(monitor) => Ending { monitor: Some(monitor), forced: None },
        Told::Woken(pipe) => {
            Ending { monitor, forced: pipe.filter(|_| options.force && grace == 0) }
        }
    };
    Ok((uid, ending))
}

/// Stores the pod with its deletion. On a full disk its events make room: a pod that goes frees more.
fn put_deleted(locked: &Locked, pod: &mut Pod) -> Result<()> {
    match locked.put_wanted(pod) {
        Err(error) if matches!(error.errno(), Some(Errno::ENOSPC | Errno::EDQUOT)) => {
            let events = locked.dir().join("events.json");
            let removed = std::fs::remove_file(&events).is_ok();
            if removed { locked.put_wanted(pod) } else { Err(error) }
        }
        stored => stored,
    }
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
    let Ending { monitor: mut known, mut forced } = ending;
    let store = Store::new(&config.paths.lib);
    let end = timeout.map(|timeout| Instant::now() + timeout);
    let mut record_is_gone = false;
    loop {
        let monitor = match known.take() {
            Some(monitor) => Some(monitor),
            None => lock::monitor_pidfd(&config.paths, uid)?,
        };
        let there = match store.get(namespace, name) {
            Ok(pod) if pod.metadata.uid.as_deref() == Some(uid) => Some(pod),
            Err(error) if error.kind() != Kind::NotFound => return Err(error),
            _ => None,
        };
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        match (&monitor, &there) {
            (None, None) => return Ok(true),
            (Some(_), None) if record_is_gone => return Ok(true),
            // It was lost; the one that is started now takes the pod's end up again.
            (None, Some(pod)) => known = lock::ensure_monitor(&config.paths, pod)?,
            (Some(_), _) if left == Some(Duration::ZERO) => return Ok(there.is_none()),
            (Some(process), _) => {
                let mut fds = vec![process.as_fd()];
                fds.extend(forced.as_ref().map(AsFd::as_fd));
                let wait = left.map_or(ASK, |left| left.min(ASK));
                let ended = poll_in(&fds, Some(wait)).doing(|| "wait for the pod's end")?;
                if !ended.contains(&true) && there.is_some() {
                    refuse_stuck(&store, (namespace, name, uid))?;
                }
                known = monitor.filter(|_| ended.first() != Some(&true));
                if ended.get(1) == Some(&true) {
                    record_is_gone = true;
                    forced = None;
                }
            }
        }
    }
}

/// An error if something of the pod has not ended upon SIGKILL: nobody knows whether it ever will.
fn refuse_stuck(store: &Store, (namespace, name, uid): (&str, &str, &str)) -> Result<()> {
    let record: Option<Record<PodState>> = store.record(&store.pod_dir(namespace, name)?, uid)?;
    let containers = record.map(|record| record.state.containers).unwrap_or_default();
    let stuck = containers.into_iter().find_map(|container| container.kill?.stuck);
    let Some(stuck) = stuck else { return Ok(()) };
    let error = Error::system(format!("pod \"{name}\" cannot be removed: {stuck}"));
    Err(error.hint("it stays Terminating, and goes as soon as they have ended"))
}

/// Starts the monitor of a pod that was left without one, unless it has ended and been torn down.
pub fn revive(paths: &Paths, pod: &Pod) -> Result<()> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    if ended && pod.metadata.deletion_timestamp.is_none() && is_torn_down(paths, pod)? {
        return Ok(());
    }
    // A command that was killed may have marked it for deletion and told nobody.
    if pod.metadata.deletion_timestamp.is_some() {
        return lock::tell_monitor(paths, pod).map(drop);
    }
    match &pod.metadata.uid {
        Some(uid) if lock::is_held(paths, uid)? => Ok(()),
        _ => lock::ensure_monitor(paths, pod).map(drop),
    }
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

    #[test]
    fn the_annotation_is_the_manifest_as_given() {
        let given = json!({"kind": "Pod", "metadata": {"name": "x", "annotations": {"b": "1",
            LAST_APPLIED: "old"}}, "spec": {"a": 1}, "apiVersion": "v1"});
        let sent = with_last_applied(&given, "ns").unwrap();
        let text = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"annotations\":\
            {\"b\":\"1\"},\"name\":\"x\",\"namespace\":\"ns\"},\"spec\":{\"a\":1}}\n";
        assert_eq!(sent["metadata"]["annotations"][LAST_APPLIED], text);
        assert_eq!(with_last_applied(&sent, "ns").unwrap(), sent);
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
