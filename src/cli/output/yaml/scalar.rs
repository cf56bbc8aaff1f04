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
        Some(b'.') => {
            is_float(&unsigned.replace('_', "")) || matches!(unsigned, ".inf" | ".Inf" | ".INF")
        }
        _ => false,
    }
}

fn is_integer(text: &str) -> bool {
    let (base, digits) = match text.split_at_checked(2) {
        Some(("0x" | "0X", digits)) => (16, digits),
        Some(("0o" | "0O", digits)) => (8, digits),
        Some(("0b" | "0B", digits)) => (2, digits),
        _ if text.starts_with('0') && text.len() > 1 => (8, text),
        _ => (10, text),
    };
    // The standard library would take a sign here.
    !digits.starts_with(['+', '-']) && u64::from_str_radix(digits, base).is_ok()
}

/// `1`, `1.`, `1.5`, `.5`, each with an exponent or without.
fn is_float(text: &str) -> bool {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => {
            (number, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
        }
        None => (text, None),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    exponent.is_none_or(is_digits)
        && is_digits(&format!("{whole}{fraction}"))
        && (!whole.is_empty() || number.starts_with('.'))
        // What does not fit in a float is text after all.
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `1:30`: minutes to YAML 1.1.
fn is_sexagesimal(text: &str) -> bool {
    let (text, fraction) = text.split_once('.').unwrap_or((text, ""));
    let Some((first, rest)) = text.split_once(':') else { return false };
    let minutes = |part: &str| part.len() <= 2 && is_below(part, 60);
    fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        && is_digits(&first.replace('_', ""))
        && rest.split(':').all(minutes)
}

/// `2006-1-2`, alone or with a time of day: after `T` and with a zone, or after a space without.
fn is_time(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let fields: Vec<&str> = date.split('-').collect();
    let [year, month, day] = fields.as_slice() else { return false };
    let short = |field: &str| (1..=2).contains(&field.len()) && is_digits(field);
    if year.len() != 4 || !is_digits(year) || !short(month) || !short(day) {
        return false;
    }
    let number = |field: &str| field.parse::<i8>().unwrap_or(0);
    let year = year.parse().unwrap_or(0);
    let exists = k8s_openapi::jiff::civil::Date::new(year, number(month), number(day)).is_ok();
    exists
        && match time.split_at_checked(1) {
            None => true,
            Some((" ", clock)) => is_clock(clock),
            Some((_, clock)) => match clock.find(['Z', '+', '-']) {
                Some(at) => {
                    let (clock, zone) = clock.split_at(at);
                    is_clock(clock) && is_zone(zone)
                }
                None => false,
            },
        }
}

/// `15:4:5.999`.
fn is_clock(text: &str) -> bool {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let fields: Vec<&str> = clock.split(':').collect();
    let [hour, minute, second] = fields.as_slice() else { return false };
    let short = [hour, minute, second].iter().all(|field| field.len() <= 2);
    short
        && is_digits(fraction)
        && is_below(hour, 24)
        && is_below(minute, 60)
        && is_below(second, 60)
}

/// `Z`, `+07:00`.
fn is_zone(text: &str) -> bool {
    let fields = text.get(1..).and_then(|offset| offset.split_once(':'));
    text == "Z"
        || fields.is_some_and(|(hour, minute)| {
            hour.len() == 2 && minute.len() == 2 && is_below(hour, 25) && is_below(minute, 60)
        })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_below(text: &str, end: u8) -> bool {
    is_digits(text) && text.parse::<u8>().is_ok_and(|number| number < end)
}
