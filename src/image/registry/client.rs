//! HTTP to one registry: TLS with the machine's certificates, proxies, deadlines, and what went
//! wrong in the words that users of Go's client know.

use super::dns;
use crate::error::{Context, Error, Result};
use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{self, Method, StatusCode, Uri, header};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Proxy};

/// Certificates of a registry's own, by its name.
const CERTS: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];
/// Where distributions keep the certificates of all authorities.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const AGENT: &str = concat!("runp/", env!("CARGO_PKG_VERSION"));
const CONNECT: Duration = Duration::from_secs(20);
/// Most of an error's body that is looked at.
const MAX_COMPLAINT: u64 = 16 << 10;
const MAX_SERVER_WORDS: usize = 300;

/// Connections to one registry, and to what it redirects to.
pub(in crate::image) struct Client {
    agent: Agent,
    insecure: bool,
}

/// What is asked.
#[derive(Default)]
pub(in crate::image) struct Request<'a> {
    pub(super) url: &'a str,
    pub(super) is_head: bool,
    pub(super) query: Vec<(&'a str, &'a str)>,
    /// Makes it a POST.
    pub(super) form: Vec<(&'a str, &'a str)>,
    pub(super) accept: Option<&'a str>,
    pub(super) authorization: Option<String>,
    /// Only the bytes from here on.
    pub(super) from: u64,
}

/// A good answer.
pub(in crate::image) struct Response(http::Response<ureq::Body>);

/// A small answer, whole.
pub(in crate::image) struct Document {
    pub(in crate::image) content: Vec<u8>,
    pub(in crate::image) media_type: String,
    pub(in crate::image) digest: Option<String>,
}

/// Why there is no good answer.
pub(in crate::image) enum Failure {
    /// There was none: the host is unknown, does not listen, does not talk.
    Unavailable(Error),
    /// It does not speak TLS.
    NoTls(Error),
    /// The connection broke, or the server has trouble: another try may do.
    Passing(Error),
    /// Not without other credentials; what it wants of us.
    Unauthorized(Option<String>, Error),
    /// No.
    Denied(Error),
    NotFound(Error),
    /// Too many requests; when to come back.
    Busy(Option<Duration>, Error),
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    /// The error, and whether it means that the registry could not be reached.
    pub(in crate::image) fn into_error(self) -> (Error, bool) {
        match self {
            Self::Unavailable(error) => (error, true),
            Self::NoTls(error)
            | Self::Passing(error)
            | Self::Unauthorized(_, error)
            | Self::Denied(error)
            | Self::NotFound(error)
            | Self::Busy(_, error)
            | Self::Other(error) => (error, false),
        }
    }
}

impl Client {
    /// For the registry `host`; nothing is sent yet. `patience` is how long silence is borne.
    pub(super) fn new(host: &str, insecure: bool, patience: Duration) -> Result<Self> {
        let tls = TlsConfig::builder()
            .disable_verification(insecure)
            .root_certs(RootCerts::Specific(Arc::new(roots(host)?)))
            .client_cert(client_certificate(host)?)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy("https")?)
            .user_agent(AGENT)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT.min(patience)))
            .timeout_per_read(Some(patience))
            .timeout_per_write(Some(patience))
            .max_idle_connections_per_host(4)
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), Names);
        Ok(Self { agent, insecure })
    }

    /// Whether name and password may go to `url` unencrypted.
    pub(super) fn may_send_secrets(&self, url: &str) -> bool {
        self.insecure || url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(is_loopback))
    }

    /// Sends a request, follows redirects, and sorts the answer.
    pub(super) fn send(&self, request: &Request<'_>) -> std::result::Result<Response, Failure> {
        let method = match request {
            Request { is_head: true, .. } => Method::HEAD,
            Request { form, .. } if !form.is_empty() => Method::POST,
            _ => Method::GET,
        };
        let what = format!("{} \"{}\"", word(&method), request.url);
        let response = self.run(&method, request).map_err(|error| failure(&error, &what))?;
        let status = response.status();
        if status.is_success() {
            return Ok(Response(response));
        }
        Err(refusal(
            response,
            &format!("unexpected status from {method} request to {}", request.url),
        ))
    }

    fn run(
        &self,
        method: &Method,
        request: &Request<'_>,
    ) -> std::result::Result<http::Response<ureq::Body>, ureq::Error> {
        let mut headers: Vec<(header::HeaderName, String)> = Vec::new();
        headers.extend(request.accept.map(|accept| (header::ACCEPT, accept.to_owned())));
        headers.extend(request.authorization.clone().map(|value| (header::AUTHORIZATION, value)));
        if request.from > 0 {
            headers.push((header::RANGE, format!("bytes={}-", request.from)));
        }
        // Digests are of the bytes as they are.
        headers.push((header::ACCEPT_ENCODING, "identity".into()));
        if method == Method::POST {
            let mut post = self.agent.post(request.url);
            for (name, value) in headers {
                post = post.header(name, value);
            }
            return post.send_form(request.form.iter().copied());
        }
        let head = method == Method::HEAD;
        let mut get = if head { self.agent.head(request.url) } else { self.agent.get(request.url) };
        get = get.query_pairs(request.query.iter().copied());
        for (name, value) in headers {
            get = get.header(name, value);
        }
        get.call()
    }
}

impl Response {
    /// Where in the blob the answer begins: servers may send all of it.
    pub(super) fn start(&self) -> u64 {
        let range = self.0.headers().get(header::CONTENT_RANGE);
        let range = range.filter(|_| self.0.status() == StatusCode::PARTIAL_CONTENT);
        let start = |range: &str| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok();
        range.and_then(|range| start(range.to_str().ok()?)).unwrap_or(0)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The whole of a small body.
    pub(super) fn document(self, limit: u64) -> std::result::Result<Document, Failure> {
        let media_type = self.header("content-type").unwrap_or_default().to_owned();
        let digest = self.header("docker-content-digest").map(str::to_owned);
        let mut content = Vec::new();
        let mut body = self.body();
        let read = body.by_ref().take(limit + 1).read_to_end(&mut content);
        read.map_err(|error| Failure::Passing(Error::system(words(&ureq::Error::from(error)))))?;
        if content.len() as u64 > limit {
            return Err(Failure::Other(Error::user(format!(
                "an answer of more than {limit} bytes"
            ))));
        }
        Ok(Document { content, media_type, digest })
    }

    pub(super) fn body(self) -> impl Read {
        self.0.into_body().into_with_config().limit(u64::MAX).reader()
    }
}

fn word(method: &Method) -> &'static str {
    match *method {
        Method::HEAD => "Head",
        Method::POST => "Post",
        _ => "Get",
    }
}

/// What an answer that is not good means.
fn refusal(response: http::Response<ureq::Body>, what: &str) -> Failure {
    let status = response.status();
    let header = |name: header::HeaderName| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let (challenge, retry) = (header(header::WWW_AUTHENTICATE), header(header::RETRY_AFTER));
    let says = complaint(response);
    let plain = || {
        let reason = status.canonical_reason().unwrap_or_default();
        Error::system(format!("{what}: {} {reason}{says}", status.as_u16()))
    };
    match status {
        StatusCode::UNAUTHORIZED => {
            let denied =
                "pull access denied, repository does not exist or may require authorization";
            Failure::Unauthorized(challenge, Error::user(format!("{denied}{says}")))
        }
        StatusCode::FORBIDDEN => Failure::Denied(plain()),
        StatusCode::NOT_FOUND => Failure::NotFound(plain()),
        StatusCode::TOO_MANY_REQUESTS => {
            let seconds = retry.and_then(|text| text.trim().parse().ok());
            Failure::Busy(seconds.map(Duration::from_secs), plain())
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Failure::Unavailable(plain())
        }
        _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            Failure::Passing(plain())
        }
        _ => Failure::Other(plain()),
    }
}

/// `: code: message` of the distribution specification's error document, if there is one.
fn complaint(response: http::Response<ureq::Body>) -> String {
    let mut text = Vec::new();
    let read = response.into_body().into_reader().take(MAX_COMPLAINT).read_to_end(&mut text);
    let document: Option<serde_json::Value> =
        read.ok().and_then(|_| serde_json::from_slice(&text).ok());
    let Some(error) = document.as_ref().and_then(|it| it.get("errors")?.get(0)) else {
        return String::new();
    };
    let part = |name: &str| error.get(name).and_then(|part| part.as_str()).unwrap_or_default();
    let message = format!(": {}: {}", part("code").to_ascii_lowercase(), part("message"));
    // Whatever a server says ends up on a terminal.
    message.chars().filter(|c| !c.is_control()).take(MAX_SERVER_WORDS).collect()
}

/// What it means that there was no answer.
fn failure(error: &ureq::Error, what: &str) -> Failure {
    let told = Error::system(format!("{what}: {}", words(error)));
    match error {
        ureq::Error::HostNotFound | ureq::Error::Other(_) | ureq::Error::ConnectionFailed => {
            Failure::Unavailable(told)
        }
        ureq::Error::Timeout(_) => Failure::Unavailable(told),
        ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => {
            Failure::Unavailable(told)
        }
        ureq::Error::Io(io) => match io.kind() {
            std::io::ErrorKind::ConnectionRefused
            | std::io::ErrorKind::HostUnreachable
            | std::io::ErrorKind::NetworkUnreachable
            | std::io::ErrorKind::TimedOut => Failure::Unavailable(told),
            // rustls' errors of a handshake come wrapped.
            _ if speaks_no_tls(&io.to_string()) => Failure::NoTls(told),
            std::io::ErrorKind::InvalidData => Failure::Other(told),
            _ => Failure::Passing(told),
        },
        ureq::Error::Rustls(rustls::Error::InvalidMessage(_)) => Failure::NoTls(told),
        ureq::Error::Protocol(_) | ureq::Error::BodyStalled => Failure::Passing(told),
        _ => Failure::Other(told),
    }
}

fn speaks_no_tls(error: &str) -> bool {
    error.contains("corrupt message") || error.contains("InvalidContentType")
}

/// What went wrong, as Go's client words it where it has words for it.
pub(super) fn words(error: &ureq::Error) -> String {
    let text = error.to_string();
    let known = [
        ("onnection refused", "dial tcp: connect: connection refused"),
        ("o route to host", "dial tcp: connect: no route to host"),
        ("etwork is unreachable", "dial tcp: connect: network is unreachable"),
        ("onnection reset", "read: connection reset by peer"),
        ("Peer disconnected", "unexpected EOF"),
        ("UnknownIssuer", "x509: certificate signed by unknown authority"),
        ("Expired", "x509: certificate has expired or is not yet valid"),
        ("NotValidYet", "x509: certificate has expired or is not yet valid"),
        ("corrupt message", "the server does not speak TLS"),
    ];
    if let ureq::Error::Timeout(_) = error {
        return "i/o timeout".into();
    }
    if let ureq::Error::Other(other) = error {
        return other.to_string();
    }
    if let Some((_, why)) = text.split_once("invalid peer certificate: certificate ") {
        return format!("x509: certificate {why}");
    }
    let known = known.iter().find(|(part, _)| text.contains(part));
    known.map_or_else(
        || text.trim_start_matches("io: ").to_owned(),
        |(_, words)| (*words).to_owned(),
    )
}

/// A client-side name lookup.
#[derive(Debug)]
struct Names;

/// Carries our words through the HTTP library.
#[derive(Debug)]
struct NoAddress(String);

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoAddress {}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        });
        let addresses = dns::lookup(host)
            .map_err(|error| ureq::Error::Other(Box::new(NoAddress(error.to_string()))))?;
        let mut resolved = self.empty();
        for address in addresses.into_iter().take(8) {
            resolved.push(SocketAddr::new(address, port));
        }
        Ok(resolved)
    }
}

/// Whether a host is this machine by name.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The proxy of the environment for a scheme; what NO_PROXY names and this machine go directly.
fn proxy(scheme: &str) -> Result<Option<Proxy>> {
    let upper = scheme.to_ascii_uppercase();
    let var = |name: String| std::env::var(name).ok().filter(|value| !value.is_empty());
    let either = |name: &str| var(name.to_owned()).or_else(|| var(name.to_ascii_lowercase()));
    let given = either(&format!("{upper}_PROXY")).or_else(|| either("ALL_PROXY"));
    let Some(given) = given.or_else(|| either("HTTP_PROXY")) else { return Ok(None) };
    // Name and password are nobody's who reads the error.
    let shown = given.rsplit_once('@').map_or(given.as_str(), |(_, host)| host);
    let what = || format!("the proxy of the environment, {shown}");
    let refused = |error: ureq::Error| Error::user(error.to_string()).doing(what());
    let parsed = Proxy::new(&given).map_err(refused)?;
    // curl's names: socks5 and socks4 look names up here, socks5h and socks4a at the proxy.
    let mut builder = Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let (Some(name), Some(password)) = (parsed.username(), parsed.password()) {
        builder = builder.username(name).password(password);
    }
    for entry in ["localhost", "127.*", "[::1]", "::1"] {
        builder = builder.no_proxy(entry);
    }
    let without = either("NO_PROXY").unwrap_or_default();
    for entry in without.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()) {
        // A name means its subdomains too, a port is not told apart.
        let name = entry.split_once(':').map_or(entry, |(name, _)| name);
        builder = builder.no_proxy(name);
        if !name.starts_with(['.', '*']) {
            builder = builder.no_proxy(&format!(".{name}"));
        }
    }
    builder.build().map(Some).map_err(refused)
}

/// The authorities that may vouch for `host`.
fn roots(host: &str) -> Result<Vec<Certificate<'static>>> {
    let given = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let bundles = given.into_iter().chain(BUNDLES.iter().map(PathBuf::from));
    let mut roots = Vec::new();
    for bundle in bundles {
        match std::fs::read(&bundle) {
            Ok(pem) => {
                roots = certificates(&pem);
                break;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).doing(|| format!("read {}", bundle.display())),
        }
    }
    for file in files(host, "crt") {
        let pem = std::fs::read(&file).doing(|| format!("read {}", file.display()))?;
        let own = certificates(&pem);
        if own.is_empty() {
            return Err(Error::user("it holds no certificate").doing(file.display().to_string()));
        }
        roots.extend(own);
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(pem).filter_map(certificate).collect()
}

/// `NAME.cert` and `NAME.key` of a registry: how we identify ourselves to it.
fn client_certificate(host: &str) -> Result<Option<ClientCert>> {
    let Some(file) = files(host, "cert").into_iter().next() else { return Ok(None) };
    let key = file.with_extension("key");
    let read = |file: &Path| std::fs::read(file).doing(|| format!("read {}", file.display()));
    let chain = certificates(&read(&file)?);
    let key_of = PrivateKey::from_pem(&read(&key)?);
    let key =
        key_of.map_err(|error| Error::user(error.to_string()).doing(key.display().to_string()))?;
    Ok(Some(ClientCert::new_with_certs(&chain, key)))
}

/// Files of a registry's own, by their ending.
fn files(host: &str, ending: &str) -> Vec<PathBuf> {
    let dirs = CERTS.iter().map(|dir| Path::new(dir).join(host));
    let entries = dirs.filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|it| it == ending))
        .collect();
    files.sort();
    files
}
