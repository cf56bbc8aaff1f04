//! Cgroups that systemd owns: each container is a transient scope, `--systemd-cgroup`
//! ([systemd.scope(5)](https://www.freedesktop.org/software/systemd/man/latest/systemd.scope.html)).
//!
//! A scope is made around a process and ends with its last one. The container's does not exist yet,
//! so a [`Placeholder`] holds the scope until the child has been born in it. systemd is asked
//! through its own socket; what it does not do (hierarchies of v1 that it does not know, limits
//! without a property) is done in the files, for which the scope is delegated to us.

mod bus;
mod properties;
mod wire;

use super::{Cgroup, Dir, Layout, Mode};
use crate::error::{Context, Error, Result};
use crate::sys::clone::{self, Forked};
use crate::sys::{Errno, cred};
use bus::Bus;
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use wire::{Call, Encoder, Property, Value};

/// The unit of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `prefix-name.scope`.
    pub name: String,
    /// The slice it is in.
    pub slice: String,
    /// The user whose manager is asked, as the host knows him; the system's otherwise.
    pub user: Option<u32>,
    /// What annotations add at its start.
    #[serde(skip)]
    pub properties: Vec<Property>,
}

/// What of `linux.resources` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Memory,
    Others,
}

impl Cgroup {
    /// Where `linux.cgroupsPath` leads under systemd: `slice:prefix:name`, by default the scope
    /// `runp-<id>.scope` of `system.slice`, or of `user.slice` for the manager of `user`. Pure.
    pub fn resolve_unit(
        layout: &Layout,
        cgroups_path: Option<&Path>,
        id: &str,
        user: Option<u32>,
        annotations: &HashMap<String, String>,
    ) -> Result<Self> {
        if user.is_some() && layout.mode != Mode::V2 {
            let cause = "cgroup v2 not enabled on this host, can't use systemd (rootless) as \
                         cgroups manager";
            return Err(Error::user(cause));
        }
        let path = cgroups_path.map(|path| path.to_string_lossy()).unwrap_or_default();
        let (slice, prefix, name) = match path.split(':').collect::<Vec<_>>().as_slice() {
            [""] => ("", "runp", id),
            [slice, prefix, name] => (*slice, *prefix, *name),
            _ => {
                return Err(Error::user(format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd \
                     cgroups, got {path:?} instead"
                )));
            }
        };
        let default = if user.is_some() { "user.slice" } else { "system.slice" };
        let unit = Unit {
            name: unit_name(prefix, name)?,
            slice: if slice.is_empty() { default } else { slice }.to_owned(),
            user,
            properties: properties::of_annotations(annotations)?,
        };
        let mut below = user.map_or_else(PathBuf::new, |uid| {
            format!("user.slice/user-{uid}.slice/user@{uid}.service").into()
        });
        below.push(expand(&unit.slice)?);
        below.push(&unit.name);
        let dirs = layout.hierarchies.iter().map(|hierarchy| Dir {
            controllers: hierarchy.controllers.clone(),
            mount: hierarchy.mount.clone(),
            below: below.clone(),
        });
        Ok(Self { mode: layout.mode, dirs: dirs.collect(), unit: Some(unit) })
    }

    /// Starts the scope, where there is to be one, around a process that holds it.
    pub fn start_unit(&self) -> Result<Option<Placeholder>> {
        let Some(unit) = &self.unit else { return Ok(None) };
        self.dirs.iter().try_for_each(|dir| super::life::expect_unused(dir, &dir.path()))?;
        let doing = || format!("unable to start unit {:?}", unit.name);
        let holder = Placeholder::new().doing(doing)?;
        unit.start(holder.pid, self.mode).doing(doing)?;
        Ok(Some(holder))
    }

    /// Moves `pid` into the scope through systemd: where this process has no right to.
    pub fn attach(&self, pid: i32) -> Result<()> {
        let Some(unit) = self.unit.as_ref().filter(|unit| unit.user.is_some()) else {
            return Ok(());
        };
        let mut body = Encoder::default();
        body.text(&unit.name).text("").numbers(&[pid.cast_unsigned()]);
        let call = Call { method: "AttachProcessesToUnit", signature: "ssau", body };
        let attached = unit.connect()?.call(&call)?;
        attached
            .map(drop)
            .map_err(Error::from)
            .doing(|| format!("attach process {pid} to {}", unit.name))
    }

    /// Sets the unit's properties, where there is a unit.
    pub(super) fn set_properties(&self, resources: &LinuxResources, part: Part) -> Result<()> {
        let Some(unit) = &self.unit else { return Ok(()) };
        let properties = match part {
            Part::Memory => properties::memory(resources, self.mode)?,
            Part::Others => properties::early(resources, self.mode)?,
        };
        if properties.is_empty() {
            return Ok(());
        }
        let mut body = Encoder::default();
        body.text(&unit.name).bool(true).properties(&properties);
        let call = Call { method: "SetUnitProperties", signature: "sba(sv)", body };
        let set = unit.connect()?.call(&call)?;
        set.map(drop).map_err(Error::from).doing(|| format!("set properties of {}", unit.name))
    }

    /// Stops the unit, where there is one; fine if it is gone, or systemd is.
    pub(super) fn stop_unit(&self) -> Result<()> {
        let Some(unit) = &self.unit else { return Ok(()) };
        let Ok(mut bus) = unit.connect() else { return Ok(()) };
        let mut body = Encoder::default();
        body.text(&unit.name).text("replace");
        let stopped = bus.call(&Call { method: "StopUnit", signature: "ss", body })?;
        if let Some(job) = stopped.ok().and_then(|message| message.texts.into_iter().next()) {
            bus.wait(&job).doing(|| format!("wait until {} is gone", unit.name))?;
        }
        unit.reset_failed(&mut bus)
    }
}

/// By its own socket, which whoever shares only the bus with the host has not.
fn system_manager() -> Result<Bus> {
    let uid = cred::geteuid();
    Bus::connect(Path::new("/run/systemd/private"), uid).or_else(|error| {
        match Bus::connect_by_daemon(Path::new("/run/dbus/system_bus_socket"), uid) {
            Err(missing) if missing.errno() == Some(Errno::ENOENT) => Err(error),
            connected => connected,
        }
    })
}

impl Unit {
    fn connect(&self) -> Result<Bus> {
        match self.user {
            None => system_manager(),
            Some(uid) => {
                let dir = std::env::var_os("XDG_RUNTIME_DIR")
                    .map_or_else(|| PathBuf::from(format!("/run/user/{uid}")), PathBuf::from);
                Bus::connect(&dir.join("systemd/private"), uid)
            }
        }
    }

    fn start(&self, pid: i32, mode: Mode) -> Result<()> {
        let mut bus = self.connect()?;
        let started = match self.ask_for_start(&mut bus, pid, mode)? {
            // It may have failed in an earlier life.
            Err(refusal) if refusal.name.ends_with(".UnitExists") => {
                self.reset_failed(&mut bus)?;
                self.ask_for_start(&mut bus, pid, mode)?
            }
            started => started,
        };
        let job = started?.texts.into_iter().next().unwrap_or_default();
        match bus.wait(&job)?.as_str() {
            "done" => Ok(()),
            other => {
                self.reset_failed(&mut bus)?;
                Err(Error::system(format!("got {other:?}")))
            }
        }
    }

    fn ask_for_start(
        &self,
        bus: &mut Bus,
        pid: i32,
        mode: Mode,
    ) -> Result<std::result::Result<wire::Message, bus::Refusal>> {
        let text = |name: &str, value: &str| (name.to_owned(), Value::Text(value.to_owned()));
        let on = |name: &str| (name.to_owned(), Value::Bool(true));
        let io = if mode == Mode::V2 { "IOAccounting" } else { "BlockIOAccounting" };
        let mut properties = vec![
            text("Description", &format!("runp container {}", self.name)),
            text("Slice", &self.slice),
            on("Delegate"),
            ("PIDs".to_owned(), Value::Numbers(vec![pid.cast_unsigned()])),
            on("MemoryAccounting"),
            on("CPUAccounting"),
            on(io),
            on("TasksAccounting"),
            ("DefaultDependencies".to_owned(), Value::Bool(false)),
        ];
        properties.extend(self.properties.iter().cloned());
        let mut body = Encoder::default();
        body.text(&self.name).text("replace").properties(&properties).no_structures();
        bus.call(&Call { method: "StartTransientUnit", signature: "ssa(sv)a(sa(sv))", body })
    }

    /// A unit that has not failed, or is gone, has nothing to reset.
    fn reset_failed(&self, bus: &mut Bus) -> Result<()> {
        let mut body = Encoder::default();
        body.text(&self.name);
        bus.call(&Call { method: "ResetFailedUnit", signature: "s", body }).map(drop)
    }
}

/// A process that does nothing but hold a scope; ended when dropped, or with this process.
#[derive(Debug)]
pub struct Placeholder {
    pid: i32,
    pidfd: OwnedFd,
}

impl Placeholder {
    fn new() -> crate::sys::Result<Self> {
        let parent = nix::unistd::getpid();
        match clone::clone3(0, None)? {
            Forked::Parent { pid, pidfd } => Ok(Self { pid, pidfd }),
            Forked::Child => {
                // Asked last: the parent may have ended before.
                if clone::die_with_parent().is_ok() && nix::unistd::getppid() == parent {
                    nix::unistd::pause();
                }
                clone::exit(0)
            }
        }
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        // It is our child, so both can fail only if it is gone already.
        clone::pidfd_send_signal(&self.pidfd, clone::SIGKILL).unwrap_or_default();
        clone::wait(&self.pidfd).unwrap_or_default();
    }
}

fn unit_name(prefix: &str, name: &str) -> Result<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if name.is_empty()
        || name.ends_with(".slice")
        || ![prefix, name].iter().all(|p| p.chars().all(allowed))
    {
        let cause = format!("{prefix:?} and {name:?} do not make the name of a scope");
        return Err(Error::user(cause).doing("linux.cgroupsPath"));
    }
    Ok(match prefix {
        "" => format!("{name}.scope"),
        _ => format!("{prefix}-{name}.scope"),
    })
}

/// `a-b.slice` is in `a.slice`; `-.slice` is the root.
fn expand(slice: &str) -> Result<PathBuf> {
    let wrong = || Error::user(format!("invalid slice name: {slice}")).doing("linux.cgroupsPath");
    let name = slice.strip_suffix(".slice").filter(|name| !name.contains('/')).ok_or_else(wrong)?;
    let mut path = PathBuf::new();
    if name == "-" {
        return Ok(path);
    }
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(wrong());
        }
        path.push(format!("{prefix}{part}.slice"));
        prefix.push_str(part);
        prefix.push('-');
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::cgroup::Hierarchy;

    fn layout() -> Layout {
        let hierarchy =
            Hierarchy { controllers: vec![], mount: "/sys/fs/cgroup".into(), own: "a/b".into() };
        Layout { mode: Mode::V2, hierarchies: vec![hierarchy] }
    }

    fn resolve(path: &str, user: Option<u32>) -> Result<Cgroup> {
        Cgroup::resolve_unit(&layout(), Some(Path::new(path)), "web", user, &HashMap::new())
    }

    #[test]
    fn slices_and_scopes() {
        for (path, user, expected) in [
            ("", None, "system.slice/runp-web.scope"),
            ("machine.slice:libpod:1", None, "machine.slice/libpod-1.scope"),
            ("a-b-c.slice:cri:2", None, "a.slice/a-b.slice/a-b-c.slice/cri-2.scope"),
            ("-.slice::3", None, "3.scope"),
            (":x:4", None, "system.slice/x-4.scope"),
            (
                "user.slice:x:5",
                Some(7),
                "user.slice/user-7.slice/user@7.service/user.slice/x-5.scope",
            ),
        ] {
            let cgroup = resolve(path, user).unwrap();
            assert_eq!(cgroup.dirs[0].below, Path::new(expected), "{path}");
            assert!(expected.ends_with(&cgroup.unit.unwrap().name));
        }
        for wrong in [
            "/abs",
            "a:b",
            "a:b:c:d",
            "a:b:c",
            "a--b.slice:x:y",
            "-a.slice:x:y",
            "x/y.slice:x:y",
            "a.slice:x:",
            "a.slice:x:y/z",
            "a.slice:x:y.slice",
        ] {
            assert!(resolve(wrong, None).is_err(), "{wrong}");
        }
    }
}
