//! What a cgroup has used, in the shape that `runc events` prints
//! ([types/events.go](https://github.com/opencontainers/runc/blob/main/types/events.go)): numbers
//! that are 0 are left out where Go leaves them out, since programs compare.
//!
//! A controller that the host lacks gives an empty part, as do files that only some kernels have.

#![expect(missing_docs, reason = "the fields are those of runc's document, by name")]

mod v1;
mod v2;

use super::file;
use super::{Cgroup, Dir, Mode};
use crate::error::{Context, Result};
use crate::sys::{self, Errno};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// All of it.
#[derive(Debug, Default, Serialize)]
pub struct Stats {
    /// Time used, nanoseconds.
    pub cpu: Cpu,
    /// v1's cpuset; zeros on v2.
    pub cpuset: CpuSet,
    /// Bytes.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Requests and bytes by device.
    pub blkio: BlockIo,
    /// By page size.
    pub hugetlb: BTreeMap<String, Huge>,
    /// Always empty: no resctrl group is made.
    pub intel_rdt: Empty,
    /// Always null: no interface is made.
    pub network_interfaces: Option<()>,
}

/// `{}`.
#[derive(Debug, Default, Serialize)]
pub struct Empty {}

/// Time used.
#[derive(Debug, Default, Serialize)]
pub struct Cpu {
    /// In all.
    pub usage: CpuUsage,
    /// By the quota.
    pub throttling: Throttling,
    /// v2's pressure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Nanoseconds.
#[derive(Debug, Default, Serialize)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

/// What the quota has cost; the time in nanoseconds.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// The files of v1's cpuset, by their names.
#[derive(Debug, Default, Serialize)]
pub struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Bytes used and allowed.
#[derive(Debug, Default, Serialize)]
pub struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    pub usage: MemoryEntry,
    /// Memory and swap together, on v2 too.
    pub swap: MemoryEntry,
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One kind of memory.
#[derive(Debug, Default, Serialize)]
pub struct MemoryEntry {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Tasks; a limit of 0 is none.
#[derive(Debug, Default, Serialize)]
pub struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// By device and operation, with v1's names.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIo {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_queue_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One device and operation.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlockEntry {
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size, bytes.
#[derive(Debug, Default, Serialize)]
pub struct Huge {
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Pressure stall information of one resource.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    pub some: Stall,
    pub full: Stall,
}

/// Shares of time in percent, and the total in microseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Stall {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Cgroup {
    /// What it has used by now.
    pub fn stats(&self) -> Result<Stats> {
        match self.mode {
            Mode::V2 => v2::stats(self),
            Mode::V1 | Mode::Hybrid => v1::stats(self),
        }
    }
}

/// The files of one controller's directory; all are missing where the host lacks it.
struct Files<'a> {
    dir: Option<&'a Dir>,
}

impl Files<'_> {
    /// The text of `name`; `None` where there is no such file.
    fn text(&self, name: &str) -> Result<Option<String>> {
        let Some(dir) = self.dir else { return Ok(None) };
        let path = dir.path();
        match file::read(&path, name) {
            Ok(text) => Ok(Some(text)),
            // What a kernel without PSI answers to a read.
            Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno).doing(|| format!("read {}/{name}", path.display())),
        }
    }

    /// The number in `name`, 0 where there is none, the greatest for `max`.
    fn number(&self, name: &str) -> Result<u64> {
        Ok(self.text(name)?.as_deref().map_or(0, number))
    }

    /// The lines `key number` of `name`.
    fn keyed(&self, name: &str) -> Result<BTreeMap<String, u64>> {
        let text = self.text(name)?.unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(key, value)| (key.to_owned(), number(value))).collect())
    }
}

fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        digits => digits.parse().unwrap_or(0),
    }
}

/// The sizes of huge pages as cgroups name them (`2MB`), from the names in
/// `/sys/kernel/mm/hugepages` (`hugepages-2048kB`).
pub fn page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(Path::new("/sys/kernel/mm/hugepages")) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| page_size(&name)).collect()
}

fn page_size(name: &str) -> Option<String> {
    let mut size: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    let mut units = ["KB", "MB", "GB"].into_iter();
    let mut unit = units.next()?;
    while size >= 1024 {
        size /= 1024;
        unit = units.next()?;
    }
    Some(format!("{size}{unit}"))
}

/// `cpu.pressure` and its kin; `None` where the kernel keeps no account.
fn pressure(text: &str) -> Option<Pressure> {
    let stall = |line: &str| {
        let mut stall = Stall::default();
        for (key, value) in line.split_ascii_whitespace().filter_map(|pair| pair.split_once('=')) {
            match key {
                "avg10" => stall.avg10 = value.parse().unwrap_or(0.0),
                "avg60" => stall.avg60 = value.parse().unwrap_or(0.0),
                "avg300" => stall.avg300 = value.parse().unwrap_or(0.0),
                "total" => stall.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        stall
    };
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let some = stall(line("some")?);
    Some(Pressure { some, full: line("full").map(stall).unwrap_or_default() })
}

/// Ticks of USER_HZ to nanoseconds; it is 100 on every architecture that we know.
fn ticks(count: u64) -> u64 {
    count * 1_000_000_000 / 100
}

/// The number of processes in `dir` alone: what there is to say without the pids controller.
fn count_processes(dir: &Dir) -> sys::Result<u64> {
    Ok(file::read(&dir.path(), "cgroup.procs")?.lines().count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_as_cgroups_name_them() {
        assert_eq!(page_size("hugepages-2048kB").as_deref(), Some("2MB"));
        assert_eq!(page_size("hugepages-1048576kB").as_deref(), Some("1GB"));
        assert_eq!(page_size("hugepages-64kB").as_deref(), Some("64KB"));
        assert_eq!(page_size("hugepages-x"), None);
    }

    #[test]
    fn pressure_is_read() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.25 total=3\n";
        let read = pressure(text).unwrap();
        assert_eq!((read.some.avg10, read.some.total), (1.5, 12));
        assert_eq!((read.full.avg10, read.full.total), (0.25, 3));
        assert_eq!(pressure(""), None);
    }

    #[test]
    fn zeros_are_left_out_where_go_leaves_them_out() {
        let json = serde_json::to_value(Stats::default()).unwrap();
        assert_eq!(json["cpu"].to_string(), r#"{"throttling":{},"usage":{"kernel":0,"user":0}}"#);
        assert_eq!(json["memory"]["usage"].to_string(), r#"{"failcnt":0,"limit":0}"#);
        for (part, text) in [("pids", "{}"), ("blkio", "{}"), ("intel_rdt", "{}")] {
            assert_eq!(json[part].to_string(), text);
        }
        assert_eq!(json["network_interfaces"], serde_json::Value::Null);
    }
}
