//! A pod's cable to the bridge: a veth pair, its pod end configured inside the pod's namespace.

use super::bridge::{address, find, first_link, indexed, link, mac, named, remove, set_up};
use super::cidr::Cidr;
use crate::error::{Context, Result};
use crate::sys::netlink::{Message, Socket};
use crate::sys::{self, Errno};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoData, InfoKind, InfoPortData,
    InfoPortKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The pod's end of the cable, as every CNI plugin names it.
const POD_LINK: &str = "eth0";
/// `lo` is the first link of every network namespace.
const LOOPBACK: u32 = 1;

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
    let links =
        [named(cable.host_link), indexed(cable.bridge)].map(|link| (Message::GetLink(link), 0));
    let links = all(host.call(links.into()))?;
    Ok(links.iter().filter_map(link).all(|link| link.sends))
}

/// Brings `lo` up.
pub fn loopback_up(pod: &mut Socket) -> sys::Result<()> {
    pod.call_one(Message::SetLink(set_up(indexed(LOOPBACK))), 0).map(drop)
}

fn new_pair(host: &mut Socket, cable: &Cable<'_>) -> sys::Result<()> {
    // Not up yet: the kernel refuses that of a peer that it has not joined (ENOTCONN).
    let mut peer = named(POD_LINK);
    peer.attributes.push(LinkAttribute::NetNsFd(cable.netns.as_raw_fd()));
    // Made from the address, so that who knew the address's last owner reaches the new one.
    peer.attributes.push(LinkAttribute::Address(mac(cable.ip).to_vec()));
    let mut link = named(cable.host_link);
    link.attributes.push(LinkAttribute::Controller(cable.bridge));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    let made = (Message::NewLink(link), NLM_F_CREATE | NLM_F_EXCL);
    let up = (Message::SetLink(set_up(named(cable.host_link))), 0);
    all(without_ipv6(host.call(vec![made, (silenced(cable.host_link), 0), up]), 1)).map(drop)
}

/// Has a link make no IPv6 address of its own before it is up. Each such address announces itself to
/// every port of the bridge, several times: the thousandth pod would have them all woken, which
/// costs tens of milliseconds. And a pod without one listens to no other's router advertisements.
fn silenced(name: &str) -> Message {
    let mut link: LinkMessage = named(name);
    let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    link.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![none])]));
    Message::SetLink(link)
}

type Answers = sys::Result<Vec<sys::Result<Vec<Message>>>>;

/// The answers, where the one at `silenced` may be that this kernel has no IPv6.
fn without_ipv6(mut answers: Answers, silenced: usize) -> Answers {
    if let Ok(answers) = &mut answers
        && let Some(answer) = answers.get_mut(silenced)
        && *answer == Err(Errno::EAFNOSUPPORT)
    {
        *answer = Ok(Vec::new());
    }
    answers
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
    let up = [set_up(indexed(LOOPBACK)), set_up(named(POD_LINK))]
        .map(|link| (Message::SetLink(link), 0));
    let get = (Message::GetLink(named(POD_LINK)), 0);
    let requests = [(silenced(POD_LINK), 0)].into_iter().chain(up).chain([get]).collect();
    let answers = all(without_ipv6(pod.call(requests), 0)).doing(doing)?;
    let link = first_link(&answers).ok_or(Errno::EBADMSG).doing(doing)?;
    let address = Message::NewAddress(address(link.index, cable.ip, cable.cidr));
    let route = Message::NewRoute(default_route(link.index, cable.cidr.gateway()));
    // Replaced rather than made, for a pod that has them already.
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    let given = all(pod.call(vec![(address, flags), (route, flags)]));
    given.map(drop).doing(|| format!("give the pod {}", cable.ip))
}

/// The answers of all requests, or the first error.
fn all(answers: Answers) -> sys::Result<Vec<Message>> {
    Ok(answers?.into_iter().collect::<sys::Result<Vec<_>>>()?.concat())
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
