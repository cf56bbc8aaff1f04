//! From the files of v1.

use super::{
    BlockEntry, BlockIo, Cgroup, Cpu, CpuSet, Files, Huge, Memory, MemoryEntry, Pids, Stats,
    number, page_sizes, ticks,
};
use crate::error::Result;
use std::collections::BTreeMap;

pub(super) fn stats(cgroup: &Cgroup) -> Result<Stats> {
    let files = |controller| Files { dir: cgroup.v1(controller) };
    Ok(Stats {
        cpu: cpu(&files("cpu"), &files("cpuacct"))?,
        cpuset: cpuset(&files("cpuset"))?,
        memory: memory(&files("memory"))?,
        pids: pids(&files("pids"))?,
        blkio: block_io(&files("blkio"))?,
        hugetlb: huge(&files("hugetlb"))?,
        ..Stats::default()
    })
}

fn cpu(cpu: &Files<'_>, account: &Files<'_>) -> Result<Cpu> {
    let mut found = Cpu::default();
    let stat = cpu.keyed("cpu.stat")?;
    let get = |key| stat.get(key).copied().unwrap_or(0);
    found.throttling.periods = get("nr_periods");
    found.throttling.throttled_periods = get("nr_throttled");
    found.throttling.throttled_time = get("throttled_time");
    let usage = &mut found.usage;
    usage.total = account.number("cpuacct.usage")?;
    let split = account.keyed("cpuacct.stat")?;
    usage.user = split.get("user").copied().map_or(0, ticks);
    usage.kernel = split.get("system").copied().map_or(0, ticks);
    let each = account.text("cpuacct.usage_percpu")?.unwrap_or_default();
    usage.percpu = each.split_ascii_whitespace().map(number).collect();
    let all = account.text("cpuacct.usage_all")?.unwrap_or_default();
    // `cpu user system`, under a header.
    for line in all.lines().skip(1) {
        let mut columns = line.split_ascii_whitespace().skip(1).map(number);
        if let (Some(user), Some(kernel)) = (columns.next(), columns.next()) {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(kernel);
        }
    }
    Ok(found)
}

fn cpuset(files: &Files<'_>) -> Result<CpuSet> {
    let list = |name| Ok::<_, crate::error::Error>(numbers(&files.text(name)?.unwrap_or_default()));
    let number = |name: &str| files.number(&format!("cpuset.{name}"));
    let level = files.text("cpuset.sched_relax_domain_level")?;
    Ok(CpuSet {
        cpus: list("cpuset.cpus")?,
        cpu_exclusive: number("cpu_exclusive")?,
        mems: list("cpuset.mems")?,
        mem_hardwall: number("mem_hardwall")?,
        mem_exclusive: number("mem_exclusive")?,
        memory_migrate: number("memory_migrate")?,
        memory_spread_page: number("memory_spread_page")?,
        memory_spread_slab: number("memory_spread_slab")?,
        memory_pressure: number("memory_pressure")?,
        sched_load_balance: number("sched_load_balance")?,
        sched_relax_domain_level: level.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
    })
}

/// `0-2,7` written out.
fn numbers(list: &str) -> Vec<u16> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    });
    ranges.flatten().collect()
}

fn memory(files: &Files<'_>) -> Result<Memory> {
    let raw = files.keyed("memory.stat")?;
    let entry = |name: &str| {
        let number = |what: &str| files.number(&format!("memory.{name}{what}"));
        Ok::<_, crate::error::Error>(MemoryEntry {
            limit: number("limit_in_bytes")?,
            usage: number("usage_in_bytes")?,
            max: number("max_usage_in_bytes")?,
            failcnt: number("failcnt")?,
        })
    };
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("")?,
        swap: entry("memsw.")?,
        kernel: entry("kmem.")?,
        kernel_tcp: entry("kmem.tcp.")?,
        raw,
        psi: None,
    })
}

fn pids(files: &Files<'_>) -> Result<Pids> {
    let limit = files.number("pids.max")?;
    let limit = if limit == u64::MAX { 0 } else { limit };
    Ok(Pids { current: files.number("pids.current")?, limit })
}

/// Which schedulers keep which account: the first set of files that is there and not empty counts.
fn block_io(files: &Files<'_>) -> Result<BlockIo> {
    for prefix in ["blkio.bfq.", "blkio."] {
        let read = |name: &str| entries(files, &format!("{prefix}{name}_recursive"));
        let serviced = read("io_serviced")?;
        if serviced.is_empty() {
            continue;
        }
        return Ok(BlockIo {
            io_service_bytes_recursive: read("io_service_bytes")?,
            io_serviced_recursive: serviced,
            io_queue_recursive: read("io_queued")?,
            io_service_time_recursive: read("io_service_time")?,
            io_wait_time_recursive: read("io_wait_time")?,
            io_merged_recursive: read("io_merged")?,
            io_time_recursive: read("time")?,
            sectors_recursive: read("sectors")?,
            psi: None,
        });
    }
    for suffix in ["_recursive", ""] {
        let serviced = entries(files, &format!("blkio.throttle.io_serviced{suffix}"))?;
        if !serviced.is_empty() {
            let name = format!("blkio.throttle.io_service_bytes{suffix}");
            return Ok(BlockIo {
                io_service_bytes_recursive: entries(files, &name)?,
                io_serviced_recursive: serviced,
                ..BlockIo::default()
            });
        }
    }
    Ok(BlockIo::default())
}

fn entries(files: &Files<'_>, name: &str) -> Result<Vec<BlockEntry>> {
    Ok(files.text(name)?.unwrap_or_default().lines().filter_map(entry).collect())
}

/// `8:0 Read 4096`, or without the operation. The sum of all (`Total 4096`) is none.
fn entry(line: &str) -> Option<BlockEntry> {
    let mut fields = line.split([' ', ':']);
    let (major, minor) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let (op, value) = match (fields.next()?, fields.next()) {
        (op, Some(value)) => (op.to_owned(), value),
        (value, None) => (String::new(), value),
    };
    Some(BlockEntry { major, minor, op, value: value.parse().ok()? })
}

fn huge(files: &Files<'_>) -> Result<BTreeMap<String, Huge>> {
    let mut found = BTreeMap::new();
    if files.dir.is_none() {
        return Ok(found);
    }
    for size in page_sizes() {
        // Reservations where the kernel accounts for them (5.7), for that is what a limit holds.
        let mut prefix = format!("hugetlb.{size}.rsvd.");
        if files.text(&format!("{prefix}usage_in_bytes"))?.is_none() {
            prefix = format!("hugetlb.{size}.");
        }
        let usage = Huge {
            usage: files.number(&format!("{prefix}usage_in_bytes"))?,
            max: files.number(&format!("{prefix}max_usage_in_bytes"))?,
            failcnt: files.number(&format!("{prefix}failcnt"))?,
        };
        found.insert(size, usage);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_written_out() {
        for (list, expected) in [("0-2,7\n", &[0, 1, 2, 7][..]), ("3", &[3]), ("", &[]), ("x", &[])]
        {
            assert_eq!(numbers(list), expected, "{list}");
        }
    }

    #[test]
    fn lines_of_block_devices() {
        let read = entry("8:16 Write 4096").unwrap();
        assert_eq!((read.major, read.minor, &*read.op, read.value), (8, 16, "Write", 4096));
        let read = entry("8:0 77").unwrap();
        assert_eq!((read.minor, &*read.op, read.value), (0, "", 77));
        assert_eq!(entry("Total 4096"), None);
    }
}
