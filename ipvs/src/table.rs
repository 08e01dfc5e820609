//! Everything that a plane is to forward, and the difference between what it is and what it should be.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::real_server::{RealServer, RealServerId};
use crate::refusal::Reason;
use crate::virtual_service::{ServiceId, VirtualService};

/// Virtual services with their real servers. Ordered, so that what is done with it can be repeated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    entries: BTreeMap<ServiceId, Entry>,
}

/// One virtual service with its real servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub service: VirtualService,
    pub servers: BTreeMap<RealServerId, RealServer>,
}

/// One step from one table to another. Each is one message to the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    AddService(VirtualService),
    EditService(VirtualService),
    RemoveService(ServiceId),
    AddServer(ServiceId, RealServer),
    EditServer(ServiceId, RealServer),
    RemoveServer(ServiceId, RealServerId),
}

impl Table {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn entry(&self, id: &ServiceId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub fn server(&self, service: &ServiceId, server: &RealServerId) -> Option<&RealServer> {
        self.entries.get(service)?.servers.get(server)
    }

    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&ServiceId, &Entry)> {
        self.entries.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a service or gives it other settings; its servers stay.
    pub fn set_service(&mut self, service: VirtualService) {
        match self.entries.get_mut(&service.id) {
            Some(entry) => entry.service = service,
            None => {
                let entry = Entry { servers: BTreeMap::new(), service };
                self.entries.insert(entry.service.id, entry);
            }
        }
    }

    /// Puts a service with all its servers in the place of what was there under its name.
    pub fn set_entry(&mut self, entry: Entry) {
        self.entries.insert(entry.service.id, entry);
    }

    /// Adds a server or gives it other settings. `false` when there is no such service.
    pub fn set_server(&mut self, service: &ServiceId, server: RealServer) -> bool {
        self.entries.get_mut(service).map(|entry| entry.servers.insert(server.id, server)).is_some()
    }

    pub fn remove_service(&mut self, id: &ServiceId) -> Option<Entry> {
        self.entries.remove(id)
    }

    pub fn remove_server(&mut self, service: &ServiceId, server: &RealServerId) -> Option<RealServer> {
        self.entries.get_mut(service)?.servers.remove(server)
    }

    /// What one change does to the table, if it applies: nothing is added twice, edited or removed where it is not.
    #[must_use]
    pub fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::AddService(service) => {
                let new = !self.entries.contains_key(&service.id);
                if new {
                    self.set_service(service.clone());
                }
                new
            }
            Change::EditService(service) => {
                let known = self.entries.contains_key(&service.id);
                if known {
                    self.set_service(service.clone());
                }
                known
            }
            Change::RemoveService(id) => self.remove_service(id).is_some(),
            Change::AddServer(service, server) => {
                self.server(service, &server.id).is_none() && self.set_server(service, *server)
            }
            Change::EditServer(service, server) => {
                self.server(service, &server.id).is_some() && self.set_server(service, *server)
            }
            Change::RemoveServer(service, server) => self.remove_server(service, server).is_some(),
        }
    }

    /// The fewest changes that turn this table into `desired`.
    ///
    /// In an order in which nothing that stays is ever without: services come before their servers, servers are added
    /// and changed before others of the service are removed, and whole services go last. A service that goes takes its
    /// servers along without further changes.
    pub fn changes_to(&self, desired: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (id, wanted) in &desired.entries {
            match self.entries.get(id) {
                None => {
                    changes.push(Change::AddService(wanted.service.clone()));
                    changes.extend(wanted.servers.values().map(|server| Change::AddServer(*id, *server)));
                }
                Some(held) => held.changes_to(wanted, &mut changes),
            }
        }
        let gone = self.entries.keys().filter(|id| !desired.entries.contains_key(id));
        changes.extend(gone.map(|id| Change::RemoveService(*id)));
        changes
    }
}

impl Entry {
    fn changes_to(&self, wanted: &Self, changes: &mut Vec<Change>) {
        let id = wanted.service.id;
        if self.service != wanted.service {
            changes.push(Change::EditService(wanted.service.clone()));
        }
        for (server_id, server) in &wanted.servers {
            match self.servers.get(server_id) {
                None => changes.push(Change::AddServer(id, *server)),
                Some(held) if held != server => changes.push(Change::EditServer(id, *server)),
                Some(_) => {}
            }
        }
        let gone = self.servers.keys().filter(|server| !wanted.servers.contains_key(server));
        changes.extend(gone.map(|server| Change::RemoveServer(id, *server)));
    }
}

impl FromIterator<Entry> for Table {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Self { entries: entries.into_iter().map(|entry| (entry.service.id, entry)).collect() }
    }
}

impl IntoIterator for Table {
    type Item = Entry;
    type IntoIter = std::collections::btree_map::IntoValues<ServiceId, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_values()
    }
}

impl Change {
    pub const fn service(&self) -> &ServiceId {
        match self {
            Self::AddService(service) | Self::EditService(service) => &service.id,
            Self::RemoveService(id)
            | Self::AddServer(id, _)
            | Self::EditServer(id, _)
            | Self::RemoveServer(id, _) => id,
        }
    }
}

impl Change {
    /// Why no plane can do that, whatever it holds.
    pub(crate) fn objection(&self) -> Option<Reason> {
        match self {
            Self::AddService(service) | Self::EditService(service) => service.objection(),
            Self::AddServer(id, server) | Self::EditServer(id, server) => server.objection(id.family()),
            Self::RemoveService(_) | Self::RemoveServer(..) => None,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddService(service) => write!(f, "add virtual service {}", service.id),
            Self::EditService(service) => write!(f, "change virtual service {}", service.id),
            Self::RemoveService(id) => write!(f, "remove virtual service {id}"),
            Self::AddServer(id, server) => {
                write!(f, "add real server {} of {id}, weight {}", server.id, server.weight)
            }
            Self::EditServer(id, server) => {
                write!(f, "change real server {} of {id}, weight {}", server.id, server.weight)
            }
            Self::RemoveServer(id, server) => write!(f, "remove real server {server} of {id}"),
        }
    }
}

#[cfg(test)]
mod tests;
