//! Challenges of a registry (RFC 9110, 11.3; the distribution token specification), and the tokens
//! that answer them.

use super::client::{Client, Failure, Request};
use super::credentials::{Credentials, basic};
use crate::error::Error;
use serde::Deserialize;

/// Tokens are a few kilobytes.
const MAX_ANSWER: u64 = 1 << 20;
/// Who asks for a token by OAuth.
const CLIENT_ID: &str = "runp";

/// What a registry wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password.
    Basic,
    /// A token that `realm` gives out.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// An answer of the token server.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Challenge {
    /// Reads a `WWW-Authenticate` header; `None` if it asks for something we cannot do.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, parameters) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        for (name, value) in parameters_of(parameters) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer { realm: realm?, service, scope })
    }

    /// The `Authorization` header that answers this with `credentials`; anonymously if there are
    /// none.
    pub(super) fn answer(
        &self,
        client: &Client,
        credentials: Option<&Credentials>,
        repository: &str,
    ) -> Result<String, Failure> {
        match (self, credentials) {
            (Self::Basic, Some(Credentials::Basic(name, password))) => Ok(basic(name, password)),
            (Self::Basic, _) => {
                let why = "the registry wants name and password, and there are none for it";
                Err(Failure::Denied(Error::user(why)))
            }
            (Self::Bearer { .. }, Some(Credentials::Registry(token))) => {
                Ok(format!("Bearer {token}"))
            }
            (Self::Bearer { realm, service, scope }, credentials) => {
                let own = format!("repository:{repository}:pull");
                let scope = scope.as_deref().unwrap_or(&own);
                let service = service.as_deref().unwrap_or_default();
                token(client, realm, (service, scope), credentials)
            }
        }
    }
}

/// `name="value", name=value`.
fn parameters_of(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => value.split_once(',').unwrap_or((value, "")),
        };
        found.push((name.trim().to_owned(), value.trim().to_owned()));
        rest = after.trim_start_matches([',', ' ']);
    }
    found
}

fn token(
    client: &Client,
    realm: &str,
    (service, scope): (&str, &str),
    credentials: Option<&Credentials>,
) -> Result<String, Failure> {
    let scheme = realm.split_once("://").map_or("", |(scheme, _)| scheme);
    let plain = !scheme.eq_ignore_ascii_case("https");
    if credentials.is_some() && plain && !client.may_send_secrets(realm) {
        let why = format!("the registry wants credentials sent to {realm}, unencrypted");
        return Err(Failure::Denied(Error::user(why)));
    }
    let mut query = vec![("service", service), ("scope", scope)];
    query.retain(|(_, value)| !value.is_empty());
    let mut request = Request { url: realm, ..Request::default() };
    match credentials {
        Some(Credentials::Basic(name, password)) => {
            query.push(("account", name));
            request.authorization = Some(basic(name, password));
            request.query = query;
        }
        Some(Credentials::Identity(identity)) => {
            query.push(("grant_type", "refresh_token"));
            query.push(("client_id", CLIENT_ID));
            query.push(("refresh_token", identity));
            request.form = query;
        }
        _ => request.query = query,
    }
    let answer = client.send(&request)?.document(MAX_ANSWER)?;
    let token: Token = serde_json::from_slice(&answer.content).map_err(|_| no_token(realm))?;
    let token = token.token.or(token.access_token).filter(|token| !token.is_empty());
    token.map(|token| format!("Bearer {token}")).ok_or_else(|| no_token(realm))
}

fn no_token(realm: &str) -> Failure {
    Failure::Other(Error::system(format!("{realm} gave no token")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_have_many_spellings() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let (service, scope) = (service.map(str::to_owned), scope.map(str::to_owned));
            Some(Challenge::Bearer { realm: realm.to_owned(), service, scope })
        };
        for (header, wanted) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://a/token\",service=\"reg\",scope=\"repository:a/b:pull,push\"",
                bearer("https://a/token", Some("reg"), Some("repository:a/b:pull,push")),
            ),
            (
                "bearer realm=\"https://a/t\", error=\"invalid_token\"",
                bearer("https://a/t", None, None),
            ),
            ("Bearer realm=https://a/t, service=s", bearer("https://a/t", Some("s"), None)),
            ("Bearer service=\"x\"", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(Challenge::parse(header), wanted, "{header}");
        }
    }
}
