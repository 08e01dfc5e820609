//! The neighbours that the kernel knows. All of them, of which it keeps a bounded number itself
//! (`net.ipv4.neigh.default.gc_thresh3`, and those that were added by hand).

use std::collections::HashMap;

use crate::engine::address::Address;

/// An entry of the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub reachability: Reachability,
    /// `None` where it is unknown, or not six bytes.
    pub link_layer: Option<[u8; 6]>,
}

/// The states of the kernel (`NUD_*`), as far as they differ here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// Reachable, being checked, or set by hand.
    Confirmed,
    /// The address may be right still; packets that the kernel forwards would have it checked.
    Stale,
    /// Being asked for, or asked for in vain.
    Unresolved,
}

impl Neighbour {
    pub(super) fn address(&self) -> Option<[u8; 6]> {
        self.link_layer.filter(|_| self.reachability != Reachability::Unresolved)
    }
}

#[derive(Debug, Default)]
pub(super) struct Neighbours(HashMap<(u32, Address), Neighbour>);

impl Neighbours {
    pub(super) fn get(&self, interface: u32, address: Address) -> Option<&Neighbour> {
        self.0.get(&(interface, address))
    }

    pub(super) fn set(&mut self, interface: u32, address: Address, neighbour: Neighbour) {
        self.0.insert((interface, address), neighbour);
    }

    pub(super) fn remove(&mut self, interface: u32, address: Address) {
        self.0.remove(&(interface, address));
    }

    /// The kernel forgets those of an interface that is gone without a word about each.
    pub(super) fn remove_all_of(&mut self, interface: u32) {
        self.0.retain(|(of, _), _| *of != interface);
    }
}
