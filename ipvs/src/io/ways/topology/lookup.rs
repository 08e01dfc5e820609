//! From an address to a way, without the kernel where it has answered already.

use super::Topology;
use crate::engine::address::Address;
use crate::io::next_hop::{NextHop, NextHopIndex};
use crate::io::ways::answers::{Asked, Found as FoundWay, Key as AnswerKey, Question, Route, Scope};
use crate::io::ways::links::LinkKind;
use crate::io::ways::next_hop_table::{Found, Key};
use crate::io::ways::regions::Answer;
use crate::io::ways::{Changed, Kind, LinkLayer, Way};

/// Of an interface that nothing was heard of yet: what every one that does IPv6 has.
const LEAST_MTU: u32 = 1280;

/// What is known about the way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    Known(Way),
    /// Ask the kernel, and tell [`Topology::answer`].
    Ask(Question),
}

impl Topology {
    /// The way to an address for packets with that mark, and from that address if it is one of this host.
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

    /// Flows that were there before refer to an entry that is written already. It keeps its place, as it is, whatever
    /// becomes of its neighbour, until one [`Self::release`]: give those flows other next hops soon. `false` if the place
    /// is in use: adopt before anything is looked up.
    pub fn adopt(&mut self, index: NextHopIndex, next_hop: NextHop) -> bool {
        self.table.adopt(index, next_hop)
    }

    /// A packet of ours was too long on its way to that address: an ICMP error that quotes it says what would not be. That
    /// it does is for the caller to check. Forgotten after ten minutes.
    pub fn learn_path_mtu(&mut self, destination: Address, mtu: u32) {
        if self.path_mtus.learn(destination, mtu) {
            self.answers.forget_recent();
            self.note(Changed::Routes);
        }
    }

    fn way(&mut self, asked: Asked, route: &Route) -> Way {
        let link = self.links.get(route.interface).copied();
        let of_link = link.map_or(LEAST_MTU, |link| link.mtu);
        let of_path = self.path_mtus.get(asked.destination);
        let limit = route.mtu.into_iter().chain(of_path).min().filter(|mtu| *mtu < of_link);
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
}
