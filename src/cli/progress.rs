//! A line about work that takes over a second: on standard error, and only where that is a
//! terminal. It goes before anything else is printed, and when the work is done.

use super::size;
use crate::image::Count;
use crate::sys::tty;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work that is done within it needs no line.
const PATIENCE: Duration = Duration::from_secs(1);
const REDRAW: Duration = Duration::from_millis(100);
/// Cells of the bar.
const CELLS: u64 = 24;
/// Back to the line's begin, and nothing to the right of it.
const ERASE: &str = "\r\u{1b}[K";

/// Whether the line is there: a terminal has one last line.
static SHOWN: Mutex<bool> = Mutex::new(false);

/// What [`Count`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Pods, images, manifests.
    Things,
}

/// The line, as long as this is held. A process that forks must drop it first.
pub struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Shows how far `what` is, once it takes long.
    pub fn show(what: impl Into<String>, unit: Unit, count: &Arc<Count>) -> Self {
        if !std::io::stderr().is_terminal() || super::colours::is_dumb() {
            return Self(None);
        }
        let what = what.into().replace(char::is_control, "?");
        let (end, ended) = channel();
        let count = Arc::clone(count);
        let drawing = move || draw(&what, unit, &count, &ended);
        Self(Some((end, std::thread::spawn(drawing))))
    }

    /// Shows how many of `total` are through, and the count to go on.
    pub fn through(what: impl Into<String>, total: usize) -> (Self, Arc<Count>) {
        let count = Arc::new(Count::of(total as u64));
        (Self::show(what, Unit::Things, &count), count)
    }

    /// Shows that `what` goes on, and for how long by now.
    pub fn wait(what: impl Into<String>) -> Self {
        Self::show(what, Unit::Things, &Arc::default())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, drawing)) = self.0.take() {
            drop(end);
            // A panic of its own has been told; its line goes all the same.
            drop(drawing.join());
            drop(aside());
        }
    }
}

/// Takes the line away, and keeps it away while something else is printed.
pub fn aside() -> MutexGuard<'static, bool> {
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if std::mem::take(&mut *shown) {
        // The terminal is gone: nobody sees it.
        drop(std::io::stderr().write_all(ERASE.as_bytes()));
    }
    shown
}

fn draw(what: &str, unit: Unit, count: &Count, ended: &Receiver<()>) {
    let began = Instant::now();
    let mut wait = PATIENCE;
    while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        let columns = columns();
        let (done, total) =
            (count.done.load(Ordering::Relaxed), count.total.load(Ordering::Relaxed));
        let text = line(what, (done, total, unit), began.elapsed());
        // A full line would begin another one.
        let text: String = text.chars().take(columns.saturating_sub(1)).collect();
        let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = std::io::stderr().write_all(format!("{ERASE}{text}").as_bytes()).is_ok();
        wait = REDRAW;
    }
}

/// The terminal's width; one that does not say has the usual one.
fn columns() -> usize {
    match tty::window_size(std::io::stderr().as_fd()) {
        Ok((_, columns @ 1..)) => usize::from(columns),
        _ => 80,
    }
}

/// `Loading web.tar [=====>      ] 120MB/512MB 3s`.
fn line(what: &str, (done, total, unit): (u64, u64, Unit), elapsed: Duration) -> String {
    let amount = |number: u64| match unit {
        Unit::Bytes => size(number),
        Unit::Things => number.to_string(),
    };
    let seconds = elapsed.as_secs();
    match (done, total) {
        (0, 0) => format!("{what} {seconds}s"),
        (done, 0) => format!("{what} {} {seconds}s", amount(done)),
        (done, total) => {
            let full = u128::from(done.min(total)) * u128::from(CELLS) / u128::from(total);
            let full = usize::try_from(full).unwrap_or_default();
            let empty = usize::try_from(CELLS).unwrap_or_default() - full;
            let head = if empty == 0 { "" } else { ">" };
            let (bar, rest) = ("=".repeat(full), " ".repeat(empty.saturating_sub(1)));
            format!("{what} [{bar}{head}{rest}] {}/{} {seconds}s", amount(done), amount(total))
        }
    }
}

/// Counts what goes through a stream.
pub struct Counted<'a, S> {
    /// Whatever it is.
    pub stream: S,
    /// Counts bytes.
    pub count: &'a Count,
}

impl<S: Read> Read for Counted<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.count.add(read as u64);
        Ok(read)
    }
}

impl<S: Write> Write for Counted<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.count.add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_needs_a_total() {
        let second = Duration::from_millis(1500);
        let cases = [
            ((0, 0, Unit::Things), "Work 1s"),
            ((5_000_000, 0, Unit::Bytes), "Work 5.00MB 1s"),
            ((0, 4, Unit::Things), "Work [>                       ] 0/4 1s"),
            ((2, 4, Unit::Things), "Work [============>           ] 2/4 1s"),
            ((4, 4, Unit::Things), "Work [========================] 4/4 1s"),
            ((9, 4, Unit::Things), "Work [========================] 9/4 1s"),
        ];
        for (amount, expected) in cases {
            assert_eq!(line("Work", amount, second), expected);
        }
    }
}
