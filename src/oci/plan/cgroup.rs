//! `linux.cgroupsPath` and `linux.resources`.

use super::{Plan, Topic};
use crate::error::Result;
use crate::oci::cgroup::Cgroup;

pub(super) fn resolve(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    let Some(layout) = &cx.host.cgroups else { return Ok(()) };
    let path = cx.linux.cgroups_path().as_deref();
    plan.cgroup = Some(Cgroup::resolve(layout, path, &cx.options.id)?);
    plan.resources = cx.linux.resources().clone();
    Ok(())
}
