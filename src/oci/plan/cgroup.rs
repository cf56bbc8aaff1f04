//! `linux.cgroupsPath` and `linux.resources`.

use super::{Plan, Topic};
use crate::error::{Error, Result};
use crate::oci::cgroup::Cgroup;
use crate::sys::types::NsKind;
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

pub(super) fn resolve(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    if cx.options.systemd_cgroup {
        return unit(cx, plan);
    }
    let path = cx.linux.cgroups_path().as_deref().filter(|path| !path.as_os_str().is_empty());
    let resources = cx.linux.resources().as_ref();
    let layout = match (&cx.host.permitted, path) {
        // Who names a cgroup must have it; who does not is content with what there is.
        (Some(permitted), None) => Some(permitted).filter(|some| !some.hierarchies.is_empty()),
        _ => cx.host.cgroups.as_ref(),
    };
    let Some(layout) = layout else {
        return match resources.is_some_and(limits) {
            true => {
                let cause = "rootless needs no limits + no cgrouppath when no permission is \
                     granted for cgroups";
                Err(Error::user(cause).doing("linux.resources"))
            }
            false => Ok(()),
        };
    };
    plan.cgroup = Some(Cgroup::resolve(layout, path, &cx.options.id)?);
    plan.resources = resources.cloned();
    if let Some(resources) = plan.resources.as_mut().filter(|_| cx.host.permitted.is_some()) {
        // To filter devices takes privilege on the host; in a user namespace none can be made.
        resources.set_devices(None);
    }
    plan.filter_devices = cx.host.permitted.is_none();
    plan.cgroup_owner = owner(cx);
    Ok(())
}

/// With systemd, rootless means to ask the user's own manager.
fn unit(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    let Some(layout) = &cx.host.cgroups else {
        return Err(Error::user("--systemd-cgroup: this host has no cgroups"));
    };
    let path = cx.linux.cgroups_path().as_deref();
    let user = cx.host.permitted.is_some().then_some(cx.host.owner);
    let annotations = cx.spec.annotations().clone().unwrap_or_default();
    plan.cgroup = Some(Cgroup::resolve_unit(layout, path, &cx.options.id, user, &annotations)?);
    plan.resources = cx.linux.resources().clone();
    plan.filter_devices = user.is_none();
    plan.cgroup_owner = owner(cx);
    Ok(())
}

/// "If the container has its own cgroup namespace, and its cgroup file system is mounted read/write",
/// and user ids are mapped, the cgroup belongs to the process's user
/// ([runtime-spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#cgroup-ownership)).
fn owner(cx: &Topic<'_>) -> Option<u32> {
    let new = |kind| cx.namespaces.is_new(kind);
    if !(new(NsKind::Cgroup) && new(NsKind::User)) || cx.host.permitted.is_some() {
        return None;
    }
    let mut mounts = cx.spec.mounts().iter().flatten();
    let writable = mounts.any(|mount| {
        let options = mount.options().as_deref().unwrap_or_default();
        mount.typ().as_deref() == Some("cgroup") && !options.iter().any(|option| option == "ro")
    });
    let uid = cx.process.user().uid();
    let mut map = cx.linux.uid_mappings().iter().flatten().filter(|_| writable);
    map.find_map(|range| {
        let offset = uid.checked_sub(range.container_id()).filter(|o| *o < range.size())?;
        range.host_id().checked_add(offset)
    })
}

/// Whether something beside device rules is asked for.
fn limits(resources: &LinuxResources) -> bool {
    let any = |list: Option<usize>| list.is_some_and(|length| length > 0);
    resources.cpu().as_ref().is_some_and(|cpu| *cpu != LinuxCpu::default())
        || resources.memory().is_some_and(|memory| memory != LinuxMemory::default())
        || resources.pids().is_some()
        || resources.block_io().is_some()
        || resources.network().is_some()
        || any(resources.hugepage_limits().as_ref().map(Vec::len))
        || any(resources.rdma().as_ref().map(|map| map.len()))
        || any(resources.unified().as_ref().map(|map| map.len()))
}
