//! The control socket: one request per connection, JSON lines both ways.
//!
//! A client sends one [`Request`] as a line and reads [`Reply`] lines until the daemon closes the connection.
//! Every command of the command line that talks to a running daemon does it this way, so a script can too:
//! `echo '{"command":"status"}' | socat - UNIX-CONNECT:/run/buoy/buoy.sock`.

mod balancing;
pub mod client;
mod protocol;
pub mod server;

pub use balancing::{
    Action, Administered, BalancingStatus, ChecksStatus, Connections, DrainStatus, EngineStatus,
    PlannedAction, PlannedChange, QuorumStatus, ServerStatus, ServiceStatus, SettingStatus, SorryStatus,
    SyncStatus, Totals,
};
pub use protocol::{
    DaemonStatus, EventCause, EventRecord, GroupStatus, InstanceStatus, Reply, Request, Status, TrackedStatus,
};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/buoy/buoy.sock";
