//! Who takes packets there.

use std::sync::Arc;
use std::time::Instant;

use buoy_ipvs::io::next_hop::{NextHop, NextHopIndex, NextHops};
use buoy_ipvs::io::ways::{Changed, LinkLayer, Ways};

use crate::director::{CAPACITY, Director, address};
use crate::host::may_run;

fn to_server(director: &Director) -> NextHop {
    NextHop {
        interface: director.lan,
        destination: Director::mac(&director.server, "eth0"),
        source: Director::mac(&director.host, "lan"),
        mtu: 1500,
    }
}

#[test]
fn a_neighbour_that_is_unknown_is_asked_for_and_becomes_known_by_one_write() {
    if !may_run() {
        return;
    }
    for destination in ["10.0.0.5", "fd00::5"] {
        let mut director = Director::new();
        // Addresses were checked for with packets of their own.
        director.host.ip("neighbour flush all");
        assert_eq!(director.way_to(destination).link_layer, LinkLayer::Pending, "{destination}");
        let index = director.known(destination);
        assert_eq!(director.writes.take(), [(index, Some(to_server(&director)))], "{destination}");
    }
}

#[test]
fn a_neighbour_with_another_address_is_one_write() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    let index = director.known("10.0.0.5");
    let way = director.way_to("10.0.0.5");
    assert_eq!(director.ways.hold(&way), Some(index));
    director.known("fd00::5");
    director.writes.take();
    director.host.ip("neighbour replace 10.0.0.5 lladdr 02:00:00:00:00:99 dev lan nud reachable");
    let moved = NextHop { destination: [2, 0, 0, 0, 0, 0x99], ..to_server(&director) };
    let changed = director.wait_until(|director| director.ways.next_hops().get(index) == Some(&moved));
    assert_eq!(director.writes.take(), [(index, Some(moved))]);
    assert_eq!(changed, [Changed::Neighbour(index)]);
}

#[test]
fn the_array_of_the_programs_says_what_is_known() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    let array = Arc::new(NextHops::create(CAPACITY).unwrap());
    let index = director.known("10.0.0.5");
    // The neighbour is known by now, so that it is written at once.
    let open = || Ways::open(CAPACITY, Arc::clone(&array), Instant::now());
    let mut ways = director.host.run(open).unwrap();
    let way = ways.way_to(address("10.0.0.5"), 0, None).unwrap();
    assert_eq!(way.link_layer, LinkLayer::Known(index));
    assert_eq!(array.get(index).unwrap(), Some(to_server(&director)));
}

#[test]
fn a_neighbour_that_stops_answering_is_pending_and_known_again_when_it_returns() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    for (key, value) in [("delay_first_probe_time", "0"), ("retrans_time_ms", "50")] {
        director.host.sysctl(&format!("net/ipv4/neigh/lan/{key}"), value);
    }
    let index = director.known("10.0.0.5");
    let way = director.way_to("10.0.0.5");
    director.ways.hold(&way).unwrap();
    director.writes.take();
    director.server.ip("address del 10.0.0.5/24 dev eth0");
    director.host.ip("neighbour change 10.0.0.5 dev lan nud stale");
    director.wait_until(|director| director.way_to("10.0.0.5").link_layer == LinkLayer::Pending);
    assert_eq!(director.writes.take(), [(index, None)]);
    director.server.ip("address add 10.0.0.5/24 dev eth0");
    assert_eq!(director.known("10.0.0.5"), index);
    assert_eq!(director.writes.take(), [(index, Some(to_server(&director)))]);
}

#[test]
fn a_stale_neighbour_in_use_is_confirmed_without_traffic_of_the_kernel() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    director.host.sysctl("net/ipv4/neigh/lan/delay_first_probe_time", "0");
    director.known("10.0.0.5");
    director.writes.take();
    director.host.ip("neighbour change 10.0.0.5 dev lan nud stale");
    director.wait_until(|director| director.host.ip("neighbour show 10.0.0.5").contains("REACHABLE"));
    assert_eq!(director.writes.take(), []);
}

#[test]
fn a_neighbour_that_nobody_is_stays_pending_until_somebody_is() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    assert_eq!(director.way_to("10.0.0.66").link_layer, LinkLayer::Pending);
    director.wait_until(|director| director.host.ip("neighbour show 10.0.0.66").contains("FAILED"));
    assert_eq!(director.writes.take(), []);
    director.server.ip("address add 10.0.0.66/24 dev eth0");
    director.known("10.0.0.66");
}

#[test]
fn an_interface_that_is_down_makes_its_neighbours_pending() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    let index = director.known("10.0.0.5");
    director.writes.take();
    director.host.ip("link set lan down");
    director.wait_until(|director| director.ways.next_hops().get(index).is_none());
    assert_eq!(director.writes.take(), [(index, None)]);
    // The route is gone with it.
    assert_eq!(director.way_to("10.0.0.5").interface, director.wan);
    director.host.ip("link set lan up");
    director.host.wait_for("lan");
    assert_eq!(director.known("10.0.0.5"), index);
    assert_eq!(director.way_to("10.0.0.5").interface, director.lan);
}

#[test]
fn another_mtu_is_one_write() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    let index = director.known("10.0.0.5");
    director.writes.take();
    director.host.ip("link set lan mtu 1400");
    director.wait_until(|director| director.way_to("10.0.0.5").mtu == 1400);
    assert_eq!(director.writes.take(), [(index, Some(NextHop { mtu: 1400, ..to_server(&director) }))]);
}

#[test]
fn a_route_with_an_mtu_has_a_next_hop_of_its_own() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    director.host.ip("route add 203.0.113.0/24 via 192.0.2.254 mtu 1280");
    director.wait_until(|director| director.way_to("203.0.113.1").mtu == 1280);
    let (wide, narrow) = (director.known("198.51.100.7"), director.known("203.0.113.1"));
    let mtu = |index: NextHopIndex| director.ways.next_hops().get(index).unwrap().mtu;
    assert_eq!((mtu(wide), mtu(narrow)), (1500, 1280));
}

#[test]
fn nothing_is_known_of_neighbours_without_link_layer_addresses() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    director.host.ip("tuntap add dev bare mode tun");
    director.host.ip("link set bare up");
    director.host.ip("route add 203.0.113.0/24 dev bare");
    let bare = director.host.index_of("bare");
    director.wait_until(|director| director.way_to("203.0.113.1").interface == bare);
    let way = director.way_to("203.0.113.1");
    assert_eq!((way.link_layer, director.ways.hold(&way)), (LinkLayer::Absent, None));
}

#[test]
fn without_arp_the_interfaces_own_address_is_the_neighbours() {
    if !may_run() {
        return;
    }
    let mut director = Director::new();
    director.host.ip("link set lan arp off");
    director.wait_until(|director| !director.host.ip("-4 neighbour show dev lan").contains("lladdr"));
    let own = Director::mac(&director.host, "lan");
    let reached = |director: &mut Director| match director.way_to("10.0.0.9").link_layer {
        LinkLayer::Known(index) => {
            director.ways.next_hops().get(index).is_some_and(|hop| hop.destination == own)
        }
        _ => false,
    };
    director.wait_until(reached);
}
