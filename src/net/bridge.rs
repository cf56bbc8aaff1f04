//! The bridge, through rtnetlink. IPv4 only: IPv6 is off on the bridge, so a pod cannot play router
//! to the host (CVE-2020-10749).

use super::cidr::Cidr;
use crate::error::{Context, Error, Result};
use crate::sys::netlink::{Message, Socket};
use crate::sys::{self, Errno, fs};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// What of a link matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Whether it is up.
    pub up: bool,
    /// Whether the kernel has noticed that it can send.
    pub sends: bool,
    /// The index of the other end of a veth pair, in the other end's namespace.
    pub peer: Option<u32>,
}

/// The link of that name, if there is one.
pub fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    match socket.call_one(Message::GetLink(named(name)), 0) {
        Err(Errno::ENODEV) => Ok(None),
        other => other.doing(|| format!("look up link {name}")).map(|answer| first_link(&answer)),
    }
}

/// Makes the bridge, addressed but not up yet; a half-made one is completed.
pub fn create(socket: &mut Socket, name: &str, cidr: Cidr) -> Result<u32> {
    let doing = || format!("make bridge {name} with {}/{}", cidr.gateway(), cidr.prefix);
    let mut link = named(name);
    // Watching who listens to which multicast, the kernel would go through all ports for each new one,
    // to no avail: without a querier it sends multicasts to all of them anyway.
    let watch = InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)]);
    let info = vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(watch)];
    link.attributes.push(LinkAttribute::LinkInfo(info));
    // Given, or a bridge takes the lowest address of its ports, and changes it with them.
    link.attributes.push(LinkAttribute::Address(mac(cidr.gateway()).to_vec()));
    let made = socket.call_one(Message::NewLink(link), NLM_F_CREATE | NLM_F_EXCL);
    unless(made, Errno::EEXIST).doing(doing)?;
    let link = find(socket, name)?.ok_or_else(|| Error::from(Errno::ENODEV)).doing(doing)?;
    sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "1").doing(doing)?;
    let made = socket.call_one(Message::NewAddress(address(link.index, cidr.gateway(), cidr)), 0);
    unless(made, Errno::EEXIST).doing(doing)?;
    Ok(link.index)
}

/// Turns forwarding on, as a node of a pod network needs it, and the bridge up. Forwarding stays
/// on when the bridge goes: others may count on it by then, and CNI's plugins leave it too.
pub fn up(socket: &mut Socket, index: u32, name: &str) -> Result<()> {
    sysctl("ipv4/ip_forward", "1")?;
    let link = set_up(indexed(index));
    socket.call_one(Message::SetLink(link), 0).map(drop).doing(|| format!("set {name} up"))
}

/// Removes a link, if it is there; with one end of a veth pair the other goes too.
pub fn remove(socket: &mut Socket, name: &str) -> Result<()> {
    let removed = socket.call_one(Message::DelLink(named(name)), 0);
    unless(removed, Errno::ENODEV).doing(|| format!("remove link {name}"))
}

/// The IPv4 subnets that routes lead to or addresses are of, but for those of the link `except`.
pub fn subnets(socket: &mut Socket, except: Option<u32>) -> Result<Vec<Cidr>> {
    let mut routes = RouteMessage::default();
    routes.header.address_family = AddressFamily::Inet;
    let mut addresses = AddressMessage::default();
    addresses.header.family = AddressFamily::Inet;
    let mut subnets = Vec::new();
    for request in [Message::GetRoute(routes), Message::GetAddress(addresses)] {
        let answer = socket.call_one(request, NLM_F_DUMP).doing(|| "list routes and addresses")?;
        subnets.extend(answer.iter().filter_map(|message| subnet(message, except)));
    }
    Ok(subnets)
}

/// A link by its name.
pub fn named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link
}

/// A link by its index.
pub fn indexed(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link
}

/// The same, to be set up.
pub fn set_up(mut link: LinkMessage) -> LinkMessage {
    (link.header.flags, link.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
    link
}

/// An address of a link in the bridge's subnet.
pub fn address(index: u32, ip: Ipv4Addr, cidr: Cidr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = cidr.prefix;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(ip)),
        AddressAttribute::Address(IpAddr::V4(ip)),
        AddressAttribute::Broadcast(cidr.broadcast()),
    ];
    message
}

fn subnet(message: &Message, except: Option<u32>) -> Option<Cidr> {
    match message {
        Message::NewRoute(route) => destination(route, except),
        Message::NewAddress(address) if Some(address.header.index) != except => {
            address.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(ip)) => {
                    Some(Cidr::new(*ip, address.header.prefix_len))
                }
                _ => None,
            })
        }
        _ => None,
    }
}

fn destination(route: &RouteMessage, except: Option<u32>) -> Option<Cidr> {
    let prefix = route.header.destination_prefix_length;
    let mut address = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) if Some(*index) == except => return None,
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => address = Some(*ip),
            _ => {}
        }
    }
    // The default route leads everywhere, and every network is inside it.
    address.filter(|_| prefix > 0).map(|ip| Cidr::new(ip, prefix))
}

/// The link that an answer is about.
pub fn first_link(answer: &[Message]) -> Option<Link> {
    answer.iter().find_map(link)
}

/// The link that a message is about.
pub fn link(message: &Message) -> Option<Link> {
    let Message::NewLink(message) = message else { return None };
    let up = message.header.flags.contains(LinkFlags::Up);
    let mut link = Link { index: message.header.index, up, sends: false, peer: None };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Link(index) => link.peer = Some(*index),
            LinkAttribute::OperState(state) => link.sends = *state == State::Up,
            _ => {}
        }
    }
    Some(link)
}

/// A locally administered address made from the IP, as CNI's plugins do.
pub fn mac(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// Writes `/proc/sys/net/<key>` unless it says so already, or does not exist (no IPv6).
pub fn sysctl(key: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys/net").join(key);
    let doing = || format!("set {} to {value}", path.display());
    match fs::read_kernel_file(&path) {
        Err(Errno::ENOENT) => Ok(()),
        Ok(now) if now.trim() == value => Ok(()),
        _ => fs::write_kernel_file(&path, value.as_bytes()).doing(doing),
    }
}

/// Success also where the kernel says that what was wanted is so already.
fn unless<T>(result: sys::Result<T>, fine: Errno) -> sys::Result<()> {
    match result {
        Err(errno) if errno == fine => Ok(()),
        other => other.map(drop),
    }
}
