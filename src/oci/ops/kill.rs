//! `kill`.

use crate::error::{Context, Error, Result};
use crate::oci::container::Container;
use crate::sys::{clone, fs};
use nix::sys::signal::Signal;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// How long killed processes may take to go; only an uninterruptible system call makes them slow.
pub(super) const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// Sends `signal` to the init process, or with `all` to each process of the container.
///
/// SIGKILL ends the whole container even where init's death alone would not, which is so without a
/// PID namespace of its own.
pub fn kill(root: &Path, id: &str, signal: i32, all: bool) -> Result<()> {
    let container = Container::open(root, id)?;
    let Some(init) = container.init()? else { return kill_the_rest(&container, signal, all) };
    let everyone = all || signal == clone::SIGKILL && !owns_pid_namespace(container.record.pid);
    match &container.record.cgroup {
        Some(cgroup) if everyone && signal == clone::SIGKILL => {
            return cgroup.kill_all(KILL_DEADLINE).doing(|| "unable to kill all processes");
        }
        Some(cgroup) if everyone => {
            return cgroup.signal_each(signal).doing(|| "unable to signal all processes");
        }
        _ => {}
    }
    clone::pidfd_send_signal(&init, signal).doing(|| "unable to signal init")?;
    match &container.record.cgroup {
        // A frozen process of cgroup v1 dies only once it is thawed.
        Some(cgroup) if signal == clone::SIGKILL && cgroup.is_frozen()? => cgroup.freeze(false),
        _ => Ok(()),
    }
}

/// The init process is gone. Without a PID namespace of its own that has ended nobody else.
fn kill_the_rest(container: &Container, signal: i32, all: bool) -> Result<()> {
    match &container.record.cgroup {
        Some(cgroup) if signal == clone::SIGKILL && !cgroup.pids()?.is_empty() => {
            cgroup.kill_all(KILL_DEADLINE).doing(|| "unable to kill all processes")
        }
        // As runc since 1.2: who wants all to be gone is content with none.
        _ if all => Ok(()),
        _ => Err(Error::user("container not running")),
    }
}

/// Whether `pid` is the first process of a PID namespace, whose death ends all others in it.
pub(super) fn owns_pid_namespace(pid: i32) -> bool {
    fs::read_kernel_file(Path::new(&format!("/proc/{pid}/status"))).is_ok_and(|status| {
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        let pids: Vec<&str> = pids.split_ascii_whitespace().collect();
        pids.len() > 1 && pids.last() == Some(&"1")
    })
}

/// A signal by number, by name (`TERM`, `SIGTERM`, in any case), or as `RTMIN+n` and `RTMAX-n`.
pub fn parse_signal(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = match name {
        "CLD" => Some(Signal::SIGCHLD as i32),
        "IOT" => Some(Signal::SIGABRT as i32),
        "POLL" => Some(Signal::SIGIO as i32),
        _ => real_time(name)
            .or_else(|| Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32)),
    };
    known.ok_or_else(|| Error::user(format!("unknown signal {text:?}")))
}

/// Real-time signals as kill(1) names them; the C library keeps the kernel's first two to itself.
fn real_time(name: &str) -> Option<i32> {
    const FIRST: i32 = 34;
    const LAST: i32 = 64;
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        Some(number) => number.parse::<i32>().ok().filter(|n| (0..=LAST - FIRST).contains(n)),
        None => rest.is_empty().then_some(0),
    };
    match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => offset(rest, '+').map(|n| FIRST + n),
        (_, Some(rest)) => offset(rest, '-').map(|n| LAST - n),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        let table = [
            ("9", Some(9)),
            ("0", Some(0)),
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("sigterm", Some(15)),
            ("cld", Some(17)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN+31", None),
            ("RTMIN-1", None),
            ("SIG", None),
            ("", None),
            ("9x", None),
            ("EXIT", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_signal(text).ok(), expected, "{text}");
        }
        let error = parse_signal("FOO").unwrap_err().to_string();
        assert_eq!(error, "unknown signal \"FOO\"");
    }

    #[test]
    fn the_test_itself_is_no_init() {
        assert!(!owns_pid_namespace(std::process::id() as i32));
        assert!(!owns_pid_namespace(-1));
    }
}
