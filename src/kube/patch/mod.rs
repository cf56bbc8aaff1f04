//! Changes to objects as data: kubectl's three kinds of patch, and apply's three-way merge. Pure
//! functions over JSON; what comes out is decoded, defaulted and validated like any manifest.

mod fields;
mod operations;
mod strategic;
mod threeway;

use crate::error::Result;
use serde_json::{Map, Value};
use std::sync::LazyLock;

pub use threeway::three_way;

/// How `patch --type` says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatchType {
    /// Lists are merged by the keys of their items, as the API defines them.
    #[default]
    Strategic,
    /// RFC 7386: objects are merged, everything else is replaced.
    Merge,
    /// RFC 6902: a list of operations.
    Json,
}

/// `object` with `patch` applied.
pub fn apply(kind: PatchType, object: &Value, patch: &Value) -> Result<Value> {
    match kind {
        PatchType::Strategic => strategic::apply(object, patch),
        PatchType::Merge => Ok(merge(object, patch)),
        PatchType::Json => operations::apply(object, patch),
    }
}

/// RFC 7386.
fn merge(target: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut merged = target.as_object().cloned().unwrap_or_default();
    for (key, change) in changes {
        if change.is_null() {
            merged.remove(key);
        } else {
            let old = merged.get(key).unwrap_or(&Value::Null);
            merged.insert(key.clone(), merge(old, change));
        }
    }
    Value::Object(merged)
}

/// The fields of an object that is none: no fields.
fn fields_of(value: Option<&Value>) -> &Map<String, Value> {
    static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    value.and_then(Value::as_object).unwrap_or_else(|| &NONE)
}

/// The items of a list that is none: no items.
fn items_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merges_as_rfc_7386_says() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (target, patch, expected) in cases {
            assert_eq!(merge(&target, &patch), expected, "{target} {patch}");
        }
    }
}
