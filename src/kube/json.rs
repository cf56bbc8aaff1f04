//! JSON as Go reads it: many documents in a row, of a key given twice the last one wins. Which
//! keys were given twice is noted, for strict decoding.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// The values of `text`, each with the paths (`spec.restartPolicy`) that it gives twice.
pub fn documents(text: &str) -> Result<Vec<(Value, Vec<String>)>, serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let mut documents = Vec::new();
    // `end` fails where something other than white space follows: the next document.
    while parser.end().is_err() {
        let duplicates = RefCell::new(Vec::new());
        let node = Node { path: String::new(), duplicates: &duplicates };
        let value = node.deserialize(&mut parser)?;
        documents.push((value, duplicates.into_inner()));
    }
    Ok(documents)
}

/// Reads a JSON value, noting keys that come twice; the last one wins, as in Go.
struct Node<'a> {
    path: String,
    duplicates: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, values.len());
            match items.next_element_seed(Node { path, duplicates: self.duplicates })? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let dot = if self.path.is_empty() { "" } else { "." };
            let path = format!("{}{dot}{key}", self.path);
            if map.contains_key(&key) {
                self.duplicates.borrow_mut().push(path.clone());
            }
            map.insert(key, entries.next_value_seed(Node { path, duplicates: self.duplicates })?);
        }
        Ok(Value::Object(map))
    }
}
