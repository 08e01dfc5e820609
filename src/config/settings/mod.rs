//! What was written, typed: one field per keyword that has an effect, nothing resolved yet.
//!
//! Fields carry the names of the keywords; units and ranges are those of keepalived.conf(5) and have been
//! checked against the schema before. `None` says that the word was not written.

mod engine;
mod located;
mod read;
mod service;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

pub(crate) use self::engine::Engine;
pub(crate) use self::located::Located;
pub(crate) use self::read::{ReadError, RealServers, WrittenServer, read, virtual_servers};
pub(crate) use self::service::{AddressGroup, Check, Pace, Page, RealServer, Ssl, VirtualServer};

pub(crate) type Text = Located<Arc<str>>;
pub(crate) type Number = Located<i64>;
/// The words of a value, or of one entry of a list.
pub(crate) type Words = Vec<Text>;

/// A time in seconds with a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) Duration);

/// `state` in a `vrrp_instance`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum State {
    Master,
    Backup,
}

/// `auth_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum AuthType {
    Pass,
    Ah,
}

/// Protocol version as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum VersionWord {
    #[serde(rename = "2")]
    Two,
    #[serde(rename = "3")]
    Three,
}

/// A whole configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) net_namespace: Option<Text>,
    pub(crate) instance: Option<Text>,
    pub(crate) use_pid_dir: bool,
    pub(crate) child_wait_time: Option<Number>,
    pub(crate) global_defs: Global,
    pub(crate) track_group: Vec<TrackGroup>,
    pub(crate) static_ipaddress: Vec<Words>,
    pub(crate) static_routes: Vec<Words>,
    pub(crate) static_rules: Vec<Words>,
    pub(crate) vrrp_sync_group: Vec<SyncGroup>,
    pub(crate) garp_group: Vec<Located<GarpGroup>>,
    pub(crate) vrrp_instance: Vec<Instance>,
    pub(crate) vrrp_script: Vec<Script>,
    pub(crate) vrrp_track_process: Vec<Process>,
    pub(crate) track_file: Vec<File>,
    pub(crate) interface_up_down_delays: Vec<Words>,
    #[serde(rename = "SSL")]
    pub(crate) ssl: Ssl,
    pub(crate) virtual_server_group: Vec<AddressGroup>,
    pub(crate) local_address_group: Vec<AddressGroup>,
}

/// `global_defs`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Global {
    pub(crate) router_id: Option<Text>,
    pub(crate) notification_email_from: Option<Text>,
    pub(crate) smtp_server: Option<Words>,
    pub(crate) smtp_helo_name: Option<Text>,
    pub(crate) smtp_connect_timeout: Option<Located<Seconds>>,
    pub(crate) notification_email: Vec<Text>,
    pub(crate) smtp_alert: Option<bool>,
    pub(crate) smtp_alert_vrrp: Option<bool>,
    pub(crate) no_email_faults: bool,
    pub(crate) startup_script: Option<Words>,
    pub(crate) startup_script_timeout: Option<Number>,
    pub(crate) shutdown_script: Option<Words>,
    pub(crate) shutdown_script_timeout: Option<Number>,
    pub(crate) dynamic_interfaces: Option<Words>,
    pub(crate) disable_local_igmp: bool,
    pub(crate) default_interface: Option<Text>,
    pub(crate) v3_checksum_as_v2: Option<Located<Words>>,
    pub(crate) vrrp_mcast_group4: Option<Text>,
    pub(crate) vrrp_mcast_group6: Option<Text>,
    pub(crate) vrrp_garp_master_delay: Option<Seconds>,
    pub(crate) vrrp_garp_master_repeat: Option<i64>,
    pub(crate) vrrp_garp_lower_prio_delay: Option<Seconds>,
    pub(crate) vrrp_garp_lower_prio_repeat: Option<i64>,
    pub(crate) vrrp_garp_master_refresh: Option<Seconds>,
    pub(crate) vrrp_garp_master_refresh_repeat: Option<i64>,
    pub(crate) vrrp_garp_interval: Option<Seconds>,
    pub(crate) vrrp_gna_interval: Option<Seconds>,
    pub(crate) vrrp_min_garp: Option<bool>,
    pub(crate) vrrp_garp_extra_if: Option<Words>,
    pub(crate) vrrp_down_timer_adverts: Option<i64>,
    pub(crate) vrrp_lower_prio_no_advert: Option<bool>,
    pub(crate) vrrp_higher_prio_send_advert: Option<bool>,
    pub(crate) vrrp_version: Option<VersionWord>,
    pub(crate) vrrp_check_unicast_src: bool,
    pub(crate) vrrp_skip_check_adv_addr: Option<bool>,
    pub(crate) vrrp_strict: Option<bool>,
    pub(crate) vrrp_owner_ignore_adverts: Option<bool>,
    pub(crate) vrrp_startup_delay: Option<Seconds>,
    pub(crate) vrrp_delay_after_boot: Option<Seconds>,
    pub(crate) log_unknown_vrids: bool,
    pub(crate) vmac_prefix: Option<Text>,
    pub(crate) vmac_addr_prefix: Option<Text>,
    pub(crate) vrrp_rx_bufs_policy: Option<Words>,
    pub(crate) vrrp_rx_bufs_multiplier: Option<Number>,
    pub(crate) vrrp_priority: Option<i64>,
    pub(crate) vrrp_no_swap: bool,
    pub(crate) vrrp_rt_priority: Option<i64>,
    pub(crate) vrrp_cpu_affinity: Option<Words>,
    pub(crate) notify_fifo: Option<Words>,
    pub(crate) notify_fifo_script: Option<Words>,
    pub(crate) vrrp_notify_fifo: Option<Words>,
    pub(crate) vrrp_notify_fifo_script: Option<Words>,
    pub(crate) vrrp_notify_priority_changes: Option<bool>,
    pub(crate) fifo_write_vrrp_states_on_reload: bool,
    pub(crate) script_user: Option<Words>,
    pub(crate) enable_script_security: bool,
    pub(crate) umask: Option<Text>,
    pub(crate) reload_check_config: Option<Words>,
    pub(crate) reload_file: Option<Words>,
    pub(crate) config_save_dir: Option<Text>,
    pub(crate) iproute_usr_dir: Option<Text>,
    pub(crate) iproute_etc_dir: Option<Text>,
    pub(crate) config_strict: Option<bool>,
    pub(crate) vip_lease: Option<i64>,
    pub(crate) alert_webhook: Vec<Words>,
    pub(crate) make_before_break: Option<bool>,
    pub(crate) log_format: Option<Text>,
    pub(crate) smtp_alert_checker: Option<bool>,
    pub(crate) checker_log_all_failures: bool,
    pub(crate) no_checker_emails: bool,
    pub(crate) lvs_timeouts: Option<Words>,
    pub(crate) lvs_flush: bool,
    pub(crate) lvs_flush_on_stop: Option<Words>,
    pub(crate) lvs_sync_daemon: Option<Words>,
    pub(crate) lvs_notify_fifo: Option<Words>,
    pub(crate) lvs_notify_fifo_script: Option<Words>,
    pub(crate) rs_init_notifies: bool,
    pub(crate) checker_priority: Option<i64>,
    pub(crate) checker_no_swap: bool,
    pub(crate) checker_rt_priority: Option<i64>,
    pub(crate) checker_cpu_affinity: Option<Words>,
    pub(crate) panic_threshold: Option<i64>,
    pub(crate) drain_deadline: Option<Seconds>,
    pub(crate) forwarding: Option<Text>,
    pub(crate) engine: Option<Located<Engine>>,
}

/// `vrrp_instance`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instance {
    pub(crate) name: Text,
    /// Place among the blocks of the file: a tracker has to be defined before it is used.
    pub(crate) order: u64,
    pub(crate) state: Option<Located<State>>,
    pub(crate) interface: Option<Text>,
    pub(crate) virtual_router_id: Option<Number>,
    pub(crate) priority: Option<Number>,
    pub(crate) advert_int: Option<Located<Seconds>>,
    pub(crate) version: Option<Located<VersionWord>>,
    #[serde(default)]
    pub(crate) virtual_ipaddress: Vec<Words>,
    #[serde(default)]
    pub(crate) virtual_ipaddress_excluded: Vec<Words>,
    #[serde(default)]
    pub(crate) no_virtual_ipaddress: bool,
    #[serde(default)]
    pub(crate) virtual_routes: Vec<Words>,
    #[serde(default)]
    pub(crate) virtual_rules: Vec<Words>,
    pub(crate) use_vmac: Option<Words>,
    #[serde(default)]
    pub(crate) use_vmac_addr: bool,
    pub(crate) vmac_xmit_base: Option<Located<bool>>,
    pub(crate) unicast_src_ip: Option<Text>,
    pub(crate) unicast_peer: Option<Vec<Words>>,
    pub(crate) unicast_fault_no_peer: Option<Located<bool>>,
    pub(crate) unicast_ttl: Option<Number>,
    pub(crate) check_unicast_src: Option<Located<bool>>,
    pub(crate) old_unicast_checksum: Option<Words>,
    pub(crate) mcast_src_ip: Option<Text>,
    pub(crate) mcast_dst_ip: Option<Text>,
    pub(crate) track_src_ip: Option<Located<bool>>,
    #[serde(default)]
    pub(crate) dont_track_primary: bool,
    #[serde(default)]
    pub(crate) promote_secondaries: bool,
    pub(crate) v3_checksum_as_v2: Option<bool>,
    pub(crate) accept: Option<Located<bool>>,
    pub(crate) no_accept: Option<Located<bool>>,
    pub(crate) skip_check_adv_addr: Option<Located<bool>>,
    pub(crate) strict_mode: Option<bool>,
    pub(crate) preempt: Option<Located<bool>>,
    pub(crate) nopreempt: Option<Located<bool>>,
    pub(crate) preempt_delay: Option<Located<Seconds>>,
    pub(crate) notify_deleted: Option<Words>,
    pub(crate) notify_master_rx_lower_pri: Option<Words>,
    pub(crate) garp_master_delay: Option<Seconds>,
    pub(crate) garp_master_repeat: Option<i64>,
    pub(crate) garp_master_refresh: Option<Seconds>,
    pub(crate) garp_master_refresh_repeat: Option<i64>,
    pub(crate) garp_lower_prio_delay: Option<Seconds>,
    pub(crate) garp_lower_prio_repeat: Option<Number>,
    pub(crate) down_timer_adverts: Option<Number>,
    pub(crate) timer_expired_backup: Option<Located<Words>>,
    pub(crate) garp_extra_if: Option<Words>,
    pub(crate) lower_prio_no_advert: Option<Located<bool>>,
    pub(crate) higher_prio_send_advert: Option<Located<bool>>,
    pub(crate) owner_ignore_adverts: Option<Located<bool>>,
    pub(crate) kernel_rx_buf_size: Option<i64>,
    /// What several blocks say counts together.
    #[serde(default)]
    pub(crate) authentication: Vec<Located<Authentication>>,
    pub(crate) vip_lease: Option<i64>,
    pub(crate) make_before_break: Option<bool>,
    #[serde(default)]
    pub(crate) track_interface: Vec<Words>,
    #[serde(default)]
    pub(crate) track_script: Vec<Words>,
    #[serde(default)]
    pub(crate) track_file: Vec<Words>,
    #[serde(default)]
    pub(crate) track_process: Vec<Words>,
    pub(crate) notify_master: Option<Words>,
    pub(crate) notify_backup: Option<Words>,
    pub(crate) notify_fault: Option<Words>,
    pub(crate) notify_stop: Option<Words>,
    pub(crate) notify: Option<Words>,
    pub(crate) smtp_alert: Option<bool>,
    pub(crate) notify_priority_changes: Option<bool>,
}

/// `authentication`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Authentication {
    pub(crate) auth_type: Option<AuthType>,
    pub(crate) auth_pass: Option<Text>,
}

/// `vrrp_sync_group`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SyncGroup {
    pub(crate) name: Text,
    pub(crate) order: u64,
    #[serde(default)]
    pub(crate) group: Vec<Text>,
    #[serde(default)]
    pub(crate) sync_group_tracking_weight: bool,
    #[serde(default)]
    pub(crate) track_interface: Vec<Words>,
    #[serde(default)]
    pub(crate) track_script: Vec<Words>,
    #[serde(default)]
    pub(crate) track_file: Vec<Words>,
    #[serde(default)]
    pub(crate) track_process: Vec<Words>,
    pub(crate) notify_master: Option<Words>,
    pub(crate) notify_backup: Option<Words>,
    pub(crate) notify_fault: Option<Words>,
    pub(crate) notify_stop: Option<Words>,
    pub(crate) notify: Option<Words>,
    pub(crate) smtp_alert: Option<bool>,
    pub(crate) notify_priority_changes: Option<bool>,
}

/// `vrrp_script`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Script {
    pub(crate) name: Text,
    pub(crate) order: u64,
    pub(crate) script: Option<Words>,
    pub(crate) interval: Option<Located<Seconds>>,
    pub(crate) timeout: Option<Located<Seconds>>,
    pub(crate) weight: Option<Words>,
    pub(crate) rise: Option<i64>,
    pub(crate) fall: Option<i64>,
    pub(crate) user: Option<Words>,
    #[serde(default)]
    pub(crate) init_fail: bool,
}

/// `vrrp_track_process`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Process {
    pub(crate) name: Text,
    pub(crate) order: u64,
    pub(crate) process: Option<Words>,
    pub(crate) param_match: Option<Words>,
    pub(crate) weight: Option<Words>,
    pub(crate) quorum: Option<Number>,
    pub(crate) quorum_max: Option<Number>,
    pub(crate) delay: Option<Seconds>,
    pub(crate) fork_delay: Option<Seconds>,
    pub(crate) terminate_delay: Option<Seconds>,
    #[serde(default)]
    pub(crate) full_command: bool,
}

/// `track_file`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) name: Text,
    pub(crate) order: u64,
    pub(crate) file: Option<Text>,
    pub(crate) weight: Option<Words>,
    pub(crate) init_file: Option<Words>,
}

/// `track_group`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrackGroup {
    pub(crate) name: Text,
    #[serde(rename = "order")]
    pub(crate) _order: u64,
    #[serde(default)]
    pub(crate) group: Vec<Text>,
}

/// `garp_group`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GarpGroup {
    pub(crate) garp_interval: Option<Seconds>,
    pub(crate) gna_interval: Option<Seconds>,
    pub(crate) interface: Vec<Words>,
    pub(crate) interfaces: Vec<Text>,
}
