//! One virtual service with its servers, by their places.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use super::ServiceIndex;
use super::meter::Meter;
use super::servers::Owner;
use crate::engine::address::Address;
use crate::engine::scheduler::{Pool, Request, Scheduling, Server, ServerIndex};
use crate::plane::Timeouts;
use crate::real_server::RealServerId;
use crate::virtual_service::{Family, ServiceId, VirtualService};

#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) settings: VirtualService,
    pub(super) meter: Meter,
    pub(super) timeouts: Timeouts,
    pub(super) local: LocalTurns,
    index: ServiceIndex,
    serial: u64,
    /// The newest first.
    order: Vec<ServerIndex>,
    servers: BTreeMap<RealServerId, ServerIndex>,
    scheduling: Option<Scheduling>,
}

/// Local addresses of the service's family, which take turns.
#[derive(Clone, Debug)]
pub(super) struct LocalTurns {
    pub(super) addresses: Vec<Address>,
    /// Which is next, as [`LocalPorts::take`](super::LocalPorts::take) has it.
    pub(super) turn: usize,
}

impl Service {
    pub(super) fn new(
        settings: &VirtualService,
        index: ServiceIndex,
        serial: u64,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut service = Self {
            settings: settings.clone(),
            meter: Meter::default(),
            timeouts: Timeouts::default(),
            local: LocalTurns { addresses: local_addresses(settings), turn: 0 },
            index,
            serial,
            order: Vec::new(),
            servers: BTreeMap::new(),
            scheduling: None,
        };
        service.schedule(&[], seed, now);
        service
    }

    pub(super) const fn owner(&self) -> Owner {
        Owner { id: self.settings.id, serial: self.serial }
    }

    pub(super) const fn index(&self) -> ServiceIndex {
        self.index
    }

    pub(super) fn edit(&mut self, settings: &VirtualService, seen: &[Server], seed: u64, now: Instant) {
        let same_scheduler = self.settings.scheduler == settings.scheduler;
        self.settings = settings.clone();
        self.local.addresses = local_addresses(settings);
        if !same_scheduler {
            self.schedule(seen, seed, now);
        }
    }

    fn schedule(&mut self, seen: &[Server], seed: u64, now: Instant) {
        let (family, pool) = (self.settings.id.family(), Pool::new(&self.order, seen));
        let scheduler = self.settings.scheduler;
        self.scheduling = scheduler.map(|scheduler| Scheduling::new(scheduler, family, pool, seed, now));
    }

    /// A server has been put or edited there.
    pub(super) fn add(&mut self, id: RealServerId, server: ServerIndex, seen: &[Server]) {
        self.order.insert(0, server);
        self.servers.insert(id, server);
        if let Some(scheduling) = &mut self.scheduling {
            scheduling.added(Pool::new(&self.order, seen));
        }
    }

    pub(super) fn edited(&mut self, seen: &[Server]) {
        if let Some(scheduling) = &mut self.scheduling {
            scheduling.edited(Pool::new(&self.order, seen));
        }
    }

    pub(super) fn remove(&mut self, id: &RealServerId, seen: &[Server]) -> Option<ServerIndex> {
        let server = self.servers.remove(id)?;
        let position = self.order.iter().position(|index| *index == server)?;
        self.order.remove(position);
        if let Some(scheduling) = &mut self.scheduling {
            scheduling.removed(Pool::new(&self.order, seen), position);
        }
        Some(server)
    }

    pub(super) fn server(&self, id: &RealServerId) -> Option<ServerIndex> {
        self.servers.get(id).copied()
    }

    /// The newest first.
    pub(super) fn servers(&self) -> &[ServerIndex] {
        &self.order
    }

    pub(super) fn pick(&mut self, seen: &[Server], request: &Request, now: Instant) -> Option<ServerIndex> {
        let on_every_port = matches!(self.settings.id, ServiceId::Address { port: 0, .. });
        if on_every_port && self.settings.persistence.is_none() {
            return None;
        }
        let pool = Pool::new(&self.order, seen);
        self.scheduling.as_mut()?.pick(pool, request, self.settings.flags, now)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.scheduling.as_ref()?.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(scheduling) = &mut self.scheduling {
            scheduling.handle_timeout(now);
        }
    }
}

fn local_addresses(settings: &VirtualService) -> Vec<Address> {
    let family = settings.id.family();
    let usable = settings.local_addresses.as_slice().iter().filter(|local| Family::of(**local) == family);
    usable.map(|local: &IpAddr| Address::from(*local)).collect()
}
