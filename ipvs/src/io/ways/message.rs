//! Netlink messages. Read by hand: of links and routes a handful of attributes matters, and those that a later kernel
//! adds must not keep a message from being read.

use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::{
    NLA_TYPE_MASK, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NlasIterator,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourMessage,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::libc;

use super::Kind;
use super::answers::{Question, Route};
use super::links::{Link, LinkKind};
use super::neighbours::{Neighbour, Reachability};
use super::regions::{Answer, Prefix};
use crate::engine::address::Address;
use crate::virtual_service::Family;

/// Of Ethernet, and of `lo`, whose packets have such headers (`linux/if_arp.h`).
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
/// Attributes and flags of `linux/rtnetlink.h` and its like, where no crate names them.
const RTM_F_CLONED: u32 = 0x200;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;
const RTAX_MTU: u16 = 2;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_FWMARK: u16 = 10;
const FRA_FWMASK: u16 = 16;
const NTF_PROXY: u8 = 8;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;

/// What a message says that the kernel sends by itself, or in a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Link {
        interface: u32,
        link: Link,
    },
    LinkGone {
        interface: u32,
    },
    Address {
        interface: u32,
        address: Address,
    },
    AddressGone {
        interface: u32,
        address: Address,
    },
    Neighbour {
        interface: u32,
        address: Address,
        neighbour: Neighbour,
    },
    NeighbourGone {
        interface: u32,
        address: Address,
    },
    /// In whichever table.
    Route {
        prefix: Prefix,
        answer: Answer,
        by_source: bool,
    },
    RouteGone {
        prefix: Prefix,
    },
    Rule {
        prefix: Option<Prefix>,
        mark_mask: u32,
        by_source: bool,
    },
    /// Any route may be another.
    Rerouted,
    /// A route or a rule that could not be read: from now on, nothing is known to be routed as anything else.
    Unreadable,
}

/// `None` for what does not matter here.
pub(super) fn event(kind: u16, payload: &[u8]) -> Option<Event> {
    match kind {
        libc::RTM_NEWLINK => link(payload),
        libc::RTM_DELLINK => Some(Event::LinkGone { interface: u32_at(payload, 4)? }),
        libc::RTM_NEWADDR | libc::RTM_DELADDR => {
            let find = |wanted| attribute(payload, 8, wanted).and_then(address);
            // Of a pair of hosts, IFA_ADDRESS is the other one.
            let address = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?;
            let interface = u32_at(payload, 4)?;
            Some(match kind {
                libc::RTM_NEWADDR => Event::Address { interface, address },
                _ => Event::AddressGone { interface, address },
            })
        }
        libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => neighbour(kind, payload),
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => route(kind, payload),
        libc::RTM_NEWRULE => rule(payload),
        libc::RTM_DELRULE | RTM_NEWNEXTHOP | RTM_DELNEXTHOP => Some(Event::Rerouted),
        _ => None,
    }
}

fn link(payload: &[u8]) -> Option<Event> {
    // Bridges tell of their ports in messages of the same type that say less.
    if *payload.first()? != 0 {
        return None;
    }
    let flags = u32_at(payload, 8)?;
    let has = |flag: i32| flags & flag.unsigned_abs() != 0;
    let own = || attribute(payload, 16, libc::IFLA_ADDRESS).and_then(|bytes| bytes.try_into().ok());
    let kind = match (u16_at(payload, 2)?, own()) {
        (ARPHRD_LOOPBACK, Some(own)) => LinkKind::WithoutResolution(own),
        (ARPHRD_ETHER, Some(own)) if has(libc::IFF_NOARP) => LinkKind::WithoutResolution(own),
        (ARPHRD_ETHER, Some(own)) => LinkKind::Ethernet(own),
        _ => LinkKind::Bare,
    };
    let link = Link {
        running: has(libc::IFF_UP) && has(libc::IFF_RUNNING),
        mtu: attribute(payload, 16, libc::IFLA_MTU).and_then(|bytes| u32_at(bytes, 0))?,
        kind,
    };
    Some(Event::Link { interface: u32_at(payload, 4)?, link })
}

fn neighbour(kind: u16, payload: &[u8]) -> Option<Event> {
    // Forwarding databases of bridges have messages of this type too.
    family(*payload.first()?)?;
    // Those that this host answers for are none of its neighbours.
    if payload.get(10)? & NTF_PROXY != 0 {
        return None;
    }
    let interface = u32_at(payload, 4)?;
    let address = attribute(payload, 12, NDA_DST).and_then(address)?;
    if kind == libc::RTM_DELNEIGH {
        return Some(Event::NeighbourGone { interface, address });
    }
    let reachability = match u16_at(payload, 8)? {
        libc::NUD_STALE => Reachability::Stale,
        libc::NUD_REACHABLE | libc::NUD_DELAY | libc::NUD_PROBE | libc::NUD_PERMANENT | libc::NUD_NOARP => {
            Reachability::Confirmed
        }
        _ => Reachability::Unresolved,
    };
    let link_layer = attribute(payload, 12, NDA_LLADDR).and_then(|bytes| bytes.try_into().ok());
    let neighbour = Neighbour { reachability, link_layer };
    Some(Event::Neighbour { interface, address, neighbour })
}

fn route(kind: u16, payload: &[u8]) -> Option<Event> {
    let family = family(*payload.first()?)?;
    let read = || {
        let (len, source_len) = (*payload.get(1)?, *payload.get(2)?);
        let prefix = prefix(family, len, attribute(payload, 12, RTA_DST))?;
        // Next-hop objects may become groups without a word about the route.
        let several = [RTA_MULTIPATH, RTA_NH_ID].iter().any(|&of| attribute(payload, 12, of).is_some());
        let answer = if several { Answer::PerHost } else { Answer::Shared };
        Some((prefix, answer, source_len != 0))
    };
    Some(match read() {
        None => Event::Unreadable,
        Some((prefix, ..)) if kind == libc::RTM_DELROUTE => Event::RouteGone { prefix },
        Some((prefix, answer, by_source)) => Event::Route { prefix, answer, by_source },
    })
}

fn rule(payload: &[u8]) -> Option<Event> {
    let family = family(*payload.first()?)?;
    let read = || {
        let (len, source_len) = (*payload.get(1)?, *payload.get(2)?);
        let number = |of| attribute(payload, 12, of).and_then(|bytes| u32_at(bytes, 0));
        let mark_mask = match (number(FRA_FWMARK), number(FRA_FWMASK)) {
            (_, Some(mask)) => mask,
            (Some(_), None) => u32::MAX,
            (None, None) => 0,
        };
        let prefix = match len {
            0 => None,
            len => Some(prefix(family, len, attribute(payload, 12, FRA_DST))?),
        };
        let by_source = source_len != 0 || attribute(payload, 12, FRA_SRC).is_some();
        Some(Event::Rule { prefix, mark_mask, by_source })
    };
    Some(read().unwrap_or(Event::Unreadable))
}

/// The answer to a question for a route. `None` if it makes no sense.
pub(super) fn answer(payload: &[u8]) -> Option<Route> {
    let family = family(*payload.first()?)?;
    let kind = match *payload.get(7)? {
        libc::RTN_UNICAST => Kind::Unicast,
        libc::RTN_LOCAL | libc::RTN_ANYCAST => Kind::Local,
        libc::RTN_BLACKHOLE => Kind::Blackhole,
        libc::RTN_PROHIBIT => Kind::Prohibit,
        _ => Kind::Unreachable,
    };
    let find = |of| attribute(payload, 12, of);
    let via = find(RTA_VIA).and_then(|bytes| address(bytes.get(2..)?));
    let metrics = find(RTA_METRICS).unwrap_or_default();
    let expires = find(RTA_CACHEINFO).and_then(|bytes| u32_at(bytes, 8));
    let exception = match family {
        // Every answer says that it is a clone, and those that expire are exceptions.
        Family::V4 => expires.is_some_and(|expires| expires != 0),
        // Routes that a router has advertised expire too.
        Family::V6 => u32_at(payload, 8)? & RTM_F_CLONED != 0,
    };
    Some(Route {
        kind,
        interface: find(RTA_OIF).and_then(|bytes| u32_at(bytes, 0)).unwrap_or(0),
        gateway: find(RTA_GATEWAY).and_then(address).or(via),
        source: find(RTA_PREFSRC).and_then(address),
        mtu: attribute(metrics, 0, RTAX_MTU).and_then(|bytes| u32_at(bytes, 0)).filter(|mtu| *mtu != 0),
        exception,
    })
}

/// What a refusal to answer means. `None` if it is not about routes.
pub(super) const fn no_route(errno: Errno) -> Option<Route> {
    match errno {
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => Some(Route::none(Kind::Unreachable)),
        Errno::EACCES => Some(Route::none(Kind::Prohibit)),
        Errno::EINVAL => Some(Route::none(Kind::Blackhole)),
        _ => None,
    }
}

pub(super) fn ask_route(question: &Question, sequence: u32) -> Vec<u8> {
    let bits = match question.destination.family() {
        Family::V4 => 32,
        Family::V6 => 128,
    };
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family_of(question.destination),
        destination_prefix_length: bits,
        ..RouteHeader::default()
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(RouteAddress::from(IpAddr::from(question.destination))));
    if question.mark != 0 {
        attributes.push(RouteAttribute::Mark(question.mark));
    }
    if let Some(from) = question.from {
        message.header.source_prefix_length = bits;
        attributes.push(RouteAttribute::Source(RouteAddress::from(IpAddr::from(from))));
    }
    bytes(RouteNetlinkMessage::GetRoute(message), NLM_F_REQUEST, sequence)
}

/// As if the kernel itself had a packet for that neighbour.
pub(super) fn resolve(interface: u32, neighbour: Address, sequence: u32) -> Vec<u8> {
    let mut message = NeighbourMessage::default();
    message.header = NeighbourHeader {
        family: family_of(neighbour),
        ifindex: interface,
        flags: NeighbourFlags::Use,
        ..NeighbourHeader::default()
    };
    message.attributes.push(NeighbourAttribute::Destination(match IpAddr::from(neighbour) {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }));
    bytes(RouteNetlinkMessage::NewNeighbour(message), NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK, sequence)
}

/// Dumps of everything, in an order in which each can be understood.
pub(super) fn dumps() -> [RouteNetlinkMessage; 5] {
    [
        RouteNetlinkMessage::GetLink(Default::default()),
        RouteNetlinkMessage::GetAddress(Default::default()),
        RouteNetlinkMessage::GetRule(Default::default()),
        RouteNetlinkMessage::GetRoute(Default::default()),
        RouteNetlinkMessage::GetNeighbour(Default::default()),
    ]
}

pub(super) fn ask_dump(message: RouteNetlinkMessage, sequence: u32) -> Vec<u8> {
    bytes(message, NLM_F_REQUEST | NLM_F_DUMP, sequence)
}

fn bytes(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, message.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn family_of(address: Address) -> AddressFamily {
    match address.family() {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn family(number: u8) -> Option<Family> {
    match i32::from(number) {
        libc::AF_INET => Some(Family::V4),
        libc::AF_INET6 => Some(Family::V6),
        _ => None,
    }
}

/// Without an address it is that of all.
fn prefix(family: Family, len: u8, bytes: Option<&[u8]>) -> Option<Prefix> {
    match (len, bytes) {
        (0, _) => Some(Prefix::all(family)),
        (len, Some(bytes)) => Some(Prefix::new(address(bytes)?, len)),
        (_, None) => None,
    }
}

fn address(bytes: &[u8]) -> Option<Address> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Address::v4(u32::from_be_bytes(bytes)));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into())
}

/// The first of that kind behind a header.
fn attribute(payload: &[u8], header: usize, kind: u16) -> Option<&[u8]> {
    NlasIterator::new(payload.get(header..)?)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() & NLA_TYPE_MASK == kind)
        .map(|attribute| attribute.into_inner())
        .and_then(|whole| {
            let length = u16_at(whole, 0)?;
            whole.get(4..usize::from(length))
        })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests;
