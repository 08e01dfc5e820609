//! What goes to the engine, and what passes.

use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::io::flow::{Flow, Mode};
use buoy_ipvs::io::next_hop::NextHopIndex;
use buoy_ipvs::io::selector::{End, Ports, Selector};
use buoy_ipvs::io::virtio::Header;

use super::*;
use crate::bench::{TO_NOBODY, TO_SERVER};
use crate::host::may_run;
use crate::packet::{ACK, FIN, RST, SYN, tcp, udp};

#[test]
fn of_known_flows_what_needs_a_decision_goes_to_the_engine() {
    if !may_run() {
        return;
    }
    let wires = Wires::new();
    let maps = &wires.director.maps;
    for [client, service, server] in [[CLIENT, SERVICE, SERVER], [CLIENT_6, SERVICE_6, SERVER_6]] {
        let known = tcp(client, service);
        let (key, forwarded) = (known.key(), tcp(client, server).key());
        wires.director.masquerade(&key, &forwarded);
        for flags in [SYN, SYN | ACK, FIN | ACK, RST] {
            let packet = known.clone().with(|p| p.flags = flags);
            wires.expect_engine(&format!("flags {flags:x}"), &packet.frame());
        }
        for ttl in [0, 1] {
            wires.expect_engine("the last hop", &known.clone().with(|p| p.ttl = ttl).frame());
        }
        let headers = if client == CLIENT { 40 } else { 60 };
        let fits = known.clone().with(|p| p.payload = vec![1; 1500 - headers]);
        wires.expect_forwarded(&fits, Wire::Client, Wire::Server, &forwarded);
        let too_long = known.clone().with(|p| p.payload = vec![1; 1501 - headers]);
        wires.expect_engine("longer than the way is wide", &too_long.frame());

        for (what, flow) in [
            ("no next hop yet", Flow::new(Mode::MasqueradeRequest, &key, &forwarded, TO_NOBODY)),
            ("beyond the next hops", Flow::new(Mode::Direct, &key, &key, NextHopIndex(4711))),
            ("not to be forwarded", Flow::engine(&key)),
            ("of a later version", Flow::new(Mode::Other(4), &key, &forwarded, TO_SERVER)),
        ] {
            maps.flows.set(&key, &flow).unwrap();
            wires.expect_engine(what, &known.frame());
        }
        maps.flows.take(&key).unwrap();
        wires.expect_passed("no flow", Wire::Client, &known.frame());
    }
}

#[test]
fn what_a_selector_names_goes_to_the_engine_and_nothing_else() {
    if !may_run() {
        return;
    }
    let mut wires = Wires::new();
    let whole = udp(CLIENT, SERVICE);
    let other_port = udp(CLIENT, "192.0.2.1:81");
    let first = whole.clone().with(|p| p.fragment = 0x2000);
    let later = whole.clone().with(|p| p.fragment = 0x0001);
    let with_options = whole.clone().with(|p| p.options = vec![1; 4]);
    let tiny = tcp(CLIENT, SERVICE).frame()[..44].to_vec();
    let icmp = |kind: u16| {
        let source = format!("198.51.100.7:{}", kind << 8);
        udp(&source, SERVICE).with(|p| p.protocol = protocol::ICMP).frame()
    };
    let (whole, other_port) = (whole.frame(), other_port.frame());
    let (first, later, with_options) = (first.frame(), later.frame(), with_options.frame());
    let unread = [&first, &later, &with_options];

    let from_client = |ports| {
        let address = udp(CLIENT, SERVICE).key().source;
        Selector::Address { end: End::Source, address, protocol: protocol::UDP, ports }
    };
    for (selector, taken, passed) in [
        (service(protocol::UDP, Ports::One(80)), vec![&whole], vec![&other_port, &first, &later]),
        (service(protocol::UDP, Ports::Any), vec![&whole, &other_port], unread.to_vec()),
        (service(protocol::UDP, Ports::Unread), unread.to_vec(), vec![&whole, &other_port]),
        (service(protocol::TCP, Ports::One(80)), vec![], vec![&whole, &tiny]),
        (service(protocol::TCP, Ports::Unread), vec![&tiny], vec![&whole, &first]),
        (from_client(Ports::One(40_000)), vec![&whole, &other_port], unread.to_vec()),
        (from_client(Ports::One(80)), vec![], vec![&whole, &other_port]),
        (from_client(Ports::Any), vec![&whole, &other_port], unread.to_vec()),
        (from_client(Ports::Unread), unread.to_vec(), vec![&whole, &other_port]),
        (service(protocol::ICMP, Ports::Unread), vec![&icmp(3), &icmp(11)], vec![&icmp(8), &icmp(0), &whole]),
        (Selector::Mark(7), vec![], vec![&whole, &first]),
    ] {
        let what = format!("{selector:?}");
        wires.director.maps.selectors.insert(selector).unwrap();
        for frame in taken {
            wires.expect_engine(&what, frame);
        }
        for frame in passed {
            wires.expect_passed(&what, Wire::Client, frame);
        }
        wires.director.maps.selectors.remove(&selector).unwrap();
        wires.expect_passed("removed", Wire::Client, &whole);
    }
}

#[test]
fn selectors_name_packets_of_ipv6() {
    if !may_run() {
        return;
    }
    let mut wires = Wires::new();
    let whole = udp(CLIENT_6, SERVICE_6);
    let address = whole.key().destination;
    let fragmented = whole.clone().with(|p| p.protocol = 44).frame();
    let error = udp("[2001:db8:1::7]:256", SERVICE_6).with(|p| p.protocol = protocol::ICMPV6).frame();
    let neighbor = udp("[2001:db8:1::7]:34560", SERVICE_6).with(|p| p.protocol = protocol::ICMPV6).frame();
    let whole = whole.frame();
    for (protocol, ports, taken, passed) in [
        (protocol::UDP, Ports::One(80), &whole, &fragmented),
        (protocol::UDP, Ports::Any, &whole, &error),
        (44, Ports::Unread, &fragmented, &whole),
        (protocol::ICMPV6, Ports::Unread, &error, &neighbor),
    ] {
        let selector = Selector::Address { end: End::Destination, address, protocol, ports };
        wires.director.maps.selectors.insert(selector).unwrap();
        wires.expect_engine("taken", taken);
        wires.expect_passed("not named", Wire::Client, passed);
        wires.director.maps.selectors.remove(&selector).unwrap();
    }
}

#[test]
fn marks_are_selected_and_told() {
    if !may_run() {
        return;
    }
    let mut wires = Wires::with_mark(Some(7));
    let frame = udp(CLIENT, SERVICE).frame();
    for mark in [6, 8] {
        wires.director.maps.selectors.insert(Selector::Mark(mark)).unwrap();
    }
    wires.expect_passed("another mark", Wire::Client, &frame);
    wires.director.maps.selectors.insert(Selector::Mark(7)).unwrap();
    wires.expect_engine_with("this mark", &frame, 7);
    let later = udp(CLIENT, SERVICE).with(|p| p.fragment = 0x0001);
    wires.expect_engine_with("this mark", &later.frame(), 7);
}

#[test]
fn what_is_not_for_the_engine_passes_untouched() {
    if !may_run() {
        return;
    }
    let mut wires = Wires::new();
    for [client, service, server] in [[CLIENT, SERVICE, SERVER], [CLIENT_6, SERVICE_6, SERVER_6]] {
        let known = tcp(client, service);
        wires.director.masquerade(&known.key(), &tcp(client, server).key());
        let another_host = known.clone().with(|p| p.to = [2, 7, 7, 7, 7, 7]);
        wires.expect_passed("to another host", Wire::Client, &another_host.frame());
        let broadcast = known.clone().with(|p| p.to = [0xff; 6]);
        wires.expect_passed("to all hosts", Wire::Client, &broadcast.frame());
        wires.expect_passed("the other way", Wire::Client, &tcp(service, client).frame());
        wires.expect_passed("another protocol", Wire::Client, &udp(client, service).frame());
        // None of these is long enough to be what it says.
        let frame = known.frame();
        for length in 14..frame.len() - known.payload.len() {
            let cut = &frame[..length];
            let seen = wires.play(Wire::Client, Header::default(), cut);
            assert!(
                seen.iter().all(|seen| (seen.wire, seen.frame.as_slice()) == (Wire::Passed, cut)),
                "{length}"
            );
        }
    }
    wires.director.maps.selectors.insert(service(protocol::UDP, Ports::Any)).unwrap();
    // IPv6 with addresses of IPv4 in it is no packet of a flow of IPv4.
    let mapped = tcp("[::ffff:198.51.100.7]:40000", "[::ffff:192.0.2.1]:80");
    wires.expect_passed("mapped addresses", Wire::Client, &mapped.frame());
    let mut arp = udp(CLIENT, SERVICE).frame();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    wires.expect_passed("ARP", Wire::Client, &arp);
}
