//! Limits in the files of v1
//! ([kernel](https://docs.kernel.org/admin-guide/cgroup-v1/index.html)).

use super::Cgroup;
use super::file::Limit;
use super::limits::{Write, burst, memory_and_swap, pids_max, set_huge_pages, set_rdma, settle};
use crate::error::{Context, Result};
use crate::sys::Errno;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork};
use oci_spec::runtime::{LinuxResources, LinuxThrottleDevice};

/// What the kernel makes of `cpu.shares` out of this range is the nearest end, silently.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

pub(super) fn set_early(cgroup: &Cgroup, resources: &LinuxResources) -> Result<()> {
    if let Some(cpu) = resources.cpu() {
        set_cpu(cgroup, cpu)?;
        set_cpuset(cgroup, cpu)?;
    }
    if let Some(pids) = resources.pids() {
        limit(cgroup, "pids", "pids.limit").write("pids.max", &pids_max(pids.limit()))?;
    }
    if let Some(io) = resources.block_io() {
        set_block_io(cgroup, io)?;
    }
    let pages = resources.hugepage_limits().as_deref().unwrap_or_default();
    set_huge_pages(&limit(cgroup, "hugetlb", "hugepageLimits"), pages, "limit_in_bytes")?;
    if let Some(network) = resources.network() {
        set_network(cgroup, network)?;
    }
    match resources.rdma() {
        Some(devices) => set_rdma(&limit(cgroup, "rdma", "rdma"), devices),
        None => Ok(()),
    }
}

fn limit<'a>(cgroup: &'a Cgroup, controller: &'a str, json: &'a str) -> Limit<'a> {
    Limit { dir: cgroup.v1(controller), controller, json }
}

fn set_cpu(cgroup: &Cgroup, cpu: &LinuxCpu) -> Result<()> {
    let limit = |json| limit(cgroup, "cpu", json);
    if let Some(idle) = cpu.idle() {
        limit("cpu.idle").write("cpu.idle", &idle.to_string())?;
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        if !SHARES.contains(&shares) {
            let (least, most) = SHARES.into_inner();
            return Err(limit("cpu.shares").invalid(format!("{shares} is not in {least}..={most}")));
        }
        limit("cpu.shares").write("cpu.shares", &shares.to_string())?;
    }
    let set = |json, file, value: Option<i128>| {
        let value = value.filter(|value| *value != 0)?;
        Some(Write { limit: limit(json), file, value: value.to_string() })
    };
    let realtime = [
        set("cpu.realtimePeriod", "cpu.rt_period_us", cpu.realtime_period().map(Into::into)),
        set("cpu.realtimeRuntime", "cpu.rt_runtime_us", cpu.realtime_runtime().map(Into::into)),
    ];
    settle(realtime.into_iter().flatten().collect())?;
    let bandwidth = [
        set("cpu.period", "cpu.cfs_period_us", cpu.period().map(Into::into)),
        set("cpu.quota", "cpu.cfs_quota_us", cpu.quota().map(Into::into)),
        burst(cpu, limit("cpu.burst"), "cpu.cfs_burst_us"),
    ];
    settle(bandwidth.into_iter().flatten().collect())
}

fn set_cpuset(cgroup: &Cgroup, cpu: &LinuxCpu) -> Result<()> {
    let sets = [("cpu.cpus", "cpuset.cpus", cpu.cpus()), ("cpu.mems", "cpuset.mems", cpu.mems())];
    for (json, file, value) in sets {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            limit(cgroup, "cpuset", json).write(file, value)?;
        }
    }
    Ok(())
}

fn set_block_io(cgroup: &Cgroup, io: &LinuxBlockIo) -> Result<()> {
    let limit = |json| limit(cgroup, "blkio", json);
    // CFQ had its own files until 5.0, BFQ has them since 4.12.
    let weight = |limit: &Limit<'_>, file: [&str; 2], value: &str| {
        let [cfq, bfq] = file;
        match limit.try_write(cfq, value) {
            Err(Errno::ENOENT) => limit.write(bfq, value),
            result => result.doing(|| limit.attempt(cfq, value)),
        }
    };
    let whole = ["blkio.weight", "blkio.bfq.weight"];
    if let Some(value) = io.weight().filter(|weight| *weight != 0) {
        weight(&limit("blockIO.weight"), whole, &value.to_string())?;
    }
    if let Some(value) = io.leaf_weight().filter(|weight| *weight != 0) {
        limit("blockIO.leafWeight").write("blkio.leaf_weight", &value.to_string())?;
    }
    for device in io.weight_device().iter().flatten() {
        let line = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        let limit = limit("blockIO.weightDevice");
        if let Some(value) = device.weight().filter(|weight| *weight != 0) {
            weight(&limit, ["blkio.weight_device", "blkio.bfq.weight_device"], &line(value))?;
        }
        if let Some(value) = device.leaf_weight().filter(|weight| *weight != 0) {
            limit.write("blkio.leaf_weight_device", &line(value))?;
        }
    }
    for (json, file, devices) in throttles(io) {
        for device in devices.iter().flatten() {
            let line = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            limit(json).write(file, &line)?;
        }
    }
    Ok(())
}

type Throttle<'a> = (&'static str, &'static str, &'a Option<Vec<LinuxThrottleDevice>>);

fn throttles(io: &LinuxBlockIo) -> [Throttle<'_>; 4] {
    [
        (
            "blockIO.throttleReadBpsDevice",
            "blkio.throttle.read_bps_device",
            io.throttle_read_bps_device(),
        ),
        (
            "blockIO.throttleWriteBpsDevice",
            "blkio.throttle.write_bps_device",
            io.throttle_write_bps_device(),
        ),
        (
            "blockIO.throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            io.throttle_read_iops_device(),
        ),
        (
            "blockIO.throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            io.throttle_write_iops_device(),
        ),
    ]
}

fn set_network(cgroup: &Cgroup, network: &LinuxNetwork) -> Result<()> {
    if let Some(class) = network.class_id() {
        let limit = limit(cgroup, "net_cls", "network.classID");
        limit.write("net_cls.classid", &class.to_string())?;
    }
    for priority in network.priorities().iter().flatten() {
        let limit = limit(cgroup, "net_prio", "network.priorities");
        limit
            .write("net_prio.ifpriomap", &format!("{} {}", priority.name(), priority.priority()))?;
    }
    Ok(())
}

/// `memory.kernel` is ignored, as in runc: the kernel dropped it in 5.16 and never kept to it well.
pub(super) fn set_memory(cgroup: &Cgroup, memory: &LinuxMemory) -> Result<()> {
    let limit = |json| limit(cgroup, "memory", json);
    let (max, swap) = memory_and_swap(memory);
    let set = |json, file, value: Option<i64>| {
        Some(Write { limit: limit(json), file, value: value?.to_string() })
    };
    let both = [
        set("memory.limit", "memory.limit_in_bytes", max),
        set("memory.swap", "memory.memsw.limit_in_bytes", swap),
    ];
    settle(both.into_iter().flatten().collect())?;
    let rest = [
        ("memory.reservation", "memory.soft_limit_in_bytes", memory.reservation()),
        ("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp()),
    ];
    for (json, file, value) in rest {
        if let Some(value) = value.filter(|value| *value != 0) {
            limit(json).write(file, &value.to_string())?;
        }
    }
    if let Some(swappiness) = memory.swappiness() {
        if swappiness > 100 {
            let why = format!("{swappiness} is not in 0..=100");
            return Err(limit("memory.swappiness").invalid(why));
        }
        limit("memory.swappiness").write("memory.swappiness", &swappiness.to_string())?;
    }
    if memory.disable_oom_killer() == Some(true) {
        limit("memory.disableOOMKiller").write("memory.oom_control", "1")?;
    }
    Ok(())
}
