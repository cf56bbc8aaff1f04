use super::Cgroup;
use crate::error::Result;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

impl Cgroup {
    /// Applies all limits of `resources`, devices excepted. An error names the JSON path and the
    /// file. For `update`, and for cgroups without processes.
    pub fn set(&self, resources: &LinuxResources) -> Result<()> {
        self.set_early(resources)?;
        self.set_memory(resources)
    }

    /// [`Cgroup::set`] without memory: before the container's process enters.
    pub fn set_early(&self, resources: &LinuxResources) -> Result<()> {
        todo!("cgroup: {resources:?}")
    }

    /// The memory limits alone: last thing before the user's program runs, so that what the
    /// runtime needs to get there is not held against a limit of a few hundred KiB.
    pub fn set_memory(&self, resources: &LinuxResources) -> Result<()> {
        todo!("cgroup: {resources:?}")
    }

    /// Restricts devices to `rules` (`linux.resources.devices`) and the default devices every
    /// container has; nothing else is allowed. For containers at creation only: a pod's cgroup must
    /// leave room for a privileged container, and `update` does not touch devices.
    pub fn set_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<()> {
        todo!("cgroup: {rules:?}")
    }
}
