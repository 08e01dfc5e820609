//! Routes as rtnetlink messages, and whether the kernel already holds what is wanted. The kernel's own messages
//! are compared byte by byte, attribute by attribute, so that what the crate's types cannot say still counts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use buoy_vrrp::Family;
use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RoutePreference, RouteProtocol, RouteScope, RouteType, RouteVia,
};

use super::desired::{Encap, Insert, NextHop, Route};
use super::links::Links;
use super::netlink::{Request, attributes, emit, rtm};

const HEADER_LEN: usize = 12;

const RTN_LOCAL: u8 = 2;
const RTN_BROADCAST: u8 = 3;
const RTN_ANYCAST: u8 = 4;
const RTN_MULTICAST: u8 = 5;
const RTN_UNICAST: u8 = 1;
const RTN_NAT: u8 = 10;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PRIORITY: u16 = 6;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_FLOW: u16 = 11;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_PREF: u16 = 20;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
const RTA_EXPIRES: u16 = 23;
const RTA_TTL_PROPAGATE: u16 = 26;

const RTAX_LOCK: u16 = 1;
const RTAX_CC_ALGO: u16 = 16;
/// `RTNH_F_ONLINK`; the other bits of the flags are the kernel's own observations.
const ONLINK: u32 = 4;

/// `enum lwtunnel_encap_types`.
const ENCAP_MPLS: u16 = 1;
const ENCAP_IP: u16 = 2;
const ENCAP_ILA: u16 = 3;
const ENCAP_IP6: u16 = 4;

/// The device of an item does not exist (yet).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoSuchDevice(pub(super) Arc<str>);

pub(super) fn put(route: &Route, links: &Links) -> Result<Request, NoSuchDevice> {
    let flags = match route.insert {
        Insert::Add => NLM_F_CREATE | NLM_F_EXCL,
        Insert::Prepend => NLM_F_CREATE,
        Insert::Append => NLM_F_CREATE | NLM_F_APPEND,
    };
    Ok(Request::new(rtm::NEWROUTE, flags, &message(route, links)?))
}

pub(super) fn remove(route: &Route, links: &Links) -> Result<Request, NoSuchDevice> {
    Ok(Request::new(rtm::DELROUTE, 0, &message(route, links)?))
}

/// A dump request for the routes of one family and protocol.
pub(super) fn listing(family: Family, protocol: u8) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: address_family(family),
        protocol: RouteProtocol::from(protocol),
        ..RouteHeader::default()
    };
    message
}

/// A route of the kernel, split for comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeldRoute {
    header: [u8; HEADER_LEN],
    attributes: BTreeMap<u16, Vec<u8>>,
}

impl HeldRoute {
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let (header, body) = payload.split_first_chunk::<HEADER_LEN>()?;
        Some(Self { header: *header, attributes: attributes(body).collect() })
    }

    pub(super) fn family(&self) -> Option<Family> {
        family_of(self.header[0])
    }

    pub(super) fn protocol(&self) -> u8 {
        self.header[5]
    }

    /// As people write it.
    pub(super) fn destination(&self) -> String {
        let Some(destination) = self.attributes.get(&RTA_DST) else { return "default".to_owned() };
        let four = || <[u8; 4]>::try_from(destination.as_slice()).map(IpAddr::from).ok();
        let six = || <[u8; 16]>::try_from(destination.as_slice()).map(IpAddr::from).ok();
        four().or_else(six).map_or_else(String::new, |ip| format!("{ip}/{}", self.header[1]))
    }

    pub(super) fn table(&self) -> u32 {
        let value = self.attributes.get(&RTA_TABLE).and_then(|value| value.first_chunk());
        value.map_or(u32::from(self.header[4]), |value| u32::from_ne_bytes(*value))
    }
}

/// What the kernel reports once the route is there; compare with [`satisfies`].
pub(super) fn expected(route: &Route, links: &Links) -> Result<HeldRoute, NoSuchDevice> {
    let bytes = emit(&message(route, links)?);
    Ok(HeldRoute::read(&bytes).expect("a route message has a header"))
}

/// Everything that was asked for is there, and nothing that would make it another route.
pub(super) fn satisfies(held: &HeldRoute, expected: &HeldRoute) -> bool {
    let (mut ours, mut theirs) = (expected.header, held.header);
    // Table numbers beyond 255 are in the attribute only; of the flags only "onlink" is a setting.
    for header in [&mut ours, &mut theirs] {
        header[4] = 0;
        let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) & ONLINK;
        header[8..].copy_from_slice(&flags.to_ne_bytes());
    }
    ours == theirs
        && expected.attributes.iter().all(|(kind, value)| match (*kind, held.attributes.get(kind)) {
            // Not reported back by IP routes (TTL_PROPAGATE), or as remaining time (EXPIRES).
            (RTA_TTL_PROPAGATE | RTA_EXPIRES, _) => true,
            (RTA_METRICS | RTA_ENCAP, Some(found)) => covers(found, value),
            (RTA_MULTIPATH, Some(found)) => same_next_hops(found, value),
            (_, found) => found == Some(value),
        })
        && held.attributes.keys().all(|kind| {
            let defaulted = matches!(*kind, RTA_OIF | RTA_PRIORITY | RTA_CACHEINFO | RTA_TABLE | RTA_PREF);
            defaulted || expected.attributes.contains_key(kind)
        })
}

/// Nested attributes: each of `wanted` is in `found`.
fn covers(found: &[u8], wanted: &[u8]) -> bool {
    let found: BTreeMap<u16, Vec<u8>> = attributes(found).collect();
    attributes(wanted).all(|(kind, value)| found.get(&kind) == Some(&value))
}

/// Flags beyond "onlink" are the kernel's; length and attribute order may differ.
fn same_next_hops(found: &[u8], wanted: &[u8]) -> bool {
    let (found, wanted) = (split_next_hops(found), split_next_hops(wanted));
    found.len() == wanted.len()
        && found.iter().zip(&wanted).all(|(found, wanted)| {
            found.0 == wanted.0
                && wanted.1.iter().all(|(kind, value)| match (*kind, found.1.get(kind)) {
                    (RTA_ENCAP, Some(found)) => covers(found, value),
                    (_, found) => found == Some(value),
                })
        })
}

/// Of each `struct rtnexthop`: (onlink flag, weight, interface) and the attributes.
type SplitNextHop = ((u8, u8, [u8; 4]), BTreeMap<u16, Vec<u8>>);

fn split_next_hops(mut bytes: &[u8]) -> Vec<SplitNextHop> {
    let mut hops = Vec::new();
    while let Some((&[low, high, flags, hop_count, a, b, c, d], _)) = bytes.split_first_chunk::<8>() {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let Some(body) = bytes.get(8..length) else { break };
        let onlink = flags & RouteNextHopFlags::Onlink.bits();
        hops.push(((onlink, hop_count, [a, b, c, d]), attributes(body).collect()));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

fn message(route: &Route, links: &Links) -> Result<RouteMessage, NoSuchDevice> {
    // The kernel shows a single next hop as a plain gateway, so that is what is asked for.
    let alone = match route.next_hops.as_slice() {
        [hop] => Some(hop),
        _ => None,
    };
    let onlink = alone.map_or(route.onlink, |hop| hop.onlink);
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: address_family(route.family),
        destination_prefix_length: route.destination.len,
        source_prefix_length: route.from.map_or(0, |from| from.len),
        tos: route.tos,
        table: u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
        protocol: RouteProtocol::from(route.protocol),
        scope: RouteScope::from(scope(route)),
        kind: RouteType::from(route.kind),
        flags: if onlink { RouteFlags::Onlink } else { RouteFlags::empty() },
    };
    let attributes = &mut message.attributes;
    if route.destination.len > 0 {
        attributes.push(RouteAttribute::Destination(route.destination.ip.into()));
    }
    if let Some(from) = route.from.filter(|from| from.len > 0) {
        attributes.push(RouteAttribute::Source(from.ip.into()));
    }
    attributes.push(RouteAttribute::Table(route.table));
    attributes.extend(route.src.map(|src| RouteAttribute::PrefSource(src.into())));
    attributes.extend(route.metric.map(RouteAttribute::Priority));
    let via = alone.map_or(route.via, |hop| hop.via);
    attributes.extend(via.map(|via| gateway(route.family, via)));
    if let Some(dev) = alone.map_or(&route.dev, |hop| &hop.dev) {
        attributes.push(RouteAttribute::Oif(index_of(dev, links)?));
    }
    if let Some(encap) = alone.map_or(&route.encap, |hop| &hop.encap) {
        attributes.extend(encapsulation(encap));
    }
    attributes.extend(route.expires.map(RouteAttribute::Expires));
    attributes.extend(metrics(route));
    attributes.extend(route.pref.map(|pref| RouteAttribute::Preference(RoutePreference::from(pref))));
    attributes.extend(route.ttl_propagate.map(|on| other(RTA_TTL_PROPAGATE, &[u8::from(on)])));
    let realms = alone.and_then(|hop| hop.realms).or(route.realms);
    attributes.extend(realms.map(|realms| other(RTA_FLOW, &realms.to_ne_bytes())));
    if alone.is_none() && !route.next_hops.is_empty() {
        let hops: Result<Vec<_>, _> =
            route.next_hops.iter().map(|hop| next_hop(route.family, hop, links)).collect();
        attributes.push(RouteAttribute::MultiPath(hops?));
    }
    Ok(message)
}

/// `None` for the families that VRRP does not know.
pub(super) fn family_of(number: u8) -> Option<Family> {
    match AddressFamily::from(number) {
        AddressFamily::Inet => Some(Family::V4),
        AddressFamily::Inet6 => Some(Family::V6),
        _ => None,
    }
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// Without a configured scope an IPv4 route reaches as far as its type says; IPv6 knows no scope.
fn scope(route: &Route) -> u8 {
    let default = match (route.family, route.kind) {
        (Family::V6, _) => RouteScope::Universe,
        (_, RTN_LOCAL | RTN_NAT) => RouteScope::Host,
        (_, RTN_BROADCAST | RTN_MULTICAST | RTN_ANYCAST) => RouteScope::Link,
        (_, RTN_UNICAST) if route.via.is_none() && route.next_hops.is_empty() => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    match route.family {
        Family::V4 => route.scope.unwrap_or(default.into()),
        Family::V6 => default.into(),
    }
}

fn index_of(dev: &Arc<str>, links: &Links) -> Result<u32, NoSuchDevice> {
    links.by_name(dev).map(|link| link.index).ok_or_else(|| NoSuchDevice(dev.clone()))
}

/// A gateway of the other family travels in another attribute (RFC 5549 style next hops).
fn gateway(family: Family, via: IpAddr) -> RouteAttribute {
    match via {
        _ if Family::of(via) == family => RouteAttribute::Gateway(RouteAddress::from(via)),
        IpAddr::V4(ip) => RouteAttribute::Via(RouteVia::Inet(ip)),
        IpAddr::V6(ip) => RouteAttribute::Via(RouteVia::Inet6(ip)),
    }
}

fn next_hop(family: Family, hop: &NextHop, links: &Links) -> Result<RouteNextHop, NoSuchDevice> {
    let mut encoded = RouteNextHop::default();
    encoded.flags.set(RouteNextHopFlags::Onlink, hop.onlink);
    encoded.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
    if let Some(dev) = &hop.dev {
        encoded.interface_index = index_of(dev, links)?;
    }
    encoded.attributes.extend(hop.via.map(|via| gateway(family, via)));
    if let Some(encap) = &hop.encap {
        encoded.attributes.extend(encapsulation(encap));
    }
    encoded.attributes.extend(hop.realms.map(|realms| other(RTA_FLOW, &realms.to_ne_bytes())));
    Ok(encoded)
}

fn metrics(route: &Route) -> Option<RouteAttribute> {
    let locks = route
        .metrics
        .iter()
        .filter(|metric| metric.locked)
        .fold(0_u32, |locks, metric| locks | 1_u32.checked_shl(metric.rtax.into()).unwrap_or(0));
    let mut nested: Vec<DefaultNla> = Vec::new();
    if locks != 0 {
        nested.push(nla(RTAX_LOCK, &locks.to_ne_bytes()));
    }
    nested.extend(route.metrics.iter().map(|metric| nla(metric.rtax, &metric.value.to_ne_bytes())));
    nested.extend(route.congctl.as_ref().map(|name| nla(RTAX_CC_ALGO, &text(name))));
    (!nested.is_empty()).then(|| other(RTA_METRICS, &emit(&nested.as_slice())))
}

/// RTA_ENCAP and RTA_ENCAP_TYPE; attribute numbers of linux/lwtunnel.h, mpls_iptunnel.h and ila.h.
fn encapsulation(encap: &Encap) -> [RouteAttribute; 2] {
    let (kind, nested) = match encap {
        Encap::Ip { id, dst, src, tos, ttl, flags } => {
            (ENCAP_IP, tunnel(*id, [*dst, *src], [(5, *tos), (4, *ttl)], *flags))
        }
        Encap::Ip6 { id, dst, src, tc, hop_limit, flags } => {
            (ENCAP_IP6, tunnel(*id, [*dst, *src], [(5, *tc), (4, *hop_limit)], *flags))
        }
        Encap::Mpls { labels } => (ENCAP_MPLS, vec![nla(1, &label_stack(labels))]),
        Encap::Ila { locator } => (ENCAP_ILA, vec![nla(1, &locator.to_be_bytes())]),
    };
    [other(RTA_ENCAP | NLA_F_NESTED, &emit(&nested.as_slice())), other(RTA_ENCAP_TYPE, &kind.to_ne_bytes())]
}

/// `LWTUNNEL_IP_*` and `LWTUNNEL_IP6_*` share their numbers: ID 1, DST 2, SRC 3, TTL or HOPLIMIT 4, TOS or TC 5,
/// FLAGS 6.
fn tunnel(
    id: Option<u64>,
    ends: [Option<IpAddr>; 2],
    bytes: [(u16, Option<u8>); 2],
    flags: Option<u16>,
) -> Vec<DefaultNla> {
    let mut nested = Vec::new();
    nested.extend(id.map(|id| nla(1, &id.to_be_bytes())));
    for (kind, end) in [2, 3].into_iter().zip(ends) {
        nested.extend(end.map(|end| match end {
            IpAddr::V4(ip) => nla(kind, &ip.octets()),
            IpAddr::V6(ip) => nla(kind, &ip.octets()),
        }));
    }
    nested.extend(bytes.into_iter().filter_map(|(kind, value)| Some(nla(kind, &[value?]))));
    nested.extend(flags.map(|flags| nla(6, &flags.to_be_bytes())));
    nested
}

/// RFC 3032 label stack entries: label 20 bits, traffic class 3, bottom of stack 1, TTL 8.
fn label_stack(labels: &[u32]) -> Vec<u8> {
    let last = labels.len().saturating_sub(1);
    labels
        .iter()
        .enumerate()
        .flat_map(|(position, label)| ((label << 12) | u32::from(position == last) << 8).to_be_bytes())
        .collect()
}

fn text(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn nla(kind: u16, value: &[u8]) -> DefaultNla {
    DefaultNla::new(kind, value.to_vec())
}

fn other(kind: u16, value: &[u8]) -> RouteAttribute {
    RouteAttribute::Other(nla(kind, value))
}

#[cfg(test)]
mod tests;
