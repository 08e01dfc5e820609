//! Blocks that hold a list: one entry per line, or names.

/// What the lines of such a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entries {
    /// Any number of names on every line.
    Names,
    VirtualAddresses,
    StaticAddresses,
    VirtualRoutes,
    StaticRoutes,
    VirtualRules,
    StaticRules,
    /// `ADDR [min_ttl N] [max_ttl N]`.
    Peers,
    /// `NAME [weight N [reverse|noreverse]]`; the number bounds the weight.
    Tracks(i64),
    /// `IFNAME DOWN [UP]`.
    LinkDelays,
    /// `IFNAME [MII|ETHTOOL|IOCTL]`.
    Linkbeat,
    /// Addresses, ranges and marks of a `virtual_server_group`.
    GroupMembers,
    /// Addresses and ranges of a `local_address_group`, each perhaps with an interface.
    LocalAddresses,
}

const ADDRESS: &[&str] = &[
    "brd",
    "broadcast",
    "dev",
    "scope",
    "label",
    "peer",
    "home",
    "-nodad",
    "mngtmpaddr",
    "noprefixroute",
    "autojoin",
    "no_track",
    "preferred_lft",
];

const ROUTE: &[&str] = &[
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "throw",
    "unreachable",
    "prohibit",
    "blackhole",
    "nat",
    "to",
    "default",
    "any",
    "all",
    "default6",
    "inet",
    "inet6",
    "src",
    "via",
    "gw",
    "or",
    "from",
    "tos",
    "dsfield",
    "table",
    "protocol",
    "scope",
    "metric",
    "priority",
    "preference",
    "dev",
    "oif",
    "onlink",
    "encap",
    "expires",
    "mtu",
    "advmss",
    "rtt",
    "rttvar",
    "reordering",
    "cwnd",
    "ssthresh",
    "rto_min",
    "window",
    "hoplimit",
    "realms",
    "initcwnd",
    "initrwnd",
    "features",
    "quickack",
    "congctl",
    "pref",
    "ttl-propagate",
    "fastopen_no_cookie",
    "add",
    "prepend",
    "append",
    "vrf",
    "nexthop",
    "no_track",
    "weight",
];

const RULE: &[&str] = &[
    "inet",
    "inet6",
    "from",
    "to",
    "table",
    "lookup",
    "not",
    "preference",
    "priority",
    "order",
    "tos",
    "dsfield",
    "fwmark",
    "realms",
    "suppress_prefixlength",
    "sup_pl",
    "suppress_ifgroup",
    "sup_group",
    "dev",
    "iif",
    "oif",
    "tunnel-id",
    "uidrange",
    "l3mdev",
    "protocol",
    "ipproto",
    "ip_proto",
    "sport",
    "dport",
    "goto",
    "nop",
    "blackhole",
    "unreachable",
    "prohibit",
    "type",
    "no_track",
];

impl Entries {
    /// The option words that may stand in an entry.
    pub(crate) fn options(self) -> impl Iterator<Item = &'static str> {
        let (list, more): (&[&str], &[&str]) = match self {
            Self::VirtualAddresses => (ADDRESS, &["use_vmac"]),
            Self::StaticAddresses => (ADDRESS, &["track_group"]),
            Self::VirtualRoutes => (ROUTE, &[]),
            Self::StaticRoutes => (ROUTE, &["track_group"]),
            Self::VirtualRules => (RULE, &[]),
            Self::StaticRules => (RULE, &["track_group"]),
            Self::Peers => (&["min_ttl", "max_ttl"], &[]),
            Self::Tracks(_) => (&["weight", "reverse", "noreverse"], &[]),
            Self::Linkbeat => (&["MII", "ETHTOOL", "IOCTL"], &[]),
            Self::GroupMembers => (&["fwmark", "inet", "inet6"], &[]),
            Self::Names | Self::LinkDelays | Self::LocalAddresses => (&[], &[]),
        };
        list.iter().chain(more).copied()
    }

    /// Whether a line may hold several entries.
    pub(crate) const fn many_per_line(self) -> bool {
        matches!(self, Self::Names)
    }
}
