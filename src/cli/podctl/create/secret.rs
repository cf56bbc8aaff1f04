//! `podctl create secret generic|docker-registry|tls NAME`.

use super::super::write::{Sent, the_name};
use super::super::{Call, Outcome, print};
use super::sources::{Sources, contents, hash};
use super::{Saved, generated};
use crate::error::{Error, Result};
use crate::kube::Object;
use clap::{Args, CommandFactory, Parser, Subcommand};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Flags of `create secret`.
#[derive(Args)]
pub struct Flags {
    #[command(subcommand)]
    kind: Option<Kind>,
}

/// What kind of secret.
#[derive(Subcommand)]
enum Kind {
    /// Create a secret from a local file, directory, or literal value
    Generic(Generic),
    /// Create a secret for use with an image registry
    #[command(name = "docker-registry")]
    DockerRegistry(DockerRegistry),
    /// Create a TLS secret
    Tls(Tls),
}

#[derive(Args)]
struct Generic {
    /// The secret's name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The secret's type
    #[arg(long = "type", value_name = "TYPE", default_value = "", hide_default_value = true)]
    kind: String,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    sent: Sent,
    #[command(flatten)]
    saved: Saved,
}

#[derive(Args)]
struct DockerRegistry {
    /// The secret's name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The registry
    #[arg(long, default_value = "https://index.docker.io/v1/", value_name = "SERVER")]
    docker_server: String,
    /// The user
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    docker_username: String,
    /// The password
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PASSWORD")]
    docker_password: String,
    /// The user's address
    #[arg(long, default_value = "", hide_default_value = true, value_name = "EMAIL")]
    docker_email: String,
    /// A ready config.json, as [KEY=]FILE
    #[arg(long, value_name = "[KEY=]FILE")]
    from_file: Vec<String>,
    /// Append a hash of the secret to its name
    #[arg(long)]
    append_hash: bool,
    #[command(flatten)]
    sent: Sent,
    #[command(flatten)]
    saved: Saved,
}

#[derive(Args)]
struct Tls {
    /// The secret's name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The certificate, in PEM
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Append a hash of the secret to its name
    #[arg(long)]
    append_hash: bool,
    #[command(flatten)]
    sent: Sent,
    #[command(flatten)]
    saved: Saved,
}

/// Create a secret of one of these types
#[derive(Parser)]
#[command(name = "podctl create secret", disable_help_subcommand = true)]
struct Alone {
    #[command(flatten)]
    flags: Flags,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    match &flags.kind {
        Some(Kind::Generic(flags)) => {
            let name = the_name("create secret generic", &flags.names)?;
            let data = flags.sources.read("Secret", &name)?;
            let secret = secret(name, &flags.kind, data, flags.sources.append_hash);
            generated(call, secret, &flags.saved, &flags.sent)
        }
        Some(Kind::DockerRegistry(flags)) => {
            let name = the_name("create secret docker-registry", &flags.names)?;
            let data = registry(flags)?;
            let kind = "kubernetes.io/dockerconfigjson";
            let secret = secret(name, kind, data, flags.append_hash);
            generated(call, secret, &flags.saved, &flags.sent)
        }
        Some(Kind::Tls(flags)) => {
            let name = the_name("create secret tls", &flags.names)?;
            let secret = secret(name, "kubernetes.io/tls", tls(flags)?, flags.append_hash);
            generated(call, secret, &flags.saved, &flags.sent)
        }
        None => {
            print(&Alone::command().render_help().to_string())?;
            Ok(1)
        }
    }
}

type Data = BTreeMap<String, Vec<u8>>;

fn secret(mut name: String, kind: &str, data: Data, append_hash: bool) -> Object {
    let data: BTreeMap<_, _> =
        data.into_iter().map(|(key, value)| (key, ByteString(value))).collect();
    if append_hash {
        let hashed = json!({"kind": "Secret", "type": kind, "name": name, "data": data});
        name = format!("{name}-{}", hash(&hashed));
    }
    let mut secret = Secret::default();
    secret.metadata.name = Some(name);
    secret.type_ = (!kind.is_empty()).then(|| kind.to_owned());
    secret.data = (!data.is_empty()).then_some(data);
    Object::Secret(Box::new(secret))
}

fn registry(flags: &DockerRegistry) -> Result<Data> {
    if !flags.from_file.is_empty() {
        let mut data = Data::new();
        for source in &flags.from_file {
            let (key, path) = source.split_once('=').unwrap_or((".dockerconfigjson", source));
            data.insert(key.to_owned(), contents(path.as_ref())?);
        }
        return Ok(data);
    }
    let (user, password) = (&flags.docker_username, &flags.docker_password);
    if user.is_empty() || password.is_empty() || flags.docker_server.is_empty() {
        return Err(Error::user(
            "either --from-file or the combination of --docker-username, --docker-password and \
             --docker-server is required",
        ));
    }
    let auth = serde_json::to_value(ByteString(format!("{user}:{password}").into_bytes()));
    let auth = auth.map_err(|error| Error::user(error.to_string()))?;
    // In the order in which kubectl writes it.
    let email = match flags.docker_email.as_str() {
        "" => String::new(),
        email => format!("\"email\":{},", json!(email)),
    };
    let text = format!(
        "{{\"auths\":{{{}:{{\"username\":{},\"password\":{},{email}\"auth\":{auth}}}}}}}",
        json!(flags.docker_server),
        json!(user),
        json!(password)
    );
    Ok([(".dockerconfigjson".to_owned(), text.into_bytes())].into())
}

fn tls(flags: &Tls) -> Result<Data> {
    let (Some(cert), Some(key)) = (&flags.cert, &flags.key) else {
        return Err(Error::user("key and cert must be specified"));
    };
    let (cert, key) = (contents(cert)?, contents(key)?);
    for (pem, what, of) in
        [(&cert, "CERTIFICATE-----", "certificate"), (&key, "PRIVATE KEY-----", "key")]
    {
        let text = String::from_utf8_lossy(pem);
        let has = |edge: &str| {
            text.lines().any(|line| line.starts_with(edge) && line.trim_end().ends_with(what))
        };
        if !has("-----BEGIN ") || !has("-----END ") {
            return Err(Error::user(format!("tls: failed to find any PEM data in {of} input")));
        }
    }
    Ok([("tls.crt".to_owned(), cert), ("tls.key".to_owned(), key)].into())
}
