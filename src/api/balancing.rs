//! Virtual servers on the control socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an operator wants of a real server. Each takes the place of what was wanted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Configuration and checks decide again.
    Enable,
    /// Out of the table at once.
    Disable,
    /// No new connections; out of the table when the last one has ended, or after `deadline_ms`.
    Drain {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
    },
    /// This weight, whatever is configured and whatever the checks add.
    Weight { weight: u32 },
}

/// What a reload would do to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChange {
    /// `instance VI_1`, `virtual server TCP 10.0.0.1:80`, `real server 10.1.0.1:80 of TCP 10.0.0.1:80`.
    pub object: String,
    pub action: PlannedAction,
    /// What is particular to it, `weight 3`; may be empty.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedAction {
    Add,
    Change,
    /// At once.
    Remove,
    /// When its connections have ended.
    Drain,
}

/// One virtual server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// As in logs.
    pub name: String,
    /// What clients address: `TCP 10.0.0.1:80`, `FWM 7 IPv6`.
    pub addresses: Vec<String>,
    /// The kernel's name; `None` where no new connection is taken.
    pub scheduler: Option<String>,
    /// Switches of the scheduler and one-packet, as the configuration writes them: `sh-port`, `flag-3`, `ops`.
    pub flags: Vec<String>,
    /// In words: `300 s`, `300 s for each /24, engine sip`.
    pub persistence: Option<String>,
    pub quorum: QuorumStatus,
    pub sorry: Option<SorryStatus>,
    /// Percent below which the checks are doubted; 0 where they never are.
    pub panic_threshold: u8,
    /// They are: the last good servers stay in service.
    pub panic: bool,
    /// A reload has removed it, and its connections may end.
    pub leaving: bool,
    /// Totals of all its addresses, if the plane answers.
    pub totals: Option<Totals>,
    pub servers: Vec<ServerStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumStatus {
    pub needed: u32,
    pub hysteresis: u32,
    /// Of the servers that should get connections.
    pub weight: u64,
    pub reached: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SorryStatus {
    pub address: String,
    /// As [`ServerStatus::forwarding`].
    pub forwarding: String,
    /// It has the place of the real servers.
    pub serving: bool,
    pub connections: Option<Connections>,
}

/// One real server of one virtual server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    pub address: String,
    /// The word of `ipvsadm -Ln`.
    pub forwarding: String,
    pub configured_weight: u32,
    /// What operators and checks have made of it, in service or not.
    pub service_weight: u32,
    /// What the table is to hold now; `None` where the server is not to be there.
    pub weight: Option<u32>,
    pub up: bool,
    pub reason: String,
    /// Seconds since the checks last came to another conclusion.
    pub since: f64,
    /// Seconds since they last had anything to say; `None` before their first word.
    pub reason_age: Option<f64>,
    pub administration: Administered,
    pub draining: Option<DrainStatus>,
    /// An agent wants no new connections for it.
    pub resting: bool,
    /// A reload has removed it.
    pub leaving: bool,
    /// Now; `None` where the plane does not know the server or does not answer.
    pub connections: Option<Connections>,
    pub totals: Option<Totals>,
}

/// What an operator has said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Administered {
    Enabled,
    Disabled,
    Drain,
    Weight,
}

/// Connections that there are may end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Seconds until they are given up; `None` waits for all of them.
    pub left: Option<f64>,
}

/// Connections now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    pub active: u64,
    pub inactive: u64,
    /// Clients that persistence holds there.
    pub persistent: u64,
}

/// Since the plane began to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub connections: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// What stands behind all virtual servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BalancingStatus {
    /// `kernel IPVS`, or `Buoy's engine` with its tier and why it is that.
    pub plane: String,
    /// `None` where the kernel forwards, or the engine does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineStatus>,
    /// Why it does not work.
    pub failing: Option<String>,
    /// What it would not do, in words.
    pub refused: Vec<String>,
    /// Servers that are dead for a silence that may be that of this host's own network. While there are any, connections
    /// to servers that are gone are kept, and `expire_nodest_conn` is wanted to be 0.
    #[serde(default)]
    pub doubted: usize,
    pub sync_daemons: Vec<SyncStatus>,
    pub settings: Vec<SettingStatus>,
    /// `None` while nobody checks.
    pub checks: Option<ChecksStatus>,
}

/// How Buoy's own engine fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// Entries of its table, persistent clients included.
    pub connections: usize,
    /// Connections that the kernel forwards by itself.
    pub offloaded: usize,
    /// Connections that it was not given for want of room.
    pub not_offloaded: u64,
    /// Since it began: frames that came to it, that it sent, that it left to the host, and that it could not send.
    pub frames_received: u64,
    pub frames_sent: u64,
    pub frames_passed: u64,
    pub frames_lost: u64,
    /// Packets that went no further, by the reason.
    pub discards: BTreeMap<String, u64>,
    /// What went wrong last, if anything did.
    pub trouble: Option<String>,
}

/// A connection sync daemon that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStatus {
    /// `master` or `backup`
    pub role: String,
    pub interface: String,
    pub sync_id: u8,
}

/// A kernel setting below net.ipv4.vs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingStatus {
    pub name: String,
    /// `None` where the kernel has no such setting.
    pub value: Option<i64>,
    pub wanted: i64,
    pub as_wanted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChecksStatus {
    /// Different ones: what several real servers ask in the same way is asked once.
    pub checks: usize,
    /// Under way.
    pub running: usize,
    /// Milliseconds by which 99 of 100 began late at most.
    pub late_p99_ms: f64,
}
