//! All real servers, each in its place, and those that were removed and are not forgotten yet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::ServiceIndex;
use super::meter::Meter;
use crate::engine::scheduler::{Counted, Server, ServerIndex};
use crate::plane::Counters;
use crate::real_server::{RealServer, RealServerId};
use crate::virtual_service::ServiceId;

/// Time between two looks at removed servers.
const CHECK: Duration = Duration::from_secs(60);
/// A removed server that was without connections for so long is forgotten.
const IDLE: Duration = Duration::from_secs(120);

/// The service that a server belongs to, or belonged to last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) id: ServiceId,
    /// Tells a service from one that was there before under the same name.
    pub(super) serial: u64,
}

/// One server, in a service or removed.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Place {
    /// `None` when it was removed. In one cache line with the counters of packets.
    pub(super) service: Option<ServiceIndex>,
    pub(super) meter: Meter,
    pub(super) settings: RealServer,
    owner: Owner,
    /// Connections and templates that point here.
    references: u32,
    templates: u32,
    /// Whether answers to any of the connections may pass here: a connection keeps the method that it began with.
    answers: bool,
    /// Since when it is known to be removed and without references.
    idle_since: Option<Instant>,
}

/// Servers in places that they keep as long as anything points to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Servers {
    places: Vec<Option<Place>>,
    /// What schedulers see, at the same places. What stands where there is no server means nothing.
    seen: Vec<Server>,
    free: Vec<ServerIndex>,
    removed: BTreeMap<(ServiceId, RealServerId), ServerIndex>,
    next_check: Option<Instant>,
}

impl Servers {
    pub(super) fn get(&self, index: ServerIndex) -> Option<&Place> {
        self.places.get(position(index))?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: ServerIndex) -> Option<&mut Place> {
        self.places.get_mut(position(index))?.as_mut()
    }

    /// Places in use.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.iter().flatten().count()
    }

    pub(super) fn seen(&self) -> &[Server] {
        &self.seen
    }

    /// Adds a server to a service. One that was removed from a service of that name takes up where it was, but that
    /// another service counts anew. `None` when there are as many as can be told apart.
    pub(super) fn add(
        &mut self,
        service: ServiceIndex,
        owner: Owner,
        settings: &RealServer,
    ) -> Option<ServerIndex> {
        let Some(index) = self.removed.remove(&(owner.id, settings.id)) else {
            return self.put(service, owner, settings);
        };
        let place = self.get_mut(index)?;
        if place.owner.serial != owner.serial {
            place.meter.zero();
        }
        (place.service, place.owner, place.idle_since) = (Some(service), owner, None);
        self.edit(index, settings);
        Some(index)
    }

    fn put(&mut self, service: ServiceIndex, owner: Owner, settings: &RealServer) -> Option<ServerIndex> {
        let place = Place {
            service: Some(service),
            meter: Meter::default(),
            settings: *settings,
            owner,
            references: 0,
            templates: 0,
            answers: settings.forwarding.sees_answers(),
            idle_since: None,
        };
        if let Some(index) = self.free.pop() {
            *self.places.get_mut(position(index))? = Some(place);
            *self.seen.get_mut(position(index))? = Server::new(settings);
            return Some(index);
        }
        let index = ServerIndex::new(u32::try_from(self.places.len()).ok()?);
        self.places.push(Some(place));
        self.seen.push(Server::new(settings));
        Some(index)
    }

    pub(super) fn edit(&mut self, index: ServerIndex, settings: &RealServer) {
        if let Some(place) = self.get_mut(index) {
            place.settings = *settings;
            let had = place.answers && place.references != 0;
            place.answers = had || settings.forwarding.sees_answers();
        }
        if let Some(server) = self.seen.get_mut(position(index)) {
            server.edit(settings);
        }
    }

    /// It belongs to no service any more.
    pub(super) fn remove(&mut self, index: ServerIndex, now: Instant) {
        let Some(place) = self.get_mut(index) else { return };
        place.service = None;
        let key = (place.owner.id, place.settings.id);
        self.removed.insert(key, index);
        self.next_check.get_or_insert(now + CHECK);
    }

    /// Servers that are in a service or have connections, with the service, and whether their answers pass here.
    pub(super) fn claiming(&self) -> impl Iterator<Item = (&ServiceId, &RealServerId, bool)> {
        let places = self.places.iter().flatten();
        let claiming = places.filter(|place| place.service.is_some() || place.references != 0);
        claiming.map(|place| (&place.owner.id, &place.settings.id, place.answers))
    }

    pub(super) fn bind(&mut self, index: ServerIndex, counted: Counted) {
        let Some(place) = self.get_mut(index) else { return };
        place.references = place.references.saturating_add(1);
        if counted == Counted::Template {
            place.templates = place.templates.saturating_add(1);
        }
        if let Some(server) = self.seen.get_mut(position(index)) {
            server.bind(counted);
        }
    }

    pub(super) fn unbind(&mut self, index: ServerIndex, counted: Counted) {
        let Some(place) = self.get_mut(index) else { return };
        place.references = place.references.saturating_sub(1);
        if counted == Counted::Template {
            place.templates = place.templates.saturating_sub(1);
        }
        if let Some(server) = self.seen.get_mut(position(index)) {
            server.unbind(counted);
        }
    }

    pub(super) fn recount(&mut self, index: ServerIndex, from: Counted, to: Counted) {
        if let Some(server) = self.seen.get_mut(position(index)) {
            server.recount(from, to);
        }
    }

    pub(super) fn counters(&self, index: ServerIndex) -> Option<Counters> {
        let (place, server) = (self.get(index)?, self.seen.get(position(index))?);
        Some(Counters {
            active: server.active(),
            inactive: server.inactive(),
            persistent: place.templates,
            ..place.meter.counters()
        })
    }

    /// As [`Services::counted`](super::Services::counted).
    pub(super) fn counted(&self) -> impl Iterator<Item = (ServerIndex, [u32; 3])> {
        let places = (0..).map(ServerIndex::new).zip(self.places.iter().zip(&self.seen));
        places.filter_map(|(index, (place, server))| {
            let templates = place.as_ref()?.templates;
            Some((index, [server.active(), server.inactive(), templates]))
        })
    }

    /// Of all servers, removed ones included.
    pub(super) fn meters(&mut self) -> impl Iterator<Item = &mut Meter> {
        self.places.iter_mut().flatten().map(|place| &mut place.meter)
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.next_check
    }

    /// Forgets removed servers that are of no use to any connection. The first look only notes that there is none, so
    /// that it takes two to three minutes in all.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.next_check.is_none_or(|check| now < check) {
            return;
        }
        let Self { places, free, removed, .. } = self;
        removed.retain(|_, index| {
            let Some(slot) = places.get_mut(position(*index)) else { return false };
            let stays = slot.as_mut().is_some_and(|place| place.stays(now));
            if !stays {
                *slot = None;
                free.push(*index);
            }
            stays
        });
        self.next_check = (!self.removed.is_empty()).then(|| now + CHECK);
    }
}

impl Place {
    /// Whether it is to be kept, though it was removed.
    fn stays(&mut self, now: Instant) -> bool {
        if self.references != 0 {
            self.idle_since = None;
            return true;
        }
        let since = *self.idle_since.get_or_insert(now);
        now.saturating_duration_since(since) < IDLE
    }
}

fn position(index: ServerIndex) -> usize {
    usize::try_from(index.get()).unwrap_or(usize::MAX)
}
