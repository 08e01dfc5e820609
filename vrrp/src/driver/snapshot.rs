use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint::Endpoints;
use crate::election::Election;
use crate::identity::Priority;
use crate::receive::Reason;
use crate::tracking::{Observation, Target};
use crate::transition::{Cause, FaultCause, State};
use crate::virtual_router::Statistics;

/// The state of an election at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub routers: Vec<RouterSnapshot>,
    pub groups: Vec<GroupSnapshot>,
    pub observations: Vec<(Target, Observation)>,
    /// Packets that no router here is for, by reason.
    pub unclaimed: BTreeMap<Reason, u64>,
    /// Packets that the kernel dropped because a receive buffer was full.
    pub lost: u64,
    /// The latest a timer was handled after its time.
    pub worst_lateness: Duration,
    /// How often the thread has woken up.
    pub wakeups: u64,
}

#[derive(Clone, Debug)]
pub struct RouterSnapshot {
    pub key: Arc<str>,
    pub name: Arc<str>,
    pub state: State,
    /// Time in this state.
    pub since: Duration,
    /// Why it is in this state.
    pub cause: Cause,
    pub priority: Priority,
    pub source: Option<IpAddr>,
    /// Address, priority, and time since it was heard.
    pub master: Option<(IpAddr, Priority, Duration)>,
    pub holds_addresses: bool,
    pub faults: Vec<FaultCause>,
    pub statistics: Statistics,
    /// Discards and remarks by reason; only those that occurred.
    pub discarded: BTreeMap<Reason, u64>,
}

#[derive(Clone, Debug)]
pub struct GroupSnapshot {
    pub name: Arc<str>,
    pub state: State,
    pub members: Vec<Arc<str>>,
}

pub(super) fn take(
    election: &Election,
    endpoints: &Endpoints,
    unclaimed: BTreeMap<Reason, u64>,
    worst_lateness: Duration,
    wakeups: u64,
    now: Instant,
) -> Snapshot {
    let routers = election.routers().filter_map(|(id, router)| {
        let io = endpoints.router(id)?;
        let counters = Reason::ALL.into_iter().zip(io.receiver.counters().iter().copied());
        Some(RouterSnapshot {
            key: Arc::clone(&io.key),
            name: Arc::clone(&router.settings().name),
            state: router.state(),
            since: now.saturating_duration_since(router.since()),
            cause: router.cause().clone(),
            priority: router.priority(),
            source: router.source(),
            master: router
                .known_master()
                .map(|m| (m.address, m.priority, now.saturating_duration_since(m.heard))),
            holds_addresses: router.holds_addresses(),
            faults: router.faults().to_vec(),
            statistics: *router.statistics(),
            discarded: counters.filter(|(_, count)| *count > 0).collect(),
        })
    });
    let name_of = |id: &crate::action::RouterId| election.router(*id).map(|r| Arc::clone(&r.settings().name));
    let groups = election.groups().iter().map(|group| GroupSnapshot {
        name: Arc::clone(group.name()),
        state: group.state(),
        members: group.members().iter().filter_map(name_of).collect(),
    });
    Snapshot {
        routers: routers.collect(),
        groups: groups.collect(),
        observations: election.observations().map(|(t, o)| (t.clone(), o.clone())).collect(),
        unclaimed,
        lost: endpoints.lost(),
        worst_lateness,
        wakeups,
    }
}
