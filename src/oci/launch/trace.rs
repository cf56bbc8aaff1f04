//! `--trace FILE`: one JSON line for each step, with its time. The child notes times in memory it
//! shares with the parent, which writes the file.

use crate::error::{Context, Error, Result};
use crate::oci::plan::step::Planned;
use crate::sys::shared::{monotonic_ns, shared_counters};
use crate::sys::{Errno, Result as SysResult, fs};
use nix::fcntl::OFlag;
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Times and results of all steps: begin, end, errno + 1.
#[derive(Clone, Copy)]
pub struct Trace(&'static [AtomicU64]);

#[derive(Serialize)]
struct Line<'a> {
    ns: u64,
    end: u64,
    side: &'static str,
    step: usize,
    call: &'static str,
    object: &'a str,
    result: String,
}

/// The steps of a command that has no plan, as it goes.
pub struct Steps<'a> {
    path: Option<&'a Path>,
    text: Vec<u8>,
    done: usize,
}

impl<'a> Steps<'a> {
    /// Written to `path`, if to any, by [`Steps::write`].
    pub fn new(path: Option<&'a Path>) -> Self {
        Self { path, text: Vec::new(), done: 0 }
    }

    /// Does one step.
    pub fn step<T>(&mut self, call: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let ns = monotonic_ns();
        let result = work();
        if self.path.is_some() {
            let outcome = match &result {
                Ok(_) => "ok".into(),
                Err(error) => format!("{:?}", error.errno().unwrap_or(Errno::EIO)),
            };
            let (end, step) = (monotonic_ns(), self.done);
            let line = Line { ns, end, side: "parent", step, call, object: call, result: outcome };
            push(&mut self.text, &line)?;
            self.done += 1;
        }
        result
    }

    /// Appends what was done to the file.
    pub fn write(&self) -> Result<()> {
        self.path.map_or(Ok(()), |path| append(path, &self.text))
    }
}

fn push(text: &mut Vec<u8>, line: &Line<'_>) -> Result<()> {
    serde_json::to_writer(&mut *text, line).map_err(|e| Error::system(e.to_string()))?;
    text.push(b'\n');
    Ok(())
}

fn append(path: &Path, text: &[u8]) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND;
    let what = || format!("write trace {}", path.display());
    let mut file = fs::open(path, flags, 0o644).doing(what)?;
    file.write_all(text).doing(what)
}

impl Trace {
    /// For so many steps.
    pub fn new(steps: usize) -> Result<Self> {
        Ok(Self(shared_counters(steps * 3).doing(|| "make memory for the trace")?))
    }

    /// A step begins.
    pub fn begin(&self, index: usize) {
        self.set(index, 0, monotonic_ns());
    }

    /// It has ended.
    pub fn end<T>(&self, index: usize, result: SysResult<T>) {
        self.set(index, 1, monotonic_ns());
        self.set(index, 2, 1 + result.map_or_else(|errno| errno as u64, |_| 0));
    }

    fn set(&self, index: usize, field: usize, value: u64) {
        if let Some(counter) = self.0.get(index * 3 + field) {
            counter.store(value, Ordering::Relaxed);
        }
    }

    fn get(&self, index: usize, field: usize) -> u64 {
        self.0.get(index * 3 + field).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Appends what has begun to `path`, in the order of time.
    pub fn write(&self, path: &Path, steps: &[Planned]) -> Result<()> {
        let mut begun: Vec<_> = steps.iter().enumerate().collect();
        begun.retain(|(index, _)| self.get(*index, 0) != 0);
        begun.sort_by_key(|(index, _)| self.get(*index, 0));
        let mut text = Vec::new();
        for (index, planned) in begun {
            let line = Line {
                ns: self.get(index, 0),
                end: self.get(index, 1),
                side: planned.side.name(),
                step: index,
                call: planned.step.name(),
                object: &planned.to_string(),
                result: outcome(self.get(index, 2)),
            };
            push(&mut text, &line)?;
        }
        append(path, &text)
    }
}

fn outcome(result: u64) -> String {
    match result {
        0 => "pending".into(),
        1 => "ok".into(),
        errno => format!("{:?}", Errno::from_raw((errno - 1) as i32)),
    }
}
