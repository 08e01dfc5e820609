//! A virtual server as it is told to people.

use std::sync::Arc;
use std::time::Instant;

use buoy_ipvs::Weight;

use super::member::Drain;
use super::{Administration, Pool};
use crate::control::service::{Server, Service};

/// One virtual server as `buoy status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    pub settings: Arc<Service>,
    /// Weight of the servers that should get connections, to be held against the quorum.
    pub weight: u64,
    pub quorum: bool,
    /// The sorry server has the place of the real servers.
    pub sorry: bool,
    /// The checks are doubted, and the last good servers stay in service.
    pub panic: bool,
    /// A reload has removed it.
    pub leaving: bool,
    pub servers: Vec<ServerState>,
}

/// One server of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    pub server: Server,
    pub up: bool,
    pub reason: Arc<str>,
    /// When the checkers last came to another conclusion.
    pub since: Instant,
    /// When they last had anything to say of it; `None` before their first word.
    pub heard: Option<Instant>,
    pub administration: Administration,
    /// The weight that it has, or would have in service.
    pub weight: Weight,
    /// The weight that the table is to hold; `None` where it is not to be there.
    pub held: Option<Weight>,
    /// It keeps its connections until they end, or until `deadline` if there is one.
    pub draining: bool,
    pub deadline: Option<Instant>,
    /// An agent wants no new connections for it.
    pub resting: bool,
    /// A reload has removed it.
    pub leaving: bool,
    pub connections: Option<u64>,
}

impl Pool {
    pub(in crate::control) fn state(&self) -> ServiceState {
        let servers = self.servers.iter().map(|(id, member)| {
            let (draining, deadline) = match member.drain {
                Some(Drain::Running { deadline }) => (true, deadline),
                Some(Drain::Over) | None => (false, None),
            };
            ServerState {
                server: member.settings.clone(),
                up: member.up,
                reason: Arc::clone(&member.reason),
                since: member.since,
                heard: member.heard,
                administration: member.administration,
                weight: member.weight(),
                held: self.presence(id, member).weight(),
                draining,
                deadline,
                resting: member.resting,
                leaving: member.leaving,
                connections: member.connections,
            }
        });
        ServiceState {
            weight: self.weight(),
            quorum: self.quorum,
            sorry: self.displaces(),
            panic: self.panic.is_some(),
            leaving: self.leaving,
            servers: servers.collect(),
            settings: self.settings.clone(),
        }
    }
}
