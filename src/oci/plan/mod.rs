//! DECIDE: config.json and the host's facts to a list of steps. Pure: no system call, no clock.
//!
//! The order of the list is the order of the work. Parent and child run beside each other and meet
//! at the barriers that are steps themselves. Paths are only asked for here; they are resolved when
//! their step is done, by descriptor. Nothing is undone here either: a launch that fails is torn
//! down by `ops::delete`.

pub mod explain;
pub mod step;

mod attributes;
mod cgroup;
mod devices;
mod exec;
mod mounts;
mod namespaces;
mod options;
mod paths;
mod process;
mod seccomp;

pub use exec::{exec, exec_remarks};
pub use explain::explain;
pub use process::missing_capabilities;

use super::bundle::Bundle;
use super::cgroup::Cgroup;
use super::host::Host;
use super::ops::CreateOptions;
use super::seccomp::Filter;
use crate::error::{Error, Kind, Result};
use crate::sys::types::NsKind;
use oci_spec::runtime::{Hooks, Linux, LinuxResources, Process, Spec};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use step::{At, Barrier, HookPoint, Limits, Listener, Planned, Program, Side, Step};

/// Whether the container waits for `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `create`.
    Create,
    /// `run`.
    Run,
}

/// What the caller asks for beside config.json.
#[derive(Clone, Debug)]
pub struct Options {
    /// The container's name.
    pub id: String,
    /// The bundle's directory, absolute.
    pub bundle: PathBuf,
    /// Whether to wait for `start`.
    pub mode: Mode,
    /// Whether systemd makes the cgroup.
    pub systemd_cgroup: bool,
    /// MS_MOVE and chroot instead of pivot_root.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Descriptors after 2 that the program gets.
    pub preserve_fds: u32,
}

impl Options {
    /// From the options of `create` and `run`.
    pub fn new(bundle: &Bundle, options: &CreateOptions, mode: Mode) -> Self {
        Self {
            id: options.id.clone(),
            bundle: bundle.dir.clone(),
            mode,
            systemd_cgroup: options.systemd_cgroup,
            no_pivot: options.no_pivot,
            no_new_keyring: options.no_new_keyring,
            preserve_fds: options.preserve_fds,
        }
    }
}

/// A decided launch.
#[derive(Debug, Default)]
pub struct Plan {
    /// What is done, in order.
    pub steps: Vec<Planned>,
    /// The seccomp filter.
    pub filter: Option<Filter>,
    /// The container's cgroup.
    pub cgroup: Option<Cgroup>,
    /// The user of the host that it is given to.
    pub cgroup_owner: Option<u32>,
    /// Whether the cgroup gets device rules: all but a rootless caller's.
    pub filter_devices: bool,
    /// Its limits.
    pub resources: Option<LinuxResources>,
    /// The namespaces that are not the host's.
    pub namespaces: Vec<NsKind>,
    /// The root file system's directory, absolute.
    pub rootfs: PathBuf,
    /// Who gets the filter's listener, while planning.
    listener: Option<Listener>,
    /// Mounts to make read-only at the end, while planning.
    late: Vec<(At, CString)>,
}

impl Plan {
    /// What is executed at the end, and the number of that step.
    pub fn program(&self) -> Result<(usize, &Program)> {
        let execve = |(index, planned): (usize, &'_ Planned)| match &planned.step {
            Step::Execve(_) => Some(index),
            _ => None,
        };
        let index = self.steps.iter().enumerate().find_map(execve);
        match index.and_then(|index| Some((index, &self.steps.get(index)?.step))) {
            Some((index, Step::Execve(program))) => Ok((index, program)),
            _ => Err(Error::new(Kind::Bug, "a plan without a program")),
        }
    }

    /// Executes the file at `path` instead, with the same arguments.
    pub fn set_program(&mut self, path: &Path) -> Result<()> {
        let path = cstring(path.as_os_str().as_bytes(), OWN)?;
        for planned in &mut self.steps {
            if let Step::Execve(program) = &mut planned.step {
                program.name = path.to_string_lossy().into_owned();
                program.candidates = vec![path.clone()];
            }
        }
        Ok(())
    }

    fn parent(&mut self, at: At, step: Step) {
        self.steps.push(Planned { side: Side::Parent, at, step });
    }

    fn child(&mut self, at: At, step: Step) {
        self.steps.push(Planned { side: Side::Child, at, step });
    }
}

const OWN: At = At::field("");

/// What all topics look at.
struct Topic<'a> {
    spec: &'a Spec,
    linux: &'a Linux,
    process: &'a Process,
    host: &'a Host,
    options: &'a Options,
    /// New and joined namespaces.
    namespaces: namespaces::Wanted,
}

/// Decides how a container is created.
pub fn plan(spec: &Spec, host: &Host, options: &Options) -> Result<Plan> {
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    let process = spec.process().as_ref().ok_or_else(|| missing("process"))?;
    let namespaces = namespaces::wanted(linux)?;
    let cx = Topic { spec, linux, process, host, options, namespaces };
    check_version(spec.version())?;
    refuse_unsupported(&cx)?;
    spec.hooks().as_ref().map_or(Ok(()), check_hooks)?;
    let mut plan = Plan { rootfs: rootfs(&cx)?, ..Plan::default() };
    plan.namespaces = cx.namespaces.all();
    cgroup::resolve(&cx, &mut plan)?;
    seccomp::filter(linux, &mut plan)?;
    start(&cx, &mut plan)?;
    mounts::plan(&cx, &mut plan)?;
    devices::plan(&cx, &mut plan)?;
    process::console(&cx, &mut plan);
    hooks(spec.hooks().as_ref(), &mut plan);
    paths::plan(&cx, &mut plan)?;
    process::plan(&cx, &mut plan)?;
    Ok(plan)
}

/// The parent's first steps and the child's, up to its namespaces.
fn start(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    if plan.cgroup.is_some() {
        plan.parent(At::field("linux.cgroupsPath"), Step::MakeCgroup);
    }
    if !cx.namespaces.has(NsKind::Mount) {
        mounts::on_the_host(cx, plan)?;
    }
    namespaces::join_before_clone(cx, plan)?;
    let at = At::field("linux.namespaces");
    plan.parent(at, Step::Clone(cx.namespaces.cloned()));
    let before = plan.steps.len();
    namespaces::maps(cx, plan)?;
    namespaces::net_devices(cx, plan)?;
    if plan.steps.len() > before {
        plan.parent(OWN, Step::Send(Barrier::Mapped));
        plan.child(OWN, Step::Await(Barrier::Mapped));
    }
    plan.parent(OWN, Step::Record);
    if plan.cgroup.is_some() {
        // While the child makes its mounts.
        plan.parent(At::field("linux.resources"), Step::Limit(Limits::Others));
    }
    namespaces::plan(cx, plan)
}

/// Hooks see the mounts made and the host's root still in place.
fn hooks(hooks: Option<&Hooks>, plan: &mut Plan) {
    let Some(hooks) = hooks else { return };
    let points = [
        (HookPoint::Prestart, hooks.prestart()),
        (HookPoint::CreateRuntime, hooks.create_runtime()),
        (HookPoint::CreateContainer, hooks.create_container()),
    ];
    let wanted = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if !points.iter().any(|(_, list)| wanted(list)) {
        return;
    }
    plan.child(OWN, Step::Send(Barrier::Mounted));
    plan.parent(OWN, Step::Await(Barrier::Mounted));
    for (point, _) in points.iter().filter(|(_, list)| wanted(list)) {
        plan.parent(At::field("hooks"), Step::Hooks(*point));
    }
    plan.parent(OWN, Step::Send(Barrier::HooksDone));
    plan.child(OWN, Step::Await(Barrier::HooksDone));
}

fn rootfs(cx: &Topic<'_>) -> Result<PathBuf> {
    let root = cx.spec.root().as_ref().ok_or_else(|| missing("root"))?;
    Ok(cx.options.bundle.join(root.path()))
}

/// What is not done is refused by name, never passed over; in runc's words for a host without it.
fn refuse_unsupported(cx: &Topic<'_>) -> Result<()> {
    process::refuse_labels(cx.process)?;
    let profile = text_wanted(cx.process.apparmor_profile().as_deref());
    if profile && !cx.host.apparmor {
        let cause = "apparmor: config provided but apparmor not supported";
        return Err(Error::user(cause).doing("process.apparmorProfile"));
    }
    refuse(&[
        ("linux.mountLabel: selinux", text_wanted(cx.linux.mount_label().as_deref())),
        (
            "linux.intelRdt: intelRdt is specified in config, but Intel RDT",
            cx.linux.intel_rdt().is_some(),
        ),
    ])
}

/// Refuses the first field that is there.
fn refuse(fields: &[(&str, bool)]) -> Result<()> {
    match fields.iter().find(|(_, wanted)| *wanted) {
        Some((field, _)) => Err(Error::user(format!("{field} is not supported"))),
        None => Ok(()),
    }
}

/// "MUST be in SemVer v2.0.0 format"
/// ([config.md](https://github.com/opencontainers/runtime-spec/blob/main/config.md#specification-version)).
/// runc takes a file that names none.
fn check_version(version: &str) -> Result<()> {
    if version.is_empty() {
        return Ok(());
    }
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<_> = core.split('.').map(str::parse::<u32>).collect();
    match numbers.as_slice() {
        [Ok(1), Ok(_), Ok(_)] => Ok(()),
        _ => Err(Error::user(format!("ociVersion: {version:?} is not supported, only 1.x.y is"))),
    }
}

/// What must hold of each hook, whenever it runs.
fn check_hooks(hooks: &Hooks) -> Result<()> {
    let points = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (point, list) in points {
        for (index, hook) in list.iter().flatten().enumerate() {
            let at = format!("hooks.{point}[{index}]");
            if !hook.path().is_absolute() {
                return Err(Error::user(format!("{at}.path: must be absolute")));
            }
            if hook.timeout().is_some_and(|seconds| seconds <= 0) {
                return Err(Error::user(format!("{at}.timeout: must be greater than 0")));
            }
        }
    }
    Ok(())
}

fn text_wanted(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

fn missing(field: &str) -> Error {
    Error::user(format!("{field} property must not be empty")).hint("see `runp spec`")
}

/// A string for the kernel; one that holds a zero byte is refused.
fn cstring(string: impl AsRef<[u8]>, at: At) -> Result<CString> {
    CString::new(string.as_ref()).map_err(|_| Error::user(format!("{at}: holds a zero byte")))
}

/// A path of the container, relative to its root.
fn inside(path: &Path, at: At) -> Result<CString> {
    let bytes = path.as_os_str().as_bytes();
    let start = bytes.iter().position(|byte| *byte != b'/').unwrap_or(bytes.len());
    cstring(bytes.get(start..).unwrap_or_default(), at)
}
