//! What a pod is called: its host name and domain, and which of the host's namespaces it uses.

use crate::error::{Error, Result};
use crate::kube::Pod;
use k8s_openapi::api::core::v1::PodSpec;

/// The domain of a cluster that says nothing else.
const CLUSTER_DOMAIN: &str = "cluster.local";
/// What the kernel takes, uname(2).
const MAX_HOSTNAME: usize = 64;
/// A DNS label.
const MAX_LABEL: usize = 63;

/// The pod's host name, without its domain; on the host's network the node's.
pub fn hostname(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    if let Some(name) = spec.and_then(|spec| spec.hostname_override.as_deref()) {
        return name;
    }
    let node = spec.and_then(|spec| spec.node_name.as_deref()).filter(|_| is_on_host_network(pod));
    let own = spec.and_then(|spec| spec.hostname.as_deref()).filter(|name| !name.is_empty());
    let name = node.or(own).or(pod.metadata.name.as_deref()).unwrap_or_default();
    name.get(..MAX_LABEL).unwrap_or(name).trim_end_matches(['-', '.'])
}

/// The domain of a pod with a subdomain.
pub fn domain(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref().filter(|spec| spec.hostname_override.is_none())?;
    let subdomain = spec.subdomain.as_deref().filter(|name| !name.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    Some(format!("{subdomain}.{namespace}.svc.{CLUSTER_DOMAIN}"))
}

/// What the kernel is told: with `setHostnameAsFQDN` the domain too.
pub fn kernel_hostname(pod: &Pod) -> Result<String> {
    let hostname = hostname(pod);
    let as_fqdn = pod.spec.as_ref().and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    let Some(domain) = domain(pod).filter(|_| as_fqdn) else { return Ok(hostname.to_owned()) };
    let fqdn = format!("{hostname}.{domain}");
    if fqdn.len() > MAX_HOSTNAME {
        return Err(Error::user(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too \
             long ({MAX_HOSTNAME} characters is the max, {} characters requested)",
            fqdn.len()
        )));
    }
    Ok(fqdn)
}

/// `spec.hostNetwork`.
pub fn is_on_host_network(pod: &Pod) -> bool {
    flag(pod, |spec| spec.host_network)
}

/// `spec.hostPID`.
pub fn sees_host_processes(pod: &Pod) -> bool {
    flag(pod, |spec| spec.host_pid)
}

/// `spec.hostIPC`.
pub fn is_on_host_ipc(pod: &Pod) -> bool {
    flag(pod, |spec| spec.host_ipc)
}

/// `spec.shareProcessNamespace`.
pub fn shares_processes(pod: &Pod) -> bool {
    flag(pod, |spec| spec.share_process_namespace)
}

fn flag(pod: &Pod, of: impl Fn(&PodSpec) -> Option<bool>) -> bool {
    pod.spec.as_ref().and_then(of).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, spec: Value) -> Pod {
        let mut whole = json!({"containers": [], "nodeName": "node"});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let metadata = json!({"name": name, "namespace": "ns"});
        serde_json::from_value(json!({"metadata": metadata, "spec": whole})).unwrap()
    }

    #[test]
    fn a_pod_is_called_as_it_says() {
        let long = "x".repeat(62) + "-yz";
        let cases = [
            (pod("web", json!({})), "web", None, "web"),
            (pod(&long, json!({})), &long[..62], None, &long[..62]),
            (pod("web", json!({"hostname": "own"})), "own", None, "own"),
            (pod("web", json!({"hostNetwork": true})), "node", None, "node"),
            (
                pod("web", json!({"hostname": "own", "subdomain": "sub"})),
                "own",
                Some("sub.ns.svc.cluster.local"),
                "own",
            ),
            (
                pod("web", json!({"subdomain": "sub", "setHostnameAsFQDN": true})),
                "web",
                Some("sub.ns.svc.cluster.local"),
                "web.sub.ns.svc.cluster.local",
            ),
            (
                pod("web", json!({"subdomain": "sub", "hostnameOverride": "a.b"})),
                "a.b",
                None,
                "a.b",
            ),
        ];
        for (pod, name, of, kernel) in cases {
            assert_eq!(hostname(&pod), name);
            assert_eq!(domain(&pod).as_deref(), of);
            assert_eq!(kernel_hostname(&pod).unwrap(), kernel);
        }
        let spec = json!({"subdomain": "s".repeat(60), "setHostnameAsFQDN": true});
        let error = kernel_hostname(&pod("web", spec)).unwrap_err().to_string();
        assert!(error.ends_with("(64 characters is the max, 85 characters requested)"), "{error}");
    }
}
