//! `--pod-running-timeout`: pods that are yet to run.

use super::Call;
use crate::cli::progress::Progress;
use crate::error::{Error, Result};
use crate::kube::{Object, Pod, Resource};
use crate::pod::{ChangeKind, WatchOptions};
use std::time::Duration;

/// Waits until the pod runs or has ended; the pod as it is then.
pub fn wait(call: &Call, pod: Pod, timeout: Duration) -> Result<Pod> {
    until(call, pod, timeout, &|pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Running" | "Succeeded" | "Failed"))
    })
}

/// Waits until `holds` does; the pod as it is then.
pub fn until(
    call: &Call,
    pod: Pod,
    timeout: Duration,
    holds: &dyn Fn(&Pod) -> bool,
) -> Result<Pod> {
    if holds(&pod) {
        return Ok(pod);
    }
    let (name, namespace) = (pod.metadata.name.clone(), pod.metadata.namespace.clone());
    let uid = pod.metadata.uid.clone();
    let options = WatchOptions {
        resource: Resource::Pods,
        namespace: namespace.as_deref(),
        timeout: Some(timeout),
        chosen: &|one: &Object| one.metadata().name == name && one.metadata().uid == uid,
    };
    let (mut found, mut gone) = (None, false);
    let what = name.as_deref().unwrap_or_default();
    let _progress = Progress::wait(format!("Waiting for pod/{what}"));
    call.engine.watch(&options, &mut |change| {
        gone = change.kind == ChangeKind::Deleted;
        if let Object::Pod(pod) = change.object
            && holds(&pod)
        {
            found = Some(*pod);
        }
        Ok(found.is_none() && !gone)
    })?;
    let name = name.unwrap_or_default();
    match found {
        Some(pod) => Ok(pod),
        None if gone => Err(Resource::Pods.not_found(&name)),
        None => Err(Error::user("timed out waiting for the condition")),
    }
}
