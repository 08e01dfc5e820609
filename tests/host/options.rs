//! Every option of a route and a rule, told to the kernel and read back with `ip`.

use std::net::IpAddr;
use std::sync::Arc;

use buoy::host::desired::{Encap, Insert, NextHop, PROTOCOL, Prefix, Route, RouteMetric, Rule, RuleAction};
use buoy::host::{HostConfig, Items};
use buoy_vrrp::Family;

use crate::bench::{Bench, address, has, in_namespace, ip, pair};

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    let (ip, len) = text.split_once('/').unwrap();
    Prefix { ip: addr(ip), len: len.parse().unwrap() }
}

fn route(destination: &str) -> Route {
    let destination = prefix(destination);
    Route {
        family: Family::of(destination.ip),
        destination,
        kind: 1,
        src: None,
        from: None,
        tos: 0,
        table: 254,
        protocol: PROTOCOL,
        scope: None,
        metric: None,
        dev: None,
        via: None,
        onlink: false,
        encap: None,
        expires: None,
        metrics: Vec::new(),
        congctl: None,
        pref: None,
        ttl_propagate: None,
        realms: None,
        next_hops: Vec::new(),
        insert: Insert::Prepend,
        tracked: true,
    }
}

pub(crate) fn via(destination: &str, gateway: &str) -> Route {
    Route { via: Some(addr(gateway)), ..route(destination) }
}

fn hop(gateway: &str, weight: u16) -> NextHop {
    NextHop {
        via: Some(addr(gateway)),
        dev: Some("uplink".into()),
        weight,
        onlink: false,
        encap: None,
        realms: None,
    }
}

fn metric(rtax: u16, value: u32) -> RouteMetric {
    RouteMetric { rtax, value, locked: false }
}

pub(crate) fn rule(priority: u32, action: RuleAction) -> Rule {
    Rule {
        family: Family::V4,
        invert: false,
        from: None,
        to: None,
        priority,
        tos: 0,
        fwmark: None,
        realms: None,
        suppress_prefix_len: None,
        suppress_group: None,
        iif: None,
        oif: None,
        tunnel_id: None,
        uid_range: None,
        l3mdev: false,
        protocol: PROTOCOL,
        ip_proto: None,
        sport: None,
        dport: None,
        action,
        tracked: true,
    }
}

pub(crate) fn ground() -> Vec<buoy::host::desired::Address> {
    vec![address("10.0.0.1/24", "uplink"), address("fd00::1/64", "uplink")]
}

/// Installs `items`, expects what `shown` reads to have all of `lines`, and that nothing differs afterwards, that
/// a new process adopts everything, and that a withdrawal leaves nothing.
fn round_trip(items: &Items, shown: &dyn Fn() -> String, lines: &[&str]) {
    let before = shown();
    let mut bench = Bench::new();
    bench.install("main", items.clone(), None);
    let text = shown();
    for line in lines {
        let found = text.lines().any(|shown| line.split(' ').all(|word| shown.contains(word)));
        assert!(found, "{line} not in\n{text}");
    }
    bench.handle.install(&"main".into(), Arc::new(items.clone()), None);
    assert_eq!(bench.changes_of_step(), 0);
    // Make it doubt everything: what the kernel shows is recognised.
    pair("elsewhere");
    ip("link del elsewhere");
    bench.step();
    assert_eq!(bench.losses(), [] as [String; 0]);
    drop(bench);
    let mut next = Bench::new();
    next.handle.install(&"main".into(), Arc::new(items.clone()), None);
    assert_eq!(next.changes_of_step(), 0, "a restart would touch\n{text}");
    next.handle.withdraw(&"main".into());
    next.step();
    assert_eq!(shown(), before);
}

/// One line per route, in an order that does not depend on what happened before, and without those that the
/// kernel makes for every IPv6 interface.
pub(crate) fn show_routes() -> String {
    let both = ip("-d -4 route show table all") + &ip("-d -6 route show table all");
    let joined = both.replace("\n\tnexthop", " nexthop");
    let made = |line: &&str| line.contains("fe80::") || line.contains("ff00::/8");
    let mut lines: Vec<&str> = joined.lines().filter(|line| !made(line)).collect();
    lines.sort_unstable();
    lines.join("\n")
}

pub(crate) fn show_rules() -> String {
    ip("-d -4 rule show") + &ip("-d -6 rule show")
}

#[test]
fn plain_routes_of_either_family() {
    in_namespace(|| {
        let mut source = via("10.1.0.0/16", "10.0.0.2");
        source.src = Some(addr("10.0.0.1"));
        source.metric = Some(50);
        source.tos = 8;
        let mut direct = route("10.2.0.0/16");
        direct.dev = Some("uplink".into());
        direct.protocol = 4;
        direct.insert = Insert::Add;
        let mut table = via("0.0.0.0/0", "10.0.0.2");
        table.table = 1000;
        table.insert = Insert::Append;
        let mut onlink = via("10.3.0.0/16", "192.0.2.1");
        onlink.onlink = true;
        onlink.dev = Some("uplink".into());
        let mut mixed = via("10.4.0.0/16", "fd00::2");
        mixed.dev = Some("uplink".into());
        let mut black = route("10.5.0.0/16");
        black.kind = 6;
        let mut local = route("10.6.0.1/32");
        (local.kind, local.dev, local.table) = (2, Some("uplink".into()), 255);
        let mut realm = via("10.7.0.0/16", "10.0.0.2");
        realm.realms = Some(3 << 16 | 4);
        let mut ttl = via("10.8.0.0/16", "10.0.0.2");
        ttl.ttl_propagate = Some(true);
        let mut scoped = route("10.9.0.0/16");
        (scoped.scope, scoped.dev) = (Some(200), Some("uplink".into()));
        let mut kinds: Vec<Route> = Vec::new();
        for (at, kind) in [(0, 7), (1, 8), (2, 9)] {
            let mut special = route(&format!("10.10.{at}.0/24"));
            special.kind = kind;
            kinds.push(special);
        }
        let mut six = via("fd01::/64", "fd00::2");
        (six.metric, six.pref, six.src) = (Some(77), Some(1), Some(addr("fd00::1")));
        let mut from = via("fd02::/64", "fd00::2");
        from.from = Some(prefix("fd03::/64"));
        let mut expiring = via("fd04::/64", "fd00::2");
        expiring.expires = Some(600);
        let mut default = via("::/0", "fd00::2");
        default.pref = Some(3);
        let routes = [
            vec![source, direct, table, onlink, mixed, black, local, realm, ttl, scoped],
            kinds,
            vec![six, from, expiring, default],
        ]
        .concat();
        let items = Items { addresses: ground(), routes, rules: Vec::new() };
        let lines = [
            "10.1.0.0/16 tos|0x08 via 10.0.0.2 dev uplink proto 112 src 10.0.0.1 metric 50",
            "10.2.0.0/16 dev uplink proto static scope link",
            "default via 10.0.0.2 table 1000",
            "10.3.0.0/16 via 192.0.2.1 onlink",
            "10.4.0.0/16 via inet6 fd00::2",
            "blackhole 10.5.0.0/16",
            "local 10.6.0.1 scope host",
            "10.7.0.0/16 realms 3/4",
            "10.8.0.0/16 via 10.0.0.2",
            "10.9.0.0/16 scope site",
            "unreachable 10.10.0.0/24",
            "prohibit 10.10.1.0/24",
            "throw 10.10.2.0/24",
            "fd01::/64 via fd00::2 src fd00::1 metric 77 pref high",
            "fd02::/64 from fd03::/64 via fd00::2",
            "fd04::/64 expires",
            "default via fd00::2 metric 1024 pref low",
        ]
        .map(|line| line.replace("tos|", ""));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        round_trip(&items, &show_routes, &lines);
    });
}

#[test]
fn multipath_routes() {
    in_namespace(|| {
        let mut four = route("10.1.0.0/16");
        let (mut first, mut second) = (hop("10.0.0.2", 3), hop("192.0.2.1", 256));
        first.realms = Some(7);
        second.onlink = true;
        second.encap = Some(Encap::Ip {
            id: Some(9),
            dst: Some(addr("192.0.2.9")),
            src: None,
            tos: None,
            ttl: Some(64),
            flags: None,
        });
        four.next_hops = vec![first, second];
        let mut six = route("fd01::/64");
        six.next_hops = vec![hop("fd00::2", 1), hop("fd00::3", 5)];
        let mut alone = route("10.2.0.0/16");
        alone.next_hops = vec![hop("10.0.0.2", 9)];
        let mut unreachable = route("fd02::/64");
        unreachable.kind = 7;
        let routes = vec![four, six, alone, unreachable];
        let items = Items { addresses: ground(), routes, rules: Vec::new() };
        let lines = [
            "10.2.0.0/16 via 10.0.0.2 dev uplink",
            "unreachable fd02::/64",
            "10.1.0.0/16 via 10.0.0.2 weight 3 realm 7 192.0.2.1 weight 256 onlink encap id 9",
            "fd01::/64 fd00::2 weight 1 fd00::3 weight 5",
        ];
        round_trip(&items, &show_routes, &lines);
    });
}

#[test]
fn encapsulations() {
    in_namespace(|| {
        let mut four = via("10.1.0.0/16", "10.0.0.2");
        four.encap = Some(Encap::Ip {
            id: Some(1 << 40),
            dst: Some(addr("192.0.2.1")),
            src: Some(addr("192.0.2.2")),
            tos: Some(4),
            ttl: Some(9),
            flags: Some(4),
        });
        let mut six = via("fd01::/64", "fd00::2");
        six.encap = Some(Encap::Ip6 {
            id: Some(5),
            dst: Some(addr("fd09::1")),
            src: Some(addr("fd09::2")),
            tc: Some(8),
            hop_limit: Some(7),
            flags: Some(4),
        });
        let items = Items { addresses: ground(), routes: vec![four, six], rules: Vec::new() };
        let lines = [
            "10.1.0.0/16 encap ip id 1099511627776 src 192.0.2.2 dst 192.0.2.1 ttl 9 tos 4 key via 10.0.0.2",
            "fd01::/64 encap ip6 id 5 src fd09::2 dst fd09::1 hoplimit 7 tc 8 key",
        ];
        round_trip(&items, &show_routes, &lines);
    });
}

#[test]
fn route_metrics() {
    in_namespace(|| {
        let mut four = via("10.1.0.0/16", "10.0.0.2");
        let locked = |rtax, value| RouteMetric { rtax, value, locked: true };
        four.metrics = vec![
            locked(2, 1400),
            metric(3, 2000),
            metric(4, 800),
            metric(5, 400),
            metric(6, 12),
            metric(7, 10),
            metric(8, 1360),
            metric(9, 5),
            metric(10, 33),
            metric(11, 10),
            metric(12, 1),
            metric(13, 200),
            metric(14, 20),
            metric(15, 1),
            metric(17, 1),
        ];
        four.congctl = Some("cubic".into());
        let mut six = via("fd01::/64", "fd00::2");
        six.metrics = vec![locked(2, 1300), metric(10, 7)];
        let items = Items { addresses: ground(), routes: vec![four, six], rules: Vec::new() };
        let lines = [
            "10.1.0.0/16 mtu lock 1400 window 2000 rtt 100ms rttvar 100ms ssthresh 12 cwnd 10 advmss 1360 \
             reordering 5 hoplimit 33 initcwnd 10 features ecn rto_min 200ms initrwnd 20 quickack 1 congctl cubic \
             fastopen_no_cookie 1",
            "fd01::/64 mtu lock 1300 hoplimit 7",
        ];
        round_trip(&items, &show_routes, &lines);
    });
}

#[test]
fn every_selector_and_action_of_a_rule() {
    in_namespace(|| {
        let table = RuleAction::Table(1000);
        let mut ends = rule(100, table);
        (ends.from, ends.to, ends.invert) = (Some(prefix("10.0.0.0/8")), Some(prefix("10.2.0.0/16")), true);
        let mut mark = rule(101, RuleAction::Table(50));
        (mark.fwmark, mark.tos) = (Some((0x10, Some(0xff))), 8);
        let mut bare_mark = rule(102, table);
        bare_mark.fwmark = Some((7, None));
        let mut names = rule(103, table);
        (names.iif, names.oif) = (Some("uplink".into()), Some("absent".into()));
        let mut ports = rule(104, table);
        (ports.ip_proto, ports.sport, ports.dport) = (Some(6), Some((100, 200)), Some((80, 80)));
        let mut users = rule(105, table);
        (users.uid_range, users.tunnel_id) = (Some((5, 10)), Some(1 << 33));
        let mut suppress = rule(106, RuleAction::Table(254));
        (suppress.suppress_prefix_len, suppress.suppress_group) = (Some(8), Some(3));
        let mut realms = rule(107, table);
        (realms.realms, realms.protocol) = (Some(3 << 16 | 4), 200);
        let mut master = rule(108, RuleAction::Nop);
        master.l3mdev = true;
        master.action = RuleAction::Table(254);
        let mut six = rule(109, table);
        (six.family, six.from) = (Family::V6, Some(prefix("fd00::/64")));
        let mut any = rule(110, RuleAction::Blackhole);
        any.from = Some(prefix("0.0.0.0/0"));
        let rules = vec![
            ends,
            mark,
            bare_mark,
            names,
            ports,
            users,
            suppress,
            realms,
            master,
            six,
            any,
            rule(111, RuleAction::Goto(120)),
            rule(112, RuleAction::Nop),
            rule(113, RuleAction::Unreachable),
            rule(114, RuleAction::Prohibit),
        ];
        let items = Items { addresses: ground(), routes: Vec::new(), rules };
        let lines = [
            "100: not from 10.0.0.0/8 to 10.2.0.0/16 lookup 1000 proto 112",
            "101: tos fwmark 0x10/0xff lookup 50",
            "102: fwmark 0x7 lookup 1000",
            "103: iif uplink oif absent [detached]",
            "104: ipproto tcp sport 100-200 dport 80",
            "105: tun_id 8589934592 uidrange 5-10",
            "106: suppress_prefixlength 8 suppress_ifgroup 3",
            "107: realms 3/4 proto 200",
            "108: lookup [l3mdev-table]",
            "109: from fd00::/64 lookup 1000",
            "110: from all blackhole",
            "111: goto 120 [unresolved]",
            "112: nop",
            "113: unreachable",
            "114: prohibit",
        ];
        round_trip(&items, &show_rules, &lines);
    });
}

#[test]
fn what_this_kernel_cannot_do_is_refused_by_itself_alone() {
    in_namespace(|| {
        let mut labels = via("10.1.0.0/16", "10.0.0.2");
        labels.encap = Some(Encap::Mpls { labels: vec![100, 200] });
        let mut locator = via("fd01::/64", "fd00::2");
        locator.encap = Some(Encap::Ila { locator: 0x0001_0002_0003_0004 });
        let fine = via("10.2.0.0/16", "10.0.0.2");
        let items = Items { addresses: ground(), routes: vec![labels, locator, fine], rules: Vec::new() };
        let mut bench = Bench::new();
        bench.install("main", items, None);
        assert!(show_routes().contains("10.2.0.0/16 via 10.0.0.2"));
        assert_eq!(bench.losses(), [] as [String; 0]);
    });
}

#[test]
fn a_route_that_the_kernel_shows_in_another_form_is_neither_lost_nor_left_behind() {
    in_namespace(|| {
        let before = show_routes();
        // The kernel clears the host bits of an IPv6 destination.
        let sloppy = via("fd01::5/64", "fd00::2");
        let items = Items { addresses: ground(), routes: vec![sloppy], rules: Vec::new() };
        let mut bench = Bench::new();
        bench.install("main", items, None);
        assert!(show_routes().contains("fd01::/64 via fd00::2"));
        ip("route add 10.77.0.0/16 dev uplink proto 112");
        ip("route del 10.77.0.0/16");
        bench.step();
        assert_eq!(bench.losses(), [] as [String; 0]);
        bench.handle.withdraw(&"main".into());
        bench.step();
        assert_eq!(show_routes(), before);
    });
}

#[test]
fn deleted_routes_and_rules_of_a_master_are_reported_at_once() {
    in_namespace(|| {
        let mut chosen = rule(100, RuleAction::Table(1000));
        chosen.from = Some(prefix("10.0.0.0/8"));
        let items = Items {
            addresses: ground(),
            routes: vec![via("10.1.0.0/16", "10.0.0.2"), via("fd01::/64", "fd00::2")],
            rules: vec![chosen],
        };
        let mut bench = Bench::new();
        bench.install("main", items.clone(), None);
        bench.losses();
        ip("route del 10.1.0.0/16");
        bench.step();
        assert_eq!(bench.losses(), ["route 10.1.0.0/16 via 10.0.0.2 table 254"]);
        ip("-6 route del fd01::/64");
        bench.step();
        assert_eq!(bench.losses(), ["route fd01::/64 via fd00::2 table 254"]);
        ip("rule del pref 100");
        bench.step();
        assert_eq!(bench.losses(), ["rule IPv4 preference 100 from 10.0.0.0/8 table 1000"]);
        // Foreign routes are nobody's business.
        ip("route add 10.77.0.0/16 dev uplink");
        ip("route del 10.77.0.0/16");
        bench.step();
        assert_eq!(bench.losses(), [] as [String; 0]);
        bench.install("main", items, None);
        assert!(show_routes().contains("10.1.0.0/16 via") && show_rules().contains("lookup 1000"));
    });
}

#[test]
fn static_routes_and_rules_are_put_back_and_removed_at_the_end() {
    in_namespace(|| {
        let (routes, rules) = (show_routes(), show_rules());
        let mut untracked = via("10.1.0.0/16", "10.0.0.2");
        untracked.protocol = 4;
        let statics = Arc::new(Items {
            addresses: ground(),
            routes: vec![untracked],
            rules: vec![rule(100, RuleAction::Table(1000))],
        });
        let mut bench = Bench::new();
        bench.handle.configure(Arc::new(HostConfig { statics, ..HostConfig::default() }));
        bench.step();
        ip("route del 10.1.0.0/16");
        ip("rule del pref 100");
        bench.step();
        let shown = show_routes();
        assert!(shown.contains("10.1.0.0/16 via 10.0.0.2 dev uplink table main proto static"), "{shown}");
        assert!(show_rules().contains("lookup 1000"));
        ip("link set uplink down");
        bench.step();
        ip("link set uplink up");
        bench.step();
        assert!(show_routes().contains("10.1.0.0/16 via 10.0.0.2"));
        bench.stop();
        assert_eq!((show_routes(), show_rules()), (routes, rules));
    });
}

#[test]
fn routes_that_go_with_an_address_of_ours_come_back_unasked() {
    in_namespace(|| {
        let gateway = address("10.0.0.1/24", "uplink");
        let mut sourced = via("10.1.0.0/16", "10.0.0.2");
        sourced.src = Some(addr("10.0.0.9"));
        let extra = address("10.0.0.9/32", "second");
        let before = Items {
            addresses: vec![gateway.clone(), extra],
            routes: vec![sourced.clone()],
            rules: Vec::new(),
        };
        let after = Items {
            addresses: vec![gateway, address("10.0.0.9/24", "uplink")],
            routes: vec![sourced],
            rules: Vec::new(),
        };
        let mut bench = Bench::new();
        bench.install("main", before, None);
        assert!(show_routes().contains("10.1.0.0/16"));
        bench.install("main", after, None);
        assert!(has("uplink", "10.0.0.9/24"));
        assert!(show_routes().contains("10.1.0.0/16"), "{}", show_routes());
        assert_eq!(bench.losses(), [] as [String; 0]);
    });
}
