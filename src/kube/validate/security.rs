//! Security contexts of pods and containers.

use super::super::cause::Causes;
use super::{containers, volumes};
use k8s_openapi::api::core::v1::{
    AppArmorProfile, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext, Sysctl,
};
use std::collections::BTreeSet;

const MAX_SYSCTL: usize = 253;

/// Checks that of the pod.
pub fn pod(causes: &mut Causes, context: &PodSecurityContext) {
    let path = "spec.securityContext";
    let ids = [
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
        ("fsGroup", context.fs_group),
    ];
    for (field, id) in ids {
        containers::id(causes, format_args!("{path}.{field}"), id);
    }
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        containers::id(causes, format_args!("{path}.supplementalGroups[{index}]"), Some(*group));
    }
    if let Some(policy) = context.fs_group_change_policy.as_deref() {
        let policies = ["Always", "OnRootMismatch"];
        causes.one_of(format_args!("{path}.fsGroupChangePolicy"), policy, &policies);
    }
    if let Some(policy) = context.supplemental_groups_policy.as_deref() {
        let policies = ["Merge", "Strict"];
        causes.one_of(format_args!("{path}.supplementalGroupsPolicy"), policy, &policies);
    }
    sysctls(causes, context.sysctls.as_deref().unwrap_or_default());
    if let Some(profile) = &context.seccomp_profile {
        seccomp(causes, &format!("{path}.seccompProfile"), profile);
    }
    if let Some(profile) = &context.app_armor_profile {
        app_armor(causes, &format!("{path}.appArmorProfile"), profile);
    }
}

/// The sysctls of a pod's own namespaces that can do no harm to other pods; the kubelet lets in no
/// others.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Why a kubelet does not run a pod with these sysctls (`SysctlForbidden`).
pub fn forbidden_sysctls(spec: &PodSpec) -> Vec<String> {
    let context = spec.security_context.as_ref();
    let all = context.and_then(|context| context.sysctls.as_deref()).unwrap_or_default();
    all.iter().filter_map(|sysctl| forbidden_sysctl(&sysctl.name, spec)).collect()
}

fn forbidden_sysctl(name: &str, spec: &PodSpec) -> Option<String> {
    let name = name.replace('/', ".");
    if !SAFE_SYSCTLS.contains(&name.as_str()) {
        return Some(format!("forbidden sysctl: {name:?} not allowlisted"));
    }
    let (host, what) = match name.starts_with("net.") {
        true => (spec.host_network, "net"),
        false => (spec.host_ipc, "ipc"),
    };
    (host == Some(true))
        .then(|| format!("forbidden sysctl: {name:?} not allowed with host {what} enabled"))
}

fn sysctls(causes: &mut Causes, sysctls: &[Sysctl]) {
    let mut known = BTreeSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let path = format!("spec.securityContext.sysctls[{index}].name");
        let name = sysctl.name.as_str();
        if name.is_empty() {
            causes.required(path);
        } else if !is_sysctl(name) {
            let why = format!(
                "must have at most {MAX_SYSCTL} characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            causes.invalid(path, name, why);
        } else if !known.insert(name.replace('/', ".")) {
            causes.duplicate(path, name);
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(|b| lower(*b))
            && bytes.last().is_some_and(|b| lower(*b))
            && bytes.iter().all(|b| lower(*b) || matches!(b, b'-' | b'_'))
    };
    name.len() <= MAX_SYSCTL && name.split(['.', '/']).all(part)
}

/// Checks that of a container of `spec`.
pub fn container(causes: &mut Causes, path: &str, context: &SecurityContext, spec: &PodSpec) {
    containers::id(causes, format_args!("{path}.runAsUser"), context.run_as_user);
    containers::id(causes, format_args!("{path}.runAsGroup"), context.run_as_group);
    if let Some(how) = context.proc_mount.as_deref() {
        let path = format!("{path}.procMount");
        causes.one_of(&path, how, &["Default", "Unmasked"]);
        if how == "Unmasked" && spec.host_users != Some(false) {
            causes.invalid(path, how, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    if let Some(profile) = &context.seccomp_profile {
        seccomp(causes, &format!("{path}.seccompProfile"), profile);
    }
    if let Some(profile) = &context.app_armor_profile {
        app_armor(causes, &format!("{path}.appArmorProfile"), profile);
    }
    if context.allow_privilege_escalation == Some(false) {
        escalation(causes, path, context);
    }
}

fn escalation(causes: &mut Causes, path: &str, context: &SecurityContext) {
    let added =
        context.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
    let contradictions = [
        (context.privileged == Some(true), "`privileged` to true"),
        (added.into_iter().any(|name| name == "CAP_SYS_ADMIN"), "`capabilities.Add` CAP_SYS_ADMIN"),
    ];
    for (_, what) in contradictions.iter().filter(|(contradicts, _)| *contradicts) {
        let value = serde_json::to_string(context).unwrap_or_default();
        let why = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
        causes.invalid_number(path, value, why);
    }
}

fn app_armor(causes: &mut Causes, path: &str, profile: &AppArmorProfile) {
    const MAX_NAME: usize = 4095;
    let name = format!("{path}.localhostProfile");
    match (profile.type_.as_str(), profile.localhost_profile.as_deref()) {
        ("", _) => {
            let why = "type is required when appArmorProfile is set";
            return causes.required_because(format_args!("{path}.type"), why);
        }
        ("Localhost", None | Some("")) => {
            causes.required_because(name, "must be set when AppArmor type is Localhost");
        }
        ("Localhost", Some(given)) if given.trim() != given => {
            causes.invalid(name, given, "must not be padded with whitespace");
        }
        ("Localhost", Some(given)) if given.len() > MAX_NAME => {
            let cause = format!("{name}: Too long: may not be more than {MAX_NAME} bytes");
            causes.0.push(cause);
        }
        ("Localhost", Some(_)) | (_, None) => {}
        (_, Some(given)) => {
            causes.invalid(name, given, "can only be set when AppArmor type is Localhost");
        }
    }
    let kinds = ["Localhost", "RuntimeDefault", "Unconfined"];
    causes.one_of(format_args!("{path}.type"), &profile.type_, &kinds);
}

fn seccomp(causes: &mut Causes, path: &str, profile: &SeccompProfile) {
    let kind = profile.type_.as_str();
    let local = profile.localhost_profile.as_deref();
    let file = format!("{path}.localhostProfile");
    match (kind, local) {
        ("", _) => {
            let why = "type is required when seccompProfile is set";
            return causes.required_because(format_args!("{path}.type"), why);
        }
        ("Localhost", None | Some("")) => {
            causes.required_because(file, "must be set when seccomp type is Localhost");
        }
        ("Localhost", Some(name)) => volumes::descending(causes, &file, name),
        (_, Some(name)) => {
            causes.invalid(file, name, "can only be set when seccomp type is Localhost");
        }
        _ => {}
    }
    let kinds = ["Localhost", "RuntimeDefault", "Unconfined"];
    causes.one_of(format_args!("{path}.type"), kind, &kinds);
}
