//! All containers of a pod, whatever list of the spec they stand in: their names are unique.

use super::Pod;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Runs to its end before the next one is started.
    Init,
    /// An init container with `restartPolicy: Always`: runs beside all that come after it.
    Sidecar,
    /// One of `spec.containers`.
    #[default]
    Regular,
    /// Added to a pod that runs, for debugging; never restarted.
    Ephemeral,
}

impl Role {
    /// The list of the spec that has it, as in an event's `fieldPath`.
    pub fn list(self) -> &'static str {
        match self {
            Self::Init | Self::Sidecar => "spec.initContainers",
            Self::Regular => "spec.containers",
            Self::Ephemeral => "spec.ephemeralContainers",
        }
    }
}

/// What an init container is.
pub fn role_of_init(container: &Container) -> Role {
    if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init }
}

/// Every container: init containers, the regular ones, ephemeral ones, each in its list's order.
pub fn all(pod: &Pod) -> Vec<(Role, Cow<'_, Container>)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten();
    let init = init.map(|container| (role_of_init(container), Cow::Borrowed(container)));
    let regular = spec.containers.iter().map(|it| (Role::Regular, Cow::Borrowed(it)));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let ephemeral = ephemeral.map(|it| (Role::Ephemeral, Cow::Owned(of_ephemeral(it))));
    init.chain(regular).chain(ephemeral).collect()
}

/// The container of that name.
pub fn find<'a>(pod: &'a Pod, name: &str) -> Option<(Role, Cow<'a, Container>)> {
    let spec = pod.spec.as_ref()?;
    if let Some(found) = spec.containers.iter().find(|container| container.name == name) {
        return Some((Role::Regular, Cow::Borrowed(found)));
    }
    all(pod).into_iter().find(|(_, container)| container.name == name)
}

/// What an ephemeral container has in common with the others.
pub fn of_ephemeral(container: &EphemeralContainer) -> Container {
    let it = container.clone();
    Container {
        args: it.args,
        command: it.command,
        env: it.env,
        env_from: it.env_from,
        image: it.image,
        image_pull_policy: it.image_pull_policy,
        lifecycle: it.lifecycle,
        liveness_probe: it.liveness_probe,
        name: it.name,
        ports: it.ports,
        readiness_probe: it.readiness_probe,
        resize_policy: it.resize_policy,
        resources: it.resources,
        restart_policy: it.restart_policy,
        restart_policy_rules: it.restart_policy_rules,
        security_context: it.security_context,
        startup_probe: it.startup_probe,
        stdin: it.stdin,
        stdin_once: it.stdin_once,
        termination_message_path: it.termination_message_path,
        termination_message_policy: it.termination_message_policy,
        tty: it.tty,
        volume_devices: it.volume_devices,
        volume_mounts: it.volume_mounts,
        working_dir: it.working_dir,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_list_is_known() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "c"}],
            "ephemeralContainers": [{"name": "e", "image": "x", "targetContainerName": "c"}],
        }}))
        .unwrap();
        let shown = all(&pod).into_iter().map(|(role, it)| (it.name.clone(), role));
        let expected =
            [("i", Role::Init), ("s", Role::Sidecar), ("c", Role::Regular), ("e", Role::Ephemeral)];
        assert!(shown.eq(expected.map(|(name, role)| (name.to_owned(), role))));
        let (role, found) = find(&pod, "e").unwrap();
        assert_eq!((role.list(), found.image.as_deref()), ("spec.ephemeralContainers", Some("x")));
        assert!(find(&pod, "x").is_none());
    }
}
