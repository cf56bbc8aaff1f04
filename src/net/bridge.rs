//! The bridge and the pods' cables, through rtnetlink. IPv4 only: IPv6 is off on the bridge, so a
//! pod cannot play router to the host (CVE-2020-10749).

use super::ipam::Cidr;
use crate::error::{Context, Error, Result};
use crate::sys::netlink::{Message, Socket};
use crate::sys::{self, Errno, fs};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

/// The pod's end of the cable, as every CNI plugin names it.
const POD_LINK: &str = "eth0";
/// `lo` is the first link of every network namespace.
const LOOPBACK: u32 = 1;

/// What of a link matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Whether it is up.
    pub up: bool,
    /// Whether the kernel has noticed that it can send.
    sends: bool,
    /// The index of the other end of a veth pair, in the other end's namespace.
    peer: Option<u32>,
}

/// A pod's cable.
pub struct Cable<'a> {
    /// The host's end.
    pub host_link: &'a str,
    /// Index of the bridge.
    pub bridge: u32,
    /// The pod's network namespace.
    pub netns: BorrowedFd<'a>,
    /// The pod's address.
    pub ip: Ipv4Addr,
    /// The bridge's subnet.
    pub cidr: Cidr,
    /// Whether the bridge may send a frame back to where it came from: a pod that reaches itself
    /// through its own host port needs that where bridged frames pass the rules (br_netfilter).
    pub hairpin: bool,
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
    link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
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
    let mut link = LinkMessage::default();
    link.header.index = index;
    (link.header.flags, link.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
    socket.call_one(Message::SetLink(link), 0).map(drop).doing(|| format!("set {name} up"))
}

/// Removes a link, if it is there; with one end of a veth pair the other goes too.
pub fn remove(socket: &mut Socket, name: &str) -> Result<()> {
    let removed = socket.call_one(Message::DelLink(named(name)), 0);
    unless(removed, Errno::ENODEV).doing(|| format!("remove link {name}"))
}

/// The IPv4 subnets that routes lead to, but for those over the link `except`.
pub fn routes(socket: &mut Socket, except: Option<u32>) -> Result<Vec<Cidr>> {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    let answer = socket.call_one(Message::GetRoute(request), NLM_F_DUMP);
    let answer = answer.doing(|| "list the routes")?;
    let routes = answer.into_iter().filter_map(|message| match message {
        Message::NewRoute(route) => Some(route),
        _ => None,
    });
    Ok(routes.filter_map(|route| destination(&route, except)).collect())
}

/// Lays the cable: both ends are made and set up in one step, the pod's end inside its namespace.
/// A cable that is there already is kept if it leads into this namespace, else replaced.
pub fn connect(host: &mut Socket, cable: &Cable<'_>) -> Result<()> {
    let doing = || format!("connect the pod to the bridge by {}", cable.host_link);
    let mut pod = Socket::open_in(cable.netns).doing(|| "enter the pod's network namespace")?;
    match new_pair(host, cable) {
        Err(Errno::EEXIST) => {
            if !leads_into(host, &mut pod, cable.host_link)? {
                remove(host, cable.host_link)?;
                new_pair(host, cable).doing(doing)?;
            }
        }
        other => other.doing(doing)?,
    }
    if cable.hairpin {
        set_hairpin(host, cable.host_link)?;
    }
    configure(&mut pod, cable)?;
    await_carrier(host, cable)
}

/// Waits until frames pass. The kernel notices a carrier some time after the link is up, and until
/// then the bridge drops what comes: the pod's first connection would wait a second for its next
/// try. Looking a link up makes the kernel notice since Linux 6.8; before, its message is awaited.
fn await_carrier(host: &mut Socket, cable: &Cable<'_>) -> Result<()> {
    let doing = || format!("wait for the carrier of {}", cable.host_link);
    if carries(host, cable).doing(doing)? {
        return Ok(());
    }
    let mut changes = Socket::open_links().doing(doing)?;
    while !carries(host, cable).doing(doing)? {
        changes.wait().doing(doing)?;
    }
    Ok(())
}

fn carries(host: &mut Socket, cable: &Cable<'_>) -> sys::Result<bool> {
    let mut bridge = LinkMessage::default();
    bridge.header.index = cable.bridge;
    let links = [named(cable.host_link), bridge].map(|link| (Message::GetLink(link), 0));
    let links = all(host.call(links.into()))?;
    Ok(links.iter().filter_map(link).all(|link| link.sends))
}

/// Brings `lo` up.
pub fn loopback_up(pod: &mut Socket) -> sys::Result<()> {
    pod.call_one(Message::SetLink(loopback()), 0).map(drop)
}

fn new_pair(host: &mut Socket, cable: &Cable<'_>) -> sys::Result<()> {
    // Not up yet: the kernel refuses that of a peer that it has not joined (ENOTCONN).
    let mut peer = named(POD_LINK);
    peer.attributes.push(LinkAttribute::NetNsFd(cable.netns.as_raw_fd()));
    // Made from the address, so that who knew the address's last owner reaches the new one.
    peer.attributes.push(LinkAttribute::Address(mac(cable.ip).to_vec()));
    let mut link = named(cable.host_link);
    (link.header.flags, link.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
    link.attributes.push(LinkAttribute::Controller(cable.bridge));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    host.call_one(Message::NewLink(link), NLM_F_CREATE | NLM_F_EXCL).map(drop)
}

/// Whether the host's end and the namespace's `eth0` are the two ends of one cable.
fn leads_into(host: &mut Socket, pod: &mut Socket, name: &str) -> Result<bool> {
    let (outer, inner) = (find(host, name)?, find(pod, POD_LINK)?);
    Ok(outer.zip(inner).is_some_and(|(outer, inner)| {
        outer.peer == Some(inner.index) && inner.peer == Some(outer.index)
    }))
}

fn set_hairpin(host: &mut Socket, name: &str) -> Result<()> {
    let mut link = named(name);
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
    ]));
    let set = host.call_one(Message::NewLink(link), 0);
    set.map(drop).doing(|| format!("set hairpin mode of {name}"))
}

/// The pod's own part: `lo` and the cable up, the address, the default route.
fn configure(pod: &mut Socket, cable: &Cable<'_>) -> Result<()> {
    let doing = || format!("set lo and {POD_LINK} up in the pod");
    let mut link = named(POD_LINK);
    (link.header.flags, link.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
    let up = [loopback(), link].map(|link| (Message::SetLink(link), 0));
    let get = (Message::GetLink(named(POD_LINK)), 0);
    let answers = all(pod.call(up.into_iter().chain([get]).collect())).doing(doing)?;
    let link = first_link(&answers).ok_or(Errno::EBADMSG).doing(doing)?;
    let address = Message::NewAddress(address(link.index, cable.ip, cable.cidr));
    let route = Message::NewRoute(default_route(link.index, cable.cidr.gateway()));
    // Replaced rather than made, for a pod that has them already.
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    let given = all(pod.call(vec![(address, flags), (route, flags)]));
    given.map(drop).doing(|| format!("give the pod {}", cable.ip))
}

/// The answers of all requests, or the first error.
fn all(answers: sys::Result<Vec<sys::Result<Vec<Message>>>>) -> sys::Result<Vec<Message>> {
    Ok(answers?.into_iter().collect::<sys::Result<Vec<_>>>()?.concat())
}

fn named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link
}

fn loopback() -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK;
    (link.header.flags, link.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
    link
}

fn address(index: u32, ip: Ipv4Addr, cidr: Cidr) -> AddressMessage {
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

fn default_route(index: u32, gateway: Ipv4Addr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes =
        vec![RouteAttribute::Gateway(RouteAddress::Inet(gateway)), RouteAttribute::Oif(index)];
    message
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

fn first_link(answer: &[Message]) -> Option<Link> {
    answer.iter().find_map(link)
}

fn link(message: &Message) -> Option<Link> {
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
fn mac(ip: Ipv4Addr) -> [u8; 6] {
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
