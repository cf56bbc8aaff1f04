//! kubectl's JSONPath templates (`client-go/util/jsonpath`): text, and paths in braces, as in
//! `{range .items[*]}{.metadata.name}{"\n"}{end}`. A dialect of its own, not RFC 9535.

mod eval;
mod parse;

use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// As it was written, for messages.
    pub text: String,
    /// What is done about a path that leads nowhere.
    pub missing: Missing,
    nodes: Vec<Node>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// Printed as it is.
    Text(String),
    /// `{.a.b}`: the values that it leads to.
    Path(Vec<Step>),
    /// `{range .a[*]}…{end}`: the nodes, once for each value of the path.
    Range(Vec<Step>, Vec<Node>),
}

/// A step of a path, from some values to others.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// `.name`, `['name']`.
    Field(String),
    /// `[0]`, `[-1:]`, `[0:4:2]`.
    Slice(Slice),
    /// `.*`, `[*]`.
    Wildcard,
    /// `..`.
    Recursive,
    /// `[0,2]`, `['a','b']`.
    Union(Vec<Vec<Step>>),
    /// `[?(@.a=="b")]`.
    Filter(Box<Filter>),
    /// `"text"`, `5`, `true`: a value whatever comes in.
    Literal(Value),
    /// What is only found to be wrong when it is reached, as with kubectl.
    Wrong(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    start: Option<i64>,
    end: Option<i64>,
    step: Option<i64>,
    /// `[2]` and not `[2:3]`: the end follows from the start.
    single: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Vec<Step>,
    /// `None` asks only whether the left side is there.
    compared: Option<(Comparison, Vec<Step>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

/// What a path that leads nowhere is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing, as for `get -o jsonpath`.
    Nothing,
    /// An error: `--allow-missing-template-keys=false`.
    Error,
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, String> {
        let nodes = parse::template(text)?;
        Ok(Self { text: text.to_owned(), missing: Missing::Nothing, nodes })
    }

    /// Reads a single path as `--sort-by` and custom columns take it, with or without braces and
    /// the first dot.
    pub fn relaxed(text: &str) -> Result<Self, String> {
        let inner = match text.strip_prefix('{') {
            Some(rest) => rest.strip_suffix('}').unwrap_or("{"),
            None => text,
        };
        if inner.is_empty() || inner.contains(['{', '}']) {
            return Err("unexpected path string, expected a 'name1.name2' or '.name1.name2' or \
                        '{name1.name2}' or '{.name1.name2}'"
                .to_owned());
        }
        let dot = if inner.starts_with(['.', '[']) { "" } else { "." };
        Self::parse(&format!("{{{dot}{inner}}}"))
    }

    /// What the template prints of `value`.
    pub fn print(&self, value: &Value) -> Result<String, String> {
        let mut out = String::new();
        eval::print(&self.nodes, value, self.missing, &mut out)?;
        Ok(out)
    }

    /// The values that the paths of the template lead to, in order; what is missing is left out.
    pub fn find<'a>(&'a self, value: &'a Value) -> Result<Vec<&'a Value>, String> {
        eval::find(&self.nodes, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn print(template: &str) -> Result<String, String> {
        let value = json!({
            "kind": "List",
            "n": 3, "f": 1.5, "t": true, "z": null,
            "labels": {"app.kubernetes.io/name": "web", "b": "<&>"},
            "items": [
                {"name": "a", "size": 1, "ports": [{"p": 80}, {"p": 81}], "ok": true},
                {"name": "b", "size": 20, "ports": []},
                {"name": "c", "size": 3, "ports": [{"p": 90}]},
            ],
        });
        Template::parse(template)?.print(&value)
    }

    #[test]
    fn prints_as_kubectl_does() {
        let cases = [
            ("", ""),
            ("plain", "plain"),
            ("{.kind}", "List"),
            ("{ .kind }", "List"),
            ("{$.kind}-{@.n}", "List-3"),
            ("{.n}{.f}{.t}", "31.5true"),
            ("{.z}", "null"),
            ("{.missing}", ""),
            ("{.missing.deeper[*].x}", ""),
            ("{.items[*].name}", "a b c"),
            ("{.items[*]['name','size']}", "a b c 1 20 3"),
            ("{.items[0].name}{.items[-1].name}", "ac"),
            ("{.items[0:2].name}", "a b"),
            ("{.items[1:].name}", "b c"),
            ("{.items[:-1].name}", "a b"),
            ("{.items[::2].name}", "a c"),
            ("{.items[0,2].name}", "a c"),
            ("{.items[?(@.size>2)].name}", "b c"),
            ("{.items[?(@.size>=3)].name}", "b c"),
            ("{.items[?(@.size<2)].name}", "a"),
            ("{.items[?(@.name==\"b\")].size}", "20"),
            ("{.items[?(@.name!='b')].size}", "1 3"),
            ("{.items[?(@.ok)].name}", "a"),
            ("{.items[?(@.ok==true)].name}", "a"),
            ("{.items[?(@.ports[0].p==90)].name}", ""),
            ("{.labels.app\\.kubernetes\\.io/name}", "web"),
            ("{.labels['app\\.kubernetes\\.io/name']}", "web"),
            ("{.labels}", "{\"app.kubernetes.io/name\":\"web\",\"b\":\"\\u003c\\u0026\\u003e\"}"),
            ("{.labels.*}", "web <&>"),
            ("{..p}", "80 81 90"),
            ("{.items[0].ports}", "[{\"p\":80},{\"p\":81}]"),
            ("{range .items[*]}{.name}={.size}{\"\\n\"}{end}", "a=1\nb=20\nc=3\n"),
            ("{range .items[*]}[{.name}{range .ports[*]} {.p}{end}]{end}.", "[a 80 81][b][c 90]."),
            ("{range .none[*]}x{end}y", "y"),
            ("{'single'}{\"a\\tb\"}", "singlea\tb"),
            ("{.kind}\\n", "List\\n"),
        ];
        for (template, expected) in cases {
            let printed = print(template);
            // A filter of one item may stumble over an index that is out of bounds.
            if template.contains("p==90") {
                assert_eq!(printed, Err("array index out of bounds: index 0, length 0".into()));
                continue;
            }
            assert_eq!(printed.as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            ("{.items[3]}", "array index out of bounds: index 3, length 3"),
            ("{.items[x]}", "invalid array index x"),
            ("{.items[0}", "unterminated array"),
            ("{.items", "unclosed action"),
            ("{\"a}", "unterminated quoted string"),
            ("{.kind[0]}", "string is not array or slice"),
            ("{foo}", "unrecognized identifier foo"),
            ("{^}", "unrecognized character in action: U+005E '^'"),
            ("{end}", "not in range, nothing to end"),
        ];
        for (template, expected) in cases {
            assert_eq!(print(template), Err(expected.to_owned()), "{template}");
        }
        let strict = Template { missing: Missing::Error, ..Template::parse("{.x}").unwrap() };
        let strict = strict.print(&json!({}));
        assert_eq!(strict, Err("x is not found".to_owned()));
    }

    #[test]
    fn a_single_path_needs_no_braces() {
        for text in ["a.b", ".a.b", "{a.b}", "{.a.b}"] {
            let value = json!({"a": {"b": "c"}});
            let template = Template::relaxed(text).unwrap();
            assert_eq!(template.find(&value), Ok(vec![&json!("c")]), "{text}");
        }
        assert!(Template::relaxed("").is_err());
        assert!(Template::relaxed("{.a}{.b}").is_err());
    }
}
