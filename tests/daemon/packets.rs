//! Which packets are sent, believed and answered: sources, TTL bounds, policy routing, and addresses that do not
//! accept.

use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use buoy::lab::capture::Direction;
use buoy::lab::probe::Echo;
use buoy::lab::{Host, find_program};
use futures::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};

use crate::bench::{Conf, Director, SOON, alone, ip, pair, stays, vip};
use crate::lab::{peer, wait_until};

#[test]
fn advertisements_come_from_the_configured_source_although_it_is_not_the_first_address() {
    const SOURCE: &str = "192.0.2.51";
    let (mut one, mut two) = pair();
    one.host.add_address("eth0", format!("{SOURCE}/24").parse().expect("an address")).expect("an address");
    let capture = one.capture();
    one.start(Conf::new(200).words(&format!("mcast_src_ip {SOURCE}")));
    one.wait_for_vip();
    two.start(Conf::new(100));
    let heard =
        || two.first().master.is_some_and(|(master, priority, _)| (master, priority) == (ip(SOURCE), 200));
    wait_until(SOON, heard, || format!("the backup hears {SOURCE}: {:?}", two.first().master));
    assert_eq!(one.first().source, Some(ip(SOURCE)));
    let own = capture.frames().into_iter().filter(|frame| frame.direction == Direction::In);
    let sources: Vec<IpAddr> = own.filter_map(|frame| Some(frame.advertisement()?.source)).collect();
    assert!(!sources.is_empty() && sources.iter().all(|source| *source == ip(SOURCE)), "{sources:?}");
    one.stop();
    two.stop();
}

/// A unicast instance with one peer and the bounds for it.
fn unicast(priority: u8, ttl: u8, peer: &str) -> Conf {
    Conf::new(priority).words(&format!("unicast_ttl {ttl}\n    unicast_peer {{\n        {peer}\n    }}"))
}

#[test]
fn advertisements_outside_the_ttl_bounds_of_their_peer_are_counted_told_once_and_move_nothing() {
    let (mut one, mut two) = pair();
    let discarded = |director: &Director| director.first().discarded.get("ttl").copied().unwrap_or(0);
    one.start(unicast(100, 255, "192.0.2.2 min_ttl 200"));
    one.wait_for_vip();
    // It would be believed at once: its priority is higher.
    two.start(unicast(200, 100, "192.0.2.1"));
    two.wait_for_vip();
    wait_until(SOON, || discarded(&one) >= 20, || format!("{:?}", one.first()));
    assert_eq!(one.first().state, "MASTER");
    assert_eq!(one.first().statistics["became_master"], 1);
    assert_eq!(one.first().discarded.keys().collect::<Vec<_>>(), ["ttl"], "and for no other reason");
    assert_eq!(discarded(&two), 0, "without bounds every TTL is fine");
    let log = one.log();
    let told = log.iter().filter(|line| line.contains("TTL 100 is outside 200..=255")).count();
    assert_eq!(told, 1, "{log:#?}");
    let moves = log.iter().filter(|line| line.contains("instance VI_1: MASTER ->")).count();
    assert_eq!(moves, 0, "{log:#?}");

    // Above the upper bound it is the same.
    two.reload(unicast(200, 250, "192.0.2.1"));
    one.reload(unicast(100, 255, "192.0.2.2 min_ttl 90 max_ttl 110"));
    let before = discarded(&one);
    wait_until(SOON, || discarded(&one) >= before + 5, || format!("{:?}", one.first()));
    assert_eq!(one.first().state, "MASTER");

    // Within them it is heard.
    two.reload(unicast(200, 110, "192.0.2.1"));
    one.wait_for_state("BACKUP");
    wait_until(SOON, || !one.holds(vip()) && two.holds(vip()), || "one owner".to_owned());
    let before = discarded(&one);
    stays(Duration::from_millis(500), || one.first().state == "BACKUP", "it stays backup");
    assert_eq!(discarded(&one), before);
    one.stop();
    two.stop();
}

/// Policy routing rules of a host, as `ip` tells them.
fn rules(director: &Director) -> String {
    let output = director.host.run(|| Command::new("ip").args(["rule", "show"]).output());
    String::from_utf8(output.expect("ip runs").stdout).expect("text")
}

#[test]
fn virtual_rules_are_the_masters_and_come_back_when_somebody_deletes_them() {
    let rule = "virtual_rules {\n        from 192.0.2.100/32 table 123 priority 777\n    }";
    let (mut one, mut two) = pair();
    let there = |director: &Director| {
        let rules = rules(director);
        rules
            .lines()
            .any(|line| ["777:", "from 192.0.2.100", "lookup 123"].iter().all(|part| line.contains(part)))
    };
    one.start(Conf::new(200).words(rule));
    one.wait_for_vip();
    wait_until(SOON, || there(&one), || rules(&one));
    two.start(Conf::new(100).words(rule));
    wait_until(SOON, || two.first().master.is_some(), || "the backup hears the master".to_owned());
    assert!(!there(&two), "a backup has none: {}", rules(&two));

    let deleted = one.host.run(|| Command::new("ip").args(["rule", "del", "priority", "777"]).status());
    assert!(deleted.expect("ip runs").success());
    one.wait_for_log("deleted by somebody else: put back");
    wait_until(SOON, || there(&one), || rules(&one));
    assert_eq!(one.first().state, "MASTER");

    one.stop();
    assert!(!there(&one), "it goes with the mastership: {}", rules(&one));
    wait_until(SOON, || there(&two), || rules(&two));
    two.stop();
    assert!(!there(&two));
}

/// Whether the echo service behind this address answers one of a few questions.
fn answers(client: &Host, target: IpAddr) -> bool {
    let any: IpAddr = if target.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
    let socket = client.run(move || UdpSocket::bind((any, 0))).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    (0..5).any(|_| {
        // An unreachable host may be told of here; then there is no answer.
        let _refused = socket.send_to(b"?", (target, 7));
        socket.recv(&mut [0; 8]).is_ok()
    })
}

/// Whether the client has learned the link-layer address of a neighbour.
fn resolved(client: &Host, target: IpAddr) -> bool {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let neighbours: Vec<_> = client
        .netlink(move |netlink| async move {
            netlink.neighbours().get().set_address_family(family).execute().try_collect().await
        })
        .expect("dump of neighbours");
    let wanted = NeighbourAttribute::Destination(NeighbourAddress::from(target));
    neighbours.iter().any(|neighbour| {
        let known = |a: &NeighbourAttribute| matches!(a, NeighbourAttribute::LinkLayerAddress(mac) if !mac.is_empty());
        neighbour.attributes.contains(&wanted) && neighbour.attributes.iter().any(known)
    })
}

/// A master that does not accept drops what is sent to its address, and is found by its neighbours all the same.
fn does_not_accept(own: &str, client_address: &str, addresses: &[&str]) {
    if peer("nft", find_program("nft")).is_none() {
        return;
    }
    let target = ip(addresses.last().and_then(|a| a.split('/').next()).expect("an address"));
    let mut one = alone();
    let client = Host::new("client").expect("host");
    one.switch.connect(&client, "eth0").expect("cable");
    client.add_address("eth0", client_address.parse().expect("address")).expect("address");
    let own: buoy::lab::InterfaceAddress = own.parse().expect("address");
    if !one.holds(own.ip) {
        one.host.add_address("eth0", own).expect("address");
    }
    let _echo = Echo::start(&one.host, 7).expect("echo");
    let conf = |words: &str| {
        let instance = Conf::new(100).to_string();
        let old = "        192.0.2.100/24\n";
        let new: String = addresses.iter().map(|address| format!("        {address}\n")).collect();
        instance.replace(old, &new).replace("    advert_int", &format!("    {words}\n    advert_int"))
    };
    one.start(conf("accept"));
    wait_until(SOON, || answers(&client, target), || "it answers while it accepts".to_owned());

    one.reload(conf("no_accept"));
    wait_until(SOON, || !answers(&client, target), || "packets are dropped".to_owned());
    assert!(one.holds(target) && one.first().state == "MASTER", "it is the master's address all the time");
    forget_neighbours(&client);
    wait_until(
        SOON,
        || !answers(&client, target) && resolved(&client, target),
        || "its neighbours find it".to_owned(),
    );
    assert!(answers(&client, own.ip), "the host's own address is not concerned");

    one.reload(conf("accept"));
    wait_until(SOON, || answers(&client, target), || "it answers again".to_owned());
    one.stop();
}

fn forget_neighbours(client: &Host) {
    let flushed = client.run(|| Command::new("ip").args(["neigh", "flush", "all"]).status());
    assert!(flushed.expect("ip runs").success());
}

#[test]
fn without_accept_packets_to_an_ipv4_address_are_dropped() {
    does_not_accept("192.0.2.1/24", "192.0.2.9/24", &["192.0.2.100/24"]);
}

#[test]
fn without_accept_packets_to_an_ipv6_address_are_dropped_but_for_neighbour_discovery() {
    does_not_accept("2001:db8::1/64", "2001:db8::9/64", &["fe80::100/64", "2001:db8::100/64"]);
}
