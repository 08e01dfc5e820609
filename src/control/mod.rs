//! The reconciler: settings, health, administrative state and role become the table that the forwarding plane is to
//! hold.
//!
//! [`Control`] is a value without I/O: what happens goes in, with the time at which it happened; what is to be done
//! comes out as changes to the plane and as reports to people. Level-triggered: it compares what the plane holds with
//! what it should hold, so start, reload and the repair of drift are the same path.
//!
//! ```text
//!   settings --+
//!   health  ---+--> Control --> changes --> plane
//!   commands --+       ^                      |
//!                      +----- snapshot -------+
//! ```
//!
//! Draining is not dying: a server that is removed, drained or displaced by the sorry server while it is healthy gets no
//! new connection and keeps those it has until they end or a deadline passes; a dead one is deleted.

mod pool;
mod report;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use buoy_ipvs::{Change, RealServerId, ServiceId, Statistics, Table};

pub use pool::{Administration, Health, ServerState};
pub use report::{DrainEnd, Report};
pub use service::{Server, Service, Sorry};

use pool::Pool;

/// All virtual servers and what the plane holds of them.
#[derive(Debug, Default)]
pub struct Control {
    pools: BTreeMap<Arc<str>, Pool>,
    /// What the plane holds of the services that are ours, as far as we know.
    held: Table,
    /// Services that are ours: foreign ones are left alone.
    ours: BTreeSet<ServiceId>,
    /// The plane was looked at, so that what is not as we left it is somebody else's doing.
    looked: bool,
    reports: Vec<Report>,
}

/// There is nothing of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("there is no virtual server `{0}`")]
    Service(String),
    #[error("virtual server {service} has no real server {server}")]
    Server { service: Arc<str>, server: RealServerId },
}

impl Control {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over settings. What stays keeps its health and its administrative state; servers and services that are gone
    /// are drained.
    pub fn configure(&mut self, services: Vec<Service>, now: Instant) {
        let mut wanted: BTreeMap<Arc<str>, Service> =
            services.into_iter().map(|service| (Arc::clone(&service.name), service)).collect();
        for (name, pool) in &mut self.pools {
            match wanted.remove(name) {
                Some(service) => pool.configure(service, now),
                None => pool.leave(now),
            }
        }
        for (name, service) in wanted {
            self.pools.insert(name, Pool::new(service, now));
        }
        self.settle(now);
    }

    /// The checkers have come to another conclusion about a server.
    pub fn handle_health(
        &mut self,
        service: &str,
        server: RealServerId,
        health: Health,
        now: Instant,
    ) -> Result<(), Unknown> {
        let report = self.pool(service)?.handle_health(server, health, now)?;
        self.reports.extend(report);
        self.settle(now);
        Ok(())
    }

    /// An operator wants a server in, out, or gently out.
    pub fn administer(
        &mut self,
        service: &str,
        server: RealServerId,
        administration: Administration,
        now: Instant,
    ) -> Result<(), Unknown> {
        self.pool(service)?.administer(server, administration, now)?;
        self.settle(now);
        Ok(())
    }

    fn pool(&mut self, service: &str) -> Result<&mut Pool, Unknown> {
        let found = self.pools.get_mut(service).filter(|pool| !pool.is_leaving());
        found.ok_or_else(|| Unknown::Service(service.to_owned()))
    }

    /// What the plane holds. Services that are not ours are left out of account.
    pub fn handle_snapshot(&mut self, snapshot: Table, now: Instant) {
        self.settle(now);
        let ours = &self.ours;
        let seen: Table =
            snapshot.entries().filter(|(id, _)| ours.contains(id)).map(|(_, entry)| entry.clone()).collect();
        if self.looked {
            let repairs = seen.changes_to(&self.held);
            self.reports.extend(repairs.into_iter().map(|repair| Report::Drift { repair }));
        }
        self.looked = true;
        self.held = seen;
    }

    /// How many connections servers have, which decides when a drained one may go.
    pub fn handle_statistics(&mut self, statistics: &Statistics, now: Instant) {
        for pool in self.pools.values_mut() {
            pool.handle_statistics(statistics);
        }
        self.settle(now);
    }

    /// Deadlines of drained servers that have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.settle(now);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.pools.values().filter_map(Pool::poll_timeout).min()
    }

    /// Whether connections have to be counted: somebody waits for them to end.
    pub fn wants_statistics(&self) -> bool {
        self.pools.values().any(Pool::is_draining)
    }

    /// The fewest changes that bring the plane to what it should hold. They count as made: what was refused is to be
    /// handed to [`Control::handle_refusal`].
    pub fn take_changes(&mut self) -> Vec<Change> {
        let desired = self.desired();
        let changes = self.held.changes_to(&desired);
        self.held = desired;
        self.ours.retain(|id| self.held.entry(id).is_some());
        changes
    }

    /// The plane did not make this change. It is tried again at the next look at the plane.
    pub fn handle_refusal(&mut self, change: &Change) {
        self.looked = false;
        let undone = match change {
            Change::AddService(service) => self.held.remove_service(&service.id).is_some(),
            Change::AddServer(service, server) => self.held.remove_server(service, &server.id).is_some(),
            // What it was before is not known until the next look.
            Change::EditService(_) | Change::EditServer(..) => false,
            Change::RemoveService(_) | Change::RemoveServer(..) => false,
        };
        if !undone {
            self.ours.insert(*change.service());
        }
    }

    /// The next thing that people should know.
    pub fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// The table as it should be now.
    pub fn desired(&self) -> Table {
        self.pools.values().flat_map(Pool::entries).collect()
    }

    pub fn services(&self) -> impl Iterator<Item = (&Service, bool, impl Iterator<Item = ServerState>)> {
        self.pools.values().map(|pool| (pool.settings(), pool.has_quorum(), pool.states()))
    }

    fn settle(&mut self, now: Instant) {
        for pool in self.pools.values_mut() {
            pool.settle(now, &mut self.reports);
        }
        self.pools.retain(|_, pool| !pool.is_gone());
        self.ours.extend(self.pools.values().flat_map(|pool| pool.settings().members.iter().map(|m| m.id)));
    }
}

#[cfg(test)]
mod tests;
