//! Where packets go next. Flows name an entry of an array, so that a neighbour with a new address is one write.

use std::path::Path;

use super::bpf::{Map, MapError, MapKind};
use super::layout::Field;

/// A number in [`NextHops`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHopIndex(pub u32);

/// A neighbour and the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The index of the interface that it is reached by.
    pub interface: u32,
    /// The neighbour's link-layer address.
    pub destination: [u8; 6],
    /// The interface's.
    pub source: [u8; 6],
    /// The longest packet that goes there, in bytes from the IP header on. What is longer goes to the engine.
    pub mtu: u32,
}

pub(super) mod value {
    use super::Field;
    pub(in crate::io) const SIZE: usize = 20;
    /// Zero: no such next hop. Its packets go to the engine.
    pub(in crate::io) const INTERFACE: Field<4> = Field(0);
    /// Both link-layer addresses follow each other as in a frame.
    pub(in crate::io) const DESTINATION: Field<6> = Field(4);
    pub(in crate::io) const SOURCE: Field<6> = Field(10);
    pub(in crate::io) const MTU: Field<4> = Field(16);
}

impl NextHop {
    pub fn to_bytes(&self) -> [u8; value::SIZE] {
        let mut bytes = [0; value::SIZE];
        value::INTERFACE.put(&mut bytes, self.interface.to_ne_bytes());
        value::DESTINATION.put(&mut bytes, self.destination);
        value::SOURCE.put(&mut bytes, self.source);
        value::MTU.put(&mut bytes, self.mtu.to_ne_bytes());
        bytes
    }

    /// `None` if none was written there.
    pub fn from_bytes(bytes: &[u8; value::SIZE]) -> Option<Self> {
        let interface = u32::from_ne_bytes(value::INTERFACE.of(bytes));
        (interface != 0).then(|| Self {
            interface,
            destination: value::DESTINATION.of(bytes),
            source: value::SOURCE.of(bytes),
            mtu: u32::from_ne_bytes(value::MTU.of(bytes)),
        })
    }
}

/// The next hops of one director.
#[derive(Debug)]
pub struct NextHops(Map<4, { value::SIZE }>);

impl NextHops {
    /// So many that are not known yet.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn create(capacity: u32) -> Result<Self, MapError> {
        Map::create("next_hops", MapKind::Array, capacity).map(Self)
    }

    /// Those that were pinned.
    ///
    /// # Errors
    /// There are none, or they are not of this layout.
    pub fn open(path: &Path) -> Result<Self, MapError> {
        Map::open(path, MapKind::Array).map(Self)
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
    /// There are not so many, or the kernel says no.
    pub fn get(&self, index: NextHopIndex) -> Result<Option<NextHop>, MapError> {
        let bytes = self.0.get(&index.0.to_ne_bytes())?;
        Ok(bytes.and_then(|bytes| NextHop::from_bytes(&bytes)))
    }

    /// From now on packets of flows with that index go there; without one, to the engine. For a moment a packet may see
    /// a part of each: give another neighbour another index, rather.
    ///
    /// # Errors
    /// There are not so many, or the kernel says no.
    pub fn set(&self, index: NextHopIndex, next_hop: Option<&NextHop>) -> Result<(), MapError> {
        let bytes = next_hop.map_or([0; value::SIZE], NextHop::to_bytes);
        self.0.set(&index.0.to_ne_bytes(), &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_layer_addresses_stand_as_in_a_frame() {
        let next_hop = NextHop {
            interface: 7,
            destination: [1, 2, 3, 4, 5, 6],
            source: [7, 8, 9, 10, 11, 12],
            mtu: 1500,
        };
        let bytes = next_hop.to_bytes();
        assert_eq!(bytes[4..16], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(NextHop::from_bytes(&bytes), Some(next_hop));
        assert_eq!(NextHop::from_bytes(&[0; value::SIZE]), None);
    }
}
