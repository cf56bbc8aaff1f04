//! Which container of a pod `logs` and `exec` mean.

use super::resource::part;
use super::tell;
use crate::error::{Error, Result};
use crate::kube::Pod;

/// What kubectl goes by when no container is named.
const DEFAULT: &str = "kubectl.kubernetes.io/default-container";

/// The container `wanted`, or the default one, which is said where there was a choice.
pub fn pick(pod: &Pod, wanted: Option<&str>) -> Result<String> {
    let (name, notice) = choose(pod, wanted)?;
    if let Some(notice) = notice {
        tell(&notice);
    }
    Ok(name)
}

fn choose(pod: &Pod, wanted: Option<&str>) -> Result<(String, Option<String>)> {
    let all = all(pod);
    let shown = all.iter().map(|(name, kind)| format!("{name}{kind}")).collect::<Vec<_>>();
    let has = |wanted: &str| all.iter().any(|(name, _)| name == wanted);
    if let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) {
        if has(wanted) {
            return Ok((wanted.to_owned(), None));
        }
        let (pod, shown) = (part(pod.metadata.name.as_ref()), shown.join(", "));
        let text = format!("container {wanted} is not valid for pod {pod} out of: {shown}");
        return Err(Error::user(text));
    }
    let annotated = pod.metadata.annotations.as_ref().and_then(|all| all.get(DEFAULT));
    if let Some(annotated) = annotated.filter(|name| has(name)) {
        return Ok((annotated.clone(), None));
    }
    let Some((first, _)) = all.first() else {
        return Err(Error::user("no containers in the pod"));
    };
    let notice = format!("Defaulted container \"{first}\" out of: {}", shown.join(", "));
    Ok((first.clone(), (all.len() > 1).then_some(notice)))
}

/// Every container, with what kubectl adds to the names of the uncommon ones.
pub fn all(pod: &Pod) -> Vec<(String, &'static str)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let containers = spec.containers.iter().map(|one| (one.name.clone(), ""));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let ephemeral = ephemeral.map(|one| (one.name.clone(), " (ephem)"));
    let init = spec.init_containers.iter().flatten().map(|one| (one.name.clone(), " (init)"));
    containers.chain(ephemeral).chain(init).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(containers: &[&str], init: &[&str]) -> Pod {
        let list = |names: &[&str]| -> serde_json::Value {
            names.iter().map(|name| serde_json::json!({ "name": name })).collect()
        };
        let spec = serde_json::json!({
            "containers": list(containers), "initContainers": list(init),
        });
        serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn the_first_is_the_default_and_said_where_there_are_more() {
        assert_eq!(choose(&pod(&["a"], &[]), None).unwrap(), ("a".into(), None));
        let (name, notice) = choose(&pod(&["a", "b"], &["i"]), None).unwrap();
        assert_eq!(name, "a");
        assert_eq!(notice.as_deref(), Some("Defaulted container \"a\" out of: a, b, i (init)"));
        let mut annotated = pod(&["a", "b"], &[]);
        annotated.metadata.annotations = Some([(DEFAULT.to_owned(), "b".to_owned())].into());
        assert_eq!(choose(&annotated, None).unwrap(), ("b".into(), None));
        assert_eq!(choose(&annotated, Some("a")).unwrap(), ("a".into(), None));
        let error = choose(&pod(&["a", "b"], &[]), Some("x")).unwrap_err().to_string();
        assert_eq!(error, "container x is not valid for pod web out of: a, b");
    }
}
