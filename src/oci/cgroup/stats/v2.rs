//! From the files of v2, under v1's names where those are what callers know.

use super::{
    BlockEntry, BlockIo, Cgroup, Cpu, Files, Huge, Memory, MemoryEntry, Pids, Pressure, Stats,
    count_processes, page_sizes, pressure,
};
use crate::error::Result;
use std::collections::BTreeMap;

pub(super) fn stats(cgroup: &Cgroup) -> Result<Stats> {
    let files = Files { dir: cgroup.v2() };
    Ok(Stats {
        cpu: cpu(&files)?,
        memory: memory(&files)?,
        pids: pids(&files)?,
        blkio: block_io(&files)?,
        hugetlb: huge(&files)?,
        ..Stats::default()
    })
}

fn psi(files: &Files<'_>, name: &str) -> Result<Option<Pressure>> {
    Ok(files.text(name)?.as_deref().and_then(pressure))
}

fn cpu(files: &Files<'_>) -> Result<Cpu> {
    let stat = files.keyed("cpu.stat")?;
    let get = |key| stat.get(key).copied().unwrap_or(0);
    let nanoseconds = |key| get(key) * 1000;
    let mut cpu = Cpu { psi: psi(files, "cpu.pressure")?, ..Cpu::default() };
    cpu.usage.total = nanoseconds("usage_usec");
    cpu.usage.user = nanoseconds("user_usec");
    cpu.usage.kernel = nanoseconds("system_usec");
    cpu.throttling.periods = get("nr_periods");
    cpu.throttling.throttled_periods = get("nr_throttled");
    cpu.throttling.throttled_time = nanoseconds("throttled_usec");
    Ok(cpu)
}

fn memory(files: &Files<'_>) -> Result<Memory> {
    let raw = files.keyed("memory.stat")?;
    let entry = |name: &str| {
        let number = |what: &str| files.number(&format!("memory.{name}{what}"));
        Ok::<_, crate::error::Error>(MemoryEntry {
            limit: number("max")?,
            usage: number("current")?,
            max: number("peak")?,
            failcnt: 0,
        })
    };
    let usage = entry("")?;
    let mut swap = entry("swap.")?;
    // v1 and its readers count memory and swap together; the highest of both at once is not known.
    swap.usage += usage.usage;
    swap.limit = swap.limit.saturating_add(usage.limit);
    swap.max = 0;
    let cache = raw.get("file").copied().unwrap_or(0);
    let psi = psi(files, "memory.pressure")?;
    Ok(Memory { cache, usage, swap, raw, psi, ..Memory::default() })
}

fn pids(files: &Files<'_>) -> Result<Pids> {
    if files.text("pids.current")?.is_none() {
        let count = files.dir.map(count_processes).transpose().ok().flatten();
        return Ok(Pids { current: count.unwrap_or(0), limit: 0 });
    }
    let limit = files.number("pids.max")?;
    let limit = if limit == u64::MAX { 0 } else { limit };
    Ok(Pids { current: files.number("pids.current")?, limit })
}

fn block_io(files: &Files<'_>) -> Result<BlockIo> {
    let mut found = BlockIo { psi: psi(files, "io.pressure")?, ..BlockIo::default() };
    for line in files.text("io.stat")?.unwrap_or_default().lines() {
        add(line, &mut found);
    }
    Ok(found)
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
fn add(line: &str, found: &mut BlockIo) {
    let mut words = line.split_ascii_whitespace();
    let device = words.next().and_then(|word| word.split_once(':'));
    let Some((Ok(major), Ok(minor))) = device.map(|(a, b)| (a.parse(), b.parse())) else { return };
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let (list, op) = match key {
            "rbytes" => (&mut found.io_service_bytes_recursive, "Read"),
            "wbytes" => (&mut found.io_service_bytes_recursive, "Write"),
            "rios" => (&mut found.io_serviced_recursive, "Read"),
            "wios" => (&mut found.io_serviced_recursive, "Write"),
            _ => continue,
        };
        let value = value.parse().unwrap_or(0);
        list.push(BlockEntry { major, minor, op: op.into(), value });
    }
}

fn huge(files: &Files<'_>) -> Result<BTreeMap<String, Huge>> {
    let mut found = BTreeMap::new();
    for size in page_sizes() {
        let usage = match files.text(&format!("hugetlb.{size}.rsvd.current"))? {
            Some(text) => super::number(&text),
            None => files.number(&format!("hugetlb.{size}.current"))?,
        };
        let events = files.keyed(&format!("hugetlb.{size}.events"))?;
        if files.text(&format!("hugetlb.{size}.current"))?.is_some() {
            let failcnt = events.get("max").copied().unwrap_or(0);
            found.insert(size, Huge { usage, max: 0, failcnt });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_is_sorted_into_v1s_tables() {
        let mut found = BlockIo::default();
        add("254:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6", &mut found);
        add("nonsense", &mut found);
        let values = |list: &[BlockEntry]| -> Vec<(u64, u64, String, u64)> {
            list.iter().map(|e| (e.major, e.minor, e.op.clone(), e.value)).collect()
        };
        let expected = [(254, 16, "Read".into(), 1), (254, 16, "Write".into(), 2)];
        assert_eq!(values(&found.io_service_bytes_recursive), expected);
        assert_eq!(found.io_serviced_recursive.len(), 2);
    }
}
