//! JSON values into the API's types with Go's strictness and Go's words: numbers are no strings,
//! null is the zero value, unknown fields are all collected, quantities are canonical.
//!
//! The types' own `Deserialize` say what each field must be; this deserializer knows where it
//! stands, which serde's errors do not.

use super::quantity::{FORMAT_WRONG, Quantity};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Visitor, value::StrDeserializer,
};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt;

/// A value of the wrong type.
#[derive(Debug)]
pub struct TypeError {
    /// Go's words.
    pub message: String,
    /// `spec.containers[0].image`; empty where it is not known.
    pub path: String,
}

/// `value` as a `T`, and the paths of the fields that `T` does not have.
pub fn from_value<'de, T: Deserialize<'de>>(
    value: &'de Value,
) -> Result<(T, Vec<String>), TypeError> {
    let unknown = RefCell::new(Vec::new());
    let node = Node { value, path: &Path::Root, owner: "", unknown: &unknown };
    let typed = T::deserialize(node)?;
    Ok((typed, unknown.into_inner()))
}

/// Where in the document, as a chain on the stack.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    /// A key of a map that is no struct: Go leaves it out of its field path.
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) | Path::Key(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl Path<'_> {
    /// As Go's encoding/json names it: fields only.
    fn fields(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Field(Path::Root, name) => (*name).to_owned(),
            Path::Field(parent, name) => format!("{}.{name}", parent.fields()),
            Path::Key(parent, _) | Path::Index(parent, _) => parent.fields(),
        }
    }
}

#[derive(Clone, Copy)]
struct Node<'a, 'de> {
    value: &'de Value,
    path: &'a Path<'a>,
    /// Go's name of the struct whose field this is.
    owner: &'static str,
    unknown: &'a RefCell<Vec<String>>,
}

impl<'de> Node<'_, 'de> {
    fn mismatch(&self, go_type: &str) -> TypeError {
        let what = match self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if go_type.starts_with("int") => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let fields = self.path.fields();
        let target = match self.owner {
            "" => "Go value".to_owned(),
            owner => format!("Go struct field {owner}.{fields}"),
        };
        let message = format!("json: cannot unmarshal {what} into {target} of type {go_type}");
        TypeError { message, path: self.path.to_string() }
    }

    fn integer<V: Visitor<'de>>(self, visitor: V, go: &str) -> Result<V::Value, TypeError> {
        let number = match self.value {
            Value::Null => Some(0),
            Value::Number(number) => number.as_i64(),
            _ => None,
        };
        let fits = |n: &i64| go != "int32" || i32::try_from(*n).is_ok();
        visitor.visit_i64(number.filter(fits).ok_or_else(|| self.mismatch(go))?)
    }

    fn string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.value {
            Value::String(text) => visitor.visit_borrowed_str(text).map_err(|error| self.at(error)),
            Value::Null => visitor.visit_str(""),
            _ => Err(self.mismatch("string")),
        }
    }

    /// A quantity may be written as a number, and is kept in canonical form.
    fn quantity<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        let quantity = match self.value {
            Value::String(text) => Quantity::parse(text.trim()),
            Value::Number(number) => Quantity::parse(&number.to_string()),
            Value::Null => Ok(super::quantity::ZERO),
            _ => Err(FORMAT_WRONG),
        };
        let canonical = quantity.map_err(|why| self.at(TypeError::custom(why)))?.to_string();
        visitor.visit_newtype_struct(canonical.into_deserializer())
    }

    fn at(&self, error: TypeError) -> TypeError {
        match error.path.as_str() {
            "" => TypeError { path: self.path.to_string(), ..error },
            _ => error,
        }
    }

    fn fields<V: Visitor<'de>>(
        self,
        owner: Option<&'static str>,
        visitor: V,
        go_type: &str,
    ) -> Result<V::Value, TypeError> {
        let fields = match self.value {
            Value::Object(fields) => Some(fields),
            Value::Null => None,
            _ => return Err(self.mismatch(go_type)),
        };
        visitor.visit_map(Fields { node: self, owner, rest: fields.map(Map::iter), next: None })
    }
}

impl<'de> Deserializer<'de> for Node<'_, 'de> {
    type Error = TypeError;

    /// Only `IntOrString` and free-form values ask for whatever there is.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.value {
            Value::String(_) => self.string(visitor),
            Value::Object(_) => self.fields(None, visitor, "object"),
            Value::Array(_) => self.deserialize_seq(visitor),
            _ => self.integer(visitor, "int32"),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.value {
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Null => visitor.visit_bool(false),
            _ => Err(self.mismatch("bool")),
        }
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        self.integer(visitor, "int32")
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        self.integer(visitor, "int64")
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        self.string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        self.string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        match name {
            "Quantity" => self.quantity(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items { node: self, items, at: 0 }),
            Value::Null => visitor.visit_seq(Items { node: self, items: &[], at: 0 }),
            _ => {
                let element = ElementName::default();
                let probed = visitor.visit_seq(ElementProbe(&element));
                let name = if probed.is_err() { element.take() } else { String::new() };
                Err(self.mismatch(&format!("[]{name}")))
            }
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        self.fields(None, visitor, "map[string]string")
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        self.fields(Some(name), visitor, &format!("v1.{name}"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        self.unknown.borrow_mut().push(self.path.to_string());
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 u8 u16 u32 u64 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        enum identifier
    }
}

struct Items<'a, 'de> {
    node: Node<'a, 'de>,
    items: &'de [Value],
    at: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = TypeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, TypeError> {
        let Some(value) = self.items.get(self.at) else { return Ok(None) };
        let path = Path::Index(self.node.path, self.at);
        self.at += 1;
        seed.deserialize(Node { value, path: &path, ..self.node }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.at)
    }
}

struct Fields<'a, 'de> {
    node: Node<'a, 'de>,
    /// The struct's name; `None` for a map.
    owner: Option<&'static str>,
    rest: Option<serde_json::map::Iter<'de>>,
    next: Option<(&'de str, &'de Value)>,
}

impl<'de> MapAccess<'de> for Fields<'_, 'de> {
    type Error = TypeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, TypeError> {
        self.next = self.rest.as_mut().and_then(Iterator::next).map(|(k, v)| (k.as_str(), v));
        let Some((key, _)) = self.next else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, TypeError> {
        let (key, value) = self.next.take().ok_or_else(|| TypeError::custom("no key read"))?;
        let path = match self.owner {
            Some(_) => Path::Field(self.node.path, key),
            None => Path::Key(self.node.path, key),
        };
        let owner = self.owner.unwrap_or(self.node.owner);
        seed.deserialize(Node { value, path: &path, owner, unknown: self.node.unknown })
    }
}

/// What Go calls the elements of a list, learnt by offering one and looking what is asked of it.
type ElementName = RefCell<String>;

struct ElementProbe<'a>(&'a ElementName);

impl<'de> SeqAccess<'de> for ElementProbe<'_> {
    type Error = TypeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, TypeError> {
        seed.deserialize(ElementProbe(self.0)).map(Some)
    }
}

impl<'de> Deserializer<'de> for ElementProbe<'_> {
    type Error = TypeError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TypeError> {
        *self.0.borrow_mut() = "string".to_owned();
        Err(TypeError::custom("probed"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, TypeError> {
        *self.0.borrow_mut() = format!("v1.{name}");
        Err(TypeError::custom("probed"))
    }

    fn deserialize_i64<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TypeError> {
        *self.0.borrow_mut() = "int64".to_owned();
        Err(TypeError::custom("probed"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl serde::de::Error for TypeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), path: String::new() }
    }
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TypeError {}
