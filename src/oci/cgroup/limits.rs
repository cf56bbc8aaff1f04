//! `linux.resources` applied: which limits when, and what v1 and v2 have in common.

use super::file::Limit;
use super::systemd::Part;
use super::{Cgroup, Mode, v1, v2};
use crate::error::{Context, Error, Result};
use crate::sys::Errno;
use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxRdma, LinuxResources};
use std::collections::HashMap;

impl Cgroup {
    /// Applies all limits of `resources`, devices excepted. An error names the JSON path and the
    /// file. For `update`, and for cgroups without processes.
    pub fn set(&self, resources: &LinuxResources) -> Result<()> {
        self.set_early(resources)?;
        self.set_memory(resources)
    }

    /// [`Cgroup::set`] without memory: before the container's process enters, since a realtime
    /// budget must be there when a realtime task comes.
    pub fn set_early(&self, resources: &LinuxResources) -> Result<()> {
        self.set_properties(resources, Part::Others)?;
        match self.mode {
            Mode::V2 => v2::set_early(self, resources),
            Mode::V1 | Mode::Hybrid => v1::set_early(self, resources),
        }
    }

    /// The memory limits, and on v2 the `unified` map, which may hold some: last thing before the
    /// user's program runs, so that what the runtime needs to get there is not held against a limit
    /// of a few hundred KiB.
    pub fn set_memory(&self, resources: &LinuxResources) -> Result<()> {
        self.set_properties(resources, Part::Memory)?;
        if let Some(memory) = resources.memory() {
            if memory.use_hierarchy() == Some(false) {
                let cause = "Linux accounts for whole hierarchies alone, since 5.11";
                return Err(Error::user(cause).doing("linux.resources.memory.useHierarchy"));
            }
            match self.mode {
                Mode::V2 => v2::set_memory(self, memory)?,
                Mode::V1 | Mode::Hybrid => v1::set_memory(self, memory)?,
            }
        }
        let unified = resources.unified().as_ref().filter(|unified| !unified.is_empty());
        match (self.mode, unified) {
            (_, None) => Ok(()),
            (Mode::V2, Some(unified)) => v2::set_unified(self, unified),
            (Mode::V1 | Mode::Hybrid, Some(_)) => {
                Err(Error::user("invalid configuration: needs a cgroup v2 host")
                    .doing("linux.resources.unified"))
            }
        }
    }
}

/// One write of a group whose members the kernel checks against each other.
pub(super) struct Write<'a> {
    pub limit: Limit<'a>,
    pub file: &'a str,
    pub value: String,
}

/// Writes all, in the order in which the kernel takes them. A quota and its period, a memory limit
/// and that with swap: the one must be raised, or lowered, before the other, and which first
/// depends on what holds now. What gets `EINVAL` is tried again after the others, as long as that
/// helps; without reading, a fresh cgroup costs one write each.
pub(super) fn settle(mut writes: Vec<Write<'_>>) -> Result<()> {
    loop {
        let before = writes.len();
        let mut refused = Vec::new();
        for write in writes {
            match write.limit.try_write(write.file, &write.value) {
                Ok(()) => {}
                Err(Errno::EINVAL) => refused.push(write),
                // No account is kept (swap, mostly), so there is nothing to lift.
                Err(Errno::ENOENT) if write.value == "-1" => {}
                Err(Errno::EBUSY) => return Err(below_usage(&write)),
                // Once more, for the words.
                Err(_) => write.limit.write(write.file, &write.value)?,
            }
        }
        match refused.first() {
            None => return Ok(()),
            Some(write) if refused.len() == before => {
                return write.limit.write(write.file, &write.value);
            }
            Some(_) => writes = refused,
        }
    }
}

/// v1 refuses a memory limit that it cannot reclaim down to.
fn below_usage(write: &Write<'_>) -> Error {
    let usage = write.limit.read("memory.usage_in_bytes").unwrap_or_default();
    let refused: Result<()> =
        Err(Errno::EBUSY).doing(|| write.limit.attempt(write.file, &write.value));
    let hint = format!("the container uses {} bytes now", usage.trim());
    refused.hint(|| hint).err().unwrap_or_else(|| Error::system("busy"))
}

/// The limit and the limit with swap, as the spec defines them: 0 and none leave things as they
/// are, -1 lifts, and a lifted memory limit lifts swap with it.
pub(super) fn memory_and_swap(memory: &LinuxMemory) -> (Option<i64>, Option<i64>) {
    let limit = memory.limit().filter(|limit| *limit != 0);
    let swap = memory.swap().filter(|swap| *swap != 0);
    (limit, swap.or(limit.filter(|limit| *limit == -1)))
}

/// What `pids.max` takes. 0, "no tasks" since runtime-spec 1.3, is 1 as in runc: systemd knows no 0,
/// and a container has at least one.
pub(super) fn pids_max(limit: i64) -> String {
    match limit {
        ..0 => "max".into(),
        _ => limit.max(1).to_string(),
    }
}

/// The burst, which can be set back to 0; a kernel before 5.14 has none, and so that already.
pub(super) fn burst<'a>(cpu: &LinuxCpu, limit: Limit<'a>, file: &'a str) -> Option<Write<'a>> {
    let burst = cpu.burst()?;
    let none = burst == 0 && limit.read(file).is_err();
    (!none).then(|| Write { limit, file, value: burst.to_string() })
}

/// `cpu.shares` of v1 to `cpu.weight` of v2, so that 2, 1024 and 262144 become 1, 100 and 10000
/// (runc since 1.3.2, crun since 1.23; before that 1024 became 39). None for 0, which is not set.
pub(super) fn weight_of_shares(shares: u64) -> Option<u64> {
    match shares {
        0 => None,
        1..=2 => Some(1),
        262_144.. => Some(10_000),
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            Some(10f64.powf(exponent).ceil() as u64)
        }
    }
}

/// `rdma.max`, the same on v1 and v2.
pub(super) fn set_rdma(limit: &Limit<'_>, devices: &HashMap<String, LinuxRdma>) -> Result<()> {
    for (device, budget) in devices {
        let mut line = device.clone();
        for (key, value) in
            [("hca_handle", budget.hca_handles()), ("hca_object", budget.hca_objects())]
        {
            if let Some(value) = value {
                line.push_str(&format!(" {key}={value}"));
            }
        }
        limit.write("rdma.max", &line)?;
    }
    Ok(())
}

/// `hugetlb.SIZE.FILE`: v1 and v2 differ in the last name only.
pub(super) fn set_huge_pages(
    limit: &Limit<'_>,
    pages: &[LinuxHugepageLimit],
    file: &str,
) -> Result<()> {
    for page in pages {
        let (size, value) = (limit.file_part(page.page_size())?, page.limit().to_string());
        limit.write(&format!("hugetlb.{size}.{file}"), &value)?;
        // Reservations are accounted apart since 5.7.
        let reserved = format!("hugetlb.{size}.rsvd.{file}");
        match limit.try_write(&reserved, &value) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).doing(|| limit.attempt(&reserved, &value)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weight_by_the_new_formula() {
        let pairs = [(0, None), (1, Some(1)), (2, Some(1)), (10, Some(4)), (102, Some(17))];
        let more = [(512, Some(59)), (1024, Some(100)), (2048, Some(174)), (4096, Some(303))];
        for (shares, weight) in pairs.into_iter().chain(more) {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        assert_eq!(weight_of_shares(262_143), Some(10_000));
        assert_eq!(weight_of_shares(u64::MAX), Some(10_000));
    }

    #[test]
    fn a_lifted_memory_limit_lifts_swap() {
        for (limit, swap, expected) in [
            (None, None, (None, None)),
            (Some(0), Some(0), (None, None)),
            (Some(-1), None, (Some(-1), Some(-1))),
            (Some(-1), Some(5), (Some(-1), Some(5))),
            (Some(4), Some(-1), (Some(4), Some(-1))),
        ] {
            let mut memory = LinuxMemory::default();
            memory.set_limit(limit).set_swap(swap);
            assert_eq!(memory_and_swap(&memory), expected);
        }
    }
}
