//! `pods web`, `po/web`, `cm,secrets`: which objects a command line means.

use super::Call;
use crate::error::{Error, Kind, Result};
use crate::kube::{Object, Resource};

const NO_SEPARATE_TYPE: &str = "there is no need to specify a resource type as a separate \
    argument when passing arguments in resource/name form (e.g. 'podctl get \
    resource/<resource_name>' instead of 'podctl get resource resource/<resource_name>'";

/// Names of the one resource there is.
const PODS: [&str; 3] = ["pods", "pod", "po"];

/// Objects by kind and name, or all of some kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// In the order given.
    Named(Vec<(Resource, String)>),
    /// `cm,secrets` alone.
    All(Vec<Resource>),
}

/// Reads `TYPE[,TYPE…] [NAME…]` or `TYPE/NAME…`, of any kind. `all` is what has pods.
pub fn wanted(words: &[String]) -> Result<Wanted> {
    let Some((first, names)) = words.split_first() else {
        return Err(Error::user(
            "You must specify the type of resource to get. Use \"podctl api-resources\" for a \
             complete list of supported resources.",
        ));
    };
    if words.iter().any(|word| word.contains('/')) {
        return words.iter().map(|word| item(word)).collect::<Result<_>>().map(Wanted::Named);
    }
    let mut kinds = Vec::new();
    for word in first.split(',').filter(|word| !word.is_empty()) {
        let kind = if word == "all" { Resource::Pods } else { kind(word)? };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    if names.is_empty() {
        return Ok(Wanted::All(kinds));
    }
    let of = |kind: &Resource| names.iter().map(|name| (*kind, name.clone())).collect::<Vec<_>>();
    Ok(Wanted::Named(kinds.iter().flat_map(of).collect()))
}

/// Whether a command line names several kinds, so that what is found must say its own.
pub fn several_kinds(words: &[String]) -> bool {
    let kinds = match words {
        [first, ..] if !first.contains('/') => first.split(',').map(kind).collect::<Vec<_>>(),
        _ => words.iter().filter_map(|word| word.split_once('/')).map(|(of, _)| kind(of)).collect(),
    };
    let first = kinds.first().and_then(|kind| kind.as_ref().ok());
    words.first().is_some_and(|word| word == "all")
        || kinds.iter().any(|kind| kind.as_ref().ok() != first)
}

/// Reads `TYPE/NAME`.
fn item(word: &str) -> Result<(Resource, String)> {
    match word.split_once('/') {
        None => Err(Error::user(NO_SEPARATE_TYPE)),
        Some((of, name)) if !of.contains(',') && !of.is_empty() && is_one(name) => {
            Ok((kind(of)?, name.to_owned()))
        }
        Some(_) => {
            Err(Error::user("arguments in resource/name form must have a single resource and name"))
        }
    }
}

fn is_one(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}

/// The kind that a word names.
pub fn kind(word: &str) -> Result<Resource> {
    Resource::parse(word).ok_or_else(|| {
        Error::user(format!("the server doesn't have a resource type \"{word}\""))
            .hint("podctl api-resources lists what there is")
    })
}

/// Reads `NAME` or `TYPE/NAME`, of verbs for which a pod goes without saying.
pub fn name(word: &str) -> Result<String> {
    if word.contains('/') { slashed(word) } else { Ok(word.to_owned()) }
}

fn slashed(word: &str) -> Result<String> {
    match word.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && is_one(name) => {
            is_pods(kind).map(|()| name.to_owned())
        }
        _ => {
            Err(Error::user("arguments in resource/name form must have a single resource and name"))
        }
    }
}

fn is_pods(kind: &str) -> Result<()> {
    let (bare, version) = kind.split_once('.').unwrap_or((kind, "v1"));
    if version.trim_end_matches('.') == "v1" && PODS.contains(&bare.to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Error::user(format!("the server doesn't have a resource type \"{kind}\""))
        .hint("podctl manages pods: podctl get pods"))
}

/// The objects of those kinds and names, and the errors about those that are not there.
pub fn found(call: &Call, items: &[(Resource, String)]) -> (Vec<Object>, Vec<Error>) {
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    for (kind, name) in items {
        match call.engine.get_object(*kind, &call.namespace, name) {
            Ok(object) => objects.push(object),
            Err(error) => errors.push(error),
        }
    }
    (objects, errors)
}

/// For `--ignore-not-found`.
pub fn is_missing(error: &Error) -> bool {
    error.kind() == Kind::NotFound
}

/// A part of a pod's metadata that a stored pod always has.
pub fn part(part: Option<&String>) -> &str {
    part.map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> std::result::Result<Wanted, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        wanted(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn resources_are_named_as_kubectl_names_them() {
        let (pods, maps) = (Resource::Pods, Resource::ConfigMaps);
        let named = |items: &[(Resource, &str)]| {
            let items = items.iter().map(|(kind, name)| (*kind, (*name).to_owned()));
            Ok(Wanted::Named(items.collect()))
        };
        assert_eq!(read("pods"), Ok(Wanted::All(vec![pods])));
        assert_eq!(read("po,pods,cm"), Ok(Wanted::All(vec![pods, maps])));
        assert_eq!(read("all"), Ok(Wanted::All(vec![pods])));
        assert_eq!(read("Pod a b"), named(&[(pods, "a"), (pods, "b")]));
        assert_eq!(read("pod/a cm/b"), named(&[(pods, "a"), (maps, "b")]));
        assert_eq!(read("pods.v1. a"), named(&[(pods, "a")]));
        let unknown = "the server doesn't have a resource type \"deploy\"".to_owned();
        assert_eq!(read("deploy"), Err(unknown.clone()));
        assert_eq!(read("deploy/x"), Err(unknown));
        assert!(read("pod pod/a").unwrap_err().starts_with("there is no need to specify"));
        assert!(read("pod/").unwrap_err().starts_with("arguments in resource/name form"));
        let several = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            several_kinds(&words)
        };
        assert!(several("po,cm") && several("all") && several("po/a cm/b"));
        assert!(!several("po") && !several("po a") && !several("po/a pod/b"));
        assert_eq!(name("pod/web").unwrap(), "web");
    }
}
