//! Image names, in the grammar and the words of containers' tooling (distribution/reference).

use crate::error::{Error, Result};
use std::fmt;

/// The registry of names that give none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// What Docker Hub's registry was called before.
const LEGACY_REGISTRY: &str = "index.docker.io";
/// Where Docker Hub keeps names of one part.
const OFFICIAL: &str = "library/";
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;

/// A normalised image name: `nginx:1.15.2` is `docker.io/library/nginx:1.15.2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// `docker.io`.
    pub registry: String,
    /// `library/nginx`.
    pub repository: String,
    /// `1.15.2`; `latest` when neither tag nor digest is given.
    pub tag: Option<String>,
    /// `sha256:…`.
    pub digest: Option<String>,
}

impl Reference {
    /// Parses as containers' tooling does; the error text is the one kubelet shows
    /// (`couldn't parse image name "…": invalid reference format`).
    pub fn parse(name: &str) -> Result<Self> {
        parse(name).map_err(|why| Error::user(format!("couldn't parse image name {name:?}: {why}")))
    }

    /// The short form that people type: `nginx:1.15.2`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").unwrap_or(&full);
        // `docker.io/library/a/b` must keep its prefix: `a/b` is another image.
        match short.strip_prefix(OFFICIAL).filter(|_| short.len() < full.len()) {
            Some(one) if !one.contains('/') => one.to_owned(),
            _ => short.to_owned(),
        }
    }

    /// Whether both name the same repository, whatever tag or digest.
    pub fn same_repository(&self, other: &Self) -> bool {
        (&self.registry, &self.repository) == (&other.registry, &other.repository)
    }
}

/// The whole name: `docker.io/library/nginx:1.15.2`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

fn parse(name: &str) -> std::result::Result<Reference, String> {
    if is_hex(name, 64) {
        return Err(format!(
            "invalid repository name ({name}), cannot specify 64-byte hexadecimal strings"
        ));
    }
    let (registry, remainder) = split_registry(name);
    let remote = remainder.split(':').next().unwrap_or_default();
    if remote.chars().any(char::is_uppercase) {
        let lower = "must be lowercase";
        return Err(format!("invalid reference format: repository name ({remote}) {lower}"));
    }
    let invalid = || String::from("invalid reference format");
    let (rest, digest) = match remainder.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (remainder.as_str(), None),
    };
    let (repository, tag) = match rest.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (rest, None),
    };
    let sound = is_registry(&registry)
        && repository.split('/').all(is_path_part)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest_form);
    if !sound {
        return Err(invalid());
    }
    if repository.len() > MAX_REPOSITORY {
        return Err(format!("repository name must not be more than {MAX_REPOSITORY} characters"));
    }
    digest.map_or(Ok(()), check_digest)?;
    let tag = tag.or(digest.is_none().then_some("latest"));
    Ok(Reference {
        registry,
        repository: repository.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

/// The part before the first `/` is a registry only if it cannot be a path: it has a dot, a port,
/// capitals, or is `localhost`.
fn split_registry(name: &str) -> (String, String) {
    let (registry, remainder) = match name.split_once('/') {
        Some((LEGACY_REGISTRY, rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    };
    let official = registry == DEFAULT_REGISTRY && !remainder.contains('/');
    let prefix = if official { OFFICIAL } else { "" };
    (registry.to_owned(), format!("{prefix}{remainder}"))
}

/// `host.name:5000`, `[::1]:5000`.
fn is_registry(text: &str) -> bool {
    // A colon before the bracket closes belongs to the address.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    port.is_none_or(digits)
        && match bracketed {
            Some(address) => is_address(address),
            None => host.split('.').all(is_host_part),
        }
}

fn is_address(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
}

fn is_host_part(part: &str) -> bool {
    let inner = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    inner && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
}

/// Lower-case words joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = part.split(|c: char| c.is_ascii() && word(c as u8)).filter(|s| !s.is_empty());
    let ends_in_words =
        part.bytes().next().is_some_and(word) && part.bytes().last().is_some_and(word);
    ends_in_words
        && separators.clone().all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// `algorithm:hex` with at least 32 digits; which algorithm is for [`check_digest`].
fn is_digest_form(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let part = |part: &str| {
        part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(part)
        && hex.len() >= 32
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn check_digest(digest: &str) -> std::result::Result<(), String> {
    let (algorithm, hex) = digest.split_once(':').unwrap_or_default();
    let digits = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err("unsupported digest algorithm".into()),
    };
    if hex.len() != digits {
        return Err("invalid checksum digest length".into());
    }
    if is_hex(hex, digits) { Ok(()) } else { Err("invalid checksum digest format".into()) }
}

/// Whether `text` is `digits` lower-case hexadecimal digits.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        let hex = "a".repeat(64);
        let with_digest = format!("nginx@sha256:{hex}");
        for (given, full, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("nginx:1.15.2", "docker.io/library/nginx:1.15.2", "nginx:1.15.2"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("index.docker.io/a/b:1", "docker.io/a/b:1", "a/b:1"),
            ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
            ("[fe80::1]/app", "[fe80::1]/app:latest", "[fe80::1]/app:latest"),
            ("k8s.gcr.io/pause:3.1", "k8s.gcr.io/pause:3.1", "k8s.gcr.io/pause:3.1"),
            ("UPPER/app", "UPPER/app:latest", "UPPER/app:latest"),
            ("a__b.c-d---e", "docker.io/library/a__b.c-d---e:latest", "a__b.c-d---e:latest"),
        ] {
            let reference = Reference::parse(given).unwrap();
            assert_eq!(reference.to_string(), full, "{given}");
            assert_eq!(reference.familiar(), familiar, "{given}");
            assert_eq!(Reference::parse(full).unwrap(), reference, "{full}");
        }
        let pinned = Reference::parse(&with_digest).unwrap();
        assert_eq!(pinned.to_string(), format!("docker.io/library/{with_digest}"));
        assert_eq!(pinned.tag, None);
    }

    #[test]
    fn bad_names_fail_in_the_known_words() {
        let hex = "a".repeat(64);
        let long = format!("a/{}", "b".repeat(260));
        let short_digest = format!("nginx@sha256:{}", "a".repeat(40));
        let odd_digest = format!("nginx@md5:{}", "a".repeat(32));
        let upper_digest = format!("nginx@sha256:{}", "A".repeat(64));
        let invalid = "invalid reference format";
        for (name, why) in [
            ("", invalid),
            (":tag", invalid),
            ("nginx:", invalid),
            ("nginx:a b", invalid),
            ("nginx:-x", invalid),
            ("a//b", invalid),
            ("-a", invalid),
            ("a-", invalid),
            ("a..b", invalid),
            ("a___b", invalid),
            ("host:port/app", invalid),
            ("host:/app", invalid),
            ("[::1/app", invalid),
            ("-h.io/app", invalid),
            ("http://nginx", invalid),
            ("nginx@sha256:abc", invalid),
            ("../../etc", invalid),
            (
                "Nginx",
                "invalid reference format: repository name (library/Nginx) must be lowercase",
            ),
            ("x.io/App:1", "invalid reference format: repository name (App) must be lowercase"),
            (&long, "repository name must not be more than 255 characters"),
            (&short_digest, "invalid checksum digest length"),
            (&odd_digest, "unsupported digest algorithm"),
            (&upper_digest, "invalid checksum digest format"),
        ] {
            let error = Reference::parse(name).unwrap_err().to_string();
            assert_eq!(error, format!("couldn't parse image name {name:?}: {why}"));
        }
        assert!(Reference::parse(&hex).unwrap_err().to_string().contains("64-byte hexadecimal"));
    }
}
