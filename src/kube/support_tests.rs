//! The table against the API's own types: `deserialize_struct` is told the fields of each struct,
//! so a deserializer that answers with all of them walks every path there is.

use super::{RULES, Rule, Support, check, rule};
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::value::{Error as Nothing, StrDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::result::Result;

#[derive(Clone)]
struct Walk<'a> {
    path: String,
    leaves: &'a RefCell<Vec<String>>,
}

impl<'de> Deserializer<'de> for Walk<'_> {
    type Error = Nothing;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        self.leaves.borrow_mut().push(self.path);
        visitor.visit_i64(1)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        self.leaves.borrow_mut().push(self.path);
        visitor.visit_bool(true)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        self.leaves.borrow_mut().push(self.path);
        visitor.visit_str("1970-01-01T00:00:00Z")
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Nothing> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        let item = Walk { path: format!("{}[]", self.path), ..self };
        visitor.visit_seq(One(Some(item)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_map(Each { at: self, names: &["*"], next: 0 })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Nothing> {
        visitor.visit_map(Each { at: self, names, next: 0 })
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct enum identifier ignored_any
    }
}

struct One<'a>(Option<Walk<'a>>);

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Nothing;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Nothing> {
        self.0.take().map(|item| seed.deserialize(item)).transpose()
    }
}

struct Each<'a> {
    at: Walk<'a>,
    names: &'static [&'static str],
    next: usize,
}

impl<'de> MapAccess<'de> for Each<'_> {
    type Error = Nothing;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Nothing> {
        let key = self.names.get(self.next).map(|name| StrDeserializer::new(name));
        key.map(|key| seed.deserialize(key)).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Nothing> {
        let path = format!("{}.{}", self.at.path, self.names[self.next]);
        self.next += 1;
        seed.deserialize(Walk { path, leaves: self.at.leaves })
    }
}

fn all_fields() -> Vec<String> {
    let leaves = RefCell::new(Vec::new());
    let from = |path: &str| Walk { path: path.to_owned(), leaves: &leaves };
    ObjectMeta::deserialize(from("metadata")).unwrap();
    PodSpec::deserialize(from("spec")).unwrap();
    leaves.into_inner()
}

/// The rule of a path or of what it lies below.
fn covering(path: &str) -> Option<&'static Rule> {
    let mut path = path;
    loop {
        if let Some(rule) = rule(path) {
            return Some(rule);
        }
        path = path.strip_suffix("[]").or_else(|| path.rsplit_once('.').map(|(up, _)| up))?;
    }
}

#[test]
fn every_field_of_the_api_has_a_rule() {
    let fields = all_fields();
    assert!(fields.len() > 700, "only {} fields walked", fields.len());
    // Keys of resource lists are ruled one by one; a key without a rule is refused.
    let open = |field: &String| field.ends_with("limits.*") || field.ends_with("requests.*");
    let bare: Vec<_> =
        fields.iter().filter(|field| covering(field).is_none() && !open(field)).collect();
    assert!(bare.is_empty(), "no rule for {bare:#?}");
}

#[test]
fn every_rule_is_of_a_field_and_in_order() {
    let fields = all_fields();
    let exists = |path: &str| {
        let key = path.rsplit_once('.').map_or("", |(above, _)| above);
        fields.iter().any(|field| {
            let below = field.strip_prefix(path);
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                || field.strip_suffix(".*") == Some(key)
        })
    };
    for rule in RULES {
        assert!(exists(rule.path), "{} is no field of the API", rule.path);
        assert!(
            rule.support == Support::Honoured
                || !rule.why.is_empty()
                || matches!(rule.support, Support::Only(_)),
            "{}",
            rule.path
        );
    }
    assert!(RULES.is_sorted_by(|a, b| a.path < b.path));
}

#[test]
fn refuses_by_name_all_at_once() {
    let pod = serde_json::json!({
        "metadata": {"name": "web", "generateName": "", "finalizers": []},
        "spec": {
            "readinessGates": [{}], "hostIPC": false, "os": {"name": "windows"}, "hostUsers": true,
            "nodeSelector": {"a": "b"}, "affinity": {"nodeAffinity": {}}, "initContainers": [],
            "serviceAccountName": "default", "priority": 0,
            "containers": [
                {"name": "a", "tty": false, "resources": {"limits": {"cpu": "1", "x/gpu": "1"}}},
                {"name": "b", "volumeDevices": [{}], "stdin": null},
            ],
            "volumes": [{"name": "v", "ephemeral": {}}],
        },
    });
    let error = check("web", &pod).unwrap_err();
    let refused = "Forbidden: not supported by runp yet";
    let story = format!(
        "The Pod \"web\" is invalid: \n\
         * spec.containers[0].resources.limits.x/gpu: {refused}\n\
         * spec.containers[1].volumeDevices: {refused}: there is no storage provisioner\n\
         * spec.os.name: Forbidden: \"windows\" is not supported by runp yet, only \"linux\"\n\
         * spec.readinessGates: {refused}: nothing here would ever set one\n\
         * spec.volumes[0].ephemeral: {refused}: there is no storage provisioner; use hostPath or \
         emptyDir"
    );
    assert_eq!(error.to_string(), story);
}
