//! Which packets the engine takes of those whose flow is not known. All others pass.

use std::collections::BTreeSet;
use std::path::Path;

use super::bpf::{Map, MapError, MapKind};
use super::layout::{Field, address_bytes, address_of};
use crate::engine::address::Address;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// Packets to or from this address, of that IP protocol. Where IPv6 has extension headers it is the number of the
    /// first that counts.
    Address { end: End, address: Address, protocol: u8, ports: Ports },
    /// Packets with this mark when they come in, which only programs and filters that run earlier can have given them.
    /// Netfilter marks packets later. Never zero.
    Mark(u32),
}

/// Whose address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    Source,
    Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// This one, of TCP or UDP.
    One(u16),
    /// Every one, of TCP or UDP.
    Any,
    /// Packets whose ports nobody looks at before the engine: fragments, those with IPv4 options or IPv6 extension
    /// headers, errors of ICMP, and protocols other than TCP and UDP. Of ICMP it is errors only.
    Unread,
}

/// How selectors are found: each kind by a lookup of its own, which is left out where there is none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    DestinationPort,
    DestinationAnyPort,
    DestinationUnread,
    SourcePort,
    SourceAnyPort,
    SourceUnread,
    Mark,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::DestinationPort,
        Self::DestinationAnyPort,
        Self::DestinationUnread,
        Self::SourcePort,
        Self::SourceAnyPort,
        Self::SourceUnread,
        Self::Mark,
    ];

    pub(super) const fn bit(self) -> i32 {
        1 << self as u8
    }
}

/// Where the fields of a key are.
pub(super) mod key {
    use super::Field;
    pub(in crate::io) const SIZE: usize = 20;
    pub(in crate::io) const ADDRESS: Field<16> = Field(0);
    /// In place of the address.
    pub(in crate::io) const MARK: Field<4> = Field(0);
    pub(in crate::io) const PORT: Field<2> = Field(16);
    pub(in crate::io) const PROTOCOL: Field<1> = Field(18);
    pub(in crate::io) const KIND: Field<1> = Field(19);
}

impl Selector {
    const fn kind(&self) -> Kind {
        match self {
            Self::Address { end: End::Destination, ports: Ports::One(_), .. } => Kind::DestinationPort,
            Self::Address { end: End::Destination, ports: Ports::Any, .. } => Kind::DestinationAnyPort,
            Self::Address { end: End::Destination, ports: Ports::Unread, .. } => Kind::DestinationUnread,
            Self::Address { end: End::Source, ports: Ports::One(_), .. } => Kind::SourcePort,
            Self::Address { end: End::Source, ports: Ports::Any, .. } => Kind::SourceAnyPort,
            Self::Address { end: End::Source, ports: Ports::Unread, .. } => Kind::SourceUnread,
            Self::Mark(_) => Kind::Mark,
        }
    }

    fn to_bytes(self) -> [u8; key::SIZE] {
        let mut bytes = [0; key::SIZE];
        key::KIND.put(&mut bytes, [self.kind() as u8]);
        match self {
            Self::Address { address, protocol, ports, .. } => {
                key::ADDRESS.put(&mut bytes, address_bytes(address));
                key::PROTOCOL.put(&mut bytes, [protocol]);
                if let Ports::One(port) = ports {
                    key::PORT.put(&mut bytes, port.to_be_bytes());
                }
            }
            Self::Mark(mark) => key::MARK.put(&mut bytes, mark.to_ne_bytes()),
        }
        bytes
    }

    /// `None` if it is of a kind that this version does not know.
    fn from_bytes(bytes: &[u8; key::SIZE]) -> Option<Self> {
        let [number] = key::KIND.of(bytes);
        let [protocol] = key::PROTOCOL.of(bytes);
        let address = address_of(key::ADDRESS.of(bytes));
        let one = Ports::One(u16::from_be_bytes(key::PORT.of(bytes)));
        let (end, ports) = match Kind::ALL.into_iter().find(|kind| *kind as u8 == number)? {
            Kind::DestinationPort => (End::Destination, one),
            Kind::DestinationAnyPort => (End::Destination, Ports::Any),
            Kind::DestinationUnread => (End::Destination, Ports::Unread),
            Kind::SourcePort => (End::Source, one),
            Kind::SourceAnyPort => (End::Source, Ports::Any),
            Kind::SourceUnread => (End::Source, Ports::Unread),
            Kind::Mark => return Some(Self::Mark(u32::from_ne_bytes(key::MARK.of(bytes)))),
        };
        Some(Self::Address { end, address, protocol, ports })
    }
}

/// The selectors of one director.
#[derive(Debug)]
pub struct Selectors {
    map: Map<{ key::SIZE }, 4>,
    /// A bit for each [`Kind`] that there is one of.
    kinds: Map<4, 4>,
    present: BTreeSet<Selector>,
}

/// Names under which they are pinned.
const MAP: &str = "selectors";
const KINDS: &str = "selector_kinds";
/// The value is not read: what is there is meant.
const PRESENT: [u8; 4] = 1_u32.to_ne_bytes();
/// How many are read at a time.
const ROOM: usize = 256;

impl Selectors {
    /// None yet, and room for so many.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn create(capacity: u32) -> Result<Self, MapError> {
        let map = Map::create(MAP, MapKind::Hash, capacity)?;
        let kinds = Map::create(KINDS, MapKind::Array, 1)?;
        Ok(Self { map, kinds, present: BTreeSet::new() })
    }

    /// Those that were pinned in that folder.
    ///
    /// # Errors
    /// There are none, or they are not of this layout.
    pub fn open(folder: &Path) -> Result<Self, MapError> {
        let map = Map::open(&folder.join(MAP), MapKind::Hash)?;
        let kinds = Map::open(&folder.join(KINDS), MapKind::Array)?;
        let mut selectors = Self { map, kinds, present: BTreeSet::new() };
        let mut walk = selectors.map.walk(ROOM);
        while let Some((keys, _)) = walk.next_batch()? {
            selectors.present.extend(keys.iter().filter_map(Selector::from_bytes));
        }
        Ok(selectors)
    }

    /// Keeps them under two names in a folder of a file system of type `bpf`.
    ///
    /// # Errors
    /// It is no such folder, or the names are taken.
    pub fn pin(&self, folder: &Path) -> Result<(), MapError> {
        self.map.pin(&folder.join(MAP))?;
        self.kinds.pin(&folder.join(KINDS))
    }

    pub(super) fn descriptors(&self) -> [i32; 2] {
        [self.map.descriptor(), self.kinds.descriptor()]
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Selector> {
        self.present.iter()
    }

    /// From now on the engine takes these packets.
    ///
    /// # Errors
    /// There are too many, or the kernel says no.
    pub fn insert(&mut self, selector: Selector) -> Result<(), MapError> {
        self.map.set(&selector.to_bytes(), &PRESENT)?;
        self.present.insert(selector);
        self.tell_kinds()
    }

    /// From now on the engine takes them no longer, save those of known flows.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn remove(&mut self, selector: &Selector) -> Result<(), MapError> {
        self.map.remove(&selector.to_bytes())?;
        self.present.remove(selector);
        self.tell_kinds()
    }

    fn tell_kinds(&self) -> Result<(), MapError> {
        let kinds = self.present.iter().fold(0, |kinds, selector| kinds | selector.kind().bit());
        self.kinds.set(&[0; 4], &kinds.to_ne_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn selector() -> impl Strategy<Value = Selector> {
        let end = prop::sample::select(vec![End::Source, End::Destination]);
        let ports = prop_oneof![any::<u16>().prop_map(Ports::One), Just(Ports::Any), Just(Ports::Unread)];
        prop_oneof![
            (end, any::<u128>().prop_map(Address::v6), any::<u8>(), ports).prop_map(
                |(end, address, protocol, ports)| Selector::Address { end, address, protocol, ports }
            ),
            any::<u32>().prop_map(Selector::Mark),
        ]
    }

    #[test]
    fn kinds_have_bits_of_their_own() {
        let bits = Kind::ALL.into_iter().fold(0, |bits, kind| bits + kind.bit());
        assert_eq!(bits, 0b111_1111);
    }

    proptest! {
        #[test]
        fn selectors_come_back(selector in selector()) {
            prop_assert_eq!(Selector::from_bytes(&selector.to_bytes()), Some(selector));
        }

        #[test]
        fn selectors_differ_as_their_keys(a in selector(), b in selector()) {
            prop_assert_eq!(a == b, a.to_bytes() == b.to_bytes());
        }

        #[test]
        fn any_bytes_are_read(bytes: [u8; key::SIZE]) {
            let _ = Selector::from_bytes(&bytes);
        }
    }
}
