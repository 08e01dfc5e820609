//! A host with two Ethernet interfaces, a TUN device and a kernel that is played by the test.

mod model;

use std::net::IpAddr;

use super::*;
use crate::io::ways::answers::Route;
use crate::io::ways::links::Link;
use crate::io::ways::{Kind, LinkLayer, Way};

const LAN: u32 = 2;
const WAN: u32 = 3;
const TUN: u32 = 4;
const NOARP: u32 = 5;
const CAPACITY: u32 = 64;

fn v4(text: &str) -> Address {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

fn prefix(text: &str) -> Prefix {
    let (address, len) = text.split_once('/').unwrap();
    Prefix::new(v4(address), len.parse().unwrap())
}

fn own(interface: u32) -> [u8; 6] {
    [2, 8, 0, 0, 0, u8::try_from(interface).unwrap()]
}

const fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

fn link(interface: u32) -> Link {
    let kind = match interface {
        TUN => LinkKind::Bare,
        NOARP => LinkKind::WithoutResolution(own(NOARP)),
        _ => LinkKind::Ethernet(own(interface)),
    };
    Link { running: true, mtu: 1500, kind }
}

fn next_hop(interface: u32, destination: [u8; 6]) -> NextHop {
    NextHop { interface, destination, source: own(interface), mtu: 1500 }
}

struct Host {
    topology: Topology,
    asked: u32,
    now: Instant,
}

impl Host {
    fn new() -> Self {
        let now = Instant::now();
        let mut host = Self { topology: Topology::new(CAPACITY, now), asked: 0, now };
        host.topology.begin_dump();
        for interface in [LAN, WAN, TUN, NOARP] {
            host.topology.handle(Event::Link { interface, link: link(interface) });
        }
        host.topology.handle(Event::Address { interface: LAN, address: v4("10.0.0.1") });
        for route in ["10.0.0.0/24", "0.0.0.0/0"] {
            host.add_route(route, Answer::Shared);
        }
        host.topology.end_dump();
        host.topology.take_changed();
        host
    }

    fn add_route(&mut self, text: &str, answer: Answer) {
        self.topology.handle(Event::Route { prefix: prefix(text), answer, by_source: false });
    }

    /// What the kernel answers, if it is asked.
    fn route(&self, destination: Address) -> Route {
        let (interface, gateway) = if prefix("10.0.0.0/24").contains(destination) {
            (LAN, None)
        } else {
            (WAN, Some(v4("192.0.2.254")))
        };
        Route { interface, gateway, source: None, ..Route::none(Kind::Unicast) }
    }

    fn way_to(&mut self, destination: &str) -> Way {
        let route = self.route(v4(destination));
        self.way_by(destination, 0, None, route)
    }

    fn way_by(&mut self, destination: &str, mark: u32, from: Option<&str>, route: Route) -> Way {
        match self.topology.look_up(v4(destination), mark, from.map(v4)) {
            Lookup::Known(way) => way,
            Lookup::Ask(question) => {
                self.asked += 1;
                self.topology.answer(&question, route)
            }
        }
    }

    fn neighbour(&mut self, interface: u32, address: &str, reachability: Reachability, last: u8) {
        let link_layer = (reachability != Reachability::Unresolved).then(|| mac(last));
        let neighbour = Neighbour { reachability, link_layer };
        self.topology.handle(Event::Neighbour { interface, address: v4(address), neighbour });
    }

    fn effects(&mut self) -> Vec<Effect> {
        let next = || {
            let effect = self.topology.poll_effect()?;
            if let Effect::Write { index, .. } = effect {
                self.topology.written(index);
            }
            Some(effect)
        };
        std::iter::from_fn(next).collect()
    }

    fn after(&mut self, time: Duration) -> Vec<Effect> {
        self.now += time;
        self.topology.handle_timeout(self.now);
        self.effects()
    }
}

fn resolve(interface: u32, neighbour: &str) -> Effect {
    Effect::Resolve { interface, neighbour: v4(neighbour) }
}

const fn write(index: u32, next_hop: Option<NextHop>) -> Effect {
    Effect::Write { index: NextHopIndex(index), next_hop }
}

#[test]
fn all_clients_behind_a_gateway_are_one_question_and_one_neighbour() {
    let mut host = Host::new();
    for client in 0..10_000u32 {
        let way = host.way_to(&IpAddr::from(Address::v4(0xc633_0000 + client)).to_string());
        assert_eq!((way.interface, way.neighbour), (WAN, v4("192.0.2.254")));
    }
    assert_eq!((host.asked, host.topology.next_hops().len()), (1, 1));
    assert_eq!(host.effects(), [resolve(WAN, "192.0.2.254")]);
}

#[test]
fn a_neighbour_is_asked_for_then_known_then_another_each_by_one_write() {
    let mut host = Host::new();
    assert_eq!(host.way_to("10.0.0.5").link_layer, LinkLayer::Pending);
    assert_eq!(host.effects(), [resolve(LAN, "10.0.0.5")]);

    host.neighbour(LAN, "10.0.0.5", Reachability::Confirmed, 5);
    assert_eq!(host.effects(), [write(0, Some(next_hop(LAN, mac(5))))]);
    assert_eq!(host.topology.take_changed(), [Changed::Neighbour(NextHopIndex(0))]);
    assert_eq!(host.way_to("10.0.0.5").link_layer, LinkLayer::Known(NextHopIndex(0)));

    host.neighbour(LAN, "10.0.0.5", Reachability::Confirmed, 6);
    assert_eq!(host.effects(), [write(0, Some(next_hop(LAN, mac(6))))]);
    assert_eq!(host.topology.take_changed(), [Changed::Neighbour(NextHopIndex(0))]);
    // Of others nothing is written.
    host.neighbour(LAN, "10.0.0.77", Reachability::Confirmed, 7);
    host.neighbour(LAN, "10.0.0.5", Reachability::Confirmed, 6);
    assert_eq!((host.effects(), host.topology.take_changed()), (vec![], vec![]));
    assert_eq!(host.asked, 1);
}

#[test]
fn a_neighbour_that_fails_is_pending_and_asked_for_every_second() {
    let mut host = Host::new();
    host.neighbour(LAN, "10.0.0.5", Reachability::Confirmed, 5);
    let way = host.way_to("10.0.0.5");
    assert_eq!(way.link_layer, LinkLayer::Known(NextHopIndex(0)));
    let index = host.topology.hold(&way).unwrap();
    host.effects();
    host.neighbour(LAN, "10.0.0.5", Reachability::Unresolved, 0);
    assert_eq!(host.effects(), [write(0, None)]);
    assert_eq!(host.way_to("10.0.0.5").link_layer, LinkLayer::Pending);
    // The owner is to be told first.
    assert!(host.topology.poll_timeout() <= host.now);
    assert_eq!(host.topology.take_changed(), [Changed::Neighbour(index)]);
    for _ in 0..3 {
        assert_eq!(host.topology.poll_timeout(), host.now + RETRY);
        assert_eq!(host.after(RETRY), [resolve(LAN, "10.0.0.5")]);
    }
    host.neighbour(LAN, "10.0.0.5", Reachability::Confirmed, 5);
    assert_eq!(host.effects(), [write(index.0, Some(next_hop(LAN, mac(5))))]);
    assert_eq!(host.after(RETRY), []);
}

#[test]
fn a_stale_neighbour_in_use_is_checked_and_one_that_the_kernel_forgets_keeps_its_address() {
    let mut host = Host::new();
    host.neighbour(LAN, "10.0.0.5", Reachability::Confirmed, 5);
    let way = host.way_to("10.0.0.5");
    host.topology.hold(&way).unwrap();
    host.effects();
    host.neighbour(LAN, "10.0.0.5", Reachability::Stale, 5);
    assert_eq!(host.effects(), [resolve(LAN, "10.0.0.5")]);
    assert_eq!(host.after(PERIOD), [resolve(LAN, "10.0.0.5")]);
    host.topology.handle(Event::NeighbourGone { interface: LAN, address: v4("10.0.0.5") });
    assert_eq!(host.effects(), [resolve(LAN, "10.0.0.5")]);
    assert_eq!(host.way_to("10.0.0.5").link_layer, LinkLayer::Known(NextHopIndex(0)));
    // Of one that nobody uses nothing is kept.
    host.neighbour(LAN, "10.0.0.6", Reachability::Stale, 6);
    host.topology.handle(Event::NeighbourGone { interface: LAN, address: v4("10.0.0.6") });
    assert_eq!(host.effects(), []);
    assert_eq!(host.way_to("10.0.0.6").link_layer, LinkLayer::Pending);
}

#[test]
fn neighbours_behind_an_interface_that_is_down_are_pending_until_it_is_up() {
    let mut host = Host::new();
    host.neighbour(LAN, "10.0.0.5", Reachability::Confirmed, 5);
    host.way_to("10.0.0.5");
    host.effects();
    host.topology.handle(Event::Link { interface: LAN, link: Link { running: false, ..link(LAN) } });
    assert_eq!(host.effects(), [write(0, None)]);
    assert_eq!(host.topology.take_changed(), [Changed::Routes, Changed::Neighbour(NextHopIndex(0))]);
    assert_eq!(host.way_to("10.0.0.5").link_layer, LinkLayer::Pending);
    assert_eq!(host.asked, 2);
    host.topology.handle(Event::Link { interface: LAN, link: link(LAN) });
    assert_eq!(host.effects(), [write(0, Some(next_hop(LAN, mac(5))))]);
    host.topology.handle(Event::LinkGone { interface: LAN });
    assert_eq!(host.effects(), [write(0, None)]);
}

#[test]
fn an_mtu_is_the_least_of_interface_and_route() {
    let mut host = Host::new();
    host.neighbour(LAN, "10.0.0.5", Reachability::Confirmed, 5);
    let route = host.route(v4("10.0.0.5"));
    assert_eq!(host.way_to("10.0.0.5").mtu, 1500);
    host.add_route("10.0.0.0/25", Answer::Shared);
    let narrow = host.way_by("10.0.0.5", 0, None, Route { mtu: Some(1400), ..route });
    assert_eq!((narrow.mtu, narrow.link_layer), (1400, LinkLayer::Known(NextHopIndex(1))));
    let known = next_hop(LAN, mac(5));
    assert_eq!(host.effects(), [write(0, Some(known)), write(1, Some(NextHop { mtu: 1400, ..known }))]);
    host.topology.handle(Event::Link { interface: LAN, link: Link { mtu: 1300, ..link(LAN) } });
    let small = Some(NextHop { mtu: 1300, ..known });
    assert_eq!(host.effects(), [write(0, small), write(1, small)]);
    assert_eq!(host.way_by("10.0.0.5", 0, None, Route { mtu: Some(1400), ..route }).mtu, 1300);
}

#[test]
fn interfaces_without_resolution_take_their_own_address_and_those_without_headers_none() {
    let mut host = Host::new();
    let by = |interface| Route { interface, ..Route::none(Kind::Unicast) };
    for route in ["10.1.0.0/16", "10.2.0.0/16"] {
        host.add_route(route, Answer::Shared);
    }
    let way = host.way_by("10.1.0.1", 0, None, by(NOARP));
    assert_eq!(way.link_layer, LinkLayer::Known(NextHopIndex(0)));
    assert_eq!(host.effects(), [write(0, Some(next_hop(NOARP, own(NOARP))))]);
    host.neighbour(NOARP, "10.1.0.1", Reachability::Confirmed, 9);
    assert_eq!(host.effects(), [write(0, Some(next_hop(NOARP, mac(9))))]);

    let way = host.way_by("10.2.0.1", 0, None, by(TUN));
    assert_eq!((way.link_layer, way.mtu), (LinkLayer::Absent, 1500));
    assert_eq!((host.topology.hold(&way), host.effects()), (None, vec![]));
}

#[test]
fn marks_and_sources_are_told_apart_only_where_rules_look_at_them() {
    let mut host = Host::new();
    let route = host.route(v4("198.51.100.7"));
    let asked = |host: &mut Host, mark, from| {
        let before = host.asked;
        host.way_by("198.51.100.7", mark, from, route);
        host.asked - before
    };
    assert_eq!(asked(&mut host, 1, Some("10.0.0.1")), 1);
    assert_eq!(asked(&mut host, 2, None), 0);
    host.topology.handle(Event::Rule { prefix: None, mark_mask: 0xf, by_source: false });
    for (mark, from, expected) in [(1, None, 1), (0x11, None, 0), (2, None, 1), (1, Some("10.0.0.1"), 0)] {
        assert_eq!(asked(&mut host, mark, from), expected, "mark {mark:x}, from {from:?}");
    }
    host.topology.handle(Event::Rule { prefix: None, mark_mask: 0, by_source: true });
    for (from, expected) in
        [(None, 1), (Some("10.0.0.1"), 1), (Some("10.0.0.1"), 0), (Some("203.0.113.1"), 0)]
    {
        assert_eq!(asked(&mut host, 1, from), expected, "from {from:?}");
    }
}

#[test]
fn what_differs_from_host_to_host_is_asked_for_each() {
    let mut host = Host::new();
    let gateway = host.route(v4("198.51.100.7"));
    let exception = Route { mtu: Some(1280), exception: true, ..gateway };
    assert_eq!(host.way_by("198.51.100.7", 0, None, exception).mtu, 1280);
    assert_eq!(host.way_to("198.51.100.8").mtu, 1500);
    assert_eq!(host.way_to("198.51.100.9").mtu, 1500);
    assert_eq!(host.way_to("198.51.100.7").mtu, 1280);
    assert_eq!(host.asked, 2);
    host.after(PERIOD);
    assert_eq!(host.way_to("198.51.100.7").mtu, 1500);

    host.add_route("203.0.113.0/24", Answer::PerHost);
    let asked = host.asked;
    for _ in 0..2 {
        for client in ["203.0.113.1", "203.0.113.2"] {
            host.way_to(client);
        }
    }
    assert_eq!(host.asked, asked + 2);
}

#[test]
fn a_path_mtu_that_was_learned_is_that_of_one_host_for_ten_minutes() {
    let mut host = Host::new();
    assert_eq!(host.way_to("198.51.100.7").mtu, 1500);
    host.topology.learn_path_mtu(v4("198.51.100.7"), 1400);
    assert_eq!(host.topology.take_changed(), [Changed::Routes]);
    for (told, mtu) in [(1450, 1400), (1300, 1300), (68, 552)] {
        host.topology.learn_path_mtu(v4("198.51.100.7"), told);
        assert_eq!(host.way_to("198.51.100.7").mtu, mtu, "told {told}");
    }
    host.topology.learn_path_mtu(v4("2001:db8::1"), 600);
    assert_eq!(host.way_to("2001:db8::1").mtu, 1280);
    assert_eq!(host.way_to("198.51.100.8").mtu, 1500);
    for _ in 0..19 {
        host.after(PERIOD);
    }
    assert_eq!(host.way_to("198.51.100.7").mtu, 552);
    host.after(PERIOD);
    assert_eq!(host.way_to("198.51.100.7").mtu, 1500);
}

#[test]
fn path_mtus_are_bounded() {
    let mut host = Host::new();
    for destination in 0..10_000 {
        host.topology.learn_path_mtu(Address::v4(destination), 1000);
        assert_eq!(host.way_to(&IpAddr::from(Address::v4(destination)).to_string()).mtu, 1000);
    }
    let narrow = (0..10_000).filter(|destination| {
        let text = IpAddr::from(Address::v4(*destination)).to_string();
        host.way_to(&text).mtu == 1000
    });
    assert_eq!(narrow.count(), 10_000 % 4096);
}

#[test]
fn a_route_has_only_ways_that_it_may_concern_asked_for_again() {
    let mut host = Host::new();
    host.add_route("10.9.0.0/16", Answer::Shared);
    host.topology.take_changed();
    for destination in ["10.0.0.5", "10.9.0.1", "198.51.100.7"] {
        host.way_to(destination);
    }
    assert_eq!(host.asked, 3);
    host.add_route("10.9.1.0/24", Answer::Shared);
    assert_eq!(host.topology.take_changed(), [Changed::Routes]);
    for (destination, asked) in
        [("10.0.0.5", 3), ("10.9.0.1", 4), ("10.9.1.1", 5), ("198.51.100.7", 6), ("198.51.100.8", 6)]
    {
        host.way_to(destination);
        assert_eq!(host.asked, asked, "{destination}");
    }
}

#[test]
fn with_all_places_held_new_neighbours_are_pending_and_none_is_moved() {
    let mut host = Host::new();
    let mut held = Vec::new();
    for number in 0..CAPACITY {
        let destination = format!("10.0.0.{}", 10 + number);
        host.neighbour(LAN, &destination, Reachability::Confirmed, 10 + u8::try_from(number).unwrap());
        let way = host.way_to(&destination);
        held.push((destination, host.topology.hold(&way).unwrap()));
    }
    host.effects();
    host.neighbour(LAN, "10.0.0.200", Reachability::Confirmed, 200);
    let way = host.way_to("10.0.0.200");
    assert_eq!((way.link_layer, host.topology.hold(&way)), (LinkLayer::Pending, None));
    assert_eq!((host.effects(), host.topology.next_hops().refused()), (vec![], 2));
    for (destination, index) in &held {
        assert_eq!(host.way_to(destination).link_layer, LinkLayer::Known(*index));
    }
    host.topology.release(held[0].1);
    assert_eq!(host.topology.hold(&way), Some(held[0].1));
    assert_eq!(host.effects(), [write(held[0].1.0, Some(next_hop(LAN, mac(200))))]);
    assert_eq!(host.way_to(&held[0].0).link_layer, LinkLayer::Pending);
}

#[test]
fn after_a_new_dump_places_are_the_same_neighbours_and_what_changed_is_written() {
    let mut host = Host::new();
    host.neighbour(LAN, "10.0.0.5", Reachability::Confirmed, 5);
    host.neighbour(LAN, "10.0.0.6", Reachability::Confirmed, 6);
    for destination in ["10.0.0.5", "10.0.0.6"] {
        let way = host.way_to(destination);
        host.topology.hold(&way).unwrap();
    }
    host.effects();
    host.topology.begin_dump();
    host.topology.handle(Event::Link { interface: LAN, link: link(LAN) });
    host.neighbour(LAN, "10.0.0.5", Reachability::Confirmed, 5);
    host.neighbour(LAN, "10.0.0.6", Reachability::Confirmed, 7);
    host.topology.end_dump();
    assert_eq!(host.effects(), [write(1, Some(next_hop(LAN, mac(7))))]);
    assert!(host.topology.take_changed().contains(&Changed::Neighbour(NextHopIndex(1))));
    assert!(!host.topology.is_local(v4("10.0.0.1")));
}

#[test]
fn addresses_are_local_while_any_interface_has_them() {
    let mut host = Host::new();
    let address = v4("10.0.0.1");
    host.topology.handle(Event::Address { interface: WAN, address });
    host.topology.handle(Event::AddressGone { interface: LAN, address });
    assert!(host.topology.is_local(address));
    host.topology.handle(Event::AddressGone { interface: WAN, address });
    assert!(!host.topology.is_local(address));
    assert!(host.topology.is_local(v4("127.1.2.3")) && host.topology.is_local(v4("::1")));
}
