//! `--sort-by`.

use super::jsonpath::Template;
use crate::error::{Error, Result};
use crate::kube::Quantity;
use serde_json::Value;
use std::cmp::Ordering;

/// The order of `values` by what `path` leads to in each; those without it come first.
pub fn order(values: &[Value], path: &str) -> Result<Vec<usize>> {
    let template = Template::relaxed(path).map_err(Error::user)?;
    let mut keys = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let found = template.find(value).map_err(Error::user)?;
        keys.push((found.into_iter().next(), index));
    }
    if !keys.is_empty() && keys.iter().all(|(key, _)| key.is_none()) {
        let text =
            format!("couldn't find any field with path {:?} in the list of objects", template.text);
        return Err(Error::user(text));
    }
    keys.sort_by(|(a, _), (b, _)| compare(*a, *b));
    Ok(keys.into_iter().map(|(_, index)| index).collect())
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (a, b) => return a.is_some().cmp(&b.is_some()),
    };
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Value::String(a), Value::String(b)) => match (Quantity::parse(a), Quantity::parse(b)) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => natural(a, b),
        },
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}

/// Digits in a row count as a number: `web-2` comes before `web-10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (left, right) = (digits(a), digits(b));
        if left.is_empty() || right.is_empty() {
            let (mut before, mut after) = (a.chars(), b.chars());
            match (before.next(), after.next()) {
                (Some(x), Some(y)) if x == y => (a, b) = (before.as_str(), after.as_str()),
                (x, y) => return x.cmp(&y),
            }
            continue;
        }
        let number = |text: &str| text.trim_start_matches('0').to_owned();
        let (x, y) = (number(left), number(right));
        let order = x.len().cmp(&y.len()).then(x.cmp(&y));
        if order != Ordering::Equal {
            return order;
        }
        a = a.get(left.len()..).unwrap_or_default();
        b = b.get(right.len()..).unwrap_or_default();
    }
}

fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn orders_as_kubectl_does() {
        let values = [
            json!({"n": "web-10", "c": 3, "m": "1Gi"}),
            json!({"n": "web-2", "c": 1, "m": "128Mi"}),
            json!({"n": "app", "m": "2Gi"}),
        ];
        let by = |path| order(&values, path).unwrap();
        assert_eq!(by(".n"), [2, 1, 0]);
        assert_eq!(by("{.c}"), [2, 1, 0]);
        assert_eq!(by("m"), [1, 0, 2]);
        let error = order(&values, ".x").unwrap_err().to_string();
        assert_eq!(error, "couldn't find any field with path \"{.x}\" in the list of objects");
        assert_eq!(order(&[], ".x").unwrap(), [0; 0]);
    }
}
