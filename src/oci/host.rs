//! What a plan needs to know of the host, read once.

use super::cgroup::Layout;
use crate::error::{Context, Result};
use crate::sys::{cred, fs, ns};
use std::path::Path;

/// Facts about the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The caller's effective user.
    pub euid: u32,
    /// The caller's effective group.
    pub egid: u32,
    /// The same user as the initial user namespace knows him.
    pub owner: u32,
    /// Capabilities that can be had at all: the caller's own.
    pub capabilities: u64,
    /// Whether the kernel confines by AppArmor.
    pub apparmor: bool,
    /// Its cgroups; `None` where there are none.
    pub cgroups: Option<Layout>,
    /// For a rootless caller, what of them it may make cgroups in. That may be nothing, and device
    /// rules are then not for it to set.
    pub permitted: Option<Layout>,
}

/// Whether missing rights to cgroups are put up with (`--rootless`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rootless {
    /// For anyone but the root of the initial user namespace.
    #[default]
    Auto,
    /// `true`.
    Yes,
    /// `false`.
    No,
}

impl Rootless {
    /// Whether the caller is rootless.
    pub fn applies(self) -> bool {
        match self {
            Self::Yes => true,
            Self::No => false,
            Self::Auto => cred::geteuid() != 0 || !ns::is_initial_user_namespace(),
        }
    }
}

impl Host {
    /// Asks the kernel.
    pub fn probe(rootless: Rootless) -> Result<Self> {
        let cgroups = Layout::probe();
        let (cgroups, permitted) = match rootless.applies() {
            false => (Some(cgroups?), None),
            true => {
                let cgroups = cgroups.ok();
                let permitted = cgroups.as_ref().map_or_else(Layout::none, Layout::permitted);
                (cgroups, Some(permitted))
            }
        };
        let euid = cred::geteuid();
        let owner = if permitted.is_some() { ns::outer_user(euid).unwrap_or(euid) } else { euid };
        let apparmor = fs::read_kernel_file(Path::new("/sys/module/apparmor/parameters/enabled"));
        Ok(Self {
            apparmor: apparmor.is_ok_and(|enabled| enabled.starts_with('Y')),
            euid,
            owner,
            egid: cred::getegid(),
            capabilities: cred::permitted().doing(|| "read own capabilities")?,
            cgroups,
            permitted,
        })
    }
}
