//! The pod's way to the network: the host's own, loopback alone, the built-in bridge, or plugins.

use super::Place;
use crate::error::{Context, Result};
use crate::net::cni::{Cni, PodName};
use crate::net::{Bridge, PortMapping, loopback_up};
use crate::oci::container::Container;
use crate::pod::event::SandboxFault;
use crate::pod::{Network, state};
use crate::sys::{fs, poll};
use k8s_openapi::api::core::v1 as api;
use nix::fcntl::OFlag;
use std::borrow::Cow;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a pod is on the network.
enum Way {
    Host,
    Loopback,
    Bridge(Bridge),
    Plugins(Cni),
}

fn way(place: &Place) -> Result<Way> {
    if place.is_on_host_network() {
        return Ok(Way::Host);
    }
    let paths = &place.config.paths;
    Ok(match &place.config.network {
        Network::None => Way::Loopback,
        Network::Cni(dirs) => Way::Plugins(Cni::new(dirs.clone(), paths.lib.join("cni"))),
        Network::Bridge => {
            let cidr = place.config.pod_cidr.as_deref();
            Way::Bridge(Bridge::open(&paths.lib.join("network"), paths.root.is_none(), cidr)?)
        }
    })
}

/// Whether pods can be connected at all, as far as can be said before anything is made.
pub fn check(place: &Place) -> Result<()> {
    match way(place)? {
        Way::Plugins(cni) => cni.dirs.check().map(drop).doing(|| {
            "container runtime network not ready: NetworkReady=false \
             reason:NetworkPluginNotReady message:Network plugin returns error"
        }),
        Way::Host | Way::Loopback | Way::Bridge(_) => Ok(()),
    }
}

/// What can be made before there is a namespace.
pub fn prepare(place: &Place) -> Result<()> {
    match way(place)? {
        Way::Bridge(bridge) => bridge.prepare(&place.uid, &ports(place)),
        Way::Host | Way::Loopback | Way::Plugins(_) => Ok(()),
    }
}

/// Connects the sandbox `attempt`, whose pause is `pid`; the pod's address, `None` where it has none
/// of its own.
pub fn connect(place: &Place, attempt: u32, pid: i32) -> Result<Option<IpAddr>> {
    let way = way(place)?;
    if matches!(way, Way::Host) {
        return Ok(None);
    }
    let netns = open_netns(pid)?;
    match way {
        Way::Host => Ok(None),
        Way::Loopback => loopback_up(netns.as_fd()).map(|()| None),
        Way::Bridge(bridge) => {
            let attached = bridge.attach(&place.uid, netns.as_fd(), &ports(place))?;
            Ok(Some(attached.ip.into()))
        }
        Way::Plugins(cni) => {
            let meta = &place.pod.metadata;
            let name = PodName {
                uid: &place.uid,
                namespace: meta.namespace.as_deref().unwrap_or_default(),
                name: meta.name.as_deref().unwrap_or_default(),
                sandbox: &state::sandbox_id(&place.uid, attempt),
            };
            cni.attach(&name, netns.as_fd(), &ports(place)).map(Some)
        }
    }
}

/// Takes the pod off the network as far as that has to be before pause ends.
pub fn leave(place: &Place) -> Result<()> {
    match way(place)? {
        Way::Plugins(_) => detach(place),
        Way::Host | Way::Loopback | Way::Bridge(_) => Ok(()),
    }
}

/// Takes the pod off the network, also without pause: a lease must not outlive its pod.
pub fn detach(place: &Place) -> Result<()> {
    match way(place)? {
        Way::Host | Way::Loopback => Ok(()),
        Way::Bridge(bridge) => bridge.detach(&place.uid),
        Way::Plugins(cni) => cni.detach(&place.uid, |sandbox| netns_of(place, sandbox)),
    }
}

/// Whether it is this pod that could not be connected, or none can be.
pub fn fault(place: &Place) -> SandboxFault {
    let works = || match way(place)? {
        Way::Host | Way::Loopback => Ok(true),
        Way::Bridge(bridge) => bridge.is_up(),
        Way::Plugins(cni) => cni.dirs.check().map(|_| true),
    };
    match works() {
        Ok(true) => SandboxFault::Sandbox,
        Ok(false) | Err(_) => SandboxFault::Network,
    }
}

/// Takes no new connection to the host ports of a container. Plugins close them with the pod.
pub fn close_ports(place: &Place, container: &str) -> Result<()> {
    match way(place)? {
        Way::Bridge(bridge) => {
            bridge.close_ports(&place.uid, &ports_of(&[place.container(container)?]))
        }
        Way::Host | Way::Loopback | Way::Plugins(_) => Ok(()),
    }
}

fn open_netns(pid: i32) -> Result<File> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    fs::open(&path, OFlag::O_RDONLY, 0).doing(|| format!("open {}", path.display()))
}

/// The namespace of a sandbox that runs.
fn netns_of(place: &Place, sandbox: &str) -> Option<OwnedFd> {
    let oci: &Path = &place.config.paths.oci;
    let container = Container::open(oci, sandbox).ok()?;
    let init = container.init().ok()??;
    let netns = open_netns(container.record.pid).ok()?;
    // Looked at after the open: it is still that process, so this is its namespace.
    let has_ended = poll::poll_in(&[init.as_fd()], Some(Duration::ZERO)).ok()?;
    (has_ended == [false]).then(|| netns.into())
}

fn ports(place: &Place) -> Vec<PortMapping> {
    ports_of(&place.containers())
}

fn ports_of(containers: &[Cow<'_, api::Container>]) -> Vec<PortMapping> {
    let mapping = |port: &api::ContainerPort| {
        let host_port = port.host_port.filter(|port| *port != 0)?;
        Some(PortMapping {
            protocol: port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
            host_ip: port.host_ip.as_ref().and_then(|ip| ip.parse().ok()),
            host_port: u16::try_from(host_port).ok()?,
            container_port: u16::try_from(port.container_port).ok()?,
        })
    };
    let ports = containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(mapping).collect()
}
