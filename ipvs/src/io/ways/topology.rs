//! Everything that is known of routes, links and neighbours. A value without sockets: what netlink says goes in, ways
//! and effects come out.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::answers::{Answers, Asked, Found as FoundWay, Key as AnswerKey, Question, Route, Scope};
use super::links::{LinkKind, Links};
use super::message::Event;
use super::neighbours::{Neighbour, Neighbours, Reachability};
use super::next_hop_table::{Found, Key, NextHopTable};
use super::regions::{Answer, Prefix, Regions};
use super::{Changed, Kind, LinkLayer, Way};
use crate::engine::address::Address;
use crate::io::next_hop::{NextHop, NextHopIndex};
use crate::virtual_service::Family;

/// How often an unknown neighbour is asked for: the kernel itself asks three times, a second apart, and what is asked
/// for meanwhile costs nothing.
const RETRY: Duration = Duration::from_secs(1);
/// How often stale neighbours in use are checked even if no event said so, path MTUs asked for again, and places of
/// neighbours that nobody uses given back.
const PERIOD: Duration = Duration::from_secs(30);
/// So many prefixes beside those of the last dump make it time for another.
const PREFIXES_TO_FORGET: usize = 65_536;

/// Of an interface that nothing was heard of yet: what every one that does IPv6 has.
const LEAST_MTU: u32 = 1280;

/// Call [`Self::handle`] with all that a dump says between [`Self::begin_dump`] and [`Self::end_dump`], then with every
/// event; after each call, and after lookups, carry out what [`Self::poll_effect`] says, and tell [`Self::written`].
#[derive(Debug)]
pub struct Topology {
    regions: Regions,
    /// Prefixes after the last dump.
    dumped: usize,
    /// Bits of marks that rules have looked at.
    mark_mask: u32,
    /// Rules or routes have looked at sources.
    by_source: bool,
    answers: Answers,
    links: Links,
    neighbours: Neighbours,
    table: NextHopTable,
    /// Neighbours that the kernel is to be asked for.
    resolutions: BTreeSet<(u32, Address)>,
    changed: Vec<Changed>,
    dumping: bool,
    last_retry: Instant,
    last_period: Instant,
}

/// What is to be done outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Have the kernel find out, or check, the address of a neighbour.
    Resolve { interface: u32, neighbour: Address },
    /// Write to the array.
    Write { index: NextHopIndex, next_hop: Option<NextHop> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    Known(Way),
    /// Ask the kernel, and tell [`Topology::answer`].
    Ask(Question),
}

impl Topology {
    /// For an array of so many next hops, all empty.
    pub fn new(capacity: u32, now: Instant) -> Self {
        Self {
            regions: Regions::new(),
            dumped: 0,
            mark_mask: 0,
            by_source: false,
            answers: Answers::new(),
            links: Links::default(),
            neighbours: Neighbours::default(),
            table: NextHopTable::new(capacity),
            resolutions: BTreeSet::new(),
            changed: Vec::new(),
            dumping: false,
            last_retry: now,
            last_period: now,
        }
    }

    pub const fn next_hops(&self) -> &NextHopTable {
        &self.table
    }

    /// Whether it is an address of this host.
    pub fn is_local(&self, address: Address) -> bool {
        self.links.is_local(address)
    }

    /// Churn has left so many prefixes that a new dump is worth it.
    pub const fn wants_dump(&self) -> bool {
        self.regions.len() > self.dumped.saturating_mul(2).saturating_add(PREFIXES_TO_FORGET)
    }

    pub fn look_up(&mut self, destination: Address, mark: u32, from: Option<Address>) -> Lookup {
        let asked = Asked { destination, mark, from };
        if let Some(found) = self.answers.recent(&asked) {
            let Some(place) = found.place else { return Lookup::Known(found.way) };
            if let Some((index, known)) = self.table.use_place(place) {
                let link_layer = if known { LinkLayer::Known(index) } else { LinkLayer::Pending };
                return Lookup::Known(Way { link_layer, ..found.way });
            }
        }
        let from = from.filter(|from| self.by_source && self.links.is_local(*from));
        let (region, answer) = self.regions.find(destination);
        let scope = if answer == Answer::PerHost { Scope::Host(destination) } else { Scope::Region(region) };
        let key = AnswerKey { scope, mark: mark & self.mark_mask, from };
        match self.answers.get(&key, destination) {
            Some(route) => Lookup::Known(self.way(asked, &route)),
            None => Lookup::Ask(Question { destination, mark, from, key }),
        }
    }

    /// What the kernel has answered, before any other call.
    pub fn answer(&mut self, question: &Question, route: Route) -> Way {
        let mut key = question.key;
        if route.exception {
            key.scope = Scope::Host(question.destination);
        }
        self.answers.insert(key, route);
        let Question { destination, mark, from, .. } = *question;
        self.way(Asked { destination, mark, from }, &route)
    }

    /// One more flow refers to the next hop of that way: its place is not given to another until [`Self::release`].
    /// `None` if it has no link-layer address, or all places are in use. The place of a neighbour that is not known yet is
    /// empty, and packets of its flows go to the engine.
    pub fn hold(&mut self, way: &Way) -> Option<NextHopIndex> {
        if way.link_layer == LinkLayer::Absent {
            return None;
        }
        let key = Key { interface: way.interface, neighbour: way.neighbour, limit: way.limit };
        let (index, found) = self.table.hold(key)?;
        self.furnish(key, index, found);
        Some(index)
    }

    /// That flow is gone.
    pub fn release(&mut self, index: NextHopIndex) {
        self.table.release(index);
    }

    fn way(&mut self, asked: Asked, route: &Route) -> Way {
        let link = self.links.get(route.interface).copied();
        let of_link = link.map_or(LEAST_MTU, |link| link.mtu);
        let limit = route.mtu.filter(|mtu| *mtu < of_link);
        let mut way = Way {
            kind: route.kind,
            interface: route.interface,
            neighbour: route.gateway.unwrap_or(asked.destination),
            source: route.source,
            mtu: limit.unwrap_or(of_link),
            link_layer: LinkLayer::Absent,
            limit,
        };
        let mut place = None;
        if route.kind == Kind::Unicast && link.is_none_or(|link| link.kind != LinkKind::Bare) {
            way.link_layer = LinkLayer::Pending;
            if link.is_none() {
                return way;
            }
            let key = Key { interface: way.interface, neighbour: way.neighbour, limit };
            let Some((found, state)) = self.table.place_of(key) else { return way };
            place = Some(found);
            if let Some((index, _)) = self.table.use_place(found) {
                self.furnish(key, index, state);
                if self.table.get(index).is_some() {
                    way.link_layer = LinkLayer::Known(index);
                }
            }
        }
        self.answers.remember(asked, FoundWay { way, place });
        way
    }

    /// Gives a new place what is known of its neighbour, or has that found out.
    fn furnish(&mut self, key: Key, index: NextHopIndex, found: Found) {
        if found == Found::New {
            let next_hop = self.next_hop(key);
            self.table.set(index, next_hop);
            self.check(key);
        }
    }

    /// What programs have to know, as far as it is known.
    fn next_hop(&self, key: Key) -> Option<NextHop> {
        let link = self.links.get(key.interface).filter(|link| link.running)?;
        let of_neighbour = || self.neighbours.get(key.interface, key.neighbour)?.address();
        let (source, destination) = match link.kind {
            LinkKind::Ethernet(own) => (own, of_neighbour()?),
            LinkKind::WithoutResolution(own) => (own, of_neighbour().unwrap_or(own)),
            LinkKind::Bare => return None,
        };
        let mtu = key.limit.map_or(link.mtu, |limit| limit.min(link.mtu));
        Some(NextHop { interface: key.interface, destination, source, mtu })
    }

    /// Has the kernel resolve a neighbour in use if it does not stand by what it knows.
    fn check(&mut self, key: Key) {
        let resolvable = self
            .links
            .get(key.interface)
            .is_some_and(|link| link.running && matches!(link.kind, LinkKind::Ethernet(_)));
        let neighbour = self.neighbours.get(key.interface, key.neighbour);
        let confirmed = neighbour.is_some_and(|neighbour| neighbour.reachability == Reachability::Confirmed);
        if resolvable && !confirmed {
            self.resolutions.insert((key.interface, key.neighbour));
        }
    }

    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Link { interface, link } => {
                if self.links.set(interface, link) {
                    self.link_changed(interface);
                }
            }
            Event::LinkGone { interface } => {
                if self.links.remove(interface) {
                    self.neighbours.remove_all_of(interface);
                    self.link_changed(interface);
                }
            }
            Event::Address { interface, address } => {
                if self.links.add_address(interface, address) {
                    self.addresses_changed();
                }
            }
            Event::AddressGone { interface, address } => {
                if self.links.remove_address(interface, address) {
                    self.addresses_changed();
                }
            }
            Event::Neighbour { interface, address, neighbour } => {
                let known = self.neighbours.get(interface, address).copied();
                self.neighbours.set(interface, address, neighbour);
                if known != Some(neighbour) && !self.dumping {
                    let of_it = self.table.of_neighbour(interface, address);
                    self.refresh(&of_it);
                    if let (Some((key, _)), Reachability::Stale) = (of_it.first(), neighbour.reachability) {
                        self.check(*key);
                    }
                }
            }
            Event::NeighbourGone { interface, address } => self.neighbour_gone(interface, address),
            Event::Route { prefix, answer, by_source } => {
                self.regions.insert(prefix, answer);
                self.by_source |= by_source;
                self.routes_changed(Some(prefix));
            }
            Event::RouteGone { prefix } => self.routes_changed(Some(prefix)),
            Event::Rule { prefix, mark_mask, by_source } => {
                if let Some(prefix) = prefix {
                    self.regions.insert(prefix, Answer::Shared);
                }
                self.mark_mask |= mark_mask;
                self.by_source |= by_source;
                self.routes_changed(None);
            }
            Event::Rerouted => self.routes_changed(None),
            Event::Unreadable => {
                for family in [Family::V4, Family::V6] {
                    self.regions.insert(Prefix::all(family), Answer::PerHost);
                }
                self.mark_mask = u32::MAX;
                self.by_source = true;
                self.routes_changed(None);
            }
        }
    }

    /// The kernel forgets neighbours that nobody asks for, while programs send there.
    fn neighbour_gone(&mut self, interface: u32, address: Address) {
        let of_it = self.table.of_neighbour(interface, address);
        let address_of = self.neighbours.get(interface, address).copied();
        let kept = address_of.filter(|neighbour| !of_it.is_empty() && neighbour.address().is_some());
        match kept {
            Some(neighbour) => {
                let neighbour = Neighbour { reachability: Reachability::Stale, ..neighbour };
                self.neighbours.set(interface, address, neighbour);
                if let Some((key, _)) = of_it.first() {
                    self.check(*key);
                }
            }
            None => self.neighbours.remove(interface, address),
        }
    }

    fn link_changed(&mut self, interface: u32) {
        // The kernel drops routes of IPv4 with their interface without a word.
        self.routes_changed(None);
        if !self.dumping {
            let behind = self.table.behind(Some(interface));
            self.refresh(&behind);
            for (key, _) in behind {
                self.check(key);
            }
        }
    }

    fn addresses_changed(&mut self) {
        self.note(Changed::Addresses);
        self.routes_changed(None);
    }

    /// Routes to a prefix, or any.
    fn routes_changed(&mut self, prefix: Option<Prefix>) {
        if self.dumping {
            return;
        }
        match prefix {
            Some(prefix) => self.answers.forget(prefix, |region| self.regions.prefix(region)),
            None => self.answers.forget_all(),
        }
        self.note(Changed::Routes);
    }

    fn refresh(&mut self, places: &[(Key, NextHopIndex)]) {
        for &(key, index) in places {
            let next_hop = self.next_hop(key);
            if self.table.set(index, next_hop) {
                self.note(Changed::Neighbour(index));
            }
        }
    }

    fn note(&mut self, changed: Changed) {
        if !self.dumping && !self.changed.contains(&changed) {
            self.changed.push(changed);
        }
    }

    /// Forgets everything but who has which place.
    pub fn begin_dump(&mut self) {
        self.dumping = true;
        self.regions = Regions::new();
        self.mark_mask = 0;
        self.by_source = false;
        self.answers.forget_all();
        self.links = Links::default();
        self.neighbours = Neighbours::default();
    }

    /// All was told.
    pub fn end_dump(&mut self) {
        self.dumping = false;
        self.dumped = self.regions.len();
        self.addresses_changed();
        let all = self.table.behind(None);
        self.refresh(&all);
        for (key, _) in all {
            self.check(key);
        }
    }

    /// When to call [`Self::handle_timeout`] next; a time that is past if there are changes to [take](Self::take_changed).
    pub fn poll_timeout(&self) -> Instant {
        if !self.changed.is_empty() {
            return self.last_period.min(self.last_retry);
        }
        let period = self.last_period + PERIOD;
        let retry = self.table.unknown().next().map(|_| self.last_retry + RETRY);
        retry.map_or(period, |retry| retry.min(period))
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.last_retry + RETRY {
            self.last_retry = now;
            let unknown: Vec<_> = self.table.unknown().collect();
            for key in unknown {
                self.check(key);
            }
        }
        if now >= self.last_period + PERIOD {
            self.last_period = now;
            self.table.end_period();
            self.answers.forget_exceptions();
            for (key, _) in self.table.behind(None) {
                self.check(key);
            }
        }
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        if let Some((index, next_hop)) = self.table.next_write() {
            return Some(Effect::Write { index, next_hop });
        }
        let (interface, neighbour) = self.resolutions.pop_first()?;
        Some(Effect::Resolve { interface, neighbour })
    }

    /// The write of [`Effect::Write`] has succeeded. Until then it is the next effect.
    pub fn written(&mut self, index: NextHopIndex) {
        self.table.written(index);
    }

    /// What has changed since the last time.
    pub fn take_changed(&mut self) -> Vec<Changed> {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests;
