//! Limits in the files of v2
//! ([kernel](https://docs.kernel.org/admin-guide/cgroup-v2.html)). A v1 limit that v2 has no file
//! for is an error: a limit must hold or be refused.

use super::Cgroup;
use super::file::Limit;
use super::limits::{
    Write, burst, memory_and_swap, pids_max, set_huge_pages, set_rdma, settle, weight_of_shares,
};
use crate::error::{Context, Error, Result};
use crate::sys::Errno;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};
use std::collections::HashMap;

pub(super) fn set_early(cgroup: &Cgroup, resources: &LinuxResources) -> Result<()> {
    if let Some(cpu) = resources.cpu() {
        set_cpu(cgroup, cpu)?;
    }
    if let Some(pids) = resources.pids() {
        limit(cgroup, "pids", "pids.limit").write("pids.max", &pids_max(pids.limit()))?;
    }
    if let Some(io) = resources.block_io() {
        set_block_io(cgroup, io)?;
    }
    let pages = resources.hugepage_limits().as_deref().unwrap_or_default();
    set_huge_pages(&limit(cgroup, "hugetlb", "hugepageLimits"), pages, "max")?;
    if let Some(network) = resources.network() {
        let priorities = network.priorities().as_ref();
        refuse("network.classID", network.class_id().is_some())?;
        refuse("network.priorities", priorities.is_some_and(|list| !list.is_empty()))?;
    }
    match resources.rdma() {
        Some(devices) => set_rdma(&limit(cgroup, "rdma", "rdma"), devices),
        None => Ok(()),
    }
}

fn limit<'a>(cgroup: &'a Cgroup, controller: &'a str, json: &'a str) -> Limit<'a> {
    Limit { dir: cgroup.v2(), controller, json }
}

fn refuse(json: &str, asked: bool) -> Result<()> {
    match asked {
        true => {
            Err(Error::user("cgroup v2 has no such limit").doing(format!("linux.resources.{json}")))
        }
        false => Ok(()),
    }
}

fn set_cpu(cgroup: &Cgroup, cpu: &LinuxCpu) -> Result<()> {
    refuse("cpu.realtimePeriod", cpu.realtime_period().is_some_and(|period| period != 0))?;
    refuse("cpu.realtimeRuntime", cpu.realtime_runtime().is_some_and(|runtime| runtime != 0))?;
    let limit = |json| limit(cgroup, "cpu", json);
    if let Some(idle) = cpu.idle() {
        limit("cpu.idle").write("cpu.idle", &idle.to_string())?;
    }
    // The kernel refuses a weight for what is idle.
    let weight = cpu.shares().and_then(weight_of_shares).filter(|_| cpu.idle() != Some(1));
    if let Some(weight) = weight {
        limit("cpu.shares").write("cpu.weight", &weight.to_string())?;
    }
    let now = || limit("cpu.quota").read("cpu.max").unwrap_or_default();
    let max = cpu_max(cpu, now);
    let max = max.map(|value| Write { limit: limit("cpu.quota"), file: "cpu.max", value });
    let burst = burst(cpu, limit("cpu.burst"), "cpu.max.burst");
    settle(max.into_iter().chain(burst).collect())?;
    for (json, value) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            let json = format!("cpu.{json}");
            let file = json.replace("cpu.", "cpuset.");
            self::limit(cgroup, "cpuset", &json).write(&file, value)?;
        }
    }
    Ok(())
}

/// `cpu.max`: quota and period in one file. A quota alone leaves the period as it is; for a period
/// alone the quota must be said again, as it stands `now`.
fn cpu_max(cpu: &LinuxCpu, now: impl FnOnce() -> String) -> Option<String> {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let quota = quota.map(|quota| if quota < 0 { "max".into() } else { quota.to_string() });
    match (quota, cpu.period().filter(|period| *period != 0)) {
        (None, None) => None,
        (Some(quota), None) => Some(quota),
        (Some(quota), Some(period)) => Some(format!("{quota} {period}")),
        (None, Some(period)) => {
            let now = now();
            let quota = now.split_ascii_whitespace().next().unwrap_or("max");
            Some(format!("{quota} {period}"))
        }
    }
}

fn set_block_io(cgroup: &Cgroup, io: &LinuxBlockIo) -> Result<()> {
    let limit = |json| limit(cgroup, "io", json);
    refuse("blockIO.leafWeight", io.leaf_weight().is_some_and(|weight| weight != 0))?;
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        set_io_weight(&limit("blockIO.weight"), "", weight)?;
    }
    for device in io.weight_device().iter().flatten() {
        let asked = device.leaf_weight().is_some_and(|weight| weight != 0);
        refuse("blockIO.weightDevice[].leafWeight", asked)?;
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            let device = format!("{}:{} ", device.major(), device.minor());
            set_io_weight(&limit("blockIO.weightDevice"), &device, weight)?;
        }
    }
    let throttles = [
        ("blockIO.throttleReadBpsDevice", "rbps", io.throttle_read_bps_device()),
        ("blockIO.throttleWriteBpsDevice", "wbps", io.throttle_write_bps_device()),
        ("blockIO.throttleReadIOPSDevice", "riops", io.throttle_read_iops_device()),
        ("blockIO.throttleWriteIOPSDevice", "wiops", io.throttle_write_iops_device()),
    ];
    for (json, key, devices) in throttles {
        for device in devices.iter().flatten() {
            let line = format!("{}:{} {key}={}", device.major(), device.minor(), device.rate());
            limit(json).write("io.max", &line)?;
        }
    }
    Ok(())
}

/// BFQ counts as v1 did, 1 to 1000; iocost from 1 to 10000.
fn set_io_weight(limit: &Limit<'_>, device: &str, weight: u16) -> Result<()> {
    let bfq = format!("{device}{weight}");
    match limit.try_write("io.bfq.weight", &bfq) {
        Err(Errno::ENOENT) => {
            let weight = 1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990;
            limit.write("io.weight", &format!("{device}{weight}"))
        }
        result => result.doing(|| limit.attempt("io.bfq.weight", &bfq)),
    }
}

/// `memory.kernel` is ignored, as in runc: v2 accounts kernel memory with the rest.
pub(super) fn set_memory(cgroup: &Cgroup, memory: &LinuxMemory) -> Result<()> {
    let limit = |json| limit(cgroup, "memory", json);
    refuse("memory.kernelTCP", memory.kernel_tcp().is_some_and(|limit| limit != 0))?;
    refuse("memory.swappiness", memory.swappiness().is_some())?;
    refuse("memory.disableOOMKiller", memory.disable_oom_killer() == Some(true))?;
    let (max, with_swap) = memory_and_swap(memory);
    let swap = swap_alone(&limit("memory.swap"), max, with_swap)?;
    if memory.check_before_update() == Some(true) {
        check_usage(&limit("memory.limit"), max, with_swap)?;
    }
    if let Some(swap) = swap {
        match limit("memory.swap").try_write("memory.swap.max", &swap) {
            Ok(()) => {}
            // Without swap accounting there is no swap to limit, unless a real amount is asked for.
            Err(Errno::ENOENT) if swap == "max" || swap == "0" => {}
            Err(_) => limit("memory.swap").write("memory.swap.max", &swap)?,
        }
    }
    for (json, file, value) in [
        ("memory.limit", "memory.max", max),
        ("memory.reservation", "memory.low", memory.reservation()),
    ] {
        if let Some(value) = value.filter(|value| *value != 0) {
            limit(json).write(file, &bytes(value))?;
        }
    }
    Ok(())
}

fn bytes(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

/// v1 and the spec limit memory and swap together, v2 swap alone.
fn swap_alone(limit: &Limit<'_>, max: Option<i64>, both: Option<i64>) -> Result<Option<String>> {
    match (max, both) {
        (_, None) => Ok(None),
        (_, Some(..0)) => Ok(Some("max".into())),
        (None | Some(..0), Some(_)) => {
            Err(limit.invalid("unable to set swap limit without memory limit"))
        }
        (Some(max), Some(both)) if both < max => {
            Err(limit.invalid("memory+swap limit should be >= memory limit"))
        }
        (Some(max), Some(both)) => Ok(Some((both - max).to_string())),
    }
}

/// v2 takes a limit below the usage and kills; `checkBeforeUpdate` asks for v1's refusal.
fn check_usage(limit: &Limit<'_>, max: Option<i64>, with_swap: Option<i64>) -> Result<()> {
    if max.is_none_or(|max| max <= 0) && with_swap.is_none_or(|max| max <= 0) {
        return Ok(());
    }
    let usage = |file| -> Result<i64> {
        match limit.read(file) {
            Err(Errno::ENOENT) => Ok(0),
            read => {
                let read = read.doing(|| format!("read {file} for checkBeforeUpdate"))?;
                Ok(read.trim().parse().unwrap_or(0))
            }
        }
    };
    let memory = usage("memory.current")?;
    let swap = usage("memory.swap.current")?;
    for (what, max, used) in
        [("memory+swap", with_swap, memory.saturating_add(swap)), ("memory", max, memory)]
    {
        if let Some(max) = max.filter(|max| *max > 0 && used > *max) {
            let why = format!("rejecting {what} limit {max}: the container uses {used} bytes now");
            return Err(limit.invalid(why));
        }
    }
    Ok(())
}

/// `linux.resources.unified`: file names and what to write, as they are.
pub(super) fn set_unified(cgroup: &Cgroup, unified: &HashMap<String, String>) -> Result<()> {
    for (file, value) in unified {
        let json = format!("unified[\"{file}\"]");
        let controller = file.split('.').next().unwrap_or_default();
        let limit = Limit { dir: cgroup.v2(), controller, json: &json };
        if file.contains('/') || !file.contains('.') || file.starts_with("cgroup.") {
            return Err(limit.invalid("not the name of a controller's file"));
        }
        // Some files take one line a write (io.max).
        for line in value.lines() {
            limit.write(file, line)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_and_period_share_a_file() {
        for (quota, period, expected) in [
            (None, None, None),
            (Some(0), Some(0), None),
            (Some(50_000), None, Some("50000")),
            (Some(-1), None, Some("max")),
            (None, Some(20_000), Some("7000 20000")),
            (Some(1000), Some(20_000), Some("1000 20000")),
        ] {
            let mut cpu = LinuxCpu::default();
            cpu.set_quota(quota).set_period(period);
            assert_eq!(cpu_max(&cpu, || "7000 9000\n".into()).as_deref(), expected);
        }
    }

    #[test]
    fn swap_is_what_exceeds_memory() {
        let limit = Limit { dir: None, controller: "memory", json: "memory.swap" };
        for (max, both, expected) in [
            (Some(10), None, Ok(None)),
            (Some(10), Some(10), Ok(Some("0"))),
            (Some(10), Some(25), Ok(Some("15"))),
            (Some(-1), Some(-1), Ok(Some("max"))),
            (None, Some(-1), Ok(Some("max"))),
            (None, Some(5), Err("without memory limit")),
            (Some(10), Some(5), Err(">= memory limit")),
        ] {
            match (swap_alone(&limit, max, both), expected) {
                (Ok(swap), Ok(expected)) => assert_eq!(swap.as_deref(), expected),
                (Err(error), Err(text)) => assert!(error.to_string().ends_with(text), "{error}"),
                (result, expected) => panic!("{max:?} {both:?}: {result:?}, not {expected:?}"),
            }
        }
    }
}
