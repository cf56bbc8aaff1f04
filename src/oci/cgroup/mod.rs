//! Control groups on v1, hybrid and v2 hosts, cgroupfs driver.

use crate::error::Result;
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// How the host's cgroups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// All controllers on v1 hierarchies.
    V1,
    /// v1 controllers and an empty v2 tree (`/sys/fs/cgroup/unified`).
    Hybrid,
    /// One v2 tree.
    V2,
}

/// One hierarchy of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// `cpu`, `cpuacct`, …, `name=systemd`; empty for v2.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The caller's own cgroup in it, from `/proc/self/cgroup`.
    pub own: PathBuf,
}

/// The host's cgroups, probed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The kind of layout.
    pub mode: Mode,
    /// Every usable hierarchy; exactly one under [`Mode::V2`].
    pub hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// Reads `/proc/self/mountinfo` and `/proc/self/cgroup` once.
    pub fn probe() -> Result<Self> {
        todo!("cgroup")
    }
}

/// The cgroup directories of one container (or of one pod, as the parent of its containers).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cgroup {
    /// One directory per hierarchy, in the layout's order.
    pub dirs: Vec<PathBuf>,
    /// The layout's kind.
    pub mode: Mode,
}

impl Cgroup {
    /// Where `linux.cgroupsPath` leads (absolute: from the hierarchy's root; relative: from the
    /// caller's own cgroup; none: `id`). Pure; nothing is made.
    pub fn resolve(layout: &Layout, cgroups_path: Option<&Path>, id: &str) -> Result<Self> {
        todo!("cgroup: {layout:?} {cgroups_path:?} {id}")
    }

    /// Makes the directories (parents too, controllers enabled on v2). A directory that exists and
    /// holds processes is an error unless `shared`.
    pub fn make(&self, shared: bool) -> Result<()> {
        todo!("cgroup: {self:?} {shared}")
    }

    /// Applies the limits; an error names the JSON path and the file.
    pub fn set(&self, resources: &LinuxResources) -> Result<()> {
        todo!("cgroup: {self:?} {resources:?}")
    }

    /// Moves `pid` in (every hierarchy).
    pub fn join(&self, pid: i32) -> Result<()> {
        todo!("cgroup: {self:?} {pid}")
    }

    /// The v2 directory for `CLONE_INTO_CGROUP`, where there is one that holds controllers.
    pub fn clone_into(&self) -> Result<Option<OwnedFd>> {
        todo!("cgroup: {self:?}")
    }

    /// All processes in it and below.
    pub fn pids(&self) -> Result<Vec<i32>> {
        todo!("cgroup: {self:?}")
    }

    /// SIGKILLs all processes in it and below, also frozen ones, until none is left or `deadline`.
    pub fn kill_all(&self, deadline: std::time::Duration) -> Result<()> {
        todo!("cgroup: {self:?} {deadline:?}")
    }

    /// Freezes or thaws, and waits until it is so.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        todo!("cgroup: {self:?} {frozen}")
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> Result<bool> {
        todo!("cgroup: {self:?}")
    }

    /// How many times the OOM killer has struck in it.
    pub fn oom_kills(&self) -> Result<u64> {
        todo!("cgroup: {self:?}")
    }

    /// Removes the directories and everything below, processes' exit awaited (events, not sleeps);
    /// missing ones are fine. With `parents`, also each emptied parent named so.
    pub fn remove(&self) -> Result<()> {
        todo!("cgroup: {self:?}")
    }
}
