//! Looking into a running pod: a command in a container, and the pod as its processes.

pub mod attach;
pub mod forward;
pub mod piped;

use super::{Config, ExecOptions, ProcessNode, logread};
use crate::error::{Context, Error, Kind, Result};
use crate::kube::Pod;
use crate::oci::container::Container;
use crate::oci::ops;
use crate::sys::{fork, fs};
use nix::fcntl::OFlag;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType, Process};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// See [`super::Engine::exec`].
pub fn exec(config: &Config, pod: &Pod, container: &str, options: &ExecOptions) -> Result<i32> {
    let id = running_id(pod, container)?;
    let root = &config.paths.oci;
    let mut process = process_of(config, &id, &options.command)?;
    process.set_terminal(Some(options.tty));
    if options.tty {
        let env = process.env().clone().unwrap_or_default();
        if !env.iter().any(|entry| entry.starts_with("TERM=")) {
            process.set_env(Some([env, vec!["TERM=xterm".into()]].concat()));
        }
    }
    if !options.stdin && !options.tty {
        let null =
            fs::open(Path::new("/dev/null"), OFlag::O_RDONLY, 0).doing(|| "open /dev/null")?;
        fork::dup_to(null.as_fd(), 0).doing(|| "give the command its stdin")?;
    }
    ops::exec(root, &id, &ops::ExecOptions { process, ..Default::default() })
}

/// The container's own process with another command.
fn process_of(config: &Config, id: &str, command: &[String]) -> Result<Process> {
    let spec = Container::open(&config.paths.oci, id)?.config()?;
    let process = spec.process().clone();
    let mut process = process.ok_or_else(|| Error::user("config.json has no process"))?;
    process.set_args(Some(command.to_vec())).set_terminal(Some(false));
    Ok(process)
}

/// The OCI id of a container that runs; else kubectl's words.
fn running_id(pod: &Pod, container: &str) -> Result<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = logread::container_status(pod, container);
    let running =
        status.filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
    let id = running.and_then(|status| status.container_id.as_deref());
    let id = id.and_then(|id| id.split_once("://")).map(|(_, id)| id.to_owned());
    id.ok_or_else(|| {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let text = format!("container not found (\"{container}\") in pod {name}_{namespace}");
        Error::new(Kind::BadRequest, text).hint("the container is not running: podctl describe pod")
    })
}

/// See [`super::Engine::processes`].
pub fn processes(config: &Config, pod: &Pod) -> Result<ProcessNode> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let table = process_table()?;
    let mut roots = Vec::new();
    let mut sandbox = None;
    for (id, container) in instances(config, uid)? {
        let Ok(instance) = Container::open(&config.paths.oci, &id) else { continue };
        let pid = instance.record.pid;
        if !table.contains_key(&pid) || instance.init()?.is_none() {
            continue;
        }
        if container.is_empty() { sandbox = Some(pid) } else { roots.push((container, pid)) }
    }
    let Some(sandbox) = sandbox else {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        return Err(Error::user(format!("pod {name} has no running sandbox")));
    };
    let inits: Vec<i32> = roots.iter().map(|(_, pid)| *pid).collect();
    let mut tree = node(&table, sandbox, "", &inits);
    roots.sort();
    for (container, pid) in &roots {
        let others: Vec<i32> = inits.iter().copied().filter(|init| init != pid).collect();
        tree.children.push(node(&table, *pid, container, &others));
    }
    Ok(tree)
}

/// The pod's sandbox, as a pidfd of its pause process.
pub fn sandbox_of(config: &Config, pod: &Pod) -> Result<OwnedFd> {
    for (id, container) in instances(config, pod.metadata.uid.as_deref().unwrap_or_default())? {
        if container.is_empty()
            && let Some(init) = Container::open(&config.paths.oci, &id)?.init()?
        {
            return Ok(init);
        }
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Err(Error::user(format!("pod {name} has no running sandbox")))
}

/// The OCI ids of the pod's bundles, with the container each is of; `""` for the sandbox.
pub(super) fn instances(config: &Config, uid: &str) -> Result<Vec<(String, String)>> {
    let dir = config.paths.run.join(uid).join("bundles");
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        entries => entries.doing(|| format!("list {}", dir.display()))?,
    };
    for entry in entries {
        let name = entry.doing(|| format!("list {}", dir.display()))?.file_name();
        let Ok(id) = name.into_string() else { continue };
        let Ok(instance) = Container::open(&config.paths.oci, &id) else { continue };
        let label = instance.record.annotations.get("io.kubernetes.cri.container-name");
        found.push((id, label.cloned().unwrap_or_default()));
    }
    Ok(found)
}

struct Running {
    name: String,
    command: String,
    children: Vec<i32>,
}

/// Every process of the host.
fn process_table() -> Result<HashMap<i32, Running>> {
    let mut table = HashMap::new();
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").doing(|| "list /proc")? {
        let entry = entry.doing(|| "list /proc")?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may end while it is being looked at.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((name, parent)) = name_and_parent(&stat) else { continue };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
        parents.push((parent, pid));
        table.insert(pid, Running { name, command, children: Vec::new() });
    }
    parents.sort_unstable();
    for (parent, pid) in parents {
        if let Some(parent) = table.get_mut(&parent) {
            parent.children.push(pid);
        }
    }
    Ok(table)
}

/// From proc_pid_stat(5); the name may hold anything, parentheses too.
fn name_and_parent(stat: &str) -> Option<(String, i32)> {
    let (start, rest) = stat.rsplit_once(')')?;
    let name = start.split_once('(')?.1.to_owned();
    Some((name, rest.split_whitespace().nth(1)?.parse().ok()?))
}

/// The tree below `pid`, without the trees of `others`.
fn node(table: &HashMap<i32, Running>, pid: i32, container: &str, others: &[i32]) -> ProcessNode {
    let process = table.get(&pid);
    let children = process.map_or(&[][..], |process| &process.children).iter();
    let children = children.filter(|child| !others.contains(child));
    ProcessNode {
        pid,
        name: process.map_or_else(String::new, |process| process.name.clone()),
        command: process.map_or_else(String::new, |process| process.command.clone()),
        container: container.to_owned(),
        children: children.map(|child| node(table, *child, container, others)).collect(),
    }
}

/// The host's devices, for a privileged container.
pub fn host_devices() -> Result<Vec<LinuxDevice>> {
    let mut devices = Vec::new();
    let mut open = vec![PathBuf::from("/dev")];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).doing(|| format!("list {}", dir.display()))? {
            let path = entry.doing(|| format!("list {}", dir.display()))?.path();
            let Ok(is) = path.symlink_metadata() else { continue };
            let own = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/console"];
            if own.iter().any(|own| path == Path::new(own)) {
                continue;
            }
            let kind = is.file_type();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_char_device() || kind.is_block_device() {
                devices.push(device(path, &is)?);
            }
        }
    }
    Ok(devices)
}

fn device(path: PathBuf, is: &std::fs::Metadata) -> Result<LinuxDevice> {
    let char = is.file_type().is_char_device();
    let number = |part: u64| i64::try_from(part).unwrap_or(i64::MAX);
    LinuxDeviceBuilder::default()
        .typ(if char { LinuxDeviceType::C } else { LinuxDeviceType::B })
        .major(number(nix::sys::stat::major(is.rdev())))
        .minor(number(nix::sys::stat::minor(is.rdev())))
        .file_mode(is.mode() & 0o777)
        .uid(is.uid())
        .gid(is.gid())
        .path(path)
        .build()
        .map_err(|error| Error::new(Kind::Bug, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "12 (a) b (c) S 7 12 12 0";
        assert_eq!(name_and_parent(stat), Some(("a) b (c".into(), 7)));
        assert_eq!(name_and_parent("12"), None);
    }
}
