//! What should be counted, told by what became of packets.

use std::collections::BTreeMap;

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::engine::process::Engine;
use buoy_ipvs::{Counters, RealServerId, ServiceId};

/// Packets and bytes of both directions, and connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    connections: u64,
    packets: [u64; 2],
    bytes: [u64; 2],
}

impl Count {
    fn of(counters: &Counters) -> Self {
        Self {
            connections: counters.connections,
            packets: [counters.packets_in, counters.packets_out],
            bytes: [counters.bytes_in, counters.bytes_out],
        }
    }

    fn add(&mut self, other: &Self, sign: i64) {
        let add = |to: &mut u64, by: u64| *to = to.wrapping_add_signed(by as i64 * sign);
        add(&mut self.connections, other.connections);
        for side in 0..2 {
            add(&mut self.packets[side], other.packets[side]);
            add(&mut self.bytes[side], other.bytes[side]);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client = 0,
    Server = 1,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    /// Servers that are in a service now, by their addresses, which no two have.
    pub(super) present: BTreeMap<Address, (ServiceId, RealServerId)>,
    services: BTreeMap<ServiceId, Count>,
    /// What servers counted that were taken out of a service that is still there.
    removed: BTreeMap<ServiceId, Count>,
    total: Count,
    pub(super) records: u64,
    pub(super) offloaded: u64,
    pub(super) refused: u64,
    pub(super) moved: u64,
    pub(super) kept: u64,
    pub(super) unknown_answers: u64,
}

impl Books {
    pub(super) fn is_present(&self, server: Address) -> bool {
        self.present.contains_key(&server)
    }

    /// A packet has passed, to or from that server.
    pub(super) fn packet(&mut self, server: Address, side: Side, length: usize) {
        let Some((service, _)) = self.present.get(&server) else { return };
        for count in [self.services.entry(*service).or_default(), &mut self.total] {
            count.packets[side as usize] += 1;
            count.bytes[side as usize] += length as u64;
        }
    }

    pub(super) fn connection(&mut self, server: Address) {
        let Some((service, _)) = self.present.get(&server) else { return };
        self.services.entry(*service).or_default().connections += 1;
        self.total.connections += 1;
    }

    pub(super) fn service_added(&mut self, service: ServiceId) {
        self.services.insert(service, Count::default());
        self.removed.insert(service, Count::default());
    }

    pub(super) fn service_removed(&mut self, service: &ServiceId) {
        self.services.remove(service);
        self.removed.remove(service);
        self.present.retain(|_, (of, _)| of != service);
    }

    /// Takes over what a server brings along: it may have been there before.
    pub(super) fn server_added(&mut self, engine: &Engine, service: ServiceId, server: RealServerId) {
        self.present.insert(server.address.into(), (service, server));
        let brought = Count::of(&engine.statistics().servers[&(service, server)]);
        self.removed.entry(service).or_default().add(&brought, -1);
    }

    /// To be called before it is done.
    pub(super) fn server_removed(&mut self, engine: &Engine, service: ServiceId, server: RealServerId) {
        self.present.remove(&server.address.into());
        let left = Count::of(&engine.statistics().servers[&(service, server)]);
        self.removed.entry(service).or_default().add(&left, 1);
    }

    pub(super) fn check(&self, engine: &Engine) {
        let statistics = engine.statistics();
        assert_eq!(Count::of(&engine.totals()), self.total);
        assert_eq!(statistics.services.len(), self.services.len());
        for (service, counters) in &statistics.services {
            assert_eq!(Count::of(counters), self.services[service], "{service}");
            let mut parts = self.removed[service];
            for ((of, _), counters) in statistics.servers.iter().filter(|((of, _), _)| of == service) {
                assert_eq!(of, service);
                parts.add(&Count::of(counters), 1);
            }
            assert_eq!(parts, self.services[service], "{service} and its servers");
        }
    }
}
