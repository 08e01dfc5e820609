//! What the table should hold for a virtual server.

use std::collections::BTreeMap;

use buoy_ipvs::{Entry, RealServer, RealServerId, ServiceId, VirtualService, Weight};

use super::member::{Drain, Member};
use super::{Administration, Pool};
use crate::control::service::{Server, Service};

/// What a server is to be in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Serving(Weight),
    /// With weight 0.
    Idle,
    Absent,
}

impl Presence {
    pub(super) fn weight(self) -> Option<Weight> {
        match self {
            Self::Serving(weight) => Some(weight),
            Self::Idle => Some(Weight::ZERO),
            Self::Absent => None,
        }
    }
}

impl Pool {
    pub(super) fn presence(&self, id: &RealServerId, member: &Member) -> Presence {
        if member.drain == Some(Drain::Over) || member.administration == Administration::Disabled {
            return Presence::Absent;
        }
        if !self.passes(id, member) {
            // Dead: whatever it still has is lost, and is better told so.
            let kept = member.settings.inhibit_on_failure && !member.leaving && member.drain.is_none();
            return if kept { Presence::Idle } else { Presence::Absent };
        }
        if member.leaving || member.drain.is_some() || member.resting {
            return Presence::Idle;
        }
        if self.displaces() {
            let busy = member.connections.is_none_or(|connections| connections > 0);
            return if busy || member.settings.inhibit_on_failure {
                Presence::Idle
            } else {
                Presence::Absent
            };
        }
        Presence::Serving(member.weight())
    }

    /// What the table should hold for this virtual server.
    pub(in crate::control) fn entries(&self) -> impl Iterator<Item = Entry> {
        let own = self.settings.members.iter().map(|service| self.entry_for(service));
        own.chain(self.detours.values().cloned())
    }

    /// Under what names.
    pub(in crate::control) fn names(&self) -> impl Iterator<Item = ServiceId> {
        self.settings.members.iter().map(|member| member.id).chain(self.detours.keys().copied())
    }

    /// What it should hold under one of them.
    pub(in crate::control) fn entry(&self, id: &ServiceId) -> Option<Entry> {
        if let Some(detour) = self.detours.get(id) {
            return Some(detour.clone());
        }
        self.settings.members.iter().find(|service| service.id == *id).map(|service| self.entry_for(service))
    }

    fn entry_for(&self, service: &VirtualService) -> Entry {
        let servers = self.servers.iter().filter_map(|(id, member)| {
            Some(member.settings.behind(&service.id, self.presence(id, member).weight()?))
        });
        let mut servers: BTreeMap<RealServerId, RealServer> =
            servers.filter(|s| s.fits(service.id.family())).map(|s| (s.id, s)).collect();
        if let Some(sorry) = self.sorry_server(&service.id) {
            servers
                .entry(sorry.id)
                .and_modify(|held| held.weight = held.weight.max(sorry.weight))
                .or_insert(sorry);
        }
        Entry { service: service.clone(), servers }
    }

    fn sorry_server(&self, service: &ServiceId) -> Option<RealServer> {
        let sorry = self.settings.sorry.filter(|sorry| sorry.fits(service.family()) && !self.leaving)?;
        match (self.quorum, sorry.inhibit) {
            (false, _) => Some(sorry.behind(service, Weight::ONE)),
            (true, true) => Some(sorry.behind(service, Weight::ZERO)),
            (true, false) => None,
        }
    }
}

pub(super) fn detours(settings: &Service) -> BTreeMap<ServiceId, Entry> {
    let entries = settings.servers.iter().filter_map(Server::detour);
    entries.map(|entry| (entry.service.id, entry)).collect()
}
