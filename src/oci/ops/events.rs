//! `events`: what a container uses, at intervals, and that it ran out of memory.

use super::cgroup_of;
use crate::error::{Context, Error, Result};
use crate::oci::cgroup::stats::Stats;
use crate::oci::container::{Container, Status};
use crate::sys::poll;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// What is reported.
#[derive(Debug)]
pub enum Event {
    /// What is used by now.
    Stats(Box<Stats>),
    /// The kernel has killed a process of the container for want of memory.
    Oom,
}

/// What a container has used by now.
pub fn stats(root: &Path, id: &str) -> Result<Stats> {
    cgroup_of(&running(root, id)?)?.stats().doing(|| "unable to get container cgroup stats")
}

/// Hands `report` the statistics every `interval`, and each out-of-memory kill when it happens,
/// until the container has stopped or `report` fails.
pub fn events(
    root: &Path,
    id: &str,
    interval: Duration,
    mut report: impl FnMut(&Event) -> Result<()>,
) -> Result<()> {
    let container = running(root, id)?;
    let cgroup = cgroup_of(&container)?;
    let mut kills = cgroup.watch_oom()?;
    let Some(init) = container.init()? else { return Ok(()) };
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let ready = poll::poll_in(&[kills.as_fd(), init.as_fd()], Some(left));
        let ready = ready.doing(|| "wait for events")?;
        for _ in 0..kills.take(cgroup)? {
            report(&Event::Oom)?;
        }
        if ready.last() == Some(&true) {
            return Ok(());
        }
        if Instant::now() >= next {
            report(&Event::Stats(Box::new(cgroup.stats()?)))?;
            next = Instant::now() + interval;
        }
    }
}

fn running(root: &Path, id: &str) -> Result<Container> {
    let container = Container::open(root, id)?;
    match container.status()? {
        Status::Stopped => Err(Error::user(format!("container with id {id} is not running"))),
        _ => Ok(container),
    }
}
