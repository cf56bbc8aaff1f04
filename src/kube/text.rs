//! A manifest's text into JSON values: YAML as kubectl takes it (octal `0644`, `yes`/`on`, many
//! documents, no duplicate keys) or JSON, told apart by the first character.

use super::json;
use crate::error::{Context, Error, Result};
use serde_json::{Number, Value};

/// A document and the paths of the fields that it gives twice (JSON only: YAML refuses them with
/// their position).
#[derive(Debug)]
pub struct Document {
    /// What it says.
    pub value: Value,
    /// `spec.restartPolicy`.
    pub duplicates: Vec<String>,
}

/// The documents of `text`, empty ones left out. Errors carry line and column.
pub fn documents(file: &str, text: &str) -> Result<Vec<Document>> {
    let documents = if text.trim_start().starts_with('{') {
        // What begins like JSON may still be YAML in its flow style.
        json_documents(text).or_else(|error| yaml(text).map_err(|_| error))
    } else {
        yaml(text)
    };
    documents.doing(|| format!("error parsing {file}"))
}

fn yaml(text: &str) -> Result<Vec<Document>> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    let values: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|e| yaml_error(&e))?;
    let kept = values.into_iter().filter(|value| !value.is_null());
    Ok(kept.map(|value| Document { value: whole_numbers(value), duplicates: vec![] }).collect())
}

/// How the parser begins to say what go-yaml, and so kubectl, says otherwise.
const WORDS: [(&str, &str); 8] = [
    ("unexpected character", "found character that cannot start any token"),
    ("tabs disallowed", "found character that cannot start any token: a tab"),
    ("unclosed bracket '['", "did not find expected ',' or ']'"),
    ("unclosed bracket '{'", "did not find expected ',' or '}'"),
    ("unclosed quote", "found unexpected end of stream: a quote is not closed"),
    ("cannot deserialize null into string", "invalid map key: null"),
    ("expected string scalar", "invalid map key"),
    ("recursive references", "anchor value contains itself"),
];

fn yaml_error(error: &serde_saphyr::Error) -> Error {
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    let words = error.to_string();
    let words = words.strip_suffix(&format!(" at line {line}, column {column}")).unwrap_or(&words);
    let known = WORDS.iter().find(|(ours, _)| words.starts_with(ours)).map(|(_, go)| *go);
    let context = words.strip_prefix("while ").and_then(|words| words.split_once(", "));
    let words = known.or(context.map(|(_, words)| words)).unwrap_or(words);
    let story = match (error, line) {
        (serde_saphyr::Error::DuplicateMappingKey { key, .. }, _) => {
            let key = key.as_deref().unwrap_or_default();
            format!(
                "unmarshal errors:\n  line {line}: key \"{key}\" already set in map (column {column})"
            )
        }
        (_, 0) => words.to_owned(),
        _ => format!("line {line}: {words} (column {column})"),
    };
    Error::user(format!("error converting YAML to JSON: yaml: {story}"))
}

/// `80.0` and `1e3` are integers once YAML has become JSON.
fn whole_numbers(value: Value) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => {
                Value::Number(Number::from(float as i64))
            }
            _ => Value::Number(number),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(whole_numbers).collect()),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (key, whole_numbers(value))).collect())
        }
        other => other,
    }
}

fn json_documents(text: &str) -> Result<Vec<Document>> {
    let documents = json::documents(text).map_err(|error| json_error(&error))?;
    let documents = documents.into_iter();
    Ok(documents.map(|(value, duplicates)| Document { value, duplicates }).collect())
}

fn json_error(error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let words = error.to_string();
    let words = words.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&words);
    Error::user(format!("json: line {line}: {words} (column {column})"))
}
