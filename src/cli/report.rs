//! The one place that prints errors.

use super::runp::log::{Level, Log};
use crate::error::Error;
use std::io::Write;

/// Reports a failed command as runc does; the hint, which runc has not, goes to standard error
/// only and on a line of its own.
pub fn error(error: &Error, log: &Log) {
    let message = error.to_string();
    log.write(Level::Error, &message);
    if log.is_file() {
        stderr(&message);
    }
    if let Some(hint) = error.hint_text() {
        stderr(&format!("hint: {hint}"));
    }
}

/// One line on standard error; when that is closed, there is nobody left to tell.
fn stderr(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
