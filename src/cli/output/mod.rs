//! Objects as text, exactly as kubectl's printers write them. Returns text, prints nothing.

pub mod custom;
pub mod describe;
pub mod json;
pub mod jsonpath;
pub mod sort;
pub mod table;
mod tabs;
mod typed;
pub mod yaml;

use super::report::opening;
use crate::error::{Error, Result};
use crate::kube::Object;
use custom::Custom;
use jsonpath::{Missing, Template};
use serde_json::{Value, json};

/// `-o`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Columns.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// Whole objects.
    Json,
    /// Whole objects, their fields in the order of Go's types.
    TypedJson,
    /// Whole objects.
    Yaml,
    /// `pod/web`.
    Name,
    /// What a template prints.
    JsonPath(Template),
    /// What a template finds, as a JSON list.
    JsonPathAsJson(Template),
    /// Columns of the caller's.
    Columns(Custom),
}

/// What `-o` can be, for the error about what it cannot.
const FORMATS: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,\
                       jsonpath,jsonpath-as-json,jsonpath-file,name,template,templatefile,wide,yaml";

impl Format {
    /// Reads the value of `-o`; none is the plain table.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        Self::with_template(text, None)
    }

    /// As [`Format::parse`], with the value of `--template`, if there is one.
    pub fn with_template(text: Option<&str>, template: Option<&str>) -> Result<Self> {
        let text = text.unwrap_or_default();
        let (name, given) = match text.split_once('=') {
            Some((name, given)) => (name, Some(given)),
            None => (text, template),
        };
        match name {
            "" if template.is_some() => Err(no_go_templates("go-template")),
            "" => Ok(Format::Table),
            "wide" => Ok(Format::Wide),
            "json" => Ok(Format::Json),
            "yaml" => Ok(Format::Yaml),
            "name" => Ok(Format::Name),
            "jsonpath" => json_path(some(given)?).map(Format::JsonPath),
            "jsonpath-as-json" => json_path(some(given)?).map(Format::JsonPathAsJson),
            "jsonpath-file" => json_path(&file("--template", some(given)?)?).map(Format::JsonPath),
            "custom-columns" => Custom::parse(given.unwrap_or_default()).map(Format::Columns),
            "custom-columns-file" => {
                Custom::parse_file(&file("template", some(given)?)?).map(Format::Columns)
            }
            "go-template" | "go-template-file" | "template" | "templatefile" => {
                Err(no_go_templates(text))
            }
            _ => Err(Error::user(format!(
                "unable to match a printer suitable for the output format \"{text}\", allowed \
                 formats are: {FORMATS}"
            ))),
        }
    }
}

impl Format {
    /// As kubectl prints what it makes of flags alone.
    pub fn typed(self) -> Self {
        if self == Self::Json { Self::TypedJson } else { self }
    }

    /// The same, with a field that is missing an error.
    pub fn strict(mut self) -> Self {
        if let Self::JsonPath(template) = &mut self {
            template.missing = Missing::Error;
        }
        self
    }
}

fn no_go_templates(text: &str) -> Error {
    let text = format!("output format \"{text}\": templates of Go are not supported by podctl");
    Error::user(text).hint(
        "say it as -o jsonpath='{.metadata.name}', or with -o custom-columns=NAME:.metadata.name",
    )
}

fn some(template: Option<&str>) -> Result<&str> {
    let given = template.filter(|template| !template.is_empty());
    given.ok_or_else(|| Error::user("template format specified but no template given"))
}

fn json_path(text: &str) -> Result<Template> {
    Template::parse(text)
        .map_err(|why| Error::user(format!("error parsing jsonpath {text}, {why}")))
}

fn file(what: &str, path: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::user(format!("error reading {what} {path}, {}", opening(path, &error)))
    })
}

/// Whether one object was asked for by name, or what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `get pod web`: the object itself.
    One,
    /// Several names, or none: a List, whatever is found.
    Many,
}

/// Objects of any kind in one of the formats that are not the tables of `get`.
pub fn objects(objects: &[Object], format: &Format, asked: Asked) -> Result<String> {
    if *format == Format::Name {
        let name = |one: &Object| format!("{}/{}\n", one.resource().singular(), one.name());
        return Ok(objects.iter().map(name).collect());
    }
    let mut values = objects.iter().map(value).collect::<Result<Vec<Value>>>()?;
    if let Format::Columns(custom) = format {
        return Ok(table::Writer::default().table(&custom.table(&values)?));
    }
    let value = match (asked, values.as_mut_slice()) {
        (Asked::One, [only]) => only.take(),
        _ => list(values),
    };
    one(&value, format)
}

/// One value in a format that is no table.
pub fn one(value: &Value, format: &Format) -> Result<String> {
    let executing = |template: &Template, why: String| {
        let Template { text, .. } = template;
        let object = json::go_syntax(value);
        Error::user(format!(
            "error executing jsonpath {text:?}: Error executing template: {why}. Printing more \
             information for debugging the template:\n\ttemplate was:\n\t\t{text}\n\tobject given \
             to jsonpath engine was:\n\t\t{object}\n\n"
        ))
    };
    match format {
        Format::Yaml => Ok(yaml::document(value)),
        Format::TypedJson => Ok(json::document(&typed::Typed::object(value))),
        Format::JsonPath(template) => template.print(value).map_err(|why| executing(template, why)),
        Format::JsonPathAsJson(template) => {
            let found = template.find(value).map_err(|why| executing(template, why))?;
            Ok(json::document(&Value::Array(found.into_iter().cloned().collect())))
        }
        _ => Ok(json::document(value)),
    }
}

fn list(values: Vec<Value>) -> Value {
    let mut list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}});
    // Not through json!, which would copy every object.
    list["items"] = Value::Array(values);
    list
}

/// An object as the API server would send it: what the types leave out and Go does not, included.
pub fn value(object: &Object) -> Result<Value> {
    let mut value = object.to_value()?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    // A manifest that only passes through stays as it was written, as with kubectl.
    if matches!(object, Object::Pod(_)) && object.metadata().uid.is_some() {
        complete(&mut value);
    }
    Ok(value)
}

fn complete(pod: &mut Value) {
    let mut each = |path: &str, fill: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let items = pod.pointer_mut(path).and_then(Value::as_array_mut);
        items.into_iter().flatten().filter_map(Value::as_object_mut).for_each(fill);
    };
    for containers in ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"] {
        each(containers, &|container| {
            container.entry("resources").or_insert_with(|| json!({}));
        });
    }
    each("/status/conditions", &|condition| {
        condition.entry("lastProbeTime").or_insert(Value::Null);
    });
    for kind in ["container", "initContainer", "ephemeralContainer"] {
        each(&format!("/status/{kind}Statuses"), &|status| {
            status.entry("state").or_insert_with(|| json!({}));
            status.entry("lastState").or_insert_with(|| json!({}));
        });
    }
    if let Some(pod) = pod.as_object_mut() {
        pod.entry("status").or_insert_with(|| json!({}));
    }
}

/// What kubectl says on stderr instead of an empty table; `None` for all namespaces.
pub fn none_found(namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("No resources found in {namespace} namespace."),
        None => "No resources found".to_owned(),
    }
}

#[cfg(test)]
mod tests;
