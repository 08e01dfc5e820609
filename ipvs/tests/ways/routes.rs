//! Where packets go.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use buoy_ipvs::engine::address::Address;
use buoy_ipvs::io::ways::{Changed, Kind, LinkLayer};

use crate::director::{Director, address};
use crate::host::may_run;

#[test]
fn hosts_on_the_wire_are_their_own_neighbours_and_others_behind_a_gateway() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    let (lan, wan) = (director.lan, director.wan);
    for (destination, interface, neighbour, source) in [
        ("10.0.0.5", lan, "10.0.0.5", "10.0.0.1"),
        ("fd00::5", lan, "fd00::5", "fd00::1"),
        ("198.51.100.7", wan, "192.0.2.254", "192.0.2.1"),
        ("2001:db8:1::7", wan, "2001:db8::fe", "2001:db8::1"),
    ] {
        let way = director.way_to(destination);
        assert_eq!((way.kind, way.interface, way.mtu), (Kind::Unicast, interface, 1500), "{destination}");
        assert_eq!((way.neighbour, way.source), (address(neighbour), Some(address(source))), "{destination}");
    }
}

#[test]
fn a_gateway_of_the_other_family_is_the_neighbour() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    director.host.ip("route add 203.0.113.0/24 via inet6 2001:db8::fe");
    director.wait_until(|director| director.way_to("203.0.113.1").neighbour == address("2001:db8::fe"));
}

#[test]
fn what_goes_nowhere_says_why() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    for kind in ["blackhole", "prohibit", "unreachable"] {
        director.host.ip(&format!("route add {kind} 10.9.{}.0/24", kind.len()));
        director.host.ip(&format!("route add {kind} fd09:{}::/64", kind.len()));
    }
    for (destination, kind) in [
        ("10.9.9.1", Kind::Blackhole),
        ("10.9.8.1", Kind::Prohibit),
        ("10.9.11.1", Kind::Unreachable),
        ("fd09:9::1", Kind::Blackhole),
        ("fd09:8::1", Kind::Prohibit),
        ("10.0.0.255", Kind::Unreachable),
        ("10.0.0.1", Kind::Local),
        ("127.0.0.1", Kind::Local),
        ("fd00::1", Kind::Local),
        ("::1", Kind::Local),
    ] {
        let way = director.way_to(destination);
        assert_eq!((way.kind, way.link_layer), (kind, LinkLayer::Absent), "{destination}");
    }
    assert!(director.ways.is_local(address("10.0.0.1")) && !director.ways.is_local(address("10.0.0.5")));
}

#[test]
fn rules_by_mark_and_by_source_choose_tables() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    for family in ["-4", "-6"] {
        let gateway = if family == "-4" { "10.0.0.5" } else { "fd00::5" };
        director.host.ip(&format!("{family} route add default via {gateway} table 100"));
        director.host.ip(&format!("{family} rule add fwmark 0x10/0xf0 lookup 100"));
    }
    director.host.ip("-4 rule add from 192.0.2.1 lookup 100");
    director.wait_until(|director| {
        director.way_by("198.51.100.7", 0, Some("192.0.2.1")).interface == director.lan
    });
    let (lan, wan) = (director.lan, director.wan);
    for (destination, mark, from, interface) in [
        ("198.51.100.7", 0, None, wan),
        ("198.51.100.7", 0x10, None, lan),
        ("198.51.100.7", 0x1f, None, lan),
        ("198.51.100.7", 0x20, None, wan),
        ("198.51.100.7", 0, Some("192.0.2.1"), lan),
        ("198.51.100.7", 0, Some("10.0.0.1"), wan),
        // Of a client.
        ("198.51.100.7", 0, Some("203.0.113.9"), wan),
        ("2001:db8:1::7", 0, None, wan),
        ("2001:db8:1::7", 0x10, Some("fd00::1"), lan),
        ("10.0.0.5", 0x20, None, lan),
    ] {
        let way = director.way_by(destination, mark, from);
        assert_eq!(way.interface, interface, "{destination}, mark {mark:x}, from {from:?}");
    }
    director.host.ip("-4 rule del fwmark 0x10/0xf0 lookup 100");
    director.wait_until(|director| director.way_by("198.51.100.7", 0x10, None).interface == director.wan);
}

#[test]
fn a_route_that_is_replaced_is_told_and_leads_elsewhere() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    assert_eq!(director.way_to("198.51.100.7").interface, director.wan);
    director.host.ip("route replace default via 10.0.0.5");
    let changed = director.wait_until(|director| director.way_to("198.51.100.7").interface == director.lan);
    assert!(changed.contains(&Changed::Routes), "{changed:?}");
    director.host.ip("route add 198.51.100.0/24 via 192.0.2.254");
    director.wait_until(|director| director.way_to("198.51.100.7").interface == director.wan);
    director.host.ip("route del 198.51.100.0/24");
    director.wait_until(|director| director.way_to("198.51.100.7").interface == director.lan);
}

#[test]
fn a_hundred_thousand_clients_behind_a_gateway_are_one_question() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    let before = director.ways.questions_asked();
    for client in 0..100_000 {
        let way = director.ways.way_to(Address::v4(0xc600_0000 + client), 0, None).unwrap();
        assert_eq!(way.neighbour, address("192.0.2.254"));
    }
    assert_eq!(director.ways.questions_asked(), before + 1);
    assert_eq!(director.ways.next_hops().len(), 1);
}

#[test]
fn clients_are_spread_over_several_gateways_as_the_kernel_spreads_them() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    for (network, gateways) in [
        ("198.51.0.0/16", ["192.0.2.253", "192.0.2.254"]),
        ("2001:db8:2::/48", ["2001:db8::fd", "2001:db8::fe"]),
    ] {
        let [first, second] = gateways;
        director.host.ip(&format!("route add {network} nexthop via {first} nexthop via {second}"));
        let clients = if network.contains(':') { "2001:db8:2::" } else { "198.51.100." };
        director.wait_until(|director| {
            let ways = (1..50).map(|host| director.way_to(&format!("{clients}{host}")).neighbour);
            ways.collect::<BTreeSet<_>>() == gateways.map(address).into()
        });
        for host in 1..10 {
            let destination = format!("{clients}{host}");
            let way = director.way_to(&destination);
            let said = director.host.ip(&format!("route get {destination}"));
            assert!(said.contains(&format!("via {} ", way.neighbour)), "{said}");
        }
    }
}

#[test]
fn a_next_hop_object_that_is_replaced_moves_the_routes_that_name_it() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    // As routing daemons have it: what a route's object is, only the object tells.
    director.host.sysctl("net/ipv4/nexthop_compat_mode", "0");
    director.host.ip("nexthop add id 1 via 192.0.2.253 dev wan");
    director.host.ip("route add 203.0.113.0/24 nhid 1");
    director.wait_until(|director| director.way_to("203.0.113.1").neighbour == address("192.0.2.253"));
    director.host.ip("nexthop replace id 1 via 192.0.2.252 dev wan");
    let changed =
        director.wait_until(|director| director.way_to("203.0.113.1").neighbour == address("192.0.2.252"));
    assert!(changed.contains(&Changed::Routes), "{changed:?}");
}

#[test]
fn a_path_mtu_that_the_kernel_has_learned_is_that_of_the_host_alone() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    let router = &director.router;
    router.sysctl("net/ipv4/ip_forward", "1");
    router.ip("link add narrow mtu 1300 type veth peer name end");
    router.ip("link set narrow up");
    router.ip("link set end up");
    router.ip("route add 198.51.100.0/24 dev narrow");
    // What does not fit and must not be parted is answered by the router, and later ones are parted here.
    let socket = director.host.run(|| UdpSocket::bind("192.0.2.1:0")).unwrap();
    let since = Instant::now();
    while !director.host.ip("route get 198.51.100.7").contains("mtu 1300") {
        assert!(since.elapsed() < Duration::from_secs(10), "no path MTU");
        socket.send_to(&[0; 1400], "198.51.100.7:9").unwrap();
    }
    assert_eq!(director.way_to("198.51.100.7").mtu, 1300);
    assert_eq!(director.way_to("198.51.100.8").mtu, 1500);
    assert_eq!(director.way_to("198.51.100.7").mtu, 1300);
}

#[test]
fn a_flood_of_events_that_were_lost_leaves_nothing_wrong() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    assert_eq!(director.way_to("10.200.0.1").interface, director.wan);
    let routes = (0..20_000u32).map(|number| {
        let network = IpAddr::from(Address::v4(0x0ac8_0000 + (number << 4)));
        format!("route add {network}/28 via 10.0.0.5\n")
    });
    let file = std::env::temp_dir().join(format!("buoy-ways-{}", std::process::id()));
    std::fs::write(&file, routes.collect::<String>()).unwrap();
    director.host.ip(&format!("-batch {}", file.display()));
    std::fs::remove_file(&file).unwrap();
    director.wait_until(|director| director.way_to("10.204.225.241").interface == director.lan);
    for number in (0..20_000).step_by(997) {
        let host = Address::v4(0x0ac8_0001 + (number << 4));
        assert_eq!(director.ways.way_to(host, 0, None).unwrap().interface, director.lan, "{host}");
    }
}
