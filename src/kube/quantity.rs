//! Quantities (`500m`, `128Mi`, `1e3`): exact decimal fixed point, printed in canonical form as
//! apimachinery's `resource.Quantity` does. Contract: no floating point, nothing finer than 1e-9
//! (rounded away from zero), magnitudes capped at 2^63-1.

use std::fmt;

/// One, in the unit a [`Quantity`] counts in: billionths.
const ONE: i128 = 1_000_000_000;
const MAX: i128 = i64::MAX as i128 * ONE;

/// What the API says of text that is no quantity.
pub const FORMAT_WRONG: &str = "quantities must match the regular expression \
                                '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX_WRONG: &str = "unable to parse quantity's suffix";

/// The family of suffix a quantity was written with, kept when it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `m`, `k`, `M`…
    DecimalSi,
    /// `Ki`, `Mi`…
    BinarySi,
    /// `e3`.
    DecimalExponent,
}

/// A parsed quantity.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(quantities: I) -> Self {
        let add = |a: Self, b: Self| {
            let format = if a.nano == 0 { b.format } else { a.format };
            Self { nano: (a.nano + b.nano).min(MAX), format }
        };
        quantities.reduce(add).unwrap_or(ZERO)
    }
}

/// Nothing.
pub const ZERO: Quantity = Quantity { nano: 0, format: Format::DecimalSi };

impl Quantity {
    /// One.
    pub const ONE: Self = Self { nano: ONE, format: Format::DecimalSi };

    /// Reads `text`, or says what is wrong with it in the API's words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or_default()),
            Some(b'+') => (false, text.get(1..).unwrap_or_default()),
            _ => (false, text),
        };
        let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(split);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(FORMAT_WRONG);
        }
        let (factor, format) = Factor::of(suffix)?;
        let nano = factor.apply(whole, fraction);
        Ok(Self { nano: if negative { -nano } else { nano }, format })
    }

    /// The value, rounded up to an integer: bytes, cores.
    pub fn value(self) -> i64 {
        round_away(self.nano, ONE)
    }

    /// Thousandths, rounded up: millicores.
    pub fn milli(self) -> i64 {
        round_away(self.nano, ONE / 1000)
    }

    /// Less than nothing.
    pub fn is_negative(self) -> bool {
        self.nano < 0
    }

    /// Whether it is a whole number.
    pub fn is_integer(self) -> bool {
        self.nano % ONE == 0
    }
}

/// What a suffix multiplies with: `mantissa * 2^binary * 10^decimal`.
struct Factor {
    binary: u32,
    decimal: i32,
}

impl Factor {
    fn of(suffix: &str) -> Result<(Self, Format), &'static str> {
        const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        if let Some(at) = BINARY.iter().position(|known| *known == suffix) {
            return Ok((Self { binary: 10 * (at as u32 + 1), decimal: 0 }, Format::BinarySi));
        }
        if let Some(at) = DECIMAL.iter().position(|known| *known == suffix) {
            return Ok((Self { binary: 0, decimal: 3 * at as i32 - 9 }, Format::DecimalSi));
        }
        if let Some(exponent) = suffix.strip_prefix(['e', 'E']) {
            let decimal: i64 = exponent.parse().map_err(|_| wrong_suffix(suffix))?;
            // Far past the cap, or below what is counted, one exponent is as good as another.
            let decimal = decimal.clamp(-100, 100) as i32;
            return Ok((Self { binary: 0, decimal }, Format::DecimalExponent));
        }
        Err(wrong_suffix(suffix))
    }

    /// `whole.fraction` times this, in billionths, rounded up, capped.
    fn apply(&self, whole: &str, fraction: &str) -> i128 {
        let mut mantissa: i128 = 0;
        let mut decimal = self.decimal + 9;
        let mut inexact = false;
        for (digits, scale) in [(whole, 0), (fraction, 1)] {
            for digit in digits.bytes() {
                if mantissa > i128::MAX / 4096 / ONE {
                    // Past 2^63 the cap decides, and past 1e-9 the rounding: only zeroes matter.
                    inexact |= digit != b'0';
                    decimal += 1 - scale;
                } else {
                    mantissa = mantissa * 10 + i128::from(digit - b'0');
                    decimal -= scale;
                }
            }
        }
        mantissa = match mantissa.checked_shl(self.binary) {
            Some(shifted) if shifted >> self.binary == mantissa => shifted,
            _ => return MAX,
        };
        let mut nano = mantissa;
        for _ in 0..decimal.clamp(0, 60) {
            nano = nano.saturating_mul(10).min(MAX);
        }
        for _ in 0..(-decimal).clamp(0, 60) {
            inexact |= nano % 10 != 0;
            nano /= 10;
        }
        (nano + i128::from(inexact)).min(MAX)
    }
}

fn wrong_suffix(suffix: &str) -> &'static str {
    let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let digits = letters.strip_prefix(['-', '+']).unwrap_or(letters);
    if digits.bytes().all(|b| b.is_ascii_digit()) { SUFFIX_WRONG } else { FORMAT_WRONG }
}

fn round_away(nano: i128, unit: i128) -> i64 {
    let rounded = nano / unit + (nano % unit).signum();
    i64::try_from(rounded).unwrap_or(if nano < 0 { i64::MIN } else { i64::MAX })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        if self.nano == 0 {
            return f.write_str("0");
        }
        let whole_kib = self.is_integer() && self.nano.abs() >= 1024 * ONE;
        if self.format == Format::BinarySi && whole_kib {
            let (number, power) = strip(self.nano / ONE, 1024, BINARY.len() - 1);
            return write!(f, "{number}{}", BINARY.get(power).unwrap_or(&""));
        }
        let (number, power) = strip(self.nano, 1000, DECIMAL.len() - 1);
        match (self.format, power * 3) {
            (Format::DecimalExponent, 9) => write!(f, "{number}"),
            (Format::DecimalExponent, exponent) => write!(f, "{number}e{}", exponent as i32 - 9),
            _ => write!(f, "{number}{}", DECIMAL.get(power).unwrap_or(&"")),
        }
    }
}

/// Divides by `base` while nothing is lost, at most `most` times.
fn strip(mut number: i128, base: i128, most: usize) -> (i128, usize) {
    let mut power = 0;
    while power < most && number % base == 0 {
        number /= base;
        power += 1;
    }
    (number, power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_canonical_form() {
        let cases = [
            ("0", "0"),
            ("0Ki", "0"),
            ("-0", "0"),
            ("1", "1"),
            ("+1", "1"),
            ("500m", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12e2", "1200"),
            ("1e-3", "1e-3"),
            ("1024Ki", "1Mi"),
            ("128Mi", "128Mi"),
            ("1.5Gi", "1536Mi"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("1023", "1023"),
            ("1Gi", "1Gi"),
            ("1G", "1G"),
            ("100000k", "100M"),
            ("1E", "1E"),
            ("1Ei", "1Ei"),
            ("100n", "100n"),
            ("0.1n", "1n"),
            ("-1.5", "-1500m"),
            ("9Ei", "9223372036854775807"),
            ("99999999999999999999", "9223372036854775807"),
            ("0.00000000001", "1n"),
            ("123456789012345678", "123456789012345678"),
            ("1.000000000000000000000001", "1000000001n"),
        ];
        for (text, canonical) in cases {
            let quantity = Quantity::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(quantity.to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn refuses_in_the_words_of_the_api() {
        for text in ["", "m", "1 Mi", "1x", "1.2.3", "--1", "Mi", "1Mi ", "one", "1M5x"] {
            assert_eq!(Quantity::parse(text).unwrap_err(), FORMAT_WRONG, "{text:?}");
        }
        for text in ["1mm", "1K", "1KM", "1e", "1mi", "1i5"] {
            assert_eq!(Quantity::parse(text).unwrap_err(), SUFFIX_WRONG, "{text:?}");
        }
    }

    #[test]
    fn counts_rounding_up() {
        let read = |text: &str| Quantity::parse(text).unwrap();
        assert_eq!((read("100m").value(), read("100m").milli()), (1, 100));
        assert_eq!(read("0.0001").milli(), 1);
        assert_eq!(read("128Mi").value(), 128 << 20);
        assert_eq!([read("1"), read("500m")].into_iter().sum::<Quantity>().to_string(), "1500m");
        assert!(read("999m") < read("1") && read("1024") == read("1Ki"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+]?[0-9.]{0,30}([a-zA-Z]{0,3}|[eE][-+]?[0-9]{0,20})") {
            if let Ok(quantity) = Quantity::parse(&text) {
                let canonical = quantity.to_string();
                let again = Quantity::parse(&canonical).unwrap();
                assert_eq!((again, again.to_string()), (quantity, canonical));
            }
        }
    }
}
