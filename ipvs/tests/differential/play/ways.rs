//! Where packets go from the house.

use std::collections::BTreeMap;

use buoy_ipvs::Family;
use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::forward::Path;
use buoy_ipvs::engine::process::{Route, Routes};

use crate::place::{NARROW, Network, Place, WIDE, is_local, network_of};

/// Its routes, as the kernel knows them.
#[derive(Default)]
pub(super) struct Ways {
    mtus: BTreeMap<Address, usize>,
}

impl Routes for Ways {
    fn route(&mut self, to: Address) -> Route {
        let address = to.into();
        if is_local(address) {
            return Route::Local;
        }
        let (network, mtu) = match network_of(address) {
            Some(Network::Clients) => (Network::Clients, WIDE),
            Some(Network::NarrowClients) => (Network::Clients, NARROW),
            Some(Network::Servers) => (Network::Servers, WIDE),
            Some(Network::NarrowServers) => (Network::Servers, NARROW),
            Some(Network::Nowhere | Network::Services) | None => return Route::Unreachable,
        };
        let source = Place { network, host: 0, family: Family::of(address) }.address(0).into();
        Route::Via(Path { mtu: self.mtus.get(&to).copied().unwrap_or(mtu).min(mtu), source })
    }

    fn lower_mtu(&mut self, to: Address, mtu: usize) {
        // `net.ipv4.route.min_pmtu`, and what every IPv6 link takes.
        let least = match to.family() {
            Family::V4 => 552,
            Family::V6 => 1280,
        };
        self.mtus.insert(to, mtu.max(least));
    }
}
