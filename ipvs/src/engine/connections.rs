//! The connections that the engine knows, and the persistence templates of their clients.
//!
//! A packet of either direction finds its [`Connection`] by one hash over all that it is addressed with: the index has a
//! connection under the key of its client's packets and under that of its server's. So a lookup reads one line of the
//! index and one of the entry, whichever way the packet goes, full NAT is like any masquerading, and no client can pile
//! up connections in one place by addressing many ports from one of its own.
//!
//! The rules are those of IPVS. What differs, and why:
//! - A connection from port 0 is found as any other; the kernel makes a new one at each of its packets.
//! - There are never two entries under one key. The kernel lets the newest be found.
//! - Of masqueraded connections that only differ in what their client addressed, answers find the newest, as in the
//!   kernel, but no more than the four newest have a chance to be found at all.
//! - Templates that were given up are in no index; the kernel has them under port 65535, where a service may be.
//! - There is no room for sequence numbers that are shifted, nor for the Call-IDs of the persistence engine `sip`.
//!
//! Read [`Connection`] and [`Connections`] first; [`StateTimeouts`] say how long connections last, and
//! [`Connections::relieve`] what becomes of them when there are too many.

mod check;
mod connection;
mod expiry;
mod indexing;
mod key;
mod listing;
mod pressure;
mod slots;
mod timeouts;

use std::hint::black_box;
use std::time::Instant;

use thiserror::Error;

pub use connection::Connection;
pub use expiry::{Cause, Ended, Expired};
pub use key::{PacketKey, TemplateKey};
pub use listing::Cursor;
pub use timeouts::StateTimeouts;

use super::index::Index;
use super::state::Direction;
use super::wheel::{Clock, Tick, Wheel};
use indexing::Hashes;
use key::{Kind, Secret};
use slots::Slots;

/// The place of an entry in the table, from its insertion to its end. After that, it may be another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionIndex(u32);

impl ConnectionIndex {
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What a table may take of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries, templates included; at least one, and at most [`Index::MOST`]. Each takes 140 bytes when it is first
    /// there, and 16 that the index has from the start.
    pub connections: u32,
}

/// All entries of the engine, with the times of their ends.
///
/// Packets: [`sought`](Self::sought), [`find`](Self::find), [`update`](Self::update). New connections: [`relieve`](Self::relieve), [`insert`](Self::insert). When
/// [`poll_timeout`](Self::poll_timeout) has come: [`expire`](Self::expire), until there is nothing. Servers are numbers
/// here; what they count, the caller does whenever an entry is inserted, changes its state, or is handed out at its end.
#[derive(Debug)]
pub struct Connections {
    slots: Slots,
    index: Index,
    wheel: Wheel,
    clock: Clock,
    secret: Secret,
    random: fastrand::Rng,
    /// Entries whose clients' ports are not known.
    without_client_port: u32,
    counts: Counts,
}

/// What has become of entries since the table was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub inserted: u64,
    /// Ended because no packet came, or by force.
    pub expired: u64,
    /// Taken out by [`Connections::remove`].
    pub removed: u64,
    /// Had to make room.
    pub evicted: u64,
    /// Not inserted, because there was no room.
    pub full: u64,
}

/// What a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub connection: ConnectionIndex,
    pub direction: Direction,
}

/// A packet's key, with its hash.
#[derive(Clone, Copy, Debug)]
pub struct Sought {
    key: PacketKey,
    hash: u64,
    /// Where it probably is, if that is known.
    likely: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotInserted {
    #[error("the table is full")]
    Full,
    #[error("there is one with that key")]
    Exists(ConnectionIndex),
    #[error("its controller has ended")]
    NoController,
    #[error("it ends with its packet")]
    OfOnePacket,
}

impl Connections {
    /// An empty table. `seed` should be nothing that clients can know, and `start` not later than any time that is
    /// passed in afterwards.
    pub fn with_limits(limits: Limits, seed: u64, start: Instant) -> Self {
        let most = limits.connections.clamp(1, Index::MOST);
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            slots: Slots::new(most),
            index: Index::with_capacity(2 * most as usize),
            wheel: Wheel::new(),
            clock: Clock::starting(start),
            secret: Secret::new(&mut random),
            random,
            without_client_port: 0,
            counts: Counts::default(),
        }
    }

    pub const fn len(&self) -> usize {
        self.slots.len() as usize
    }

    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub const fn counts(&self) -> Counts {
        self.counts
    }

    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The moment that is passed along with packets. Reading it once for many packets is enough.
    pub fn tick(&self, now: Instant) -> Tick {
        self.clock.tick(now)
    }

    pub fn get(&self, connection: ConnectionIndex) -> Option<&Connection> {
        self.slots.get(connection.0)
    }

    pub fn get_mut(&mut self, connection: ConnectionIndex) -> Option<&mut Connection> {
        self.slots.get_mut(connection.0)
    }

    pub const fn sought(&self, key: PacketKey) -> Sought {
        Sought { key, hash: self.secret.hash(&key, Kind::Connection), likely: connection::NONE }
    }

    /// Brings what the lookups of these packets will read near, all at once: each alone waits for memory twice. Worth it for
    /// the packets of a batch, a few dozen at a time, before the first of them changes the table.
    pub fn approach<T>(&self, packets: &mut [T], sought: impl Fn(&mut T) -> Option<&mut Sought>) {
        let mut near = 0_u32;
        for sought in packets.iter_mut().filter_map(&sought) {
            near ^= self.index.approach(sought.hash);
        }
        for sought in packets.iter_mut().filter_map(&sought) {
            // One that looks alike, nearly always the one.
            let first = self.index.find(sought.hash, |_| true);
            sought.likely = first.unwrap_or(connection::NONE);
        }
        // In a loop of its own, and a short one: so many more of these are under way at the same time.
        for sought in packets.iter_mut().filter_map(&sought) {
            near ^= self.slots.place(sought.likely).map_or(0, Connection::approach);
        }
        black_box(near);
    }

    /// The connection of a packet. What could be a client's packet is that.
    pub fn find(&self, sought: &Sought) -> Option<Found> {
        let is_it = |slot| self.slots.place(slot).is_some_and(|entry| entry.has_packet(&sought.key));
        let likely = Some(sought.likely).filter(|slot| is_it(*slot));
        match likely.or_else(|| self.index.find(sought.hash, is_it)) {
            Some(slot) => {
                let direction = self.slots.place(slot)?.direction_of(&sought.key);
                Some(Found { connection: ConnectionIndex(slot), direction })
            }
            None if self.without_client_port == 0 => None,
            None => {
                let key = PacketKey { source_port: 0, ..sought.key };
                let connection = self.find_exactly(&key, Kind::WithoutClientPort)?;
                Some(Found { connection, direction: self.get(connection)?.direction_of(&key) })
            }
        }
    }

    /// As [`find`](Self::find), for one packet.
    pub fn lookup(&self, key: PacketKey) -> Option<Found> {
        self.find(&self.sought(key))
    }

    pub fn find_template(&self, key: &TemplateKey) -> Option<ConnectionIndex> {
        self.find_exactly(&key.packet(), Kind::Template)
    }

    fn find_exactly(&self, key: &PacketKey, kind: Kind) -> Option<ConnectionIndex> {
        self.find_hashed(key, kind, self.secret.hash(key, kind))
    }

    fn find_hashed(&self, key: &PacketKey, kind: Kind, hash: u64) -> Option<ConnectionIndex> {
        let is_it = |slot| self.slots.place(slot).is_some_and(|entry| entry.is_asked_for(key, kind));
        self.index.find(hash, is_it).map(ConnectionIndex)
    }

    /// Adds an entry, to be kept for its timeout from `now` on. It counts at `controller`, which ends after it; a template
    /// that is that begins its timeout anew.
    ///
    /// # Errors
    /// There is no room ([`relieve`](Self::relieve) was to see to that), or what is to be added cannot be.
    pub fn insert(
        &mut self,
        mut connection: Connection,
        controller: Option<ConnectionIndex>,
        now: Tick,
    ) -> Result<ConnectionIndex, NotInserted> {
        if connection.is_of_one_packet() {
            return Err(NotInserted::OfOnePacket);
        }
        if controller.is_some_and(|controller| self.get(controller).is_none()) {
            return Err(NotInserted::NoController);
        }
        let (request, kind) = (connection.request(), connection.kind());
        let hashes = Hashes::of(&connection, &self.secret);
        // Its two places in the index are far from each other: both are waited for at once.
        black_box(self.index.approach(hashes.reply));
        if let Some(there) = self.find_hashed(&request, kind, hashes.request) {
            return Err(NotInserted::Exists(there));
        }
        connection.expires = now.plus(connection.timeout);
        connection.scheduled = connection.expires;
        connection.controller = controller.map_or(connection::NONE, ConnectionIndex::get);
        connection.controlled = 0;
        connection.set_found_by_request(false);
        connection.set_found_by_reply(false);
        let expires = connection.expires;
        let Some(slot) = self.slots.insert(connection) else {
            self.counts.full += 1;
            return Err(NotInserted::Full);
        };
        self.index_entry(slot, hashes);
        self.wheel.schedule(slot, expires);
        self.without_client_port += u32::from(kind == Kind::WithoutClientPort);
        self.counts.inserted += 1;
        if let Some(controller) = controller {
            self.control(controller, now);
        }
        Ok(ConnectionIndex(slot))
    }

    fn control(&mut self, controller: ConnectionIndex, now: Tick) {
        let Some(entry) = self.slots.get_mut(controller.0) else { return };
        entry.controlled += 1;
        if entry.is_template() {
            self.touch(controller, now);
        }
    }

    /// A packet passes, or a record has come: the entry is changed by what follows from it, and then begins its timeout
    /// anew. `None` if there is no such entry.
    pub fn update<T>(
        &mut self,
        connection: ConnectionIndex,
        now: Tick,
        change: impl FnOnce(&mut Connection) -> T,
    ) -> Option<T> {
        let entry = self.slots.get_mut(connection.0)?;
        let result = change(entry);
        entry.expires = now.plus(entry.timeout);
        // Mostly it is later than the wheel has it, which finds that out by itself.
        if entry.expires < entry.scheduled {
            entry.scheduled = entry.expires;
            self.wheel.schedule(connection.0, entry.expires);
        }
        Some(result)
    }

    /// Begins the timeout of an entry anew and changes nothing else.
    pub fn touch(&mut self, connection: ConnectionIndex, now: Tick) {
        self.update(connection, now, |_| ());
    }
}

#[cfg(test)]
mod tests;
