//! Values whose fields stand in the order of Go's types, in which kubectl writes the JSON of what
//! it makes of flags alone. What these do not hold has its fields sorted.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value};

/// Which of Go's types a value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Object,
    Meta,
    PodSpec,
    Container,
    Port,
    /// A map, or a type whose fields need no order here.
    Other,
}

/// Config maps, namespaces, pods and secrets.
const OBJECT: &[&str] = &[
    "kind",
    "apiVersion",
    "metadata",
    "immutable",
    "spec",
    "status",
    "data",
    "binaryData",
    "stringData",
    "type",
];
const META: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
];
const POD_SPEC: &[&str] = &[
    "volumes",
    "initContainers",
    "containers",
    "ephemeralContainers",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "activeDeadlineSeconds",
    "dnsPolicy",
    "nodeSelector",
    "serviceAccountName",
    "serviceAccount",
    "automountServiceAccountToken",
    "nodeName",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "shareProcessNamespace",
    "securityContext",
    "imagePullSecrets",
    "hostname",
    "subdomain",
    "affinity",
    "schedulerName",
    "tolerations",
    "hostAliases",
    "priorityClassName",
    "priority",
    "dnsConfig",
    "readinessGates",
    "runtimeClassName",
    "enableServiceLinks",
    "preemptionPolicy",
    "overhead",
    "topologySpreadConstraints",
    "setHostnameAsFQDN",
    "os",
    "hostUsers",
    "schedulingGates",
    "resourceClaims",
    "resources",
];
const CONTAINER: &[&str] = &[
    "name",
    "image",
    "command",
    "args",
    "workingDir",
    "ports",
    "envFrom",
    "env",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "volumeMounts",
    "volumeDevices",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "securityContext",
    "stdin",
    "stdinOnce",
    "tty",
];
const PORT: &[&str] = &["name", "hostPort", "containerPort", "protocol", "hostIP"];

impl Type {
    fn order(self) -> &'static [&'static str] {
        match self {
            Self::Object => OBJECT,
            Self::Meta => META,
            Self::PodSpec => POD_SPEC,
            Self::Container => CONTAINER,
            Self::Port => PORT,
            Self::Other => &[],
        }
    }

    /// The type of a field, or of what it lists.
    fn of(self, field: &str) -> Self {
        match (self, field) {
            (Self::Object, "metadata") => Self::Meta,
            (Self::Object, "spec") => Self::PodSpec,
            (Self::PodSpec, "containers" | "initContainers" | "ephemeralContainers") => {
                Self::Container
            }
            (Self::Container, "ports") => Self::Port,
            _ => Self::Other,
        }
    }
}

/// A value in that order.
pub struct Typed<'a> {
    value: &'a Value,
    kind: Type,
}

impl<'a> Typed<'a> {
    /// A whole object.
    pub fn object(value: &'a Value) -> Self {
        Self { value, kind: Type::Object }
    }
}

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in sorted(fields, self.kind.order()) {
                    map.serialize_entry(name, &Typed { value, kind: self.kind.of(name) })?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for value in items {
                    list.serialize_element(&Typed { value, kind: self.kind })?;
                }
                list.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}

fn sorted<'a>(fields: &'a Map<String, Value>, order: &[&str]) -> Vec<(&'a String, &'a Value)> {
    let mut fields: Vec<_> = fields.iter().collect();
    let rank = |name: &str| order.iter().position(|one| *one == name).unwrap_or(order.len());
    fields.sort_by_key(|(name, _)| rank(name));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_stand_as_in_gos_types() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"labels": {"name": "x", "a": "y"}, "name": "web"},
            "spec": {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "containers": [
                {"env": [{"name": "A", "value": "b"}], "image": "x", "name": "web"},
            ]},
        });
        let text = serde_json::to_string(&Typed::object(&pod)).unwrap();
        let expected = "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"web\",\
                        \"labels\":{\"a\":\"y\",\"name\":\"x\"}},\"spec\":{\"containers\":[\
                        {\"name\":\"web\",\"image\":\"x\",\"env\":[{\"name\":\"A\",\"value\":\
                        \"b\"}]}],\"restartPolicy\":\"Always\",\"dnsPolicy\":\"ClusterFirst\"}}";
        assert_eq!(text, expected);
    }
}
