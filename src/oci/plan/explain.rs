//! Plans as text and JSON: what `runp explain` shows and what errors and traces call a step.

use super::step::{
    At, Attribute, Limits, Mapper, Mount, NetDevice, Origin, OwnerMap, Place, Planned, Program,
    RootChange, Side, Source, SourcePath, Step, Target, User, UtsField, text,
};
use super::{Mode, Options, Plan};
use crate::error::Result;
use crate::oci::bundle::Bundle;
use crate::oci::host::Host;
use crate::oci::ops::CreateOptions;
use crate::sys::types::{NsKind, NumberSet};
use serde::Serialize;
use std::fmt::{self, Display, Write};

/// The plan of a bundle, one step a line, or as a JSON array. Does nothing and needs no root.
pub fn explain(bundle: &Bundle, options: &CreateOptions, json: bool) -> Result<String> {
    let plan = super::plan(
        &bundle.spec,
        &Host::probe(options.rootless)?,
        &Options::new(bundle, options, Mode::Run),
    )?;
    Ok(if json { plan.to_json() } else { plan.to_string() })
}

/// One step of `explain --json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    index: usize,
    side: &'static str,
    step: &'static str,
    doing: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<String>,
}

impl Plan {
    /// All steps as a JSON array.
    pub fn to_json(&self) -> String {
        let lines: Vec<Line> = self.steps.iter().enumerate().map(line).collect();
        serde_json::to_string_pretty(&lines).unwrap_or_default() + "\n"
    }
}

fn line((index, planned): (usize, &Planned)) -> Line {
    let config = (!planned.at.is_none()).then(|| planned.at.to_string());
    let (side, step) = (planned.side.name(), planned.step.name());
    Line { index, side, step, doing: planned.step.to_string(), config }
}

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for planned in &self.steps {
            writeln!(f, "{:<7}{planned}", planned.side.name())?;
        }
        Ok(())
    }
}

impl Side {
    /// Its name in plans and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parent => "parent",
            Self::Child => "child",
        }
    }
}

impl Step {
    /// Its name in traces and fault points.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MakeCgroup => "make-cgroup",
            Self::Clone(_) => "clone",
            Self::IdMaps { .. } => "id-maps",
            Self::NetDevice(_) => "net-device",
            Self::Record => "record",
            Self::Limit(Limits::Memory) => "limit-memory",
            Self::Limit(Limits::Others) => "limit",
            Self::EnterCgroup => "enter-cgroup",
            Self::Source(_) => "source",
            Self::Listener(_) => "listener",
            Self::Hooks(_) => "hooks",
            Self::Attribute(attribute) => attribute.name(),
            Self::Send(_) => "send",
            Self::Await(_) => "await",
            Self::JoinNamespace(..) => "join-namespace",
            Self::JoinContainer(_) => "join-container",
            Self::UnshareCgroup => "unshare-cgroup",
            Self::UnshareTime(_) => "unshare-time",
            Self::BecomeRoot => "become-root",
            Self::Session => "session",
            Self::Keyring(_) => "keyring",
            Self::Loopback => "loopback",
            Self::UtsName(UtsField::Hostname, _) => "hostname",
            Self::UtsName(UtsField::Domainname, _) => "domainname",
            Self::Propagate { .. } => "propagate",
            Self::BindRoot(_) => "bind-root",
            Self::Mount(_) => "mount",
            Self::ReadOnly(_) => "read-only",
            Self::Device(_) => "device",
            Self::Symlink { .. } => "symlink",
            Self::Console { .. } => "console",
            Self::Sysctl { .. } => "sysctl",
            Self::AppArmor(_) => "apparmor",
            Self::Mask(_) => "mask",
            Self::ReadonlyPath(_) => "readonly-path",
            Self::PivotRoot { .. } => "pivot-root",
            Self::Chdir(_) => "chdir",
            Self::Bounding(_) => "bounding",
            Self::User(_) => "user",
            Self::Capabilities(_) => "capabilities",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::Seccomp => "seccomp",
            Self::FindProgram(_) => "find-program",
            Self::CloseFds(_) => "close-fds",
            Self::ExitOnSignals => "exit-on-signals",
            Self::AwaitStart(_) => "await-start",
            Self::Execve(_) => "execve",
        }
    }
}

impl Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.step.fmt(f)?;
        if self.at.is_none() { Ok(()) } else { write!(f, " ({})", self.at) }
    }
}

impl Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field)?;
        self.index.map_or(Ok(()), |index| write!(f, "[{index}]"))
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeCgroup => f.write_str("make the cgroup with its device rules"),
            Self::Clone(new) => write!(f, "clone into new namespaces [{}]", kinds(new)),
            Self::IdMaps { uids, gids, mapper } => {
                let by = match mapper {
                    Mapper::Helpers => "by newuidmap and newgidmap ",
                    Mapper::Privileged | Mapper::OwnIds => "",
                };
                write!(f, "write id maps {by}uid [{}] gid [{}]", one_line(uids), one_line(gids))
            }
            Self::NetDevice(NetDevice { name, new_name, .. }) => {
                write!(f, "move network device {name} into the container as {new_name}")
            }
            Self::Record => f.write_str("record the process in state.json"),
            Self::Limit(Limits::Memory) => f.write_str("limit memory"),
            Self::Limit(Limits::Others) => f.write_str("limit cpus and pids"),
            Self::EnterCgroup => f.write_str("enter the cgroup"),
            Self::Source(source) => source.fmt(f),
            Self::Listener(listener) => {
                write!(f, "pass the seccomp listener to {}", text(&listener.path))
            }
            Self::Hooks(point) => write!(f, "run {} hooks", point.name()),
            Self::Attribute(attribute) => attribute.fmt(f),
            Self::Send(barrier) => write!(f, "tell {}", barrier.name()),
            Self::Await(barrier) => write!(f, "await {}", barrier.name()),
            Self::JoinNamespace(kind, path) => {
                write!(f, "join {} namespace {}", kind.proc_name(), text(path))
            }
            Self::JoinContainer(joined) => {
                write!(f, "join the container's namespaces [{}]", kinds(joined))
            }
            Self::UnshareCgroup => f.write_str("unshare the cgroup namespace"),
            Self::UnshareTime(offsets) => {
                let offsets = text(offsets);
                write!(f, "unshare the time namespace, offsets [{}]", one_line(&offsets))
            }
            Self::BecomeRoot => f.write_str("become root of the user namespace"),
            Self::Session => f.write_str("start a session"),
            Self::Keyring(name) => write!(f, "join session keyring {}", text(name)),
            Self::Loopback => f.write_str("set lo up"),
            Self::UtsName(UtsField::Hostname, name) => write!(f, "set hostname {}", text(name)),
            Self::UtsName(UtsField::Domainname, name) => write!(f, "set domainname {}", text(name)),
            Self::Propagate { how, .. } => write!(f, "make / r{}", how.name()),
            Self::BindRoot(path) => write!(f, "bind root file system {}", text(path)),
            Self::Mount(mount) => mount.fmt(f),
            Self::ReadOnly(path) => write!(f, "make mount /{} read-only", text(path)),
            other => other.fmt_rest(f),
        }
    }
}

impl Step {
    fn fmt_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => {
                let kind = if device.mode & libc::S_IFMT == libc::S_IFBLK { 'b' } else { 'c' };
                let (major, minor) = device.number;
                write!(
                    f,
                    "make device {} {kind} {major}:{minor} mode {:o}",
                    device.place,
                    device.mode & 0o7777
                )
            }
            Self::Symlink { place, target } => write!(f, "link {place} to {}", text(target)),
            Self::Console { size: None, .. } => f.write_str("open a terminal"),
            Self::Console { size: Some((rows, columns)), .. } => {
                write!(f, "open a terminal of {rows} rows and {columns} columns")
            }
            Self::Sysctl { path, value } => {
                write!(f, "write {} to /proc/sys/{}", text(value), text(path))
            }
            Self::AppArmor(change) => write!(f, "apply AppArmor profile: {}", text(change)),
            Self::Mask(path) => write!(f, "mask /{}", text(path)),
            Self::ReadonlyPath(path) => write!(f, "make /{} read-only", text(path)),
            Self::PivotRoot { how, .. } => f.write_str(match how {
                RootChange::Pivot => "pivot_root",
                RootChange::Move => "move the root mount and chroot",
                RootChange::Chroot => "chroot",
            }),
            Self::Chdir(path) => write!(f, "chdir to {}", text(path)),
            Self::Bounding(keep) => write!(f, "drop bounding capabilities outside {keep:#x}"),
            Self::User(user) => user.fmt(f),
            Self::Capabilities(sets) => {
                let (eff, perm) = (sets.effective, sets.permitted);
                let (inh, amb) = (sets.inheritable, sets.ambient);
                write!(f, "set capabilities eff {eff:#x} perm {perm:#x} inh {inh:#x} amb {amb:#x}")
            }
            Self::NoNewPrivileges => f.write_str("set no_new_privs"),
            Self::Seccomp => f.write_str("load seccomp filter"),
            Self::FindProgram(_) => f.write_str("find the program"),
            Self::CloseFds(first) => {
                write!(f, "keep descriptors from {first} on out of the program")
            }
            Self::ExitOnSignals => f.write_str("exit on SIGHUP, SIGINT, SIGQUIT and SIGTERM"),
            Self::AwaitStart(_) => f.write_str("await start"),
            Self::Execve(program) => program.fmt(f),
            // The others are formatted by the caller.
            other => f.write_str(other.name()),
        }
    }
}

impl Attribute {
    const fn name(&self) -> &'static str {
        match self {
            Self::OomScore(_) => "oom-score",
            Self::Rlimit { .. } => "rlimit",
            Self::Scheduler(_) => "scheduler",
            Self::IoPriority { .. } => "io-priority",
            Self::Affinity(_) => "affinity",
            Self::MemoryPolicy { .. } => "memory-policy",
            Self::Personality(_) => "personality",
        }
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OomScore(score) => write!(f, "set oom_score_adj to {score}"),
            Self::Rlimit { name, soft, hard, .. } => write!(f, "set {name} to {soft}:{hard}"),
            Self::Scheduler(to) => {
                let (policy, flags, nice, priority) = (to.policy, to.flags, to.nice, to.priority);
                let (runtime, deadline, period) = (to.runtime, to.deadline, to.period);
                write!(f, "set scheduling policy {policy} flags {flags:#x} nice {nice} ")?;
                write!(f, "priority {priority} deadline {runtime}/{deadline}/{period}")
            }
            Self::IoPriority { class, level } => {
                write!(f, "set I/O priority class {class} level {level}")
            }
            Self::Affinity(NumberSet::ALL) => f.write_str("run on all processors there are"),
            Self::Affinity(cpus) => write!(f, "run on processors {cpus:?}"),
            Self::MemoryPolicy { mode, nodes } => {
                write!(f, "set memory policy {mode:#x} nodes [{nodes:?}]")
            }
            Self::Personality(domain) => write!(f, "set personality {domain:#x}"),
        }
    }
}

impl Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Fs { kind, .. } => write!(f, "mount {}", text(kind))?,
            Origin::Bind { path, recursive: true } => write!(f, "mount rbind {path}")?,
            Origin::Bind { path, recursive: false } => write!(f, "mount bind {path}")?,
            Origin::Sent => f.write_str("mount what was opened")?,
            Origin::There { .. } => f.write_str("remount")?,
        }
        match &self.target {
            Target::Root(_) => f.write_str(" on /"),
            Target::Inside(path) => write!(f, " on /{}", text(path)),
        }
    }
}

impl Display for SourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(path) => f.write_str(&text(path)),
            Self::Inside(path) => write!(f, "the container's /{}", text(path)),
        }
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "open {}", self.path)?;
        match &self.map {
            None => Ok(()),
            Some((OwnerMap::Namespace(path), _)) => write!(f, " mapped as in {}", text(path)),
            Some((OwnerMap::Ids { uids, gids }, _)) => {
                write!(f, " mapped uid [{}] gid [{}]", one_line(uids), one_line(gids))
            }
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.dir.is_empty() {
            write!(f, "/{}", text(&self.dir))?;
        }
        write!(f, "/{}", text(&self.name))
    }
}

impl Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "become user {}:{} groups {:?} umask {:04o}",
            self.uid, self.gid, self.groups, self.umask
        )
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exec {:?}", self.name)
    }
}

fn kinds(kinds: &[NsKind]) -> String {
    let mut out = String::new();
    for kind in kinds {
        let separator = if out.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        write!(out, "{separator}{}", kind.proc_name()).ok();
    }
    out
}

fn one_line(map: &str) -> String {
    map.trim_end().replace('\n', ", ")
}
