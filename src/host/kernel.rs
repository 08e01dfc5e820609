//! What the kernel holds of the things that Buoy cares about: interfaces, addresses, and the routes and rules of
//! the protocols that its items carry.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::ops::BitOrAssign;

use buoy_vrrp::Family;
use netlink_packet_core::Emitable;

use super::address;
use super::item::{ItemRef, Items};
use super::links::Links;
use super::monitor::Notice;
use super::netlink::{Requester, rtm};
use super::route::{self, HeldRoute, NoSuchDevice};
use super::rule::{self, HeldRule};

/// How an item stands in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// As wanted.
    Right,
    /// An address as wanted but for its lifetime, which can be changed in place.
    Outdated,
    /// An address there with other properties.
    Different,
    Absent,
    NoDevice,
}

#[derive(Debug, Default)]
pub(super) struct Kernel {
    pub(super) links: Links,
    routes: Vec<HeldRoute>,
    rules: Vec<HeldRule>,
    /// Families and protocols of which `routes` holds the kernel's routes.
    watched_routes: BTreeSet<(Family, u8)>,
    watched_rules: bool,
    routes_stale: bool,
    rules_stale: bool,
}

/// What a notification means for what is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    /// Interfaces or addresses changed.
    pub(super) moved: bool,
    /// Something disappeared.
    pub(super) lessened: bool,
    pub(super) routes_moved: bool,
}

impl BitOrAssign for Moves {
    fn bitor_assign(&mut self, other: Self) {
        self.moved |= other.moved;
        self.lessened |= other.lessened;
        self.routes_moved |= other.routes_moved;
    }
}

impl Kernel {
    /// Takes a notification in.
    pub(super) fn note(&mut self, notice: &Notice) -> Moves {
        let (appeared, disappeared) = (
            Moves { moved: true, ..Moves::default() },
            Moves { moved: true, lessened: true, ..Moves::default() },
        );
        match notice {
            Notice::Link(message) => {
                self.links.handle_link(message);
                // It may have lost its carrier, or gone down.
                disappeared
            }
            Notice::LinkGone(index) => {
                self.links.handle_link_gone(*index);
                disappeared
            }
            Notice::Address(message) => {
                self.links.handle_address(message);
                appeared
            }
            Notice::AddressGone(message) => {
                self.links.handle_address_gone(message);
                disappeared
            }
            Notice::Routes { family, protocol } => {
                Moves { routes_moved: self.routes_changed(*family, *protocol), ..Moves::default() }
            }
            Notice::Rules => {
                self.doubt_rules();
                Moves { routes_moved: true, ..Moves::default() }
            }
        }
    }

    /// Keep an eye on the kinds of routes and rules that `items` have.
    pub(super) fn watch(&mut self, items: &Items) {
        for route in &items.routes {
            self.routes_stale |= self.watched_routes.insert((route.family, route.protocol));
        }
        if !items.rules.is_empty() {
            self.rules_stale |= !std::mem::replace(&mut self.watched_rules, true);
        }
    }

    pub(super) fn watches_routes(&self) -> bool {
        !self.watched_routes.is_empty()
    }

    pub(super) fn watches_rules(&self) -> bool {
        self.watched_rules
    }

    /// Somebody changed routes of a family (`AF_*`) and protocol. Whether that concerns us.
    pub(super) fn routes_changed(&mut self, family: u8, protocol: u8) -> bool {
        let ours =
            route::family_of(family).is_some_and(|family| self.watched_routes.contains(&(family, protocol)));
        self.routes_stale |= ours;
        ours
    }

    /// Routes may be gone without a word: the kernel tells nobody of IPv4 routes that go with an address or a
    /// link.
    pub(super) fn doubt_routes(&mut self) {
        self.routes_stale |= self.watches_routes();
    }

    pub(super) fn doubt_rules(&mut self) {
        self.rules_stale |= self.watched_rules;
    }

    /// Reads what is in doubt.
    pub(super) fn reload(&mut self, requester: &mut Requester) -> io::Result<()> {
        if self.routes_stale {
            self.routes.clear();
            for &(family, protocol) in &self.watched_routes {
                let listing = route::listing(family, protocol);
                let wanted = |held: &HeldRoute| (held.family(), held.protocol()) == (Some(family), protocol);
                collect(requester, rtm::GETROUTE, &listing, &mut self.routes, |payload| {
                    HeldRoute::read(payload).filter(wanted)
                })?;
            }
            self.routes_stale = false;
        }
        if self.rules_stale {
            self.rules.clear();
            for family in [Family::V4, Family::V6] {
                let listing = rule::listing(family);
                collect(requester, rtm::GETRULE, &listing, &mut self.rules, HeldRule::read)?;
            }
            self.rules_stale = false;
        }
        Ok(())
    }

    pub(super) fn presence(&self, item: ItemRef<'_>, leased: bool) -> Presence {
        match item {
            ItemRef::Address(wanted) => {
                let Some(link) = self.links.by_name(&wanted.dev) else { return Presence::NoDevice };
                match self.links.address(link.index, wanted.ip, wanted.prefix_len) {
                    None => Presence::Absent,
                    Some(held) if address::satisfies(held, wanted, leased) => Presence::Right,
                    Some(held) if address::identical(held, wanted) => Presence::Outdated,
                    Some(_) => Presence::Different,
                }
            }
            ItemRef::Route(wanted) => match route::expected(wanted, &self.links) {
                Err(NoSuchDevice(_)) => Presence::NoDevice,
                Ok(expected) => there(self.routes.iter().any(|held| route::satisfies(held, &expected))),
            },
            ItemRef::Rule(wanted) => {
                let expected = rule::expected(wanted);
                there(self.rules.iter().any(|held| rule::satisfies(held, &expected)))
            }
        }
    }

    /// The item's interfaces exist and are up, so that its absence is somebody's doing.
    pub(super) fn could_hold(&self, item: ItemRef<'_>) -> bool {
        item.devices().iter().all(|dev| self.links.by_name(dev).is_some_and(|link| link.up))
    }

    /// Whether IPv4 addresses stay on an interface in a subnet that one of `leaving` is in: the kernel takes them
    /// along with the first of their subnet unless `promote_secondaries` is set.
    pub(super) fn others_share_subnet(&self, index: u32, leaving: &BTreeSet<(u32, IpAddr, u8)>) -> bool {
        let subnet = |ip: IpAddr, len: u8| match ip {
            IpAddr::V4(ip) if len < 32 => {
                Some((ip.to_bits() & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0), len))
            }
            _ => None,
        };
        let on_link = leaving.iter().filter(|(on, ..)| *on == index);
        let subnets: BTreeSet<(u32, u8)> = on_link.filter_map(|(_, ip, len)| subnet(*ip, *len)).collect();
        self.links.held(index).any(|held| {
            subnet(held.ip, held.prefix_len).is_some_and(|subnet| subnets.contains(&subnet))
                && !leaving.contains(&(index, held.ip, held.prefix_len))
        })
    }
}

fn there(found: bool) -> Presence {
    if found { Presence::Right } else { Presence::Absent }
}

fn collect<T>(
    requester: &mut Requester,
    kind: u16,
    listing: &impl Emitable,
    into: &mut Vec<T>,
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<()> {
    requester.dump(kind, listing, |frame| into.extend(read(frame.payload)))
}
