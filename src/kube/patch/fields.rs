//! Which lists of the API are merged item by item, and by what (`patchMergeKey` of its types).

/// How two versions of a list become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// The new one stands.
    Replaced,
    /// A set of plain values.
    Set,
    /// Items that agree in these fields are one; a field may have a default.
    Keyed(&'static [(&'static str, &'static str)]),
}

const NAME: &[(&str, &str)] = &[("name", "")];

/// The list at `path` (`spec.containers.ports`, no indices), below any container.
pub fn list(path: &str) -> List {
    let path = path
        .strip_prefix("spec.initContainers")
        .or_else(|| path.strip_prefix("spec.ephemeralContainers"))
        .map_or_else(|| path.to_owned(), |rest| format!("spec.containers{rest}"));
    match path.as_str() {
        "metadata.finalizers" => List::Set,
        "metadata.ownerReferences" => List::Keyed(&[("uid", "")]),
        "spec.containers"
        | "spec.containers.env"
        | "spec.imagePullSecrets"
        | "spec.resourceClaims"
        | "spec.schedulingGates"
        | "spec.volumes" => List::Keyed(NAME),
        // kubectl's key is the port alone, which makes one of a port's TCP and UDP.
        "spec.containers.ports" => List::Keyed(&[("containerPort", ""), ("protocol", "TCP")]),
        "spec.containers.volumeMounts" => List::Keyed(&[("mountPath", "")]),
        "spec.containers.volumeDevices" => List::Keyed(&[("devicePath", "")]),
        "spec.hostAliases" | "status.podIPs" | "status.hostIPs" => List::Keyed(&[("ip", "")]),
        "spec.topologySpreadConstraints" => {
            List::Keyed(&[("topologyKey", ""), ("whenUnsatisfiable", "")])
        }
        "status.conditions" => List::Keyed(&[("type", "")]),
        _ => List::Replaced,
    }
}

/// Whether an object at `path` keeps, when it changes, only the fields it is given
/// (`patchStrategy: retainKeys`): a volume has one source.
pub fn retains_keys(path: &str) -> bool {
    matches!(path, "spec.volumes" | "spec.resourceClaims")
}
