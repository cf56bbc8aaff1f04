//! The plan of `exec`: join, then what every process goes through.

use super::attributes;
use super::process::{self, Settings};
use super::step::{At, Step};
use super::{OWN, Plan, seccomp};
use crate::error::Result;
use crate::oci::container::Record;
use crate::sys::types::NsKind;
use oci_spec::runtime::{Process, Spec};

/// What of `process` is worth a line to whoever asks for all (`--debug`), in runc's words.
pub fn exec_remarks(process: &Process) -> Result<Vec<String>> {
    let cpus = attributes::initial(process)?;
    Ok(cpus.iter().map(|cpus| format!("nsexec: affinity: {cpus:#x}")).collect())
}

const SYS_ADMIN: u64 = 1 << 21;

/// Decides how `process` gets into a running container that was created from `spec`. `available` are
/// the capabilities that can be had.
pub fn exec(
    record: &Record,
    spec: &Spec,
    process: &Process,
    preserve_fds: u32,
    available: u64,
) -> Result<Plan> {
    process::refuse_labels(process)?;
    let mut plan = Plan {
        cgroup: record.cgroup.clone(),
        namespaces: record.namespaces.clone(),
        rootfs: record.rootfs.clone(),
        ..Plan::default()
    };
    if let Some(linux) = spec.linux() {
        seccomp::filter(linux, &mut plan)?;
    }
    let at = At::field("linux.namespaces");
    // Without privilege of its own the parent gets it in the container's user namespace only.
    let rootless = available & SYS_ADMIN == 0;
    let before = |kind: NsKind| kind == NsKind::Pid || rootless && kind == NsKind::User;
    let (before, others): (Vec<_>, Vec<_>) =
        record.namespaces.iter().copied().partition(|kind| before(*kind));
    if !before.is_empty() {
        plan.parent(at, Step::JoinContainer(before));
    }
    attributes::before_clone(process, &mut plan)?;
    plan.parent(OWN, Step::Clone(Vec::new()));
    plan.child(at, Step::JoinContainer(others));
    if record.namespaces.contains(&NsKind::User) {
        plan.child(OWN, Step::BecomeRoot);
    }
    plan.child(OWN, Step::Session);
    process::apparmor(process, &mut plan)?;
    process::terminal(process, false, &mut plan);
    let settings = Settings {
        process,
        linux: spec.linux().as_ref(),
        available,
        preserve_fds,
        limit_memory: false,
        mode: None,
        user_namespace: record.namespaces.contains(&NsKind::User),
        start_hooks: false,
    };
    process::steps(&settings, &mut plan)?;
    Ok(plan)
}
