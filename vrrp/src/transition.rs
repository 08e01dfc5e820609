//! States, and why they change. Logs, events, alerts and metrics all print these values; nothing else
//! composes a story of its own.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::Priority;
use crate::tracking::Target;

/// State of a virtual router or of a sync group. RFC 9568 calls Master the Active Router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    Init,
    Backup,
    Master,
    Fault,
    /// The daemon has stopped this router.
    Stop,
    /// A reload has removed it.
    Deleted,
}

impl State {
    /// The upper-case word of scripts, FIFOs and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Backup => "BACKUP",
            Self::Master => "MASTER",
            Self::Fault => "FAULT",
            Self::Stop => "STOP",
            Self::Deleted => "DELETED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a router changed state, with the evidence for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// The daemon started, or a reload added the router.
    Started,
    /// Priority 255: the owner takes its addresses at once.
    Owner,
    /// No advertisement for the whole master-down interval.
    MasterDown {
        master: Option<IpAddr>,
        /// Age of the last accepted advertisement.
        silent_for: Option<Duration>,
        waited: Duration,
    },
    /// The master said that it stops (priority 0).
    MasterResigned { master: IpAddr },
    /// A living master of lower priority was preempted.
    Preempted { master: IpAddr, priority: Priority, ours: Priority },
    /// An advertisement of higher priority arrived.
    HigherPriority {
        from: IpAddr,
        priority: Priority,
        ours: Priority,
        /// What keeps ours from being higher.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        burdens: Vec<Burden>,
    },
    /// Equal priority, and the sender's address is higher.
    HigherAddress { from: IpAddr, priority: Priority, ours: IpAddr },
    /// Another owner (priority 255) persists although its address is lower: one of the two configurations is wrong.
    OwnerConflict { from: IpAddr },
    /// A condition for running went away.
    Fault(FaultCause),
    /// All faults are gone; the last one to go is named.
    FaultCleared(FaultCause),
    /// Another member of the sync group moved, and why it did.
    SyncGroup { group: Arc<str>, member: Arc<str>, because: Box<Cause> },
    /// The daemon itself did not run for so long that a peer must have taken over.
    Stalled { lateness: Duration },
    /// A reload changed or removed the router.
    Reload,
    /// Orderly stop of the daemon.
    Shutdown,
}

impl Cause {
    /// The word of machines for this cause, as in its serialized form.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Owner => "owner",
            Self::MasterDown { .. } => "master_down",
            Self::MasterResigned { .. } => "master_resigned",
            Self::Preempted { .. } => "preempted",
            Self::HigherPriority { .. } => "higher_priority",
            Self::HigherAddress { .. } => "higher_address",
            Self::OwnerConflict { .. } => "owner_conflict",
            Self::Fault(_) => "fault",
            Self::FaultCleared(_) => "fault_cleared",
            Self::SyncGroup { .. } => "sync_group",
            Self::Stalled { .. } => "stalled",
            Self::Reload => "reload",
            Self::Shutdown => "shutdown",
        }
    }
}

/// A tracked object that takes priority from a router, compared with its best state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Burden {
    pub target: Target,
    pub evidence: Arc<str>,
}

/// Why an effective priority changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PriorityCause {
    /// A tracked object was observed in another state.
    Tracker {
        target: Target,
        evidence: Arc<str>,
    },
    Reload,
}

/// A condition that keeps a router from running. Several may hold at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultCause {
    InterfaceMissing {
        interface: Arc<str>,
    },
    InterfaceDown {
        interface: Arc<str>,
    },
    /// The interface has no address to send from.
    NoSourceAddress {
        interface: Arc<str>,
    },
    /// `track_src_ip`: the configured source is not on the interface.
    SourceAddressGone {
        address: IpAddr,
    },
    /// Multicast is asked for on an interface without it.
    NoMulticast {
        interface: Arc<str>,
    },
    /// `unicast_fault_no_peer`.
    NoUnicastPeer,
    /// A socket could not be opened.
    SocketFailed {
        reason: Arc<str>,
    },
    Tracker {
        target: Target,
        evidence: Arc<str>,
    },
    /// A tracker of weight 0 has no first result yet.
    TrackerPending {
        target: Target,
    },
    /// A member of the sync group is in fault, or has trackers without a first result (`pending`).
    SyncGroup {
        group: Arc<str>,
        member: Arc<str>,
        pending: bool,
    },
}

/// One change of state of one router or group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    pub subject: Subject,
    pub from: State,
    pub to: State,
    pub cause: Cause,
    /// Effective priority after the change; 0 for groups.
    pub priority: Priority,
    /// How long the old state had lasted.
    pub lasted: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "type", content = "name", rename_all = "lowercase")]
pub enum Subject {
    Instance(Arc<str>),
    Group(Arc<str>),
}

impl Subject {
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Instance(n) | Self::Group(n) => n,
        }
    }
}

impl FaultCause {
    /// The same condition, whatever its evidence.
    pub fn same_condition(&self, other: &Self) -> bool {
        match (self.target(), other.target()) {
            (Some(a), Some(b)) => a == b,
            (None, None) => match (self, other) {
                (Self::SocketFailed { .. }, Self::SocketFailed { .. }) => true,
                (Self::SyncGroup { group: a, .. }, Self::SyncGroup { group: b, .. }) => a == b,
                _ => self == other,
            },
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn target(&self) -> Option<&Target> {
        match self {
            Self::Tracker { target, .. } | Self::TrackerPending { target } => Some(target),
            _ => None,
        }
    }

    /// Not a failure: a first result is awaited.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::TrackerPending { .. } | Self::SyncGroup { pending: true, .. })
    }

    /// The interface still works, so that the addresses can be kept until a successor is heard.
    pub fn address_still_reachable(&self) -> bool {
        match self {
            Self::Tracker { target: Target::Interface(_), .. } => false,
            Self::Tracker { .. } | Self::TrackerPending { .. } | Self::SyncGroup { .. } => true,
            Self::InterfaceMissing { .. }
            | Self::InterfaceDown { .. }
            | Self::NoSourceAddress { .. }
            | Self::SourceAddressGone { .. }
            | Self::NoMulticast { .. }
            | Self::NoUnicastPeer
            | Self::SocketFailed { .. } => false,
        }
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0.as_secs(), self.0.subsec_millis())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Owner => f.write_str("address owner (priority 255)"),
            Self::MasterDown { master: Some(m), silent_for: Some(s), .. } => {
                write!(f, "master {m} silent for {}", Seconds(*s))
            }
            Self::MasterDown { waited, .. } => {
                write!(f, "no master heard for {}", Seconds(*waited))
            }
            Self::MasterResigned { master } => write!(f, "master {master} resigned (priority 0)"),
            Self::Preempted { master, priority, ours } => {
                write!(f, "preempted {master} of priority {priority} with {ours}")
            }
            Self::HigherPriority { from, priority, ours, burdens } => {
                write!(f, "{from} advertises priority {priority}, above our {ours}")?;
                for (at, burden) in burdens.iter().enumerate() {
                    f.write_str(if at == 0 { ", lowered by " } else { ", " })?;
                    burden.fmt(f)?;
                }
                Ok(())
            }
            Self::HigherAddress { from, priority, ours } => {
                write!(f, "{from} advertises equal priority {priority} from a higher address than {ours}")
            }
            Self::OwnerConflict { from } => {
                write!(f, "{from} persists as address owner (priority 255) too; check the two configurations")
            }
            Self::Fault(cause) => cause.fmt(f),
            Self::FaultCleared(cause) => write!(f, "over: {cause}"),
            Self::SyncGroup { group, member, because } => {
                write!(f, "sync group {group} follows {member}: {because}")
            }
            Self::Stalled { lateness } => {
                write!(f, "own advertisement {} late, a peer must have taken over", Seconds(*lateness))
            }
            Self::Reload => f.write_str("configuration reloaded"),
            Self::Shutdown => f.write_str("orderly stop"),
        }
    }
}

impl fmt::Display for Burden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.evidence)
    }
}

impl fmt::Display for PriorityCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tracker { target, evidence } => write!(f, "{target}: {evidence}"),
            Self::Reload => f.write_str("configuration reloaded"),
        }
    }
}

impl fmt::Display for FaultCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InterfaceMissing { interface } => write!(f, "interface {interface} does not exist"),
            Self::InterfaceDown { interface } => write!(f, "interface {interface} is down"),
            Self::NoSourceAddress { interface } => {
                write!(f, "interface {interface} has no address to send from")
            }
            Self::SourceAddressGone { address } => {
                write!(f, "source address {address} is not on the interface")
            }
            Self::NoMulticast { interface } => write!(f, "interface {interface} has no multicast"),
            Self::NoUnicastPeer => f.write_str("no unicast peer is configured"),
            Self::SocketFailed { reason } => write!(f, "cannot open the VRRP socket: {reason}"),
            Self::Tracker { target, evidence } => write!(f, "{target}: {evidence}"),
            Self::TrackerPending { target } => write!(f, "{target} has no result yet"),
            Self::SyncGroup { group, member, pending: false } => {
                write!(f, "member {member} of sync group {group} is in fault")
            }
            Self::SyncGroup { group, member, pending: true } => {
                write!(f, "member {member} of sync group {group} awaits first results of its trackers")
            }
        }
    }
}
