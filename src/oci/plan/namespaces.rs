//! `linux.namespaces`, `uidMappings` and `gidMappings`, host and domain name.

use super::step::{At, Mapper, NetDevice, Step, UtsField};
use super::{OWN, Plan, Topic, cstring, missing};
use crate::error::{Error, Result};
use crate::oci::host::Host;
use crate::sys::types::NsKind;
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The namespaces a container gets; kinds that are not listed stay the host's.
pub(super) struct Wanted {
    entries: Vec<(NsKind, Option<PathBuf>)>,
    /// `linux.timeOffsets`, as the kernel takes them.
    time_offsets: Option<CString>,
}

impl Wanted {
    /// Whether it gets a new one.
    pub(super) fn is_new(&self, kind: NsKind) -> bool {
        self.entries.iter().any(|(have, path)| *have == kind && path.is_none())
    }

    /// Whether it gets one that is not the host's.
    pub(super) fn has(&self, kind: NsKind) -> bool {
        self.entries.iter().any(|(have, _)| *have == kind)
    }

    /// The path of one that is joined.
    pub(super) fn path(&self, kind: NsKind) -> Option<&Path> {
        let found = self.entries.iter().find(|(have, _)| *have == kind);
        found.and_then(|(_, path)| path.as_deref())
    }

    /// Those not the host's.
    pub(super) fn all(&self) -> Vec<NsKind> {
        self.entries.iter().map(|(kind, _)| *kind).collect()
    }

    /// Those made by clone3. A cgroup namespace takes its root from the cgroup its maker is in, and
    /// the child moves into its cgroup only after (v1) or at the end of (v2) the clone. The offsets of
    /// a time namespace cannot be changed once somebody is in it.
    pub(super) fn cloned(&self) -> Vec<NsKind> {
        let later = |kind: NsKind| match kind {
            NsKind::Cgroup => true,
            NsKind::Time => self.time_offsets.is_some(),
            _ => false,
        };
        NsKind::ALL.into_iter().filter(|kind| self.is_new(*kind) && !later(*kind)).collect()
    }
}

/// Reads `linux.namespaces`.
pub(super) fn wanted(linux: &Linux) -> Result<Wanted> {
    let mut entries: Vec<(NsKind, Option<PathBuf>)> = Vec::new();
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let (kind, at) = (kind(namespace.typ()), At::item("linux.namespaces", index));
        if entries.iter().any(|(have, _)| *have == kind) {
            return Err(Error::user(format!("{at}: duplicated {} namespace", kind.proc_name())));
        }
        let path = namespace.path().clone().filter(|path| !path.as_os_str().is_empty());
        if path.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err(Error::user(format!("{at}.path: must be absolute")));
        }
        entries.push((kind, path));
    }
    let mut wanted = Wanted { entries, time_offsets: None };
    wanted.time_offsets = time_offsets(linux, &wanted)?;
    Ok(wanted)
}

/// Sorted, so that a plan is the same each time.
fn time_offsets(linux: &Linux, wanted: &Wanted) -> Result<Option<CString>> {
    let at = At::field("linux.timeOffsets");
    let mut offsets: Vec<_> = linux.time_offsets().iter().flatten().collect();
    if offsets.is_empty() {
        return Ok(None);
    }
    if !wanted.has(NsKind::Time) {
        let cause = "time namespace offsets specified, but time namespace isn't enabled";
        return Err(Error::user(format!("{at}: {cause}")));
    }
    if !wanted.is_new(NsKind::Time) {
        return Err(Error::user(format!("{at}: a namespace that is joined has its own")));
    }
    offsets.sort_unstable_by_key(|(clock, _)| *clock);
    let mut lines = String::new();
    for (clock, offset) in offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::user(format!("{at}: {clock:?} is no clock with an offset")));
        }
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds >= 1_000_000_000 {
            return Err(Error::user(format!("{at}.{clock}.nanosecs: more than a second")));
        }
        lines += &format!("{clock} {} {nanoseconds}\n", offset.secs().unwrap_or(0));
    }
    cstring(lines, at).map(Some)
}

/// The child's steps to be in all its namespaces.
pub(super) fn plan(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    if let Some(offsets) = cx.namespaces.time_offsets.clone() {
        // While /proc is still the host's, and a process that nobody may trace, as this one is, may
        // write there: as root of the host.
        plan.child(At::field("linux.timeOffsets"), Step::UnshareTime(offsets));
    }
    if cx.namespaces.has(NsKind::User) {
        plan.child(OWN, Step::BecomeRoot);
    }
    join(cx, plan)?;
    plan.child(OWN, Step::Session);
    if !cx.options.no_new_keyring {
        let name = cstring(format!("_ses.{}", cx.options.id), OWN)?;
        plan.child(OWN, Step::Keyring(name));
    }
    if cx.namespaces.is_new(NsKind::Network) {
        plan.child(OWN, Step::Loopback);
    }
    uts_names(cx, plan)
}

/// Whether the child is born in a namespace that is joined. A PID namespace is entered in no other
/// way, and a user namespace has to be before others are made. Once in a user namespace, the child
/// may join none any more that has another owner; whoever has no privilege outside may only then.
fn born_in(cx: &Topic<'_>, kind: NsKind) -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let privileged = cx.host.capabilities & SYS_ADMIN != 0;
    match kind {
        NsKind::Pid | NsKind::User => true,
        NsKind::Mount => false,
        _ => {
            let user = &cx.namespaces;
            user.is_new(NsKind::User) || privileged && user.has(NsKind::User)
        }
    }
}

/// The parent's steps for these.
pub(super) fn join_before_clone(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    // The user namespace last: what is the host's is joined with the host's rights.
    let others = NsKind::ALL.into_iter().filter(|kind| *kind != NsKind::User);
    for kind in others.chain([NsKind::User]).filter(|kind| born_in(cx, *kind)) {
        if let Some((at, step)) = joined(cx, kind)? {
            plan.parent(at, step);
        }
    }
    Ok(())
}

/// Joins what is named by path; the mount namespace last, as it changes what paths mean.
fn join(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    let later = |kind: &NsKind| *kind != NsKind::Mount && !born_in(cx, *kind);
    let others = NsKind::ALL.into_iter().filter(later);
    for kind in others.chain([NsKind::Mount]) {
        if let Some((at, step)) = joined(cx, kind)? {
            plan.child(at, step);
        }
    }
    Ok(())
}

fn joined(cx: &Topic<'_>, kind: NsKind) -> Result<Option<(At, Step)>> {
    for (index, (have, path)) in cx.namespaces.entries.iter().enumerate() {
        if let Some(path) = path.as_ref().filter(|_| *have == kind) {
            let at = At::item("linux.namespaces", index);
            let path = cstring(path.as_os_str().as_bytes(), at)?;
            return Ok(Some((at, Step::JoinNamespace(kind, path))));
        }
    }
    Ok(None)
}

fn uts_names(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    let names = [
        (UtsField::Hostname, "hostname", cx.spec.hostname()),
        (UtsField::Domainname, "domainname", cx.spec.domainname()),
    ];
    for (which, field, name) in names {
        let Some(name) = name.as_ref().filter(|name| !name.is_empty()) else { continue };
        if !cx.namespaces.has(NsKind::Uts) {
            let cause = format!("unable to set {field} without a private UTS namespace");
            return Err(Error::user(cause));
        }
        let at = At::field(field);
        plan.child(at, Step::UtsName(which, cstring(name, at)?));
    }
    Ok(())
}

/// The maps of a new user namespace.
pub(super) fn maps(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    let (uids, gids) = (cx.linux.uid_mappings(), cx.linux.gid_mappings());
    if !cx.namespaces.is_new(NsKind::User) {
        let any = [uids, gids].into_iter().any(|map| map.as_ref().is_some_and(|m| !m.is_empty()));
        let cause =
            "user namespace mappings specified, but user namespace isn't enabled in the config";
        let stray = any && !cx.namespaces.has(NsKind::User);
        return if stray { Err(Error::user(cause)) } else { Ok(()) };
    }
    let mapper = mapper(cx.host, uids.as_deref(), gids.as_deref());
    let uids = map(uids.as_deref(), "linux.uidMappings")?;
    let gids = map(gids.as_deref(), "linux.gidMappings")?;
    plan.parent(At::field("linux.uidMappings"), Step::IdMaps { uids, gids, mapper });
    Ok(())
}

/// user_namespaces(7): who lacks the capability may write one line, of his own id.
fn mapper(host: &Host, uids: Option<&[LinuxIdMapping]>, gids: Option<&[LinuxIdMapping]>) -> Mapper {
    const SETGID_AND_SETUID: u64 = 1 << 6 | 1 << 7;
    let own = |map: Option<&[LinuxIdMapping]>, id: u32| match map {
        Some([only]) => only.host_id() == id && only.size() == 1,
        _ => false,
    };
    match host.capabilities & SETGID_AND_SETUID == SETGID_AND_SETUID {
        true => Mapper::Privileged,
        false if own(uids, host.euid) && own(gids, host.egid) => Mapper::OwnIds,
        false => Mapper::Helpers,
    }
}

/// The devices that move into the network namespace, sorted, so that a plan is the same each time.
pub(super) fn net_devices(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    let at = At::field("linux.netDevices");
    let mut devices: Vec<_> = cx.linux.net_devices().iter().flatten().collect();
    devices.sort_unstable_by_key(|(name, _)| *name);
    if !devices.is_empty() && !cx.namespaces.has(NsKind::Network) {
        let cause = "unable to move network devices without a private network namespace";
        return Err(Error::user(format!("{at}: {cause}")));
    }
    for (name, device) in devices {
        let new_name = device.name().as_ref().filter(|name| !name.is_empty()).unwrap_or(name);
        if let Some(bad) = [name, new_name].into_iter().find(|name| !is_device_name(name)) {
            return Err(Error::user(format!("{at}: invalid network device name {bad:?}")));
        }
        let path = cx.namespaces.path(NsKind::Network);
        let namespace = path.map(|path| cstring(path.as_os_str().as_bytes(), at)).transpose()?;
        let (name, new_name) = (name.clone(), new_name.clone());
        plan.parent(at, Step::NetDevice(NetDevice { name, new_name, namespace }));
    }
    Ok(())
}

/// As the kernel has it.
fn is_device_name(name: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !"/:\0".contains(c);
    !matches!(name, "" | "." | "..") && name.len() < 16 && name.chars().all(plain)
}

/// The kernel takes 340 extents of a map.
const MAX_EXTENTS: usize = 340;

pub(super) fn map(entries: Option<&[LinuxIdMapping]>, field: &str) -> Result<String> {
    let entries = entries.filter(|list| !list.is_empty()).ok_or_else(|| missing(field))?;
    if entries.len() > MAX_EXTENTS {
        return Err(Error::user(format!("{field}: more than {MAX_EXTENTS} entries")));
    }
    let line = |entry: &LinuxIdMapping| {
        format!("{} {} {}\n", entry.container_id(), entry.host_id(), entry.size())
    };
    Ok(entries.iter().map(line).collect())
}

fn kind(kind: LinuxNamespaceType) -> NsKind {
    match kind {
        LinuxNamespaceType::User => NsKind::User,
        LinuxNamespaceType::Mount => NsKind::Mount,
        LinuxNamespaceType::Pid => NsKind::Pid,
        LinuxNamespaceType::Network => NsKind::Network,
        LinuxNamespaceType::Ipc => NsKind::Ipc,
        LinuxNamespaceType::Uts => NsKind::Uts,
        LinuxNamespaceType::Cgroup => NsKind::Cgroup,
        LinuxNamespaceType::Time => NsKind::Time,
    }
}
