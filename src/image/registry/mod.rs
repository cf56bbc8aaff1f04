//! Registries: the pulling half of the OCI distribution specification, blocking.
//!
//! ```text
//! settings      where an image is: mirrors, insecure and blocked registries
//! credentials   who we are: pull secrets, Docker's and containers' files
//! helper        the programs that know it too
//! auth          what the registry wants to see of that
//! client dns    HTTP, TLS, proxies, deadlines | names without the C library
//! ```
//!
//! Whatever a registry sends is checked by its caller against the digest it was asked for.

mod auth;
mod client;
mod credentials;
mod dns;
mod helper;
mod settings;

pub use credentials::Keyring;

pub(super) use client::Failure;

use super::Reference;
use super::digest::Digest;
use crate::error::{Error, Result};
use auth::Challenge;
use client::{Client, Document, Request, Response, is_loopback};
use credentials::Credentials;
use settings::{Endpoint, Settings};
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Manifests and indexes, of OCI and of Docker.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// How often a request that fails in passing is tried, and the wait before the second time.
const TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// A registry that wants more patience than this fails the pull; the kubelet's back-off goes on.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long the silence of a server is borne that has no image.
const FETCH_PATIENCE: Duration = Duration::from_secs(30);
/// Every credential once, a token renewed once, and a redirect of the scheme.
const MAX_ROUNDS: u32 = 16;

/// What is at `url`, which may be of any server: for manifests that are named by where they are.
pub fn fetch(url: &str, limit: u64) -> Result<Vec<u8>> {
    let host = url.split('/').nth(2).unwrap_or_default();
    let client = Client::new(host, false, FETCH_PATIENCE)?;
    let sent = client.send(&Request { url, ..Request::default() });
    let document = sent.and_then(|response| response.document(limit));
    document.map(|document| document.content).map_err(|failure| failure.into_error().0)
}

/// One place that has an image.
pub(super) struct Source {
    endpoint: Endpoint,
    client: Client,
    credentials: Vec<Credentials>,
    session: Mutex<Session>,
}

/// What has been agreed on with it.
#[derive(Default)]
struct Session {
    /// Plain HTTP, as it speaks nothing else.
    plain: bool,
    authorization: Option<String>,
    /// Grows with every change of `authorization`.
    generation: u32,
    /// Credentials tried so far; without any, one anonymous try.
    tried: usize,
    /// The last of them was good, and may only have become too old.
    worked: bool,
}

/// What broke a body, in the words of Go's client.
pub(super) fn words(error: std::io::Error) -> String {
    client::words(&ureq::Error::from(error))
}

/// The places that `reference` may be fetched from, in order.
pub(super) fn sources(
    reference: &Reference,
    keyring: &Keyring,
    patience: Duration,
) -> Result<Vec<Source>> {
    let endpoints = Settings::read()?.endpoints(reference)?;
    let open = |endpoint: Endpoint| {
        // A mirror is another registry, with credentials of its own.
        let mut there = reference.clone();
        if endpoint.host != "registry-1.docker.io" {
            (there.registry, there.repository) =
                (endpoint.host.clone(), endpoint.repository.clone());
        }
        Ok(Source {
            client: Client::new(&endpoint.host, endpoint.insecure, patience)?,
            credentials: keyring.find(&there, patience)?,
            session: Mutex::default(),
            endpoint,
        })
    };
    endpoints.into_iter().map(open).collect()
}

impl Source {
    /// For messages.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.endpoint.host, self.endpoint.repository)
    }

    /// The digest that a tag stands for, without its manifest; `None` if it does not tell.
    pub(super) fn digest_of(&self, tag: &str) -> std::result::Result<Option<Digest>, Failure> {
        let path = format!("manifests/{tag}");
        let request = Request { is_head: true, accept: Some(ACCEPT), ..Request::default() };
        let response = self.retry(|| self.send(&path, &request))?;
        Ok(response.header("docker-content-digest").and_then(|it| Digest::parse(it).ok()))
    }

    /// A manifest or index, by tag or digest.
    pub(super) fn manifest(&self, of: &str, limit: u64) -> std::result::Result<Document, Failure> {
        let path = format!("manifests/{of}");
        let request = || Request { accept: Some(ACCEPT), ..Request::default() };
        self.retry(|| self.send(&path, &request())?.document(limit))
    }

    /// A small blob.
    pub(super) fn document(
        &self,
        of: &Digest,
        limit: u64,
    ) -> std::result::Result<Document, Failure> {
        let path = format!("blobs/{of}");
        self.retry(|| self.send(&path, &Request::default())?.document(limit))
    }

    /// A blob from `from` on, and where what comes really begins.
    pub(super) fn blob(
        &self,
        of: &Digest,
        from: u64,
    ) -> std::result::Result<(impl Read, u64), Failure> {
        let path = format!("blobs/{of}");
        let response = self.retry(|| self.send(&path, &Request { from, ..Request::default() }))?;
        let start = response.start();
        Ok((response.body(), start))
    }

    /// Tries again what fails in passing.
    fn retry<T>(
        &self,
        send: impl Fn() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            let asked = match send() {
                Err(Failure::Passing(_)) => None,
                Err(Failure::Busy(asked, _)) if asked.is_none_or(|it| it <= LONGEST_WAIT) => asked,
                answered => return answered,
            };
            std::thread::sleep(asked.unwrap_or(wait));
            wait *= 2;
        }
        send()
    }

    /// Sends a request below the repository, and does what the registry wants to see before.
    fn send(&self, path: &str, request: &Request<'_>) -> std::result::Result<Response, Failure> {
        for _ in 0..MAX_ROUNDS {
            let (plain, authorization, generation) = {
                let session = self.session();
                (session.plain, session.authorization.clone(), session.generation)
            };
            let scheme = if plain { "http" } else { "https" };
            let Endpoint { host, repository, .. } = &self.endpoint;
            let url = format!("{scheme}://{host}/v2/{repository}/{path}");
            let request = Request {
                url: &url,
                authorization,
                is_head: request.is_head,
                accept: request.accept,
                from: request.from,
                ..Request::default()
            };
            match self.client.send(&request) {
                Ok(response) => {
                    self.session().worked = true;
                    return Ok(response);
                }
                Err(Failure::NoTls(_)) if !plain && self.may_be_plain() => {
                    self.session().plain = true;
                }
                Err(Failure::Unauthorized(challenge, error)) => {
                    self.authorize(challenge.as_deref(), generation, error)?;
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Other(Error::system("the registry asks for credentials over and over")))
    }

    /// Docker's rule: the machine itself needs no encryption.
    fn may_be_plain(&self) -> bool {
        let host = &self.endpoint.host;
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
        self.endpoint.insecure || is_loopback(name)
    }

    /// Answers a challenge with the next credentials, unless another thread has done so since
    /// `generation`; `denied` when there are no more.
    fn authorize(
        &self,
        challenge: Option<&str>,
        generation: u32,
        denied: Error,
    ) -> std::result::Result<(), Failure> {
        let mut session = self.session();
        if session.generation != generation {
            return Ok(());
        }
        if std::mem::take(&mut session.worked) && session.authorization.is_some() {
            session.tried = session.tried.saturating_sub(1);
        }
        let Some(challenge) = challenge.and_then(Challenge::parse) else {
            return Err(Failure::Denied(denied));
        };
        while session.tried < self.credentials.len().max(1) {
            let credentials = self.credentials.get(session.tried);
            session.tried += 1;
            match challenge.answer(&self.client, credentials, &self.endpoint.repository) {
                Ok(authorization) => {
                    session.authorization = Some(authorization);
                    session.generation += 1;
                    return Ok(());
                }
                // These are no good; the next may be.
                Err(Failure::Unauthorized(..) | Failure::Denied(_))
                    if session.tried < self.credentials.len() => {}
                Err(Failure::Unauthorized(_, error)) => return Err(Failure::Denied(error)),
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Denied(denied))
    }

    fn session(&self) -> std::sync::MutexGuard<'_, Session> {
        // What it holds is whole at every moment.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
