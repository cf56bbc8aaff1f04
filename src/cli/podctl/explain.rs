//! `podctl explain pod.spec.containers`: what a field is, in the API's words.

use super::{Outcome, print, resource};
use crate::error::{Error, Result};
use crate::kube::Resource;
use crate::kube::explain::{Field, Type, fields_of};
use clap::Args;

/// Text is as wide as a terminal.
const WIDTH: usize = 80;
const INDENT: &str = "    ";

/// Flags of `explain`.
#[derive(Args)]
pub struct Flags {
    /// A kind, and the way to a field: pod.spec.containers
    #[arg(value_name = "TYPE[.FIELD]")]
    words: Vec<String>,
    /// Show the fields of fields
    #[arg(long)]
    recursive: bool,
    /// The API version; there is v1
    #[arg(long, value_name = "VERSION")]
    api_version: Option<String>,
    /// Output format: plaintext
    #[arg(long, short, value_name = "FORMAT", hide = true)]
    output: Option<String>,
}

/// Runs it.
pub fn run(flags: &Flags) -> Outcome {
    let [path] = flags.words.as_slice() else {
        let text = match flags.words.len() {
            0 => {
                "You must specify the type of resource to explain. Use \"podctl api-resources\" \
                 for a complete list of supported resources."
            }
            _ => "We accept only this format: explain RESOURCE",
        };
        return Err(Error::user(format!("{text}\n")).into());
    };
    if let Some(version) = flags.api_version.as_deref().filter(|version| *version != "v1") {
        let text = format!("couldn't find resource for \"{version}\"");
        return Err(Error::user(text).hint("podctl api-versions lists what there is").into());
    }
    let mut parts = path.split('.').filter(|part| !part.is_empty());
    let kind = resource::kind(parts.next().unwrap_or_default())?;
    print(&text(kind, &parts.collect::<Vec<_>>(), flags.recursive)?)?;
    Ok(0)
}

fn text(kind: Resource, path: &[&str], recursive: bool) -> Result<String> {
    let mut fields = fields_of(kind);
    let mut words = Type::of(kind).map_or("", |found| found.words).to_owned();
    let mut field: Option<Field> = None;
    for name in path {
        let found = fields.iter().find(|field| field.name == *name).copied();
        let found = found.ok_or_else(|| Error::user(format!("field \"{name}\" does not exist")))?;
        let inside = Type::find(found.kind);
        words = found.words.to_owned();
        if let Some(inside) = inside.filter(|inside| !inside.words.is_empty()) {
            words = format!("{words}\n{}", inside.words);
        }
        fields = inside.map(|inside| inside.fields().collect()).unwrap_or_default();
        field = Some(found);
    }
    let mut out = format!("KIND:       {}\nVERSION:    v1\n\n", kind.kind());
    if let Some(field) = field {
        out += &format!("FIELD: {} <{}>{}\n\n\n", field.name, field.kind, required(field));
    }
    out += "DESCRIPTION:\n";
    words.split('\n').for_each(|words| out += &wrapped(words, INDENT));
    out += INDENT;
    out.push('\n');
    if !fields.is_empty() {
        out += "FIELDS:\n";
        list(&fields, 1, recursive, &mut Vec::new(), &mut out);
        out.push('\n');
    }
    Ok(out)
}

fn required(field: Field) -> &'static str {
    if field.required { " -required-" } else { "" }
}

/// `open` are the types that the field is inside of: one that contains itself ends there.
fn list(
    fields: &[Field],
    level: usize,
    recursive: bool,
    open: &mut Vec<&'static str>,
    out: &mut String,
) {
    for field in fields {
        let indent = "  ".repeat(level);
        *out += &format!("{indent}{}\t<{}>{}\n", field.name, field.kind, required(*field));
        if !recursive {
            *out += &wrapped(field.words, INDENT);
            out.push('\n');
        } else if let Some(inside) = Type::find(field.kind).filter(|_| !open.contains(&field.kind))
        {
            open.push(field.kind);
            list(&inside.fields().collect::<Vec<_>>(), level + 1, recursive, open, out);
            open.pop();
        }
    }
}

/// `words` in lines, broken at spaces.
fn wrapped(words: &str, indent: &str) -> String {
    let mut out = String::new();
    let mut line = String::from(indent);
    for word in words.split(' ') {
        let begun = line.len() > indent.len();
        if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out += line.trim_end();
            out.push('\n');
            line = String::from(indent);
        } else if begun {
            line.push(' ');
        }
        line += word;
    }
    out + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_explained_as_kubectl_explains_it() {
        let text = text(Resource::Pods, &["spec", "containers", "name"], false).unwrap();
        let expected = "KIND:       Pod\nVERSION:    v1\n\nFIELD: name <string> -required-\n\n\n\
            DESCRIPTION:\n    Name of the container specified as a DNS_LABEL. Each container in a pod \
            must\n    have a unique name (DNS_LABEL). Cannot be updated.\n    \n";
        assert_eq!(text, expected);
    }

    #[test]
    fn fields_are_listed_and_nested() {
        let shown = text(Resource::ConfigMaps, &[], false).unwrap();
        assert!(
            shown.contains("FIELDS:\n  apiVersion\t<string>\n    APIVersion defines"),
            "{shown}"
        );
        assert!(shown.contains("  data\t<map[string]string>\n    Data contains the"), "{shown}");
        let nested = text(Resource::Pods, &["spec"], true).unwrap();
        assert!(nested.contains("  containers\t<[]Container> -required-\n    args\t<[]string>\n"));
        let error = text(Resource::Pods, &["spec", "x"], false).unwrap_err().to_string();
        assert_eq!(error, "field \"x\" does not exist");
    }
}
