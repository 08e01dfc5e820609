//! Virtual services and their real servers.

use std::net::IpAddr;

use super::checker::{CHECKERS, RETRIES};
use super::global::{LONGEST_WAIT, SECOND, at_most, number, timeouts};
use super::{Block, Complaint, Entries, Form, Keyword, Title, What, bad, fork, many, moot, off, old, on};
use Form::{Bool, Choice, ChoiceAnyCase, Flag, Int, OptSeconds, Script, Seconds, Text, Words};

const MAX_U32: i64 = 0xffff_ffff;
/// 31 days, in seconds.
const LONGEST_TIMEOUT: i64 = 2_678_400;

pub(super) static VIRTUAL_SERVER: Block =
    Block::words("virtual_server", Title::Service, &[SERVICE, RETRIES, FORKS]);
pub(super) static VIRTUAL_SERVER_GROUP: Block =
    Block::entries("virtual_server_group", Title::Name, Entries::GroupMembers);
pub(super) static LOCAL_ADDRESS_GROUP: Block =
    Block::entries("local_address_group", Title::Name, Entries::LocalAddresses);
pub(super) static SSL: Block = Block::words(
    "SSL",
    Title::None,
    &[&[on("password", Text), on("ca", Text), on("certificate", Text), on("key", Text)]],
);
static REAL_SERVER: Block = Block::words("real_server", Title::Server, &[SERVER, RETRIES, CHECKERS]);

/// Those of the kernel, and two of Buoy's own engine.
const ALGORITHMS: &[&str] = &[
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "mh", "sed", "nq", "fo", "ovf", "twos", "wdh",
    "wsh",
];

const SERVICE: &[Keyword] = &[
    on("ip_family", Choice(&["inet", "inet6"])),
    on("delay_loop", Seconds(1, 4_294 * SECOND)),
    on("lb_algo", Choice(ALGORITHMS)),
    on("lvs_sched", Choice(ALGORITHMS)),
    on("lb_kind", Words(forwarding)),
    on("lvs_method", Words(forwarding)),
    on("protocol", ChoiceAnyCase(&["TCP", "UDP", "SCTP"])),
    on("persistence_timeout", OptSeconds(SECOND, LONGEST_WAIT)),
    on("persistence_granularity", Words(granularity)),
    on("persistence_engine", Text),
    on("ops", Flag),
    on("flag-1", Flag),
    on("flag-2", Flag),
    on("flag-3", Flag),
    on("sh-port", Flag),
    on("sh-fallback", Flag),
    on("mh-port", Flag),
    on("mh-fallback", Flag),
    old(moot("hashed", Flag, "tables are always hashed"), "nothing: it is obsolete"),
    on("ha_suspend", Flag),
    on("virtualhost", Text),
    on("alpha", Flag),
    on("omega", Flag),
    on("quorum", Int(1, MAX_U32)),
    on("hysteresis", Int(0, MAX_U32)),
    on("quorum_up", Script),
    on("quorum_down", Script),
    on("weight", Int(1, 0x7fff_ffff)),
    on("inhibit_on_failure", Flag),
    on("smtp_alert", Bool),
    off("snmp_name", Text),
    on("sorry_server", Words(endpoint)),
    on("sorry_server_inhibit", Flag),
    on("sorry_server_lvs_method", Words(forwarding)),
    // LVS-FNAT's and DPVS's.
    on("laddr_group_name", Text),
    on("conn_timeout", Int(1, LONGEST_TIMEOUT)),
    // Buoy's own.
    on("panic_threshold", Int(0, 100)),
    on("drain_deadline", Seconds(0, LONGEST_WAIT)),
    on("conn_timeouts", Words(timeouts)),
    many(on("real_server", Form::Block(&REAL_SERVER))),
];

const SERVER: &[Keyword] = &[
    on("weight", Int(0, 0x7fff_ffff)),
    on("lvs_method", Words(forwarding)),
    on("lb_kind", Words(forwarding)),
    on("uthreshold", Int(0, MAX_U32)),
    on("lthreshold", Int(0, MAX_U32)),
    on("inhibit_on_failure", Bool),
    on("notify_up", Script),
    on("notify_down", Script),
    on("alpha", Bool),
    on("delay_loop", Seconds(1, 4_294 * SECOND)),
    on("smtp_alert", Bool),
    on("virtualhost", Text),
    off("snmp_name", Text),
];

/// Words that only LVS-FNAT's and DPVS's keepalived know.
const FORKS: &[Keyword] = &[
    fork("syn_proxy"),
    fork("establish_timeout"),
    fork("est_timeout"),
    fork("expire_quiescent_conn"),
    fork("proxy_protocol"),
    fork("vip_bind_dev"),
    fork("daddr_group_name"),
    fork("waddr_group_name"),
    fork("blklst_addr_gname"),
    fork("whtlst_addr_gname"),
    fork("hash_target"),
    fork("bps"),
    fork("limit_proportion"),
    fork("quic"),
];

/// `NAT|DR|FNAT|TUN [type ipip|gue port N|gre [nocsum|csum|remcsum]]`.
fn forwarding(words: &[&str]) -> Result<(), Complaint> {
    match words.first().copied().unwrap_or_default() {
        "NAT" | "DR" | "TUN" | "FNAT" => {}
        "SNAT" => {
            let why = "SNAT is a forwarding method of the LVS-FNAT and DPVS forks";
            return Err(Complaint { at: 0, what: What::Fork(why.to_owned()) });
        }
        word => return Err(bad(0, format!("`{word}` is not one of `NAT`, `DR`, `TUN`, `FNAT`"))),
    }
    if words.first() != Some(&"TUN") {
        return at_most(words, 1);
    }
    let mut at = 1;
    while let Some(word) = words.get(at) {
        match *word {
            "type" if matches!(words.get(at + 1), Some(&("ipip" | "gue" | "gre"))) => at += 1,
            "type" => return Err(bad(at, "`type` is not followed by `ipip`, `gue` or `gre`".to_owned())),
            "port" => {
                number(words, at + 1, 1, 65_535)?;
                at += 1;
            }
            "nocsum" | "csum" | "remcsum" => {}
            word => return Err(bad(at, format!("`{word}` is no tunnel option"))),
        }
        at += 1;
    }
    if words.contains(&"gue") && !words.contains(&"port") {
        return Err(bad(0, "`type gue` without its `port`".to_owned()));
    }
    Ok(())
}

fn granularity(words: &[&str]) -> Result<(), Complaint> {
    let word = words.first().copied().unwrap_or_default();
    if word.parse::<std::net::Ipv4Addr>().is_err() {
        number(words, 0, 1, 128)?;
    }
    at_most(words, 1)
}

/// `IP [PORT]`.
pub(crate) fn endpoint(words: &[&str]) -> Result<(), Complaint> {
    let ip = words.first().copied().unwrap_or_default();
    if ip.parse::<IpAddr>().is_err() {
        return Err(bad(0, format!("`{ip}` is not an IP address")));
    }
    if words.len() > 1 {
        number(words, 1, 0, 65_535)?;
    }
    at_most(words, 2)
}

/// `IP [PORT]`, `fwmark N` or `group NAME`.
pub(crate) fn service(words: &[&str]) -> Result<(), Complaint> {
    match words.first().copied().unwrap_or_default() {
        "fwmark" => number(words, 1, 1, MAX_U32).map(drop).and_then(|()| at_most(words, 2)),
        "group" if words.len() > 1 => at_most(words, 2),
        "group" => Err(bad(0, "`group` without a name".to_owned())),
        _ => endpoint(words),
    }
}

/// One line of a `virtual_server_group`.
pub(crate) fn group_member(words: &[&str]) -> Result<(), Complaint> {
    let first = words.first().copied().unwrap_or_default();
    if first == "fwmark" {
        number(words, 1, 1, MAX_U32)?;
        return match words.get(2) {
            None | Some(&("inet" | "inet6")) => at_most(words, 3),
            Some(word) => Err(bad(2, format!("`{word}` is not `inet` or `inet6`"))),
        };
    }
    range(first)?;
    if words.len() > 1 {
        number(words, 1, 0, 65_535)?;
    }
    at_most(words, 2)
}

/// One line of a `local_address_group`: `ADDR|RANGE [IFNAME]`.
pub(crate) fn local_address(words: &[&str]) -> Result<(), Complaint> {
    range(words.first().copied().unwrap_or_default())?;
    at_most(words, 2)
}

/// The first word of a line: `A`, `A-LAST`, `A-B` or `A/LEN`.
fn range(word: &str) -> Result<(), Complaint> {
    let usable = match (word.split_once('-'), word.split_once('/')) {
        (Some((from, to)), _) => match from.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => to.parse::<u8>().is_ok() || to.parse::<std::net::Ipv4Addr>().is_ok(),
            Ok(IpAddr::V6(_)) => {
                u16::from_str_radix(to, 16).is_ok() || to.parse::<std::net::Ipv6Addr>().is_ok()
            }
            Err(_) => false,
        },
        (None, Some((ip, len))) => match ip.parse::<IpAddr>() {
            Ok(ip) => len.parse::<u8>().is_ok_and(|len| len <= if ip.is_ipv4() { 32 } else { 128 }),
            Err(_) => false,
        },
        (None, None) => word.parse::<IpAddr>().is_ok(),
    };
    if usable {
        Ok(())
    } else {
        Err(bad(0, format!("`{word}` is neither an address nor a range of addresses")))
    }
}
