//! A plane that forwards nothing: the rules of the kernel's IPVS in memory, for tests of whatever drives a plane.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::kernel::{foreseen, may_be_a_host};
use crate::plane::{
    Counters, Foreign, Plane, PlaneError, Snapshot, Statistics, SyncDaemon, SyncRole, Timeouts,
};
use crate::real_server::{RealServer, RealServerId};
use crate::refusal::{Reason, Refusal};
use crate::scheduler::Scheduler;
use crate::table::{Change, Table};
use crate::virtual_service::{Family, PersistenceEngine, ServiceId, VirtualService};

/// What the kernel's IPVS would hold, allow and refuse. Its fields are for tests to change behind the back of whoever
/// drives the plane.
///
/// Not modelled: the limit of servers of scheduler mh (thousands), and addresses that are broadcast only by the
/// director's routes.
#[derive(Clone, Debug)]
pub struct MemoryPlane {
    pub table: Table,
    pub foreign: Vec<Foreign>,
    /// Schedulers that the kernel has or can load.
    pub schedulers: BTreeSet<Scheduler>,
    /// Names of its persistence engines.
    pub engines: BTreeSet<String>,
    pub families: BTreeSet<Family>,
    /// Interfaces for sync daemons.
    pub interfaces: BTreeSet<String>,
    pub statistics: Statistics,
    /// `false` makes all calls answer [`PlaneError::Missing`].
    pub present: bool,
    /// Every change that it was told, refused ones included.
    pub told: Vec<Change>,
    timeouts: Timeouts,
    daemons: BTreeMap<SyncRole, SyncDaemon>,
}

impl Default for MemoryPlane {
    /// An empty table in a kernel that has everything, and one interface, `eth0`.
    fn default() -> Self {
        Self {
            table: Table::new(),
            foreign: Vec::new(),
            schedulers: Scheduler::of_kernel().collect(),
            engines: ["sip".to_owned()].into(),
            families: [Family::V4, Family::V6].into(),
            interfaces: ["eth0".to_owned()].into(),
            statistics: Statistics::default(),
            present: true,
            told: Vec::new(),
            timeouts: Timeouts {
                tcp: Some(Duration::from_secs(900)),
                tcp_fin: Some(Duration::from_secs(120)),
                udp: Some(Duration::from_secs(300)),
            },
            daemons: BTreeMap::new(),
        }
    }
}

impl MemoryPlane {
    pub fn new() -> Self {
        Self::default()
    }

    fn check_presence(&self) -> Result<(), PlaneError> {
        if self.present {
            return Ok(());
        }
        Err(PlaneError::Missing { what: "there is no plane".to_owned(), cure: "set `present`".to_owned() })
    }

    /// Why the change is refused, in the kernel's order of looking.
    fn objection(&self, change: &Change) -> Option<Reason> {
        foreseen(change).or_else(|| match change {
            Change::AddService(service) => self
                .no_family(service)
                .or_else(|| self.holds(&service.id).then_some(Reason::Exists))
                .or_else(|| self.no_module(service)),
            Change::EditService(service) => self
                .no_family(service)
                .or_else(|| self.no_service(&service.id))
                .or_else(|| self.no_module(service)),
            Change::RemoveService(id) => self.no_service(id),
            Change::AddServer(id, server) => self
                .no_service(id)
                .or_else(|| {
                    let address = server.id.address;
                    (!may_be_a_host(address)).then_some(Reason::NotUnicast(address))
                })
                .or_else(|| self.no_sync_with(id, server))
                .or_else(|| self.table.server(id, &server.id).map(|_| Reason::Exists)),
            Change::EditServer(id, server) => self
                .no_service(id)
                .or_else(|| self.no_sync_with(id, server))
                .or_else(|| self.no_server(id, &server.id)),
            Change::RemoveServer(id, server) => self.no_service(id).or_else(|| self.no_server(id, server)),
        })
    }

    fn holds(&self, id: &ServiceId) -> bool {
        let foreign = |entry: &Foreign| entry.service == Some(*id) && entry.server.is_none();
        self.table.entry(id).is_some() || self.foreign.iter().any(foreign)
    }

    fn no_family(&self, service: &VirtualService) -> Option<Reason> {
        let family = service.id.family();
        (!self.families.contains(&family)).then_some(Reason::NoFamily(family))
    }

    fn no_service(&self, id: &ServiceId) -> Option<Reason> {
        (!self.holds(id)).then_some(Reason::NoService)
    }

    fn no_server(&self, service: &ServiceId, server: &RealServerId) -> Option<Reason> {
        self.table.server(service, server).is_none().then_some(Reason::NoServer)
    }

    /// Both have one error number, so that the kernel's answer is one for both.
    fn no_module(&self, service: &VirtualService) -> Option<Reason> {
        let engine = service.persistence.as_ref().and_then(|persistence| persistence.engine.clone());
        let no_scheduler = service.scheduler.is_some_and(|scheduler| !self.schedulers.contains(&scheduler));
        let no_engine = |engine: &PersistenceEngine| !self.engines.contains(engine.name());
        if !no_scheduler && !engine.as_ref().is_some_and(no_engine) {
            return None;
        }
        match (service.scheduler, engine) {
            (Some(scheduler), Some(engine)) => Some(Reason::NoSchedulerOrEngine(scheduler, engine)),
            (Some(scheduler), None) => Some(Reason::NoScheduler(scheduler)),
            (None, engine) => engine.map(Reason::NoEngine),
        }
    }

    fn no_sync_with(&self, service: &ServiceId, server: &RealServer) -> Option<Reason> {
        let mixed = Family::of(server.id.address) != service.family();
        (mixed && !self.daemons.is_empty()).then_some(Reason::SyncWithMixedFamily)
    }

    fn no_start(&self, daemon: &SyncDaemon) -> Option<Reason> {
        let mixed = || {
            self.table.entries().any(|(id, entry)| {
                entry.servers.keys().any(|server| Family::of(server.address) != id.family())
            })
        };
        if let Some(reason) = daemon.objection() {
            Some(reason)
        } else if mixed() {
            Some(Reason::SyncWithMixedFamily)
        } else if self.daemons.contains_key(&daemon.role) {
            Some(Reason::SyncRuns(daemon.role))
        } else if !self.interfaces.contains(&*daemon.interface) {
            Some(Reason::NoInterface(daemon.interface.to_string()))
        } else {
            None
        }
    }
}

impl Plane for MemoryPlane {
    fn snapshot(&mut self) -> Result<Snapshot, PlaneError> {
        self.check_presence()?;
        Ok(Snapshot { table: self.table.clone(), foreign: self.foreign.clone() })
    }

    fn apply(&mut self, changes: &[Change]) -> Result<Vec<Refusal>, PlaneError> {
        self.check_presence()?;
        let mut refusals = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            self.told.push(change.clone());
            let reason = match self.objection(change) {
                Some(reason) => reason,
                None if self.table.apply(change) => continue,
                // A foreign entry: it is there, but not in the table.
                None => Reason::NoService,
            };
            refusals.push(Refusal { index, what: change.to_string(), reason });
        }
        Ok(refusals)
    }

    fn statistics(&mut self) -> Result<Statistics, PlaneError> {
        self.check_presence()?;
        let mut statistics = Statistics::default();
        for (id, entry) in self.table.entries() {
            let counters = self.statistics.services.get(id).copied().unwrap_or_default();
            statistics.services.insert(*id, counters);
            for server in entry.servers.keys() {
                let key = (*id, *server);
                let counters = self.statistics.servers.get(&key).copied().unwrap_or_default();
                statistics.servers.insert(key, counters);
            }
        }
        Ok(statistics)
    }

    fn zero(&mut self, service: Option<&ServiceId>) -> Result<(), PlaneError> {
        self.check_presence()?;
        if let Some(id) = service.filter(|id| !self.holds(id)) {
            let doing = format!("zero the counters of {id}");
            return Err(PlaneError::Refused { doing, reason: Reason::NoService });
        }
        let meant = |id: &ServiceId| service.is_none_or(|service| service == id);
        let fresh = |counters: &Counters| Counters {
            active: counters.active,
            inactive: counters.inactive,
            persistent: counters.persistent,
            ..Counters::default()
        };
        let services = self.statistics.services.iter_mut().filter(|(id, _)| meant(id));
        services.for_each(|(_, counters)| *counters = fresh(counters));
        let servers = self.statistics.servers.iter_mut().filter(|((id, _), _)| meant(id));
        servers.for_each(|(_, counters)| *counters = fresh(counters));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PlaneError> {
        self.check_presence()?;
        self.table = Table::new();
        self.foreign.clear();
        Ok(())
    }

    fn timeouts(&mut self) -> Result<Timeouts, PlaneError> {
        self.check_presence()?;
        Ok(self.timeouts)
    }

    fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), PlaneError> {
        self.check_presence()?;
        /// What 31 bits hold of clock ticks, of which there are 1000 in a second here.
        const MAX: Duration = Duration::from_secs(i32::MAX as u64 / 1000);
        let given = [timeouts.tcp, timeouts.tcp_fin, timeouts.udp];
        if !timeouts.are_possible() || given.into_iter().flatten().any(|timeout| timeout > MAX) {
            let doing = "set the timeouts".to_owned();
            return Err(PlaneError::Refused { doing, reason: Reason::Timeout });
        }
        self.timeouts = Timeouts {
            tcp: timeouts.tcp.or(self.timeouts.tcp),
            tcp_fin: timeouts.tcp_fin.or(self.timeouts.tcp_fin),
            udp: timeouts.udp.or(self.timeouts.udp),
        };
        Ok(())
    }

    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>, PlaneError> {
        self.check_presence()?;
        Ok(self.daemons.values().cloned().collect())
    }

    fn start_sync(&mut self, daemon: &SyncDaemon) -> Result<(), PlaneError> {
        self.check_presence()?;
        if let Some(reason) = self.no_start(daemon) {
            let doing = format!("start the {} sync daemon", daemon.role);
            return Err(PlaneError::Refused { doing, reason });
        }
        self.daemons.insert(daemon.role, daemon.running());
        Ok(())
    }

    fn stop_sync(&mut self, role: SyncRole) -> Result<(), PlaneError> {
        self.check_presence()?;
        match self.daemons.remove(&role) {
            Some(_) => Ok(()),
            None => {
                let doing = format!("stop the {role} sync daemon");
                Err(PlaneError::Refused { doing, reason: Reason::NoSync(role) })
            }
        }
    }
}

#[cfg(test)]
mod tests;
