//! Text in, text out: the two command lines. Only here is anything printed.

mod colours;
pub mod output;
pub mod podctl;
mod progress;
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

/// Bytes as crictl writes them: three digits, thousands.
pub fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if size < 1000.0 {
            break;
        }
        (size, unit) = (size / 1000.0, larger);
    }
    match size {
        _ if unit == "B" => format!("{bytes}B"),
        size if size >= 100.0 => format!("{size:.0}{unit}"),
        size if size >= 10.0 => format!("{size:.1}{unit}"),
        size => format!("{size:.2}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let cases = [(0, "0B"), (999, "999B"), (1500, "1.50kB"), (74_320_000, "74.3MB")];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected);
        }
        assert_eq!(size(123_456_789_012), "123GB");
    }
}
