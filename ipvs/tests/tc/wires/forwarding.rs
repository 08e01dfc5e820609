//! What is forwarded, and how it looks then.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use buoy_ipvs::engine::packet::protocol;
use buoy_ipvs::io::flow::{Flow, FlowKey};
use buoy_ipvs::io::selector::Ports;
use buoy_ipvs::io::tap::Departure;
use buoy_ipvs::io::virtio::Header;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::bench::{TO_CLIENT, TO_NOBODY, TO_SERVER};
use crate::host::may_run;
use crate::packet::{SYN, tcp};

#[test]
fn established_flows_are_translated_both_ways() {
    if !may_run() {
        return;
    }
    let wires = Wires::new();
    for (make, checksum) in [
        (tcp as fn(&str, &str) -> Packet, Checksum::Made),
        (tcp, Checksum::Partial),
        (udp, Checksum::Made),
        (udp, Checksum::Partial),
        (udp, Checksum::None),
    ] {
        for [client, service, server] in [[CLIENT, SERVICE, SERVER], [CLIENT_6, SERVICE_6, SERVER_6]] {
            if client == CLIENT_6 && checksum == Checksum::None {
                continue;
            }
            let request = make(client, service).with(|p| p.checksum = checksum);
            let answer = make(server, client).with(|p| p.checksum = checksum);
            let forwarded = answer.key().reversed();
            wires.director.masquerade(&request.key(), &forwarded);
            wires.expect_forwarded(&request, Wire::Client, Wire::Server, &forwarded);
            wires.expect_forwarded(&request, Wire::Client, Wire::Server, &forwarded);
            wires.expect_forwarded(&answer, Wire::Server, Wire::Client, &request.key().reversed());

            let flow = wires.director.maps.flows.take(&request.key()).unwrap().unwrap();
            assert_eq!(flow.counted.packets, 2);
            assert_eq!(flow.counted.bytes, 2 * request.length() as u64);
            assert!(flow.counted.last_seen > Duration::ZERO);
            wires.expect_passed("removed", Wire::Client, &request.frame());
        }
    }
}

#[test]
fn sums_are_right_whatever_the_addresses() {
    if !may_run() {
        return;
    }
    let wires = Wires::new();
    let v4 = any::<[u8; 4]>().prop_filter("a mapped address is what it says", |a| a[0] != 0);
    let v6 = any::<[u16; 8]>().prop_filter("no IPv4 address", |a| a[0] != 0);
    let addresses = prop_oneof![
        [v4.clone(), v4.clone(), v4].prop_map(|a| a.map(IpAddr::from)),
        [v6.clone(), v6.clone(), v6].prop_map(|a| a.map(IpAddr::from)),
    ];
    let packets = (addresses, any::<[u16; 3]>(), any::<bool>(), 2..=255_u8, any::<Vec<u8>>());
    TestRunner::new(Config::with_cases(500))
        .run(&packets, |(addresses, ports, is_tcp, ttl, payload)| {
            let [client, service, server] = [0, 1, 2].map(|i| SocketAddr::new(addresses[i], ports[i]));
            let made = |checksum| {
                tcp(CLIENT, SERVICE).with(|p| {
                    (p.source, p.destination, p.checksum) = (client, service, checksum);
                    p.protocol = if is_tcp { protocol::TCP } else { protocol::UDP };
                    (p.ttl, p.payload) = (ttl, payload.clone());
                })
            };
            let request = made(Checksum::Made);
            let forwarded =
                FlowKey { destination: server.ip().into(), destination_port: server.port(), ..request.key() };
            wires.director.masquerade(&request.key(), &forwarded);
            for packet in [request, made(Checksum::Partial)] {
                wires.expect_forwarded(&packet, Wire::Client, Wire::Server, &forwarded);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn merged_packets_stay_merged() {
    if !may_run() {
        return;
    }
    let wires = Wires::new();
    for [client, service, server] in [[CLIENT, SERVICE, SERVER], [CLIENT_6, SERVICE_6, SERVER_6]] {
        let request = tcp(client, service).with(|p| {
            p.checksum = Checksum::Partial;
            p.payload = vec![0x5a; 60_000];
        });
        let forwarded = tcp(client, server).key();
        wires.director.masquerade(&request.key(), &forwarded);
        let headers = 54 + if client == CLIENT { 0 } else { 20 };
        let gso = Header {
            gso_type: if client == CLIENT { Header::GSO_TCP_V4 } else { Header::GSO_TCP_V6 },
            header_length: headers,
            segment_size: 1514 - headers,
            ..header_of(&request)
        };
        let seen = wires.play_one(Wire::Client, gso, &request.frame());
        wires.check_forwarded(&seen, &request, Wire::Server, &forwarded);
        assert_eq!((seen.header.gso_type, seen.header.segment_size), (gso.gso_type, gso.segment_size));
        let bounced = wires.play_one(Wire::Engine, gso, &request.frame());
        wires.check_forwarded(&bounced, &request, Wire::Server, &forwarded);
        assert_eq!(bounced.header, seen.header);

        let too_long = Header { segment_size: gso.segment_size + 1, ..gso };
        assert_eq!(wires.play_one(Wire::Client, too_long, &request.frame()).wire, Wire::Engine);
    }
}

#[test]
fn headers_that_lie_in_pages_are_found() {
    if !may_run() {
        return;
    }
    let wires = Wires::new();
    wires.director.maps.next_hops.set(TO_SERVER, Some(&NextHop { mtu: 9000, ..wires.to_server })).unwrap();
    for [client, service, server] in [[CLIENT, SERVICE, SERVER], [CLIENT_6, SERVICE_6, SERVER_6]] {
        for make in [tcp, udp] {
            // The TAP puts what is longer than a page into pages, but for as many bytes as it is told.
            let request = make(client, service).with(|p| p.payload = vec![0x5a; 6000]);
            let forwarded = make(client, server).key();
            wires.director.masquerade(&request.key(), &forwarded);
            let header = Header { header_length: 14, ..Header::default() };
            let seen = wires.play_one(Wire::Client, header, &request.frame());
            wires.check_forwarded(&seen, &request, Wire::Server, &forwarded);
        }
    }
}

#[test]
fn tags_of_vlans_are_kept() {
    if !may_run() {
        return;
    }
    let mut wires = Wires::new();
    for [client, service, server] in [[CLIENT, SERVICE, SERVER], [CLIENT_6, SERVICE_6, SERVER_6]] {
        for checksum in [Checksum::Made, Checksum::Partial] {
            let request = udp(client, service).with(|p| (p.vlans, p.checksum) = (vec![100], checksum));
            let forwarded = udp(client, server).key();
            wires.director.masquerade(&request.key(), &forwarded);
            wires.expect_forwarded(&request, Wire::Client, Wire::Server, &forwarded);
        }
        let twice = udp(client, service).with(|p| p.vlans = vec![100, 200]);
        wires.expect_passed("two tags", Wire::Client, &twice.frame());
    }
    // On the way through the engine as well.
    let missed = udp("198.51.100.8:1", SERVICE).with(|p| p.vlans = vec![100]);
    wires.director.maps.selectors.insert(service(protocol::UDP, Ports::One(80))).unwrap();
    wires.expect_engine("tagged", &missed.frame());
    let forwarded = udp("198.51.100.8:1", SERVER).key();
    wires.director.masquerade(&missed.key(), &forwarded);
    wires.expect_forwarded(&missed, Wire::Engine, Wire::Server, &forwarded);
}

#[test]
fn direct_routing_changes_the_way_alone() {
    if !may_run() {
        return;
    }
    let wires = Wires::new();
    for request in [tcp(CLIENT, SERVICE), udp(CLIENT, SERVICE), tcp(CLIENT_6, SERVICE_6)] {
        let key = request.key();
        wires.director.maps.flows.set(&key, &Flow::direct(&key, TO_SERVER)).unwrap();
        wires.expect_forwarded(&request, Wire::Client, Wire::Server, &key);
    }
}

#[test]
fn a_neighbour_that_changes_is_one_write() {
    if !may_run() {
        return;
    }
    let mut wires = Wires::new();
    let requests = [tcp(CLIENT, SERVICE), udp(CLIENT, SERVICE), udp(CLIENT_6, SERVICE_6)];
    for request in &requests {
        wires.director.maps.flows.set(&request.key(), &Flow::direct(&request.key(), TO_SERVER)).unwrap();
        wires.expect_forwarded(request, Wire::Client, Wire::Server, &request.key());
    }
    wires.to_server = NextHop { destination: [2, 1, 0, 0, 0, 0xff], ..wires.to_server };
    wires.director.maps.next_hops.set(TO_SERVER, Some(&wires.to_server)).unwrap();
    assert_eq!(wires.director.maps.next_hops.get(TO_SERVER).unwrap(), Some(wires.to_server));
    for request in &requests {
        wires.expect_forwarded(request, Wire::Client, Wire::Server, &request.key());
    }
    wires.director.maps.next_hops.set(TO_SERVER, None).unwrap();
    wires.expect_engine("no next hop any more", &requests[0].frame());
}

#[test]
fn a_miss_is_installed_and_bounces() {
    if !may_run() {
        return;
    }
    let mut wires = Wires::new();
    wires.director.maps.selectors.insert(service(protocol::TCP, Ports::One(80))).unwrap();
    for (source, checksum) in [("198.51.100.7:1", Checksum::Made), ("198.51.100.7:2", Checksum::Partial)] {
        let syn = tcp(source, SERVICE).with(|p| (p.flags, p.checksum) = (SYN, checksum));
        let missed = wires.play_one(Wire::Client, header_of(&syn), &syn.frame());
        assert_eq!(missed.wire, Wire::Engine);
        let forwarded = tcp(source, SERVER).key();
        wires.director.masquerade(&syn.key(), &forwarded);
        let bounced = wires.play_one(Wire::Engine, missed.header, &missed.frame);
        wires.check_forwarded(&bounced, &syn, Wire::Server, &forwarded);
    }
    // What the engine cannot have meant is not for the host's stack to answer.
    let gone = tcp("198.51.100.7:3", SERVICE);
    wires.expect_passed("no flow", Wire::Engine, &gone.frame());
    let last = tcp("198.51.100.7:1", SERVICE).with(|p| p.ttl = 1);
    assert!(wires.play(Wire::Engine, Header::default(), &last.frame()).is_empty());
}

#[test]
fn the_engine_sends_where_it_says() {
    if !may_run() {
        return;
    }
    let wires = Wires::new();
    let packet = tcp(SERVER, CLIENT).with(|p| p.checksum = Checksum::Partial);
    let mut frame = packet.frame();
    Departure::NextHop(TO_CLIENT).put(&mut frame);
    let seen = wires.play_one(Wire::Engine, header_of(&packet), &frame);
    assert_eq!((seen.wire, &seen.frame[12..]), (Wire::Client, &frame[12..]));
    assert_eq!(seen.frame[..6], wires.to_client.destination);
    assert_eq!(seen.frame[6..12], wires.to_client.source);
    assert_eq!(seen.header.partial_checksum(), Some(partial_checksum_of(&packet)));

    Departure::NextHop(TO_NOBODY).put(&mut frame);
    assert!(wires.play(Wire::Engine, Header::default(), &frame).is_empty());
    Departure::Host.put(&mut frame);
    wires.expect_passed("to the host", Wire::Engine, &frame);
}
