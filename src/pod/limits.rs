//! Resource limits of a pod's processes: those of the machine's first process, whoever's shell
//! `podctl apply` was typed into. Containers inherit them from the monitor, as they do from the
//! daemon under containerd.

use crate::error::{Context, Error, Result};
use crate::sys::limits::{UNLIMITED, prlimit};
use crate::sys::{Errno, fs};
use std::path::Path;

/// Soft and hard.
type Limit = (u64, u64);

/// Gives this process the limits of the first one. A hard limit that it may not raise stays.
pub fn take_from_init() -> Result<()> {
    let (init, own) = (read("/proc/1/limits")?, read("/proc/self/limits")?);
    for (resource, (wanted, own)) in (0..).zip(init.into_iter().zip(own)) {
        if wanted == own {
            continue;
        }
        let set = match prlimit(0, resource, wanted.0, wanted.1) {
            Err(Errno::EPERM) => prlimit(0, resource, wanted.0.min(own.1), wanted.1.min(own.1)),
            set => set,
        };
        set.doing(|| format!("set resource limit {resource}"))?;
    }
    Ok(())
}

fn read(path: &str) -> Result<Vec<Limit>> {
    let text = fs::read_kernel_file(Path::new(path)).doing(|| format!("read {path}"))?;
    parse(&text).ok_or_else(|| Error::system("not as in proc_pid_limits(5)").doing(path))
}

/// A line for each `RLIMIT_*` in the order of their numbers, proc_pid_limits(5).
fn parse(text: &str) -> Option<Vec<Limit>> {
    let value = |word: &str| match word {
        "unlimited" => Some(UNLIMITED),
        word => word.parse().ok(),
    };
    let limit = |line: &str| {
        let mut words = line.get(26..)?.split_whitespace();
        Some((value(words.next()?)?, value(words.next()?)?))
    };
    text.lines().skip(1).map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_in_the_order_of_their_numbers() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n\
                    Max open files            1024                 4096                 files     \n";
        assert_eq!(parse(text), Some(vec![(UNLIMITED, UNLIMITED), (1024, 4096)]));
        assert_eq!(parse("x\nshort"), None);
        assert_eq!(read("/proc/self/limits").unwrap().len(), 16);
    }
}
