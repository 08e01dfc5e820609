//! How the table has an entry, and who finds it.

use super::{Connection, Flags};
use crate::engine::connections::key::{Kind, PacketKey};
use crate::engine::state::Direction;
use crate::sync::Method;

impl Connection {
    pub(in crate::engine::connections) const fn is_live(&self) -> bool {
        self.flags.has(Flags::LIVE)
    }

    pub(in crate::engine::connections) const fn set_live(&mut self, live: bool) {
        self.flags.set(Flags::LIVE, live);
    }

    pub(in crate::engine::connections) const fn is_found_by_request(&self) -> bool {
        self.flags.has(Flags::BY_REQUEST)
    }

    pub(in crate::engine::connections) const fn set_found_by_request(&mut self, found: bool) {
        self.flags.set(Flags::BY_REQUEST, found);
    }

    pub(in crate::engine::connections) const fn is_found_by_reply(&self) -> bool {
        self.flags.has(Flags::BY_REPLY)
    }

    pub(in crate::engine::connections) const fn set_found_by_reply(&mut self, found: bool) {
        self.flags.set(Flags::BY_REPLY, found);
    }

    pub(in crate::engine::connections) const fn kind(&self) -> Kind {
        if self.is_template() {
            Kind::Template
        } else if self.has_no_client_port() {
            Kind::WithoutClientPort
        } else {
            Kind::Connection
        }
    }

    /// Brings both of its lines near. The number means nothing.
    pub(in crate::engine::connections) fn approach(&self) -> u32 {
        u32::from(self.server_port) ^ self.packets
    }

    /// What packets of its client have.
    pub(in crate::engine::connections) const fn request(&self) -> PacketKey {
        PacketKey {
            source: self.client,
            destination: self.service,
            source_port: self.client_port,
            destination_port: self.service_port,
            protocol: self.protocol,
        }
    }

    /// What packets of its server have. Only masquerading has them sent by the server's own address.
    pub(in crate::engine::connections) const fn reply(&self) -> PacketKey {
        let (source, source_port) = match self.method {
            Method::Masquerade => (self.server, self.server_port),
            Method::Local | Method::Tunnel | Method::Direct | Method::Bypass | Method::Unassigned => {
                (self.service, self.service_port)
            }
        };
        let (destination, destination_port) = if self.flags.has(Flags::LOCAL) {
            (self.local, self.local_port)
        } else {
            (self.client, self.client_port)
        };
        PacketKey { source, destination, source_port, destination_port, protocol: self.protocol }
    }

    /// Whether this is what a packet of a client looks for.
    pub(in crate::engine::connections) fn is_asked_for(&self, key: &PacketKey, kind: Kind) -> bool {
        self.request() == *key && self.kind() == kind
    }

    /// Whether packets with this key belong to this connection.
    pub(in crate::engine::connections) fn has_packet(&self, key: &PacketKey) -> bool {
        let by_request = self.is_found_by_request() && self.request() == *key;
        self.kind() == Kind::Connection && (by_request || self.is_found_by_reply() && self.reply() == *key)
    }

    /// Where a packet of this connection goes.
    pub(in crate::engine::connections) fn direction_of(&self, key: &PacketKey) -> Direction {
        if self.request() != *key {
            Direction::Output
        } else if self.has_no_output() {
            Direction::InputOnly
        } else {
            Direction::Input
        }
    }

    /// Only for an entry that the index does not have.
    pub(in crate::engine::connections) const fn set_client_port(&mut self, port: u16) {
        self.client_port = port;
        self.flags.set(Flags::NO_CLIENT_PORT, false);
    }

    /// Only for an entry that the index does not have. As the kernel lists templates that nobody is to find any more.
    pub(in crate::engine::connections) const fn set_unfindable_ports(&mut self) {
        self.service_port = u16::MAX;
        self.server_port = u16::MAX;
    }
}
