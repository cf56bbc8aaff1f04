//! Who we are to a registry: Docker's configuration format, in pull secrets and in files.

use super::helper::ask;
use crate::error::{Context, Error, Result};
use crate::image::Reference;
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The name by which Docker's files know Docker Hub.
const HUB: &str = "index.docker.io";
const HUB_URL: &str = "https://index.docker.io/v1/";

/// How a pull may identify itself.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// Name and password.
    Basic(String, String),
    /// A refresh token to exchange for others (OAuth 2).
    Identity(String),
    /// The bearer token itself.
    Registry(String),
}

/// Configurations, those that count first first.
#[derive(Default)]
pub struct Keyring(Vec<Configuration>);

/// `config.json`, `auth.json`, `.dockerconfigjson`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    auths: BTreeMap<String, Auth>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl Keyring {
    /// A `kubernetes.io/dockerconfigjson` secret's `.dockerconfigjson`.
    pub fn add_dockerconfigjson(&mut self, json: &[u8]) -> Result<()> {
        self.0.push(parse(json)?);
        Ok(())
    }

    /// A `kubernetes.io/dockercfg` secret's `.dockercfg`: the map of registries alone.
    pub fn add_dockercfg(&mut self, json: &[u8]) -> Result<()> {
        self.0.push(Configuration { auths: parse(json)?, ..Configuration::default() });
        Ok(())
    }

    /// `name:password` for one registry.
    pub fn add_pair(&mut self, registry: &str, pair: &str) -> Result<()> {
        let (username, password) =
            pair.split_once(':').ok_or_else(|| Error::user("credentials are NAME:PASSWORD"))?;
        let (username, password) = (username.to_owned(), password.to_owned());
        let auth = Auth { username, password, ..Auth::default() };
        let auths = BTreeMap::from([(registry.to_owned(), auth)]);
        self.0.push(Configuration { auths, ..Configuration::default() });
        Ok(())
    }

    /// What this machine's user has: containers-auth.json(5), then Docker's.
    pub fn add_files(&mut self) -> Result<()> {
        for file in files() {
            let json = match std::fs::read(&file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => continue,
                json => json.doing(|| format!("read {}", file.display()))?,
            };
            self.0.push(parse(&json).doing(|| file.display().to_string())?);
        }
        Ok(())
    }

    /// All that fit `reference`, the best first. Helpers have to answer within `patience`.
    pub(super) fn find(
        &self,
        reference: &Reference,
        patience: Duration,
    ) -> Result<Vec<Credentials>> {
        let mut found = Vec::new();
        for configuration in &self.0 {
            for credentials in configuration.find(reference, patience)? {
                if !found.contains(&credentials) {
                    found.push(credentials);
                }
            }
        }
        Ok(found)
    }
}

impl Configuration {
    fn find(&self, reference: &Reference, patience: Duration) -> Result<Vec<Credentials>> {
        let host = &reference.registry;
        let urls: &[&str] = if host == "docker.io" { &[HUB_URL, HUB, host] } else { &[host] };
        let helper = urls.iter().find_map(|url| self.cred_helpers.get(*url));
        if let Some(helper) = helper.or(Some(&self.creds_store)).filter(|name| !name.is_empty()) {
            let url = urls.first().copied().unwrap_or(host);
            return Ok(ask(helper, url, patience)?.into_iter().collect());
        }
        let mut keys: Vec<&String> =
            self.auths.keys().filter(|key| matches(key, reference)).collect();
        // As the kubelet: the longest, which is the most specific one, first.
        keys.sort_by_key(|key| std::cmp::Reverse(plain(key).len()));
        let auths = keys.into_iter().filter_map(|key| Some((key, self.auths.get(key)?)));
        let credentials = auths.map(|(key, auth)| auth.read().doing(|| format!("auths[{key:?}]")));
        credentials.filter_map(Result::transpose).collect()
    }
}

impl Auth {
    fn read(&self) -> Result<Option<Credentials>> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credentials::Registry(self.registrytoken.clone())));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::Identity(self.identitytoken.clone())));
        }
        if self.auth.is_empty() {
            let named = !self.username.is_empty() || !self.password.is_empty();
            let basic = || Credentials::Basic(self.username.clone(), self.password.clone());
            return Ok(named.then(basic));
        }
        let broken = || Error::user("\"auth\" is not the base64 form of name:password");
        let decoded = lenient().decode(self.auth.trim()).map_err(|_| broken())?;
        // Docker's helpers pad with NUL.
        let text = String::from_utf8(decoded).map_err(|_| broken())?;
        let (name, password) = text.trim_end_matches('\0').split_once(':').ok_or_else(broken)?;
        Ok(Some(Credentials::Basic(name.to_owned(), password.to_owned())))
    }
}

/// Padding may be missing, as other readers of this format have it.
fn lenient() -> GeneralPurpose {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&base64::alphabet::STANDARD, config)
}

/// The value of an `Authorization: Basic` header.
pub(super) fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", general_purpose::STANDARD.encode(format!("{name}:{password}")))
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T> {
    // The content may be secret: where it is wrong is all that is told.
    serde_json::from_slice(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Error::user(format!(
            "not a configuration of Docker's format (line {line}, column {column})"
        ))
    })
}

/// A key without scheme and version: `https://index.docker.io/v1/` is `index.docker.io`.
fn plain(key: &str) -> &str {
    let key = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let (host, path) = key.split_at(key.find('/').unwrap_or(key.len()));
    match path {
        "/v1" | "/v2" => host,
        _ => key,
    }
}

/// Whether a key (`host[:port][/path]`, `*` within a part of the host) fits an image.
fn matches(key: &str, reference: &Reference) -> bool {
    let key = plain(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = if host == HUB || host == "registry-1.docker.io" { "docker.io" } else { host };
    let parts = |host: &str| host.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (wanted, given) = (parts(host), parts(&reference.registry));
    let repository = &reference.repository;
    let within = path.is_empty()
        || repository
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    within
        && wanted.len() == given.len()
        && wanted.iter().zip(&given).all(|(pattern, part)| glob(pattern, part))
}

/// `*` is any text.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).any(|at| text.get(at..).is_some_and(|text| glob(rest, text)))
        }),
    }
}

fn files() -> Vec<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = var("HOME");
    let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
    if let Some(file) = var("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let runtime = var("XDG_RUNTIME_DIR").unwrap_or_else(|| "/run".into());
    let docker = var("DOCKER_CONFIG").map(|dir| dir.join("config.json"));
    [
        Some(runtime.join("containers/auth.json")),
        Some("/run/containers/0/auth.json".into()),
        below_home(".config/containers/auth.json"),
        docker.or_else(|| below_home(".docker/config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(json: &str, image: &str) -> Vec<String> {
        let mut keyring = Keyring::default();
        keyring.add_dockerconfigjson(json.as_bytes()).unwrap();
        let found = keyring.find(&Reference::parse(image).unwrap(), Duration::ZERO).unwrap();
        let text = |credentials: &Credentials| match credentials {
            Credentials::Basic(name, password) => format!("{name}:{password}"),
            Credentials::Identity(token) => format!("identity {token}"),
            Credentials::Registry(token) => format!("registry {token}"),
        };
        found.iter().map(text).collect()
    }

    #[test]
    fn the_most_specific_entry_comes_first() {
        let json = r#"{"auths":{
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "reg.test:5000": {"username": "u", "password": "p:w"},
            "reg.test:5000/team": {"auth": "dGVhbTp0"},
            "*.corp.test": {"identitytoken": "i"},
            "http://plain.test/v2/": {"registrytoken": "r"},
            "empty.test": {}
        }}"#;
        for (image, wanted) in [
            ("nginx", &["hub:pw"][..]),
            ("reg.test:5000/x", &["u:p:w"]),
            ("reg.test:5000/team/x", &["team:t", "u:p:w"]),
            ("reg.test:5000/teams/x", &["u:p:w"]),
            ("reg.test/x", &[]),
            ("a.corp.test/x", &["identity i"]),
            ("a.b.corp.test/x", &[]),
            ("plain.test/x", &["registry r"]),
            ("empty.test/x", &[]),
        ] {
            assert_eq!(names(json, image), wanted, "{image}");
        }
    }

    #[test]
    fn broken_ones_are_told_without_their_secrets() {
        let mut keyring = Keyring::default();
        let error = keyring.add_dockerconfigjson(br#"{"auths": {"a": "hunter2"}}"#).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        keyring.add_dockercfg(br#"{"a.test": {"auth": "bm9jb2xvbg=="}}"#).unwrap();
        let error =
            keyring.find(&Reference::parse("a.test/x").unwrap(), Duration::ZERO).err().unwrap();
        assert!(error.to_string().starts_with("auths[\"a.test\"]: "), "{error}");
        assert_eq!(basic("a", "b"), "Basic YTpi");
    }
}
