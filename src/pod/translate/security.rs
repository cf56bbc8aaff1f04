//! What a container may do: capabilities, and paths of `/proc` and `/sys` out of its reach.

use crate::error::{Error, Result};
use caps::Capability;
use k8s_openapi::api::core::v1::SecurityContext;
use std::collections::BTreeSet;

/// The capabilities of a container that asks for nothing: containerd's.
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// `procMount: Default`: what reads as empty.
pub const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// `procMount: Default`: what cannot be written.
pub const READONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The capabilities of a container, sorted. `ALL` comes first whichever way, then what is added,
/// then what is dropped.
pub fn capabilities(context: &SecurityContext) -> Result<BTreeSet<String>> {
    let names = |list: Option<&Vec<String>>| -> BTreeSet<String> {
        list.into_iter().flatten().map(|name| full_name(name)).collect()
    };
    let given = context.capabilities.as_ref();
    let (add, drop) = (
        names(given.and_then(|given| given.add.as_ref())),
        names(given.and_then(|given| given.drop.as_ref())),
    );
    let is_unknown = |name: &&String| *name != "CAP_ALL" && name.parse::<Capability>().is_err();
    if let Some(name) = add.iter().chain(&drop).find(is_unknown) {
        return Err(Error::user(format!("unknown capability {name:?}")));
    }
    let every = || caps::all().into_iter().map(|capability| capability.to_string()).collect();
    if context.privileged == Some(true) {
        return Ok(every());
    }
    let mut set: BTreeSet<String> = match (add.contains("CAP_ALL"), drop.contains("CAP_ALL")) {
        (_, true) => BTreeSet::new(),
        (true, _) => every(),
        _ => DEFAULT.iter().map(|name| full_name(name)).collect(),
    };
    set.extend(add);
    set.retain(|name| name != "CAP_ALL" && !drop.contains(name));
    Ok(set)
}

/// Manifests leave `CAP_` out, as a rule.
fn full_name(name: &str) -> String {
    let name = name.to_uppercase();
    if name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Capabilities;

    fn set(add: &[&str], drop: &[&str], privileged: bool) -> Vec<String> {
        try_set(add, drop, privileged).unwrap().into_iter().collect()
    }

    fn try_set(add: &[&str], drop: &[&str], privileged: bool) -> Result<BTreeSet<String>> {
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let capabilities = Some(Capabilities { add: list(add), drop: list(drop) });
        let context =
            SecurityContext { capabilities, privileged: Some(privileged), ..Default::default() };
        super::capabilities(&context)
    }

    #[test]
    fn capabilities_are_added_and_dropped_in_containerds_order() {
        assert_eq!(set(&[], &[], false).len(), 14);
        assert_eq!(set(&[], &["ALL"], false), [""; 0]);
        assert_eq!(set(&["NET_ADMIN"], &["ALL"], false), ["CAP_NET_ADMIN"]);
        assert_eq!(set(&["CAP_NET_ADMIN"], &["net_admin", "ALL"], false), [""; 0]);
        assert_eq!(set(&["ALL"], &["MKNOD"], false).len(), caps::all().len() - 1);
        assert_eq!(set(&[], &["ALL"], true).len(), caps::all().len());
        assert!(!set(&[], &["CAP_MKNOD"], false).contains(&"CAP_MKNOD".to_owned()));
        let error = try_set(&["TIME_TRAVEL"], &[], false).unwrap_err();
        assert_eq!(error.to_string(), "unknown capability \"CAP_TIME_TRAVEL\"");
    }
}
