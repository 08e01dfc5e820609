//! What every forwarding plane can do: the kernel's IPVS, or an engine of our own.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::real_server::RealServerId;
use crate::refusal::{Reason, Refusal};
use crate::table::{Change, Table};
use crate::virtual_service::ServiceId;

/// Something that forwards connections as a [`Table`] says. All calls wait for the answer; a plane is driven by a thread
/// that has nothing else to do.
pub trait Plane {
    /// What it forwards now, whoever has told it so. While others change it, an entry may be left out: look again
    /// where it matters.
    fn snapshot(&mut self) -> Result<Snapshot, PlaneError>;

    /// Carries out `changes` in their order and tells of each that was refused, by its place. What is refused changes
    /// nothing, and does not keep the rest from being done. After an error nobody knows how many were carried out: take
    /// a snapshot.
    fn apply(&mut self, changes: &[Change]) -> Result<Vec<Refusal>, PlaneError>;

    /// Counters of all services and servers.
    fn statistics(&mut self) -> Result<Statistics, PlaneError>;

    /// Counts from zero: everything, or one service with its servers. Connections that exist are still counted as such.
    fn zero(&mut self, service: Option<&ServiceId>) -> Result<(), PlaneError>;

    /// Removes all services, foreign ones included. Connections stay until they expire.
    fn flush(&mut self) -> Result<(), PlaneError>;

    fn timeouts(&mut self) -> Result<Timeouts, PlaneError>;

    /// A value that is `None` stays as it is.
    fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), PlaneError>;

    /// The connection sync daemons that run; at most one of each role.
    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>, PlaneError>;

    fn start_sync(&mut self, daemon: &SyncDaemon) -> Result<(), PlaneError>;

    fn stop_sync(&mut self, role: SyncRole) -> Result<(), PlaneError>;
}

impl<P: Plane + ?Sized> Plane for Box<P> {
    fn snapshot(&mut self) -> Result<Snapshot, PlaneError> {
        (**self).snapshot()
    }

    fn apply(&mut self, changes: &[Change]) -> Result<Vec<Refusal>, PlaneError> {
        (**self).apply(changes)
    }

    fn statistics(&mut self) -> Result<Statistics, PlaneError> {
        (**self).statistics()
    }

    fn zero(&mut self, service: Option<&ServiceId>) -> Result<(), PlaneError> {
        (**self).zero(service)
    }

    fn flush(&mut self) -> Result<(), PlaneError> {
        (**self).flush()
    }

    fn timeouts(&mut self) -> Result<Timeouts, PlaneError> {
        (**self).timeouts()
    }

    fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), PlaneError> {
        (**self).set_timeouts(timeouts)
    }

    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>, PlaneError> {
        (**self).sync_daemons()
    }

    fn start_sync(&mut self, daemon: &SyncDaemon) -> Result<(), PlaneError> {
        (**self).start_sync(daemon)
    }

    fn stop_sync(&mut self, role: SyncRole) -> Result<(), PlaneError> {
        (**self).stop_sync(role)
    }
}

/// What a plane forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub table: Table,
    /// What others put there and a [`Table`] has no words for. Nobody should touch it.
    pub foreign: Vec<Foreign>,
}

/// An entry of the plane that cannot be part of a [`Table`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Foreign {
    /// The entry, as far as there are words: `protocol 47 10.0.0.1:0`, `real server 10.1.0.1:80 of TCP 10.0.0.1:80`.
    pub what: String,
    /// What there is no word for.
    pub why: String,
    /// The service or the service of the server, if a [`ServiceId`] can name it. None can be added under that name.
    pub service: Option<ServiceId>,
    /// The server; `None` when the whole service is foreign.
    pub server: Option<RealServerId>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.why)
    }
}

/// The plane as a whole does not do what it should.
#[derive(Debug, Error)]
pub enum PlaneError {
    /// It is not there.
    #[error("{what}; {cure}")]
    Missing { what: String, cure: String },
    #[error("no permission to change IPVS: CAP_NET_ADMIN is needed")]
    Permission,
    /// It refused a command that is about itself.
    #[error("cannot {doing}: {reason}")]
    Refused { doing: String, reason: Reason },
    #[error("no answer from {0} within {1:?}")]
    Silent(&'static str, Duration),
    #[error("cannot talk to {plane}")]
    Io {
        plane: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// It said something that makes no sense.
    #[error("{plane} answers nonsense: {what}")]
    Nonsense { plane: &'static str, what: String },
}

/// Counters of one service or server. Rates are the plane's own estimates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub connections: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    /// Bytes of IP packets as they came in, headers included.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub connections_per_second: u64,
    pub packets_in_per_second: u64,
    pub packets_out_per_second: u64,
    pub bytes_in_per_second: u64,
    pub bytes_out_per_second: u64,
    /// Connections now; zero for services.
    pub active: u32,
    pub inactive: u32,
    /// Persistence templates now; zero for services.
    pub persistent: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    pub services: BTreeMap<ServiceId, Counters>,
    pub servers: BTreeMap<(ServiceId, RealServerId), Counters>,
}

/// How long idle connections are kept; whole seconds, at least 1. The kernel refuses more than 31 bits of clock ticks
/// (24 days at 1000 per second).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Established TCP connections.
    pub tcp: Option<Duration>,
    /// TCP connections after a FIN.
    pub tcp_fin: Option<Duration>,
    pub udp: Option<Duration>,
}

impl Timeouts {
    pub(crate) fn are_possible(&self) -> bool {
        let given = [self.tcp, self.tcp_fin, self.udp].into_iter().flatten();
        given.into_iter().all(|timeout| {
            let seconds = timeout.as_secs();
            timeout.subsec_nanos() == 0 && seconds != 0 && u32::try_from(seconds).is_ok()
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncRole {
    /// Sends its connections.
    Master,
    /// Receives those of others.
    Backup,
}

impl fmt::Display for SyncRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Master => "master",
            Self::Backup => "backup",
        })
    }
}

/// A connection sync daemon, as wanted or as it runs. What is `None` is left to the plane; a running daemon has all
/// of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncDaemon {
    pub role: SyncRole,
    pub interface: Arc<str>,
    /// Tells pairs on one segment apart; a backup with 0 takes from every master.
    pub sync_id: u8,
    /// Longest datagram in bytes without IP and UDP headers.
    pub max_len: Option<u16>,
    /// Multicast group.
    pub group: Option<IpAddr>,
    pub port: Option<u16>,
    pub ttl: Option<u8>,
}

impl SyncDaemon {
    pub const DEFAULT_GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 81));
    pub const DEFAULT_PORT: u16 = 8848;
    pub const DEFAULT_TTL: u8 = 1;

    /// A daemon with every default.
    pub fn new(role: SyncRole, interface: &str, sync_id: u8) -> Self {
        let interface = interface.into();
        Self { role, interface, sync_id, max_len: None, group: None, port: None, ttl: None }
    }

    /// Whether `running` is what this asks for. Any length will do where this leaves it open: the kernel takes it from
    /// the interface.
    pub fn is_met_by(&self, running: &Self) -> bool {
        let expected = self.running();
        let max_len = self.max_len.filter(|len| *len != 0).and(expected.max_len).or(running.max_len);
        Self { max_len, ..expected } == *running
    }

    /// What becomes of it when it runs on an interface with an MTU of 1500.
    pub(crate) fn running(&self) -> Self {
        self.running_on(Self::ETHERNET)
    }

    const ETHERNET: u16 = 1500;

    /// What becomes of it when it runs on an interface with that MTU.
    pub(crate) fn running_on(&self, mtu: u16) -> Self {
        const IPV4_AND_UDP: u16 = 20 + 8;
        const IPV6_AND_UDP: u16 = 40 + 8;
        let group = self.group.unwrap_or(Self::DEFAULT_GROUP);
        let headers = if group.is_ipv6() { IPV6_AND_UDP } else { IPV4_AND_UDP };
        // A backup takes what common masters send, and whatever comes by its interface. A master sends what every backup
        // takes.
        let (least, usual) = match self.role {
            SyncRole::Master => (1, Self::ETHERNET),
            SyncRole::Backup => (1024, mtu.max(Self::ETHERNET)),
        };
        // The kernel takes 0 for "not given".
        let max_len = self.max_len.filter(|len| *len != 0).unwrap_or(usual - headers);
        Self {
            max_len: Some(max_len.clamp(least, u16::MAX - headers)),
            group: Some(group),
            port: self.port.filter(|port| *port != 0).or(Some(Self::DEFAULT_PORT)),
            ttl: self.ttl.filter(|ttl| *ttl != 0).or(Some(Self::DEFAULT_TTL)),
            ..self.clone()
        }
    }

    /// Why no plane can have such a daemon.
    pub(crate) fn objection(&self) -> Option<Reason> {
        /// `IP_VS_IFNAME_MAXLEN` without the NUL.
        const MAX_NAME: usize = 15;
        let name = &self.interface;
        if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
            return Some(Reason::InterfaceName(name.to_string()));
        }
        self.group.filter(|group| !group.is_multicast()).map(Reason::NotMulticast)
    }
}
