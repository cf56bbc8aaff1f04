//! runc's log: where messages go and how they look (`--log`, `--log-format`, `--debug`).
//!
//! As with runc, an error goes to the log; when the log is a file, its message also goes to
//! standard error, plain.

use crate::error::{Context, Error, Result};
use crate::sys::fs;
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    /// Text on a terminal: short and coloured.
    Terminal,
}

/// How grave a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Only with `--debug`.
    Debug,
    /// Something was left undone that the caller can live with.
    Warning,
    /// The command failed.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// As on a terminal: four letters and their colour.
    fn short(self) -> (&'static str, u8) {
        match self {
            Self::Debug => ("DEBU", 37),
            Self::Warning => ("WARN", 33),
            Self::Error => ("ERRO", 31),
        }
    }
}

/// The log of one run of the program.
pub struct Log {
    format: Format,
    file: Option<File>,
    debug: bool,
}

impl Log {
    /// A log on standard error: the one until the flags are known.
    pub fn stderr() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            format: if terminal { Format::Terminal } else { Format::Text },
            file: None,
            debug: false,
        }
    }

    /// The log that the flags ask for; a file is made if missing and appended to.
    pub fn open(file: Option<&Path>, format: &str, debug: bool) -> Result<Self> {
        let mut log = Self { debug, ..Self::stderr() };
        if let Some(path) = file {
            let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_SYNC;
            let opened = fs::open(path, flags, 0o644);
            log.file = Some(opened.doing(|| format!("open {} (--log)", path.display()))?);
            log.format = Format::Text;
        }
        match format {
            "" | "text" => {}
            "json" => log.format = Format::Json,
            other => return Err(Error::user(format!("invalid log-format: {other}"))),
        }
        Ok(log)
    }

    /// Writes one message. What cannot be logged is dropped: there is nobody left to tell.
    pub fn write(&self, level: Level, message: &str) {
        if level == Level::Debug && !self.debug {
            return;
        }
        let line = line(self.format, level, message, now());
        match &self.file {
            Some(file) => drop({ file }.write_all(line.as_bytes())),
            None => drop(std::io::stderr().write_all(line.as_bytes())),
        }
    }

    /// The file that messages go to.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// Whether `--debug` is on.
    pub fn is_debug(&self) -> bool {
        self.debug
    }

    /// Whether messages go to a file, so that standard error shows none yet.
    pub fn is_file(&self) -> bool {
        self.file.is_some()
    }
}

/// The time of a log line, in whole seconds.
fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default()
}

fn line(format: Format, level: Level, message: &str, time: jiff::Timestamp) -> String {
    let name = level.name();
    match format {
        Format::Text => format!("time=\"{time}\" level={name} msg={}\n", quoted(message)),
        Format::Json => {
            let message = serde_json::Value::from(message);
            format!("{{\"level\":\"{name}\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        }
        Format::Terminal => {
            let (short, colour) = level.short();
            format!("\x1b[{colour}m{short}\x1b[0m[0000] {message:<44} \n")
        }
    }
}

/// A value as logrus quotes it: bare where it can stand so, else as a Go string.
fn quoted(value: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if value.chars().all(bare) {
        return value.to_owned();
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_those_of_runc() {
        let time = jiff::Timestamp::from_second(1_795_499_251).unwrap();
        let table = [
            (
                Format::Text,
                "container does not exist",
                "time=\"2026-11-24T05:47:31Z\" level=error msg=\"container does not exist\"\n",
            ),
            (Format::Text, "EPERM", "time=\"2026-11-24T05:47:31Z\" level=error msg=EPERM\n"),
            (
                Format::Text,
                "a \"b\"\n\u{1}",
                "time=\"2026-11-24T05:47:31Z\" level=error msg=\"a \\\"b\\\"\\n\\u0001\"\n",
            ),
            (
                Format::Json,
                "a \"b\"",
                "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\",\"time\":\"2026-11-24T05:47:31Z\"}\n",
            ),
            (
                Format::Terminal,
                "container does not exist",
                "\x1b[31mERRO\x1b[0m[0000] container does not exist                     \n",
            ),
        ];
        for (format, message, expected) in table {
            assert_eq!(line(format, Level::Error, message, time), expected);
        }
    }
}
