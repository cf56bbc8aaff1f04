//! A bundle: a directory with `config.json`
//! ([runtime-spec, bundle](https://github.com/opencontainers/runtime-spec/blob/main/bundle.md)).
//!
//! The types are oci-spec's, which refuse some files that the specification allows. A file that
//! does not parse is therefore mended as the specification says (unknown capabilities are dropped
//! with a warning, fields that Go leaves at zero are filled in) and parsed once more, this time
//! with the JSON path of what is wrong.

use super::json::from_str;
use super::place;
use crate::error::{Context, Error, Result};
use crate::sys::{Errno, fs};
use oci_spec::runtime::{Capability, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Larger files are refused.
pub(super) const MAX_CONFIG: u64 = 16 << 20;

/// A loaded bundle.
#[derive(Debug)]
pub struct Bundle {
    /// The bundle's directory, absolute.
    pub dir: PathBuf,
    /// The configuration.
    pub spec: Spec,
    /// The same as JSON, as long as nothing has been added to it.
    pub text: Option<Vec<u8>>,
    /// What was passed over while loading.
    pub warnings: Vec<String>,
}

impl Bundle {
    /// Loads `dir/config.json`; an error names the JSON path of what is wrong.
    pub fn load(dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir).doing(|| format!("find bundle {}", dir.display()))?;
        let path = dir.join("config.json");
        let bytes = match fs::read_limited(&path, MAX_CONFIG) {
            Err(Errno::ENOENT) => {
                let cause = "JSON specification file config.json not found";
                return Err(Error::user(cause).hint(format!(
                    "{} is no bundle; `runp spec` writes a config.json",
                    dir.display()
                )));
            }
            read => read.doing(|| format!("read {}", path.display()))?,
        };
        let mut warnings = Vec::new();
        let (spec, text) =
            parse(bytes, &mut warnings).map_err(|e| e.doing(path.display().to_string()))?;
        Ok(Self { dir, spec, text: Some(text), warnings })
    }

    /// The configuration as JSON.
    pub fn json(&self) -> Result<Cow<'_, [u8]>> {
        match &self.text {
            Some(text) => Ok(text.into()),
            None => match serde_json::to_vec(&self.spec) {
                Ok(text) => Ok(text.into()),
                Err(error) => Err(Error::system(error.to_string())),
            },
        }
    }
}

/// The configuration, and the text that says it.
fn parse(bytes: Vec<u8>, warnings: &mut Vec<String>) -> Result<(Spec, Vec<u8>)> {
    if let Some(spec) = decode(&bytes).ok().filter(|spec| !has_nameless_pages(spec)) {
        return Ok((spec, bytes));
    }
    let mended = mended(&bytes, |config| mend(config, warnings))?;
    Ok((decode(&mended)?, mended))
}

fn has_nameless_pages(spec: &Spec) -> bool {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let pages = resources.and_then(|resources| resources.hugepage_limits().as_ref());
    pages.into_iter().flatten().any(|page| page.page_size().is_empty())
}

/// Go takes a key in any case, and so callers have come to write `pagesize`.
fn name_pages(config: &mut Value) {
    let pages = config.pointer_mut("/linux/resources/hugepageLimits").and_then(Value::as_array_mut);
    for page in pages.into_iter().flatten().filter_map(Value::as_object_mut) {
        let written = page.keys().find(|key| key.eq_ignore_ascii_case("pageSize")).cloned();
        if let Some(size) = written.and_then(|key| page.remove(&key)) {
            page.insert("pageSize".to_owned(), size);
        }
    }
}

/// A process, as `exec --process` reads it, and what was passed over in it.
pub fn process(bytes: &[u8]) -> Result<(Process, Vec<String>)> {
    let mut warnings = Vec::new();
    let process = decode(bytes)
        .or_else(|_| decode(&mended(bytes, |process| mend_process(process, &mut warnings))?))?;
    Ok((process, warnings))
}

fn mended(bytes: &[u8], mend: impl FnOnce(&mut Value)) -> Result<Vec<u8>> {
    let mut value: Value =
        from_str(utf8(bytes)?).map_err(|error| Error::user(error.to_string()))?;
    mend(&mut value);
    serde_json::to_vec(&value).map_err(|error| Error::user(error.to_string()))
}

/// Any of oci-spec's types from JSON; an error names the JSON path. The one decoder of the runtime:
/// a second one of such types is 0.4 MB of code.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    from_str(utf8(bytes)?).map_err(|error| {
        let cause = error.to_string();
        if !error.is_data() {
            return Error::user(cause);
        }
        // The place in the text is of no use beside the path, and wrong in a mended text.
        let cause = cause.rsplit_once(" at line ").map_or(&*cause, |(cause, _)| cause);
        match place::path(bytes, error.line(), error.column()) {
            path if path.is_empty() => Error::user(cause),
            path => match runcs_words(&path) {
                Some(words) => Error::user(format!("{words}: {cause}")).doing(path),
                None => Error::user(cause).doing(path),
            },
        }
    })
}

/// Checked as a whole: string by string takes a sixth of the decoding.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| Error::user(error.to_string()))
}

/// For fields whose values callers know by the words that runc refuses them with.
fn runcs_words(path: &str) -> Option<&'static str> {
    match path.strip_prefix("linux.memoryPolicy")? {
        field if field.starts_with(".flags") => Some("invalid memory policy flag"),
        _ => Some("invalid memory policy mode"),
    }
}

fn mend(config: &mut Value, warnings: &mut Vec<String>) {
    fill(config, &["ociVersion"], &json!(""));
    if let Some(process) = config.get_mut("process") {
        mend_process(process, warnings);
    }
    for mount in config.get_mut("mounts").and_then(Value::as_array_mut).into_iter().flatten() {
        fill(mount, &["destination"], &json!(""));
    }
    name_pages(config);
}

fn mend_process(process: &mut Value, warnings: &mut Vec<String>) {
    let Some(process) = process.as_object_mut() else { return };
    process.entry("cwd").or_insert(json!(""));
    let user = process.entry("user").or_insert(json!({}));
    fill(user, &["uid", "gid"], &json!(0));
    if let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) {
        for (set, names) in sets {
            drop_unknown_capabilities(set, names, warnings);
        }
    }
    rename_scheduler_flags(process.get_mut("scheduler"));
}

fn fill(object: &mut Value, keys: &[&str], default: &Value) {
    let Some(object) = object.as_object_mut() else { return };
    for key in keys {
        object.entry(*key).or_insert_with(|| default.clone());
    }
}

/// "Any value which cannot be mapped to a relevant kernel interface … MUST be logged as a warning"
/// ([config.md](https://github.com/opencontainers/runtime-spec/blob/main/config.md#linux-process)).
fn drop_unknown_capabilities(set: &str, names: &mut Value, warnings: &mut Vec<String>) {
    let Some(names) = names.as_array_mut() else { return };
    names.retain(|name| {
        let known = !name.is_string() || serde_json::from_value::<Capability>(name.clone()).is_ok();
        if !known {
            warnings.push(format!("process.capabilities.{set}: unknown capability {name} ignored"));
        }
        known
    });
}

/// oci-spec spells two of the flags in its own way.
fn rename_scheduler_flags(scheduler: Option<&mut Value>) {
    let flags = scheduler.and_then(|s| s.get_mut("flags")).and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = json!("SCHED_RESET_ON_FORK"),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = json!("SCHED_FLAG_D_L_OVERRUN"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(config: &str) -> Result<Bundle> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        Bundle::load(dir.path())
    }

    #[test]
    fn what_go_leaves_out_is_filled_in() {
        let config = r#"{"ociVersion": "1.0.0", "process": {"args": ["a"], "capabilities":
            {"bounding": ["CAP_KILL", "CAP_FROM_THE_FUTURE"]}}, "mounts": [{"type": "proc"}]}"#;
        let bundle = load(config).unwrap();
        let process = bundle.spec.process().as_ref().unwrap();
        assert_eq!((process.user().uid(), process.cwd().as_os_str().len()), (0, 0));
        let warning =
            "process.capabilities.bounding: unknown capability \"CAP_FROM_THE_FUTURE\" ignored";
        assert_eq!(bundle.warnings, [warning]);
    }

    #[test]
    fn page_sizes_are_known_in_any_case() {
        let config = r#"{"ociVersion": "1.0.0", "linux": {"resources": {"hugepageLimits":
            [{"pagesize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 2}]}}}"#;
        let bundle = load(config).unwrap();
        let resources = bundle.spec.linux().as_ref().unwrap().resources().clone().unwrap();
        let pages = resources.hugepage_limits().clone().unwrap();
        let sizes: Vec<_> = pages.iter().map(|page| page.page_size().as_str()).collect();
        assert_eq!(sizes, ["2MB", "1GB"]);
    }

    #[test]
    fn errors_name_the_place() {
        let error = load(r#"{"ociVersion": "1", "mounts": [{"destination": 7}]}"#).unwrap_err();
        assert!(error.to_string().contains("mounts[0].destination: invalid type"), "{error}");
        let error = load("{\n\"ociVersion\": }").unwrap_err();
        assert!(error.to_string().contains("line 2 column 15"), "{error}");
        let error = Bundle::load(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(error.to_string(), "JSON specification file config.json not found");
    }
}
