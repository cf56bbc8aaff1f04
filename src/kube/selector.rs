//! Label selectors as `-l` takes them: `app=nginx,env!=prod,x in (a,b),!y`.

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// A parsed selector; the empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
    Greater(i64),
    Less(i64),
}

impl Selector {
    /// Reads `text`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut requirements = Vec::new();
        for part in split(text) {
            let requirement = requirement(part.trim()).map_err(|why| {
                Error::user(format!("unable to parse requirement: {why}"))
                    .hint("a selector looks like app=nginx,env!=prod,tier in (a,b),!old")
            })?;
            requirements.extend(requirement);
        }
        Ok(Self(requirements))
    }

    /// Whether something with these labels is selected.
    pub fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.and_then(|labels| labels.get(&requirement.key));
            let number = || value.and_then(|value| value.parse::<i64>().ok());
            match &requirement.test {
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::Greater(than) => number().is_some_and(|value| value > *than),
                Test::Less(than) => number().is_some_and(|value| value < *than),
            }
        })
    }
}

/// At the commas that are not within brackets.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |c| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        c == ',' && depth <= 0
    })
}

fn requirement(text: &str) -> std::result::Result<Option<Requirement>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (key, test) = if let Some(key) = text.strip_prefix('!') {
        (key, Test::Missing)
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, Test::NotIn(vec![label_value(value)?]))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (key, Test::In(vec![label_value(value)?]))
    } else if let Some((key, value)) = text.split_once('>') {
        (key, Test::Greater(whole(value)?))
    } else if let Some((key, value)) = text.split_once('<') {
        (key, Test::Less(whole(value)?))
    } else if let Some((key, values)) = text.split_once('(') {
        set(key.trim(), values.trim())?
    } else {
        (text, Test::Exists)
    };
    let key = key.trim();
    match super::validate::qualified_name(key).first() {
        Some(why) => Err(format!("key: Invalid value: {key:?}: {why}")),
        None => Ok(Some(Requirement { key: key.to_owned(), test })),
    }
}

/// `x in (a,b)`, `x notin (a,b)`.
fn set<'a>(key: &'a str, values: &str) -> std::result::Result<(&'a str, Test), String> {
    let values =
        values.strip_suffix(')').ok_or_else(|| "found '', expected: ',' or ')'".to_owned())?;
    let values: std::result::Result<Vec<String>, String> =
        values.split(',').map(label_value).collect();
    match key.rsplit_once(char::is_whitespace) {
        Some((key, "in")) => Ok((key, Test::In(values?))),
        Some((key, "notin")) => Ok((key, Test::NotIn(values?))),
        _ => Err(format!("found {key:?}, expected: in, notin")),
    }
}

fn label_value(text: &str) -> std::result::Result<String, String> {
    let text = text.trim();
    match super::validate::label_value(text).first() {
        Some(why) => Err(format!("values[0]: Invalid value: {text:?}: {why}")),
        None => Ok(text.to_owned()),
    }
}

fn whole(text: &str) -> std::result::Result<i64, String> {
    let text = text.trim();
    text.parse().map_err(|_| format!("values[0]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects() {
        let labels = [("app", "nginx"), ("env", "dev"), ("k8s.io/n", "5"), ("empty", "")];
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let cases = [
            ("", true),
            ("app=nginx", true),
            ("app==nginx", true),
            ("app = nginx , env=dev", true),
            ("app=apache", false),
            ("env!=prod", true),
            ("env!=dev", false),
            ("none!=x", true),
            ("app in (a,nginx)", true),
            ("app in (a, b)", false),
            ("app notin (a,b)", true),
            ("none notin (a)", true),
            ("app", true),
            ("none", false),
            ("!none", true),
            ("!app", false),
            ("k8s.io/n>4", true),
            ("k8s.io/n<5", false),
            ("app>1", false),
            ("empty=", true),
            ("app=nginx,env!=prod,env in (dev,test),!old", true),
        ];
        for (text, selected) in cases {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.matches(Some(&labels)), selected, "{text}");
        }
        assert!(!Selector::parse("a=b").unwrap().matches(None));
        for text in ["a in b)", "a in (b", "=x", "a=b c", "a b", "a>x", "x at (y)", "!"] {
            let error = Selector::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("unable to parse requirement: "), "{text}: {error}");
        }
    }
}
