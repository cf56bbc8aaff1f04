//! `update`: other limits for a container that runs.

use super::cgroup_of;
use crate::error::{Context, Error, Result};
use crate::oci::bundle;
use crate::oci::container::{Container, Status};
use crate::sys::fs;
use oci_spec::runtime::{LinuxResources, Spec};
use serde_json::Value;
use std::path::Path;

/// Applies what `resources` names and keeps it in the container's configuration; device rules are
/// left as they are. Where one limit is refused, those of before are set again.
pub fn update(root: &Path, id: &str, resources: &LinuxResources) -> Result<()> {
    let lock = Container::open(root, id)?.lock()?;
    let container = Container::open(root, id)?;
    if matches!(container.status()?, Status::Stopped | Status::Creating) {
        return Err(Error::user("container not running"));
    }
    let cgroup = cgroup_of(&container)?;
    let mut spec = container.config()?;
    let before = spec.linux().as_ref().and_then(|linux| linux.resources().clone());
    let before = before.unwrap_or_default();
    let update = complete(resources, &before);
    cgroup.set(&update).map_err(|error| match cgroup.set(&before) {
        Ok(()) => error,
        Err(left) => error.hint(format!("setting the limits of before failed too: {left}")),
    })?;
    keep(&mut spec, merged(&before, &update)?);
    save(&container, &spec)?;
    drop(lock);
    Ok(())
}

/// Memory and swap depend on each other: the one that is not named stays as it was, unless the
/// limit of memory is lifted, which lifts both.
fn complete(update: &LinuxResources, before: &LinuxResources) -> LinuxResources {
    let mut update = update.clone();
    let known = before.memory().as_ref();
    let Some(mut memory) = *update.memory() else { return update };
    match (memory.limit(), memory.swap()) {
        (Some(-1), None) => {
            memory.set_swap(Some(-1));
        }
        (Some(_), None) => {
            memory.set_swap(known.and_then(oci_spec::runtime::LinuxMemory::swap));
        }
        (None, Some(_)) => {
            memory.set_limit(known.and_then(oci_spec::runtime::LinuxMemory::limit));
        }
        _ => {}
    }
    update.set_memory(Some(memory));
    update
}

fn merged(before: &LinuxResources, update: &LinuxResources) -> Result<LinuxResources> {
    let value = |limits| serde_json::to_value(limits).map_err(|e| Error::system(e.to_string()));
    let mut all = value(before)?;
    merge(&mut all, value(update)?);
    bundle::decode(all.to_string().as_bytes()).doing(|| "merge limits")
}

/// Lists are of devices and page sizes: a later entry overrides an earlier one when it is applied.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) => {
            into.retain(|entry| !from.contains(entry));
            into.extend(from);
        }
        (into, from) => *into = from,
    }
}

fn keep(spec: &mut Spec, resources: LinuxResources) {
    if let Some(linux) = spec.linux_mut() {
        linux.set_resources(Some(resources));
    }
}

fn save(container: &Container, spec: &Spec) -> Result<()> {
    let config = serde_json::to_vec(spec).map_err(|error| Error::system(error.to_string()))?;
    let path = container.dir.join("config.json");
    fs::write_atomic(&path, &config, 0o600).doing(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> LinuxResources {
        bundle::decode(json.as_bytes()).unwrap()
    }

    #[test]
    fn memory_and_swap_complete_each_other() {
        let before = resources(r#"{"memory": {"limit": 10, "swap": 20}}"#);
        for (update, expected) in [
            (r#"{"memory": {"limit": 15}}"#, (Some(15), Some(20))),
            (r#"{"memory": {"swap": 30}}"#, (Some(10), Some(30))),
            (r#"{"memory": {"limit": -1}}"#, (Some(-1), Some(-1))),
            (r#"{"memory": {"reservation": 5}}"#, (None, None)),
        ] {
            let memory = complete(&resources(update), &before).memory().unwrap();
            assert_eq!((memory.limit(), memory.swap()), expected, "{update}");
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let before = resources(
            r#"{"cpu": {"shares": 5, "quota": 7}, "pids": {"limit": 3}, "blockIO":
            {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]}}"#,
        );
        let update = resources(
            r#"{"cpu": {"quota": 8}, "blockIO": {"throttleReadBpsDevice":
            [{"major": 8, "minor": 0, "rate": 2}]}}"#,
        );
        let all = merged(&before, &update).unwrap();
        let cpu = all.cpu().as_ref().unwrap();
        assert_eq!((cpu.shares(), cpu.quota()), (Some(5), Some(8)));
        assert_eq!(all.pids().unwrap().limit(), 3);
        let io = all.block_io().as_ref().unwrap().throttle_read_bps_device().as_ref().unwrap();
        assert_eq!(io.iter().map(|device| device.rate()).collect::<Vec<_>>(), [1, 2]);
    }
}
