//! What a kubelet refuses to run (`Pod was rejected: …`): a pod that this machine can never hold,
//! one for another system, and forbidden sysctls. Such a pod has failed, and nothing of it is made.
//!
//! A pod counts alone: there is no scheduler that would hold back the second of two. Of
//! `nodeSelector` those labels count that a kubelet gives its node by itself; others are the words
//! of some cluster's administrator, whose nodes this one stands for.

use crate::kube::{Pod, forbidden_sysctls, resources};
use std::collections::BTreeMap;

/// What the machine has.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Processors.
    pub cpus: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of the disk that has the store.
    pub storage: i64,
    /// The labels that the node has by itself.
    pub labels: BTreeMap<String, String>,
}

/// Why the machine does not run `pod`: reason and message.
pub fn judge(pod: &Pod, machine: &Machine) -> Result<(), (String, String)> {
    let spec = pod.spec.as_ref();
    let selector = spec.and_then(|spec| spec.node_selector.as_ref());
    let differs = |(key, value): &(&String, &String)| {
        machine.labels.get(*key).is_some_and(|own| own != *value)
    };
    match selector.into_iter().flatten().find(differs).map(|(key, _)| key.as_str()) {
        Some("kubernetes.io/os") => {
            let reason = "PodOSSelectorNodeLabelDoesNotMatch";
            let story =
                "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
            return Err((reason.into(), story.into()));
        }
        Some(_) => {
            let story = "node(s) didn't match Pod's node affinity/selector";
            return Err(("NodeAffinity".into(), format!("Predicate NodeAffinity failed: {story}")));
        }
        None => {}
    }
    for (name, capacity) in [
        ("cpu", machine.cpus.saturating_mul(1000)),
        ("memory", machine.memory),
        ("ephemeral-storage", machine.storage),
    ] {
        let request = resources::total_request(pod, name);
        let requested = if name == "cpu" { request.milli() } else { request.value() };
        if requested > capacity {
            let story = "Node didn't have enough resource";
            let numbers = format!("requested: {requested}, used: 0, capacity: {capacity}");
            return Err((format!("OutOf{name}"), format!("{story}: {name}, {numbers}")));
        }
    }
    match spec.map(forbidden_sysctls).unwrap_or_default().into_iter().next() {
        Some(story) => Err(("SysctlForbidden".into(), story)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn reason(spec: Value) -> String {
        let pod: Pod = serde_json::from_value(json!({ "spec": spec })).unwrap();
        let label = ("kubernetes.io/arch".to_owned(), "amd64".to_owned());
        let os = ("kubernetes.io/os".to_owned(), "linux".to_owned());
        let labels = BTreeMap::from([label, os]);
        let machine = Machine { cpus: 2, memory: 4 << 30, storage: 10 << 30, labels };
        judge(&pod, &machine)
            .err()
            .map_or(String::new(), |(reason, why)| format!("{reason}: {why}"))
    }

    #[test]
    fn what_the_machine_cannot_hold_is_refused() {
        let asks = |requests: Value| {
            json!({"containers": [{"name": "a", "resources": {"requests": requests}},
                                  {"name": "b", "resources": {"requests": {"cpu": "500m"}}}]})
        };
        assert_eq!(reason(asks(json!({"cpu": "1500m", "memory": "4Gi"}))), "");
        let story = "Node didn't have enough resource";
        assert_eq!(
            reason(asks(json!({"cpu": "1501m"}))),
            format!("OutOfcpu: {story}: cpu, requested: 2001, used: 0, capacity: 2000")
        );
        assert_eq!(
            reason(asks(json!({"memory": "5Gi"}))),
            format!(
                "OutOfmemory: {story}: memory, requested: 5368709120, used: 0, capacity: 4294967296"
            )
        );
        let selects = |key: &str, value: &str| {
            let selector = BTreeMap::from([(key, value)]);
            json!({"containers": [{"name": "a"}], "nodeSelector": selector})
        };
        assert_eq!(reason(selects("disk", "ssd")), "");
        assert_eq!(reason(selects("kubernetes.io/arch", "amd64")), "");
        assert!(
            reason(selects("kubernetes.io/arch", "arm64")).starts_with("NodeAffinity: Predicate")
        );
        assert!(reason(selects("kubernetes.io/os", "windows")).starts_with("PodOSSelector"));
    }
}
