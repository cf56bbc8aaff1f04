//! Credential helpers: programs `docker-credential-NAME` that know passwords, asked over pipes
//! (docker/docker-credential-helpers). One that does not answer in time is killed with all that it
//! has started: many wait for a desktop's keyring that is not there.

use super::credentials::{Credentials, parse};
use crate::error::{Context, Error, Result};
use crate::sys::cgroup::poll_exit;
use crate::sys::clone::pidfd_open;
use crate::sys::poll::poll_until;
use nix::poll::PollFlags;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// User name of an answer that is a token.
const TOKEN_USER: &str = "<token>";
/// Most that a helper may say; tokens are a few kilobytes.
const MAX_ANSWER: u64 = 1 << 20;

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
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .doing(what)?;
    let answered = talk(&mut child, url, Instant::now() + patience);
    if answered.is_err() {
        stop(&mut child).doing(what)?;
    }
    let (status, answer) = answered.map_err(|error| {
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

/// Its exit status and all that it prints until `deadline`.
fn talk(child: &mut Child, url: &str, deadline: Instant) -> Result<(ExitStatus, Vec<u8>)> {
    match child.stdin.take().map(|mut stdin| stdin.write_all(url.as_bytes())) {
        // It may know its answer without reading the question.
        Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    let late = || Error::system("it does not answer in time");
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    let mut stdout = child.stdout.take().ok_or_else(late)?;
    loop {
        poll_until(&stdout, PollFlags::POLLIN, deadline)?.then_some(()).ok_or_else(late)?;
        match stdout.read(&mut chunk)? {
            0 => break,
            size => answer.extend_from_slice(chunk.get(..size).unwrap_or_default()),
        }
        if answer.len() as u64 > MAX_ANSWER {
            return Err(Error::user(format!("an answer of more than {MAX_ANSWER} bytes")));
        }
    }
    let pidfd = pidfd_open(child.id().cast_signed())?;
    poll_exit(&pidfd, deadline)?.then_some(()).ok_or_else(late)?;
    Ok((child.wait()?, answer))
}

fn stop(child: &mut Child) -> Result<()> {
    killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL)?;
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, patience: Duration) -> (Result<(ExitStatus, Vec<u8>)>, Child) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.process_group(0).spawn().unwrap();
        (talk(&mut child, "url", Instant::now() + patience), child)
    }

    #[test]
    fn an_answer_is_read_whole() {
        for script in ["cat", "printf url; exec sleep 0", "exec printf url <&-"] {
            let (status, answer) = run(script, Duration::from_secs(60)).0.unwrap();
            assert!(status.success());
            assert_eq!(answer, b"url", "{script}");
        }
    }

    #[test]
    fn a_helper_that_does_not_answer_is_killed_with_its_children() {
        for script in ["sleep 1000", "printf x; exec >&-; sleep 1000", "sleep 1000 & sleep 1000"] {
            let (answered, mut child) = run(script, Duration::from_millis(100));
            assert_eq!(answered.unwrap_err().to_string(), "it does not answer in time");
            let group = Pid::from_raw(child.id().cast_signed());
            stop(&mut child).unwrap();
            // Zombies of the group are init's to reap: it may still have some.
            let gone = Instant::now() + Duration::from_secs(60);
            while killpg(group, None).is_ok() && Instant::now() < gone {
                std::thread::yield_now();
            }
            assert!(killpg(group, None).is_err(), "{script}");
        }
        let (answered, mut child) = run("yes", Duration::from_secs(60));
        assert_eq!(answered.unwrap_err().to_string(), "an answer of more than 1048576 bytes");
        stop(&mut child).unwrap();
    }
}
