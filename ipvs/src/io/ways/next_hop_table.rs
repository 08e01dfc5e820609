//! Which place of the array is whose.
//!
//! Places are given to neighbours when a way to them is first looked up, and stay theirs while flows in maps refer to
//! them ([`NextHopTable::hold`]) or lookups find them. After a period with neither they are emptied, so that no packet
//! follows an old one, and given to the next; before that only if all are taken, the one that has not been looked up for
//! longest first. Places that are held are never given away: without a free one new neighbours have none.

use std::collections::{BTreeMap, VecDeque};

use super::super::next_hop::{NextHop, NextHopIndex};
use crate::engine::address::Address;

/// Whose place it is. Ways with another MTU than their interface have places of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) interface: u32,
    pub(super) neighbour: Address,
    pub(super) limit: Option<u32>,
}

/// A place, as long as it is the same neighbour's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    index: u32,
    tenancy: u32,
}

/// The places of one [`NextHops`](super::super::next_hop::NextHops). What is not empty in it at first has to be
/// [adopted](super::Ways::adopt).
#[derive(Debug)]
pub struct NextHopTable {
    slots: Vec<Slot>,
    capacity: u32,
    free: Vec<u32>,
    by_key: BTreeMap<Key, u32>,
    /// What is to be written, in order. No place is twice in it.
    writes: VecDeque<u32>,
    /// Where the search for a place to take begins.
    hand: usize,
    refused: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: Option<Key>,
    tenancy: u32,
    holders: u32,
    /// Looked up since the last [`NextHopTable::end_period`].
    used: bool,
    next_hop: Option<NextHop>,
    written: Option<NextHop>,
    queued: bool,
}

impl NextHopTable {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            slots: Vec::new(),
            capacity,
            free: Vec::new(),
            by_key: BTreeMap::new(),
            writes: VecDeque::new(),
            hand: 0,
            refused: 0,
        }
    }

    /// What programs find there once all is written.
    pub fn get(&self, index: NextHopIndex) -> Option<&NextHop> {
        self.slots.get(index.0 as usize)?.next_hop.as_ref()
    }

    /// Neighbours that have a place.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Lookups that found no place to give.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Flows that refer to it.
    pub fn holders(&self, index: NextHopIndex) -> u32 {
        self.slots.get(index.0 as usize).map_or(0, |slot| slot.holders)
    }

    /// One more flow refers to the place of that neighbour. `None` if there is none to give.
    pub(super) fn hold(&mut self, key: Key) -> Option<(NextHopIndex, Found)> {
        let (place, found) = self.place_of(key)?;
        let slot = self.slots.get_mut(place.index as usize)?;
        slot.holders = slot.holders.saturating_add(1);
        Some((NextHopIndex(place.index), found))
    }

    /// One flow less. Every [`Self::hold`] is followed by one of these, at most.
    pub(super) fn release(&mut self, index: NextHopIndex) {
        let Some(slot) = self.slots.get_mut(index.0 as usize).filter(|slot| slot.holders > 0) else { return };
        slot.holders -= 1;
        // It may be needed again soon.
        slot.used = true;
        // Nobody knows whose it was.
        if slot.holders == 0 && slot.key.is_none() {
            self.vacate(index.0);
            self.free.push(index.0);
        }
    }

    /// Takes over an entry that is written already, and leaves it alone until it is released. `false` if the place is in
    /// use, or beyond the last.
    pub(super) fn adopt(&mut self, index: NextHopIndex, next_hop: NextHop) -> bool {
        let at = index.0;
        if at >= self.capacity {
            return false;
        }
        while let Some(next) = u32::try_from(self.slots.len()).ok().filter(|next| *next <= at) {
            self.slots.push(Slot::default());
            self.free.push(next);
        }
        let Some(free) = self.free.iter().position(|free| *free == at) else { return false };
        self.free.swap_remove(free);
        if let Some(slot) = self.slots.get_mut(at as usize) {
            slot.holders = 1;
            slot.next_hop = Some(next_hop);
            slot.written = Some(next_hop);
        }
        true
    }

    pub(super) fn place_of(&mut self, key: Key) -> Option<(Place, Found)> {
        if let Some(&index) = self.by_key.get(&key) {
            let slot = self.slots.get_mut(index as usize)?;
            slot.used = true;
            return Some((Place { index, tenancy: slot.tenancy }, Found::Known));
        }
        let Some(index) = self.take() else {
            self.refused += 1;
            return None;
        };
        let slot = self.slots.get_mut(index as usize)?;
        slot.key = Some(key);
        slot.tenancy = slot.tenancy.wrapping_add(1);
        slot.used = true;
        let place = Place { index, tenancy: slot.tenancy };
        self.by_key.insert(key, index);
        Some((place, Found::New))
    }

    /// Whether the neighbour is known, where the place is the same neighbour's still.
    pub(super) fn use_place(&mut self, place: Place) -> Option<(NextHopIndex, bool)> {
        let slot = self.slots.get_mut(place.index as usize)?;
        if slot.tenancy != place.tenancy || slot.key.is_none() {
            return None;
        }
        slot.used = true;
        Some((NextHopIndex(place.index), slot.next_hop.is_some()))
    }

    fn take(&mut self) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        let next = u32::try_from(self.slots.len()).ok().filter(|next| *next < self.capacity);
        if let Some(next) = next {
            self.slots.push(Slot::default());
            return Some(next);
        }
        // Twice around: what was looked up gets a second chance in the first.
        for _ in 0..self.slots.len().saturating_mul(2) {
            let at = self.hand;
            self.hand = (at + 1) % self.slots.len();
            let slot = self.slots.get_mut(at)?;
            if slot.holders == 0 && !std::mem::take(&mut slot.used) {
                let index = u32::try_from(at).ok()?;
                self.vacate(index);
                return Some(index);
            }
        }
        None
    }

    fn vacate(&mut self, index: u32) {
        self.set(NextHopIndex(index), None);
        if let Some(key) = self.slots.get_mut(index as usize).and_then(|slot| slot.key.take()) {
            self.by_key.remove(&key);
        }
    }

    /// Gives back places that nobody has held or looked up since the last time.
    pub(super) fn end_period(&mut self) {
        for (at, index) in (0..self.slots.len()).zip(0..) {
            let Some(slot) = self.slots.get_mut(at) else { return };
            if slot.key.is_some() && slot.holders == 0 && !std::mem::take(&mut slot.used) {
                self.vacate(index);
                self.free.push(index);
            }
        }
    }

    /// Tells whether it was something else before.
    pub(super) fn set(&mut self, index: NextHopIndex, next_hop: Option<NextHop>) -> bool {
        let Some(slot) = self.slots.get_mut(index.0 as usize) else { return false };
        if slot.next_hop == next_hop {
            return false;
        }
        slot.next_hop = next_hop;
        if !std::mem::replace(&mut slot.queued, true) {
            self.writes.push_back(index.0);
        }
        true
    }

    /// The next write, which stays the next until it was [done](Self::written). Changes that undo each other before are
    /// none.
    pub(super) fn next_write(&mut self) -> Option<(NextHopIndex, Option<NextHop>)> {
        loop {
            let index = *self.writes.front()?;
            match self.slots.get_mut(index as usize) {
                Some(slot) if slot.next_hop != slot.written => {
                    return Some((NextHopIndex(index), slot.next_hop));
                }
                Some(slot) => slot.queued = false,
                None => {}
            }
            self.writes.pop_front();
        }
    }

    pub(super) fn written(&mut self, index: NextHopIndex) {
        if let Some(slot) = self.slots.get_mut(index.0 as usize) {
            slot.written = slot.next_hop;
        }
    }

    /// Places of a neighbour.
    pub(super) fn of_neighbour(&self, interface: u32, neighbour: Address) -> Vec<(Key, NextHopIndex)> {
        let key = |limit| Key { interface, neighbour, limit };
        let range = self.by_key.range(key(None)..=key(Some(u32::MAX)));
        range.map(|(key, index)| (*key, NextHopIndex(*index))).collect()
    }

    /// Places of neighbours behind an interface, or of all.
    pub(super) fn behind(&self, interface: Option<u32>) -> Vec<(Key, NextHopIndex)> {
        let all = self.by_key.iter();
        let those = all.filter(|(key, _)| interface.is_none_or(|interface| key.interface == interface));
        those.map(|(key, index)| (*key, NextHopIndex(*index))).collect()
    }

    /// Neighbours that are needed but unknown.
    pub(super) fn unknown(&self) -> impl Iterator<Item = Key> {
        self.slots.iter().filter(|slot| slot.next_hop.is_none()).filter_map(|slot| slot.key)
    }
}

/// Whether a neighbour had a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Known,
    New,
}

#[cfg(test)]
mod tests;
