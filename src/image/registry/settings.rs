//! Where an image is fetched from: containers-registries.conf(5), its main keys; pure but for
//! [`Settings::read`].

use crate::error::{Context, Error, Result};
use crate::image::Reference;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The file, unless `CONTAINERS_REGISTRIES_CONF` names another.
const FILE: &str = "/etc/containers/registries.conf";
/// Files that add to it, in order of their names.
const DROP_INS: &str = "/etc/containers/registries.conf.d";

/// Settings of all registries.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Settings {
    #[serde(default)]
    registry: Vec<Registry>,
}

/// `[[registry]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Registry {
    prefix: Option<String>,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

/// `[[registry.mirror]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    /// `all`, `digest-only` or `tag-only`.
    pull_from_mirror: Option<String>,
}

/// One place to fetch an image from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `host` or `host:port`.
    pub(super) host: String,
    /// The repository there.
    pub(super) repository: String,
    /// Plain HTTP and certificates of unknown origin will do.
    pub(super) insecure: bool,
}

impl Settings {
    /// Reads the files of this machine; a missing one says nothing.
    pub(super) fn read() -> Result<Self> {
        let given = std::env::var_os("CONTAINERS_REGISTRIES_CONF").filter(|path| !path.is_empty());
        let mut settings = Self::default();
        let files = match given {
            Some(file) => vec![PathBuf::from(file)],
            None => std::iter::once(FILE.into()).chain(drop_ins(Path::new(DROP_INS))).collect(),
        };
        for file in files {
            let text = match std::fs::read_to_string(&file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                text => text.doing(|| format!("read {}", file.display()))?,
            };
            let more = Self::parse(&text).doing(|| file.display().to_string())?;
            settings.add(more);
        }
        Ok(settings)
    }

    fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error: toml::de::Error| Error::user(error.to_string()))
    }

    /// A later entry of the same prefix replaces an earlier one.
    fn add(&mut self, more: Self) {
        for registry in more.registry {
            self.registry.retain(|earlier| earlier.prefix() != registry.prefix());
            self.registry.push(registry);
        }
    }

    /// Where to look for `reference`, in order: mirrors, then the registry itself.
    pub(super) fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let name = format!("{}/{}", reference.registry, reference.repository);
        let matching = self.registry.iter().filter_map(|registry| {
            let rest = after_prefix(&name, registry.prefix())?;
            Some((registry, name.len() - rest.len(), rest.to_owned()))
        });
        let Some((registry, _, rest)) = matching.max_by_key(|(_, length, _)| *length) else {
            return Ok(vec![endpoint(&name, false)]);
        };
        if registry.blocked {
            let what = format!("registry {} is blocked in registries.conf", registry.prefix());
            return Err(Error::user(what));
        }
        let mut endpoints = Vec::new();
        for mirror in registry.mirror.iter().filter(|mirror| serves(registry, mirror, reference)) {
            endpoints.push(endpoint(&format!("{}{rest}", mirror.location), mirror.insecure));
        }
        // `*.example.com` names no place to put the rest at.
        let own = match &registry.location {
            Some(location) => format!("{location}{rest}"),
            None => name.clone(),
        };
        endpoints.push(endpoint(&own, registry.insecure));
        Ok(endpoints)
    }
}

impl Registry {
    fn prefix(&self) -> &str {
        self.prefix.as_deref().or(self.location.as_deref()).unwrap_or_default()
    }
}

fn drop_ins(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "conf"))
        .collect();
    files.sort();
    files
}

/// What follows `prefix` in `name`, if it matches at a boundary. `*.example.com` matches hosts.
fn after_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    if prefix.is_empty() {
        return None;
    }
    if let Some(domain) = prefix.strip_prefix("*.") {
        let host = name.split(['/', ':']).next()?;
        let of_domain = host.strip_suffix(domain)?.strip_suffix('.');
        return of_domain.and_then(|_| name.get(host.len()..));
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with(['/', ':'])).then_some(rest)
}

fn serves(registry: &Registry, mirror: &Mirror, reference: &Reference) -> bool {
    let by_digest = reference.digest.is_some();
    match mirror.pull_from_mirror.as_deref() {
        Some("digest-only") => by_digest,
        Some("tag-only") => !by_digest,
        _ => by_digest || !registry.mirror_by_digest_only,
    }
}

fn endpoint(name: &str, insecure: bool) -> Endpoint {
    let (host, repository) = name.split_once('/').unwrap_or((name, ""));
    // Docker Hub's name is not where its registry is.
    let host = if host == "docker.io" { "registry-1.docker.io" } else { host };
    Endpoint { host: host.to_owned(), repository: repository.to_owned(), insecure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(conf: &str, image: &str) -> Result<Vec<String>> {
        let found = Settings::parse(conf)?.endpoints(&Reference::parse(image)?)?;
        let text = |it: &Endpoint| {
            format!("{}/{}{}", it.host, it.repository, if it.insecure { "!" } else { "" })
        };
        Ok(found.iter().map(text).collect())
    }

    #[test]
    fn the_longest_prefix_decides() {
        let conf = r#"
            unqualified-search-registries = ["docker.io"]
            [[registry]]
            prefix = "docker.io"
            location = "docker.io"
            [[registry.mirror]]
            location = "mirror.test:5000/hub"
            insecure = true
            [[registry.mirror]]
            location = "digests.test"
            pull-from-mirror = "digest-only"
            [[registry]]
            prefix = "docker.io/secret"
            blocked = true
            [[registry]]
            location = "plain.test:5000"
            insecure = true
            [[registry]]
            prefix = "*.corp.test"
            insecure = true
            [[registry]]
            prefix = "old.test/a"
            location = "new.test/b"
            mirror-by-digest-only = true
            [[registry.mirror]]
            location = "m.test"
        "#;
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        for (image, wanted) in [
            (
                "nginx",
                &["mirror.test:5000/hub/library/nginx!", "registry-1.docker.io/library/nginx"][..],
            ),
            (
                &digest,
                &[
                    "mirror.test:5000/hub/library/nginx!",
                    "digests.test/library/nginx",
                    "registry-1.docker.io/library/nginx",
                ],
            ),
            (
                "docker.io/secrets/x",
                &["mirror.test:5000/hub/secrets/x!", "registry-1.docker.io/secrets/x"],
            ),
            ("plain.test:5000/a:1", &["plain.test:5000/a!"]),
            ("plain.test:50001/a", &["plain.test:50001/a"]),
            ("x.corp.test:1/a", &["x.corp.test:1/a!"]),
            ("corp.test/a", &["corp.test/a"]),
            ("old.test/a/x", &["new.test/b/x"]),
            ("old.test/ab", &["old.test/ab"]),
        ] {
            assert_eq!(endpoints(conf, image).unwrap(), wanted, "{image}");
        }
        let blocked = endpoints(conf, "secret/app").unwrap_err().to_string();
        assert_eq!(blocked, "registry docker.io/secret is blocked in registries.conf");
        assert!(endpoints("[[registry]", "a").is_err());
    }
}
