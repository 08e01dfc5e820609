//! Everything that is known of routes, links and neighbours. A value without sockets: what netlink says goes in, ways
//! and effects come out.

mod lookup;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

pub use lookup::Lookup;

use super::Changed;
use super::answers::Answers;
use super::links::{LinkKind, Links};
use super::message::Event;
use super::neighbours::{Neighbour, Neighbours, Reachability};
use super::next_hop_table::{Key, NextHopTable};
use super::path_mtus::PathMtus;
use super::regions::{Answer, Prefix, Regions};
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
    path_mtus: PathMtus,
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
    /// Have the kernel find out, or check, the address of a neighbour. It takes the request when nobody else is changing
    /// links or addresses (a lock, `rtnl`), unlike questions for routes.
    Resolve { interface: u32, neighbour: Address },
    /// Write to the array.
    Write { index: NextHopIndex, next_hop: Option<NextHop> },
}

impl Topology {
    /// For an array of so many next hops, of which those that are not empty are [adopted](Self::adopt).
    pub fn new(capacity: u32, now: Instant) -> Self {
        Self {
            regions: Regions::new(),
            dumped: 0,
            mark_mask: 0,
            by_source: false,
            answers: Answers::new(),
            links: Links::default(),
            neighbours: Neighbours::default(),
            path_mtus: PathMtus::default(),
            table: NextHopTable::new(capacity),
            resolutions: BTreeSet::new(),
            changed: Vec::new(),
            dumping: false,
            last_retry: now,
            last_period: now,
        }
    }

    /// Who has which place of the array.
    pub const fn next_hops(&self) -> &NextHopTable {
        &self.table
    }

    /// Interfaces with Ethernet headers whose neighbours are asked for, by their index.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.links.interfaces()
    }

    /// Whether it is an address of this host.
    pub fn is_local(&self, address: Address) -> bool {
        self.links.is_local(address)
    }

    /// Churn has left so many prefixes that a new dump is worth it.
    pub const fn wants_dump(&self) -> bool {
        self.regions.len() > self.dumped.saturating_mul(2).saturating_add(PREFIXES_TO_FORGET)
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

    /// What the kernel tells, by itself or in a dump.
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

    /// Has unknown and stale neighbours in use asked for, and forgets what is old.
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
            if self.path_mtus.end_period() {
                self.answers.forget_recent();
                self.note(Changed::Routes);
            }
            for (key, _) in self.table.behind(None) {
                self.check(key);
            }
        }
    }

    /// What is to be done next. Writes come first: what follows may wait for the kernel.
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
