//! Fault points of a pod's life, for tests: with `RUNP_POD_FAULT=POINT[#N]@FILE` the monitor is
//! killed when it, or one of its workers, comes to that point for the n-th time (the first, if not
//! said); with `!FILE` the worker alone. FILE is made then; once it is there nobody dies any more.
//! Honoured only with the `fault` feature.

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
    if struck(point).is_some() {
        raise(Signal::SIGKILL).unwrap_or_default();
    }
}

/// A point that a worker comes to.
pub fn worker(point: &str) {
    let Some(victim) = struck(point) else { return };
    if victim == Victim::Monitor {
        kill(getppid(), Signal::SIGKILL).unwrap_or_default();
    }
    raise(Signal::SIGKILL).unwrap_or_default();
}

#[derive(PartialEq)]
enum Victim {
    /// And its workers with it.
    Monitor,
    Worker,
}

fn struck(point: &str) -> Option<Victim> {
    static COME: AtomicUsize = AtomicUsize::new(0);
    if !cfg!(feature = "fault") {
        return None;
    }
    debug_assert!(POINTS.contains(&point), "{point:?} is not listed");
    let wanted = std::env::var(VARIABLE).ok()?;
    let (wanted, file, victim) = match wanted.split_once('@') {
        Some((wanted, file)) => (wanted, file, Victim::Monitor),
        None => wanted.split_once('!').map(|(point, file)| (point, file, Victim::Worker))?,
    };
    let (name, number) = wanted.split_once('#').unwrap_or((wanted, "1"));
    if name != point || Path::new(file).exists() {
        return None;
    }
    let come = COME.fetch_add(1, Ordering::Relaxed) + 1;
    (number == come.to_string() && std::fs::write(file, point).is_ok()).then_some(victim)
}
