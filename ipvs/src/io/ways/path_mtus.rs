//! Path MTUs that the engine has been told of in answers to packets of its own, of which the kernel knows nothing.

use std::collections::HashMap;

use crate::engine::address::Address;
use crate::virtual_service::Family;

/// What Linux does not go below (`net.ipv4.route.min_pmtu`), and what IPv6 does not (RFC 8200, 5).
const LEAST_V4: u32 = 552;
const LEAST_V6: u32 = 1280;
/// Destinations. With more all are forgotten, to be told again by the next packets that are too long.
const CAPACITY: usize = 4096;
/// For as long as Linux (`net.ipv4.route.mtu_expires`): ten minutes.
const PERIODS: u8 = 20;

#[derive(Debug, Default)]
pub(super) struct PathMtus(HashMap<Address, (u32, u8)>);

impl PathMtus {
    pub(super) fn get(&self, destination: Address) -> Option<u32> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&destination).map(|(mtu, _)| *mtu)
    }

    /// `false` if it was known to be so narrow.
    pub(super) fn learn(&mut self, destination: Address, mtu: u32) -> bool {
        let mtu = mtu.max(match destination.family() {
            Family::V4 => LEAST_V4,
            Family::V6 => LEAST_V6,
        });
        if self.get(destination).is_some_and(|known| known <= mtu) {
            return false;
        }
        if self.0.len() >= CAPACITY {
            self.0.clear();
        }
        self.0.insert(destination, (mtu, PERIODS));
        true
    }

    /// Tells whether some have lived long enough.
    pub(super) fn end_period(&mut self) -> bool {
        let before = self.0.len();
        self.0.retain(|_, (_, periods)| {
            *periods = periods.saturating_sub(1);
            *periods > 0
        });
        self.0.len() != before
    }
}
