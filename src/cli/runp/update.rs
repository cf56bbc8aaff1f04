//! `runp update`: limits from flags, or from a file.

use super::log::{Level, Log};
use super::parse::{self, Count};
use super::{Call, Outcome, flags, only};
use crate::error::{Context, Error, Result};
use crate::oci::{bundle, ops};
use crate::sys::fs;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use serde_json::Value;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

/// Longest file of limits that is read.
const MAX_FILE: u64 = 16 << 20;

/// Sets other limits.
pub fn update(rest: Vec<OsString>, call: &Call, log: &Log) -> Outcome {
    let flags: flags::Update = parse::command(rest)?;
    parse::count::<flags::Update>(flags.ids.len(), Count::Exactly(1))?;
    let resources = match flags.resources.as_deref() {
        Some(file) => from_file(file)?,
        None => from_flags(&flags)?,
    };
    let memory = resources.memory().as_ref();
    if memory.is_some_and(|memory| memory.kernel().is_some() || memory.kernel_tcp().is_some()) {
        log.write(Level::Warning, "Kernel memory settings are ignored and will be removed");
    }
    let cache = [
        (&flags.l3_cache_schema, "CAT: l3 cache schema"),
        (&flags.mem_bw_schema, "MBA: memory bandwidth schema"),
    ];
    if let Some((_, what)) = cache.into_iter().find(|(given, _)| given.is_some()) {
        return Err(Error::user(format!("Intel RDT/{what} is not enabled")).into());
    }
    ops::update(&call.root, &only(&flags.ids), &without_kernel_memory(resources))?;
    Ok(0)
}

/// `-` is standard input.
fn from_file(path: &Path) -> Result<LinuxResources> {
    let doing = || format!("read {} (--resources)", path.display());
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().take(MAX_FILE).read_to_end(&mut bytes).doing(doing)?;
        bytes
    } else {
        fs::read_limited(path, MAX_FILE).doing(doing)?
    };
    let mut value: Value = bundle::decode(&bytes).doing(doing)?;
    // No limit is not a limit of none, which oci-spec's type makes of it.
    if value["pids"]["limit"].is_null()
        && let Some(limits) = value.as_object_mut()
    {
        limits.remove("pids");
    }
    bundle::decode(value.to_string().as_bytes()).doing(doing)
}

fn from_flags(flags: &flags::Update) -> Result<LinuxResources> {
    let mut resources = LinuxResources::default();
    resources.set_devices(None);
    resources.set_cpu(Some(cpu(flags)?));
    resources.set_memory(Some(memory(flags)?));
    if let Some(limit) = flags.pids_limit {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        resources.set_pids(Some(pids));
    }
    if flags.blkio_weight != 0 {
        let mut io = LinuxBlockIo::default();
        io.set_weight(Some(flags.blkio_weight));
        resources.set_block_io(Some(io));
    }
    Ok(resources)
}

fn cpu(flags: &flags::Update) -> Result<LinuxCpu> {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(number("cpu-share", &flags.cpu_share)?)
        .set_period(number("cpu-period", &flags.cpu_period)?)
        .set_burst(number("cpu-burst", &flags.cpu_burst)?)
        .set_realtime_period(number("cpu-rt-period", &flags.cpu_rt_period)?)
        .set_quota(number("cpu-quota", &flags.cpu_quota)?)
        .set_realtime_runtime(number("cpu-rt-runtime", &flags.cpu_rt_runtime)?)
        .set_idle(number("cpu-idle", &flags.cpu_idle)?)
        .set_cpus(flags.cpuset_cpus.clone().filter(|cpus| !cpus.is_empty()))
        .set_mems(flags.cpuset_mems.clone().filter(|mems| !mems.is_empty()));
    Ok(cpu)
}

fn memory(flags: &flags::Update) -> Result<LinuxMemory> {
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(size("memory", &flags.memory)?)
        .set_swap(size("memory-swap", &flags.memory_swap)?)
        .set_reservation(size("memory-reservation", &flags.memory_reservation)?)
        .set_kernel(size("kernel-memory", &flags.kernel_memory)?)
        .set_kernel_tcp(size("kernel-memory-tcp", &flags.kernel_memory_tcp)?);
    Ok(memory)
}

fn without_kernel_memory(mut resources: LinuxResources) -> LinuxResources {
    if let Some(mut memory) = *resources.memory() {
        memory.set_kernel(None).set_kernel_tcp(None);
        resources.set_memory(Some(memory));
    }
    resources
}

/// An empty value is none, as with runc.
fn number<T: std::str::FromStr>(flag: &str, text: &Option<String>) -> Result<Option<T>> {
    let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = |_| Error::user(format!("invalid value for {flag}: {text:?} is not a number"));
    text.parse().map(Some).map_err(wrong)
}

fn size(flag: &str, text: &Option<String>) -> Result<Option<i64>> {
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some("-1") => Ok(Some(-1)),
        Some(text) => bytes(text).map(Some).ok_or_else(|| {
            Error::user(format!("invalid value for {flag}: invalid size: '{text}'"))
        }),
    }
}

/// `512`, `50M`, `1.5 GiB`: multiples of 1024, whatever the unit's spelling.
fn bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    let number: f64 = digits.parse().ok()?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let power = match unit.strip_suffix('i').filter(|unit| !unit.is_empty()).unwrap_or(unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    // Below this a double is exact enough and fits.
    (bytes < 9.2e18).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("67108864", Some(67_108_864)),
            ("50M", Some(52_428_800)),
            ("50m", Some(52_428_800)),
            ("1.5g", Some(1_610_612_736)),
            ("64 MiB", Some(67_108_864)),
            ("64MB", Some(67_108_864)),
            ("32b", Some(32)),
            ("2kb", Some(2048)),
            ("", None),
            ("x", None),
            ("-5", None),
            ("5x", None),
            ("5i", None),
            ("1.2.3", None),
            ("9999999999999P", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
        let wrong = size("memory", &Some("x".into())).unwrap_err().to_string();
        assert_eq!(wrong, "invalid value for memory: invalid size: 'x'");
    }
}
