//! What the API server fills in before it validates and stores a Pod, its admission included
//! (service account, tolerations, priority).

mod volumes;

use super::Pod;
use super::quantity::{Quantity, ZERO};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EphemeralContainer, HTTPGetAction, LifecycleHandler, PodSpec, Probe,
    Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

/// Fills in the API's defaults; idempotent.
pub fn set_defaults(pod: &mut Pod) {
    pod.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    let spec = pod.spec.get_or_insert_default();
    let host_network = spec.host_network.unwrap_or(false);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        container_defaults(container, host_network);
    }
    pod_resource_defaults(spec);
    spec.volumes.iter_mut().flatten().for_each(volumes::defaults);
    fill(&mut spec.dns_policy, "ClusterFirst");
    fill(&mut spec.restart_policy, "Always");
    fill(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    spec.security_context.get_or_insert_default();
    admission_defaults(spec);
}

fn admission_defaults(spec: &mut PodSpec) {
    let account = spec.service_account_name.take().or_else(|| spec.service_account.take());
    let account = account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned());
    spec.service_account = Some(account.clone());
    spec.service_account_name = Some(account);
    fill(&mut spec.preemption_policy, "PreemptLowerPriority");
    spec.priority.get_or_insert(0);
    let tolerations = spec.tolerations.get_or_insert_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = |t: &Toleration| {
            t.key.as_deref().is_none_or(|k| k == key || k.is_empty())
                && t.effect.as_deref().is_none_or(|e| e == "NoExecute" || e.is_empty())
        };
        if !tolerations.iter().any(tolerated) {
            tolerations.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(300),
                value: None,
            });
        }
    }
}

/// `spec.resources`: what is not requested for the pod as a whole is what its containers request
/// together, or its own limit.
fn pod_resource_defaults(spec: &mut PodSpec) {
    let requested = |name: &str| -> Quantity {
        let of = |container: &Container| {
            let requests = container.resources.as_ref()?.requests.as_ref()?;
            Quantity::parse(&requests.get(name)?.0).ok()
        };
        spec.containers.iter().filter_map(of).sum()
    };
    let sums = ["cpu", "memory"].map(|name| (name, requested(name)));
    let Some(resources) = &mut spec.resources else { return };
    let limits = resources.limits.clone().unwrap_or_default();
    if limits.is_empty() && resources.requests.is_none() {
        return;
    }
    let requests = resources.requests.get_or_insert_default();
    for (name, sum) in sums {
        if sum > ZERO {
            requests.entry(name.into()).or_insert_with(|| ApiQuantity(sum.to_string()));
        }
    }
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// Fills in the API's defaults of an ephemeral container.
pub fn set_ephemeral_defaults(container: &mut EphemeralContainer) {
    fill(&mut container.termination_message_path, "/dev/termination-log");
    fill(&mut container.termination_message_policy, "File");
    let image = container.image.as_deref().unwrap_or_default();
    fill(&mut container.image_pull_policy, pull_policy(image));
    container.resources.get_or_insert_default();
}

fn container_defaults(container: &mut Container, host_network: bool) {
    fill(&mut container.termination_message_path, "/dev/termination-log");
    fill(&mut container.termination_message_policy, "File");
    let image = container.image.as_deref().unwrap_or_default();
    fill(&mut container.image_pull_policy, pull_policy(image));
    for port in container.ports.iter_mut().flatten() {
        fill(&mut port.protocol, "TCP");
        if host_network && port.host_port.unwrap_or(0) == 0 {
            port.host_port = Some(port.container_port);
        }
    }
    container.env.iter_mut().flatten().for_each(env_defaults);
    let resources = container.resources.get_or_insert_default();
    if let Some(limits) = &resources.limits {
        let requests = resources.requests.get_or_insert_default();
        for (name, limit) in limits {
            requests.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
    let probes = [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ];
    probes.into_iter().flatten().for_each(probe_defaults);
    if let Some(lifecycle) = &mut container.lifecycle {
        let hooks = [&mut lifecycle.post_start, &mut lifecycle.pre_stop];
        hooks.into_iter().flatten().for_each(hook_defaults);
    }
}

fn env_defaults(variable: &mut EnvVar) {
    let Some(source) = &mut variable.value_from else { return };
    if let Some(field) = &mut source.field_ref {
        fill(&mut field.api_version, "v1");
    }
    if let Some(resource) = &mut source.resource_field_ref {
        resource.divisor.get_or_insert_with(|| ApiQuantity("0".into()));
    }
}

/// `Always` for the tag `latest`, written or implied; a digest or any other tag need not be asked
/// for again.
pub fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or_default();
    match (last.contains('@'), last.split_once(':')) {
        (false, None | Some((_, "latest"))) => "Always",
        _ => "IfNotPresent",
    }
}

fn probe_defaults(probe: &mut Probe) {
    fill_number(&mut probe.timeout_seconds, 1);
    fill_number(&mut probe.period_seconds, 10);
    fill_number(&mut probe.success_threshold, 1);
    fill_number(&mut probe.failure_threshold, 3);
    probe.http_get.iter_mut().for_each(http_defaults);
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn hook_defaults(hook: &mut LifecycleHandler) {
    hook.http_get.iter_mut().for_each(http_defaults);
}

fn http_defaults(action: &mut HTTPGetAction) {
    fill(&mut action.path, "/");
    fill(&mut action.scheme, "HTTP");
}

fn fill(field: &mut Option<String>, value: &str) {
    if field.as_deref().is_none_or(str::is_empty) {
        *field = Some(value.to_owned());
    }
}

fn fill_number(field: &mut Option<i32>, value: i32) {
    if field.unwrap_or(0) == 0 {
        *field = Some(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pulls_always_what_may_have_changed() {
        let cases = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.15.2", "IfNotPresent"),
            ("reg:5000/a/nginx", "Always"),
            ("reg:5000/a/nginx:2", "IfNotPresent"),
            ("nginx@sha256:00", "IfNotPresent"),
            ("nginx:latest@sha256:00", "IfNotPresent"),
        ];
        for (image, policy) in cases {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn fills_in_what_the_server_does() {
        let mut pod: Pod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
            "spec": {
                "hostNetwork": true,
                "containers": [{
                    "name": "a", "image": "nginx:1",
                    "ports": [{"containerPort": 80}],
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
                    "livenessProbe": {"httpGet": {"port": 80}, "timeoutSeconds": 0},
                    "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
                }],
                "volumes": [{"name": "v"}, {"name": "h", "hostPath": {"path": "/x"}}],
            },
        }))
        .unwrap();
        set_defaults(&mut pod);
        let once = pod.clone();
        set_defaults(&mut pod);
        assert_eq!(pod, once, "defaulting is idempotent");
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "hostNetwork": true, "dnsPolicy": "ClusterFirst", "restartPolicy": "Always",
                "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30,
                "enableServiceLinks": true, "securityContext": {}, "serviceAccount": "default",
                "serviceAccountName": "default", "preemptionPolicy": "PreemptLowerPriority",
                "priority": 0,
                "tolerations": [
                    {"key": "node.kubernetes.io/not-ready", "operator": "Exists",
                     "effect": "NoExecute", "tolerationSeconds": 300},
                    {"key": "node.kubernetes.io/unreachable", "operator": "Exists",
                     "effect": "NoExecute", "tolerationSeconds": 300},
                ],
                "containers": [{
                    "name": "a", "image": "nginx:1", "imagePullPolicy": "IfNotPresent",
                    "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"},
                                  "requests": {"cpu": "500m", "memory": "1Gi"}},
                    "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1,
                        "failureThreshold": 3},
                    "lifecycle": {"preStop": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}}},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                }],
                "volumes": [{"name": "v", "emptyDir": {}},
                            {"name": "h", "hostPath": {"path": "/x", "type": ""}}],
            },
        });
        assert_eq!(serde_json::to_value(&pod).unwrap(), expected);
    }
}
