//! The config.json of `runp spec`, byte for byte what runc 1.3 writes but for the version.
//!
//! The text itself is the source: it keeps the keys in the order in which people read them.

/// For whom the example is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// For root on a host with cgroup v1.
    Plain,
    /// For root on a host whose cgroups are v2 alone: with a cgroup namespace.
    UnifiedCgroups,
    /// For a user without privileges, mapped to root in a user namespace.
    Rootless {
        /// The user on the host.
        uid: u32,
        /// The group on the host.
        gid: u32,
        /// Whether the host has v2 alone.
        unified: bool,
    },
}

const CONFIG: &str = include_str!("example.json");

const NETWORK: &str = "\t\t\t{\n\t\t\t\t\"type\": \"network\"\n\t\t\t},\n";
const LAST_NAMESPACE: &str = "\t\t\t{\n\t\t\t\t\"type\": \"mount\"\n\t\t\t}\n";
const RESOURCES: &str = "\t\t\"resources\": {\n\t\t\t\"devices\": [\n\t\t\t\t{\n\
    \t\t\t\t\t\"allow\": false,\n\t\t\t\t\t\"access\": \"rwm\"\n\t\t\t\t}\n\t\t\t]\n\t\t},\n";
/// The group of terminals does not exist in a user namespace with one mapped group.
const TTY_GROUP: &str = ",\n\t\t\t\t\"gid=5\"";
const SYSFS: &str = "\t\t\t\"destination\": \"/sys\",\n\t\t\t\"type\": \"sysfs\",\n\
    \t\t\t\"source\": \"sysfs\",\n\t\t\t\"options\": [\n";
/// sysfs can be mounted only by the owner of the network namespace.
const SYS_BOUND: &str = "\t\t\t\"destination\": \"/sys\",\n\t\t\t\"type\": \"none\",\n\
    \t\t\t\"source\": \"/sys\",\n\t\t\t\"options\": [\n\t\t\t\t\"rbind\",\n";

/// The example as text, tabs and no newline at the end.
pub fn config(flavour: Flavour) -> String {
    match flavour {
        Flavour::Plain => CONFIG.to_owned(),
        Flavour::UnifiedCgroups => with_namespaces(CONFIG, &["cgroup"]),
        Flavour::Rootless { uid, gid, unified } => with_namespaces(CONFIG, more(unified))
            .replacen(RESOURCES, &(mapping("uid", uid) + &mapping("gid", gid)), 1)
            .replacen(NETWORK, "", 1)
            .replacen(TTY_GROUP, "", 1)
            .replacen(SYSFS, SYS_BOUND, 1),
    }
}

fn more(unified: bool) -> &'static [&'static str] {
    if unified { &["cgroup", "user"] } else { &["user"] }
}

/// After the last one, which is that of mounts.
fn with_namespaces(config: &str, kinds: &[&str]) -> String {
    let entry = LAST_NAMESPACE.trim_end();
    let mut entries = entry.to_owned();
    for kind in kinds {
        entries.push_str(",\n");
        entries.push_str(&entry.replacen("mount", kind, 1));
    }
    config.replacen(entry, &entries, 1)
}

fn mapping(kind: &str, host: u32) -> String {
    format!(
        "\t\t\"{kind}Mappings\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\
         \t\t\t\t\"hostID\": {host},\n\t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn parsed(flavour: Flavour) -> Value {
        serde_json::from_str(&config(flavour)).unwrap()
    }

    fn namespaces(config: &Value) -> Vec<&str> {
        let list = config["linux"]["namespaces"].as_array().unwrap();
        list.iter().filter_map(|namespace| namespace["type"].as_str()).collect()
    }

    #[test]
    fn root_gets_the_file_itself() {
        let plain = parsed(Flavour::Plain);
        assert_eq!(plain["ociVersion"], super::super::SPEC_VERSION);
        assert_eq!(namespaces(&plain), ["pid", "network", "ipc", "uts", "mount"]);
        let unified = parsed(Flavour::UnifiedCgroups);
        assert_eq!(namespaces(&unified), ["pid", "network", "ipc", "uts", "mount", "cgroup"]);
        serde_json::from_value::<oci_spec::runtime::Spec>(plain).unwrap();
    }

    #[test]
    fn a_user_gets_a_user_namespace_and_nothing_that_needs_root() {
        let unified = parsed(Flavour::Rootless { uid: 1000, gid: 100, unified: true });
        assert_eq!(namespaces(&unified), ["pid", "ipc", "uts", "mount", "cgroup", "user"]);
        let config = parsed(Flavour::Rootless { uid: 1000, gid: 100, unified: false });
        assert_eq!(namespaces(&config), ["pid", "ipc", "uts", "mount", "user"]);
        assert_eq!(config["linux"]["uidMappings"][0]["hostID"], 1000);
        assert_eq!(config["linux"]["gidMappings"][0]["hostID"], 100);
        assert!(config["linux"].get("resources").is_none());
        let mounts = config["mounts"].as_array().unwrap();
        let sys = mounts.iter().find(|mount| mount["destination"] == "/sys").unwrap();
        let bound = serde_json::json!({
            "destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
        });
        assert_eq!(sys, &bound);
        assert!(
            !self::config(Flavour::Rootless { uid: 0, gid: 0, unified: false }).contains("gid=5")
        );
    }
}
