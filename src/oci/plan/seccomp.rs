//! `linux.seccomp`: the filter, and who is told about what it asks.

use super::step::{At, Listener, Step};
use super::{Plan, cstring};
use crate::error::{Context, Error, Result};
use crate::oci::seccomp::{Filter, compile};
use oci_spec::runtime::Linux;
use std::os::unix::ffi::OsStrExt;

/// Compiles the filter. One that uses `SCMP_ACT_NOTIFY` needs somebody who listens.
pub(super) fn filter(linux: &Linux, plan: &mut Plan) -> Result<()> {
    let Some(profile) = linux.seccomp() else { return Ok(()) };
    let filter = compile(profile).doing(|| "linux.seccomp")?;
    if filter.notify {
        let at = At::field("linux.seccomp.listenerPath");
        let path = profile.listener_path().as_ref().map(|path| path.as_os_str().as_bytes());
        let path = path.filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| {
            Error::user(format!("{at}: seccomp listenerPath is not set, but SCMP_ACT_NOTIFY used"))
        })?;
        plan.listener = Some(Listener {
            path: cstring(path, at)?,
            metadata: profile.listener_metadata().clone().unwrap_or_default(),
        });
    }
    plan.filter = Some(filter);
    Ok(())
}

/// When the filter is loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// There is none.
    Never,
    /// Before the change of user, which takes privileges that loading takes too.
    First,
    /// As the last thing before the program, so that it needs to allow the least.
    Last,
}

/// Without no_new_privs, loading takes a privilege that the change of user gives up.
pub(super) fn load(filter: Option<&Filter>, no_new_privileges: bool) -> Load {
    match filter {
        None => Load::Never,
        Some(_) if no_new_privileges => Load::Last,
        Some(_) => Load::First,
    }
}

/// A filter with a listener, while the parent that hands it on is there: it is gone once the
/// container waits for `start`.
pub(super) fn with_listener(plan: &mut Plan) {
    if let Some(listener) = plan.listener.take() {
        plan.child(At::field("linux.seccomp"), Step::Seccomp);
        plan.parent(At::field("linux.seccomp.listenerPath"), Step::Listener(listener));
    }
}
