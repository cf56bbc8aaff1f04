//! The strategic merge patch: RFC 7386 that knows which lists have keyed items, and directives
//! (`$patch`, `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`).

use super::fields::{self, List};
use super::{fields_of, items_of};
use crate::error::{Error, Kind, Result};
use serde_json::{Map, Value};

const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// `object` with `patch` applied.
pub fn apply(object: &Value, patch: &Value) -> Result<Value> {
    match patch {
        Value::Object(changes) => {
            object_at("", fields_of(Some(object)), changes).map(Value::Object)
        }
        other => Err(wrong(format!("a patch is an object, not {other}"))),
    }
}

fn object_at(
    path: &str,
    old: &Map<String, Value>,
    changes: &Map<String, Value>,
) -> Result<Map<String, Value>> {
    let mut new = match changes.get("$patch").map(Value::as_str) {
        None | Some(Some("merge")) => old.clone(),
        Some(Some("replace" | "delete")) => Map::new(),
        Some(_) => return Err(wrong(format!("unknown $patch in {path:?}"))),
    };
    if changes.contains_key("$patch") && new.is_empty() {
        if changes.get("$patch").and_then(Value::as_str) == Some("replace") {
            let given = changes.iter().filter(|(key, _)| !key.starts_with('$'));
            new.extend(given.map(|(key, value)| (key.clone(), value.clone())));
        }
        return Ok(new);
    }
    for (key, change) in changes.iter().filter(|(key, _)| !key.starts_with('$')) {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match change {
            Value::Null => {
                new.remove(key);
            }
            Value::Object(changes) => {
                let merged = object_at(&below, fields_of(new.get(key)), changes)?;
                new.insert(key.clone(), Value::Object(merged));
            }
            Value::Array(changes) => {
                let merged = list_at(&below, items_of(new.get(key)), changes)?;
                new.insert(key.clone(), Value::Array(merged));
            }
            plain => {
                new.insert(key.clone(), plain.clone());
            }
        }
    }
    if let Some(kept) = changes.get("$retainKeys") {
        new.retain(|key, _| items_of(Some(kept)).iter().any(|kept| kept == key.as_str()));
    }
    lists(path, &mut new, changes);
    Ok(new)
}

/// The directives about whole lists, which stand beside them.
fn lists(path: &str, new: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (key, change) in changes {
        if let Some(list) = key.strip_prefix(DELETE) {
            let gone = items_of(Some(change));
            if let Some(items) = new.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
        } else if let Some(list) = key.strip_prefix(ORDER) {
            let kind = fields::list(&join(path, list));
            let order = items_of(Some(change));
            if let Some(items) = new.get_mut(list).and_then(Value::as_array_mut) {
                let place = |item: &Value| order.iter().position(|one| same(kind, one, item));
                items.sort_by_key(|item| place(item).unwrap_or(usize::MAX));
            }
        }
    }
}

fn list_at(path: &str, old: &[Value], changes: &[Value]) -> Result<Vec<Value>> {
    let kind = fields::list(path);
    let is = |change: &Value, what: &str| change.get("$patch").is_some_and(|patch| patch == what);
    if kind == List::Replaced || changes.iter().any(|change| is(change, "replace")) {
        let directive =
            |change: &Value| change.as_object().is_some_and(|it| it.contains_key("$patch"));
        return Ok(changes.iter().filter(|change| !directive(change)).cloned().collect());
    }
    let mut new = old.to_vec();
    for change in changes {
        let at = new.iter().position(|item| same(kind, item, change));
        match (change, at) {
            (_, Some(at)) if is(change, "delete") => {
                new.remove(at);
            }
            (_, None) if is(change, "delete") => {}
            (Value::Object(changes), at) => {
                if let List::Keyed([(key, _), ..]) = kind
                    && !changes.contains_key(*key)
                {
                    let text = format!("map: {change} does not contain declared merge key: {key}");
                    return Err(wrong(text));
                }
                let item = at.and_then(|at| new.get_mut(at));
                let merged = object_at(path, fields_of(item.as_deref()), changes)?;
                match item {
                    Some(item) => *item = Value::Object(merged),
                    None => new.push(Value::Object(merged)),
                }
            }
            (plain, None) => new.push(plain.clone()),
            (_, Some(_)) => {}
        }
    }
    Ok(new)
}

/// Whether two items of a list are versions of one.
pub fn same(kind: List, one: &Value, other: &Value) -> bool {
    match kind {
        List::Replaced => false,
        List::Set => one == other,
        List::Keyed(keys) => keys.iter().all(|(key, default)| {
            let default = Value::from(*default);
            one.get(key).unwrap_or(&default) == other.get(key).unwrap_or(&default)
        }),
    }
}

pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn wrong(text: String) -> Error {
    Error::new(Kind::BadRequest, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({"metadata": {"labels": {"a": "1"}}, "spec": {
            "containers": [
                {"name": "x", "image": "i:1", "env": [{"name": "A", "value": "1"}],
                 "ports": [{"containerPort": 53, "protocol": "TCP"}], "args": ["1", "2"]},
                {"name": "y", "image": "j:1"},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "tolerations": [{"key": "a"}],
        }})
    }

    #[test]
    fn lists_are_merged_by_their_keys() {
        let patch = json!({"metadata": {"labels": {"a": null, "b": "2"}}, "spec": {
            "containers": [{"name": "x", "image": "i:2", "args": ["3"],
                "env": [{"name": "B", "value": "2"}, {"name": "A", "$patch": "delete"}],
                "ports": [{"containerPort": 53, "protocol": "UDP"}]}, {"name": "z", "image": "k"}],
            "$setElementOrder/containers": [{"name": "z"}, {"name": "x"}],
            "volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"],
                "hostPath": {"path": "/x"}}],
            "tolerations": [{"key": "b"}],
        }});
        let expected = json!({"metadata": {"labels": {"b": "2"}}, "spec": {
            "containers": [
                {"name": "z", "image": "k"},
                {"name": "x", "image": "i:2", "args": ["3"], "env": [{"name": "B", "value": "2"}],
                 "ports": [{"containerPort": 53, "protocol": "TCP"},
                           {"containerPort": 53, "protocol": "UDP"}]},
                {"name": "y", "image": "j:1"},
            ],
            "volumes": [{"name": "v", "hostPath": {"path": "/x"}}],
            "tolerations": [{"key": "b"}],
        }});
        assert_eq!(apply(&pod(), &patch).unwrap(), expected);
    }

    #[test]
    fn directives_replace_and_delete() {
        let patched = |patch: Value| apply(&pod(), &patch).unwrap();
        let gone = patched(json!({"spec": {"containers": [{"name": "x", "$patch": "delete"}]}}));
        assert_eq!(gone["spec"]["containers"], json!([{"name": "y", "image": "j:1"}]));
        let other = json!([{"$patch": "replace"}, {"name": "z"}]);
        let replaced = patched(json!({"spec": {"containers": other}}));
        assert_eq!(replaced["spec"]["containers"], json!([{"name": "z"}]));
        let labels = patched(json!({"metadata": {"labels": {"$patch": "replace", "n": "1"}}}));
        assert_eq!(labels["metadata"]["labels"], json!({"n": "1"}));
        let nameless = json!({"spec": {"containers": [{"image": "k"}]}});
        let error = apply(&pod(), &nameless).unwrap_err().to_string();
        assert!(error.ends_with("does not contain declared merge key: name"), "{error}");
        assert!(apply(&pod(), &json!([])).is_err());
    }
}
