//! Networks of plugins (CNI specification 1.1, and the results of 0.1 to 1.0): the first network of a
//! directory of configurations, as containerd and CRI-O choose it.
//!
//! What a pod was attached by is kept, in a file of its own, before the first plugin runs: so it is
//! detached by the same plugins in the same words, whatever has become of the configuration, and
//! also after a kill on the way. Plugins must answer to DEL for what is not there, and do.
//!
//! Not done: CHECK, GC and STATUS; addresses of a pod beyond the first.

use super::{PortMapping, check_uid};
use crate::error::{Context, Error, Result};
use crate::sys::{Errno, fs, program};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The pod's end of its cable.
const POD_LINK: &str = "eth0";
/// How long one plugin may take: the kubelet gives its runtime as long.
const DEADLINE: Duration = Duration::from_mins(2);
/// No configuration is larger.
const MAX_CONFIG: u64 = 1 << 20;

/// Where networks and their plugins are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dirs {
    /// Of configurations.
    pub config: PathBuf,
    /// Of plugins, searched in this order.
    pub plugins: Vec<PathBuf>,
}

impl Dirs {
    /// Whether pods can be attached: there is a network, whose name it gives, and all its plugins.
    pub fn check(&self) -> Result<String> {
        let network = network(&self.config)?;
        for plugin in &network.plugins {
            find(&self.plugins, kind(plugin)?)?;
        }
        Ok(network.name)
    }
}

/// The pod to be attached.
pub struct PodName<'a> {
    /// Its uid.
    pub uid: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The OCI container of its sandbox.
    pub sandbox: &'a str,
}

/// The plugins' networks of one root.
pub struct Cni {
    /// Where they are.
    pub dirs: Dirs,
    /// Of what pods were attached by.
    records: PathBuf,
}

/// A network: plugins, one after another.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Network {
    name: String,
    version: String,
    plugins: Vec<Map<String, Value>>,
}

/// What a pod was attached by.
#[derive(Serialize, Deserialize)]
struct Record {
    network: Network,
    plugin_dirs: Vec<PathBuf>,
    sandbox: String,
    args: String,
    ports: Vec<PortMapping>,
    /// Of the last plugin, once all have run.
    result: Option<Value>,
}

/// What a plugin that fails says.
#[derive(Deserialize)]
struct Failure {
    msg: String,
    #[serde(default)]
    details: String,
}

impl Cni {
    /// The networks of `dirs`; what pods have of them is kept in `records`.
    pub fn new(dirs: Dirs, records: PathBuf) -> Self {
        Self { dirs, records }
    }

    /// Attaches a pod, with its loopback up; its address. Undone if it fails, and by
    /// [`Cni::detach`].
    pub fn attach(
        &self,
        pod: &PodName<'_>,
        netns: BorrowedFd<'_>,
        ports: &[PortMapping],
    ) -> Result<IpAddr> {
        self.detach(pod.uid, |_| netns.try_clone_to_owned().ok())?;
        super::loopback_up(netns)?;
        let network = network(&self.dirs.config)?;
        if !ports.is_empty() && !network.plugins.iter().any(takes_ports) {
            let what = format!("open host ports on the network {:?}", network.name);
            return Err(Error::user("no plugin of it has the capability portMappings")
                .doing(what)
                .hint("add {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}}"));
        }
        let mut record = Record {
            network,
            plugin_dirs: self.dirs.plugins.clone(),
            sandbox: pod.sandbox.to_owned(),
            args: format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};\
                 K8S_POD_UID={}",
                pod.namespace, pod.name, pod.sandbox, pod.uid
            ),
            ports: ports.to_owned(),
            result: None,
        };
        self.keep(pod.uid, &record)?;
        let attached = record.add(netns).and_then(|()| {
            self.keep(pod.uid, &record)?;
            record.address()
        });
        attached.map_err(|error| match record.delete(Some(netns)).and(self.forget(pod.uid)) {
            Ok(()) => error,
            Err(undo) => error.doing(format!("(undoing it failed as well: {undo})")),
        })
    }

    /// Undoes [`Cni::attach`], also a part of it. `netns_of` knows the namespace of the sandbox, if
    /// there is one still: some plugins leave rules of theirs where it has gone first.
    pub fn detach(&self, uid: &str, netns_of: impl Fn(&str) -> Option<OwnedFd>) -> Result<()> {
        let path = self.record(uid)?;
        let text = match fs::read_limited(&path, MAX_CONFIG) {
            Err(Errno::ENOENT) => return Ok(()),
            read => read.doing(|| format!("read {}", path.display()))?,
        };
        // One that is damaged tells of nothing that could be undone, and holds up no pod's end.
        if let Ok(record) = decode::<Record>(&text) {
            let netns = netns_of(&record.sandbox);
            record.delete(netns.as_ref().map(AsFd::as_fd))?;
        }
        self.forget(uid)
    }

    /// With the last pod's record goes the directory.
    fn forget(&self, uid: &str) -> Result<()> {
        let path = self.record(uid)?;
        std::fs::remove_file(&path).doing(|| format!("remove {}", path.display()))?;
        match std::fs::remove_dir(&self.records) {
            Err(error)
                if !matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) =>
            {
                Err(error).doing(|| format!("remove {}", self.records.display()))
            }
            _ => Ok(()),
        }
    }

    fn record(&self, uid: &str) -> Result<PathBuf> {
        check_uid(uid)?;
        Ok(self.records.join(format!("{uid}.json")))
    }

    fn keep(&self, uid: &str, record: &Record) -> Result<()> {
        let path = self.record(uid)?;
        let text = serde_json::to_vec(record).map_err(|error| Error::system(error.to_string()))?;
        let write = || {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.records);
            made.map_err(fs::errno)?;
            fs::write_atomic(&path, &text, 0o600)
        };
        match write() {
            // Another pod's detach has removed the directory meanwhile.
            Err(Errno::ENOENT) => write(),
            written => written,
        }
        .doing(|| format!("write {}", path.display()))
    }
}

impl Record {
    /// Runs the plugins, each with the result of the one before.
    fn add(&mut self, netns: BorrowedFd<'_>) -> Result<()> {
        let mut result = None;
        for plugin in &self.network.plugins {
            let answer = self.call("ADD", plugin, Some(netns), result.as_ref())?;
            let text = || format!("read the result of plugin type={:?}", plugin.get("type"));
            result = Some(decode(&answer).doing(text)?);
        }
        self.result = result;
        Ok(())
    }

    /// The other way round; all of them, whatever becomes of the others.
    fn delete(&self, netns: Option<BorrowedFd<'_>>) -> Result<()> {
        let plugins = self.network.plugins.iter().rev();
        plugins
            .map(|plugin| self.call("DEL", plugin, netns, self.result.as_ref()).map(drop))
            .fold(Ok(()), Result::and)
    }

    fn call(
        &self,
        verb: &str,
        plugin: &Map<String, Value>,
        netns: Option<BorrowedFd<'_>>,
        previous: Option<&Value>,
    ) -> Result<Vec<u8>> {
        let kind = kind(plugin)?;
        let what = || format!("plugin type={kind:?} failed ({})", verb.to_lowercase());
        let path = std::env::join_paths(&self.plugin_dirs);
        let path = path.map_err(|error| Error::user(error.to_string()).doing(what()))?;
        // Ours while we wait, so that it means this namespace and no later one of the same pid.
        let netns = netns.map(|fd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()));
        let mut command = Command::new(find(&self.plugin_dirs, kind)?);
        command
            .env_clear()
            .env("PATH", super::ports::PATH)
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &self.sandbox)
            .env("CNI_NETNS", netns.unwrap_or_default())
            .env("CNI_IFNAME", POD_LINK)
            .env("CNI_ARGS", &self.args)
            .env("CNI_PATH", path)
            .stderr(Stdio::null());
        let request = self.request(plugin, previous).to_string();
        let asked = program::ask(&mut command, request.as_bytes(), Instant::now() + DEADLINE);
        let (status, answer) = asked.map_err(|errno| match errno {
            Errno::ETIMEDOUT => {
                Error::system(format!("no answer within {DEADLINE:?}")).doing(what())
            }
            other => Error::from(other).doing(what()),
        })?;
        if status.success() {
            return Ok(answer);
        }
        let text = match serde_json::from_slice::<Failure>(&answer) {
            Ok(Failure { msg, details }) if details.is_empty() => msg,
            Ok(Failure { msg, details }) => format!("{msg}; {details}"),
            Err(_) => format!("{status}, without an error"),
        };
        Err(Error::system(text).doing(what()))
    }

    /// The plugin's configuration, as it is asked with it.
    fn request(&self, plugin: &Map<String, Value>, previous: Option<&Value>) -> Value {
        let mut request = plugin.clone();
        request.remove("capabilities");
        request.insert("cniVersion".into(), self.network.version.as_str().into());
        request.insert("name".into(), self.network.name.as_str().into());
        if let Some(previous) = previous {
            request.insert("prevResult".into(), previous.clone());
        }
        if takes_ports(plugin) && !self.ports.is_empty() {
            let mapping = |port: &PortMapping| {
                let mut mapping = json!({"hostPort": port.host_port, "protocol": port.protocol,
                    "containerPort": port.container_port});
                if let Some(ip) = port.host_ip {
                    mapping["hostIP"] = ip.to_string().into();
                }
                mapping
            };
            let mappings: Vec<Value> = self.ports.iter().map(mapping).collect();
            request.insert("runtimeConfig".into(), json!({"portMappings": mappings}));
        }
        request.into()
    }

    fn address(&self) -> Result<IpAddr> {
        let result = self.result.as_ref();
        let of = |pointer: &str| result.and_then(|result| result.pointer(pointer)?.as_str());
        // The second and the third are of versions before 0.3.
        let address = of("/ips/0/address").or(of("/ip4/ip")).or(of("/ip6/ip"));
        let ip = address.and_then(|address| address.split('/').next()?.parse().ok());
        ip.ok_or_else(|| {
            Error::system(format!("the network {:?} gives pods no address", self.network.name))
        })
    }
}

fn decode<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| Error::user(error.to_string()))
}

fn kind(plugin: &Map<String, Value>) -> Result<&str> {
    let kind = plugin.get("type").and_then(Value::as_str).unwrap_or_default();
    match kind.is_empty() || kind.contains('/') || kind.starts_with('.') {
        true => Err(Error::user(format!("{kind:?} is no plugin's type"))),
        false => Ok(kind),
    }
}

fn find(dirs: &[PathBuf], kind: &str) -> Result<PathBuf> {
    let found = dirs.iter().map(|dir| dir.join(kind)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        Error::user(format!("failed to find plugin {kind:?} in path {dirs:?}"))
            .hint("apt install containernetworking-plugins, or give --cni-bin-dir")
    })
}

fn takes_ports(plugin: &Map<String, Value>) -> bool {
    let capability = plugin.get("capabilities").and_then(|all| all.get("portMappings"));
    capability.and_then(Value::as_bool) == Some(true)
}

/// The first network of a directory by the names of its files.
fn network(dir: &Path) -> Result<Network> {
    let none = || {
        Error::user(format!(
            "no network config found in {}: cni plugin not initialized",
            dir.display()
        ))
    };
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(none()),
        entries => entries.doing(|| format!("list {}", dir.display()))?,
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.doing(|| format!("list {}", dir.display()))?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("conflist" | "conf" | "json")) {
            files.insert(path.file_name().map(ToOwned::to_owned), path);
        }
    }
    let path = files.into_values().next().ok_or_else(none)?;
    let doing = || format!("read the network {}", path.display());
    parse(&fs::read_limited(&path, MAX_CONFIG).doing(doing)?).doing(doing)
}

/// A list of plugins, or a single one.
fn parse(text: &[u8]) -> Result<Network> {
    let mut config: Map<String, Value> = decode(text)?;
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, version) = (text("name"), text("cniVersion"));
    let fine = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(fine) {
        return Err(Error::user(format!("name: {name:?} is no network's name")));
    }
    let plugins = match config.remove("plugins") {
        None => vec![config],
        Some(plugins) => serde_json::from_value(plugins)
            .map_err(|error| Error::user(format!("plugins: {error}")))?,
    };
    if plugins.is_empty() {
        return Err(Error::user("plugins: there are none"));
    }
    plugins.iter().try_for_each(|plugin| kind(plugin).map(drop))?;
    // What the first specification asked for is what it means without one.
    let version = if version.is_empty() { "0.1.0".to_owned() } else { version };
    Ok(Network { name, version, plugins })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_asked_with_their_part_of_the_list() {
        let network = parse(
            br#"{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge", "mtu": 1400},
                {"type": "portmap", "capabilities": {"portMappings": true}}]}"#,
        );
        let port = PortMapping {
            protocol: "tcp".into(),
            host_ip: None,
            host_port: 80,
            container_port: 8080,
        };
        let record = Record {
            network: network.unwrap(),
            plugin_dirs: Vec::new(),
            sandbox: "id".into(),
            args: String::new(),
            ports: vec![port],
            result: Some(json!({"ips": [{"address": "10.0.0.2/24"}]})),
        };
        let asked = |index: usize, previous| {
            record.request(&record.network.plugins[index], previous).to_string()
        };
        let bridge = r#"{"cniVersion":"1.0.0","mtu":1400,"name":"pods","type":"bridge"}"#;
        assert_eq!(asked(0, None), bridge);
        let portmap = concat!(
            r#"{"cniVersion":"1.0.0","name":"pods","prevResult":{"ips":[]},"runtimeConfig":"#,
            r#"{"portMappings":[{"containerPort":8080,"hostPort":80,"protocol":"tcp"}]},"#,
            r#""type":"portmap"}"#
        );
        assert_eq!(asked(1, Some(&json!({"ips": []}))), portmap);
        assert_eq!(record.address().unwrap().to_string(), "10.0.0.2");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let single = parse(br#"{"name": "one", "type": "ptp"}"#).unwrap();
        assert_eq!((single.plugins.len(), single.version.as_str()), (1, "0.1.0"));
        for (text, wrong) in [
            ("[]", "invalid type"),
            (r#"{"name": "a/b", "type": "ptp"}"#, "no network's name"),
            (r#"{"name": "a", "plugins": []}"#, "there are none"),
            (r#"{"name": "a", "plugins": [{"type": "../sh"}]}"#, "no plugin's type"),
            (r#"{"name": "a", "plugins": [1]}"#, "plugins"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }
}
