//! kubectl apply's merge: what was applied last and is not applied now goes, what is applied now
//! stands, what others added stays.

use super::fields::{self, List};
use super::strategic::{join, same};
use super::{fields_of, items_of};
use serde_json::{Map, Value};

/// `current` as it shall be, when `original` was applied last and `modified` is applied now.
pub fn three_way(original: Option<&Value>, modified: &Value, current: &Value) -> Value {
    let (before, now, there) =
        (fields_of(original), fields_of(Some(modified)), fields_of(Some(current)));
    Value::Object(object_at("", before, now, there))
}

type Fields = Map<String, Value>;

fn object_at(path: &str, before: &Fields, now: &Fields, there: &Fields) -> Fields {
    let mut merged = there.clone();
    for key in before.keys().filter(|key| now.get(*key).is_none_or(Value::is_null)) {
        merged.remove(key);
    }
    for (key, value) in now {
        let below = join(path, key);
        let new = match value {
            Value::Null => {
                merged.remove(key);
                continue;
            }
            Value::Object(now) => {
                let (before, there) = (fields_of(before.get(key)), fields_of(there.get(key)));
                Value::Object(object_at(&below, before, now, there))
            }
            Value::Array(now) => {
                let (before, there) = (items_of(before.get(key)), items_of(there.get(key)));
                Value::Array(list_at(&below, before, now, there))
            }
            plain => plain.clone(),
        };
        merged.insert(key.clone(), new);
    }
    if fields::retains_keys(path) && merged != *there {
        merged.retain(|key, _| now.contains_key(key));
    }
    merged
}

fn list_at(path: &str, before: &[Value], now: &[Value], there: &[Value]) -> Vec<Value> {
    let kind = fields::list(path);
    let has = |list: &[Value], item: &Value| list.iter().any(|one| same(kind, one, item));
    let twice = now
        .iter()
        .enumerate()
        .any(|(at, item)| now.iter().take(at).any(|earlier| same(kind, earlier, item)));
    // Keys given twice (an environment variable may be) are no keys.
    if kind == List::Replaced || twice {
        return now.to_vec();
    }
    let mut merged: Vec<Value> = Vec::new();
    for item in now {
        let old = |list: &[Value]| list.iter().find(|one| same(kind, one, item)).cloned();
        let (before, there) = (old(before), old(there));
        merged.push(match item {
            Value::Object(now) => Value::Object(object_at(
                path,
                fields_of(before.as_ref()),
                now,
                fields_of(there.as_ref()),
            )),
            plain => plain.clone(),
        });
    }
    // What others added keeps its place behind what it stood behind.
    for (at, item) in there.iter().enumerate() {
        if has(now, item) || has(before, item) {
            continue;
        }
        let ahead = there.iter().take(at).rev();
        let after = ahead.filter_map(|ahead| merged.iter().position(|one| same(kind, one, ahead)));
        let place = after.map(|place| place + 1).next().unwrap_or(0);
        merged.insert(place, item.clone());
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_added_stays_and_what_was_applied_goes() {
        let original = json!({"metadata": {"labels": {"a": "1", "gone": "x"}}, "spec": {
            "containers": [{"name": "c", "image": "i:1", "env": [{"name": "OLD"}, {"name": "E"}]}],
            "volumes": [{"name": "v", "hostPath": {"path": "/x"}}, {"name": "w"}],
            "restartPolicy": "Never",
        }});
        let modified = json!({"metadata": {"labels": {"a": "2"}}, "spec": {
            "containers": [{"name": "c", "image": "i:2", "env": [{"name": "E", "value": "1"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w"}],
        }});
        let current = json!({"metadata": {"labels": {"a": "1", "gone": "x", "other": "y"}}, "spec": {
            "containers": [
                {"name": "sidecar", "image": "s"},
                {"name": "c", "image": "i:1", "imagePullPolicy": "Always",
                 "env": [{"name": "OLD"}, {"name": "E"}, {"name": "ADDED"}]},
            ],
            "volumes": [{"name": "v", "hostPath": {"path": "/x", "type": ""}},
                        {"name": "w", "emptyDir": {}}],
            "restartPolicy": "Never", "dnsPolicy": "ClusterFirst",
        }});
        let expected = json!({"metadata": {"labels": {"a": "2", "other": "y"}}, "spec": {
            "containers": [
                {"name": "sidecar", "image": "s"},
                {"name": "c", "image": "i:2", "imagePullPolicy": "Always",
                 "env": [{"name": "E", "value": "1"}, {"name": "ADDED"}]},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}],
            "dnsPolicy": "ClusterFirst",
        }});
        assert_eq!(three_way(Some(&original), &modified, &current), expected);
        let again = three_way(Some(&modified), &modified, &expected);
        assert_eq!(again, expected, "applying again changes nothing");
    }

    #[test]
    fn keys_given_twice_and_nulls() {
        let twice = json!({"spec": {"containers": [{"name": "c",
            "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]}});
        assert_eq!(three_way(None, &twice, &twice), twice);
        let null = json!({"spec": {"nodeSelector": null}});
        let there = json!({"spec": {"nodeSelector": {"a": "b"}, "x": 1}});
        assert_eq!(three_way(None, &null, &there), json!({"spec": {"x": 1}}));
    }
}
