//! The sandbox: volumes, the pod's cgroup, pause and its namespaces, the network, and the files
//! about them that containers see.

use super::{Place, inputs, network, teardown};
use crate::error::{Context, Error, Result};
use crate::net::hosts::{HostAlias, Resolver, hosts, hosts_of_node, resolv_conf};
use crate::oci::bundle::Bundle;
use crate::oci::cgroup::stats::page_sizes;
use crate::oci::ops::{self, CreateOptions};
use crate::pod::event::SandboxFault;
use crate::pod::store::{make_private_dir, remove_tree, write_json};
use crate::pod::translate::{Machine, names};
use crate::pod::worker::Reply;
use crate::pod::{fault, lock, logs, sandbox, state, translate};
use crate::sys::{cred, fork, fs};
use k8s_openapi::api::core::v1 as api;
use nix::fcntl::OFlag;
use std::fs::{DirBuilder, File, Permissions};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The first descriptor that pause inherits beside its stdio.
pub(super) const FIRST_EXTRA_FD: i32 = 3;
/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2: i64 = 0x6367_7270;
/// Larger files of the host are none that a resolver reads.
const MAX_HOST_FILE: u64 = 1 << 20;

/// Makes the sandbox `attempt`; nothing of it is left if that fails. The pid of pause, and the
/// pod's address.
pub fn create(
    place: &Place,
    attempt: u32,
    reply: &mut Reply,
) -> std::result::Result<(i32, Option<String>), (SandboxFault, Error)> {
    let id = state::sandbox_id(&place.uid, attempt);
    if place.bundle(&id).exists() {
        stop(place, attempt).map_err(|error| (SandboxFault::Sandbox, error))?;
    }
    network::check(place).map_err(|error| (SandboxFault::Network, error))?;
    let aside = Aside::start(place).map_err(|error| (SandboxFault::Sandbox, error))?;
    fault::worker("sandbox: network begun");
    let prepared = prepare_volumes(place).and_then(|()| {
        fault::worker("sandbox: volumes made");
        prepare_cgroup(place).map_err(|error| (SandboxFault::Pod, error))
    });
    fault::worker("sandbox: cgroup made");
    let in_sandbox = |error| (SandboxFault::Sandbox, error);
    let on_network = |error| (network::fault(place), error);
    let made = prepared.and_then(|()| run_pause(place, &id, reply).map_err(in_sandbox));
    // Also before anything is undone: nobody else is to be at work on the pod by then.
    fault::worker("sandbox: pause made");
    let aside = aside.wait().map_err(in_sandbox);
    let ready = made
        .and_then(|pid| aside.map(|()| pid))
        .and_then(|pid| {
            network::connect(place, attempt, pid).map(|ip| (pid, ip)).map_err(on_network)
        })
        .and_then(|(pid, ip)| {
            fault::worker("sandbox: connected");
            write_hosts(place, ip).map(|()| (pid, ip.map(|ip| ip.to_string()))).map_err(in_sandbox)
        });
    ready.map_err(|(fault, error)| match stop(place, attempt) {
        Ok(()) => (fault, error),
        Err(undo) => (fault, Error::system(format!("{error}; then, undoing it: {undo}"))),
    })
}

/// A process that makes, beside pause, what needs none: the network's part before there is a
/// namespace to attach (the rules of the bridge are another program's work), and files and
/// directories of the pod. What fails in it fails again where it is needed, and is told there.
struct Aside(nix::unistd::Pid);

impl Aside {
    fn start(place: &Place) -> Result<Self> {
        let work = || {
            let done = lock::hold_off(&place.run, place.free_fd())
                .and_then(|()| network::prepare(place))
                .and_then(|()| make_places(place))
                .and_then(|()| write_files(place));
            done.is_err().into()
        };
        fork::fork(work).map(Self).doing(|| "fork beside pause")
    }

    fn wait(self) -> Result<()> {
        nix::sys::wait::waitpid(self.0, None).map(drop).doing(|| "wait for the network's part")
    }
}

/// Directories that the start of a container would have to wait for.
fn make_places(place: &Place) -> Result<()> {
    make_private_dir(&place.rootfs())?;
    make_private_dir(&place.dir.join("termination"))?;
    for container in place.containers() {
        place.log(&container.name, 0).parent().map_or(Ok(()), make_private_dir)?;
    }
    Ok(())
}

/// Ends pause and takes the pod off the network. Volumes and the pod's cgroup stay.
pub fn stop(place: &Place, attempt: u32) -> Result<()> {
    let id = state::sandbox_id(&place.uid, attempt);
    let left = network::leave(place);
    let ended = ops::delete(&place.config.paths.oci, &id, true).map(drop);
    let detached = network::detach(place);
    let removed = remove_tree(&place.bundle(&id));
    left.and(ended).and(detached).and(removed)
}

fn prepare_volumes(place: &Place) -> std::result::Result<(), (SandboxFault, Error)> {
    inputs::make_volumes(place).map_err(|(volume, error)| (SandboxFault::Volume(volume), error))
}

/// This machine, as far as bundles depend on it.
pub fn machine() -> Result<Machine> {
    let cgroups = rustix::fs::statfs("/sys/fs/cgroup").map(|is| is.f_type);
    let unified = cgroups.is_ok_and(|kind| kind == CGROUP2);
    let limits_huge_pages = match unified {
        true => fs::read_kernel_file(Path::new("/sys/fs/cgroup/cgroup.controllers"))
            .is_ok_and(|controllers| controllers.split_whitespace().any(|it| it == "hugetlb")),
        false => Path::new("/sys/fs/cgroup/hugetlb").is_dir(),
    };
    Ok(Machine {
        memory: node_memory(),
        unified,
        least_oom_score_adj: least_oom_score_adj()?,
        huge_pages: if limits_huge_pages { page_sizes() } else { Vec::new() },
    })
}

/// Without `CAP_SYS_RESOURCE` no score can be lowered, proc_pid_oom_score_adj(5).
fn least_oom_score_adj() -> Result<i32> {
    const SYS_RESOURCE: u64 = 1 << 24;
    if cred::permitted().doing(|| "read own capabilities")? & SYS_RESOURCE != 0 {
        return Ok(-1000);
    }
    let path = Path::new("/proc/self/oom_score_adj");
    let score = fs::read_kernel_file(path).doing(|| format!("read {}", path.display()))?;
    score.trim().parse().map_err(|_| Error::system(format!("{}: {score:?}", path.display())))
}

/// Bytes of memory of this machine.
pub fn node_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

fn prepare_cgroup(place: &Place) -> Result<()> {
    let cgroup = teardown::pod_cgroup(place)?;
    cgroup.make(true)?;
    cgroup.set(&translate::pod_resources(&place.pod)?)
}

/// Starts pause; its pid.
fn run_pause(place: &Place, id: &str, reply: &mut Reply) -> Result<i32> {
    let dir = place.bundle(id);
    make_private_dir(&dir)?;
    make_shm(place)?;
    let spec = sandbox::spec(&place.pod, id, &pause_rootfs(place)?, &machine()?)?;
    write_json(&dir.join("config.json"), &spec)?;
    let root = &place.config.paths.oci;
    let preserve_fds = hold_output(place, reply)?;
    let options = CreateOptions {
        root: root.clone(),
        id: id.into(),
        preserve_fds,
        own_bundle: true,
        ..Default::default()
    };
    let bundle = Bundle { dir, spec, text: None, warnings: Vec::new() };
    ops::run_detached(&bundle, &options).map(|started| started.pid)
}

/// A directory with pause alone. Below the store, not below `run`, which may be mounted noexec.
fn pause_rootfs(place: &Place) -> Result<PathBuf> {
    let rootfs = place.dir.join("sandbox");
    let pause = rootfs.join("pause");
    make_private_dir(&rootfs)?;
    // Pause is nobody, and this is its root.
    std::fs::set_permissions(&rootfs, Permissions::from_mode(0o755))
        .doing(|| format!("change the mode of {}", rootfs.display()))?;
    fs::write_atomic(&pause, sandbox::PAUSE, 0o555)
        .doing(|| format!("write {}", pause.display()))?;
    Ok(rootfs)
}

/// Pause inherits every FIFO of its pod's containers, from descriptor 3 on, and with /dev/null as
/// its stdio: what a container wrote is there for the next monitor, though the container has ended
/// and its monitor too.
fn hold_output(place: &Place, reply: &mut Reply) -> Result<u32> {
    let null = fs::open(Path::new("/dev/null"), OFlag::O_RDWR, 0).doing(|| "open /dev/null")?;
    for number in 0..FIRST_EXTRA_FD {
        fork::dup_to(null.as_fd(), number).doing(|| "give pause its stdio")?;
    }
    // Its number may be one of those that follow.
    drop(null);
    let mut held: Vec<File> = Vec::new();
    for container in place.containers() {
        for stream in logs::STREAMS {
            held.push(logs::open_fifo(&place.fifos(&container.name), stream, OFlag::O_RDWR)?);
        }
    }
    let free = place.free_fd();
    let count = free - FIRST_EXTRA_FD;
    // First out of the way of each other, and the pipe to the monitor too.
    reply.move_above(free)?;
    let above = |file: &File| fork::dup_above(file.as_fd(), free);
    let moved: Vec<OwnedFd> = held
        .iter()
        .map(above)
        .collect::<std::result::Result<_, _>>()
        .doing(|| "hold the output")?;
    std::mem::forget(held);
    for (number, fifo) in (FIRST_EXTRA_FD..).zip(&moved) {
        fork::dup_to(fifo.as_fd(), number).doing(|| "hold the output")?;
    }
    Ok(count.unsigned_abs())
}

/// `/etc/hosts` of the pod, which has its address.
fn write_hosts(place: &Place, ip: Option<IpAddr>) -> Result<()> {
    write_file(place, "hosts", &hosts_file(place, ip)?)?;
    // Written aside, or not: then this says why.
    match place.dir.join("resolv.conf").exists() {
        true => Ok(()),
        false => write_files(place),
    }
}

/// `/etc/hostname` and `/etc/resolv.conf` of the pod.
fn write_files(place: &Place) -> Result<()> {
    let spec = place.pod.spec.clone().unwrap_or_default();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let config = spec.dns_config.as_ref().map(resolver);
    let resolv = resolv_conf(policy, &host_file("/etc/resolv.conf")?, config.as_ref());
    let hostname = match place.is_on_host_network() {
        true => place.config.node.clone(),
        false => names::kernel_hostname(&place.pod)?,
    };
    write_file(place, "hostname", &(hostname + "\n"))?;
    write_file(place, "resolv.conf", &resolv)
}

fn write_file(place: &Place, name: &str, content: &str) -> Result<()> {
    let path = place.dir.join(name);
    let written = fs::write_atomic(&path, content.as_bytes(), 0o644)
        // The umask must not keep a container's users from reading it.
        .and_then(|()| {
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(fs::errno)
        });
    written.doing(|| format!("write {}", path.display()))
}

/// Undoes what a container has made of `/etc/hosts`: the kubelet writes it before each start. In
/// place, as other containers have the file mounted; it is not theirs to replace.
pub fn restore_hosts(place: &Place, ip: Option<IpAddr>) -> Result<()> {
    let (path, wanted) = (place.dir.join("hosts"), hosts_file(place, ip)?);
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let restore = || -> Result<()> {
        let file = fs::open(&path, flags, 0)?;
        let there = fs::read_file_limited(&file, wanted.len() as u64 + 1);
        if there.is_ok_and(|there| there == wanted.as_bytes()) {
            return Ok(());
        }
        file.set_len(0)?;
        Ok(file.write_all_at(wanted.as_bytes(), 0)?)
    };
    restore().doing(|| format!("write {}", path.display()))
}

fn hosts_file(place: &Place, ip: Option<IpAddr>) -> Result<String> {
    let spec = place.pod.spec.as_ref();
    let aliases = spec.and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default();
    let alias = |alias: &api::HostAlias| HostAlias {
        ip: alias.ip.clone(),
        hostnames: alias.hostnames.clone().unwrap_or_default(),
    };
    let aliases: Vec<HostAlias> = aliases.iter().map(alias).collect();
    if place.is_on_host_network() {
        return Ok(hosts_of_node(&host_file("/etc/hosts")?, &aliases));
    }
    let (hostname, domain) = (names::hostname(&place.pod), names::domain(&place.pod));
    Ok(hosts(ip, hostname, domain.as_deref(), &aliases))
}

/// `spec.dnsConfig`, the options as they stand in the file.
fn resolver(config: &api::PodDNSConfig) -> Resolver {
    let option = |option: &api::PodDNSConfigOption| {
        let name = option.name.clone().unwrap_or_default();
        match option.value.as_deref().filter(|value| !value.is_empty()) {
            Some(value) => format!("{name}:{value}"),
            None => name,
        }
    };
    Resolver {
        nameservers: config.nameservers.clone().unwrap_or_default(),
        searches: config.searches.clone().unwrap_or_default(),
        options: config.options.iter().flatten().map(option).collect(),
    }
}

/// A file of the host's; empty if it has none.
fn host_file(path: &str) -> Result<String> {
    match fs::read_limited(Path::new(path), MAX_HOST_FILE) {
        Err(crate::sys::Errno::ENOENT) => Ok(String::new()),
        read => Ok(String::from_utf8_lossy(&read.doing(|| format!("read {path}"))?).into_owned()),
    }
}

/// The pod's `/dev/shm`: a directory on the host's, which every container binds. Memory without a
/// mount on the host; only root gets to it from there.
pub fn shm(place: &Place) -> PathBuf {
    memory_dir(place).join("shm")
}

/// What of the pod is in memory.
pub fn memory_dir(place: &Place) -> PathBuf {
    Path::new("/dev/shm").join(format!("runp-{}", place.uid))
}

/// Makes [`memory_dir`], for root alone.
pub fn make_memory_dir(place: &Place) -> Result<PathBuf> {
    let own = memory_dir(place);
    let make = || -> std::io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&own) {
            // Anybody may make names in /dev/shm; ours has to be ours.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let is = own.symlink_metadata()?;
                let is_ours = is.is_dir() && is.uid() == 0 && is.mode() & 0o077 == 0;
                if is_ours { Ok(()) } else { Err(error) }
            }
            made => made,
        }
    };
    make().doing(|| format!("make {}", own.display())).map(|()| own)
}

fn make_shm(place: &Place) -> Result<()> {
    make_memory_dir(place)?;
    let shm = shm(place);
    let make = || -> std::io::Result<()> {
        DirBuilder::new().recursive(true).create(&shm)?;
        std::fs::set_permissions(&shm, Permissions::from_mode(0o1777))
    };
    make().doing(|| format!("make {}", shm.display()))
}
