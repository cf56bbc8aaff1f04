//! `-o custom-columns=NAME:.metadata.name,IMAGE:.spec.containers[*].image`.

use super::jsonpath::Template;
use crate::error::{Error, Result};
use crate::kube::table::Table;
use serde_json::Value;

/// Headers, and the path of each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Custom(Vec<(String, Template)>);

impl Custom {
    /// Reads the value of `custom-columns=`.
    pub fn parse(spec: &str) -> Result<Self> {
        if spec.is_empty() {
            return Err(Error::user("custom-columns format specified but no custom columns given"));
        }
        let column = |part: &str| match part.split_once(':') {
            Some((header, path)) => named(header, path),
            None => Err(Error::user(format!(
                "unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
            ))),
        };
        spec.split(',').map(column).collect::<Result<_>>().map(Self)
    }

    /// Reads the file of `custom-columns-file=`: a line of headers, and one of paths.
    pub fn parse_file(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let mut words = || lines.next().unwrap_or_default().split_whitespace();
        let (headers, paths) = (words().collect::<Vec<_>>(), words().collect::<Vec<_>>());
        if headers.is_empty() {
            return Err(Error::user(
                "invalid template, missing header line. Expected format is one \
                                    line of space separated column headers, one line of space \
                                    separated column fields.",
            ));
        }
        if headers.len() != paths.len() {
            return Err(Error::user(format!(
                "number of headers ({}) and field specifications ({}) don't match",
                headers.len(),
                paths.len()
            )));
        }
        let columns = headers.into_iter().zip(paths);
        columns.map(|(header, path)| named(header, path)).collect::<Result<_>>().map(Self)
    }

    /// A row for each of `values`.
    pub fn table(&self, values: &[Value]) -> Result<Table> {
        let row = |value: &Value| self.0.iter().map(|(_, path)| cell(path, value)).collect();
        let rows = values.iter().map(row).collect::<Result<_>>()?;
        Ok(Table { headers: self.0.iter().map(|(header, _)| header.clone()).collect(), rows })
    }
}

fn named(header: &str, path: &str) -> Result<(String, Template)> {
    let template = Template::relaxed(path).map_err(Error::user)?;
    Ok((header.to_owned(), template))
}

fn cell(path: &Template, value: &Value) -> Result<String> {
    let found = path.find(value).map_err(Error::user)?;
    if found.is_empty() {
        return Ok("<none>".to_owned());
    }
    Ok(found.into_iter().map(go).collect::<Vec<_>>().join(","))
}

/// A value as Go's `%v` prints it.
fn go(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(go_inside).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| format!("{key}:{}", go_inside(value)));
            format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

fn go_inside(value: &Value) -> String {
    if value.is_null() { "<nil>".to_owned() } else { go(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(spec: &str) -> Vec<Vec<String>> {
        let value = json!({"metadata": {"name": "web", "labels": {"a": "b", "c": null}},
                           "spec": {"containers": [{"image": "x"}, {"image": "y"}], "n": 5}});
        Custom::parse(spec).unwrap().table(&[value]).unwrap().rows
    }

    #[test]
    fn a_column_for_each_path() {
        let spec = "NAME:.metadata.name,IMAGES:{.spec.containers[*].image},N:spec.n,X:.missing";
        assert_eq!(rows(spec), [["web", "x,y", "5", "<none>"]]);
        assert_eq!(rows("L:.metadata.labels"), [["map[a:b c:<nil>]"]]);
        let from_file = Custom::parse_file("NAME  N\n.metadata.name   .spec.n\n").unwrap();
        assert_eq!(from_file, Custom::parse("NAME:.metadata.name,N:.spec.n").unwrap());
    }

    #[test]
    fn says_what_is_wrong() {
        let wrong = |spec| Custom::parse(spec).unwrap_err().to_string();
        assert_eq!(wrong(""), "custom-columns format specified but no custom columns given");
        let text = "unexpected custom-columns spec: NAME, expected <header>:<json-path-expr>";
        assert_eq!(wrong("NAME"), text);
        assert!(wrong("NAME:").starts_with("unexpected path string, expected"));
        let error = Custom::parse_file("A B\n.a\n").unwrap_err().to_string();
        assert_eq!(error, "number of headers (2) and field specifications (1) don't match");
    }
}
