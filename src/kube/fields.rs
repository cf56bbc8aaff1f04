//! Field selectors as `--field-selector` takes them: `status.phase!=Running,spec.nodeName=a`. Each
//! kind has the few fields that the API server knows of it.

use super::{Object, Resource};
use k8s_openapi::api::core::v1::{Event, Pod};

/// A parsed selector of objects of one kind; the empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    equal: bool,
    value: String,
}

const PODS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];
const EVENTS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

impl FieldSelector {
    /// Reads `text` for objects of `resource`; the error is the API server's, without its subject.
    pub fn parse(text: &str, resource: Resource) -> Result<Self, String> {
        let terms = split(text).into_iter().filter(|term| !term.is_empty());
        let terms = terms.map(|term| {
            let term = read(&term)
                .ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{term}'"))?;
            known(resource, &term.field).map(|()| term)
        });
        terms.collect::<Result<_, _>>().map(Self)
    }

    /// Whether `object` is selected.
    pub fn matches(&self, object: &Object) -> bool {
        self.0.iter().all(|term| {
            let value = field(object, &term.field).unwrap_or_default();
            (value == term.value) == term.equal
        })
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// At commas; a backslash takes the next character as it is.
fn split(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, terms.last_mut()) {
            (',', _) => terms.push(String::new()),
            ('\\', Some(term)) => term.extend(characters.next()),
            (other, Some(term)) => term.push(other),
            (_, None) => {}
        }
    }
    terms
}

fn read(term: &str) -> Option<Term> {
    let (field, equal, value) = if let Some((field, value)) = term.split_once("!=") {
        (field, false, value)
    } else {
        let (field, value) = term.split_once("==").or_else(|| term.split_once('='))?;
        (field, true, value)
    };
    Some(Term { field: field.to_owned(), equal, value: value.to_owned() })
}

fn known(resource: Resource, field: &str) -> Result<(), String> {
    let own: &[&str] = match resource {
        Resource::Pods => PODS,
        Resource::Events => EVENTS,
        Resource::Secrets => &["type"],
        Resource::Namespaces => &["status.phase"],
        Resource::Nodes => &["spec.unschedulable"],
        Resource::ConfigMaps => &[],
    };
    if ["metadata.name", "metadata.namespace"].contains(&field) || own.contains(&field) {
        return Ok(());
    }
    Err(if own.is_empty() {
        format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \
             \"metadata.namespace\""
        )
    } else {
        format!("field label not supported: {field}")
    })
}

fn field(object: &Object, field: &str) -> Option<String> {
    match (object, field) {
        (_, "metadata.name") => Some(object.name().to_owned()),
        (_, "metadata.namespace") => Some(object.namespace().to_owned()),
        (Object::Pod(pod), field) => pod_field(pod, field),
        (Object::Event(event), field) => event_field(event, field),
        (Object::Secret(secret), _) => secret.type_.clone(),
        (Object::Namespace(namespace), _) => namespace.status.as_ref()?.phase.clone(),
        (Object::Node(node), _) => {
            let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable);
            Some(cordoned.unwrap_or(false).to_string())
        }
        (Object::ConfigMap(_), _) => None,
    }
}

fn pod_field(pod: &Pod, field: &str) -> Option<String> {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    match field {
        "spec.nodeName" => spec?.node_name.clone(),
        "spec.restartPolicy" => spec?.restart_policy.clone(),
        "spec.schedulerName" => spec?.scheduler_name.clone(),
        "spec.serviceAccountName" => spec?.service_account_name.clone(),
        "spec.hostNetwork" => Some(spec?.host_network.unwrap_or(false).to_string()),
        "status.phase" => status?.phase.clone(),
        "status.podIP" | "status.podIPs" => status?.pod_ip.clone(),
        "status.nominatedNodeName" => status?.nominated_node_name.clone(),
        _ => None,
    }
}

fn event_field(event: &Event, field: &str) -> Option<String> {
    let object = &event.involved_object;
    match field {
        "involvedObject.kind" => object.kind.clone(),
        "involvedObject.namespace" => object.namespace.clone(),
        "involvedObject.name" => object.name.clone(),
        "involvedObject.uid" => object.uid.clone(),
        "involvedObject.apiVersion" => object.api_version.clone(),
        "involvedObject.resourceVersion" => object.resource_version.clone(),
        "involvedObject.fieldPath" => object.field_path.clone(),
        "reason" => event.reason.clone(),
        "reportingComponent" => event.reporting_component.clone(),
        "source" => event.source.as_ref()?.component.clone(),
        "type" => event.type_.clone(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects() {
        let pod = serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web", "namespace": "a"},
            "spec": {"containers": [], "nodeName": "n,1", "restartPolicy": "Always"},
            "status": {"phase": "Running", "podIP": "10.88.0.2"},
        }));
        let pod = Object::Pod(Box::new(pod.unwrap()));
        let cases = [
            ("", true),
            ("status.phase=Running", true),
            ("status.phase==Running", true),
            ("status.phase!=Running", false),
            ("status.phase!=Failed,metadata.name=web", true),
            ("metadata.namespace=b", false),
            ("spec.nodeName=n\\,1", true),
            ("status.podIP=10.88.0.2,spec.restartPolicy=Always,spec.hostNetwork=false", true),
            ("status.nominatedNodeName=", true),
        ];
        for (text, selected) in cases {
            let selector = FieldSelector::parse(text, Resource::Pods).unwrap();
            assert_eq!(selector.matches(&pod), selected, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let wrong = |text, resource| FieldSelector::parse(text, resource).unwrap_err();
        assert_eq!(wrong("a=b", Resource::Pods), "field label not supported: a");
        assert_eq!(wrong("a", Resource::Pods), "invalid selector: 'a'; can't understand 'a'");
        assert_eq!(
            wrong("type=a", Resource::ConfigMaps),
            "\"type\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }
}
