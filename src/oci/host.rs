//! What a plan needs to know of the host, read once.

use super::cgroup::Layout;
use crate::error::{Context, Result};
use crate::sys::cred;

/// Facts about the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The caller's effective user.
    pub euid: u32,
    /// Capabilities that can be had at all: the caller's own.
    pub capabilities: u64,
    /// Its cgroups; `None` where there are none.
    pub cgroups: Option<Layout>,
}

impl Host {
    /// Asks the kernel.
    pub fn probe() -> Result<Self> {
        Ok(Self {
            euid: cred::geteuid(),
            capabilities: cred::permitted().doing(|| "read own capabilities")?,
            cgroups: Some(Layout::probe()?),
        })
    }
}
