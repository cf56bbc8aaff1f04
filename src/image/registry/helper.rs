//! Credential helpers: programs `docker-credential-NAME` that know passwords, asked over pipes
//! (docker/docker-credential-helpers). One that does not answer in time is killed with all that it
//! has started: many wait for a desktop's keyring that is not there.

use super::credentials::{Credentials, parse};
use crate::error::{Context, Error, Result};
use crate::sys::Errno;
use crate::sys::program;
use serde::Deserialize;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// User name of an answer that is a token.
const TOKEN_USER: &str = "<token>";

/// What `docker-credential-NAME get` prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks `helper` about `url`; `None` if it knows nothing of it.
pub(super) fn ask(helper: &str, url: &str, patience: Duration) -> Result<Option<Credentials>> {
    let program = format!("docker-credential-{helper}");
    let what = || format!("ask the credential helper {program} about {url}");
    if helper.contains('/') {
        return Err(Error::user("a helper's name has no slash").doing(what()));
    }
    let mut command = Command::new(&program);
    command.arg("get").stderr(Stdio::null());
    let answered = program::ask(&mut command, url.as_bytes(), Instant::now() + patience);
    let (status, answer) = answered.map_err(|errno| {
        let error = match errno {
            Errno::ETIMEDOUT => Error::system("it does not answer in time"),
            Errno::EFBIG => Error::system("its answer has no end"),
            other => other.into(),
        };
        error.doing(what()).hint(format!("try it by hand: echo {url} | {program} get"))
    })?;
    if !status.success() {
        let text = String::from_utf8_lossy(&answer).trim().to_owned();
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(Error::system(format!("{status}: {text}")).doing(what()));
    }
    let answer: Answer = parse(&answer).doing(what)?;
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Credentials::Identity(answer.secret),
        _ => Credentials::Basic(answer.username, answer.secret),
    }))
}
