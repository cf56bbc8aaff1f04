//! `linux.cgroupsPath` and `linux.resources`.

use super::{Plan, Topic};
use crate::error::{Error, Result};
use crate::oci::cgroup::Cgroup;
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

pub(super) fn resolve(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
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
    Ok(())
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
