//! `kill`.

use crate::error::{Error, Result};
use nix::sys::signal::Signal;
use std::str::FromStr;

/// A signal by number, by name (`TERM`, `SIGTERM`, in any case), or as `RTMIN+n` and `RTMAX-n`.
pub fn parse_signal(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = match name {
        "CLD" => Some(libc::SIGCHLD),
        "IOT" => Some(libc::SIGABRT),
        "POLL" => Some(libc::SIGIO),
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
}
