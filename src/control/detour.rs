//! Checks by way of the service (`check_vip`): they go to the address that clients use and reach one server by its
//! forwarding method, so that they fail where clients would: the address is missing there, or a tunnel is broken.
//!
//! Packets of such a check carry a mark, and for each server that is checked so the plane has a service of this mark with
//! that server alone. IPVS forwards packets of this host like those of clients:
//!
//! ```text
//! probe, from an own address with the mark, to VIP:80 --> FWM mark --> the server, by its method
//!    <------------------------ VIP:80 to that address -------------------------+
//! ```
//!
//! The connection of a probe is one of its own service: it counts neither for the scheduler nor for a drain. Datagrams are
//! scheduled one by one and leave none behind.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use buoy_ipvs::{Entry, Family, FwMark, Scheduler, ServiceId, VirtualService, Weight};

use super::{Server, Service};
use crate::config::plan::{RealServer, VirtualServer};
use crate::host::Answering;

/// First of the marks that are taken for this; `B`, in the hope that nobody else marks with it.
const FIRST_MARK: u32 = 0x4200_0000;
/// How many there are.
const MARKS: u32 = 1 << 24;

/// Gives a mark to each server that has a check by way of its service. It follows from the names of both, so that another
/// reload or start gives the same one, and is none of those that virtual servers are configured with.
pub fn mark_servers(services: &mut [VirtualServer]) {
    let members = services.iter().flat_map(|service| &service.service.members);
    let mut taken: BTreeSet<u32> = members
        .filter_map(|member| match member.id {
            ServiceId::FwMark { mark, .. } => Some(mark.get()),
            ServiceId::Address { .. } => None,
        })
        .collect();
    for service in services {
        let by_vip = |server: &RealServer| {
            server.checks.iter().filter_map(|check| check.settings.probe()).any(|probe| probe.check_vip)
        };
        if !service.servers.iter().any(by_vip) {
            continue;
        }
        let name = Arc::clone(&service.service.name);
        let servers = &mut Arc::make_mut(&mut service.service).servers;
        for (server, beside) in servers.iter_mut().zip(&service.servers) {
            server.mark = match by_vip(beside) {
                true => free_mark(hash(&format!("{name} {}", server.id)), &mut taken),
                false => None,
            };
        }
    }
}

/// The first one from there on that is free.
fn free_mark(hash: u32, taken: &mut BTreeSet<u32>) -> Option<FwMark> {
    let mark = (0..MARKS)
        .map(|step| FIRST_MARK + hash.wrapping_add(step) % MARKS)
        .find(|mark| taken.insert(*mark))?;
    FwMark::new(mark)
}

/// FNV-1a, which is the same in every version of Buoy.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Whether any server is checked by way of its service: then the plane has to hold that way before the first check.
pub fn is_needed(services: &[VirtualServer]) -> bool {
    services.iter().flat_map(|service| &service.service.servers).any(|server| server.mark.is_some())
}

/// Whose answers have an IPv4 address of their service as their source, and which.
pub fn answering(services: &[VirtualServer]) -> BTreeSet<Answering> {
    let servers = services.iter().flat_map(|service| {
        let service = &service.service;
        let marked = service.servers.iter().filter(|server| server.mark.is_some());
        marked.map(move |server| (server.id.address, service.address_before(server)))
    });
    let of_v4 = servers.filter_map(|addresses| match addresses {
        (IpAddr::V4(server), Some(IpAddr::V4(service))) => Some(Answering { server, service }),
        _ => None,
    });
    of_v4.collect()
}

impl Service {
    /// The address by which a check of the server goes: the first one of its family.
    pub fn address_before(&self, server: &Server) -> Option<IpAddr> {
        let addresses = self.members.iter().filter_map(|member| match member.id {
            ServiceId::Address { address, .. } => Some(address),
            ServiceId::FwMark { .. } => None,
        });
        addresses.into_iter().find(|address| address.is_ipv4() == server.id.address.is_ipv4())
    }
}

impl Server {
    /// What the plane has to hold for checks of this server by way of its service.
    pub fn detour(&self) -> Option<Entry> {
        let id = ServiceId::FwMark { family: Family::of(self.id.address), mark: self.mark? };
        let service = VirtualService { one_packet: true, ..VirtualService::new(id, Scheduler::Rr) };
        let server = self.behind(&id, Weight::ONE);
        let alone = buoy_ipvs::RealServer { upper_threshold: 0, lower_threshold: 0, ..server };
        Some(Entry { service, servers: [(alone.id, alone)].into() })
    }
}

#[cfg(test)]
mod tests;
