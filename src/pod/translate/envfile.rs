//! The files of `fileKeyRef`: `NAME='value'`, a part of what a shell reads. Pure.

use crate::error::{Error, Result};

/// The value of `key` in `text`, if it is there: quoted, and kept as it stands, over several lines
/// too. What is wrong before it is found is said in the kubelet's words.
pub fn value(text: &str, key: &str) -> Result<Option<String>> {
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let wrong = |what: &str| {
            Error::user(format!("invalid environment variable format at line {number}: {what}"))
        };
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, rest) = line.split_once('=').ok_or_else(|| wrong("missing '='"))?;
        if name.trim_end_matches([' ', '\t']).is_empty() {
            return Err(wrong("empty variable name"));
        }
        if name.contains([' ', '\t']) {
            return Err(wrong("whitespace before '=' is not allowed"));
        }
        // As in a shell: nothing is given to it.
        if rest.starts_with([' ', '\t']) || rest.is_empty() {
            if name == key {
                return Ok(None);
            }
            continue;
        }
        let mut rest = rest
            .strip_prefix('\'')
            .ok_or_else(|| wrong("value must be enclosed in single quotes"))?;
        let mut value = String::new();
        let after = loop {
            if let Some((end, after)) = rest.split_once('\'') {
                value += end;
                break after.trim_start_matches([' ', '\t']);
            }
            value += rest;
            value.push('\n');
            (_, rest) = lines.next().ok_or_else(|| {
                let start = format!("starting at line {number}: unclosed single quote");
                Error::user(format!("invalid environment variable format {start}"))
            })?;
        };
        if !after.is_empty() && !after.starts_with('#') {
            return Err(wrong("unexpected content after closing quote"));
        }
        if name == key {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_are_found_as_they_stand() {
        let text = "# all\n\n  A='1 $B \\' # one\nB='two\n lines'\nC= 'x'\nD=''\nE=bare\nF='6'\n";
        let cases =
            [("A", Some("1 $B \\")), ("B", Some("two\n lines")), ("C", None), ("D", Some(""))];
        for (key, expected) in cases {
            assert_eq!(value(text, key).unwrap().as_deref(), expected, "{key}");
        }
        let wrong = [
            (text, "8: value must be enclosed in single quotes"),
            ("x", "1: missing '='"),
            ("=1", "1: empty variable name"),
            ("F ='1'", "1: whitespace before '=' is not allowed"),
            ("A='1' 2", "1: unexpected content after closing quote"),
        ];
        for (text, expected) in wrong {
            let said = value(text, "F").unwrap_err().to_string();
            assert_eq!(said, format!("invalid environment variable format at line {expected}"));
        }
        let said = value("A='1\n2", "A").unwrap_err().to_string();
        assert!(said.ends_with("starting at line 1: unclosed single quote"), "{said}");
        assert_eq!(value("", "A").unwrap(), None);
    }
}
