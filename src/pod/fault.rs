//! Fault points of a pod's life, for tests: with `RUNP_POD_FAULT=POINT[#N]@FILE` the monitor is
//! killed when it, or one of its workers, comes to that point for the n-th time (the first, if not
//! said). FILE is made then; once it is there nobody dies any more. Honoured only with the `fault`
//! feature.

use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::getppid;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a monitor must inherit.
pub const ENVIRONMENT: &[&str] = if cfg!(feature = "fault") { &[VARIABLE] } else { &[] };
const VARIABLE: &str = "RUNP_POD_FAULT";

/// The points, in the order of a life. Those of the monitor's loop come round again and again.
pub const POINTS: &[&str] = &[
    "monitor: taken up",
    "monitor: written",
    "monitor: given out",
    "monitor: reported",
    "monitor: reaped",
    "sandbox: network begun",
    "sandbox: volumes made",
    "sandbox: cgroup made",
    "sandbox: pause made",
    "sandbox: connected",
    "container: image found",
    "container: inputs read",
    "container: places made",
    "container: configured",
    "container: started",
    "container: deleted",
    "hook: begun",
    "probe: begun",
    "teardown: containers ended",
    "teardown: volumes removed",
    "teardown: cgroups removed",
    "removal: begun",
    "removal: record gone",
    "removal: network gone",
];

/// A point that the monitor itself comes to.
pub fn monitor(point: &str) {
    if is_struck(point) {
        raise(Signal::SIGKILL).unwrap_or_default();
    }
}

/// A point that a worker comes to: its monitor is killed, and it with that.
pub fn worker(point: &str) {
    if is_struck(point) {
        kill(getppid(), Signal::SIGKILL).unwrap_or_default();
        raise(Signal::SIGKILL).unwrap_or_default();
    }
}

fn is_struck(point: &str) -> bool {
    static COME: AtomicUsize = AtomicUsize::new(0);
    if !cfg!(feature = "fault") {
        return false;
    }
    debug_assert!(POINTS.contains(&point), "{point:?} is not listed");
    let Ok(wanted) = std::env::var(VARIABLE) else { return false };
    let Some((wanted, file)) = wanted.split_once('@') else { return false };
    let (name, number) = wanted.split_once('#').unwrap_or((wanted, "1"));
    if name != point || Path::new(file).exists() {
        return false;
    }
    let come = COME.fetch_add(1, Ordering::Relaxed) + 1;
    number == come.to_string() && std::fs::write(file, point).is_ok()
}
