//! The root and `global_defs`.

use super::checker::BFD_INSTANCE;
use super::engine::ENGINE;
use super::virtual_server::{LOCAL_ADDRESS_GROUP, SSL, VIRTUAL_SERVER, VIRTUAL_SERVER_GROUP};
use super::vrrp::{
    GARP_GROUP, INTERFACE_UP_DOWN_DELAYS, LINKBEAT_INTERFACES, STATIC_ADDRESSES, STATIC_ROUTES, STATIC_RULES,
    TRACK_FILE, TRACK_GROUP, VRRP_INSTANCE, VRRP_SCRIPT, VRRP_SYNC_GROUP, VRRP_TRACK_PROCESS, user,
};
use super::{
    Block, Complaint, Entries, Form, Keyword, Title, What, anything, bad, fork, many, moot, off, old, on,
    reader,
};
use crate::config::reader::include_check_words;
use Form::{
    Bool, Choice, ChoiceAnyCase, Clamped, Flag, Int, Ip, OptInt, OptText, OptWords, Script, Seconds, Text,
    Words,
};

pub(super) static GLOBAL_DEFS: Block = Block::words("global_defs", Title::None, &[GLOBAL]);
static NOTIFICATION_EMAIL: Block = Block::entries("notification_email", Title::None, Entries::Names);

pub(super) const SECOND: u64 = 1_000_000;
/// 31 days, as the kernel's timeouts.
pub(super) const LONGEST_WAIT: u64 = 2_678_400 * SECOND;
const MAX_U32: i64 = 0xffff_ffff;

pub(super) const ROOT: &[Keyword] = &[
    old(off("linkbeat_use_polling", Flag), "linkbeat_interfaces"),
    on("net_namespace", Text),
    off("net_namespace_ipvs", OptText),
    off("namespace_with_ipsets", Flag),
    on("use_pid_dir", Flag),
    on("instance", Text),
    on("child_wait_time", Int(0, MAX_U32)),
    many(on("global_defs", Form::Block(&GLOBAL_DEFS))),
    many(on("track_group", Form::Block(&TRACK_GROUP))),
    many(on("static_ipaddress", Form::Block(&STATIC_ADDRESSES))),
    many(on("static_routes", Form::Block(&STATIC_ROUTES))),
    many(on("static_rules", Form::Block(&STATIC_RULES))),
    many(on("vrrp_sync_group", Form::Block(&VRRP_SYNC_GROUP))),
    many(on("garp_group", Form::Block(&GARP_GROUP))),
    many(off("linkbeat_interfaces", Form::Block(&LINKBEAT_INTERFACES))),
    many(on("vrrp_instance", Form::Block(&VRRP_INSTANCE))),
    many(on("vrrp_script", Form::Block(&VRRP_SCRIPT))),
    many(on("vrrp_track_process", Form::Block(&VRRP_TRACK_PROCESS))),
    many(on("track_file", Form::Block(&TRACK_FILE))),
    many(old(on("vrrp_track_file", Form::Block(&TRACK_FILE)), "track_file")),
    many(on("interface_up_down_delays", Form::Block(&INTERFACE_UP_DOWN_DELAYS))),
    on("SSL", Form::Block(&SSL)),
    many(on("virtual_server_group", Form::Block(&VIRTUAL_SERVER_GROUP))),
    many(on("virtual_server", Form::Block(&VIRTUAL_SERVER))),
    many(on("local_address_group", Form::Block(&LOCAL_ADDRESS_GROUP))),
    many(off("bfd_instance", Form::Block(&BFD_INSTANCE))),
    many(fork("deny_address_group")),
    many(fork("allow_address_group")),
];

const GLOBAL: &[Keyword] = &[
    off("process_names", Flag),
    off("process_name", Text),
    off("vrrp_process_name", Text),
    off("checker_process_name", Text),
    old(off("lvs_process_name", Text), "checker_process_name"),
    off("bfd_process_name", Text),
    off("use_symlink_paths", Bool),
    off("set_supplementary_groups", Bool),
    on("router_id", Text),
    on("notification_email_from", Text),
    on("smtp_server", Words(host_and_port)),
    on("smtp_helo_name", Text),
    on("smtp_connect_timeout", Seconds(0, 4_294 * SECOND)),
    many(on("notification_email", Form::Block(&NOTIFICATION_EMAIL))),
    on("smtp_alert", Bool),
    on("smtp_alert_vrrp", Bool),
    on("smtp_alert_checker", Bool),
    on("checker_log_all_failures", Bool),
    on("no_email_faults", Flag),
    on("no_checker_emails", Flag),
    on("startup_script", Script),
    on("startup_script_timeout", Int(1, 1_000)),
    on("shutdown_script", Script),
    on("shutdown_script_timeout", Int(1, 1_000)),
    off("max_auto_priority", OptInt(-1, 99)),
    off("min_auto_priority_delay", Int(1, 10_000_000)),
    on("dynamic_interfaces", Form::OptWords(allow_if_changes)),
    on("default_interface", Text),
    on("disable_local_igmp", Flag),
    on("v3_checksum_as_v2", OptText),
    on("lvs_timeouts", Words(timeouts)),
    on("lvs_flush", Flag),
    on("lvs_flush_on_stop", OptWords(whole_services)),
    old(on("lvs_flush_onstop", OptWords(whole_services)), "lvs_flush_on_stop"),
    on("lvs_sync_daemon", Words(sync_daemon)),
    on("vrrp_mcast_group4", Ip),
    on("vrrp_mcast_group6", Ip),
    on("vrrp_garp_master_delay", Seconds(0, 4_294 * SECOND)),
    on("vrrp_garp_master_repeat", Clamped(1, MAX_U32)),
    on("vrrp_garp_lower_prio_delay", Seconds(0, 4_294 * SECOND)),
    on("vrrp_garp_lower_prio_repeat", Int(0, 0x7fff_ffff)),
    on("vrrp_garp_master_refresh", Seconds(0, 0xffff_ffff * SECOND)),
    on("vrrp_garp_master_refresh_repeat", Clamped(1, MAX_U32)),
    on("vrrp_garp_interval", Seconds(1, 4_294 * SECOND)),
    on("vrrp_gna_interval", Seconds(1, 4_294 * SECOND)),
    on("vrrp_min_garp", Bool),
    on("vrrp_garp_extra_if", Words(general_extra_if)),
    old(on("vrrp_vmac_garp_intvl", Words(general_extra_if)), "vrrp_garp_extra_if"),
    on("vrrp_down_timer_adverts", Int(1, 100)),
    on("vrrp_lower_prio_no_advert", Bool),
    on("vrrp_higher_prio_send_advert", Bool),
    on("vrrp_version", Choice(&["2", "3"])),
    off("vrrp_iptables", OptWords(anything)),
    off("vrrp_ipsets", OptWords(anything)),
    off("nftables", OptText),
    off("nftables_priority", Int(-0x8000_0000, 0x7fff_ffff)),
    off("nftables_ifindex", Flag),
    off("nftables_counters", Flag),
    off("nftables_ipvs", OptText),
    off("nftables_ipvs_priority", Int(-0x8000_0000, 0x7fff_ffff)),
    off("nftables_ipvs_start_fwmark", Int(1, MAX_U32)),
    on("vrrp_check_unicast_src", Flag),
    on("vrrp_skip_check_adv_addr", Bool),
    on("vrrp_strict", Bool),
    on("vrrp_owner_ignore_adverts", Bool),
    on("vrrp_startup_delay", Seconds(1_000, 4_294 * SECOND)),
    on("vrrp_delay_after_boot", Seconds(1_000, 4_294 * SECOND)),
    on("log_unknown_vrids", Flag),
    on("vmac_prefix", Text),
    on("vmac_addr_prefix", Text),
    on("vrrp_rx_bufs_policy", Words(rx_policy)),
    on("vrrp_rx_bufs_multiplier", Int(1, MAX_U32)),
    on("vrrp_priority", Int(-20, 19)),
    on("vrrp_no_swap", Flag),
    on("vrrp_rt_priority", Clamped(1, 99)),
    on("vrrp_cpu_affinity", Words(cpus)),
    off("vrrp_rlimit_rttime", Int(1, MAX_U32)),
    old(off("vrrp_rlimit_rtime", Int(1, MAX_U32)), "vrrp_rlimit_rttime"),
    on("checker_priority", Int(-20, 19)),
    on("checker_no_swap", Flag),
    on("checker_rt_priority", Clamped(1, 99)),
    on("checker_cpu_affinity", Words(cpus)),
    off("checker_rlimit_rttime", Int(1, MAX_U32)),
    old(off("checker_rlimit_rtime", Int(1, MAX_U32)), "checker_rlimit_rttime"),
    off("bfd_priority", Int(-20, 19)),
    off("bfd_no_swap", Flag),
    off("bfd_rt_priority", Clamped(1, 99)),
    off("bfd_cpu_affinity", Words(cpus)),
    off("bfd_rlimit_rttime", Int(1, MAX_U32)),
    old(off("bfd_rlimit_rtime", Int(1, MAX_U32)), "bfd_rlimit_rttime"),
    on("notify_fifo", Script),
    on("notify_fifo_script", Script),
    on("vrrp_notify_fifo", Script),
    on("vrrp_notify_fifo_script", Script),
    on("lvs_notify_fifo", Script),
    on("lvs_notify_fifo_script", Script),
    on("vrrp_notify_priority_changes", Bool),
    on("fifo_write_vrrp_states_on_reload", Flag),
    off("snmp_socket", Text),
    off("enable_traps", Flag),
    off("enable_snmp_vrrp", Flag),
    old(off("enable_snmp_keepalived", Flag), "enable_snmp_vrrp"),
    off("enable_snmp_checker", Flag),
    off("enable_snmp_rfc", Flag),
    off("enable_snmp_rfcv2", Flag),
    off("enable_snmp_rfcv3", Flag),
    off("snmp_vs_stats_update_interval", Seconds(1_000, 30 * SECOND)),
    off("snmp_rs_stats_update_interval", Seconds(1_000, 30 * SECOND)),
    off("enable_dbus", Flag),
    off("dbus_service_name", Text),
    off("dbus_no_interface_name", Text),
    on("script_user", Words(user)),
    on("enable_script_security", Flag),
    off("vrrp_netlink_cmd_rcv_bufs", Int(0, MAX_U32)),
    off("vrrp_netlink_cmd_rcv_bufs_force", Bool),
    off("vrrp_netlink_monitor_rcv_bufs", Int(0, MAX_U32)),
    off("vrrp_netlink_monitor_rcv_bufs_force", Bool),
    off("lvs_netlink_cmd_rcv_bufs", Int(0, MAX_U32)),
    off("lvs_netlink_cmd_rcv_bufs_force", Bool),
    off("lvs_netlink_monitor_rcv_bufs", Int(0, MAX_U32)),
    off("lvs_netlink_monitor_rcv_bufs_force", Bool),
    off("process_monitor_rcv_bufs", Int(0, MAX_U32)),
    off("process_monitor_rcv_bufs_force", Bool),
    on("rs_init_notifies", Bool),
    on("umask", Text),
    reader("random_seed", Int(0, MAX_U32)),
    on("reload_check_config", OptText),
    off("reload_time_file", Text),
    off("reload_repeat", Flag),
    on("reload_file", OptText),
    reader("include_check", OptWords(include_check)),
    on("config_save_dir", Text),
    moot("tmp_config_directory", Text, "the configuration is kept in memory, not in a temporary file"),
    off("data_use_instance", Bool),
    off("json_version", Int(1, 2)),
    on("iproute_usr_dir", Text),
    on("iproute_etc_dir", Text),
    off("state_dump_file", Text),
    off("stats_dump_file", Text),
    off("json_dump_file", Text),
    old(off("state_file_location", Text), "state_dump_file"),
    old(off("stats_file_location", Text), "stats_dump_file"),
    old(off("json_file_location", Text), "json_dump_file"),
    // Buoy's own.
    on("config_strict", Bool),
    on("vip_lease", Int(0, 86_400)),
    many(on("alert_webhook", Words(webhook))),
    on("make_before_break", Bool),
    on("panic_threshold", Int(0, 100)),
    on("drain_deadline", Seconds(0, LONGEST_WAIT)),
    on("log_format", ChoiceAnyCase(&["human", "json", "journald"])),
    on("forwarding", Choice(&["auto", "kernel", "engine"])),
    on("engine", Form::Block(&ENGINE)),
];

pub(super) fn number(words: &[&str], at: usize, min: i64, max: i64) -> Result<i64, Complaint> {
    let word = words.get(at).copied().unwrap_or_default();
    match word.parse::<i64>() {
        Ok(n) if (min..=max).contains(&n) => Ok(n),
        Ok(_) => Err(bad(at, format!("`{word}` is not within {min}..{max}"))),
        Err(_) => Err(bad(at, format!("`{word}` is not an integer"))),
    }
}

pub(super) fn at_most(words: &[&str], most: usize) -> Result<(), Complaint> {
    match words.get(most) {
        Some(_) => Err(Complaint { at: most, what: What::Extra }),
        None => Ok(()),
    }
}

fn host_and_port(words: &[&str]) -> Result<(), Complaint> {
    if words.len() > 1 {
        number(words, 1, 1, 65_535)?;
    }
    at_most(words, 2)
}

fn allow_if_changes(words: &[&str]) -> Result<(), Complaint> {
    match words.first() {
        None | Some(&"allow_if_changes") => at_most(words, 1),
        Some(word) => Err(bad(0, format!("`{word}` is not `allow_if_changes`"))),
    }
}

/// `[tcp N] [tcpfin N] [udp N]`.
pub(super) fn timeouts(words: &[&str]) -> Result<(), Complaint> {
    for (at, pair) in words.chunks(2).enumerate() {
        if !matches!(pair.first(), Some(&("tcp" | "tcpfin" | "udp"))) {
            return Err(bad(at * 2, "not one of `tcp`, `tcpfin`, `udp`".to_owned()));
        }
        number(words, at * 2 + 1, 0, 2_678_400)?;
    }
    Ok(())
}

pub(super) fn extra_if(words: &[&str]) -> Result<(), Complaint> {
    every(words, 0)
}

/// There is nothing more general that 0 could switch off.
fn general_extra_if(words: &[&str]) -> Result<(), Complaint> {
    every(words, 1)
}

fn every(words: &[&str], least: i64) -> Result<(), Complaint> {
    let at = usize::from(words.first() == Some(&"all"));
    number(words, at, least, 86_400)?;
    at_most(words, at + 1)
}

fn include_check(words: &[&str]) -> Result<(), Complaint> {
    include_check_words(words).map_err(|(at, why)| bad(at, why))
}

fn whole_services(words: &[&str]) -> Result<(), Complaint> {
    match words.first() {
        None | Some(&"VS") => at_most(words, 1),
        Some(word) => Err(bad(0, format!("`{word}` is not `VS`"))),
    }
}

/// `IFNAME [[inst] INSTANCE] [id N] [maxlen N] [port N] [ttl N] [group ADDR]`.
fn sync_daemon(words: &[&str]) -> Result<(), Complaint> {
    const OPTIONS: [(&str, i64, i64); 4] =
        [("id", 0, 255), ("maxlen", 1, 65_507), ("port", 1, 65_535), ("ttl", 1, 255)];
    let mut at = match sync_instance(words) {
        Some(instance) => instance + 1,
        None => 1,
    };
    while let Some(word) = words.get(at) {
        if let Some((_, min, max)) = OPTIONS.iter().find(|(name, ..)| name == word) {
            number(words, at + 1, *min, *max)?;
        } else if *word == "group" {
            let group = words.get(at + 1).copied().unwrap_or_default();
            if !group.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_multicast()) {
                return Err(bad(at + 1, format!("`{group}` is not a multicast address")));
            }
        } else {
            let known = "`inst`, `id`, `maxlen`, `port`, `ttl`, `group`";
            return Err(bad(at, format!("`{word}` is not one of {known}")));
        }
        at += 2;
    }
    Ok(())
}

/// The word of `lvs_sync_daemon` that names an instance.
pub(crate) fn sync_instance(words: &[&str]) -> Option<usize> {
    match words.get(1).copied()? {
        "inst" => Some(2),
        "id" | "maxlen" | "port" | "ttl" | "group" => None,
        _ => Some(1),
    }
}

fn rx_policy(words: &[&str]) -> Result<(), Complaint> {
    let word = words.first().copied().unwrap_or_default();
    if !word.eq_ignore_ascii_case("mtu") && !word.eq_ignore_ascii_case("advert") {
        number(words, 0, 1, MAX_U32)?;
    }
    at_most(words, 1)
}

fn cpus(words: &[&str]) -> Result<(), Complaint> {
    (0..words.len()).try_for_each(|at| number(words, at, 0, 1_023).map(drop))
}

fn webhook(words: &[&str]) -> Result<(), Complaint> {
    let url = words.first().copied().unwrap_or_default();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(bad(0, format!("`{url}` does not start with http:// or https://")));
    }
    if words.len() > 1 {
        number(words, 1, 1, 300)?;
    }
    at_most(words, 2)
}
