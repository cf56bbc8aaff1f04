//! What the containers of a pod use, as `top` shows it.

use super::{Config, stream};
use crate::error::Result;
use crate::kube::Pod;
use crate::oci::ops::stats;
use std::time::Duration;

/// What a container has used.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Its name.
    pub container: String,
    /// Processor time, since it was started.
    pub cpu: Duration,
    /// Bytes in use, without what the kernel could drop at once (the working set).
    pub memory: u64,
}

/// The usage of each container of `pod` that runs, in the order of their names.
pub fn usage(config: &Config, pod: &Pod) -> Result<Vec<Usage>> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let mut all = Vec::new();
    for (id, container) in stream::instances(config, uid)? {
        // The sandbox's pause has no name; one that has ended meanwhile uses nothing.
        if !container.is_empty()
            && let Ok(usage) = stats_of(config, &id)
        {
            all.push(Usage { container, ..usage });
        }
    }
    all.sort_by(|a, b| a.container.cmp(&b.container));
    Ok(all)
}

fn stats_of(config: &Config, id: &str) -> Result<Usage> {
    let stats = stats(&config.paths.oci, id)?;
    let memory = &stats.memory;
    let raw = |name: &str| memory.raw.get(name).copied();
    let inactive = raw("total_inactive_file").or_else(|| raw("inactive_file")).unwrap_or(0);
    Ok(Usage {
        container: String::new(),
        cpu: Duration::from_nanos(stats.cpu.usage.total),
        memory: memory.usage.usage.saturating_sub(inactive),
    })
}
