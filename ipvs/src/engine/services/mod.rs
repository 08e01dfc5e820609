//! Virtual services and real servers as the engine has them: what can be changed, what packets need, what is counted.
//!
//! [`Services`] takes the [`Change`]s that every plane takes, and answers them as the kernel's IPVS does. What differs,
//! and why:
//! - Nothing is refused for what only the kernel cannot: schedulers without a module, more servers than mh has places,
//!   servers of the other family while connections are synchronised. Persistence engines are refused: there is none.
//! - Counters are those of now; the kernel's are up to two seconds old. Rates are the kernel's, digit by digit, but that
//!   it measures from a moment of its own.
//! - A service on port 21 is one as any other. The kernel gives it all connections to its address from port 1024 on,
//!   which a service on every port would have got, for the data connections of FTP; and it looks into the packets to
//!   translate what they say of addresses, which the engine does not.
//! - A removed server is told of in [`claims`](Services::claims) as long as it has connections, also when it was in the
//!   last service of its family, whose packets the kernel would then leave to its own stack.
//!
//! # Servers that were removed
//! A connection points to its server by a [`ServerIndex`], from [`bind`](Services::bind) to
//! [`unbind`](Services::unbind). Between the two, the place is the server's. After its removal from the service it
//! is not available: no packet is counted, and whoever handles packets drops them. Added again to a service of the same
//! name, it is the same server with the same connections; it keeps its counters if the service is the same too. Two to
//! three minutes after the last connection has gone it is forgotten, and another server may get its place: there are no
//! more removed servers than have connections, had some or were removed within that time.

mod claim;
mod local_ports;
mod lookup;
mod meter;
mod seeded;
mod servers;
mod service;
mod traffic;

use std::collections::BTreeMap;
use std::time::Instant;

pub use claim::Claim;
pub use local_ports::{LocalPort, LocalPorts, NoLocalPort, Target};
pub use traffic::PortFirst;

use self::lookup::Lookup;
use self::meter::Meter;
use self::servers::Servers;
use self::service::Service;
use super::address::Address;
use super::scheduler::{Request, ServerIndex};
use crate::kernel::may_be_a_host;
use crate::plane::{Counters, Statistics, Timeouts};
use crate::real_server::{RealServer, RealServerId};
use crate::refusal::Reason;
use crate::table::{Change, Entry, Table};
use crate::virtual_service::{FwMark, ServiceId, VirtualService};

/// The place of a virtual service. Another service may get it after a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceIndex(u32);

/// All virtual services with their real servers.
///
/// Call [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) says so. What is done with a
/// server comes from [`pick`](Self::pick) or [`find_server`](Self::find_server); each connection or template that is
/// made of it is bound once, recounted as its state changes, and unbound once.
#[derive(Clone, Debug)]
pub struct Services {
    places: Vec<Option<Service>>,
    by_id: BTreeMap<ServiceId, ServiceIndex>,
    lookup: Lookup,
    servers: Servers,
    local_ports: LocalPorts,
    totals: Meter,
    next_estimate: Instant,
    /// Not after the earliest of any scheduler.
    next_of_schedulers: Option<Instant>,
    next_serial: u64,
    random: fastrand::Rng,
}

impl Services {
    /// None yet. Hashes and random choices come from `seed`, which nobody outside should know.
    pub fn new(seed: u64, now: Instant) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            places: Vec::new(),
            by_id: BTreeMap::new(),
            lookup: Lookup::new(&mut random),
            servers: Servers::default(),
            local_ports: LocalPorts::new(&mut random),
            totals: Meter::default(),
            next_estimate: now + meter::INTERVAL,
            next_of_schedulers: None,
            next_serial: 0,
            random,
        }
    }

    /// What was applied and not removed since.
    pub fn table(&self) -> Table {
        self.services()
            .map(|service| {
                let places = service.servers().iter().filter_map(|index| self.servers.get(*index));
                let servers = places.map(|place| (place.settings.id, place.settings)).collect();
                Entry { service: service.settings.clone(), servers }
            })
            .collect()
    }

    /// The service of a packet that belongs to no connection, by its destination. A mark comes first, then the very port,
    /// then a service on every port.
    pub fn find(
        &self,
        protocol: u8,
        destination: Address,
        port: u16,
        mark: Option<FwMark>,
    ) -> Option<ServiceIndex> {
        self.lookup.find(protocol, destination, port, mark)
    }

    /// The server for a new connection or template of a service. `None` when no server takes it: then the client is
    /// refused. A service on every port that is not persistent takes nothing at all.
    pub fn pick(&mut self, service: ServiceIndex, request: &Request, now: Instant) -> Option<ServerIndex> {
        let seen = self.servers.seen();
        self.places.get_mut(position(service))?.as_mut()?.pick(seen, request, now)
    }

    pub fn index_of(&self, id: &ServiceId) -> Option<ServiceIndex> {
        self.lookup.exact(id)
    }

    pub fn service(&self, index: ServiceIndex) -> Option<&VirtualService> {
        self.place(index).map(|service| &service.settings)
    }

    /// Timeouts of connections of this service; those that are `None` are as for all services.
    pub fn timeouts(&self, service: ServiceIndex) -> Timeouts {
        self.place(service).map(|service| service.timeouts).unwrap_or_default()
    }

    /// Sets all timeouts of a service. They last until its removal.
    ///
    /// # Errors
    /// There is no such service, or no such timeout.
    pub fn set_timeouts(&mut self, service: &ServiceId, timeouts: Timeouts) -> Result<(), Reason> {
        if !timeouts.are_possible() {
            return Err(Reason::Timeout);
        }
        self.named(service)?.timeouts = timeouts;
        Ok(())
    }

    /// Packets that can be of any service, each kind once. To be asked for again after every change.
    pub fn claims(&self) -> Vec<Claim> {
        let mut claims = Vec::new();
        for service in self.services() {
            claims.push(claim::of_service(&service.settings.id));
            claims.extend(service.local.addresses.iter().map(|address| Claim::Local(*address)));
        }
        for (id, server, answers) in self.servers.claiming() {
            claims.push(claim::of_service(id));
            if answers {
                claims.extend(claim::of_server(id, server));
            }
        }
        claims.sort_unstable();
        claims.dedup();
        claims
    }

    /// Counters of all services and servers.
    pub fn statistics(&self) -> Statistics {
        let mut statistics = Statistics::default();
        for service in self.services() {
            let id = service.settings.id;
            statistics.services.insert(id, service.meter.counters());
            for index in service.servers() {
                let (Some(place), Some(counters)) = (self.servers.get(*index), self.servers.counters(*index))
                else {
                    continue;
                };
                statistics.servers.insert((id, place.settings.id), counters);
            }
        }
        statistics
    }

    /// Counters of all traffic, also of services that are gone.
    pub fn totals(&self) -> Counters {
        self.totals.counters()
    }

    /// Counts from zero: one service with its servers, or all with the totals. Connections of now are none of that.
    ///
    /// # Errors
    /// There is no such service.
    pub fn zero(&mut self, service: Option<&ServiceId>) -> Result<(), Reason> {
        if let Some(id) = service {
            self.named(id)?;
        } else {
            self.totals.zero();
        }
        let meant = |known: &Service| service.is_none_or(|id| known.settings.id == *id);
        for known in self.places.iter_mut().flatten().filter(|known| meant(known)) {
            known.meter.zero();
            for server in known.servers() {
                if let Some(place) = self.servers.get_mut(*server) {
                    place.meter.zero();
                }
            }
        }
        Ok(())
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub fn poll_timeout(&self) -> Instant {
        let others = [self.servers.poll_timeout(), self.next_of_schedulers];
        others.into_iter().flatten().fold(self.next_estimate, Instant::min)
    }

    /// Estimates rates, and forgets removed servers and what schedulers need no more.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next_estimate {
            self.totals.estimate();
            self.places.iter_mut().flatten().for_each(|service| service.meter.estimate());
            self.servers.meters().for_each(Meter::estimate);
            // After a pause, what happened counts as of one interval, as in the kernel.
            let next = self.next_estimate + meter::INTERVAL;
            self.next_estimate = if next > now { next } else { now + meter::INTERVAL };
        }
        self.servers.handle_timeout(now);
        if self.next_of_schedulers.is_some_and(|next| now >= next) {
            self.places.iter_mut().flatten().for_each(|service| service.handle_timeout(now));
            self.next_of_schedulers = self.services().filter_map(Service::poll_timeout).min();
        }
    }

    /// Makes one change.
    ///
    /// # Errors
    /// It is refused, and nothing is changed.
    pub fn apply(&mut self, change: &Change, now: Instant) -> Result<(), Reason> {
        if let Some(reason) = objection(change) {
            return Err(reason);
        }
        match change {
            Change::AddService(service) => self.add_service(service, now),
            Change::EditService(service) => self.edit_service(service, now),
            Change::RemoveService(id) => self.remove_service(id, now),
            Change::AddServer(id, server) => self.add_server(id, server),
            Change::EditServer(id, server) => self.edit_server(id, server),
            Change::RemoveServer(id, server) => self.remove_server(id, server, now),
        }?;
        let next = self.index_of(change.service()).and_then(|index| self.place(index)?.poll_timeout());
        self.next_of_schedulers = [self.next_of_schedulers, next].into_iter().flatten().min();
        Ok(())
    }

    /// Removes all services. Servers stay until their connections have gone.
    pub fn flush(&mut self, now: Instant) {
        while let Some((id, _)) = self.by_id.pop_first() {
            self.take_out(&id, now);
        }
        self.next_of_schedulers = None;
    }

    fn add_service(&mut self, settings: &VirtualService, now: Instant) -> Result<(), Reason> {
        if self.by_id.contains_key(&settings.id) {
            return Err(Reason::Exists);
        }
        let full = self.by_id.len() == self.places.len();
        let free = if full { None } else { self.places.iter().position(Option::is_none) };
        let free = free.unwrap_or(self.places.len());
        let index = ServiceIndex(u32::try_from(free).ok().ok_or_else(no_room)?);
        let service = Service::new(settings, index, self.next_serial, self.random.u64(..), now);
        self.next_serial += 1;
        match self.places.get_mut(free) {
            Some(place) => *place = Some(service),
            None => self.places.push(Some(service)),
        }
        self.by_id.insert(settings.id, index);
        self.lookup.insert(&settings.id, index);
        Ok(())
    }

    fn edit_service(&mut self, settings: &VirtualService, now: Instant) -> Result<(), Reason> {
        let seed = self.random.u64(..);
        let Self { by_id, places, servers, .. } = self;
        named(by_id, places, &settings.id)?.edit(settings, servers.seen(), seed, now);
        Ok(())
    }

    fn remove_service(&mut self, id: &ServiceId, now: Instant) -> Result<(), Reason> {
        self.by_id.remove(id).ok_or(Reason::NoService)?;
        self.take_out(id, now);
        Ok(())
    }

    /// Removes what there is of a service beside its name.
    fn take_out(&mut self, id: &ServiceId, now: Instant) {
        let index = self.lookup.remove(id);
        let place = index.and_then(|index| self.places.get_mut(position(index)));
        for server in place.and_then(Option::take).iter().flat_map(Service::servers) {
            self.servers.remove(*server, now);
        }
    }

    fn add_server(&mut self, id: &ServiceId, server: &RealServer) -> Result<(), Reason> {
        let Self { by_id, places, servers, .. } = self;
        let service = named(by_id, places, id)?;
        if !may_be_a_host(server.id.address) {
            return Err(Reason::NotUnicast(server.id.address));
        }
        if service.server(&server.id).is_some() {
            return Err(Reason::Exists);
        }
        let index = servers.add(service.index(), service.owner(), server).ok_or_else(no_room)?;
        service.add(server.id, index, servers.seen());
        Ok(())
    }

    fn edit_server(&mut self, id: &ServiceId, server: &RealServer) -> Result<(), Reason> {
        let Self { by_id, places, servers, .. } = self;
        let service = named(by_id, places, id)?;
        servers.edit(service.server(&server.id).ok_or(Reason::NoServer)?, server);
        service.edited(servers.seen());
        Ok(())
    }

    fn remove_server(&mut self, id: &ServiceId, server: &RealServerId, now: Instant) -> Result<(), Reason> {
        let Self { by_id, places, servers, .. } = self;
        let service = named(by_id, places, id)?;
        servers.remove(service.remove(server, servers.seen()).ok_or(Reason::NoServer)?, now);
        Ok(())
    }

    fn named(&mut self, id: &ServiceId) -> Result<&mut Service, Reason> {
        named(&self.by_id, &mut self.places, id)
    }

    fn place(&self, index: ServiceIndex) -> Option<&Service> {
        self.places.get(position(index))?.as_ref()
    }

    /// In the order of their names.
    fn services(&self) -> impl Iterator<Item = &Service> {
        self.by_id.values().filter_map(|index| self.place(*index))
    }
}

/// Beside other fields of [`Services`] that are borrowed.
fn named<'a>(
    by_id: &BTreeMap<ServiceId, ServiceIndex>,
    places: &'a mut [Option<Service>],
    id: &ServiceId,
) -> Result<&'a mut Service, Reason> {
    let index = by_id.get(id).ok_or(Reason::NoService)?;
    places.get_mut(position(*index)).and_then(Option::as_mut).ok_or(Reason::NoService)
}

/// Why the engine cannot do that, whatever it holds.
fn objection(change: &Change) -> Option<Reason> {
    change.objection().or_else(|| match change {
        Change::AddService(service) | Change::EditService(service) => {
            let engine = service.persistence.as_ref().and_then(|persistence| persistence.engine.clone());
            let local = service.local_addresses.as_slice();
            let no_host = || local.iter().copied().find(|address| !may_be_a_host(*address));
            engine.map(Reason::KernelOnly).or_else(|| no_host().map(Reason::NotUnicast))
        }
        _ => None,
    })
}

fn no_room() -> Reason {
    Reason::Other("the engine has as many as it can tell apart".to_owned())
}

fn position(index: ServiceIndex) -> usize {
    usize::try_from(index.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
