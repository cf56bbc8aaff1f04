//! From text to a template.

use super::{Comparison, Filter, Node, Slice, Step};
use serde_json::{Number, Value};

type Parsed<T> = Result<T, String>;

/// What stands between braces.
enum Action {
    Steps(Vec<Step>),
    Range(Vec<Step>),
    End,
}

/// Reads a whole template. A range that is not ended goes to the end of the text.
pub fn template(text: &str) -> Parsed<Vec<Node>> {
    // The innermost range that is open comes last, each with the path it goes over.
    let mut open: Vec<(Vec<Step>, Vec<Node>)> = Vec::new();
    let mut nodes = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (before, inside) = rest.split_once('{').unwrap_or((rest, ""));
        if !before.is_empty() {
            nodes.push(Node::Text(before.to_owned()));
        }
        if before.len() == rest.len() {
            break;
        }
        let mut reader = Reader { rest: inside };
        match reader.action()? {
            Action::Steps(steps) => nodes.push(Node::Path(steps)),
            Action::Range(steps) => open.push((steps, std::mem::take(&mut nodes))),
            Action::End => {
                let Some((steps, outer)) = open.pop() else {
                    let why = "not in range, nothing to end".to_owned();
                    nodes.push(Node::Path(vec![Step::Wrong(why)]));
                    rest = reader.rest;
                    continue;
                };
                let body = std::mem::replace(&mut nodes, outer);
                nodes.push(Node::Range(steps, body));
            }
        }
        rest = reader.rest;
    }
    while let Some((steps, outer)) = open.pop() {
        let body = std::mem::replace(&mut nodes, outer);
        nodes.push(Node::Range(steps, body));
    }
    Ok(nodes)
}

/// Reads what stands in braces: `text` has none around it.
fn steps(text: &str) -> Parsed<Vec<Step>> {
    let closed = format!("{text}}}");
    match (Reader { rest: &closed }).action()? {
        Action::Steps(steps) => Ok(steps),
        Action::Range(_) | Action::End => Err(format!("unrecognized identifier {text}")),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Up to and with the closing brace.
    fn action(&mut self) -> Parsed<Action> {
        let mut steps = Vec::new();
        let mut is_range = false;
        loop {
            let Some(next) = self.rest.chars().next() else {
                return Err("unclosed action".to_owned());
            };
            match next {
                '}' => {
                    self.skip(1);
                    return Ok(if is_range { Action::Range(steps) } else { Action::Steps(steps) });
                }
                ' ' | '$' | '@' => self.skip(1),
                '[' => steps.push(self.brackets()?),
                '"' | '\'' => {
                    let text = unquote(self.quoted(next)?);
                    steps.push(Step::Literal(Value::String(text)));
                }
                '.' => self.dot(&mut steps)?,
                '+' | '-' | '0'..='9' => steps.push(Step::Literal(self.number()?)),
                c if c.is_alphanumeric() || c == '_' => match self.word().as_str() {
                    "range" => is_range = true,
                    "end" => {
                        self.rest = self.rest.split_once('}').ok_or("unclosed action")?.1;
                        return Ok(Action::End);
                    }
                    "true" => steps.push(Step::Literal(Value::Bool(true))),
                    "false" => steps.push(Step::Literal(Value::Bool(false))),
                    word => steps.push(Step::Wrong(format!("unrecognized identifier {word}"))),
                },
                c => {
                    let code = u32::from(c);
                    return Err(format!("unrecognized character in action: U+{code:04X} '{c}'"));
                }
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// `.name`, `.*`, `..` and `..name`.
    fn dot(&mut self, steps: &mut Vec<Step>) -> Parsed<()> {
        self.skip(1);
        if self.rest.starts_with('.') {
            if steps.last() == Some(&Step::Recursive) {
                return Err("invalid multiple recursive descent".to_owned());
            }
            self.skip(1);
            steps.push(Step::Recursive);
            if !self.rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
                return Ok(());
            }
        }
        match self.word() {
            star if star == "*" => steps.push(Step::Wildcard),
            name => steps.push(Step::Field(name)),
        }
        Ok(())
    }

    /// A name up to what ends one; a backslash takes the next character as it is.
    fn word(&mut self) -> String {
        let mut word = String::new();
        let mut characters = self.rest.chars();
        while let Some(character) = characters.clone().next() {
            let ends = character.is_whitespace()
                || matches!(character, '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}');
            if ends {
                break;
            }
            characters.next();
            if character == '\\' {
                word.extend(characters.next());
            } else {
                word.push(character);
            }
        }
        self.rest = characters.as_str();
        word
    }

    /// What stands in quotes, which are taken away; what is escaped stays so.
    fn quoted(&mut self, quote: char) -> Parsed<&'a str> {
        let inside = self.rest.get(1..).unwrap_or_default();
        let mut escaped = false;
        let end = inside.char_indices().find(|(_, c)| {
            let ends = !escaped && *c == quote;
            escaped = !escaped && *c == '\\';
            ends
        });
        let (end, _) = end.ok_or("unterminated quoted string")?;
        self.rest = inside.get(end + 1..).unwrap_or_default();
        Ok(inside.get(..end).unwrap_or_default())
    }

    fn number(&mut self) -> Parsed<Value> {
        let ends = |c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'));
        let (text, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        let plain = text.strip_prefix('+').unwrap_or(text);
        let float = || plain.parse::<f64>().ok().and_then(Number::from_f64);
        let number = plain.parse::<i64>().ok().map(Number::from).or_else(float);
        number.map(Value::Number).ok_or_else(|| format!("cannot parse number {text}"))
    }

    /// `[…]`.
    fn brackets(&mut self) -> Parsed<Step> {
        self.skip(1);
        let mut depth = 0_u32;
        let mut quote = None;
        let end = self.rest.char_indices().find(|(_, c)| {
            match (quote, c) {
                (Some(open), c) if open == *c => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(*c),
                (None, '[') => depth += 1,
                (None, ']') if depth == 0 => return true,
                (None, ']') => depth -= 1,
                (None, _) => {}
            }
            false
        });
        let is_filter = self.rest.starts_with("?(");
        let unended = if is_filter { "unterminated filter" } else { "unterminated array" };
        let (end, _) = end.ok_or(unended)?;
        let (inside, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        bracketed(inside.trim())
    }
}

fn bracketed(text: &str) -> Parsed<Step> {
    if text == "*" {
        // Of lists alone.
        return Ok(Step::Slice(Slice { start: None, end: None, step: None, single: false }));
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filtered(filter.trim());
    }
    let parts = parts(text);
    if parts.len() > 1 {
        let all = parts.into_iter().map(|part| bracketed(part.trim()).map(|step| vec![step]));
        return all.collect::<Parsed<_>>().map(Step::Union);
    }
    let inside = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    if let Some(names) = inside.filter(|names| !names.contains('\'')) {
        // Dots part names here, too.
        return steps(&format!(".{names}")).map(|steps| Step::Union(vec![steps]));
    }
    slice(text).map(Step::Slice).ok_or_else(|| format!("invalid array index {text}"))
}

/// At the commas that are not in quotes.
fn parts(text: &str) -> Vec<&str> {
    let mut quote = None;
    let comma = |c: char| {
        match quote {
            Some(open) if open == c => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            _ => {}
        }
        c == ',' && quote.is_none()
    };
    text.split(comma).collect()
}

fn slice(text: &str) -> Option<Slice> {
    let numbers = text.split(':').map(|part| match part {
        "" => Some(None),
        digits => digits.parse::<i64>().ok().map(Some),
    });
    let numbers = numbers.collect::<Option<Vec<Option<i64>>>>()?;
    match *numbers.as_slice() {
        // Nothing at all is the first one.
        [index] => Some(index.unwrap_or(0)).map(|index| Slice {
            start: Some(index),
            end: Some(index.saturating_add(1)),
            step: None,
            single: true,
        }),
        [start, end] => Some(Slice { start, end, step: None, single: false }),
        [start, end, step] => Some(Slice { start, end, step, single: false }),
        _ => None,
    }
}

fn filtered(text: &str) -> Parsed<Step> {
    let is_operator = |c: char| matches!(c, '!' | '<' | '>' | '=');
    let Some(at) = text.find(is_operator).filter(|at| *at > 0) else {
        return Ok(Step::Filter(Box::new(Filter { left: steps(text)?, compared: None })));
    };
    let (left, rest) = text.split_at(at);
    let end = rest.find(|c| !is_operator(c)).unwrap_or(rest.len());
    let (operator, right) = rest.split_at(end);
    let (left, right) = (steps(left)?, steps(right)?);
    let comparison = match operator {
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        "==" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        ">=" => Comparison::GreaterOrEqual,
        ">" => Comparison::Greater,
        other => return Ok(Step::Wrong(format!("unrecognized filter operator {other}"))),
    };
    Ok(Step::Filter(Box::new(Filter { left, compared: Some((comparison, right)) })))
}

/// What Go makes of the escapes in a quoted text.
fn unquote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('v') => out.push('\u{b}'),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}
