//! Names and addresses of a pod: host name, `hostAliases`, DNS.

use super::super::cause::Causes;
use super::names;
use k8s_openapi::api::core::v1::{PodDNSConfig, PodSpec};
use std::net::IpAddr;

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_LINE: usize = 2048;
const IP_WRONG: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// Checks what `spec` says about names.
pub fn validate(causes: &mut Causes, spec: &PodSpec) {
    let labels = [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)];
    for (field, name) in labels {
        let name = name.as_deref().filter(|name| !name.is_empty());
        for (name, why) in name
            .iter()
            .flat_map(|name| names::dns_label(name).into_iter().map(move |why| (name, why)))
        {
            causes.invalid(format_args!("spec.{field}"), name, why);
        }
    }
    if let Some(name) = spec.hostname_override.as_deref() {
        for why in names::dns_subdomain(name) {
            causes.invalid("spec.hostnameOverride", name, why);
        }
        if name.len() > 64 {
            causes.invalid("spec.hostnameOverride", name, "must be no more than 64 bytes");
        }
        if spec.set_hostname_as_fqdn == Some(true) {
            let why = "may not be specified when `hostnameOverride` is set";
            causes.forbidden("spec.setHostnameAsFQDN", why);
        }
        if spec.host_network == Some(true) {
            let why = "may not be specified when `hostNetwork` is true";
            causes.forbidden("spec.hostnameOverride", why);
        }
    }
    aliases(causes, spec);
    dns(causes, spec);
    if spec.host_pid == Some(true) && spec.share_process_namespace == Some(true) {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        causes.invalid_number("spec.shareProcessNamespace", true, why);
    }
}

fn aliases(causes: &mut Causes, spec: &PodSpec) {
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let path = format!("spec.hostAliases[{index}]");
        if alias.ip.parse::<IpAddr>().is_err() {
            causes.invalid(format_args!("{path}.ip"), &alias.ip, IP_WRONG);
        }
        for (index, name) in alias.hostnames.iter().flatten().enumerate() {
            for why in names::dns_subdomain(name) {
                causes.invalid(format_args!("{path}.hostnames[{index}]"), name, why);
            }
        }
    }
}

fn dns(causes: &mut Causes, spec: &PodSpec) {
    let policy = spec.dns_policy.as_deref().unwrap_or_default();
    let policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    causes.one_of("spec.dnsPolicy", policy, &policies);
    let config = spec.dns_config.as_ref();
    if policy == "None" {
        match config {
            None => {
                let why = "must provide `dnsConfig` when `dnsPolicy` is None";
                causes.required_because("spec.dnsConfig", why);
            }
            Some(config) if config.nameservers.as_ref().is_none_or(Vec::is_empty) => {
                let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
                causes.required_because("spec.dnsConfig.nameservers", why);
            }
            Some(_) => {}
        }
    }
    if let Some(config) = config {
        dns_config(causes, config);
    }
}

fn dns_config(causes: &mut Causes, config: &PodDNSConfig) {
    let path = "spec.dnsConfig";
    let list = |list: &[String]| serde_json::to_string(list).unwrap_or_default();
    let servers = config.nameservers.as_deref().unwrap_or_default();
    if servers.len() > MAX_NAMESERVERS {
        let why = format!("must not have more than {MAX_NAMESERVERS} nameservers");
        causes.invalid_number(format_args!("{path}.nameservers"), list(servers), why);
    }
    for (index, server) in servers.iter().enumerate() {
        if server.parse::<IpAddr>().is_err() {
            causes.invalid(format_args!("{path}.nameservers[{index}]"), server, IP_WRONG);
        }
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    if searches.len() > MAX_SEARCHES {
        let why = format!("must not have more than {MAX_SEARCHES} search paths");
        causes.invalid_number(format_args!("{path}.searches"), list(searches), why);
    }
    if searches.join(" ").len() > MAX_SEARCH_LINE {
        let why = format!(
            "must not have more than {MAX_SEARCH_LINE} characters (including spaces) in the \
             search list"
        );
        causes.invalid_number(format_args!("{path}.searches"), list(searches), why);
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| *search != ".") {
        let name = search.strip_suffix('.').unwrap_or(search);
        for why in names::dns_subdomain(name) {
            causes.invalid(format_args!("{path}.searches[{index}]"), name, why);
        }
    }
    for (index, option) in config.options.iter().flatten().enumerate() {
        if option.name.as_deref().unwrap_or_default().is_empty() {
            causes.required_because(format_args!("{path}.options[{index}]"), "must not be empty");
        }
    }
}
