//! The maps of a new user namespace, user_namespaces(7): written here, or by the helpers of
//! newuidmap(1) where only they have the right.

use crate::error::{Context, Error, Result};
use crate::oci::plan::step::Mapper;
use crate::sys::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes the maps of process `pid`.
pub(super) fn write(pid: i32, uids: &str, gids: &str, mapper: Mapper) -> Result<()> {
    match mapper {
        Mapper::Privileged => {}
        // Else it could drop a group that denies it something.
        Mapper::OwnIds => write_file(pid, "setgroups", "deny")?,
        Mapper::Helpers => {
            run("newuidmap", pid, uids)?;
            return run("newgidmap", pid, gids);
        }
    }
    write_file(pid, "uid_map", uids)?;
    write_file(pid, "gid_map", gids)
}

fn write_file(pid: i32, name: &str, content: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    fs::write_kernel_file(Path::new(&path), content.as_bytes()).doing(|| path)
}

fn run(program: &str, pid: i32, map: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(map.split_ascii_whitespace()).stdin(Stdio::null());
    let output = command.output().doing(|| format!("run {program}")).hint(|| {
        "install the package uidmap, or map nothing but your own user and group".to_owned()
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches(program).trim_start_matches(": ").to_owned();
    let file = if program == "newuidmap" { "/etc/subuid" } else { "/etc/subgid" };
    Err(Error::system(said).doing(program).hint(format!("{file} says which ids you may map")))
}
