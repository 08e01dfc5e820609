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
//! new connection and keeps those it has until they end or a deadline passes; a dead one is deleted, and while it may be
//! this host's network that is dead, its connections are kept for its return.

pub mod checks;
pub mod detour;
mod doubt;
pub mod driver;
pub mod find;
mod pool;
pub mod probe;
mod report;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy_ipvs::{Change, Entry, RealServerId, ServiceId, Statistics, Table};

pub use pool::{Administration, Health, Leaving, ServerState, ServiceState, Standing};
pub use report::{DrainEnd, Report};
pub use service::{Server, Service, Sorry};

use doubt::Doubt;
use find::NotFound;
use pool::Pool;

/// A server that was out of service before us comes back after this time even if no check has decided.
const OUT_AT_MOST: Duration = Duration::from_secs(120);
/// Repairs that are told one by one: somebody who emptied the table does not want to read all that was in it.
const DRIFT_TOLD: usize = 8;

/// All virtual servers and what the plane holds of them.
#[derive(Debug, Default)]
pub struct Control {
    pools: BTreeMap<Arc<str>, Pool>,
    /// Which of them says what the plane is to hold under a name.
    owners: BTreeMap<ServiceId, Arc<str>>,
    /// Pools that wait for something: connections to end, a time.
    waiting: BTreeSet<Arc<str>>,
    /// What the plane held before the first settings.
    inherited: Option<Table>,
    /// There are virtual servers of which nothing is left.
    any_gone: bool,
    /// What drains because it was removed is not what [`Control::take_leaving`] told last.
    leaving_changed: bool,
    /// What the plane holds of the services that are ours, as far as we know.
    held: Table,
    /// What may have to be changed in the plane.
    dirty: BTreeSet<ServiceId>,
    /// Services that are ours: foreign ones are left alone.
    ours: BTreeSet<ServiceId>,
    /// The plane was looked at, so that what is not as we left it is somebody else's doing.
    looked: bool,
    /// What it refused since then.
    refused: BTreeSet<(ServiceId, Option<RealServerId>)>,
    doubt: Doubt,
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

/// Why what an operator wants is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdministered {
    #[error(transparent)]
    NotFound(#[from] NotFound),
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error(
        "real server {server} of {service} is removed from the configuration and gets no connections any more: `buoy \
         disable` ends those that it still has, only a reload with it brings it back"
    )]
    Leaving { service: Arc<str>, server: RealServerId },
}

impl Control {
    pub fn new() -> Self {
        Self::default()
    }

    /// What the plane held before anything was configured: servers that are not in it stay out of it until their checks
    /// have decided, so that a restart sends no client to a server that was known to be dead.
    pub fn inherit(&mut self, table: Table) {
        self.inherited = Some(table);
    }

    /// Takes over settings. What stays keeps its health and its administrative state; servers and services that are gone
    /// are drained.
    pub fn configure(&mut self, services: Vec<impl Into<Arc<Service>>>, now: Instant) {
        let mut wanted: BTreeMap<Arc<str>, Arc<Service>> = services
            .into_iter()
            .map(Into::into)
            .map(|service| (Arc::clone(&service.name), service))
            .collect();
        for (name, pool) in &mut self.pools {
            match wanted.remove(name) {
                Some(service) => pool.configure(service, now, &mut self.reports),
                None => pool.leave(now, &mut self.reports),
            }
        }
        let inherited = self.inherited.take();
        for (name, service) in wanted {
            let mut pool = Pool::new(service, now);
            if let Some(table) = &inherited {
                pool.inherit(table, now + OUT_AT_MOST);
            }
            self.pools.insert(name, pool);
        }
        let pools = &self.pools;
        self.doubt.retain(|(service, server)| pools.get(service).is_some_and(|pool| pool.has(*server)));
        self.leaving_changed = true;
        self.find_owners();
        self.settle_all(now);
        self.bury();
    }

    /// Takes over what the control before this one let drain, after the settings that it had.
    pub fn resume(&mut self, leaving: Vec<Leaving>, now: Instant) {
        for leaving in leaving {
            let name = Arc::clone(leaving.service());
            match self.pools.get_mut(&name) {
                Some(pool) => pool.resume(leaving, now),
                None => self.pools.extend(leaving.into_pool(now).map(|pool| (name, pool))),
            }
        }
        self.leaving_changed = true;
        self.find_owners();
        self.settle_all(now);
        self.bury();
    }

    /// What drains because reloads have removed it, for [`Control::resume`]. `None` when that has not changed.
    pub fn take_leaving(&mut self) -> Option<Vec<Leaving>> {
        let changed = std::mem::take(&mut self.leaving_changed);
        changed.then(|| self.pools.values().filter_map(Pool::leaving).collect())
    }

    /// The checkers have come to another conclusion about a server.
    pub fn handle_health(
        &mut self,
        service: &str,
        server: RealServerId,
        health: Health,
        now: Instant,
    ) -> Result<(), Unknown> {
        let pool = present(&mut self.pools, service)?;
        let (name, doubted) = (Arc::clone(&pool.settings().name), health.doubted);
        if pool.handle_health(server, health, now, &mut self.reports)? {
            self.settle(&name, now);
            self.bury();
        }
        self.doubt.note((name, server), doubted, now);
        Ok(())
    }

    /// An operator wants a server in, out, or gently out.
    pub fn administer(
        &mut self,
        service: &str,
        server: RealServerId,
        administration: Administration,
        now: Instant,
    ) -> Result<(), NotAdministered> {
        let found = self.pools.get_mut(service);
        let pool = found.ok_or_else(|| Unknown::Service(service.to_owned()))?;
        let name = Arc::clone(&pool.settings().name);
        pool.administer(server, administration, now)?;
        self.leaving_changed = true;
        self.settle(&name, now);
        self.bury();
        Ok(())
    }

    /// The virtual server and the real server that an operator's words mean, of all that there are.
    pub fn find(&self, service: &str, server: &str) -> Result<(Arc<str>, RealServerId), NotFound> {
        let known: Vec<_> = self.pools.values().map(Pool::known).collect();
        find::find(&known, service, server)
    }

    /// Whether a reload has removed it.
    pub fn is_leaving(&self, service: &str, server: RealServerId) -> bool {
        self.pools.get(service).is_some_and(|pool| pool.has_leaving(&server))
    }

    /// What the plane holds. Services that are not ours are left out of account.
    pub fn handle_snapshot(&mut self, snapshot: &Table, now: Instant) {
        self.settle_all(now);
        self.bury();
        let ours = |id: &ServiceId| self.ours.contains(id);
        let seen: Table =
            snapshot.entries().filter(|(id, _)| ours(id)).map(|(_, entry)| entry.clone()).collect();
        let refused = std::mem::take(&mut self.refused);
        if self.looked {
            let repairs = seen.changes_to(&self.held).into_iter();
            let mut drift = repairs.filter(|repair| !refused.contains(&object(repair)));
            self.reports.extend(drift.by_ref().take(DRIFT_TOLD).map(|repair| Report::Drift { repair }));
            let more = drift.count();
            self.reports.extend((more > 0).then_some(Report::MoreDrift { more }));
        }
        self.looked = true;
        self.ours.retain(|id| self.owners.contains_key(id) || seen.entry(id).is_some());
        self.held = seen;
        self.dirty.extend(self.ours.iter().copied());
    }

    /// How many connections servers have, which decides when a drained one may go.
    pub fn handle_statistics(&mut self, statistics: &Statistics, now: Instant) {
        for name in self.waiting.clone() {
            if let Some(pool) = self.pools.get_mut(&name) {
                pool.handle_statistics(statistics);
            }
            self.settle(&name, now);
        }
        self.bury();
    }

    /// Deadlines of drained servers and of doubt that have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.doubt.handle_timeout(now);
        let due = |name: &&Arc<str>| {
            self.pools.get(*name).and_then(Pool::poll_timeout).is_some_and(|deadline| deadline <= now)
        };
        let due: Vec<Arc<str>> = self.waiting.iter().filter(due).cloned().collect();
        for name in due {
            self.settle(&name, now);
        }
        self.bury();
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let pools = self.waiting.iter().filter_map(|name| self.pools.get(name)?.poll_timeout());
        pools.chain(self.doubt.poll_timeout()).min()
    }

    /// How many servers are dead for a silence that may be that of this host's own network. While there are any,
    /// connections to servers that are removed are to be kept.
    pub fn doubted(&self) -> usize {
        self.doubt.servers()
    }

    /// Whether connections have to be counted: somebody waits for them to end.
    pub fn wants_statistics(&self) -> bool {
        let mut pools = self.waiting.iter().filter_map(|name| self.pools.get(name));
        pools.any(Pool::is_draining)
    }

    /// The fewest changes that bring the plane to what it should hold. They count as made: what was refused is to be
    /// handed to [`Control::handle_refusal`].
    pub fn take_changes(&mut self) -> Vec<Change> {
        let (mut held, mut desired) = (Table::new(), Table::new());
        for id in std::mem::take(&mut self.dirty) {
            if let Some(entry) = self.held.remove_service(&id) {
                held.set_entry(entry);
            }
            if let Some(entry) = self.wanted(&id) {
                desired.set_entry(entry);
            }
        }
        let changes = held.changes_to(&desired);
        for entry in desired {
            self.held.set_entry(entry);
        }
        changes
    }

    /// Whether the table should hold this service, or this server of it.
    pub fn wants(&self, service: &ServiceId, server: Option<&RealServerId>) -> bool {
        let entry = self.wanted(service);
        entry.is_some_and(|entry| server.is_none_or(|server| entry.servers.contains_key(server)))
    }

    /// The plane did not make this change. It is tried again at the next look at the plane, and that it is missing there
    /// is nobody's doing.
    pub fn handle_refusal(&mut self, change: &Change) {
        self.refused.insert(object(change));
    }

    /// Nobody knows what the plane holds now: there is nothing to be done before the next look.
    pub fn forget_plane(&mut self) {
        self.looked = false;
    }

    /// The changes that `services` would make, without making them.
    pub fn preview(&self, services: Vec<impl Into<Arc<Service>>>, now: Instant) -> Vec<Change> {
        let pools = services.into_iter().map(Into::into).map(|service| match self.pools.get(&service.name) {
            Some(known) => known.previewed(service, now),
            None => Pool::new(service, now),
        });
        let mut pools: Vec<Pool> = pools.collect();
        let stays = |name: &Arc<str>| pools.iter().any(|pool| pool.settings().name == *name);
        let leaving: Vec<Pool> = self
            .pools
            .iter()
            .filter(|(name, _)| !stays(name))
            .map(|(_, pool)| {
                let mut pool = pool.clone();
                pool.leave(now, &mut Vec::new());
                pool
            })
            .collect();
        // What stays comes last: it owns what both name.
        pools.splice(0..0, leaving);
        for pool in &mut pools {
            pool.settle(now, &mut Vec::new());
        }
        let wanted: Table = pools.iter().filter(|pool| !pool.is_gone()).flat_map(Pool::entries).collect();
        self.held.changes_to(&wanted)
    }

    /// The next thing that people should know.
    pub fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// There is nothing to forward and nothing left of what was.
    pub fn is_idle(&self) -> bool {
        self.pools.is_empty() && self.held.is_empty()
    }

    /// What takes everything that is ours out of the plane.
    pub fn removals(&self) -> Vec<Change> {
        self.held.changes_to(&Table::new())
    }

    /// The table as it should be now.
    pub fn desired(&self) -> Table {
        self.owners.keys().filter_map(|id| self.wanted(id)).collect()
    }

    pub fn services(&self) -> impl Iterator<Item = ServiceState> {
        self.pools.values().map(Pool::state)
    }

    fn wanted(&self, id: &ServiceId) -> Option<Entry> {
        self.pools.get(self.owners.get(id)?)?.entry(id)
    }

    fn settle_all(&mut self, now: Instant) {
        let names: Vec<Arc<str>> = self.pools.keys().cloned().collect();
        for name in names {
            self.settle(&name, now);
        }
    }

    fn settle(&mut self, name: &Arc<str>, now: Instant) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        self.leaving_changed |= pool.settle(now, &mut self.reports);
        self.dirty.extend(pool.settings().members.iter().map(|member| member.id));
        if pool.waits() {
            self.waiting.insert(Arc::clone(name));
        } else {
            self.waiting.remove(name);
        }
        self.any_gone |= pool.is_gone();
    }

    /// Forgets virtual servers of which nothing is left, all that there are at once.
    fn bury(&mut self) {
        if std::mem::take(&mut self.any_gone) {
            self.pools.retain(|_, pool| !pool.is_gone());
            self.waiting.retain(|name| self.pools.contains_key(name));
            self.find_owners();
        }
    }

    /// A name in the plane belongs to the virtual server that is to stay, if two have it for a while.
    fn find_owners(&mut self) {
        let before = std::mem::take(&mut self.owners);
        for stays in [false, true] {
            let pools = self.pools.iter().filter(|(_, pool)| pool.is_leaving() != stays);
            for (name, pool) in pools {
                self.owners.extend(pool.names().map(|id| (id, Arc::clone(name))));
            }
        }
        self.ours.extend(self.owners.keys().copied());
        // Also those that nobody owns any more.
        self.dirty.extend(self.owners.keys().copied().chain(before.into_keys()));
    }
}

fn present<'p>(pools: &'p mut BTreeMap<Arc<str>, Pool>, service: &str) -> Result<&'p mut Pool, Unknown> {
    let found = pools.get_mut(service).filter(|pool| !pool.is_leaving());
    found.ok_or_else(|| Unknown::Service(service.to_owned()))
}

/// What a change is about.
fn object(change: &Change) -> (ServiceId, Option<RealServerId>) {
    let server = match change {
        Change::AddService(_) | Change::EditService(_) | Change::RemoveService(_) => None,
        Change::AddServer(_, server) | Change::EditServer(_, server) => Some(server.id),
        Change::RemoveServer(_, id) => Some(*id),
    };
    (*change.service(), server)
}

#[cfg(test)]
mod tests;
