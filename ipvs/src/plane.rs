//! What every forwarding plane can do: the kernel's IPVS, or an engine of our own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::real_server::RealServerId;
use crate::table::{Change, Table};
use crate::virtual_service::ServiceId;

/// Something that forwards connections as a [`Table`] says. All calls wait for the answer; a plane is driven by a thread
/// that has nothing else to do.
pub trait Plane {
    /// What it forwards now, whoever has told it so.
    fn snapshot(&mut self) -> Result<Table, PlaneError>;

    /// Carries out `changes` in their order and tells of each that was refused, by its place. What is refused changes
    /// nothing, and does not keep the rest from being done.
    fn apply(&mut self, changes: &[Change]) -> Result<Vec<Refusal>, PlaneError>;

    /// Counters of all services and servers.
    fn statistics(&mut self) -> Result<Statistics, PlaneError>;

    /// Counts from zero: everything, or one service with its servers.
    fn zero(&mut self, service: Option<&ServiceId>) -> Result<(), PlaneError>;

    /// Removes all services. Connections stay until they expire.
    fn flush(&mut self) -> Result<(), PlaneError>;

    fn timeouts(&mut self) -> Result<Timeouts, PlaneError>;

    /// A value that is `None` stays as it is.
    fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), PlaneError>;

    /// The connection sync daemons that run; at most one of each role.
    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>, PlaneError>;

    fn start_sync(&mut self, daemon: &SyncDaemon) -> Result<(), PlaneError>;

    fn stop_sync(&mut self, role: SyncRole) -> Result<(), PlaneError>;
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
    Refused { doing: String, reason: String },
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

/// One change that the plane would not make.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize)]
#[error("cannot {what}: {reason}")]
pub struct Refusal {
    /// Place in the list of changes.
    pub index: usize,
    /// The change in words.
    pub what: String,
    /// The plane's reason, with what to do about it where that is known.
    pub reason: String,
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

/// How long idle connections are kept; whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Established TCP connections.
    pub tcp: Option<Duration>,
    /// TCP connections after a FIN.
    pub tcp_fin: Option<Duration>,
    pub udp: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncRole {
    /// Sends its connections.
    Master,
    /// Receives those of others.
    Backup,
}

/// A connection sync daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncDaemon {
    pub role: SyncRole,
    pub interface: Arc<str>,
    /// Tells pairs on one segment apart; a backup with 0 takes from every master.
    pub sync_id: u8,
    /// Longest datagram in bytes without IP and UDP headers; `None` leaves the kernel's default.
    pub max_len: Option<u16>,
    /// `None` leaves the default, 224.0.0.81:8848 with TTL 1.
    pub group: Option<SyncGroup>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncGroup {
    pub address: IpAddr,
    pub port: u16,
    pub ttl: u8,
}
