//! YAML as kubectl prints it (go-yaml's emitter): keys sorted naturally, lists at their parent's
//! indent, no quotes unless needed, literal blocks for text of several lines, and text folded at
//! the first space past column 80.

use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::fmt::Write as _;

mod scalar;
use scalar::Style;

const BEST_WIDTH: usize = 80;

/// `value` as one document.
pub fn document(value: &Value) -> String {
    let mut emitter = Emitter { out: String::with_capacity(4096), column: 0 };
    match value {
        Value::Object(map) if !map.is_empty() => emitter.map(map, 0),
        Value::Array(items) if !items.is_empty() => emitter.list(items, 0),
        other => {
            emitter.scalar(other, 2);
            emitter.newline();
        }
    }
    emitter.out
}

struct Emitter {
    out: String,
    /// Characters since the line began.
    column: usize,
}

impl Emitter {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn newline(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    /// Each entry on a line at `indent`; the first one where the cursor stands, if that is there.
    fn map(&mut self, map: &Map<String, Value>, indent: usize) {
        // By insertion, since the order has circles (0x < 10 < 08 < 0x), at which sort_by may panic.
        let mut entries: Vec<(&String, &Value)> = Vec::with_capacity(map.len());
        for entry in map {
            let at = entries.partition_point(|(key, _)| natural(key, entry.0) == Ordering::Less);
            entries.insert(at, entry);
        }
        for (key, value) in entries {
            if self.column == 0 {
                self.indent(indent);
            }
            self.text(key, None);
            self.put(":");
            match value {
                Value::Object(map) if !map.is_empty() => {
                    self.newline();
                    self.map(map, indent + 2);
                }
                Value::Array(items) if !items.is_empty() => {
                    self.newline();
                    self.list(items, indent);
                }
                scalar => {
                    self.put(" ");
                    self.scalar(scalar, indent + 2);
                    self.newline();
                }
            }
        }
    }

    fn list(&mut self, items: &[Value], indent: usize) {
        for item in items {
            if self.column == 0 {
                self.indent(indent);
            }
            self.put("- ");
            match item {
                Value::Object(map) if !map.is_empty() => self.map(map, indent + 2),
                Value::Array(items) if !items.is_empty() => self.list(items, indent + 2),
                scalar => {
                    self.scalar(scalar, indent + 2);
                    self.newline();
                }
            }
        }
    }

    /// A value without parts; text goes on at `indent` on the next line where it must.
    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::String(text) => self.text(text, Some(indent)),
            Value::Object(_) => self.put("{}"),
            Value::Array(_) => self.put("[]"),
            other => self.put(&other.to_string()),
        }
    }

    /// `indent` is `None` for keys, which are never broken.
    fn text(&mut self, text: &str, indent: Option<usize>) {
        match (scalar::style(text, indent.is_none()), indent) {
            (Style::Plain, _) => self.folded(text, indent),
            (Style::Single, _) => {
                self.put("'");
                self.folded(&text.replace('\'', "''"), indent);
                self.put("'");
            }
            (Style::Literal, Some(indent)) => self.literal(text, indent),
            (Style::Literal | Style::Double, _) => self.double(text, indent),
        }
    }

    /// Breaks at single spaces past the best width.
    fn folded(&mut self, text: &str, indent: Option<usize>) {
        let Some(indent) = indent else { return self.put(text) };
        let mut chars = text.chars().peekable();
        let mut after_space = true;
        while let Some(c) = chars.next() {
            let lone = c == ' ' && !after_space && chars.peek().is_some_and(|next| *next != ' ');
            if lone && self.column > BEST_WIDTH {
                self.newline();
                self.indent(indent);
            } else {
                self.out.push(c);
                self.column += 1;
            }
            after_space = c == ' ';
        }
    }

    fn double(&mut self, text: &str, indent: Option<usize>) {
        self.put("\"");
        let mut chars = text.chars().enumerate().peekable();
        let mut after_space = false;
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            let breaks = c == ' ' && !after_space && at > 0 && self.column > BEST_WIDTH;
            match indent.filter(|_| breaks && next.is_some()) {
                Some(indent) => {
                    self.newline();
                    self.indent(indent);
                    if next == Some(' ') {
                        self.put("\\");
                    }
                }
                None => self.put(&scalar::escape(c)),
            }
            after_space = c == ' ';
        }
        self.put("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        let body = text.trim_end_matches('\n');
        let indicator = match text.len() - body.len() {
            0 => "-",
            1 if !body.is_empty() => "",
            _ => "+",
        };
        let hint = if text.starts_with([' ', '\n']) { "2" } else { "" };
        // Writing to a String cannot fail.
        write!(self.out, "|{hint}{indicator}").unwrap_or_default();
        let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        for line in lines {
            self.newline();
            if !line.is_empty() {
                self.indent(indent);
                self.put(line);
            }
        }
    }
}

/// go-yaml's order of keys: numbers within them by value, letters after everything else.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    let (left, right) = (a.get(at..).unwrap_or_default(), b.get(at..).unwrap_or_default());
    let (Some(x), Some(y)) = (left.first(), right.first()) else { return Ordering::Equal };
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A difference after the same leading digits is one of the whole numbers.
    let before = a.get(..at).unwrap_or_default();
    let digits = before.iter().rev().take_while(|c| c.is_ascii_digit());
    let within = (*x == '0' || *y == '0') && digits.into_iter().any(|c| *c != '0');
    let number = |text: &[char]| {
        let digits = text.iter().map_while(|c| c.to_digit(10));
        let (mut value, mut length) = (u64::from(within), 0);
        for digit in digits {
            value = value.saturating_mul(10).saturating_add(u64::from(digit));
            length += 1;
        }
        (value, length)
    };
    number(left).cmp(&number(right)).then(x.cmp(y))
}
