//! VRRP and what it tracks.

use super::global::{SECOND, at_most, extra_if};
use super::{Block, Complaint, Entries, Form, Keyword, Title, bad, many, moot, off, old, on};
use Form::{
    Bool, Choice, Clamped, Flag, Int, Ip, OptInt, OptScript, OptText, OptWords, Script, Seconds, Text, Texts,
    Words,
};

const MAX_U32: i64 = 0xffff_ffff;

pub(super) static VRRP_INSTANCE: Block =
    Block::words("vrrp_instance", Title::Name, &[INSTANCE, TRACKERS, NOTIFY]);
pub(super) static VRRP_SYNC_GROUP: Block =
    Block::words("vrrp_sync_group", Title::Name, &[SYNC_GROUP, TRACKERS, NOTIFY]);
pub(super) static VRRP_SCRIPT: Block = Block::words("vrrp_script", Title::Name, &[TRACK_SCRIPT]);
pub(super) static VRRP_TRACK_PROCESS: Block =
    Block::words("vrrp_track_process", Title::Name, &[TRACK_PROCESS]);
pub(super) static TRACK_FILE: Block = Block::words("track_file", Title::Name, &[FILE]);
pub(super) static TRACK_GROUP: Block =
    Block::words("track_group", Title::Name, &[&[many(on("group", Form::Block(&GROUP)))]]);
pub(super) static GARP_GROUP: Block = Block::words("garp_group", Title::None, &[GARP]);
pub(super) static STATIC_ADDRESSES: Block =
    Block::entries("static_ipaddress", Title::None, Entries::StaticAddresses);
pub(super) static STATIC_ROUTES: Block = Block::entries("static_routes", Title::None, Entries::StaticRoutes);
pub(super) static STATIC_RULES: Block = Block::entries("static_rules", Title::None, Entries::StaticRules);
pub(super) static LINKBEAT_INTERFACES: Block =
    Block::entries("linkbeat_interfaces", Title::None, Entries::Linkbeat);
pub(super) static INTERFACE_UP_DOWN_DELAYS: Block =
    Block::entries("interface_up_down_delays", Title::None, Entries::LinkDelays);

static GROUP: Block = Block::entries("group", Title::None, Entries::Names);
static INTERFACES: Block = Block::entries("interfaces", Title::None, Entries::Names);
static ADDRESSES: Block = Block::entries("virtual_ipaddress", Title::None, Entries::VirtualAddresses);
static EXCLUDED: Block = Block::entries("virtual_ipaddress_excluded", Title::None, Entries::VirtualAddresses);
static ROUTES: Block = Block::entries("virtual_routes", Title::None, Entries::VirtualRoutes);
static RULES: Block = Block::entries("virtual_rules", Title::None, Entries::VirtualRules);
static PEERS: Block = Block::entries("unicast_peer", Title::None, Entries::Peers);
static TRACKED_INTERFACES: Block = Block::entries("track_interface", Title::None, Entries::Tracks(253));
static TRACKED_SCRIPTS: Block = Block::entries("track_script", Title::None, Entries::Tracks(253));
static TRACKED_FILES: Block = Block::entries("track_file", Title::None, Entries::Tracks(254));
static TRACKED_PROCESSES: Block = Block::entries("track_process", Title::None, Entries::Tracks(254));
static TRACKED_BFD: Block = Block::entries("track_bfd", Title::None, Entries::Tracks(253));
static AUTHENTICATION: Block = Block::words(
    "authentication",
    Title::None,
    &[&[on("auth_type", Choice(&["PASS", "AH"])), on("auth_pass", Text)]],
);
static AUTH_HMAC: Block = Block::words(
    "auth_hmac",
    Title::None,
    &[&[
        many(off("key", Texts)),
        off("active_key", Int(1, 255)),
        off("time_window", Seconds(SECOND, 300 * SECOND)),
        off("anti_replay", Choice(&["time", "monotonic"])),
        off("mode", Choice(&["enforce", "permissive", "receive-only"])),
    ]],
);

const INSTANCE: &[Keyword] = &[
    on("state", Choice(&["MASTER", "BACKUP"])),
    on("interface", Text),
    on("virtual_router_id", Int(1, 255)),
    on("priority", Form::IntElse(1, 255, 100)),
    on("advert_int", Seconds(10_000, 255 * SECOND)),
    on("version", Choice(&["2", "3"])),
    many(on("virtual_ipaddress", Form::Block(&ADDRESSES))),
    many(on("virtual_ipaddress_excluded", Form::Block(&EXCLUDED))),
    on("no_virtual_ipaddress", Flag),
    many(on("virtual_routes", Form::Block(&ROUTES))),
    many(on("virtual_rules", Form::Block(&RULES))),
    on("use_vmac", OptWords(vmac)),
    on("use_vmac_addr", Flag),
    on("vmac_xmit_base", Flag),
    off("use_ipvlan", OptWords(super::anything)),
    on("unicast_src_ip", Ip),
    many(on("unicast_peer", Form::Block(&PEERS))),
    on("unicast_fault_no_peer", Flag),
    on("unicast_ttl", Int(0, 255)),
    on("check_unicast_src", Flag),
    on("old_unicast_checksum", OptWords(never)),
    on("mcast_src_ip", Ip),
    on("mcast_dst_ip", Ip),
    on("track_src_ip", Flag),
    old(moot("native_ipv6", Flag, "the addresses tell the family"), "the family of the addresses"),
    off("vrf", Text),
    on("dont_track_primary", Flag),
    on("promote_secondaries", Flag),
    old(off("linkbeat_use_polling", Flag), "linkbeat_interfaces"),
    on("v3_checksum_as_v2", Bool),
    on("accept", Flag),
    on("no_accept", Flag),
    on("skip_check_adv_addr", Bool),
    on("strict_mode", Bool),
    on("preempt", Flag),
    on("nopreempt", Flag),
    on("preempt_delay", Seconds(0, 1_000 * SECOND)),
    moot("debug", OptInt(0, 4), "how much is logged is for -D and the variable BUOY_LOG to say"),
    on("notify_deleted", OptScript),
    on("notify_master_rx_lower_pri", Script),
    old(off("lvs_sync_daemon_interface", Text), "lvs_sync_daemon"),
    on("garp_master_delay", Seconds(0, 4_294 * SECOND)),
    on("garp_master_repeat", Clamped(1, MAX_U32)),
    on("garp_master_refresh", Seconds(0, 0xffff_ffff * SECOND)),
    on("garp_master_refresh_repeat", Clamped(1, MAX_U32)),
    on("garp_lower_prio_delay", Seconds(0, 4_294 * SECOND)),
    on("garp_lower_prio_repeat", Int(0, 0x7fff_ffff)),
    on("down_timer_adverts", Int(1, 100)),
    on("timer_expired_backup", OptInt(1, 254)),
    old(on("thread_timer_expired", OptInt(1, 254)), "timer_expired_backup"),
    on("garp_extra_if", Words(extra_if)),
    old(on("vmac_garp_intvl", Words(extra_if)), "garp_extra_if"),
    on("lower_prio_no_advert", Bool),
    on("higher_prio_send_advert", Bool),
    on("owner_ignore_adverts", Bool),
    on("kernel_rx_buf_size", Int(0, MAX_U32)),
    on("authentication", Form::Block(&AUTHENTICATION)),
    off("auth_hmac", Form::Block(&AUTH_HMAC)),
    // Buoy's own.
    on("vip_lease", Int(0, 86_400)),
    on("make_before_break", Bool),
];

const TRACKERS: &[Keyword] = &[
    many(on("track_interface", Form::Block(&TRACKED_INTERFACES))),
    many(on("track_script", Form::Block(&TRACKED_SCRIPTS))),
    many(on("track_file", Form::Block(&TRACKED_FILES))),
    many(on("track_process", Form::Block(&TRACKED_PROCESSES))),
    many(off("track_bfd", Form::Block(&TRACKED_BFD))),
];

const NOTIFY: &[Keyword] = &[
    on("notify_master", Script),
    on("notify_backup", Script),
    on("notify_fault", Script),
    on("notify_stop", Script),
    on("notify", Script),
    on("smtp_alert", Bool),
    on("notify_priority_changes", Bool),
];

const SYNC_GROUP: &[Keyword] = &[
    many(on("group", Form::Block(&GROUP))),
    old(
        moot("global_tracking", Flag, "it is always so"),
        "nothing: trackers of a group apply to all members",
    ),
    on("sync_group_tracking_weight", Flag),
];

const TRACK_SCRIPT: &[Keyword] = &[
    on("script", Script),
    on("interval", Seconds(0, 4_294 * SECOND)),
    on("timeout", Seconds(0, 4_294 * SECOND)),
    on("weight", Form::Weight(254)),
    on("rise", Int(1, 0x7fff_ffff)),
    on("fall", Int(1, 0x7fff_ffff)),
    on("user", Words(user)),
    on("init_fail", Flag),
];

const TRACK_PROCESS: &[Keyword] = &[
    on("process", Texts),
    on("param_match", OptText),
    on("weight", Form::Weight(254)),
    on("quorum", Int(1, 65_535)),
    on("quorum_max", Int(0, 65_535)),
    on("delay", Seconds(1, 3_600 * SECOND)),
    on("fork_delay", Seconds(1, 3_600 * SECOND)),
    on("terminate_delay", Seconds(1, 3_600 * SECOND)),
    on("full_command", Flag),
];

const FILE: &[Keyword] =
    &[on("file", Text), on("weight", Form::Weight(254)), on("init_file", OptWords(init_file))];

const GARP: &[Keyword] = &[
    on("garp_interval", Seconds(1, 4_294 * SECOND)),
    on("gna_interval", Seconds(1, 4_294 * SECOND)),
    many(on("interface", Text)),
    many(on("interfaces", Form::Block(&INTERFACES))),
];

fn vmac(words: &[&str]) -> Result<(), Complaint> {
    let mut at = 0;
    let mut named = false;
    while let Some(word) = words.get(at) {
        match *word {
            "name" | "group" if words.get(at + 1).is_none() => {
                return Err(bad(at, format!("`{word}` without a value")));
            }
            "name" => {
                named = true;
                at += 1;
            }
            "group" => at += 1,
            "netlink_notify_msg" => {}
            mac if mac.matches(':').count() >= 4 => {
                crate::config::value::mac(mac)
                    .ok_or_else(|| bad(at, format!("`{mac}` is not a MAC address")))?;
            }
            name if named || name.len() > 15 => {
                return Err(bad(at, format!("`{name}` cannot be an interface name")));
            }
            _ => named = true,
        }
        at += 1;
    }
    Ok(())
}

fn never(words: &[&str]) -> Result<(), Complaint> {
    match words.first() {
        None | Some(&"never") => at_most(words, 1),
        Some(word) => Err(bad(0, format!("`{word}` is not `never`"))),
    }
}

pub(super) fn user(words: &[&str]) -> Result<(), Complaint> {
    at_most(words, 2)
}

fn init_file(words: &[&str]) -> Result<(), Complaint> {
    for (at, word) in words.iter().enumerate() {
        if *word != "overwrite" && word.parse::<i64>().is_err() {
            return Err(bad(at, format!("`{word}` is neither a number nor `overwrite`")));
        }
    }
    at_most(words, 2)
}
