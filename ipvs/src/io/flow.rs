//! What the kernel forwards by itself: a map from packets to what becomes of them.
//!
//! A connection has an entry for each direction that passes here. A program reads entries and counts in them; the engine
//! writes and removes them.

use std::path::Path;
use std::time::Duration;

use super::bpf::{Map, MapError, MapKind, Walk};
use super::layout::{Field, address_bytes, address_of};
use super::next_hop::NextHopIndex;
use crate::engine::address::Address;
use crate::engine::checksum::Sum;
use crate::virtual_service::Family;

/// Which packets: those with these addresses and ports, of that IP protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    pub source: Address,
    pub destination: Address,
    pub source_port: u16,
    pub destination_port: u16,
    /// TCP or UDP; entries of others are never found.
    pub protocol: u8,
}

/// What becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What their addresses and ports become.
    pub source: Address,
    pub destination: Address,
    pub source_port: u16,
    pub destination_port: u16,
    pub mode: Mode,
    pub next_hop: NextHopIndex,
    change: Change,
    pub counted: Counted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They go to the engine: the connection is known, but it is not for the kernel to forward.
    Engine,
    /// Masquerading, to the real server.
    MasqueradeRequest,
    /// Masquerading, to the client.
    MasqueradeReply,
    /// Direct routing: addresses and ports stay.
    Direct,
    /// Written by another version of this program. They go to the engine.
    Other(u32),
}

/// What a program has counted. Starts anew when an entry is written anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// As the kernel sees them: what the sender or the receiving interface has merged counts as one.
    pub packets: u64,
    /// From the IP header on.
    pub bytes: u64,
    /// When the last one came, by the clock `CLOCK_MONOTONIC`, accurate to a tick of the kernel. Zero: none came.
    pub last_seen: Duration,
}

/// What the rewriting adds to the ones' complement sums of a packet, as the machine reads 16 bits from memory. Zero if
/// nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    addresses: u16,
    ports: u16,
}

impl Change {
    fn between(from: &FlowKey, to: &FlowKey) -> Self {
        let addresses = |key: &FlowKey| Sum::of_address(key.source).plus(Sum::of_address(key.destination));
        let ports = |key: &FlowKey| Sum::of_word(key.source_port).plus(Sum::of_word(key.destination_port));
        Self {
            addresses: difference(addresses(from), addresses(to)),
            ports: difference(ports(from), ports(to)),
        }
    }
}

fn difference(before: Sum, after: Sum) -> u16 {
    match after.minus(before).folded() {
        // The other zero of ones' complement.
        u16::MAX => 0,
        folded => folded.to_be(),
    }
}

/// Where the fields of a key are.
pub(super) mod key {
    use super::Field;
    pub(in crate::io) const SIZE: usize = 40;
    pub(in crate::io) const SOURCE: Field<16> = Field(0);
    pub(in crate::io) const DESTINATION: Field<16> = Field(16);
    /// As in the header of TCP and UDP.
    pub(in crate::io) const SOURCE_PORT: Field<2> = Field(32);
    pub(in crate::io) const DESTINATION_PORT: Field<2> = Field(34);
    pub(in crate::io) const PROTOCOL: Field<4> = Field(36);
    /// Added to the protocol of IPv6, where hosts should not but could send addresses of IPv4 mapped into it.
    pub(in crate::io) const IPV6: i32 = 0x100;
}

/// Where the fields of a value are.
pub(super) mod value {
    use super::Field;
    pub(in crate::io) const SIZE: usize = 80;
    pub(in crate::io) const SOURCE: Field<16> = Field(0);
    pub(in crate::io) const DESTINATION: Field<16> = Field(16);
    pub(in crate::io) const SOURCE_PORT: Field<2> = Field(32);
    pub(in crate::io) const DESTINATION_PORT: Field<2> = Field(34);
    pub(in crate::io) const NEXT_HOP: Field<4> = Field(36);
    pub(in crate::io) const ADDRESS_CHANGE: Field<4> = Field(40);
    pub(in crate::io) const PORT_CHANGE: Field<4> = Field(44);
    pub(in crate::io) const MODE: Field<4> = Field(48);
    pub(in crate::io) const PACKETS: Field<8> = Field(56);
    pub(in crate::io) const BYTES: Field<8> = Field(64);
    pub(in crate::io) const LAST_SEEN: Field<8> = Field(72);
}

impl FlowKey {
    /// What answers to these packets have.
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }

    /// `None` if its addresses are not of one, as no packet's are.
    fn family(&self) -> Option<Family> {
        let family = self.source.family();
        (family == self.destination.family()).then_some(family)
    }

    pub fn to_bytes(&self) -> [u8; key::SIZE] {
        let mut bytes = [0; key::SIZE];
        key::SOURCE.put(&mut bytes, address_bytes(self.source));
        key::DESTINATION.put(&mut bytes, address_bytes(self.destination));
        key::SOURCE_PORT.put(&mut bytes, self.source_port.to_be_bytes());
        key::DESTINATION_PORT.put(&mut bytes, self.destination_port.to_be_bytes());
        let family = if self.family() == Some(Family::V4) { 0 } else { key::IPV6 };
        key::PROTOCOL.put(&mut bytes, (i32::from(self.protocol) | family).to_ne_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8; key::SIZE]) -> Self {
        let [.., protocol] = u32::from_ne_bytes(key::PROTOCOL.of(bytes)).to_be_bytes();
        Self {
            source: address_of(key::SOURCE.of(bytes)),
            destination: address_of(key::DESTINATION.of(bytes)),
            source_port: u16::from_be_bytes(key::SOURCE_PORT.of(bytes)),
            destination_port: u16::from_be_bytes(key::DESTINATION_PORT.of(bytes)),
            protocol,
        }
    }
}

impl Mode {
    /// Modes of which programs rewrite packets are those from here...
    pub(super) const FIRST_FORWARDED: i32 = 1;
    /// ... to here.
    pub(super) const LAST_FORWARDED: i32 = 3;

    const fn number(self) -> u32 {
        match self {
            Self::Engine => 0,
            Self::MasqueradeRequest => 1,
            Self::MasqueradeReply => 2,
            Self::Direct => 3,
            Self::Other(number) => number,
        }
    }

    const fn of(number: u32) -> Self {
        match number {
            0 => Self::Engine,
            1 => Self::MasqueradeRequest,
            2 => Self::MasqueradeReply,
            3 => Self::Direct,
            other => Self::Other(other),
        }
    }
}

impl Flow {
    /// Packets of `from` get the addresses and ports of `to`, and go to `next_hop`. They go to the engine if the two are
    /// not of one family and protocol: making one of the other is more than programs do.
    pub fn new(mode: Mode, from: &FlowKey, to: &FlowKey, next_hop: NextHopIndex) -> Self {
        let alike = from.family().is_some() && from.family() == to.family() && from.protocol == to.protocol;
        let mode = if alike { mode } else { Mode::Engine };
        Self {
            source: to.source,
            destination: to.destination,
            source_port: to.source_port,
            destination_port: to.destination_port,
            mode,
            next_hop,
            change: Change::between(from, to),
            counted: Counted::default(),
        }
    }

    /// Packets of `key` go to `next_hop` with the addresses and ports that they have.
    pub fn direct(key: &FlowKey, next_hop: NextHopIndex) -> Self {
        Self::new(Mode::Direct, key, key, next_hop)
    }

    /// Packets of `key` go to the engine.
    pub fn engine(key: &FlowKey) -> Self {
        Self::new(Mode::Engine, key, key, NextHopIndex(0))
    }

    pub fn to_bytes(&self) -> [u8; value::SIZE] {
        let mut bytes = [0; value::SIZE];
        value::SOURCE.put(&mut bytes, address_bytes(self.source));
        value::DESTINATION.put(&mut bytes, address_bytes(self.destination));
        value::SOURCE_PORT.put(&mut bytes, self.source_port.to_be_bytes());
        value::DESTINATION_PORT.put(&mut bytes, self.destination_port.to_be_bytes());
        value::NEXT_HOP.put(&mut bytes, self.next_hop.0.to_ne_bytes());
        value::ADDRESS_CHANGE.put(&mut bytes, u32::from(self.change.addresses).to_ne_bytes());
        value::PORT_CHANGE.put(&mut bytes, u32::from(self.change.ports).to_ne_bytes());
        value::MODE.put(&mut bytes, self.mode.number().to_ne_bytes());
        value::PACKETS.put(&mut bytes, self.counted.packets.to_ne_bytes());
        value::BYTES.put(&mut bytes, self.counted.bytes.to_ne_bytes());
        let last_seen = u64::try_from(self.counted.last_seen.as_nanos()).unwrap_or(u64::MAX);
        value::LAST_SEEN.put(&mut bytes, last_seen.to_ne_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8; value::SIZE]) -> Self {
        // Sums of ours have 16 bits.
        let change = |field: Field<4>| u16::try_from(u32::from_ne_bytes(field.of(bytes))).unwrap_or(0);
        Self {
            source: address_of(value::SOURCE.of(bytes)),
            destination: address_of(value::DESTINATION.of(bytes)),
            source_port: u16::from_be_bytes(value::SOURCE_PORT.of(bytes)),
            destination_port: u16::from_be_bytes(value::DESTINATION_PORT.of(bytes)),
            mode: Mode::of(u32::from_ne_bytes(value::MODE.of(bytes))),
            next_hop: NextHopIndex(u32::from_ne_bytes(value::NEXT_HOP.of(bytes))),
            change: Change { addresses: change(value::ADDRESS_CHANGE), ports: change(value::PORT_CHANGE) },
            counted: Counted {
                packets: u64::from_ne_bytes(value::PACKETS.of(bytes)),
                bytes: u64::from_ne_bytes(value::BYTES.of(bytes)),
                last_seen: Duration::from_nanos(u64::from_ne_bytes(value::LAST_SEEN.of(bytes))),
            },
        }
    }
}

/// The flows of one director.
#[derive(Debug)]
pub struct FlowMap(Map<{ key::SIZE }, { value::SIZE }>);

impl FlowMap {
    /// An empty one with room for so many entries: two for most connections. It takes about 170 bytes for each, at
    /// once.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn create(capacity: u32) -> Result<Self, MapError> {
        Map::create("flows", MapKind::Hash, capacity).map(Self)
    }

    /// One that was pinned.
    ///
    /// # Errors
    /// There is none, or it is not of this layout.
    pub fn open(path: &Path) -> Result<Self, MapError> {
        Map::open(path, MapKind::Hash).map(Self)
    }

    /// # Errors
    /// No file system of type `bpf`, or the name is taken.
    pub fn pin(&self, path: &Path) -> Result<(), MapError> {
        self.0.pin(path)
    }

    pub(super) fn descriptor(&self) -> i32 {
        self.0.descriptor()
    }

    /// # Errors
    /// The kernel says no.
    pub fn get(&self, key: &FlowKey) -> Result<Option<Flow>, MapError> {
        Ok(self.0.get(&key.to_bytes())?.map(|bytes| Flow::from_bytes(&bytes)))
    }

    /// Writes one entry, in place of what was there.
    ///
    /// # Errors
    /// The map is full, or the kernel says no.
    pub fn set(&self, key: &FlowKey, flow: &Flow) -> Result<(), MapError> {
        self.0.set(&key.to_bytes(), &flow.to_bytes())
    }

    /// Writes many entries by one call.
    ///
    /// # Errors
    /// How many were written before the map was full or the kernel said no.
    pub fn set_all<'f>(
        &self,
        flows: impl IntoIterator<Item = (&'f FlowKey, &'f Flow)>,
    ) -> Result<(), MapError> {
        let flows = flows.into_iter().map(|(key, flow)| (key.to_bytes(), flow.to_bytes()));
        let (keys, values): (Vec<_>, Vec<_>) = flows.unzip();
        self.0.set_all(&keys, &values)
    }

    /// Removes one entry and says what it was, with all that was counted.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn take(&self, key: &FlowKey) -> Result<Option<Flow>, MapError> {
        Ok(self.0.take(&key.to_bytes())?.map(|bytes| Flow::from_bytes(&bytes)))
    }

    /// Removes many entries by as few calls as can be. Says how many were there.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn remove_all<'f>(&self, keys: impl IntoIterator<Item = &'f FlowKey>) -> Result<usize, MapError> {
        let keys: Vec<_> = keys.into_iter().map(FlowKey::to_bytes).collect();
        self.0.remove_all(&keys)
    }

    /// Begins to read all entries, `room` at a time.
    pub fn walk(&self, room: usize) -> FlowWalk<'_> {
        FlowWalk(self.0.walk(room))
    }
}

/// All flows, batch by batch. See [`Walk`].
#[derive(Debug)]
pub struct FlowWalk<'m>(Walk<'m, { key::SIZE }, { value::SIZE }>);

impl FlowWalk<'_> {
    /// `None` at the end.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn next_batch(&mut self) -> Result<Option<impl Iterator<Item = (FlowKey, Flow)>>, MapError> {
        Ok(self.0.next_batch()?.map(|(keys, values)| {
            keys.iter().zip(values).map(|(key, value)| (FlowKey::from_bytes(key), Flow::from_bytes(value)))
        }))
    }
}

#[cfg(test)]
mod tests;
