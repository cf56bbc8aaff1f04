//! How a piece of text is written in YAML: libyaml's analysis, and what YAML 1.1 would take the
//! text for without quotes.

use std::borrow::Cow;

/// The styles of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// `'…'`.
    Single,
    /// `"…"`.
    Double,
    /// `|` and its lines.
    Literal,
}

/// The style of `text`; keys are never literal.
pub fn style(text: &str, key: bool) -> Style {
    let found = analyse(text);
    if text.contains('\n') {
        return if found.literal && !key { Style::Literal } else { Style::Double };
    }
    match (is_other_type(text), found.plain, found.single) {
        (true, ..) => Style::Double,
        (false, true, _) => Style::Plain,
        (false, false, true) => Style::Single,
        (false, false, false) => Style::Double,
    }
}

/// Which styles can carry the text.
struct Allowed {
    plain: bool,
    single: bool,
    literal: bool,
}

fn analyse(text: &str) -> Allowed {
    let mut indicator = text.starts_with("---") || text.starts_with("...");
    let mut special = false;
    let (mut break_space, mut space_break) = (false, false);
    let mut previous = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let spaced = chars.peek().is_none_or(|next| matches!(next, ' ' | '\t' | '\n'));
        indicator |= match (c, previous) {
            (
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
                | '@' | '`',
                None,
            ) => true,
            ('?' | '-', None) | (':', _) => spaced,
            ('#', Some(' ' | '\t' | '\n')) => true,
            _ => false,
        };
        special |= !is_printable(c);
        break_space |= c == ' ' && previous == Some('\n');
        space_break |= c == '\n' && previous == Some(' ');
        previous = Some(c);
    }
    let edges = text.starts_with([' ', '\n']) || text.ends_with([' ', '\n']);
    let quotable = !space_break && !special;
    Allowed {
        plain: quotable && !indicator && !edges && !break_space && !text.contains('\n'),
        single: quotable && !break_space,
        literal: quotable && !text.ends_with(' '),
    }
}

fn is_printable(c: char) -> bool {
    // The line separators are breaks to YAML 1.1: only escaped do they come back as they were.
    !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
        && matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
}

/// One character within double quotes.
pub fn escape(c: char) -> Cow<'static, str> {
    let short = match c {
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        _ if is_printable(c) => return c.to_string().into(),
        _ => {
            let code = u32::from(c);
            return match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            }
            .into();
        }
    };
    short.into()
}

/// Whether YAML 1.1 would read the text as something else than text.
fn is_other_type(text: &str) -> bool {
    const WORDS: [&str; 33] = [
        "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE",
        "on", "On", "ON", "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off",
        "OFF", ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF",
    ];
    if WORDS.contains(&text) {
        return true;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned.bytes().next() {
        Some(b'0'..=b'9') => {
            let digits = unsigned.replace('_', "");
            is_integer(&digits) || is_float(&digits) || is_sexagesimal(unsigned) || is_time(text)
        }
        Some(b'.') => is_float(unsigned) || matches!(unsigned, ".inf" | ".Inf" | ".INF"),
        _ => false,
    }
}

fn is_integer(text: &str) -> bool {
    let based = |prefixes: [&str; 2], base: u32| {
        let digits = prefixes.iter().find_map(|prefix| text.strip_prefix(*prefix));
        digits.is_some_and(|digits| u64::from_str_radix(digits, base).is_ok())
    };
    let octal = text.strip_prefix('0').unwrap_or_default();
    text == "0"
        || (!text.starts_with('0') && text.parse::<u64>().is_ok())
        || u64::from_str_radix(octal, 8).is_ok()
        || based(["0x", "0X"], 16)
        || based(["0o", "0O"], 8)
        || based(["0b", "0B"], 2)
}

/// `[0-9]*\.?[0-9]+([eE][-+][0-9]+)?`
fn is_float(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (number, exponent) = match text.find(['e', 'E']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let signed = exponent.get(1..).and_then(|exponent| exponent.strip_prefix(['+', '-']));
    if !exponent.is_empty() && !signed.is_some_and(digits) {
        return false;
    }
    match number.split_once('.') {
        Some((whole, fraction)) => (whole.is_empty() || digits(whole)) && digits(fraction),
        None => digits(number),
    }
}

/// `1:30`: minutes to YAML 1.1.
fn is_sexagesimal(text: &str) -> bool {
    let text = text.split_once('.').map_or(text, |(whole, _)| whole);
    let mut parts = text.split(':');
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let minutes =
        |part: &str| digits(part) && part.len() <= 2 && part.parse::<u8>().is_ok_and(|n| n < 60);
    let first = parts.next().unwrap_or_default().replace('_', "");
    let mut rest = parts.peekable();
    digits(&first) && rest.peek().is_some() && rest.all(minutes)
}

/// `2006-01-02`, or with a time after `T` or a space.
fn is_time(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let fields: Vec<&str> = date.split('-').collect();
    let numbers = |fields: &[&str]| fields.iter().all(|f| f.bytes().all(|b| b.is_ascii_digit()));
    let dated = matches!(fields.as_slice(), [year, month, day]
        if year.len() == 4 && matches!(month.len(), 1..=2) && matches!(day.len(), 1..=2));
    let clock = time.get(1..).unwrap_or_default();
    let timed = clock.matches(':').count() >= 2
        && clock.bytes().all(|b| b.is_ascii_digit() || b":.Z+-".contains(&b));
    dated && numbers(&fields) && (time.is_empty() || timed)
}
