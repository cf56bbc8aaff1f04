//! Text in, text out: the two command lines. Only here is anything printed.

pub mod output;
pub mod podctl;
pub mod report;
pub mod runp;

use std::time::Duration;

/// A duration as Go writes it: `90s`, `1h30m`, `1.5h`, `0`.
pub fn parse_duration(text: &str) -> std::result::Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return Err(invalid());
        }
        let letters = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            other => return Err(format!("time: unknown unit {other:?} in duration {text:?}")),
        };
        seconds += number.parse::<f64>().map_err(|_| invalid())? * unit;
        rest = after;
    }
    if text.is_empty() {
        return Err(invalid());
    }
    // Go counts nanoseconds in 64 bits; a longer time would be past the end of every clock.
    let seconds = if seconds < 9.2e9 { seconds } else { f64::INFINITY };
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}
