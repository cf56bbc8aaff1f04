//! RFC 6902: a list of operations, all or nothing.

use crate::error::{Error, Kind, Result};
use serde_json::Value;

/// `object` after the operations of `patch`, in their order.
pub fn apply(object: &Value, patch: &Value) -> Result<Value> {
    let Some(operations) = patch.as_array() else {
        return Err(Error::new(
            Kind::BadRequest,
            "json: cannot unmarshal object into Go value of type jsonpatch.Patch",
        )
        .hint("a JSON patch is a list: [{\"op\": \"add\", \"path\": \"/metadata/labels/a\", \"value\": \"b\"}]"));
    };
    let mut object = object.clone();
    for operation in operations {
        one(&mut object, operation).map_err(|why| refused(operation, &why))?;
    }
    Ok(object)
}

/// The API server does not say which operation it was.
fn refused(operation: &Value, why: &str) -> Error {
    let words = "The request is invalid: the server rejected our request due to an error in our \
                 request";
    Error::new(Kind::Invalid, words).hint(format!("{operation}: {why}"))
}

fn one(object: &mut Value, operation: &Value) -> std::result::Result<(), String> {
    let text = |field: &str| operation.get(field).and_then(Value::as_str);
    let path = text("path").ok_or("it has no path")?;
    let value = || operation.get("value").cloned().ok_or("it has no value");
    let from = || text("from").ok_or("it has no from");
    match text("op").unwrap_or_default() {
        "add" => add(object, path, value()?),
        "remove" => remove(object, path).map(drop),
        "replace" => {
            let there = object.pointer_mut(path).ok_or_else(|| missing(path))?;
            *there = value()?;
            Ok(())
        }
        "move" => {
            let from = from()?;
            if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                return Err("nothing moves into itself".to_owned());
            }
            let value = remove(object, from)?;
            add(object, path, value)
        }
        "copy" => {
            let from = from()?;
            let value = object.pointer(from).cloned().ok_or_else(|| missing(from))?;
            add(object, path, value)
        }
        "test" => {
            let there = object.pointer(path).unwrap_or(&Value::Null);
            let wanted = value()?;
            if *there == wanted { Ok(()) } else { Err(format!("{path} is {there}")) }
        }
        other => Err(format!("unknown operation {other:?}")),
    }
}

fn missing(path: &str) -> String {
    format!("{path} is not there")
}

/// The last step of a path, and the value it is a step from.
fn parent<'a>(
    object: &'a mut Value,
    path: &str,
) -> std::result::Result<(&'a mut Value, String), String> {
    let (above, last) = path.rsplit_once('/').ok_or("a path starts with /")?;
    let last = last.replace("~1", "/").replace("~0", "~");
    let parent = object.pointer_mut(above).ok_or_else(|| missing(above))?;
    Ok((parent, last))
}

fn add(object: &mut Value, path: &str, value: Value) -> std::result::Result<(), String> {
    if path.is_empty() {
        *object = value;
        return Ok(());
    }
    let (parent, last) = parent(object, path)?;
    match parent {
        Value::Object(fields) => {
            fields.insert(last, value);
            Ok(())
        }
        Value::Array(items) if last == "-" => {
            items.push(value);
            Ok(())
        }
        Value::Array(items) => match index(&last) {
            Some(at) if at <= items.len() => {
                items.insert(at, value);
                Ok(())
            }
            _ => Err(missing(path)),
        },
        _ => Err(missing(path)),
    }
}

fn remove(object: &mut Value, path: &str) -> std::result::Result<Value, String> {
    let (parent, last) = parent(object, path)?;
    let removed = match parent {
        Value::Object(fields) => fields.remove(&last),
        Value::Array(items) => {
            index(&last).filter(|at| *at < items.len()).map(|at| items.remove(at))
        }
        _ => None,
    };
    removed.ok_or_else(|| missing(path))
}

/// No sign, no leading zero.
fn index(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits && (text == "0" || !text.starts_with('0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operations_are_those_of_the_rfc() {
        let object = json!({"a": {"b/c": 1}, "l": [1, 3]});
        let cases = [
            (
                json!({"op": "add", "path": "/a/d", "value": 2}),
                json!({"a": {"b/c": 1, "d": 2}, "l": [1, 3]}),
            ),
            (
                json!({"op": "add", "path": "/l/1", "value": 2}),
                json!({"a": {"b/c": 1}, "l": [1, 2, 3]}),
            ),
            (
                json!({"op": "add", "path": "/l/-", "value": 4}),
                json!({"a": {"b/c": 1}, "l": [1, 3, 4]}),
            ),
            (json!({"op": "remove", "path": "/a/b~1c"}), json!({"a": {}, "l": [1, 3]})),
            (json!({"op": "remove", "path": "/l/0"}), json!({"a": {"b/c": 1}, "l": [3]})),
            (
                json!({"op": "replace", "path": "/l", "value": []}),
                json!({"a": {"b/c": 1}, "l": []}),
            ),
            (
                json!({"op": "move", "from": "/l/0", "path": "/x"}),
                json!({"a": {"b/c": 1}, "l": [3], "x": 1}),
            ),
            (
                json!({"op": "copy", "from": "/l/1", "path": "/l/0"}),
                json!({"a": {"b/c": 1}, "l": [3, 1, 3]}),
            ),
            (json!({"op": "test", "path": "/l/1", "value": 3}), object.clone()),
            (json!({"op": "add", "path": "", "value": {}}), json!({})),
        ];
        for (operation, expected) in cases {
            assert_eq!(apply(&object, &json!([operation])).unwrap(), expected, "{operation}");
        }
        let wrong = [
            json!({"op": "add", "path": "/l/3", "value": 2}),
            json!({"op": "add", "path": "/n/o", "value": 2}),
            json!({"op": "remove", "path": "/l/2"}),
            json!({"op": "remove", "path": "/l/01"}),
            json!({"op": "replace", "path": "/n", "value": 2}),
            json!({"op": "test", "path": "/l/1", "value": 2}),
            json!({"op": "move", "from": "/a", "path": "/a/b"}),
            json!({"op": "add", "path": "/a"}),
            json!({"op": "nope", "path": "/a"}),
            json!({"path": "/a"}),
        ];
        for operation in wrong {
            let error = apply(&object, &json!([operation])).unwrap_err();
            assert!(
                error.to_string().starts_with("The request is invalid"),
                "{operation}: {error}"
            );
        }
        assert!(apply(&object, &json!({})).is_err());
    }
}
