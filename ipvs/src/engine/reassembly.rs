//! Fragments become whole packets before the engine looks at them, as in the kernel, where IPVS never sees a fragment.
//!
//! Fragments cost an attacker nothing, so everything here has an end: bytes and datagrams that wait, fragments that a
//! datagram may have, and the time that they wait. When a new fragment finds no room, the datagrams that wait longest
//! are evicted, all but its own: fragments of an honest sender come one right after the other, and what has waited long
//! has probably lost one. (Linux refuses new datagrams instead, until old ones time out, so that a flood of fragments
//! keeps everybody else's out for half a minute.)
//!
//! A datagram is spoilt by fragments that overlap or contradict each other: nothing of it is taken until its time is
//! over, unless it is evicted (RFC 5722; RFC 8200, 4.5). Only the very same fragment may come twice. Linux is milder:
//! there, what lies within data that have come already is a duplicate, whatever its bytes, and fragments that follow on
//! an overlap can still become a packet.
//!
//! Nobody is told of datagrams that never become whole: the host that they were meant for, not the director, would say
//! so (RFC 792).

mod datagram;
mod part;
mod refused;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::datagram::{Datagram, Place, Waiting};
use self::part::{Key, Part};
pub use self::refused::{Refused, RefusedCounters};
use super::packet::View;
use crate::virtual_service::Family;

/// How long a datagram waits, from its first fragment to come: as in Linux, within what RFC 791 allows.
pub const TIMEOUT_V4: Duration = Duration::from_secs(30);
/// RFC 8200, 4.5.
pub const TIMEOUT_V6: Duration = Duration::from_secs(60);

/// What a datagram counts for, besides its bytes: its places in the tables. With this and what a fragment counts for, a
/// process grew by 63 to 99 % of what was counted, with 1 to 128 fragments of 8 to 1,400 bytes.
const DATAGRAM: usize = 512;
/// What a fragment counts for, besides its bytes: its place in the datagram, and what the allocator adds.
const FRAGMENT: usize = 96;

/// How much may wait. All of it is memory that anybody on the network can have filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, counted with what tables take: 512 for a datagram and 96 for a fragment, besides its data. By
    /// default 4 MiB, which Linux has too. A datagram that is longer than that never becomes whole: the longest need
    /// 70 to 80 KB. Packets that are handed out do not count.
    pub bytes: usize,
    /// Datagrams, by default 4,096. Spoilt ones count.
    pub datagrams: usize,
    /// Fragments of one datagram, by default 128: 64 KiB over a way of 576 bytes. More spoil it.
    pub fragments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 4 << 20, datagrams: 4096, fragments: 128 }
    }
}

/// Datagrams that wait for the rest of their fragments.
///
/// Fragments go to [`take`](Self::take), each with the [`View`] that was read of it, and the time. What is taken is
/// copied. When [`poll_timeout`](Self::poll_timeout) has come, [`handle_timeout`](Self::handle_timeout) makes room.
///
/// Tables are ordered maps: there is nothing that could collide, whatever addresses and identifications a sender
/// chooses.
#[derive(Debug)]
pub struct Reassembly {
    limits: Limits,
    headroom: usize,
    datagrams: BTreeMap<Key, Entry>,
    v4: Queue,
    v6: Queue,
    /// The age that the next datagram gets.
    next: u64,
    bytes: usize,
    counts: Counts,
    refused: RefusedCounters,
}

/// A datagram, and its place in the queue.
#[derive(Debug)]
struct Entry {
    age: u64,
    datagram: Datagram,
}

/// Datagrams of one family by age, which for those of one timeout is by deadline too.
type Queue = BTreeMap<u64, Deadline>;

#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    key: Key,
}

/// A packet that came in fragments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The headroom, and behind it the packet up to the end.
    pub buffer: Vec<u8>,
    /// Where the packet begins.
    pub start: usize,
    /// Of the packet.
    pub view: View,
    /// Length of the longest fragment, with its headers, in bytes. A way that does not take it is too narrow for what
    /// the sender sent; fragments that go on should not be longer.
    pub longest: usize,
    /// A fragment said that it must not be cut. The packet itself says so no more; of IPv6 every one does.
    pub dont_fragment: bool,
}

impl Whole {
    pub fn packet(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

/// What has become of fragments and datagrams since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Fragments that were kept.
    pub kept: u64,
    /// Fragments that were there already.
    pub duplicates: u64,
    /// Datagrams that became whole.
    pub whole: u64,
    /// Datagrams that were dropped for what one of their fragments did.
    pub spoilt: u64,
    /// Datagrams that had to make room.
    pub evicted: u64,
    /// Datagrams that waited in vain; not those that were spoilt before.
    pub timed_out: u64,
}

impl Reassembly {
    /// Nothing waits yet. Packets will have `headroom` bytes in front, for what forwarding puts there.
    pub fn new(limits: Limits, headroom: usize) -> Self {
        Self {
            limits,
            headroom,
            datagrams: BTreeMap::new(),
            v4: Queue::new(),
            v6: Queue::new(),
            next: 0,
            bytes: 0,
            counts: Counts::default(),
            refused: RefusedCounters::default(),
        }
    }

    /// Datagrams that wait, and spoilt ones.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Bytes in use, as [`Limits::bytes`] counts them.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub const fn counts(&self) -> Counts {
        self.counts
    }

    pub const fn refused(&self) -> &RefusedCounters {
        &self.refused
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. `None`: nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.queues().filter_map(|queue| queue.values().next()).map(|deadline| deadline.at).min()
    }

    /// Drops datagrams that have waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.due(now) {
            if let Some(Datagram::Waiting(_)) = self.remove(&due) {
                self.counts.timed_out += 1;
            }
        }
    }

    fn due(&self, now: Instant) -> Option<Key> {
        let mut first = self.queues().filter_map(|queue| queue.values().next());
        first.find(|deadline| deadline.at <= now).map(|deadline| deadline.key)
    }

    /// A fragment, of which `view` was read. Gives the packet if it was the last one that was missing.
    ///
    /// # Errors
    /// It is not taken, and the cause is counted. If it has spoilt its datagram, that is dropped.
    pub fn take(&mut self, packet: &[u8], view: &View, now: Instant) -> Result<Option<Whole>, Refused> {
        self.handle_timeout(now);
        let taken = Part::read(packet, view).and_then(|part| self.take_part(&part, now));
        if let Err(refused) = &taken {
            self.refused.count(refused);
        }
        taken
    }

    fn take_part(&mut self, part: &Part<'_>, now: Instant) -> Result<Option<Whole>, Refused> {
        let known = self.datagrams.get(&part.key);
        let place = known.map_or(Ok(Place::At(0)), |entry| entry.datagram.place(part, self.limits.fragments));
        let at = match place {
            Ok(Place::At(at)) => at,
            Ok(Place::Taken) => {
                self.counts.duplicates += 1;
                return Ok(None);
            }
            Err(refused) => {
                self.spoil(&part.key);
                return Err(refused);
            }
        };
        let known = known.is_some();
        self.make_room(part, known)?;
        if !known {
            self.begin(part.key, now);
        }
        self.counts.kept += 1;
        if !self.insert(at, part) {
            return Ok(None);
        }
        let Some(Datagram::Waiting(waiting)) = self.remove(&part.key) else { return Ok(None) };
        let whole = waiting.assemble(part.key.family(), self.headroom);
        match whole {
            Ok(_) => self.counts.whole += 1,
            Err(_) => self.counts.spoilt += 1,
        }
        whole.map(Some)
    }

    /// Evicts what must go for a part to be kept.
    fn make_room(&mut self, part: &Part<'_>, known: bool) -> Result<(), Refused> {
        let (datagrams, of_datagram) = if known { (0, 0) } else { (1, DATAGRAM) };
        let bytes = FRAGMENT + part.kept() + of_datagram;
        let own = self.datagrams.get(&part.key).map_or(0, |entry| entry.datagram.cost());
        if own + bytes > self.limits.bytes {
            self.spoil(&part.key);
            return Err(Refused::NoRoom);
        }
        while self.bytes.saturating_add(bytes) > self.limits.bytes
            || self.datagrams.len() + datagrams > self.limits.datagrams
        {
            let oldest = self.oldest_but(&part.key).ok_or(Refused::NoRoom)?;
            self.remove(&oldest);
            self.counts.evicted += 1;
        }
        Ok(())
    }

    fn begin(&mut self, key: Key, now: Instant) {
        let age = self.next;
        self.next += 1;
        let (queue, timeout) = match key.family() {
            Family::V4 => (&mut self.v4, TIMEOUT_V4),
            Family::V6 => (&mut self.v6, TIMEOUT_V6),
        };
        queue.insert(age, Deadline { at: now + timeout, key });
        let datagram = Datagram::Waiting(Waiting::default());
        self.bytes += datagram.cost();
        self.datagrams.insert(key, Entry { age, datagram });
    }

    /// Says whether the datagram is whole.
    fn insert(&mut self, at: usize, part: &Part<'_>) -> bool {
        let Some(entry) = self.datagrams.get_mut(&part.key) else { return false };
        let before = entry.datagram.cost();
        let Datagram::Waiting(waiting) = &mut entry.datagram else { return false };
        waiting.insert(at, part);
        let is_whole = waiting.is_whole();
        self.bytes += entry.datagram.cost() - before;
        is_whole
    }

    fn spoil(&mut self, key: &Key) {
        let Some(entry) = self.datagrams.get_mut(key) else { return };
        if let Datagram::Waiting(_) = entry.datagram {
            let before = entry.datagram.cost();
            entry.datagram = Datagram::Spoilt;
            self.bytes -= before - entry.datagram.cost();
            self.counts.spoilt += 1;
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Datagram> {
        let Entry { age, datagram } = self.datagrams.remove(key)?;
        match key.family() {
            Family::V4 => self.v4.remove(&age),
            Family::V6 => self.v6.remove(&age),
        };
        self.bytes -= datagram.cost();
        Some(datagram)
    }

    fn oldest_but(&self, own: &Key) -> Option<Key> {
        let others = self.queues().filter_map(|queue| queue.iter().find(|(_, other)| other.key != *own));
        others.min_by_key(|(age, _)| **age).map(|(_, deadline)| deadline.key)
    }

    fn queues(&self) -> impl Iterator<Item = &Queue> {
        [&self.v4, &self.v6].into_iter()
    }
}

#[cfg(test)]
mod tests;
