//! This machine as the one node: what `get nodes` and `describe node` show.

use super::Config;
use crate::error::{Context, Result};
use crate::sys::fs;
use k8s_openapi::api::core::v1::{
    Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::path::Path;

/// The version of Kubernetes whose kubelet's behaviour is followed.
pub const KUBERNETES: &str = "v1.36.0";
/// The kubelet's default.
const MAX_PODS: u32 = 110;

/// The node, as it is now. What the machine does not tell is left out.
pub fn node(config: &Config) -> Result<Node> {
    let uname = nix::sys::utsname::uname().doing(|| "ask the kernel's name")?;
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let architecture = architecture().to_owned();
    let booted = booted();
    let mut node = Node::default();
    let name = config.node.clone();
    node.metadata.labels = Some(labels(&name));
    node.metadata.creation_timestamp = made(&config.paths.lib).or(booted).map(Time);
    node.metadata.uid = Some(read("/etc/machine-id"));
    node.metadata.name = Some(name.clone());
    node.spec = Some(NodeSpec::default());
    let mut addresses = vec![address("Hostname", &name)];
    addresses.extend(host_ip().map(|ip| address("InternalIP", &ip)));
    let quantities = capacity(&config.paths.lib);
    node.status = Some(NodeStatus {
        addresses: Some(addresses),
        allocatable: Some(quantities.clone()),
        capacity: Some(quantities),
        conditions: Some(conditions(booted)),
        node_info: Some(NodeSystemInfo {
            architecture,
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            container_runtime_version: format!("runp://{}", env!("CARGO_PKG_VERSION")),
            kernel_version: text(uname.release()),
            kubelet_version: KUBERNETES.to_owned(),
            machine_id: read("/etc/machine-id"),
            operating_system: "linux".to_owned(),
            os_image: os_image(&read("/etc/os-release")),
            system_uuid: read("/sys/class/dmi/id/product_uuid"),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    });
    Ok(node)
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn address(kind: &str, address: &str) -> NodeAddress {
    NodeAddress { address: address.to_owned(), type_: kind.to_owned() }
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The labels that a kubelet gives its node, which is called `name`.
pub fn labels(name: &str) -> BTreeMap<String, String> {
    map(&[
        ("kubernetes.io/arch", architecture()),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
    ])
}

/// How many processors there are.
pub fn cpus() -> i64 {
    let online = nix::unistd::SysconfVar::_NPROCESSORS_ONLN;
    nix::unistd::sysconf(online).ok().flatten().unwrap_or(1).max(1)
}

/// Bytes of the disk that has the store in `lib`, which may not have been made yet.
pub fn storage(lib: &Path) -> i64 {
    let disk = lib.ancestors().find_map(|dir| fs::statvfs(dir).ok());
    disk.map_or(0, |(capacity, _)| i64::try_from(capacity).unwrap_or(i64::MAX))
}

/// The address that packets for other machines would come from, if there is a way to them.
pub fn host_ip() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then(|| ip.to_string())
}

/// A file of one value; empty where the machine has none.
fn read(path: &str) -> String {
    fs::read_kernel_file(Path::new(path)).unwrap_or_default().trim().to_owned()
}

fn os_image(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn made(dir: &Path) -> Option<Timestamp> {
    let created = std::fs::metadata(dir).ok()?.created().ok()?;
    Timestamp::try_from(created).ok()
}

fn booted() -> Option<Timestamp> {
    let uptime: f64 = read("/proc/uptime").split(' ').next()?.parse().ok()?;
    let uptime = SignedDuration::try_from_secs_f64(uptime.floor()).ok()?;
    Timestamp::from_second(Timestamp::now().as_second()).ok()?.checked_sub(uptime).ok()
}

fn capacity(lib: &Path) -> BTreeMap<String, Quantity> {
    let mut all = BTreeMap::new();
    let mut add = |name: &str, value: String| all.insert(name.to_owned(), Quantity(value));
    add("cpu", cpus().to_string());
    let memory = read("/proc/meminfo");
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|rest| rest.trim().strip_suffix(" kB"));
    add("memory", format!("{}Ki", total.unwrap_or("0").trim()));
    add("pods", MAX_PODS.to_string());
    add("ephemeral-storage", format!("{}Ki", storage(lib) >> 10));
    all
}

fn conditions(since: Option<Timestamp>) -> Vec<NodeCondition> {
    let since = since.map(Time);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(Time(now())),
        last_transition_time: since.clone(),
    };
    let enough = [
        ("MemoryPressure", "KubeletHasSufficientMemory", "sufficient memory"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "sufficient PID"),
    ];
    let mut all: Vec<NodeCondition> = enough
        .iter()
        .map(|(kind, reason, what)| {
            condition(kind, "False", reason, &format!("kubelet has {what} available"))
        })
        .collect();
    all.push(condition("Ready", "True", "KubeletReady", "runp needs no daemon to be ready"));
    all
}

/// In whole seconds, as the API's times are.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::{Network, Paths};

    #[test]
    fn this_machine_is_a_node() {
        let paths = Paths::below(Path::new("/nowhere"));
        let config = Config { paths, node: "n1".into(), network: Network::None, pod_cidr: None };
        let status = node(&config).unwrap().status.unwrap();
        let capacity = status.capacity.unwrap();
        assert!(capacity["cpu"].0.parse::<u32>().unwrap() > 0);
        assert_ne!(capacity["memory"].0, "0Ki");
        assert!(capacity.contains_key("ephemeral-storage"));
        assert!(!status.node_info.unwrap().kernel_version.is_empty());
    }

    #[test]
    fn the_systems_name_is_its_pretty_one() {
        assert_eq!(os_image("ID=x\nPRETTY_NAME=\"X 1 (y)\"\n"), "X 1 (y)");
        assert_eq!(os_image(""), "Linux");
    }
}
