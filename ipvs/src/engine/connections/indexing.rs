//! Under which keys entries are found.

use super::connection::Connection;
use super::key::{Kind, PacketKey, Secret};
use super::{ConnectionIndex, Connections};

/// Connections that the server's packets cannot tell apart, and that are found by them all the same.
pub(super) const ALIKE: usize = 4;

/// Of the keys under which an entry can be in the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashes {
    pub(super) request: u64,
    pub(super) reply: u64,
}

impl Hashes {
    pub(super) const fn of(connection: &Connection, secret: &Secret) -> Self {
        let kind = connection.kind();
        Self {
            request: secret.hash(&connection.request(), kind),
            reply: secret.hash(&connection.reply(), kind),
        }
    }
}

impl Connections {
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
        let Some(entry) = self.slots.get_mut(connection.0) else { return false };
        entry.set_client_port(port);
        let hashes = Hashes::of(entry, &self.secret);
        self.index_entry(connection.0, hashes);
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
    pub(super) fn index_entry(&mut self, slot: u32, hashes: Hashes) {
        let Some(entry) = self.slots.get(slot) else { return };
        let (kind, reply) = (entry.kind(), entry.reply());
        // There is room for two places of every entry.
        let by_request = self.index.insert(hashes.request, slot).is_ok();
        let by_reply = kind == Kind::Connection
            && hashes.reply != hashes.request
            && self.index_reply(slot, &reply, hashes.reply);
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

    pub(super) fn unindex_entry(&mut self, slot: u32) {
        let Some(entry) = self.slots.get_mut(slot) else { return };
        let hashes = Hashes::of(entry, &self.secret);
        if entry.is_found_by_request() {
            self.index.remove(hashes.request, slot);
        }
        if entry.is_found_by_reply() {
            self.index.remove(hashes.reply, slot);
        }
        entry.set_found_by_request(false);
        entry.set_found_by_reply(false);
    }
}
