//! The containers of a pod.

use super::{Lines, time};
use crate::kube::{Pod, Quantity};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerState, ContainerStatus, EnvFromSource, EnvVar,
    HTTPGetAction, Probe, ResourceFieldSelector, ResourceRequirements, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::fmt::Write as _;

/// A list of containers with the statuses that are known of them.
pub fn write(
    lines: &mut Lines,
    title: &str,
    pod: &Pod,
    (containers, statuses): (&[Container], &[ContainerStatus]),
) {
    let none = if containers.is_empty() { " <none>" } else { "" };
    lines.add(0, format_args!("{title}:{none}"));
    for container in containers {
        let status = statuses.iter().find(|status| status.name == container.name);
        image_and_ports(lines, container, status);
        for (title, words) in [("Command", &container.command), ("Args", &container.args)] {
            let words = words.as_deref().unwrap_or_default();
            if !words.is_empty() {
                lines.add(2, format_args!("{title}:"));
            }
            words.iter().flat_map(|word| word.split('\n')).for_each(|line| lines.add(3, line));
        }
        if let Some(status) = status {
            states(lines, status);
        }
        if let Some(requirements) = &container.resources {
            resources(lines, requirements);
        }
        let probes = [
            ("Liveness", &container.liveness_probe),
            ("Readiness", &container.readiness_probe),
            ("Startup", &container.startup_probe),
        ];
        for (title, found) in probes {
            if let Some(found) = found {
                lines.add(2, format_args!("{title}:\t{}", probe(found)));
            }
        }
        environment(lines, pod, container);
        mounts(lines, container.volume_mounts.as_deref().unwrap_or_default());
    }
}

fn image_and_ports(lines: &mut Lines, container: &Container, status: Option<&ContainerStatus>) {
    lines.add(1, format_args!("{}:", container.name));
    if let Some(status) = status {
        let id = status.container_id.as_deref().unwrap_or_default();
        lines.add(2, format_args!("Container ID:\t{id}"));
    }
    lines.add(2, format_args!("Image:\t{}", container.image.as_deref().unwrap_or_default()));
    if let Some(status) = status {
        lines.add(2, format_args!("Image ID:\t{}", status.image_id));
    }
    let ports = container.ports.as_deref().unwrap_or_default();
    let join = |number: fn(&ContainerPort) -> i32| {
        let ports = ports.iter().map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or_default();
            match port.name.as_deref() {
                None | Some("") => format!("{}/{protocol}", number(port)),
                Some(name) => format!("{}/{protocol} ({name})", number(port)),
            }
        });
        match ports.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "<none>".to_owned(),
            ports => ports,
        }
    };
    let plural = if ports.len() > 1 { "s" } else { "" };
    lines.add(2, format_args!("Port{plural}:\t{}", join(|port| port.container_port)));
    lines.add(2, format_args!("Host Port{plural}:\t{}", join(|port| port.host_port.unwrap_or(0))));
    let profile = container.security_context.as_ref().and_then(|c| c.seccomp_profile.as_ref());
    if let Some(profile) = profile {
        lines.add(2, format_args!("SeccompProfile:\t{}", profile.type_));
        if let Some(path) = &profile.localhost_profile {
            lines.add(3, format_args!("LocalhostProfile:\t{path}"));
        }
    }
}

fn states(lines: &mut Lines, status: &ContainerStatus) {
    let nothing = ContainerState::default();
    state(lines, "State", status.state.as_ref().unwrap_or(&nothing));
    if let Some(last) = status.last_state.as_ref().filter(|last| last.terminated.is_some()) {
        state(lines, "Last State", last);
    }
    let ready = if status.ready { "True" } else { "False" };
    lines.add(2, format_args!("Ready:\t{ready}"));
    lines.add(2, format_args!("Restart Count:\t{}", status.restart_count));
}

fn state(lines: &mut Lines, title: &str, state: &ContainerState) {
    // Go prints the time that was never set.
    let at = |at: &Option<Time>| {
        at.as_ref().map_or_else(|| "Mon, 01 Jan 0001 00:00:00 +0000".to_owned(), time)
    };
    if let Some(running) = &state.running {
        lines.add(2, format_args!("{title}:\tRunning"));
        lines.add(3, format_args!("Started:\t{}", at(&running.started_at)));
    } else if let Some(end) = &state.terminated {
        lines.add(2, format_args!("{title}:\tTerminated"));
        for (name, text) in [("Reason", &end.reason), ("Message", &end.message)] {
            if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
                lines.add(3, format_args!("{name}:\t{text}"));
            }
        }
        lines.add(3, format_args!("Exit Code:\t{}", end.exit_code));
        if let Some(signal) = end.signal.filter(|signal| *signal > 0) {
            lines.add(3, format_args!("Signal:\t{signal}"));
        }
        lines.add(3, format_args!("Started:\t{}", at(&end.started_at)));
        lines.add(3, format_args!("Finished:\t{}", at(&end.finished_at)));
    } else {
        lines.add(2, format_args!("{title}:\tWaiting"));
        let reason = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
            lines.add(3, format_args!("Reason:\t{reason}"));
        }
    }
}

fn resources(lines: &mut Lines, requirements: &ResourceRequirements) {
    let lists = [("Limits", &requirements.limits), ("Requests", &requirements.requests)];
    for (title, list) in lists {
        let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else { continue };
        lines.add(2, format_args!("{title}:"));
        for (name, quantity) in list {
            lines.add(3, format_args!("{name}:\t{}", quantity.0));
        }
    }
}

fn probe(probe: &Probe) -> String {
    let handler = if let Some(exec) = &probe.exec {
        format!("exec [{}]", exec.command.as_deref().unwrap_or_default().join(" "))
    } else if let Some(http) = &probe.http_get {
        format!("http-get {}", url(http))
    } else if let Some(tcp) = &probe.tcp_socket {
        format!("tcp-socket {}:{}", tcp.host.as_deref().unwrap_or_default(), port(&tcp.port))
    } else if let Some(grpc) = &probe.grpc {
        format!("grpc <pod>:{} {}", grpc.port, grpc.service.as_deref().unwrap_or_default())
    } else {
        "unknown".to_owned()
    };
    let number = |number: Option<i32>| number.unwrap_or(0);
    format!(
        "{handler} delay={}s timeout={}s period={}s #success={} #failure={}",
        number(probe.initial_delay_seconds),
        number(probe.timeout_seconds),
        number(probe.period_seconds),
        number(probe.success_threshold),
        number(probe.failure_threshold),
    )
}

fn url(http: &HTTPGetAction) -> String {
    let scheme = http.scheme.as_deref().unwrap_or_default().to_lowercase();
    let host = http.host.as_deref().unwrap_or_default();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let path = http.path.as_deref().unwrap_or_default();
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{host}:{}{slash}{path}", port(&http.port))
}

fn port(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

fn environment(lines: &mut Lines, pod: &Pod, container: &Container) {
    let sources = container.env_from.as_deref().unwrap_or_default();
    if !sources.is_empty() {
        lines.add(2, "Environment Variables from:");
        sources.iter().for_each(|source| lines.add(3, from(source)));
    }
    let variables = container.env.as_deref().unwrap_or_default();
    let none = if variables.is_empty() { "\t<none>" } else { "" };
    lines.add(2, format_args!("Environment:{none}"));
    for variable in variables {
        let text = value(pod, container, variable);
        let mut values = text.split('\n');
        let first = values.next().unwrap_or_default();
        lines.add(3, format_args!("{}:\t{first}", variable.name));
        values.for_each(|line| lines.add(3, format_args!("\t{line}")));
    }
}

fn from(source: &EnvFromSource) -> String {
    let (kind, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
        (Some(map), _) => ("ConfigMap", map.name.as_str(), map.optional),
        (None, Some(secret)) => ("Secret", secret.name.as_str(), secret.optional),
        (None, None) => ("", "", None),
    };
    let prefix = match source.prefix.as_deref() {
        None | Some("") => String::new(),
        Some(prefix) => format!(" with prefix '{prefix}'"),
    };
    format!("{name}\t{kind}{prefix}\tOptional: {}", optional.unwrap_or(false))
}

fn value(pod: &Pod, container: &Container, variable: &EnvVar) -> String {
    let Some(source) = &variable.value_from else {
        return variable.value.clone().unwrap_or_default();
    };
    if let Some(field) = &source.field_ref {
        let version = field.api_version.as_deref().unwrap_or_default();
        let value = metadata_field(pod, &field.field_path);
        return format!("{value} ({version}:{})", field.field_path);
    }
    if let Some(field) = &source.resource_field_ref {
        return format!("{} ({})", resource(container, field), field.resource);
    }
    let (key, holder, name, optional) = match (&source.secret_key_ref, &source.config_map_key_ref) {
        (Some(key), _) => (&key.key, "in secret", &key.name, key.optional),
        (None, Some(key)) => (&key.key, "of config map", &key.name, key.optional),
        (None, None) => return String::new(),
    };
    let optional = optional.unwrap_or(false);
    format!("<set to the key '{key}' {holder} '{name}'>\tOptional: {optional}")
}

/// `limits.cpu` of the container as a multiple of the divisor, rounded up; 0 where it is not set.
pub fn resource(container: &Container, field: &ResourceFieldSelector) -> i64 {
    let resources = container.resources.as_ref();
    let (list, name) = field.resource.split_once('.').unwrap_or_default();
    let list = match list {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        _ => resources.and_then(|resources| resources.requests.as_ref()),
    };
    let read = |text: &str| Quantity::parse(text).map_or(0, Quantity::milli);
    let value = list.and_then(|list| list.get(name)).map_or(0, |text| read(&text.0));
    let divisor = field.divisor.as_ref().map_or(0, |text| read(&text.0));
    let divisor = if divisor == 0 { 1000 } else { divisor };
    value / divisor + i64::from(value % divisor != 0)
}

/// The value of a field that kubectl resolves itself.
fn metadata_field(pod: &Pod, path: &str) -> String {
    let field = match path {
        "metadata.name" => &pod.metadata.name,
        "metadata.namespace" => &pod.metadata.namespace,
        "metadata.uid" => &pod.metadata.uid,
        _ => &None,
    };
    field.clone().unwrap_or_default()
}

fn mounts(lines: &mut Lines, mounts: &[VolumeMount]) {
    let none = if mounts.is_empty() { "\t<none>" } else { "" };
    lines.add(2, format_args!("Mounts:{none}"));
    let mut sorted: Vec<&VolumeMount> = mounts.iter().collect();
    sorted.sort_by_key(|mount| mount.mount_path.as_str());
    for mount in sorted {
        let mut flags = String::from(if mount.read_only == Some(true) { "ro" } else { "rw" });
        if let Some(path) = mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
            // Writing to a String cannot fail.
            write!(flags, ",path={path:?}").unwrap_or_default();
        }
        lines.add(3, format_args!("{} from {} ({flags})", mount.mount_path, mount.name));
    }
}
