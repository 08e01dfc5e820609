//! What the host does besides the virtual routers' items, for as long as a configuration is in force.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::firewall::Guarded;
use super::item::Items;
use super::vmac::{VmacSpec, Vmacs};
use crate::config::plan::{Plan, Router};

/// The host's share of a configuration. A new one is applied as a difference to the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// `static_ipaddress`, `static_routes`, `static_rules`.
    pub statics: Arc<Items>,
    pub vmacs: Vec<VmacSpec>,
    /// VIPs of the routers with `no_accept`.
    pub guarded: Guarded,
    /// Interfaces where the kernel shall not delete IPv4 addresses along with the first of their subnet.
    pub promote_secondaries: BTreeSet<Arc<str>>,
    /// Addresses that routers speak from.
    pub sources: BTreeSet<IpAddr>,
    /// Stop the kernel's membership reports for link-local groups, VRRP's among them.
    pub disable_local_igmp: bool,
}

impl HostConfig {
    pub fn of(plan: &Plan, vmacs: &Vmacs) -> Self {
        let mut guarded = Guarded::default();
        for router in plan.routers.iter().filter(|router| !router.accept) {
            let held = vmacs.items_of(router).addresses;
            held.iter().for_each(|address| guarded.add(address));
        }
        let promoting = plan.routers.iter().filter(|router| router.promote_secondaries);
        Self {
            statics: Arc::new(Items {
                addresses: plan.static_addresses.iter().map(|held| held.item.clone()).collect(),
                routes: plan.static_routes.iter().map(|held| held.item.clone()).collect(),
                rules: plan.static_rules.iter().map(|held| held.item.clone()).collect(),
            }),
            vmacs: vmacs.specs().to_vec(),
            guarded,
            promote_secondaries: promoting.flat_map(|router| interfaces(router, vmacs)).collect(),
            sources: plan.routers.iter().filter_map(|router| router.source).collect(),
            disable_local_igmp: plan.global.disable_local_igmp,
        }
    }
}

/// Those that hold the router's addresses.
fn interfaces(router: &Router, vmacs: &Vmacs) -> Vec<Arc<str>> {
    vmacs.items_of(router).addresses.into_iter().map(|address| address.dev).collect()
}
