//! A validated configuration: every default applied, every name resolved, every unit converted. The rest of
//! the daemon sees this and never the text. A reload is the difference between two plans.

mod forwarding;
mod service;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use buoy_vrrp::{GroupSettings, RouterSettings, Tracker};
use serde::Serialize;

pub use self::forwarding::{
    EngineNeed, EngineOnly, EngineSettings, Forwarding, Plane, PlaneChoice, ReuseMode, TierChoice, Why,
    engine_need,
};
pub use self::service::{
    Balancing, Check, CheckSettings, ClientTls, DnsType, FlushOnStop, HttpCheck, HttpVersion, Page,
    PagePattern, Probe, RealServer, ReplyByte, SyncDaemon, UdpCheck, VirtualServer,
};
use crate::host::desired::{Address, Route, Rule};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub global: Global,
    /// In configured order; names are unique.
    pub routers: Vec<Router>,
    pub groups: Vec<Group>,
    pub scripts: Vec<TrackScript>,
    pub files: Vec<TrackFile>,
    pub processes: Vec<TrackProcess>,
    pub static_addresses: Vec<Static<Address>>,
    pub static_routes: Vec<Static<Route>>,
    pub static_rules: Vec<Static<Rule>>,
    /// `track_group`: name to members.
    pub track_groups: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    pub garp_groups: Vec<GarpGroup>,
    /// Debounce of link transitions by interface name: delay of down, delay of up.
    pub link_delays: BTreeMap<Arc<str>, (Duration, Duration)>,
    /// In configured order; no two of them share an address or a mark.
    pub services: Vec<VirtualServer>,
    pub balancing: Balancing,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Global {
    /// Name of this director in mails and logs; the host name when not configured.
    pub router_id: Arc<str>,
    /// `net_namespace`; `-s` overrides.
    pub net_namespace: Option<Arc<str>>,
    /// `instance`: extends pid file names and the log identity.
    pub instance: Option<Arc<str>>,
    pub use_pid_dir: bool,
    pub mail: Mail,
    pub notify_fifo: Option<Fifo>,
    pub vrrp_notify_fifo: Option<Fifo>,
    /// Write all states to the FIFOs after a reload.
    pub fifo_write_states_on_reload: bool,
    pub startup_script: Option<Timed>,
    pub shutdown_script: Option<Timed>,
    pub script_user: Option<User>,
    pub enable_script_security: bool,
    pub dynamic_interfaces: bool,
    /// Stop the kernel's membership reports for link-local groups, VRRP's among them.
    pub disable_local_igmp: bool,
    /// Interfaces of static addresses without `dev`.
    pub default_interface: Option<Arc<str>>,
    /// All instances stay in INIT for so long after start (or boot).
    pub startup_delay: Duration,
    pub delay_after_boot: Duration,
    pub log_unknown_vrids: bool,
    pub garp_interval: Duration,
    pub gna_interval: Duration,
    /// `vrrp_garp_extra_if`: period, and whether ordinary interfaces are included (`all`).
    pub garp_extra_if: Option<(Duration, bool)>,
    pub vmac_prefix: Arc<str>,
    pub vmac_addr_prefix: Arc<str>,
    pub scheduling: Scheduling,
    pub umask: u32,
    pub child_wait_time: Duration,
    /// Gets the findings of each reload; testing the new file first is always so in Buoy.
    pub reload_check_config: Option<PathBuf>,
    pub reload_file: Option<PathBuf>,
    /// Gets a copy of each configuration that is read.
    pub config_save_dir: Option<PathBuf>,
    /// Receive buffer sizing of VRRP sockets, in bytes; `None` leaves the kernel's default.
    pub rx_buffer: Option<RxBuffer>,
    /// Buoy's own: POST a JSON document for every transition.
    pub alert_webhook: Vec<Webhook>,
    /// Turn every warning into an error (`config_strict`).
    pub config_strict: bool,
    /// Buoy's own: how log lines are written.
    pub log_format: LogFormat,
}

/// `log_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Nothing configured: journald under systemd, else human.
    Automatic,
    Human,
    Json,
    Journald,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RxBuffer {
    /// `vrrp_rx_bufs_policy MTU|ADVERT`, times `vrrp_rx_bufs_multiplier`.
    Mtu(u32),
    Advert(u32),
    Bytes(u32),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mail {
    /// Host or address and port of the relay; no mail is sent without it.
    pub server: Option<(Arc<str>, u16)>,
    pub helo_name: Option<Arc<str>>,
    pub connect_timeout: Duration,
    pub from: Arc<str>,
    pub to: Vec<Arc<str>>,
    /// `no_email_faults`.
    pub no_faults: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Webhook {
    pub url: Arc<str>,
    pub timeout: Duration,
}

/// Privileges of the election thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scheduling {
    /// Nice value of `vrrp_priority`.
    pub nice: Option<i8>,
    /// SCHED_RR priority of `vrrp_rt_priority`.
    pub rt_priority: Option<u8>,
    pub no_swap: bool,
    pub cpu_affinity: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fifo {
    pub path: PathBuf,
    /// Owner of a FIFO that is created.
    pub owner: Option<User>,
    /// Long-running reader, started with the path of the FIFO as its last argument.
    pub script: Option<Command>,
}

/// A command line already split into its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Command {
    pub argv: Vec<Arc<str>>,
    pub user: Option<User>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Timed {
    pub command: Command,
    pub timeout: Duration,
}

/// Identity to run a script with, resolved when the configuration is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct User {
    pub name: Arc<str>,
    pub uid: u32,
    pub gid: u32,
}

/// One `vrrp_instance`: what the election needs, and what this host has to do for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Router {
    pub election: RouterSettings,
    /// Absent for unicast with a configured source only.
    pub interface: Option<Arc<str>>,
    pub vmac: Option<Vmac>,
    /// `unicast_src_ip` or `mcast_src_ip`; else the first address of the interface.
    pub source: Option<IpAddr>,
    /// FAULT while `source` is not on the interface.
    pub track_source: bool,
    pub addresses: Vec<Address>,
    pub excluded: Vec<Address>,
    pub routes: Vec<Route>,
    pub rules: Vec<Rule>,
    pub trackers: Vec<Tracker>,
    pub dont_track_primary: bool,
    pub promote_secondaries: bool,
    /// Packets to the VIPs are accepted while master; else they are dropped by the firewall.
    pub accept: bool,
    pub unicast_fault_no_peer: bool,
    pub garp_extra_if: Option<(Duration, bool)>,
    pub rx_buffer: Option<u32>,
    pub notify: Notify,
    pub smtp_alert: bool,
    pub notify_priority_changes: bool,
    /// `notify_deleted`: a removal by reload is DELETED and not FAULT.
    pub notify_deleted: Option<Option<Command>>,
}

impl Router {
    pub fn name(&self) -> &Arc<str> {
        &self.election.name
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Vmac {
    /// Interface name; `None` derives `vrrp.VRID`.
    pub name: Option<Arc<str>>,
    /// `None` is 00:00:5e:00:01:VRID (IPv4) or 00:00:5e:00:02:VRID (IPv6).
    pub mac: Option<[u8; 6]>,
    /// Advertise from the parent interface.
    pub xmit_base: bool,
    pub group: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Notify {
    pub master: Option<Command>,
    pub backup: Option<Command>,
    pub fault: Option<Command>,
    pub stop: Option<Command>,
    pub any: Option<Command>,
    pub master_rx_lower_pri: Option<Command>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    pub election: GroupSettings,
    /// Trackers written on the group; they are already folded into the members'.
    pub trackers: Vec<Tracker>,
    pub notify: Notify,
    pub smtp_alert: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackScript {
    pub name: Arc<str>,
    pub command: Command,
    /// From start to start.
    pub interval: Duration,
    pub timeout: Duration,
    pub rise: u32,
    pub fall: u32,
    /// Failed until `rise` successes, instead of waiting for the first result.
    pub init_fail: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackFile {
    pub name: Arc<str>,
    pub path: PathBuf,
    /// Written at start: value, and whether existing content is replaced.
    pub init: Option<(i64, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackProcess {
    pub name: Arc<str>,
    pub command: Arc<str>,
    pub parameters: Vec<Arc<str>>,
    pub param_match: ParamMatch,
    pub quorum: u32,
    pub quorum_max: Option<u32>,
    pub fork_delay: Duration,
    pub terminate_delay: Duration,
    pub full_command: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ParamMatch {
    /// Only the command counts.
    None,
    Exact,
    /// Configured parameters are a prefix where the last may continue.
    Initial,
    /// Complete leading parameters.
    Partial,
}

/// A static item with the `track_group` whose instances follow its interface.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Static<T> {
    pub item: T,
    pub track_group: Option<Arc<str>>,
}

/// `garp_group`: a rate limit shared by several interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GarpGroup {
    pub interfaces: Vec<Arc<str>>,
    pub garp_interval: Option<Duration>,
    pub gna_interval: Option<Duration>,
}
