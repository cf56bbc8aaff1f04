//! Probes and lifecycle hooks.

use super::super::cause::Causes;
use super::{containers, names};
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Checks those of `container`, which is given `grace` seconds to end.
pub fn validate(causes: &mut Causes, path: &str, container: &Container, grace: Option<i64>) {
    if let Some(lifecycle) = &container.lifecycle {
        let hooks = [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)];
        for (name, found) in hooks {
            if let Some(found) = found {
                hook(causes, &format!("{path}.lifecycle.{name}"), found, grace.unwrap_or(30));
            }
        }
    }
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    for (name, found) in probes {
        if let Some(found) = found {
            probe(causes, &format!("{path}.{name}"), found, name == "readinessProbe");
        }
    }
}

/// Init containers that run to their end have neither probes nor hooks.
pub fn forbid(causes: &mut Causes, path: &str, container: &Container) {
    let given = [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ];
    for (field, _) in given.iter().filter(|(_, given)| *given) {
        let why = "may not be set for init containers without restartPolicy=Always";
        causes.forbidden(format_args!("{path}.{field}"), why);
    }
}

fn hook(causes: &mut Causes, path: &str, hook: &LifecycleHandler, grace: i64) {
    let given = [
        ("exec", hook.exec.is_some()),
        ("httpGet", hook.http_get.is_some()),
        ("tcpSocket", hook.tcp_socket.is_some()),
        ("sleep", hook.sleep.is_some()),
    ];
    if let Some(sleep) = &hook.sleep
        && !(0..=grace).contains(&sleep.seconds)
    {
        let why =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        causes.invalid_number(format_args!("{path}.sleep"), sleep.seconds, why);
    }
    one_handler(causes, path, &given);
    actions(causes, path, hook.exec.as_ref(), hook.http_get.as_ref());
    if let Some(socket) = &hook.tcp_socket {
        port(causes, &format!("{path}.tcpSocket.port"), &socket.port);
    }
}

fn probe(causes: &mut Causes, path: &str, probe: &Probe, readiness: bool) {
    let given = [
        ("exec", probe.exec.is_some()),
        ("httpGet", probe.http_get.is_some()),
        ("tcpSocket", probe.tcp_socket.is_some()),
        ("grpc", probe.grpc.is_some()),
    ];
    one_handler(causes, path, &given);
    actions(causes, path, probe.exec.as_ref(), probe.http_get.as_ref());
    if let Some(socket) = &probe.tcp_socket {
        port(causes, &format!("{path}.tcpSocket.port"), &socket.port);
    }
    if let Some(grpc) = &probe.grpc {
        containers::port_number(causes, format_args!("{path}.grpc.port"), grpc.port);
    }
    let numbers = [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ];
    for (field, number) in numbers {
        if let Some(number) = number.filter(|number| *number < 0) {
            let why = "must be greater than or equal to 0";
            causes.invalid_number(format_args!("{path}.{field}"), number, why);
        }
    }
    if let Some(seconds) = probe.termination_grace_period_seconds {
        let path = format!("{path}.terminationGracePeriodSeconds");
        if readiness {
            causes.invalid_number(path, seconds, "must not be set for readinessProbes");
        } else if seconds <= 0 {
            causes.invalid_number(path, seconds, "must be greater than 0");
        }
    }
    let successes = probe.success_threshold.unwrap_or(1);
    if !readiness && successes != 1 {
        causes.invalid_number(format_args!("{path}.successThreshold"), successes, "must be 1");
    }
}

fn one_handler(causes: &mut Causes, path: &str, given: &[(&str, bool)]) {
    let mut given = given.iter().filter(|(_, given)| *given);
    if given.next().is_none() {
        causes.required_because(path, "must specify a handler type");
    }
    for (name, _) in given {
        let why = "may not specify more than 1 handler type";
        causes.forbidden(format_args!("{path}.{name}"), why);
    }
}

fn actions(
    causes: &mut Causes,
    path: &str,
    exec: Option<&ExecAction>,
    http_get: Option<&HTTPGetAction>,
) {
    if exec.is_some_and(|exec| exec.command.as_ref().is_none_or(Vec::is_empty)) {
        causes.required(format_args!("{path}.exec.command"));
    }
    if let Some(action) = http_get {
        http(causes, &format!("{path}.httpGet"), action);
    }
}

fn http(causes: &mut Causes, path: &str, action: &HTTPGetAction) {
    port(causes, &format!("{path}.port"), &action.port);
    let scheme = action.scheme.as_deref().unwrap_or_default();
    causes.one_of(format_args!("{path}.scheme"), scheme, &["HTTP", "HTTPS"]);
    for header in action.http_headers.iter().flatten() {
        if let Some(why) = names::header_name(&header.name) {
            causes.invalid(format_args!("{path}.httpHeaders"), &header.name, why);
        }
    }
}

fn port(causes: &mut Causes, path: &str, port: &IntOrString) {
    match port {
        IntOrString::Int(number) => containers::port_number(causes, path, *number),
        IntOrString::String(name) => {
            for why in names::port_name(name) {
                causes.invalid(path, name, why);
            }
        }
    }
}
