//! `runp spec`: writes a config.json to start from.

use super::parse::{self, Count};
use super::{Outcome, flags};
use crate::error::{Context, Error, Result};
use crate::oci::example::{self, Flavour};
use crate::sys::Errno;
use crate::sys::fs;
use nix::fcntl::OFlag;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

/// Writes the example to the bundle; a config.json that is there already is never touched.
pub fn spec(rest: Vec<OsString>) -> Outcome {
    let flags: flags::Spec = parse::command(rest)?;
    parse::count::<flags::Spec>(flags.arguments.len(), Count::Exactly(0))?;
    let dir = flags.bundle.as_deref().unwrap_or(Path::new(""));
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let flavour = if flags.rootless {
        Flavour::Rootless {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            unified,
        }
    } else if unified {
        Flavour::UnifiedCgroups
    } else {
        Flavour::Plain
    };
    write(dir, &example::config(flavour))?;
    Ok(0)
}

fn write(dir: &Path, config: &str) -> Result<()> {
    let path = dir.join("config.json");
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    match fs::open(&path, flags, 0o666) {
        Err(Errno::EEXIST) => Err(Error::user("File config.json exists. Remove it first")),
        opened => opened
            .map_err(crate::error::Error::from)
            .and_then(|mut file| Ok(file.write_all(config.as_bytes())?))
            .doing(|| format!("write {}", path.display())),
    }
}
