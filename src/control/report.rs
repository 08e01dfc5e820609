use std::fmt;
use std::sync::Arc;

use buoy_ipvs::{Change, RealServerId};

/// Something that people should know, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    ServerUp {
        service: Arc<str>,
        server: RealServerId,
        reason: Arc<str>,
    },
    ServerDown {
        service: Arc<str>,
        server: RealServerId,
        reason: Arc<str>,
    },
    /// The first result is what was assumed before it.
    ServerFound {
        service: Arc<str>,
        server: RealServerId,
        up: bool,
        reason: Arc<str>,
    },
    /// A reload has removed one that was up; it keeps its connections.
    ServerRemoved {
        service: Arc<str>,
        server: RealServerId,
    },
    /// `weight` of healthy servers reaches the quorum.
    QuorumGained {
        service: Arc<str>,
        weight: u64,
        needed: u64,
    },
    QuorumLost {
        service: Arc<str>,
        weight: u64,
        needed: u64,
    },
    /// So few servers pass their checks that the checks themselves are doubted.
    PanicEntered {
        service: Arc<str>,
        healthy: usize,
        servers: usize,
    },
    PanicLeft {
        service: Arc<str>,
        healthy: usize,
        servers: usize,
    },
    Drained {
        service: Arc<str>,
        server: RealServerId,
        end: DrainEnd,
    },
    /// Somebody else changed the plane; this change puts it right.
    Drift {
        repair: Change,
    },
    /// So many more than those that were told just before.
    MoreDrift {
        more: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainEnd {
    /// The last connection has ended.
    Empty,
    /// Time is up for so many connections; `None` when nobody has counted them.
    Deadline { left: Option<u64> },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServerUp { service, server, reason } => {
                write!(f, "real server {server} of {service} is up: {reason}")
            }
            Self::ServerDown { service, server, reason } => {
                write!(f, "real server {server} of {service} is down: {reason}")
            }
            Self::ServerFound { service, server, up, reason } => {
                let state = if *up { "up" } else { "down" };
                write!(f, "real server {server} of {service} is {state}, as assumed: {reason}")
            }
            Self::ServerRemoved { service, server } => write!(
                f,
                "real server {server} of {service} is removed from the configuration: no new connections, those that it \
                 has may end"
            ),
            Self::QuorumGained { service, weight, needed } => {
                write!(f, "virtual server {service} gained its quorum: weight {weight} of {needed} needed")
            }
            Self::QuorumLost { service, weight, needed } => {
                write!(f, "virtual server {service} lost its quorum: weight {weight} of {needed} needed")
            }
            Self::PanicEntered { service, healthy, servers } => write!(
                f,
                "virtual server {service}: only {healthy} of {servers} real servers pass their checks, fewer than \
                 panic_threshold allows: the last good ones stay in service"
            ),
            Self::PanicLeft { service, healthy, servers } => write!(
                f,
                "virtual server {service}: {healthy} of {servers} real servers pass their checks, they decide again"
            ),
            Self::Drained { service, server, end: DrainEnd::Empty } => {
                write!(f, "real server {server} of {service} is drained: its last connection has ended")
            }
            Self::Drained { service, server, end: DrainEnd::Deadline { left: Some(left) } } => {
                write!(
                    f,
                    "real server {server} of {service} is out of time to drain with {left} connections left"
                )
            }
            Self::Drained { service, server, end: DrainEnd::Deadline { left: None } } => {
                write!(f, "real server {server} of {service} is out of time to drain")
            }
            Self::MoreDrift { more } => {
                write!(f, "somebody else changed IPVS; putting {more} more entries right")
            }
            Self::Drift { repair } => write!(f, "somebody else changed IPVS; putting it right: {repair}"),
        }
    }
}
