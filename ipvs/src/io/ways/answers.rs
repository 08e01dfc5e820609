//! What the kernel has answered, for as long as it stays true.

use std::collections::HashMap;

use super::next_hop_table::Place;
use super::regions::{Prefix, Region};
use super::{Kind, Way};
use crate::engine::address::Address;

/// More different answers are not kept: then all are forgotten, and those in use asked for again, so that no order of
/// use has to be kept in lookups. About 150 bytes each.
const CAPACITY: usize = 65_536;
/// Lookups that are remembered whole, the last of those that share a place. A power of two; 128 bytes each.
const RECENT: usize = 4096;

/// What the kernel is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub destination: Address,
    pub mark: u32,
    /// An address of this host.
    pub from: Option<Address>,
    pub(super) key: Key,
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub kind: Kind,
    /// 0 for none.
    pub interface: u32,
    /// `None` if the destination is a neighbour itself.
    pub gateway: Option<Address>,
    pub source: Option<Address>,
    /// Where it is not the interface's.
    pub mtu: Option<u32>,
    /// Learned about this one destination, for a time: a path MTU, or a redirect.
    pub exception: bool,
}

impl Route {
    /// Nothing goes there.
    pub(super) const fn none(kind: Kind) -> Self {
        Self { kind, interface: 0, gateway: None, source: None, mtu: None, exception: false }
    }
}

/// For whom an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    Region(Region),
    Host(Address),
}

/// Questions that have the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) scope: Scope,
    /// The bits that rules look at.
    pub(super) mark: u32,
    /// If rules or routes look at it.
    pub(super) from: Option<Address>,
}

/// A lookup as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) destination: Address,
    pub(super) mark: u32,
    pub(super) from: Option<Address>,
}

/// A way, and the place of its neighbour, if that has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) way: Way,
    pub(super) place: Option<Place>,
}

#[derive(Debug)]
pub(super) struct Answers {
    answers: HashMap<Key, Route>,
    exceptions: bool,
    /// Of this generation are those that nothing has happened to since.
    recent: Box<[Option<(u64, Asked, Found)>]>,
    generation: u64,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { answers: HashMap::new(), exceptions: false, recent: vec![None; RECENT].into(), generation: 0 }
    }

    /// A host may have an exception to what its region has.
    pub(super) fn get(&self, key: &Key, destination: Address) -> Option<Route> {
        let of_host = Key { scope: Scope::Host(destination), ..*key };
        let exception = if self.exceptions { self.answers.get(&of_host) } else { None };
        exception.or_else(|| self.answers.get(key)).copied()
    }

    pub(super) fn insert(&mut self, key: Key, route: Route) {
        if self.answers.len() >= CAPACITY {
            self.answers.clear();
        }
        self.exceptions |= route.exception;
        self.answers.insert(key, route);
    }

    pub(super) fn recent(&self, asked: &Asked) -> Option<Found> {
        let (generation, of, found) = self.recent.get(Self::place(asked))?.as_ref()?;
        (*generation == self.generation && of == asked).then_some(*found)
    }

    pub(super) fn remember(&mut self, asked: Asked, found: Found) {
        if let Some(slot) = self.recent.get_mut(Self::place(&asked)) {
            *slot = Some((self.generation, asked, found));
        }
    }

    /// Whoever finds destinations that share a place wins no more than lookups that take the longer way.
    fn place(asked: &Asked) -> usize {
        let bits = asked.destination.bits();
        let folded = asked.destination.folded() ^ asked.mark.rotate_left(16);
        let from = asked.from.map_or(0, Address::folded);
        let mixed = (u64::from(folded) ^ (bits >> 64) as u64 ^ u64::from(from) << 32)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (u64::BITS - RECENT.trailing_zeros())) as usize
    }

    /// Ways that were found are to be found again from their answers.
    pub(super) fn forget_recent(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    pub(super) fn forget_all(&mut self) {
        self.answers.clear();
        self.forget_recent();
    }

    /// Forgets what a route to that prefix may have to do with: regions within it, and those around it, whose answer may
    /// have been asked for an address in it that was not known to be apart.
    pub(super) fn forget(&mut self, prefix: Prefix, prefix_of: impl Fn(Region) -> Option<Prefix>) {
        self.answers.retain(|key, _| match key.scope {
            Scope::Host(address) => !prefix.contains(address),
            Scope::Region(region) => prefix_of(region).is_some_and(|region| !region.overlaps(prefix)),
        });
        self.forget_recent();
    }

    /// Those have a time to live that the answer does not tell exactly.
    pub(super) fn forget_exceptions(&mut self) {
        if std::mem::take(&mut self.exceptions) {
            self.answers.retain(|_, route| !route.exception);
            self.forget_recent();
        }
    }
}
