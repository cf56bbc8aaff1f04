//! What a kubelet refuses to run (`Pod was rejected: …`): a pod that this machine can never hold,
//! one for another system, and forbidden sysctls. Such a pod has failed, and nothing of it is made.
//!
//! A pod counts alone, where the kubelet adds up what all pods of its node request: of two that do
//! not fit together a scheduler would send the second to another node, and this machine stands for
//! all of them. Of `nodeSelector` and `nodeAffinity` those labels count that a kubelet gives its node
//! by itself; others are the words of some cluster's administrator.

use crate::kube::{Pod, forbidden_sysctls, resources};
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};
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
    /// The node's name.
    pub name: String,
    /// The labels that the node has by itself.
    pub labels: BTreeMap<String, String>,
}

/// Why the machine does not run `pod`: reason and message, the first in the kubelet's order.
pub fn judge(pod: &Pod, machine: &Machine) -> Result<(), (String, String)> {
    let sysctls = pod.spec.as_ref().map(forbidden_sysctls).unwrap_or_default();
    if let Some(story) = sysctls.into_iter().next() {
        return Err(("SysctlForbidden".into(), story));
    }
    let os = "kubernetes.io/os";
    let labelled = pod.metadata.labels.as_ref().and_then(|labels| labels.get(os));
    if labelled.is_some_and(|label| machine.labels.get(os).is_some_and(|own| own != label)) {
        let reason = "PodOSSelectorNodeLabelDoesNotMatch";
        let story = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return Err((reason.into(), story.into()));
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
    if !is_for(pod, machine) {
        let story = "node(s) didn't match Pod's node affinity/selector";
        return Err(("NodeAffinity".into(), format!("Predicate NodeAffinity failed: {story}")));
    }
    Ok(())
}

/// Whether `nodeSelector` and what `nodeAffinity` requires leave this node, as far as its own labels
/// and its name decide.
fn is_for(pod: &Pod, machine: &Machine) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let is =
        |(key, value): (&String, &String)| machine.labels.get(key).is_none_or(|own| own == value);
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    let name = BTreeMap::from([("metadata.name".to_owned(), machine.name.clone())]);
    // One of the terms is enough, and one that requires nothing matches nothing.
    let term = |term: &NodeSelectorTerm| {
        let labels = term.match_expressions.iter().flatten();
        let fields = term.match_fields.iter().flatten();
        let mut all = labels.map(|it| (it, &machine.labels)).chain(fields.map(|it| (it, &name)));
        let is_empty = term.match_expressions.iter().flatten().next().is_none()
            && term.match_fields.iter().flatten().next().is_none();
        !is_empty && all.all(|(requirement, known)| may_match(requirement, known))
    };
    spec.node_selector.iter().flatten().all(is)
        && required.is_none_or(|required| required.node_selector_terms.iter().any(term))
}

/// A requirement on what is `known` of the node; what is not is taken for met.
fn may_match(requirement: &NodeSelectorRequirement, known: &BTreeMap<String, String>) -> bool {
    let Some(own) = known.get(&requirement.key) else { return true };
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = || Some((own.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => values.contains(own),
        "NotIn" => !values.contains(own),
        "DoesNotExist" => false,
        "Gt" => number().is_some_and(|(own, than)| own > than),
        "Lt" => number().is_some_and(|(own, than)| own < than),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn reason(spec: Value) -> String {
        refusal(json!({ "spec": spec }))
    }

    fn refusal(pod: Value) -> String {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let label = |name: &str, value: &str| (format!("kubernetes.io/{name}"), value.to_owned());
        let labels = BTreeMap::from([label("arch", "amd64"), label("os", "linux")]);
        let name = "node".to_owned();
        let machine = Machine { cpus: 2, memory: 4 << 30, storage: 10 << 30, name, labels };
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
        let labels = json!({"kubernetes.io/os": "windows"});
        let pod = json!({"metadata": {"labels": labels}, "spec": {"containers": []}});
        assert!(refusal(pod).starts_with("PodOSSelectorNodeLabelDoesNotMatch: Failed to admit"));
    }

    #[test]
    fn a_pod_for_other_nodes_is_refused() {
        let selects = |key: &str, value: &str| {
            let selector = BTreeMap::from([(key, value)]);
            reason(json!({"containers": [{"name": "a"}], "nodeSelector": selector}))
        };
        let refused = "NodeAffinity: Predicate NodeAffinity failed: \
                       node(s) didn't match Pod's node affinity/selector";
        assert_eq!(selects("disk", "ssd"), "");
        assert_eq!(selects("kubernetes.io/arch", "amd64"), "");
        assert_eq!(selects("kubernetes.io/arch", "arm64"), refused);
        assert_eq!(selects("kubernetes.io/os", "windows"), refused);
        let requires = |terms: Value| {
            let required = json!({"nodeSelectorTerms": terms});
            let affinity = json!({"requiredDuringSchedulingIgnoredDuringExecution": required});
            reason(json!({"containers": [{"name": "a"}], "affinity": {"nodeAffinity": affinity}}))
        };
        let label = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let arch = |operator, values| label("kubernetes.io/arch", operator, values);
        for (term, expected) in [
            (arch("In", &["arm64", "amd64"]), ""),
            (arch("In", &["arm64"]), refused),
            (arch("NotIn", &["amd64"]), refused),
            (arch("Exists", &[]), ""),
            (arch("DoesNotExist", &[]), refused),
            (label("disk", "In", &["ssd"]), ""),
            (json!({}), refused),
        ] {
            assert_eq!(requires(json!([term])), expected, "{term}");
        }
        let either = [arch("In", &["arm64"]), label("kubernetes.io/os", "In", &["linux"])];
        assert_eq!(requires(json!(either)), "");
        let field = |name| {
            let field = json!({"key": "metadata.name", "operator": "In", "values": [name]});
            requires(json!([{"matchFields": [field]}]))
        };
        assert_eq!((field("node"), field("other")), (String::new(), refused.into()));
    }
}
