//! Under which keys entries are found.

use super::connection::{Connection, NONE};
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
        let (kind, request, reply) = (entry.kind(), entry.request(), entry.reply());
        let by_request = match kind {
            Kind::Connection => self.index_among_alike(slot, &request, hashes.request),
            // There is room for two places of every entry.
            Kind::WithoutClientPort | Kind::Template => self.index.insert(hashes.request, slot).is_ok(),
        };
        if let Some(entry) = self.slots.get_mut(slot) {
            entry.set_found_by_request(by_request);
        }
        if kind == Kind::Connection && hashes.reply != hashes.request {
            let by_reply = self.index_among_alike(slot, &reply, hashes.reply);
            if let Some(entry) = self.slots.get_mut(slot) {
                entry.set_found_by_reply(by_reply);
            }
        }
    }

    /// Puts a connection under a key where others may be, so that the first that is found is the right one: that whose
    /// client has the key, and else the newest whose server has it.
    fn index_among_alike(&mut self, slot: u32, key: &PacketKey, hash: u64) -> bool {
        let mut alike = [NONE; ALIKE + 1];
        let mut count = 0;
        self.index.find(hash, |other| {
            let is_alike = self.slots.place(other).is_some_and(|entry| entry.has_packet(key));
            // An entry can come twice: its other key may look like this one.
            if is_alike
                && !alike.contains(&other)
                && let Some(place) = alike.get_mut(count)
            {
                *place = other;
                count += 1;
            }
            false
        });
        if count == 0 {
            return self.index.insert(hash, slot).is_ok();
        }
        for other in alike.into_iter().take(count) {
            self.index.remove(hash, other);
        }
        let is_request = |slot| self.slots.place(slot).is_some_and(|entry| entry.request() == *key);
        let others = alike.into_iter().take(count);
        let mut ordered = [NONE; ALIKE + 2];
        let clients = others.clone().filter(|other| is_request(*other));
        let servers = others.filter(|other| !is_request(*other));
        let in_order = clients.chain([slot]).chain(servers);
        ordered.iter_mut().zip(in_order).for_each(|(place, other)| *place = other);
        let mut replies = 0;
        let mut is_in = false;
        for other in ordered.into_iter().take(count + 1) {
            let Some(entry) = self.slots.get_mut(other) else { continue };
            let by_request = entry.request() == *key;
            replies += usize::from(!by_request);
            let kept = replies <= ALIKE && self.index.insert(hash, other).is_ok();
            match (other == slot, by_request) {
                (true, _) => is_in = kept,
                (false, true) => entry.set_found_by_request(kept),
                (false, false) => entry.set_found_by_reply(kept),
            }
        }
        is_in
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
