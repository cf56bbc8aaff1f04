//! `pause` and `resume`: all processes of a container frozen, and thawed.

use super::cgroup_of;
use crate::error::{Context, Error, Result};
use crate::oci::container::{Container, Status};
use std::path::Path;

/// Freezes a running or created container; returns once it stands still.
pub fn pause(root: &Path, id: &str) -> Result<()> {
    let container = Container::open(root, id)?;
    match container.status()? {
        Status::Running | Status::Created => {
            cgroup_of(&container)?.freeze(true).doing(|| "unable to freeze")
        }
        Status::Creating | Status::Paused | Status::Stopped => {
            Err(Error::user("container not running"))
        }
    }
}

/// Thaws a paused container.
pub fn resume(root: &Path, id: &str) -> Result<()> {
    let container = Container::open(root, id)?;
    match container.status()? {
        Status::Paused => cgroup_of(&container)?.freeze(false).doing(|| "unable to thaw"),
        _ => Err(Error::user("container not paused")),
    }
}
