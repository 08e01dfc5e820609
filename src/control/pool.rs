//! One virtual server: which of its real servers serve, by health, administration and quorum.

mod leaving;
mod member;
mod state;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy_healthcheck::WeightAdvice;
use buoy_ipvs::{Entry, RealServerId, ServiceId, Statistics, Table, Weight};

use super::find::Known;
use super::report::Report;
use super::service::Service;
use super::{NotAdministered, Unknown};

use member::{Drain, Member};
use table::detours;

pub use leaving::Leaving;
pub use state::{ServerState, ServiceState};

/// What the checkers say of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub standing: Standing,
    /// It is down for a silence that may be that of this host's own network.
    pub doubted: bool,
    /// In words, with what was expected.
    pub reason: Arc<str>,
    /// What checks that know the load of the server make of its configured weight.
    pub advice: Vec<WeightAdvice>,
    /// An agent wants no new connections for its server.
    pub resting: bool,
}

/// Whether its checks, taken together, let a server serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Up,
    Down,
    /// One that was not made yet may still fail: the server stays as it is.
    Open,
    /// All were made and none could tell: nothing holds it down.
    Unknown,
}

impl Health {
    pub fn up(reason: &str) -> Self {
        Self {
            standing: Standing::Up,
            doubted: false,
            reason: reason.into(),
            advice: Vec::new(),
            resting: false,
        }
    }

    pub fn down(reason: &str) -> Self {
        Self { standing: Standing::Down, ..Self::up(reason) }
    }
}

/// What operators say of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Administration {
    #[default]
    Enabled,
    /// No new connections; out of the table when the last one has ended or the deadline has passed.
    Drain { deadline: Option<Duration> },
    /// Out of the table at once.
    Disabled,
    /// This weight, whatever is configured and whatever the checkers add.
    Weight(Weight),
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    settings: Arc<Service>,
    servers: BTreeMap<RealServerId, Member>,
    /// What its checks need, whatever becomes of the servers.
    detours: BTreeMap<ServiceId, Entry>,
    quorum: bool,
    /// Servers that were healthy when the checks were last believed; while they are doubted, these serve.
    panic: Option<BTreeSet<RealServerId>>,
    last_good: BTreeSet<RealServerId>,
    leaving: bool,
}

impl Pool {
    pub(super) fn new(settings: Arc<Service>, now: Instant) -> Self {
        let servers = settings.servers.iter().map(|server| (server.id, Member::new(server.clone(), now)));
        let servers: BTreeMap<_, _> = servers.collect();
        let last_good = servers.iter().filter(|(_, member)| member.up).map(|(id, _)| *id).collect();
        let detours = detours(&settings);
        Self { servers, settings, detours, quorum: false, panic: None, last_good, leaving: false }
    }

    /// Servers that whoever was here before had taken out of `table` stay out until their checks say otherwise, but not
    /// after `until`: they were most likely dead.
    pub(super) fn inherit(&mut self, table: &Table, until: Instant) {
        let Self { settings, servers, .. } = self;
        let held = || {
            let entries = settings.members.iter().filter_map(|service| table.entry(&service.id));
            entries.filter(|entry| !entry.servers.is_empty())
        };
        for member in servers.values_mut().filter(|member| member.up) {
            let configured = &member.settings;
            let is_in = |entry: &Entry| {
                let wanted = configured.behind(&entry.service.id, configured.weight);
                let held = entry.servers.get(&wanted.id);
                held.is_some_and(|held| !(configured.inhibit_on_failure && held.weight.is_zero()))
            };
            if held().next().is_some() && !held().any(is_in) && !configured.weight.is_zero() {
                member.up = false;
                member.reason = "it was out of service when Buoy started; its first check decides".into();
                member.out_until = Some(until);
            }
        }
    }

    pub(super) fn configure(&mut self, settings: Arc<Service>, now: Instant, reports: &mut Vec<Report>) {
        if !std::mem::take(&mut self.leaving) && self.settings == settings {
            return;
        }
        for server in &settings.servers {
            let member = self.servers.entry(server.id).or_insert_with(|| Member::new(server.clone(), now));
            member.settings = server.clone();
            // Whoever comes back is wanted again, whatever was said of it before it left.
            if std::mem::take(&mut member.leaving) {
                (member.drain, member.administration) = (None, Administration::Enabled);
            }
        }
        let stays: BTreeSet<RealServerId> = settings.servers.iter().map(|server| server.id).collect();
        let passing = self.passing();
        for (id, member) in self.servers.iter_mut().filter(|(id, _)| !stays.contains(id)) {
            let (service, passes) = (&settings.name, passing.contains(id));
            let served = member.leave(passes, settings.drain_deadline, now);
            reports.extend(served.then(|| removed(service, *id)));
        }
        self.detours = detours(&settings);
        self.settings = settings;
    }

    /// The pool as it would be with other settings.
    pub(super) fn previewed(&self, settings: Arc<Service>, now: Instant) -> Self {
        let mut pool = self.clone();
        pool.configure(settings, now, &mut Vec::new());
        pool
    }

    /// A reload has removed the whole service.
    pub(super) fn leave(&mut self, now: Instant, reports: &mut Vec<Report>) {
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        self.detours.clear();
        let passing = self.passing();
        for (id, member) in &mut self.servers {
            let service = &self.settings.name;
            let served = member.leave(passing.contains(id), self.settings.drain_deadline, now);
            reports.extend(served.then(|| removed(service, *id)));
        }
    }

    fn passing(&self) -> BTreeSet<RealServerId> {
        self.servers.iter().filter(|(id, member)| self.passes(id, member)).map(|(id, _)| *id).collect()
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Nothing of it is to be in the table any more.
    pub(super) fn is_gone(&self) -> bool {
        self.leaving && self.servers.is_empty()
    }

    pub(super) fn settings(&self) -> &Service {
        &self.settings
    }

    /// Something is to be done at [`Pool::poll_timeout`], or when connections have ended.
    pub(super) fn waits(&self) -> bool {
        self.is_draining() || self.servers.values().any(|member| member.out_until.is_some())
    }

    /// Somebody waits for connections to end, which have to be counted.
    pub(super) fn is_draining(&self) -> bool {
        let busy = |member: &Member| member.up && member.connections != Some(0);
        self.displaces() && self.servers.values().any(busy)
            || self.servers.values().any(|member| matches!(member.drain, Some(Drain::Running { .. })))
    }

    /// Whether it has this server, for other purposes than to be drained.
    pub(super) fn has(&self, id: RealServerId) -> bool {
        !self.leaving && self.servers.get(&id).is_some_and(|member| !member.leaving)
    }

    fn member(&mut self, id: RealServerId) -> Result<&mut Member, Unknown> {
        let service = &self.settings.name;
        let found = self.servers.get_mut(&id).filter(|member| !member.leaving);
        found.ok_or_else(|| Unknown::Server { service: Arc::clone(service), server: id })
    }

    /// Whether this makes any difference to what the table should hold.
    pub(super) fn handle_health(
        &mut self,
        id: RealServerId,
        health: Health,
        now: Instant,
        reports: &mut Vec<Report>,
    ) -> Result<bool, Unknown> {
        let service = Arc::clone(&self.settings.name);
        let member = self.member(id)?;
        let Health { standing, doubted: _, reason, advice, resting } = health;
        let up = match standing {
            Standing::Up => Some(true),
            Standing::Down => Some(false),
            // What was out before us was most likely dead.
            Standing::Unknown => member.out_until.is_none().then_some(true),
            Standing::Open => None,
        };
        let moved =
            up.is_some_and(|up| up != member.up) || (&advice, resting) != (&member.advice, member.resting);
        (member.advice, member.resting) = (advice, resting);
        let Some(up) = up else { return Ok(moved) };
        member.out_until = None;
        let first = standing != Standing::Unknown && member.heard.replace(now).is_none();
        member.reason = Arc::clone(&reason);
        if member.up != up {
            (member.up, member.since) = (up, now);
            if !up {
                // With the server go its connections.
                member.connections = Some(0);
            }
            reports.push(match up {
                true => Report::ServerUp { service, server: id, reason },
                false => Report::ServerDown { service, server: id, reason },
            });
        } else if first {
            reports.push(Report::ServerFound { service, server: id, up, reason });
        }
        Ok(moved)
    }

    pub(super) fn administer(
        &mut self,
        id: RealServerId,
        administration: Administration,
        now: Instant,
    ) -> Result<(), NotAdministered> {
        let service = &self.settings.name;
        let unknown = || Unknown::Server { service: Arc::clone(service), server: id };
        let member = self.servers.get_mut(&id).ok_or_else(unknown)?;
        let drain = |deadline: Option<Duration>| Drain::Running { deadline: deadline.map(|time| now + time) };
        if member.leaving {
            member.drain = Some(match administration {
                Administration::Drain { deadline } => drain(deadline),
                Administration::Disabled => Drain::Over,
                Administration::Enabled | Administration::Weight(_) => {
                    return Err(NotAdministered::Leaving { service: Arc::clone(service), server: id });
                }
            });
            return Ok(());
        }
        member.drain = match administration {
            Administration::Drain { deadline } => {
                // Those that were counted before belong to a server in service.
                member.connections = None;
                Some(drain(deadline))
            }
            Administration::Enabled | Administration::Disabled | Administration::Weight(_) => None,
        };
        member.administration = administration;
        Ok(())
    }

    pub(super) fn handle_statistics(&mut self, statistics: &Statistics) {
        for member in self.servers.values_mut() {
            let counts = self.settings.members.iter().filter_map(|service| {
                let id = member.settings.behind(&service.id, Weight::ZERO).id;
                statistics.servers.get(&(service.id, id))
            });
            // A server that is not there has no connections.
            let connections = counts.fold(0_u64, |sum, counters| {
                let all = [counters.active, counters.inactive, counters.persistent].map(u64::from);
                sum.saturating_add(all.iter().sum())
            });
            member.connections = Some(connections);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = |member: &Member| match member.drain {
            Some(Drain::Running { deadline }) => deadline,
            Some(Drain::Over) | None => None,
        };
        let members = self.servers.values();
        members.flat_map(|member| [deadline(member), member.out_until]).flatten().min()
    }

    /// Draws the conclusions from whatever has changed. Whether a server that was leaving is gone now.
    pub(super) fn settle(&mut self, now: Instant, reports: &mut Vec<Report>) -> bool {
        for (id, member) in &mut self.servers {
            if member.out_until.take_if(|until| *until <= now).is_some() {
                (member.up, member.since) = (true, now);
                member.reason = "no check has come to a result since the start".into();
                let (service, reason) = (Arc::clone(&self.settings.name), Arc::clone(&member.reason));
                reports.push(Report::ServerUp { service, server: *id, reason });
            }
            if let Some(end) = member.end_of_drain(now) {
                member.drain = Some(Drain::Over);
                reports.push(Report::Drained { service: Arc::clone(&self.settings.name), server: *id, end });
            }
        }
        let before = self.servers.len();
        self.servers.retain(|_, member| !(member.leaving && member.drain == Some(Drain::Over)));
        self.settle_panic(reports);
        self.settle_quorum(reports);
        self.servers.len() < before
    }

    fn settle_panic(&mut self, reports: &mut Vec<Report>) {
        let wanted = || self.servers.iter().filter(|(_, member)| !member.leaving);
        let (servers, healthy) = (wanted().count(), wanted().filter(|(_, member)| member.up).count());
        let doubted = healthy * 100 < servers * usize::from(self.settings.panic_threshold);
        let service = || Arc::clone(&self.settings.name);
        match (doubted, &self.panic) {
            (true, None) => {
                reports.push(Report::PanicEntered { service: service(), healthy, servers });
                self.panic = Some(self.last_good.clone());
            }
            (false, Some(_)) => {
                reports.push(Report::PanicLeft { service: service(), healthy, servers });
                self.panic = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
        if self.panic.is_none() {
            self.last_good = self.servers.iter().filter(|(_, member)| member.up).map(|(id, _)| *id).collect();
        }
    }

    fn settle_quorum(&mut self, reports: &mut Vec<Report>) {
        let weight = self.weight();
        let (quorum, hysteresis) = (u64::from(self.settings.quorum), u64::from(self.settings.hysteresis));
        let service = Arc::clone(&self.settings.name);
        if self.leaving {
            return;
        }
        if self.quorum && (weight == 0 || weight < quorum.saturating_sub(hysteresis)) {
            self.quorum = false;
            self.servers.values_mut().for_each(|member| member.connections = None);
            reports.push(Report::QuorumLost { service, weight, needed: quorum });
        } else if !self.quorum && weight > 0 && weight >= quorum.saturating_add(hysteresis) {
            self.quorum = true;
            reports.push(Report::QuorumGained { service, weight, needed: quorum });
        }
    }

    /// What is held against the quorum.
    fn weight(&self) -> u64 {
        let serving = self.servers.iter().filter(|(id, member)| self.is_wanted(id, member));
        serving.map(|(_, member)| u64::from(member.weight().get())).sum()
    }

    /// Whether a server should get connections, as far as itself is concerned.
    fn is_wanted(&self, id: &RealServerId, member: &Member) -> bool {
        self.passes(id, member)
            && !member.leaving
            && member.drain.is_none()
            && !member.resting
            && member.administration != Administration::Disabled
    }

    fn passes(&self, id: &RealServerId, member: &Member) -> bool {
        self.panic.as_ref().map_or(member.up, |last_good| member.up || last_good.contains(id))
    }

    /// The sorry server takes the place of healthy servers.
    fn displaces(&self) -> bool {
        self.settings.sorry.is_some() && !self.quorum && !self.leaving
    }
}

fn removed(service: &Arc<str>, server: RealServerId) -> Report {
    Report::ServerRemoved { service: Arc::clone(service), server }
}
