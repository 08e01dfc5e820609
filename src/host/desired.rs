//! What the kernel should hold: addresses, routes and rules as the configuration wants them, with every
//! name resolved to its number. `config` builds these values, `host` makes the kernel match them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use buoy_vrrp::Family;
use serde::Serialize;

/// `rtm_protocol`, `FRA_PROTOCOL` and `IFA_PROTO` of what Buoy puts into the kernel, unless a route or rule is
/// configured with another one. VRRP's IP protocol number, which iproute2 gives no name to: whatever carries it is
/// ours, and a keepalived beside us, which uses 18, keeps its own.
pub const PROTOCOL: u8 = 112;

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Address {
    pub ip: IpAddr,
    pub prefix_len: u8,
    pub dev: Arc<str>,
    pub broadcast: Option<Ipv4Addr>,
    /// `rtm_scope` number; `None` leaves the kernel's default for the address.
    pub scope: Option<u8>,
    pub label: Option<Arc<str>>,
    pub peer: Option<IpAddr>,
    pub home: bool,
    /// Run duplicate address detection (`-nodad`); off, so that a VIP is usable at once.
    pub dad: bool,
    pub mngtmpaddr: bool,
    pub noprefixroute: bool,
    pub autojoin: bool,
    /// Preferred lifetime in seconds; `None` is for ever.
    pub preferred: Option<u32>,
    /// Notice and repair deletion by others (not `no_track`).
    pub tracked: bool,
    /// Put it on a macvlan of its own (`use_vmac` as address option).
    pub own_vmac: bool,
}

impl Address {
    /// An address without any option.
    pub fn plain(ip: IpAddr, prefix_len: u8, dev: Arc<str>) -> Self {
        Self {
            ip,
            prefix_len,
            dev,
            broadcast: None,
            scope: None,
            label: None,
            peer: None,
            home: false,
            dad: false,
            mngtmpaddr: false,
            noprefixroute: false,
            autojoin: false,
            preferred: None,
            tracked: true,
            own_vmac: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Prefix {
    pub ip: IpAddr,
    pub len: u8,
}

/// A route. Numbers are those of rtnetlink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    pub family: Family,
    pub destination: Prefix,
    /// `RTN_*`: unicast 1, local 2, broadcast 3, anycast 4, multicast 5, blackhole 6, unreachable 7,
    /// prohibit 8, throw 9, nat 10.
    pub kind: u8,
    pub src: Option<IpAddr>,
    pub from: Option<Prefix>,
    pub tos: u8,
    pub table: u32,
    pub protocol: u8,
    pub scope: Option<u8>,
    pub metric: Option<u32>,
    pub dev: Option<Arc<str>>,
    pub via: Option<IpAddr>,
    pub onlink: bool,
    pub encap: Option<Encap>,
    pub expires: Option<u32>,
    /// `RTAX_*` number and value, in ascending order of number.
    pub metrics: Vec<RouteMetric>,
    pub congctl: Option<Arc<str>>,
    /// `ICMPV6_ROUTER_PREF_*`.
    pub pref: Option<u8>,
    pub ttl_propagate: Option<bool>,
    pub realms: Option<u32>,
    pub next_hops: Vec<NextHop>,
    pub insert: Insert,
    pub tracked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RouteMetric {
    pub rtax: u16,
    pub value: u32,
    pub locked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Insert {
    Add,
    Prepend,
    Append,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextHop {
    pub via: Option<IpAddr>,
    pub dev: Option<Arc<str>>,
    /// 1..=256.
    pub weight: u16,
    pub onlink: bool,
    pub encap: Option<Encap>,
    pub realms: Option<u32>,
}

/// Lightweight tunnel of a route or next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Encap {
    Ip {
        id: Option<u64>,
        dst: Option<IpAddr>,
        src: Option<IpAddr>,
        tos: Option<u8>,
        ttl: Option<u8>,
        flags: Option<u16>,
    },
    Ip6 {
        id: Option<u64>,
        dst: Option<IpAddr>,
        src: Option<IpAddr>,
        tc: Option<u8>,
        hop_limit: Option<u8>,
        flags: Option<u16>,
    },
    Mpls {
        labels: Vec<u32>,
    },
    Ila {
        locator: u64,
    },
}

/// A policy rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    pub family: Family,
    pub invert: bool,
    pub from: Option<Prefix>,
    pub to: Option<Prefix>,
    pub priority: u32,
    pub tos: u8,
    pub fwmark: Option<(u32, Option<u32>)>,
    pub realms: Option<u32>,
    pub suppress_prefix_len: Option<u32>,
    pub suppress_group: Option<u32>,
    pub iif: Option<Arc<str>>,
    pub oif: Option<Arc<str>>,
    pub tunnel_id: Option<u64>,
    pub uid_range: Option<(u32, u32)>,
    pub l3mdev: bool,
    pub protocol: u8,
    pub ip_proto: Option<u8>,
    pub sport: Option<(u16, u16)>,
    pub dport: Option<(u16, u16)>,
    pub action: RuleAction,
    pub tracked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RuleAction {
    Table(u32),
    Goto(u32),
    Nop,
    Blackhole,
    Unreachable,
    Prohibit,
}
