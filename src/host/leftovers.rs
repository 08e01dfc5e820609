//! What an earlier run left behind and the configuration does not name: a killed daemon cleans up nothing, and the
//! next one may be told of other things. Buoy's mark tells: [`PROTOCOL`] on addresses, routes and rules, an alias on
//! virtual MAC interfaces.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use buoy_vrrp::Family;

use super::desired::{Address, PROTOCOL};
use super::holdings::Holdings;
use super::item::Items;
use super::links::{Link, Links};
use super::netlink::{Request, Requester, rtm};
use super::route::{self, HeldRoute};
use super::rule::{self, HeldRule};
use super::vmac::{self, VmacSpec};

/// Abstract socket names belong to a network namespace.
const BEACON: &str = "buoy-host/";
const UNIX_SOCKETS: &str = "/proc/thread-self/net/unix";

/// Tells other Buoys in this network namespace of this one, for what they hold carries the same mark. The kernel
/// puts it out however the process ends.
#[derive(Debug)]
pub(super) struct Beacon(#[expect(dead_code, reason = "being bound is all it is for")] UnixDatagram);

impl Beacon {
    /// `number` is unique in the network namespace.
    pub(super) fn light(number: u32) -> io::Result<Self> {
        let address = SocketAddr::from_abstract_name(format!("{BEACON}{number}"))?;
        UnixDatagram::bind_addr(&address).map(Self)
    }

    /// No other beacon is lit. Two that are lit at the same time see each other.
    pub(super) fn alone(&self) -> io::Result<bool> {
        let shown = std::fs::read_to_string(UNIX_SOCKETS)?;
        let mark = format!(" @{BEACON}");
        Ok(shown.lines().filter(|line| line.contains(&mark)).count() == 1)
    }
}

/// Virtual MAC interfaces that no configuration names.
pub(super) fn vmacs<'a>(links: &'a Links, wanted: &[VmacSpec]) -> Vec<&'a Link> {
    let named = |link: &Link| wanted.iter().any(|spec| spec.name == link.name);
    links.iter().filter(|link| vmac::is_marked(link) && !named(link)).collect()
}

/// Addresses that nobody knows.
pub(super) fn addresses(links: &Links, holdings: &Holdings, wanted: &[VmacSpec]) -> Items {
    let sources: Vec<Address> = wanted.iter().filter_map(|spec| spec.source_address(links)).collect();
    let same = |one: &Address, other: &Address| {
        (one.ip, one.prefix_len, &one.dev) == (other.ip, other.prefix_len, &other.dev)
    };
    let mut items = Items::default();
    for link in links.iter() {
        for held in links.held(link.index).filter(|held| held.protocol == Some(PROTOCOL)) {
            let peer = held.peer;
            let address = Address { peer, ..Address::plain(held.ip, held.prefix_len, link.name.clone()) };
            if !holdings.knows(&address) && !sources.iter().any(|source| same(source, &address)) {
                items.addresses.push(address);
            }
        }
    }
    items
}

/// Requests that remove the rules and routes that nobody knows, with their names.
pub(super) fn paths(
    requester: &mut Requester,
    links: &Links,
    holdings: &Holdings,
) -> io::Result<Vec<(String, Request)>> {
    let mut found = Vec::new();
    for family in [Family::V4, Family::V6] {
        found.extend(rules(requester, family, holdings)?);
    }
    for family in [Family::V4, Family::V6] {
        found.extend(routes(requester, family, links, holdings)?);
    }
    Ok(found)
}

fn rules(
    requester: &mut Requester,
    family: Family,
    holdings: &Holdings,
) -> io::Result<Vec<(String, Request)>> {
    let mut ours = Vec::new();
    requester.dump(rtm::GETRULE, &rule::listing(family), |frame| {
        let rule = HeldRule::read(frame.payload).filter(|rule| rule.protocol() == Some(PROTOCOL));
        ours.extend(rule.map(|rule| (rule, frame.payload.to_vec())));
    })?;
    if ours.is_empty() {
        return Ok(Vec::new());
    }
    let known: Vec<HeldRule> = holdings.known().flat_map(|items| &items.rules).map(rule::expected).collect();
    ours.retain(|(held, _)| !known.iter().any(|known| rule::satisfies(held, known)));
    // What the kernel shows is what it takes to name the rule.
    let removal = |(held, payload): (HeldRule, _)| {
        let name = format!("rule {family} preference {}", held.priority());
        (name, Request { kind: rtm::DELRULE, flags: 0, payload })
    };
    Ok(ours.into_iter().map(removal).collect())
}

fn routes(
    requester: &mut Requester,
    family: Family,
    links: &Links,
    holdings: &Holdings,
) -> io::Result<Vec<(String, Request)>> {
    let mut ours = Vec::new();
    requester.dump(rtm::GETROUTE, &route::listing(family, PROTOCOL), |frame| {
        let wanted = |held: &HeldRoute| (held.family(), held.protocol()) == (Some(family), PROTOCOL);
        let route = HeldRoute::read(frame.payload).filter(wanted);
        ours.extend(route.map(|route| (route, frame.payload.to_vec())));
    })?;
    if ours.is_empty() {
        return Ok(Vec::new());
    }
    let known = holdings.known().flat_map(|items| &items.routes);
    let known: Vec<HeldRoute> = known.filter_map(|route| route::expected(route, links).ok()).collect();
    ours.retain(|(held, _)| !known.iter().any(|known| route::satisfies(held, known)));
    let removal = |(held, payload): (HeldRoute, _)| {
        let name = format!("route {} table {}", held.destination(), held.table());
        (name, Request { kind: rtm::DELROUTE, flags: 0, payload })
    };
    Ok(ours.into_iter().map(removal).collect())
}
