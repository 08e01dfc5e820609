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
//!   kernel, but only the [`ALIKE`] newest have a chance to be found at all.
//! - Templates that were given up are in no index; the kernel has them under port 65535, where a service may be.
//! - There is no room for sequence numbers that are shifted, nor for the Call-IDs of the persistence engine `sip`.
//!
//! Read [`Connection`] and [`Connections`] first; [`StateTimeouts`] say how long connections last, and
//! [`Connections::relieve`] what becomes of them when there are too many.

mod check;
mod connection;
mod expiry;
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
use key::{Kind, Secret};
use slots::Slots;

/// Connections that the server's packets cannot tell apart, and that are found by them all the same.
const ALIKE: usize = 4;

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
    /// there, and 14 to 28 that the index has from the start.
    pub connections: u32,
}

/// All entries of the engine, with the times of their ends.
///
/// Packets: [`sought`](Self::sought), [`find`](Self::find), then [`get_mut`](Self::get_mut) to change what follows from
/// the packet, and [`touch`](Self::touch). New connections: [`relieve`](Self::relieve), [`insert`](Self::insert). When
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
        Sought { key, hash: self.secret.hash(&key, Kind::Connection) }
    }

    /// Brings what these lookups will read near, all at once: each alone waits for memory twice. Worth it for the packets
    /// of a batch, a few dozen at a time.
    pub fn approach(&self, sought: &[Sought]) {
        let mut near = 0_u32;
        for sought in sought {
            near ^= self.index.approach(sought.hash);
        }
        for sought in sought {
            // One that looks alike, nearly always the one.
            let mut likely = None;
            self.index.find(sought.hash, |slot| {
                likely = self.slots.get(slot);
                true
            });
            near ^= likely.map_or(0, Connection::packets);
        }
        black_box(near);
    }

    /// The connection of a packet. What could be a client's packet is that.
    pub fn find(&self, sought: &Sought) -> Option<Found> {
        let (mut request, mut reply) = (None, None);
        self.index.find(sought.hash, |slot| {
            let direction = self.slots.get(slot).and_then(|connection| connection.direction_of(&sought.key));
            let found = direction.map(|direction| Found { connection: ConnectionIndex(slot), direction });
            match direction {
                Some(Direction::Input | Direction::InputOnly) => request = found,
                Some(Direction::Output) => reply = reply.or(found),
                None => {}
            }
            request.is_some()
        });
        request.or(reply).or_else(|| self.find_without_client_port(&sought.key))
    }

    fn find_without_client_port(&self, key: &PacketKey) -> Option<Found> {
        if self.without_client_port == 0 {
            return None;
        }
        let key = PacketKey { source_port: 0, ..*key };
        let connection = self.find_exactly(&key, Kind::WithoutClientPort)?;
        let no_output = self.get(connection)?.has_no_output();
        let direction = if no_output { Direction::InputOnly } else { Direction::Input };
        Some(Found { connection, direction })
    }

    /// As [`find`](Self::find), for one packet.
    pub fn lookup(&self, key: PacketKey) -> Option<Found> {
        self.find(&self.sought(key))
    }

    pub fn find_template(&self, key: &TemplateKey) -> Option<ConnectionIndex> {
        self.find_exactly(&key.packet(), Kind::Template)
    }

    fn find_exactly(&self, key: &PacketKey, kind: Kind) -> Option<ConnectionIndex> {
        let is_it = |slot| self.slots.get(slot).is_some_and(|connection| connection.is_asked_for(key, kind));
        self.index.find(self.secret.hash(key, kind), is_it).map(ConnectionIndex)
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
        if let Some(there) = self.find_exactly(&request, kind) {
            return Err(NotInserted::Exists(there));
        }
        connection.expires = now.plus(connection.timeout);
        connection.scheduled = connection.expires;
        connection.controller = controller.map_or(connection::NONE, ConnectionIndex::get);
        connection.controlled = 0;
        let expires = connection.expires;
        let Some(slot) = self.slots.insert(connection) else {
            self.counts.full += 1;
            return Err(NotInserted::Full);
        };
        self.index_entry(slot);
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

    /// Begins the timeout of an entry anew: a packet has passed, or a record has come.
    pub fn touch(&mut self, connection: ConnectionIndex, now: Tick) {
        let Some(entry) = self.slots.get_mut(connection.0) else { return };
        entry.expires = now.plus(entry.timeout);
        // Mostly it is later than the wheel has it, which finds that out by itself.
        if entry.expires < entry.scheduled {
            entry.scheduled = entry.expires;
            self.wheel.schedule(connection.0, entry.expires);
        }
    }

    /// The first packet of a connection without a client's port has come from this one. `false` if there is no such
    /// connection, or another one has that port.
    pub fn learn_client_port(&mut self, connection: ConnectionIndex, port: u16) -> bool {
        let Some(entry) = self.get(connection).filter(|entry| entry.kind() == Kind::WithoutClientPort) else {
            return false;
        };
        let key = PacketKey { source_port: port, ..entry.request() };
        if self.find_exactly(&key, Kind::Connection).is_some() {
            return false;
        }
        self.unindex_entry(connection.0);
        self.without_client_port -= 1;
        if let Some(entry) = self.get_mut(connection) {
            entry.set_client_port(port);
        }
        self.index_entry(connection.0);
        true
    }

    /// Gives up a template whose server takes no more connections: its client gets another one, and this one ends when
    /// its connections have. Until then it is listed with ports 65535.
    pub fn abandon_template(&mut self, template: ConnectionIndex) {
        if self.get(template).is_some_and(Connection::is_template) {
            self.unindex_entry(template.0);
            if let Some(entry) = self.get_mut(template) {
                entry.set_unfindable_ports();
            }
        }
    }

    /// Puts an entry into the index under all keys that packets can have for it.
    fn index_entry(&mut self, slot: u32) {
        let Some(entry) = self.slots.get(slot) else { return };
        let (kind, reply) = (entry.kind(), entry.reply());
        let request_hash = self.secret.hash(&entry.request(), kind);
        let reply_hash = self.secret.hash(&reply, kind);
        // There is room for two places of every entry.
        let by_request = self.index.insert(request_hash, slot).is_ok();
        let by_reply = kind == Kind::Connection
            && reply_hash != request_hash
            && self.index_reply(slot, &reply, reply_hash);
        if let Some(entry) = self.slots.get_mut(slot) {
            entry.set_found_by_request(by_request);
            entry.set_found_by_reply(by_reply);
        }
    }

    /// Puts an entry before those that have the same key.
    fn index_reply(&mut self, slot: u32, reply: &PacketKey, hash: u64) -> bool {
        let mut alike = [0; ALIKE];
        let mut count = 0;
        self.index.find(hash, |other| {
            let is_alike = self
                .slots
                .get(other)
                .is_some_and(|entry| entry.is_found_by_reply() && entry.reply() == *reply);
            // An entry can come twice: its other key may look like this one.
            let is_new = !alike.iter().take(count).any(|known| *known == other);
            if let Some(place) = alike.get_mut(count).filter(|_| is_alike && is_new) {
                *place = other;
                count += 1;
            }
            count == ALIKE
        });
        let alike = alike.into_iter().take(count);
        for other in alike.clone() {
            self.index.remove(hash, other);
        }
        let inserted = self.index.insert(hash, slot).is_ok();
        for (age, other) in alike.enumerate() {
            let kept = age + 1 < ALIKE && self.index.insert(hash, other).is_ok();
            if let Some(other) = self.slots.get_mut(other) {
                other.set_found_by_reply(kept);
            }
        }
        inserted
    }

    fn unindex_entry(&mut self, slot: u32) {
        let Some(entry) = self.slots.get_mut(slot) else { return };
        let kind = entry.kind();
        let hash = |key| self.secret.hash(&key, kind);
        if entry.is_found_by_request() {
            self.index.remove(hash(entry.request()), slot);
        }
        if entry.is_found_by_reply() {
            self.index.remove(hash(entry.reply()), slot);
        }
        entry.set_found_by_request(false);
        entry.set_found_by_reply(false);
    }
}

#[cfg(test)]
mod tests;
