//! From the mounts to the new root: sysctls, read-only and masked paths, pivot_root.

use super::step::{At, RootChange, Step};
use super::{OWN, Plan, Topic, cstring, inside, mounts, process};
use crate::error::{Error, Result};
use crate::sys::types::{NsKind, Propagation};
use std::ffi::CString;
use std::path::Path;

pub(super) fn plan(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    sysctls(cx, plan)?;
    process::apparmor(cx.process, plan)?;
    for (index, path) in cx.linux.readonly_paths().iter().flatten().enumerate() {
        let at = At::item("linux.readonlyPaths", index);
        plan.child(at, Step::ReadonlyPath(absolute(path, at)?));
    }
    let mut masked = Vec::new();
    for (index, path) in cx.linux.masked_paths().iter().flatten().enumerate() {
        let at = At::item("linux.maskedPaths", index);
        let path = absolute(path, at)?;
        if !masked.contains(&path) {
            masked.push(path.clone());
            plan.child(at, Step::Mask(path));
        }
    }
    mounts::late(plan);
    let propagation = mounts::root_propagation(cx)?;
    if cx.options.no_pivot && matches!(propagation, Some((Propagation::Private, _))) {
        let cause = "linux.rootfsPropagation: [r]private is not safe without pivot_root";
        return Err(Error::user(cause));
    }
    let how = match cx.options.no_pivot {
        _ if !cx.namespaces.has(NsKind::Mount) => RootChange::Chroot,
        true => RootChange::Move,
        false => RootChange::Pivot,
    };
    plan.child(OWN, Step::PivotRoot { how, propagation });
    if cx.spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly) == Some(true) {
        plan.child(At::field("root.readonly"), Step::ReadOnly(CString::default()));
    }
    Ok(())
}

fn absolute(path: &str, at: At) -> Result<CString> {
    if !path.starts_with('/') {
        return Err(Error::user(format!("{at}: {path:?} is no absolute path")));
    }
    inside(Path::new(path), at)
}

/// Sorted: the file's order is lost in parsing, and a plan is to be the same each time.
fn sysctls(cx: &Topic<'_>, plan: &mut Plan) -> Result<()> {
    let mut all: Vec<_> = cx.linux.sysctl().iter().flatten().collect();
    all.sort_unstable();
    let at = At::field("linux.sysctl");
    for (key, value) in all {
        let path = sysctl_path(key, |kind| cx.namespaces.has(kind))
            .map_err(|cause| Error::user(cause).doing(at.to_string()))?;
        if value.contains('\n') {
            return Err(Error::user(format!("{at}: {key}: the value holds a line break")));
        }
        plan.child(at, Step::Sysctl { path: cstring(path, at)?, value: cstring(value, at)? });
    }
    Ok(())
}

const IPC_KEYS: [&str; 8] =
    ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];

/// The path of a key below /proc/sys, if a namespace of the container's own holds its value. As
/// sysctl(8) reads keys, the first separator tells which of `.` and `/` separates.
fn sysctl_path(key: &str, own: impl Fn(NsKind) -> bool) -> std::result::Result<String, String> {
    let separator = key.find(['.', '/']).and_then(|at| key.as_bytes().get(at)).copied();
    let separator = char::from(separator.unwrap_or(b'.'));
    let parts: Vec<&str> = key.split(separator).collect();
    let plain = |part: &&str| {
        !matches!(*part, "" | "." | "..")
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-.@:".contains(c))
    };
    if !parts.iter().all(plain) {
        return Err(format!("{key:?} is no sysctl"));
    }
    let kind = match parts.as_slice() {
        ["net", _, ..] => NsKind::Network,
        ["fs", "mqueue", _, ..] => NsKind::Ipc,
        ["kernel", name] if IPC_KEYS.contains(name) => NsKind::Ipc,
        ["kernel", "domainname"] => NsKind::Uts,
        ["user", _] => NsKind::User,
        ["kernel", "hostname"] => return Err(format!("{key:?}: use the hostname property")),
        _ => return Err(format!("{key:?} is not in a separate kernel namespace")),
    };
    if !own(kind) {
        let kind = kind.proc_name();
        return Err(format!("{key:?} is not allowed without a private {kind} namespace"));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaced_sysctls_pass() {
        let all = |_| true;
        let good = [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
            ("kernel.shmmax", "kernel/shmmax"),
            ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
            ("user.max_user_namespaces", "user/max_user_namespaces"),
        ];
        for (key, path) in good {
            assert_eq!(sysctl_path(key, all).as_deref(), Ok(path));
            assert!(sysctl_path(key, |_| false).is_err(), "{key}");
        }
        let bad = [
            "kernel.core_pattern",
            "kernel.hostname",
            "net",
            "net/../kernel/core_pattern",
            "net..ipv4",
            "net.ipv4/../../kernel/core_pattern",
            "net/",
            "",
            "/net/a",
            "vm.swappiness",
        ];
        for key in bad {
            assert!(sysctl_path(key, all).is_err(), "{key}");
        }
    }
}
