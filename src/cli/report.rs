//! The one place that prints errors.

use super::colours::{Colours, Tone};
use super::progress;
use super::runp::log::{Level, Log};
use crate::error::{Error, Kind};
use crate::sys::poll;
use std::io::Write;
use std::os::fd::AsFd;

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

/// Reports a failed command as kubectl does. A reader of our output that is gone, as `head` is
/// once it has its lines, is nothing to report.
pub fn kubectl(error: &Error) {
    let broken = error.errno() == Some(nix::errno::Errno::EPIPE);
    if broken && poll::is_broken(std::io::stdout().as_fd()) {
        return;
    }
    line(&match error.kind() {
        Kind::NotFound => format!("Error from server (NotFound): {error}"),
        Kind::AlreadyExists => format!("Error from server (AlreadyExists): {error}"),
        Kind::Conflict => format!("Error from server (Conflict): {error}"),
        Kind::Forbidden => format!("Error from server (Forbidden): {error}"),
        Kind::BadRequest => format!("Error from server (BadRequest): {error}"),
        // The message is whole: `The Pod "x" is invalid: …`.
        Kind::Invalid => error.to_string(),
        Kind::User | Kind::System | Kind::Bug => format!("error: {error}"),
    });
    if let Some(hint) = error.hint_text() {
        line(&format!("hint: {hint}"));
    }
}

/// Says in one line what is wrong with something that the command could do without.
pub fn warning(error: &Error) {
    let hint = error.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
    line(&format!("Warning: {error}{hint}"));
}

/// What is wrong with opening a file, in Go's words.
pub fn opening(path: &str, error: &std::io::Error) -> String {
    format!("open {path}: {}", go_words(error))
}

/// The system's words, as Go has them.
pub fn go_words(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// One line of podctl's on standard error; on a terminal its first words tell what it is.
pub fn line(text: &str) {
    let _aside = progress::aside();
    let (length, tone) = head(text);
    let (head, rest) = text.split_at_checked(length).unwrap_or(("", text));
    stderr(&format!("{}{rest}", Colours::of(&std::io::stderr()).paint(tone, head)));
}

/// How long the words before the first colon are that say what a line is, and their tone.
fn head(text: &str) -> (usize, Option<Tone>) {
    let is = |start: &str| text.starts_with(start);
    let tone = match () {
        () if is("error: ") || is("Error from server (") => Tone::Bad,
        () if is("Warning: ") || is("warning: ") => Tone::Busy,
        () if is("hint: ") => Tone::Name,
        () => return (0, None),
    };
    (text.find(": ").map_or(0, |at| at + 1), Some(tone))
}

/// One line on standard error; when that is closed, there is nobody left to tell.
fn stderr(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
