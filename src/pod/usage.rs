//! What the containers of a pod use, as `top` shows it.

use super::{Config, stream};
use crate::error::{Context, Result};
use crate::kube::Pod;
use crate::oci::ops::stats;
use crate::sys::fs;
use std::path::Path;
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

/// What the whole machine has used.
#[derive(Clone, Debug)]
pub struct NodeUsage {
    /// Processor time, since it was started.
    pub cpu: Duration,
    /// Bytes in use, without what the kernel could drop at once.
    pub memory: u64,
}

impl NodeUsage {
    /// Reads /proc/stat and /proc/meminfo.
    pub fn now() -> Result<Self> {
        let read =
            |path: &str| fs::read_kernel_file(Path::new(path)).doing(|| format!("read {path}"));
        let (stat, memory) = (read("/proc/stat")?, read("/proc/meminfo")?);
        Ok(Self { cpu: busy(&stat), memory: in_use(&memory) })
    }
}

/// The first line of proc_stat(5) has what all processors did, in hundredths of a second: user,
/// nice, system, idle, iowait, irq, softirq, steal; guests are counted as users already.
fn busy(stat: &str) -> Duration {
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let ticks = fields.map(|field| field.parse::<u64>().unwrap_or(0));
    let working = ticks.enumerate().filter(|(index, _)| !matches!(index, 3 | 4));
    Duration::from_millis(working.map(|(_, ticks)| ticks * 10).sum())
}

/// proc_meminfo(5), in bytes.
fn in_use(memory: &str) -> u64 {
    let field = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        number.unwrap_or(0) * 1024
    };
    field("MemTotal").saturating_sub(field("MemAvailable"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_busy_when_it_is_not_idle() {
        let stat = "cpu  100 1 50 9000 77 2 3 4 50 0\ncpu0 1 1 1 1\n";
        assert_eq!(busy(stat), Duration::from_millis(1600));
        let memory = "MemTotal:        1000 kB\nMemFree:    1 kB\nMemAvailable:     400 kB\n";
        assert_eq!(in_use(memory), 600 * 1024);
    }
}
