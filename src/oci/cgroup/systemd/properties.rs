//! Limits as properties of a unit ([systemd.resource-control(5)]): so that what systemd writes when
//! it reloads is what was asked for. Whatever has no property is in the cgroup's files alone. Pure.
//!
//! [systemd.resource-control(5)]: https://www.freedesktop.org/software/systemd/man/latest/systemd.resource-control.html

use super::wire::{Property, Value};
use crate::error::{Error, Result};
use crate::oci::cgroup::Mode;
use crate::oci::cgroup::limits::{memory_and_swap, weight_of_shares};
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};
use std::collections::HashMap;

/// No limit, in systemd's numbers.
const INFINITY: u64 = u64::MAX;

/// The kernel's default period, microseconds.
const PERIOD: u64 = 100_000;

/// All but memory.
pub fn early(resources: &LinuxResources, mode: Mode) -> Result<Vec<Property>> {
    let mut found = Vec::new();
    if let Some(cpu) = resources.cpu() {
        set_cpu(cpu, mode, &mut found)?;
    }
    if let Some(pids) = resources.pids() {
        push(&mut found, "TasksMax", limit(Some(pids.limit().max(-1))).map(|max| max.max(1)));
    }
    let weight = resources.block_io().as_ref().and_then(|io| io.weight());
    if let Some(weight) = weight.filter(|weight| *weight != 0 && mode != Mode::V2) {
        push(&mut found, "BlockIOWeight", Some(weight.into()));
    }
    for (file, value) in unified(resources, mode) {
        if !file.starts_with("memory.") {
            set_unified(file, value.trim(), &mut found)?;
        }
    }
    Ok(found)
}

/// Memory.
pub fn memory(resources: &LinuxResources, mode: Mode) -> Result<Vec<Property>> {
    let mut found = Vec::new();
    if let Some(memory) = resources.memory() {
        set_memory(memory, mode, &mut found);
    }
    for (file, value) in unified(resources, mode) {
        if file.starts_with("memory.") {
            set_unified(file, value.trim(), &mut found)?;
        }
    }
    Ok(found)
}

fn unified(resources: &LinuxResources, mode: Mode) -> impl Iterator<Item = (&String, &String)> {
    let map: Option<&HashMap<String, String>> = resources.unified().as_ref();
    map.filter(|_| mode == Mode::V2).into_iter().flatten()
}

fn push(found: &mut Vec<Property>, name: &str, value: Option<u64>) {
    found.extend(value.map(|value| (name.to_owned(), Value::U64(value))));
}

/// Of the spec's numbers: below 0 is no limit.
fn limit(value: Option<i64>) -> Option<u64> {
    value.map(|value| u64::try_from(value).unwrap_or(INFINITY))
}

fn set_cpu(cpu: &LinuxCpu, mode: Mode, found: &mut Vec<Property>) -> Result<()> {
    let shares = cpu.shares().filter(|shares| *shares != 0);
    match mode {
        // An idle group has no weight.
        Mode::V2 if cpu.idle() == Some(1) => {}
        Mode::V2 => push(found, "CPUWeight", shares.and_then(weight_of_shares)),
        Mode::V1 | Mode::Hybrid => push(found, "CPUShares", shares),
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    set_quota(quota, cpu.period().filter(|period| *period != 0), found);
    for (name, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            found.push((name.to_owned(), Value::Bytes(bits(list)?)));
        }
    }
    Ok(())
}

/// systemd counts in time per second, and in whole percents, which are rounded up so that cgroups
/// below can have what was asked for.
fn set_quota(quota: Option<i64>, period: Option<u64>, found: &mut Vec<Property>) {
    const PERCENT: u64 = 10_000;
    push(found, "CPUQuotaPeriodUSec", period);
    if quota.is_none() && period.is_none() {
        return;
    }
    let per_second = match quota.and_then(|quota| u64::try_from(quota).ok()) {
        None => INFINITY,
        Some(quota) => {
            let exact = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(PERIOD));
            u64::try_from(exact).unwrap_or(INFINITY).div_ceil(PERCENT).saturating_mul(PERCENT)
        }
    };
    push(found, "CPUQuotaPerSecUSec", Some(per_second));
}

fn set_memory(memory: &LinuxMemory, mode: Mode, found: &mut Vec<Property>) {
    let (max, with_swap) = memory_and_swap(memory);
    match mode {
        Mode::V1 | Mode::Hybrid => push(found, "MemoryLimit", limit(max)),
        Mode::V2 => {
            push(found, "MemoryMax", limit(max));
            push(found, "MemoryLow", limit(memory.reservation().filter(|low| *low != 0)));
            let swap = match (max, with_swap) {
                (_, Some(..0)) => Some(INFINITY),
                (Some(max @ 0..), Some(both)) => limit(Some((both - max).max(0))),
                _ => None,
            };
            push(found, "MemorySwapMax", swap);
        }
    }
}

fn set_unified(file: &str, value: &str, found: &mut Vec<Property>) -> Result<()> {
    let wrong = || {
        let cause = format!("{value:?} cannot be converted for systemd");
        Error::user(cause).doing(format!("linux.resources.unified[\"{file}\"]"))
    };
    let number = |text: &str| match text {
        "max" => Ok(INFINITY),
        digits => digits.parse().map_err(|_| wrong()),
    };
    let name = match file {
        "cpu.weight" => "CPUWeight",
        "pids.max" => "TasksMax",
        "memory.max" => "MemoryMax",
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.swap.max" => "MemorySwapMax",
        "cpuset.cpus" | "cpuset.mems" => {
            let name = if file == "cpuset.cpus" { "AllowedCPUs" } else { "AllowedMemoryNodes" };
            found.push((name.to_owned(), Value::Bytes(bits(value)?)));
            return Ok(());
        }
        "cpu.max" => {
            let mut words = value.split_ascii_whitespace();
            let quota = number(words.next().ok_or_else(wrong)?)?;
            let period = words.next().map(number).transpose()?.unwrap_or(PERIOD);
            set_quota(i64::try_from(quota).ok(), Some(period), found);
            return Ok(());
        }
        _ => return Ok(()),
    };
    let value = number(value)?;
    push(found, name, Some(if file == "pids.max" { value.max(1) } else { value }));
    Ok(())
}

/// `0-2,7` as a mask, lowest byte first.
fn bits(list: &str) -> Result<Vec<u8>> {
    /// More than any kernel is built for.
    const MOST: usize = 1 << 16;
    let wrong = || Error::user(format!("{list:?} is not a list of processors or nodes"));
    let mut bits = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n < MOST);
        let (first, last) = number(first).zip(number(last)).ok_or_else(wrong)?;
        for bit in first..=last {
            if bits.len() <= bit / 8 {
                bits.resize(bit / 8 + 1, 0);
            }
            if let Some(byte) = bits.get_mut(bit / 8) {
                *byte |= 1_u8 << (bit % 8);
            }
        }
    }
    Ok(bits)
}

/// `org.systemd.property.NAME` annotations, whose values are GVariant texts: booleans, numbers with
/// or without a type before them, strings, lists of strings. A name in `Sec` is one in `USec`.
pub fn of_annotations(annotations: &HashMap<String, String>) -> Result<Vec<Property>> {
    let mut found = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix("org.systemd.property.") else { continue };
        let doing = || format!("annotation {key}={text}");
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(Error::user("not the name of a property").doing(doing()));
        }
        let value =
            variant(text.trim()).ok_or_else(|| Error::user("value parse error").doing(doing()))?;
        let seconds = name
            .strip_suffix("Sec")
            .filter(|name| name.as_bytes().last().is_some_and(u8::is_ascii_lowercase));
        found.push(match (seconds, value) {
            (None, value) => (name.to_owned(), value),
            (Some(name), value) => {
                let seconds = match value {
                    Value::I32(seconds) => u64::try_from(seconds).ok(),
                    Value::U32(seconds) => Some(seconds.into()),
                    Value::U64(seconds) => Some(seconds),
                    _ => None,
                };
                let micros = seconds.and_then(|seconds| seconds.checked_mul(1_000_000));
                let micros = micros.ok_or_else(|| Error::user("not seconds").doing(doing()))?;
                (format!("{name}USec"), Value::U64(micros))
            }
        });
    }
    // The order of a map changes from run to run.
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

fn variant(text: &str) -> Option<Value> {
    let quoted = |text: &str| {
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains([quote, '\\'])).then(|| inner.to_owned())
    };
    if let Some(list) = text.strip_prefix('[') {
        let items = list.strip_suffix(']')?.split(',').map(str::trim);
        return items
            .filter(|item| !item.is_empty())
            .map(quoted)
            .collect::<Option<_>>()
            .map(Value::Texts);
    }
    match text.split_once(' ') {
        Some(("uint64", number)) => number.trim().parse().ok().map(Value::U64),
        Some(("uint32", number)) => number.trim().parse().ok().map(Value::U32),
        Some(("int32", number)) => number.trim().parse().ok().map(Value::I32),
        _ => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => text.parse().ok().map(Value::I32).or_else(|| quoted(text).map(Value::Text)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, mode: Mode) -> Vec<Property> {
        let resources: LinuxResources = crate::oci::bundle::decode(json.as_bytes()).unwrap();
        let mut found = early(&resources, mode).unwrap();
        found.extend(memory(&resources, mode).unwrap());
        found
    }

    fn numbers(list: &[(&str, u64)]) -> Vec<Property> {
        list.iter().map(|(name, value)| ((*name).to_owned(), Value::U64(*value))).collect()
    }

    #[test]
    fn limits_become_properties() {
        let json = r#"{"cpu": {"shares": 1024, "quota": 33333, "period": 100000},
            "memory": {"limit": 100, "swap": 150, "reservation": 50}, "pids": {"limit": 0}}"#;
        let quota = [("CPUQuotaPeriodUSec", 100_000), ("CPUQuotaPerSecUSec", 340_000)];
        let mut v2 = vec![("CPUWeight", 100)];
        v2.extend(quota);
        v2.extend([("TasksMax", 1), ("MemoryMax", 100), ("MemoryLow", 50), ("MemorySwapMax", 50)]);
        assert_eq!(found(json, Mode::V2), numbers(&v2));
        let mut v1 = vec![("CPUShares", 1024)];
        v1.extend(quota);
        v1.extend([("TasksMax", 1), ("MemoryLimit", 100)]);
        assert_eq!(found(json, Mode::Hybrid), numbers(&v1));
        let lifted = r#"{"cpu": {"quota": -1}, "pids": {"limit": -1}, "memory": {"limit": -1}}"#;
        let expected = ["CPUQuotaPerSecUSec", "TasksMax", "MemoryMax", "MemorySwapMax"];
        assert_eq!(found(lifted, Mode::V2), numbers(&expected.map(|name| (name, INFINITY))));
        let unified = r#"{"unified": {"cpu.max": "max 50000"}}"#;
        let expected = [("CPUQuotaPeriodUSec", 50_000), ("CPUQuotaPerSecUSec", INFINITY)];
        assert_eq!(found(unified, Mode::V2), numbers(&expected));
        assert_eq!(found(unified, Mode::V1), []);
    }

    #[test]
    fn lists_become_masks() {
        assert_eq!(bits("0-2,9").unwrap(), [0b111, 0b10]);
        for wrong in ["", "x", "1-", "99999999"] {
            assert!(bits(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn annotations_become_properties() {
        let read = |key: &str, text: &str| {
            of_annotations(&HashMap::from([(format!("org.systemd.property.{key}"), text.into())]))
        };
        for (key, text, name, value) in [
            ("TimeoutStopUSec", "uint64 5", "TimeoutStopUSec", Value::U64(5)),
            ("TimeoutStopSec", "3", "TimeoutStopUSec", Value::U64(3_000_000)),
            (
                "CollectMode",
                "'inactive-or-failed'",
                "CollectMode",
                Value::Text("inactive-or-failed".into()),
            ),
            ("Some", "true", "Some", Value::Bool(true)),
            ("After", "['a', 'b']", "After", Value::Texts(vec!["a".into(), "b".into()])),
        ] {
            assert_eq!(read(key, text).unwrap(), [(name.to_owned(), value)], "{text}");
        }
        for (key, text) in [("A", "1"), ("No-Name", "1"), ("Some", "'a"), ("StopSec", "'a'")] {
            assert!(read(key, text).is_err(), "{key} {text}");
        }
        assert_eq!(of_annotations(&HashMap::from([("other".into(), "x".into())])).unwrap(), []);
    }
}
