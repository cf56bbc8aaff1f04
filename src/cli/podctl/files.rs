//! `-f FILE`, `-f -`, `-f DIR`: manifests, all read and decoded before anything is done with one.

use super::write::Files;
use crate::error::{Context, Error, Result};
use crate::image;
use crate::kube::{self, Decoded, Fields};
use std::io::Read;
use std::path::{Path, PathBuf};

/// kubectl reads files of any size; a manifest of pods is not larger than this.
const LIMIT: u64 = 64 << 20;

/// An object and the file it stands in, as the user called it.
pub struct Manifest {
    /// For messages.
    pub file: String,
    /// As written, and typed.
    pub decoded: Decoded,
}

/// The objects of all `-f`, in the order given, a directory's files in the order of their names.
pub fn read_as(files: &Files, fields: Fields) -> Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for (file, text) in texts(&files.filename, files.recursive)? {
        let decoded = kube::decode_as(&file, &text, fields)?.into_iter();
        manifests.extend(decoded.map(|decoded| Manifest { file: file.clone(), decoded }));
    }
    Ok(manifests)
}

/// Each file, as the user calls it, and what it says.
fn texts(names: &[String], recursive: bool) -> Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for name in names.iter().flat_map(|name| name.split(',')) {
        if name == "-" {
            texts.push(("STDIN".to_owned(), whole(std::io::stdin()).doing(|| "read STDIN")?));
            continue;
        }
        if name.starts_with("http://") || name.starts_with("https://") {
            let content = image::registry::fetch(name, LIMIT)
                .doing(|| format!("unable to read URL \"{name}\""))?;
            let text = String::from_utf8(content)
                .map_err(|_| Error::user(format!("error parsing {name}: it is not UTF-8 text")))?;
            texts.push((name.to_owned(), text));
            continue;
        }
        let path = Path::new(name);
        if !path.try_exists().doing(|| format!("stat {name}"))? {
            return Err(Error::user(format!("the path \"{name}\" does not exist")));
        }
        for path in if path.is_dir() { manifests_in(path, recursive)? } else { vec![path.into()] } {
            let name = path.display().to_string();
            let text = read_file(&path).doing(|| format!("read {name}"))?;
            texts.push((name, text));
        }
    }
    Ok(texts)
}

/// A file that may be a pipe, as `<(…)` makes them.
fn read_file(path: &Path) -> Result<String> {
    whole(std::fs::File::open(path)?)
}

/// Half a manifest is none.
fn whole(from: impl Read) -> Result<String> {
    let mut text = Vec::new();
    from.take(LIMIT + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LIMIT {
        return Err(Error::user(format!("it has more than {LIMIT} bytes")));
    }
    String::from_utf8(text).map_err(|_| Error::user("it is not UTF-8 text"))
}

/// What kubectl takes for a manifest in a directory.
fn manifests_in(dir: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let doing = || format!("read {}", dir.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).doing(doing)? {
        paths.push(entry.doing(doing)?.path());
    }
    paths.sort_unstable();
    let mut found = Vec::new();
    for path in paths {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_dir() {
            found.extend(if recursive { manifests_in(&path, true)? } else { Vec::new() });
        } else if ["yaml", "yml", "json"].contains(&ending) {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directorys_manifests_are_its_yaml_and_json_in_order() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        for name in ["b.yaml", "a.json", "c.yml", "README.md", "sub/d.yaml"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let names = |recursive| -> Vec<String> {
            let paths = manifests_in(dir.path(), recursive).unwrap();
            let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            paths.iter().map(name).collect()
        };
        assert_eq!(names(false), ["a.json", "b.yaml", "c.yml"]);
        assert_eq!(names(true), ["a.json", "b.yaml", "c.yml", "d.yaml"]);
        let error = texts(&["/nowhere.yaml".into()], false).err().unwrap();
        assert_eq!(error.to_string(), "the path \"/nowhere.yaml\" does not exist");
    }
}
