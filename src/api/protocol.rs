use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The whole state, as [`Reply::Status`].
    Status,
    /// Transitions and changes of virtual servers after sequence number `since` (0 for all that are kept), one
    /// [`Reply::Event`] each.
    Events {
        #[serde(default)]
        since: u64,
        /// Stay connected and send what comes.
        #[serde(default)]
        follow: bool,
    },
    /// Read the configuration again; answered by [`Reply::Done`] or [`Reply::Refused`].
    Reload,
    /// Make a part panic, to see it restarted. Refused unless the daemon was started for it.
    Panic { part: String },
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    Status(Box<Status>),
    Event(Box<EventRecord>),
    Done { message: String },
    Refused { message: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub daemon: DaemonStatus,
    pub instances: Vec<InstanceStatus>,
    pub groups: Vec<GroupStatus>,
    pub tracked: Vec<TrackedStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    pub version: String,
    pub pid: u32,
    pub router_id: String,
    pub configuration: String,
    /// Seconds since the Unix epoch.
    pub started: u64,
    /// Findings of the configuration in force: errors cannot be, warnings can.
    pub warnings: usize,
    /// Outcome of the last reload, if there was one.
    pub last_reload: Option<String>,
    /// Whether the last reload was refused, so that an older configuration is in force.
    pub reload_refused: bool,
    /// Messages to the kernel that asked for a change.
    pub netlink_changes: u64,
    /// Parts that panicked and were restarted.
    pub restarts: BTreeMap<String, u64>,
    /// Alerts that gave way to newer ones in a full queue, and FIFO lines that nobody read in time.
    pub alerts_lost: u64,
    /// Packets that no instance here is for, by reason; only those that occurred.
    pub unclaimed: BTreeMap<String, u64>,
    /// The latest an advertisement or takeover was handled after its time, in microseconds.
    pub worst_lateness_us: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    pub name: String,
    pub state: String,
    /// Seconds in this state.
    pub since: f64,
    /// Why it is in this state.
    pub cause: String,
    pub interface: Option<String>,
    pub vrid: u8,
    pub version: u8,
    pub family: String,
    pub priority: u8,
    pub base_priority: u8,
    /// Seconds between advertisements.
    pub advert_interval: f64,
    pub source: Option<IpAddr>,
    /// Backup only: the master that is heard, its priority, and seconds since it was.
    pub master: Option<(IpAddr, u8, f64)>,
    pub addresses: Vec<String>,
    pub holds_addresses: bool,
    pub faults: Vec<String>,
    pub statistics: BTreeMap<String, u64>,
    /// Discarded advertisements by reason; only those that occurred.
    pub discarded: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    pub name: String,
    pub state: String,
    pub members: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackedStatus {
    pub target: String,
    pub reading: String,
    pub evidence: String,
}

/// One change of state, as [`crate::alert::Record`] serializes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    pub seq: u64,
    /// RFC 3339, UTC.
    pub at: String,
    /// One of `instance`, `group` and `service` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The real server of `service`; without one it is about the quorum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    pub from: String,
    pub to: String,
    pub cause: EventCause,
    /// Of instances and groups, as the following.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasted_ms: Option<u64>,
}

/// The cause in words; of a transition also its kind, and its evidence as further fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventCause {
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(flatten)]
    pub evidence: serde_json::Map<String, serde_json::Value>,
}
