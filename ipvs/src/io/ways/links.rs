//! Interfaces and the addresses on them.

use std::collections::{BTreeSet, HashMap};

use crate::engine::address::Address;
use crate::virtual_service::Family;

/// An interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Up, and with a carrier (`IFF_UP`, `IFF_RUNNING`).
    pub running: bool,
    /// Bytes from the IP header on.
    pub mtu: u32,
    pub kind: LinkKind,
}

/// How neighbours are addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// By what ARP or neighbour discovery says. The interface's own address.
    Ethernet([u8; 6]),
    /// With Ethernet headers, by the interface's own address (`IFF_NOARP`, `IFF_LOOPBACK`).
    WithoutResolution([u8; 6]),
    /// No Ethernet headers.
    Bare,
}

/// Those of this host.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: HashMap<u32, Link>,
    addresses: BTreeSet<(Address, u32)>,
}

impl Links {
    pub(super) fn get(&self, interface: u32) -> Option<&Link> {
        self.links.get(&interface)
    }

    /// `false` if it was so already.
    pub(super) fn set(&mut self, interface: u32, link: Link) -> bool {
        self.links.insert(interface, link) != Some(link)
    }

    pub(super) fn remove(&mut self, interface: u32) -> bool {
        self.links.remove(&interface).is_some()
    }

    /// `false` if it was there already: the kernel repeats itself when a lifetime is extended.
    pub(super) fn add_address(&mut self, interface: u32, address: Address) -> bool {
        self.addresses.insert((address, interface))
    }

    pub(super) fn remove_address(&mut self, interface: u32, address: Address) -> bool {
        self.addresses.remove(&(address, interface))
    }

    pub(super) fn interfaces(&self) -> impl Iterator<Item = u32> {
        let is_ethernet = |link: &Link| matches!(link.kind, LinkKind::Ethernet(_));
        self.links.iter().filter(move |(_, link)| is_ethernet(link)).map(|(index, _)| *index)
    }

    pub(super) fn is_local(&self, address: Address) -> bool {
        let loopback = match address.family() {
            Family::V4 => address.folded() >> 24 == 127,
            Family::V6 => address.bits() == 1,
        };
        loopback || self.addresses.range((address, 0)..=(address, u32::MAX)).next().is_some()
    }
}
