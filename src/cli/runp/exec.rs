//! `runp exec`: the process to run, put together from the container's own and the flags.

use super::log::{Level, Log};
use super::parse::{self, Count};
use super::{Call, Outcome, SETUP, Stop, check_preserved, exit_status, flags, log_child, only};
use crate::error::{Context, Error, Result};
use crate::oci::{bundle, ops};
use crate::sys::fs;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process};
use std::ffi::OsString;
use std::path::Path;
use std::str::FromStr;

/// The exit status of an exec that did not start its process; its own cannot be told from 1.
const NOT_STARTED: u8 = 255;

/// Longest process.json that is read.
const MAX_PROCESS: u64 = 16 << 20;

/// Runs a process in a container.
pub fn exec(rest: Vec<OsString>, call: &Call, log: &Log) -> Outcome {
    let flags: flags::Exec = parse::command(rest)?;
    parse::count::<flags::Exec>(flags.arguments.len(), Count::AtLeast(1))?;
    let status = start(&flags, call, log).doing(|| "exec failed");
    status.map(exit_status).map_err(|error| Stop::Failed(error, NOT_STARTED))
}

fn start(flags: &flags::Exec, call: &Call, log: &Log) -> Result<i32> {
    let id = only(&flags.arguments);
    check_preserved(flags.preserve_fds)?;
    let options = ops::ExecOptions {
        process: process(flags, call, &id)?,
        detach: flags.detach,
        pid_file: flags.pid_file.clone(),
        console_socket: flags.console_socket.clone(),
        pidfd_socket: flags.pidfd_socket.clone(),
        cgroups: flags.cgroup.clone(),
        preserve_fds: flags.preserve_fds,
        ignore_paused: flags.ignore_paused,
        trace: call.trace.clone(),
    };
    log.write(Level::Debug, SETUP);
    ops::exec_remarks(&options.process)?.iter().for_each(|line| log.write(Level::Debug, line));
    let begun = ops::exec_begun(&call.root, &id, &options)?;
    log_child(log, begun.pid(), "setns_init: about to exec");
    begun.finish()
}

fn process(flags: &flags::Exec, call: &Call, id: &str) -> Result<Process> {
    if let Some(path) = &flags.process {
        return from_file(path, || ops::process(&call.root, id));
    }
    let Some((_, command)) = flags.arguments.split_first().filter(|(_, rest)| !rest.is_empty())
    else {
        return Err(Error::user("exec args cannot be empty"));
    };
    adapt(ops::process(&call.root, id)?, flags, command)
}

/// A process.json; what it says nothing about is as in the container.
fn from_file(path: &Path, own: impl FnOnce() -> Result<Process>) -> Result<Process> {
    let reading = || format!("read {} (--process)", path.display());
    // The caller's own words, and often a pipe: `--process <(…)`.
    let bytes = fs::read_stream_limited(path, MAX_PROCESS).doing(reading)?;
    let (mut process, _) = bundle::process(&bytes).doing(reading)?;
    if process.capabilities().is_none() || process.rlimits().is_none() {
        let own = own()?;
        if process.capabilities().is_none() {
            process.set_capabilities(own.capabilities().clone());
        }
        if process.rlimits().is_none() {
            process.set_rlimits(own.rlimits().clone());
        }
    }
    Ok(process)
}

/// The container's process with what the flags replace or add.
fn adapt(mut process: Process, flags: &flags::Exec, command: &[String]) -> Result<Process> {
    process.set_args(Some(command.to_vec()));
    process.set_terminal(Some(flags.tty));
    if let Some(cwd) = &flags.cwd {
        process.set_cwd(cwd.clone());
    }
    if let Some(profile) = &flags.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = &flags.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if flags.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    process.env_mut().get_or_insert_default().extend(flags.env.iter().cloned());
    if let Some(user) = &flags.user {
        let (uid, gid) = parse_user(user)?;
        process.user_mut().set_uid(uid);
        if let Some(gid) = gid {
            process.user_mut().set_gid(gid);
        }
    }
    add_groups(&mut process, &flags.additional_gids)?;
    add_capabilities(&mut process, &flags.cap)?;
    Ok(process)
}

/// `uid[:gid]`, both numbers that fit: a name or a sign that was taken for a number has made
/// processes root elsewhere (CVE-2026-30892, CVE-2024-40635).
fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |what, text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|id| digits && *id != u32::MAX);
        number.ok_or_else(|| Error::user(format!("bad {what}: {text:?} is not a number of one")))
    };
    match text.split_once(':') {
        None => Ok((number("uid", text)?, None)),
        Some((uid, gid)) => {
            let gid = number("gid", gid)?;
            Ok((number("uid", uid)?, Some(gid)))
        }
    }
}

fn add_groups(process: &mut Process, gids: &[i64]) -> Result<()> {
    if gids.is_empty() {
        return Ok(());
    }
    let mut all = process.user().additional_gids().clone().unwrap_or_default();
    for gid in gids {
        let valid = u32::try_from(*gid).ok().filter(|gid| *gid != u32::MAX);
        let wrong = || Error::user(format!("additional-gids must be a positive number {gid}"));
        all.push(valid.ok_or_else(wrong)?);
    }
    process.user_mut().set_additional_gids(Some(all));
    Ok(())
}

/// As runc does: bounding, effective and permitted; ambient only where something is inheritable
/// already, so that `--cap` alone never makes one (CVE-2022-29162).
fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let added: Capabilities = names.iter().map(|name| capability(name)).collect::<Result<_>>()?;
    let mut sets = process.capabilities().clone().unwrap_or_else(no_capabilities);
    let with =
        |set: &Option<Capabilities>| Some(set.iter().flatten().chain(&added).copied().collect());
    sets.set_bounding(with(sets.bounding()));
    sets.set_effective(with(sets.effective()));
    sets.set_permitted(with(sets.permitted()));
    if sets.inheritable().as_ref().is_some_and(|set| !set.is_empty()) {
        sets.set_ambient(with(sets.ambient()));
    }
    process.set_capabilities(Some(sets));
    Ok(())
}

/// oci-spec's default would bring capabilities of its own.
fn no_capabilities() -> LinuxCapabilities {
    let mut none = LinuxCapabilities::default();
    none.set_bounding(None);
    none.set_effective(None);
    none.set_inheritable(None);
    none.set_permitted(None);
    none.set_ambient(None);
    none
}

fn capability(name: &str) -> Result<Capability> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    Capability::from_str(bare).map_err(|_| Error::user(format!("unknown capability {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        let table = [
            ("1", Some((1, None))),
            ("0", Some((0, None))),
            ("1:2", Some((1, Some(2)))),
            ("4294967294:0", Some((4_294_967_294, Some(0)))),
            (":2", None),
            ("1:", None),
            ("-1", None),
            ("+1", None),
            ("1x", None),
            ("4294967295", None),
            ("4294967296", None),
            ("1000000000000", None),
            ("root", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_user(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_capability_never_becomes_inheritable_by_a_flag() {
        let mut process = Process::default();
        process.set_capabilities(None);
        add_capabilities(&mut process, &["net_admin".into(), "CAP_KILL".into()]).unwrap();
        let sets = process.capabilities().clone().unwrap();
        let expected = Some([Capability::NetAdmin, Capability::Kill].into());
        assert_eq!(sets.bounding(), &expected);
        assert_eq!(sets.effective(), &expected);
        assert_eq!((sets.inheritable(), sets.ambient()), (&None, &None));
        assert!(add_capabilities(&mut process, &["root".into()]).is_err());
    }
}
