//! Containers, and what they share: names and host ports.

use super::super::cause::Causes;
use super::super::quantity::Quantity;
use super::{handlers, names, references, security};
use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec, ResourceRequirements};
use std::collections::BTreeSet;
use std::fmt::Display;

/// Checks the containers of `spec`, whose volumes are `volumes`.
pub fn validate(causes: &mut Causes, spec: &PodSpec, volumes: &BTreeSet<&str>) {
    if spec.containers.is_empty() {
        causes.required("spec.containers");
    }
    // Regular and init containers share one set of names.
    let mut known = BTreeSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let path = format!("spec.containers[{index}]");
        name(causes, &path, container, &mut known);
        one(causes, &path, container, (spec, volumes));
        handlers::validate(causes, &path, container, spec.termination_grace_period_seconds);
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let path = format!("spec.initContainers[{index}]");
        name(causes, &path, container, &mut known);
        one(causes, &path, container, (spec, volumes));
        if container.restart_policy.as_deref() == Some("Always") {
            handlers::validate(causes, &path, container, spec.termination_grace_period_seconds);
        } else {
            handlers::forbid(causes, &path, container);
        }
    }
    host_ports(causes, spec);
}

/// What regular and init containers have in common.
fn one(
    causes: &mut Causes,
    path: &str,
    container: &Container,
    (spec, volumes): (&PodSpec, &BTreeSet<&str>),
) {
    restarts(causes, path, container);
    image(causes, path, container);
    ports(causes, path, container.ports.as_deref().unwrap_or_default());
    references::environment(causes, path, container);
    super::volumes::mounts(causes, path, container, volumes);
    let policy = container.termination_message_policy.as_deref().unwrap_or_default();
    let policies = ["FallbackToLogsOnError", "File"];
    causes.one_of(format_args!("{path}.terminationMessagePolicy"), policy, &policies);
    if let Some(requirements) = &container.resources {
        resources(causes, &format!("{path}.resources"), requirements);
    }
    if let Some(context) = &container.security_context {
        security::container(causes, &format!("{path}.securityContext"), context, spec);
    }
}

/// Its own restart policy, and the rules that go before it.
fn restarts(causes: &mut Causes, path: &str, container: &Container) {
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    match container.restart_policy.as_deref().filter(|policy| !policy.is_empty()) {
        Some(policy) => {
            let policies = ["Always", "Never", "OnFailure"];
            causes.one_of(format_args!("{path}.restartPolicy"), policy, &policies);
        }
        None if !rules.is_empty() => {
            let why = "must specify restartPolicy when restart rules are used";
            causes.required_because(format_args!("{path}.restartPolicy"), why);
        }
        None => {}
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("{path}.restartPolicyRules[{index}]");
        let actions = ["Restart", "RestartAllContainers"];
        causes.one_of(format_args!("{path}.action"), &rule.action, &actions);
        match &rule.exit_codes {
            Some(codes) => {
                let path = format_args!("{path}.exitCodes.operator");
                causes.one_of(path, &codes.operator, &["In", "NotIn"]);
            }
            None => causes.required(format_args!("{path}.exitCodes")),
        }
    }
}

fn name<'a>(
    causes: &mut Causes,
    path: &str,
    container: &'a Container,
    known: &mut BTreeSet<&'a str>,
) {
    let name = container.name.as_str();
    if name.is_empty() {
        return causes.required(format_args!("{path}.name"));
    }
    for why in names::dns_label(name) {
        causes.invalid(format_args!("{path}.name"), name, why);
    }
    if !known.insert(name) {
        causes.duplicate(format_args!("{path}.name"), name);
    }
}

fn image(causes: &mut Causes, path: &str, container: &Container) {
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        causes.required(format_args!("{path}.image"));
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        causes.invalid(format_args!("{path}.image"), image, why);
    }
    let policy = container.image_pull_policy.as_deref().unwrap_or_default();
    let policies = ["Always", "IfNotPresent", "Never"];
    causes.one_of(format_args!("{path}.imagePullPolicy"), policy, &policies);
}

fn ports(causes: &mut Causes, path: &str, ports: &[ContainerPort]) {
    let mut known = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let wrong = names::port_name(name);
            if wrong.is_empty() && !known.insert(name) {
                causes.duplicate(format_args!("{path}.name"), name);
            }
            for why in wrong {
                causes.invalid(format_args!("{path}.name"), name, why);
            }
        }
        match port.container_port {
            0 => causes.required(format_args!("{path}.containerPort")),
            number => port_number(causes, format_args!("{path}.containerPort"), number),
        }
        match port.host_port {
            None | Some(0) => {}
            Some(number) => port_number(causes, format_args!("{path}.hostPort"), number),
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        causes.one_of(format_args!("{path}.protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        let ip = port.host_ip.as_deref().unwrap_or_default();
        if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.invalid(format_args!("{path}.hostIP"), ip, why);
        }
    }
}

/// A port by number.
pub fn port_number(causes: &mut Causes, path: impl Display, number: i32) {
    if let Some(why) = names::port_number(number) {
        causes.invalid_number(path, number, why);
    }
}

/// Across all containers: each host port once, and on the host's network the port itself.
fn host_ports(causes: &mut Causes, spec: &PodSpec) {
    let mut known = BTreeSet::new();
    for (at, container) in spec.containers.iter().enumerate() {
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let path = format!("spec.containers[{at}].ports[{index}]");
            let host_port = port.host_port.unwrap_or(0);
            let protocol = port.protocol.as_deref().unwrap_or_default();
            let ip = port.host_ip.as_deref().unwrap_or_default();
            let taken = format!("{protocol}/{ip}/{host_port}");
            if host_port != 0 && !known.insert(taken.clone()) {
                causes.duplicate(format_args!("{path}.hostPort"), &taken);
            }
            if spec.host_network == Some(true) && host_port != port.container_port {
                let why = "must match `hostPort` when `hostNetwork` is true";
                let path = format_args!("{path}.containerPort");
                causes.invalid_number(path, port.container_port, why);
            }
        }
    }
}

/// Checks `resources` of a container or a pod.
pub fn resources(causes: &mut Causes, path: &str, requirements: &ResourceRequirements) {
    let read = |text: &str| Quantity::parse(text).unwrap_or(super::super::quantity::ZERO);
    let limits = requirements.limits.as_ref();
    let lists = [("limits", limits), ("requests", requirements.requests.as_ref())];
    for (list, quantities) in lists {
        for (name, quantity) in quantities.into_iter().flatten() {
            let value = read(&quantity.0);
            if value.is_negative() {
                let path = format_args!("{path}.{list}[{name}]");
                causes.invalid(path, &value.to_string(), "must be greater than or equal to 0");
            }
            let limit = limits.and_then(|limits| limits.get(name)).map(|limit| read(&limit.0));
            if let Some(limit) = limit.filter(|limit| value > *limit) {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                causes.invalid(format_args!("{path}.requests"), &value.to_string(), why);
            }
        }
    }
    huge_pages(causes, path, requirements);
}

/// Huge pages are not overcommitted, and come with something else.
fn huge_pages(causes: &mut Causes, path: &str, requirements: &ResourceRequirements) {
    let all = [&requirements.limits, &requirements.requests];
    let names: BTreeSet<&str> =
        all.into_iter().flatten().flatten().map(|(name, _)| name.as_str()).collect();
    if names.iter().any(|name| name.starts_with("hugepages-"))
        && !names.contains("cpu")
        && !names.contains("memory")
    {
        causes.forbidden(path, "HugePages require cpu or memory");
    }
}

/// A user or group of a security context.
pub fn id(causes: &mut Causes, path: impl Display, id: Option<i64>) {
    if let Some(id) = id
        && let Some(why) = names::id_number(id)
    {
        causes.invalid_number(path, id, why);
    }
}
