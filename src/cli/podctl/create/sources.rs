//! `--from-literal`, `--from-file`, `--from-env-file`: what goes into a config map or a secret.

use crate::error::{Context, Error, Result};
use crate::kube;
use clap::Args;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// Where the data comes from.
#[derive(Args)]
pub struct Sources {
    /// A file, a directory of files, or KEY=FILE
    #[arg(long, value_name = "[KEY=]FILE")]
    from_file: Vec<String>,
    /// KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// A file of lines KEY=VALUE
    #[arg(long, value_name = "FILE")]
    from_env_file: Vec<String>,
    /// Append a hash of the object to its name
    #[arg(long)]
    pub append_hash: bool,
}

impl Sources {
    /// The data, by key, of the `kind` named `name`.
    pub fn read(&self, kind: &str, name: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut found = Found { kind, name, data: BTreeMap::new() };
        let others = !self.from_file.is_empty() || !self.from_literal.is_empty();
        if others && !self.from_env_file.is_empty() {
            let text = "from-env-file cannot be combined with from-file or from-literal";
            return Err(Error::user(text));
        }
        for source in &self.from_file {
            found.file(source)?;
        }
        for source in &self.from_literal {
            match source.split_once('=') {
                Some((key, value)) if !key.is_empty() => found.add(key, value.into())?,
                _ => {
                    let text = format!("invalid literal source {source}, expected key=value");
                    return Err(Error::user(text));
                }
            }
        }
        for source in &self.from_env_file {
            found.env_file(source)?;
        }
        Ok(found.data)
    }
}

/// A file named on the command line.
pub fn contents(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    };
    Error::user(format!("error reading {}: {why}", path.display()))
}

struct Found<'a> {
    kind: &'a str,
    name: &'a str,
    data: BTreeMap<String, Vec<u8>>,
}

impl Found<'_> {
    fn add(&mut self, key: &str, value: Vec<u8>) -> Result<()> {
        let kind = self.kind;
        if let Some(why) = kube::config_key(key).first() {
            return Err(Error::user(format!(
                "{key:?} is not a valid key name for a {kind}: {why}"
            )));
        }
        if self.data.insert(key.to_owned(), value).is_some() {
            return Err(Error::user(format!(
                "cannot add key {key:?}, another key by that name already exists in Data for \
                 {kind} {:?}",
                self.name
            )));
        }
        Ok(())
    }

    fn file(&mut self, source: &str) -> Result<()> {
        let (key, path) = match source.split('=').collect::<Vec<_>>().as_slice() {
            [path] => (None, *path),
            ["", path] => {
                return Err(Error::user(format!("key name for file path {path} missing")));
            }
            [key, ""] => return Err(Error::user(format!("file path for key name {key} missing"))),
            [key, path] => (Some(*key), *path),
            _ => return Err(Error::user("key names or file paths cannot contain '='")),
        };
        let path = Path::new(path);
        let is = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if !is.is_dir() {
            let base = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            return self.add(key.unwrap_or(base), contents(path)?);
        }
        if key.is_some() {
            return Err(Error::user("cannot give a key name for a directory path"));
        }
        for entry in std::fs::read_dir(path).doing(|| format!("read {}", path.display()))? {
            let entry = entry.doing(|| format!("read {}", path.display()))?;
            // Links and directories below are left out, as kubectl does.
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                self.add(&entry.file_name().to_string_lossy(), contents(&entry.path())?)?;
            }
        }
        Ok(())
    }

    fn env_file(&mut self, source: &str) -> Result<()> {
        let path = Path::new(source);
        let text = String::from_utf8(contents(path)?)
            .map_err(|_| Error::user(format!("env file {source} contains invalid utf8 bytes")))?;
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = match line.split_once('=') {
                Some((key, value)) => (key, value.to_owned()),
                // The caller's own.
                None => (line, std::env::var(line).unwrap_or_default()),
            };
            self.add(key, value.into_bytes())?;
        }
        Ok(())
    }
}

/// kubectl's hash of an object, for `--append-hash`: no vowels, and nothing that looks like one.
pub fn hash(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let letter = |letter: char| match letter {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        other => other,
    };
    hex.chars().take(10).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hashes_are_kubectls() {
        let map = json!({"kind": "ConfigMap", "name": "cm", "data": {"a": "1"}});
        assert_eq!(hash(&map), "9hfg4tdfc6");
        let secret = json!({"kind": "Secret", "type": "", "name": "s", "data": {"a": "MQ=="}});
        assert_eq!(hash(&secret), "gtkfk5m49d");
    }
}
