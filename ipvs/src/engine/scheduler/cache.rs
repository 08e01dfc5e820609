//! What lblc and lblcr remember of destinations, and of the servers that they remember.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::hash::hash_32;
use super::pool::{Pool, ServerIndex};
use super::server::Server;
use crate::engine::address::Address;
use crate::real_server::RealServerId;

/// The kernel's table has 2 to this power chains.
const CHAIN_BITS: u32 = 10;
const CHAINS: u16 = 1 << CHAIN_BITS;
/// From so many entries on, those that were not used for a while go. A half more is never exceeded.
const FULL: usize = 16 << CHAIN_BITS;
/// Time between collections.
const INTERVAL: Duration = Duration::from_secs(60);
/// With nothing else to do, every 30th collection looks at all entries.
const FULL_CHECK: u32 = 30;
/// Not used for so long, an entry goes when there are too many.
const SPARE: Duration = Duration::from_secs(6 * 60);
/// Not used for so long, an entry goes. Also how long a set of lblcr lasts (`lblc_expiration`, `lblcr_expiration`).
pub(super) const EXPIRATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Something about each of at most 24,576 destinations.
#[derive(Clone, Debug)]
pub(super) struct Cache<T> {
    /// By the number of its chain, in which the kernel would keep it, so that the same ones are collected.
    entries: BTreeMap<(u16, Address), Entry<T>>,
    /// The chain that was collected last.
    rover: u16,
    /// Collections with nothing to do, the present one included.
    idle: u32,
    next_collection: Instant,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    value: T,
    used: Instant,
}

impl<T> Cache<T> {
    pub(super) fn new(now: Instant) -> Self {
        Self { entries: BTreeMap::new(), rover: 0, idle: 1, next_collection: now + INTERVAL }
    }

    /// What is remembered of the destination, which is in use.
    pub(super) fn get_mut(&mut self, destination: Address, now: Instant) -> Option<&mut T> {
        let entry = self.entries.get_mut(&key(destination))?;
        entry.used = now;
        Some(&mut entry.value)
    }

    /// Remembers something of the destination, if there is room.
    pub(super) fn insert(&mut self, destination: Address, value: T, now: Instant) {
        let key = key(destination);
        if self.entries.len() < FULL + FULL / 2 || self.entries.contains_key(&key) {
            self.entries.insert(key, Entry { value, used: now });
        }
    }

    /// Forgets all that `keep` refuses.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        self.entries.retain(|_, entry| keep(&mut entry.value));
    }

    pub(super) const fn poll_timeout(&self) -> Instant {
        self.next_collection
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if now < self.next_collection {
            return;
        }
        self.next_collection = now + INTERVAL;
        if self.idle == FULL_CHECK {
            self.entries.retain(|_, entry| !entry.is_idle(now, EXPIRATION));
            self.idle = 1;
        } else if self.entries.len() <= FULL {
            self.idle += 1;
        } else {
            self.collect(now);
        }
    }

    /// Chain by chain, until enough entries are gone.
    fn collect(&mut self, now: Instant) {
        let goal = ((self.entries.len() - FULL) * 4 / 3).min(FULL / 2);
        let mut gone = 0;
        for _ in 0..CHAINS {
            self.rover = (self.rover + 1) % CHAINS;
            let chain = (self.rover, Address::v6(u128::MIN))..=(self.rover, Address::v6(u128::MAX));
            let idle = self.entries.range(chain).filter(|(_, entry)| entry.is_idle(now, SPARE));
            let idle: Vec<_> = idle.map(|(key, _)| *key).collect();
            gone += idle.len();
            for key in idle {
                self.entries.remove(&key);
            }
            if gone >= goal {
                break;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl<T> Entry<T> {
    fn is_idle(&self, now: Instant, limit: Duration) -> bool {
        now.saturating_duration_since(self.used) >= limit
    }
}

fn key(destination: Address) -> (u16, Address) {
    let chain = hash_32(destination.folded(), CHAIN_BITS);
    (u16::try_from(chain).unwrap_or_default(), destination)
}

/// Whether the server has more active connections than its weight while another has fewer than half of its own.
pub(super) fn is_outdone(server: &Server, pool: Pool<'_>) -> bool {
    let has_room = |other: &Server| u64::from(other.active()) * 2 < u64::from(other.weight());
    server.active() > server.weight() && pool.iter().any(|(_, other)| has_room(other))
}

/// Which servers are in the service. One that was removed is remembered: when it comes back in its old place, so do the
/// destinations that it had.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    known: BTreeMap<ServerIndex, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    id: RealServerId,
    listed: bool,
}

impl Roster {
    pub(super) fn contains(&self, index: ServerIndex) -> bool {
        self.known.get(&index).is_some_and(|known| known.listed)
    }

    /// Servers came or went. Tells the places that have another server now.
    pub(super) fn update(&mut self, pool: Pool<'_>) -> Vec<ServerIndex> {
        self.known.values_mut().for_each(|known| known.listed = false);
        let mut replaced = Vec::new();
        for (index, server) in pool.iter() {
            let id = server.id();
            let before = self.known.insert(index, Known { id, listed: true });
            if before.is_some_and(|known| known.id != id) {
                replaced.push(index);
            }
        }
        replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(number: usize) -> Address {
        Address::v4(u32::try_from(number).expect("fewer than there are addresses"))
    }

    fn filled(entries: usize, now: Instant) -> Cache<()> {
        let mut cache = Cache::new(now);
        (0..entries).for_each(|number| cache.insert(destination(number), (), now));
        cache
    }

    /// How many entries there are after each collection.
    fn collections(cache: &mut Cache<()>, count: usize) -> Vec<usize> {
        let each = |_| {
            cache.handle_timeout(cache.poll_timeout());
            cache.len()
        };
        (0..count).map(each).collect()
    }

    #[test]
    fn there_are_never_more_than_half_again_of_a_full_cache() {
        let now = Instant::now();
        let mut cache = filled(30_000, now);
        assert_eq!(cache.len(), 24_576);
        cache.insert(destination(0), (), now);
        assert_eq!(cache.len(), 24_576);
        assert_eq!(cache.get_mut(destination(24_575), now), Some(&mut ()));
        assert_eq!(cache.get_mut(destination(24_576), now), None);
    }

    #[test]
    fn too_many_entries_lose_some_of_those_that_were_idle_for_six_minutes() {
        let mut cache = filled(18_000, Instant::now());
        let counts = collections(&mut cache, 7);
        assert_eq!(counts[..5], [18_000; 5]);
        // Four thirds of what is too much, and what else is in the last chain.
        assert!((15_800..=15_846).contains(&counts[5]), "{}", counts[5]);
        assert_eq!(counts[6], counts[5]);
    }

    #[test]
    fn a_cache_in_use_loses_nothing() {
        let now = Instant::now();
        let mut cache = filled(18_000, now);
        for minute in 1..=20 {
            let now = now + INTERVAL * minute;
            for number in 0..18_000 {
                cache.get_mut(destination(number), now);
            }
            cache.handle_timeout(now);
        }
        assert_eq!(cache.len(), 18_000);
    }

    #[test]
    fn entries_that_were_idle_for_a_day_go_within_half_an_hour() {
        let start = Instant::now();
        let mut cache = filled(100, start);
        for minute in 1..1440 {
            cache.handle_timeout(start + INTERVAL * minute);
        }
        assert_eq!(cache.len(), 100);
        cache.get_mut(destination(7), start + INTERVAL * 1439);
        for minute in 1440..1470 {
            cache.handle_timeout(start + INTERVAL * minute);
        }
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn before_its_time_nothing_is_collected() {
        let now = Instant::now();
        let mut cache = filled(1, now);
        cache.handle_timeout(now + INTERVAL / 2);
        assert_eq!(cache.poll_timeout(), now + INTERVAL);
    }
}
