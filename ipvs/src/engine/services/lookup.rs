//! Which service a packet is for.

use std::collections::HashMap;

use fastrand::Rng;

use super::ServiceIndex;
use super::seeded::Seeded;
use crate::engine::address::Address;
use crate::virtual_service::{Family, FwMark, ServiceId};

/// What a packet says of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Of the service; none for a mark.
    address: Address,
    /// What else tells services apart, each kind with a bit of its own.
    rest: u64,
}

impl Key {
    const fn address(protocol: u8, address: Address, port: u16) -> Self {
        const ADDRESS: u64 = 1 << 32;
        // No loss: wider numbers. `From` is not const.
        Self { address, rest: ADDRESS | (protocol as u64) << 16 | port as u64 }
    }

    const fn mark(family: Family, mark: FwMark) -> Self {
        let kind: u64 = match family {
            Family::V4 => 1 << 33,
            Family::V6 => 1 << 34,
        };
        Self { address: Address::UNSPECIFIED, rest: kind | mark.get() as u64 }
    }

    fn of(id: &ServiceId) -> Self {
        match id {
            ServiceId::Address { protocol, address, port } => {
                Self::address(protocol.number(), (*address).into(), *port)
            }
            ServiceId::FwMark { family, mark } => Self::mark(*family, *mark),
        }
    }
}

/// Services by what packets say of them.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    services: HashMap<Key, ServiceIndex, Seeded>,
    /// Services on every port: without any there is no need to look for them.
    on_every_port: usize,
}

impl Lookup {
    pub(super) fn new(random: &mut Rng) -> Self {
        Self { services: HashMap::with_hasher(Seeded::new(random)), on_every_port: 0 }
    }

    pub(super) fn insert(&mut self, id: &ServiceId, index: ServiceIndex) {
        let new = self.services.insert(Key::of(id), index).is_none();
        self.on_every_port += usize::from(new && is_on_every_port(id));
    }

    pub(super) fn remove(&mut self, id: &ServiceId) -> Option<ServiceIndex> {
        let index = self.services.remove(&Key::of(id))?;
        self.on_every_port -= usize::from(is_on_every_port(id));
        Some(index)
    }

    pub(super) fn exact(&self, id: &ServiceId) -> Option<ServiceIndex> {
        self.services.get(&Key::of(id)).copied()
    }

    pub(super) fn find(
        &self,
        protocol: u8,
        destination: Address,
        port: u16,
        mark: Option<FwMark>,
    ) -> Option<ServiceIndex> {
        let get = |key| self.services.get(&key).copied();
        mark.and_then(|mark| get(Key::mark(destination.family(), mark)))
            .or_else(|| get(Key::address(protocol, destination, port)))
            .or_else(|| (self.on_every_port != 0).then(|| get(Key::address(protocol, destination, 0)))?)
    }
}

const fn is_on_every_port(id: &ServiceId) -> bool {
    matches!(id, ServiceId::Address { port: 0, .. })
}
