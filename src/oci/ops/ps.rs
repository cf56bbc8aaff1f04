//! `ps`: which processes are in a container.

use super::cgroup_of;
use crate::error::{Context, Result};
use crate::oci::container::Container;
use std::path::Path;

/// The pids, as the host sees them, of all processes in the container's cgroup and below; none once
/// it has stopped.
pub fn ps(root: &Path, id: &str) -> Result<Vec<i32>> {
    let container = Container::open(root, id)?;
    let mut pids = cgroup_of(&container)?.pids().doing(|| "list the container's processes")?;
    pids.sort_unstable();
    Ok(pids)
}
