use proptest::prelude::*;

use super::super::testing::{Build, Sum, after, any_ends, any_packet, end, hex, path};
use super::*;
use crate::engine::packet::protocol;
use crate::virtual_service::Family;

#[test]
fn both_ends_are_rewritten_both_ways() {
    let (local, server) = (end("10.2.0.1", 5000), end("10.3.0.11", 8080));
    for build in [Build::tcp(), Build::udp(), Build { sum: Sum::Partial, ..Build::tcp() }] {
        let done = after(&build.bytes(), build.offload(), |packet, view| {
            to_server(packet, view, local, server, &path("10.2.0.1", 1500))
        });
        assert_eq!(done.outcome, Ok(Outcome::Whole));
        assert_eq!(
            done.bytes,
            Build { source: local, destination: server, ttl: 63, ..build.clone() }.bytes()
        );

        let reply = Build { source: server, destination: local, ..build.clone() };
        let done = after(&reply.bytes(), reply.offload(), |packet, view| {
            to_client(packet, view, build.destination, build.source, Toa::Off, &path("10.1.0.1", 1500))
        });
        assert_eq!(done.outcome, Ok(Outcome::Whole));
        let expected = Build { source: build.destination, destination: build.source, ttl: 63, ..reply };
        assert_eq!(done.bytes, expected.bytes());
    }
}

#[test]
fn a_syn_goes_without_timestamps_and_comes_back_with_room_for_the_client() {
    let (local, server) = (end("10.2.0.1", 5000), end("10.3.0.11", 8080));
    let syn = Build { flags: 0x02, options: hex("0204 05b4 0101 080a 0000 0001 0000 0000"), ..Build::tcp() };
    let done = after(&syn.bytes(), syn.offload(), |packet, view| {
        to_server(packet, view, local, server, &path("10.2.0.1", 1500))
    });
    let options = hex("0204 05b4 0101 0101 0101 0101 0101 0101");
    let expected = Build { source: local, destination: server, ttl: 63, options, ..syn.clone() };
    assert_eq!(done.bytes, expected.bytes());

    let answer =
        Build { source: server, destination: local, flags: 0x12, options: hex("0204 05b4"), ..syn.clone() };
    for (toa, mss) in [(Toa::On, "0204 05ac"), (Toa::Off, "0204 05b4")] {
        let done = after(&answer.bytes(), answer.offload(), |packet, view| {
            to_client(packet, view, syn.destination, syn.source, toa, &path("10.1.0.1", 1500))
        });
        let expected = Build {
            source: syn.destination,
            destination: syn.source,
            ttl: 63,
            options: hex(mss),
            ..answer.clone()
        };
        assert_eq!(done.bytes, expected.bytes());
    }
}

#[test]
fn what_does_not_go_on_is_named_as_for_other_methods() {
    let (local, server) = (end("10.2.0.1", 5000), end("10.3.0.11", 8080));
    for (build, expected) in [
        (Build { ttl: 1, ..Build::tcp() }, Undeliverable::TimeExceeded),
        (Build { payload: vec![0; 1300], ..Build::tcp() }, Undeliverable::TooBig { mtu: 1300 }),
        (Build::tcp().v6(), Undeliverable::Family),
    ] {
        let done = after(&build.bytes(), build.offload(), |packet, view| {
            let request = to_server(packet, view, local, server, &path("10.2.0.1", 1300));
            (request, to_client(packet, view, local, server, Toa::On, &path("10.2.0.1", 1300)))
        });
        assert_eq!(done.outcome, (Err(expected), Err(expected)));
    }
}

proptest! {
    #[test]
    fn there_and_back_is_the_same_but_for_the_ttl(
        build in any_packet(),
        v4 in any_ends(Family::V4),
        v6 in any_ends(Family::V6),
    ) {
        prop_assume!(build.ttl > 2 && build.sum != Sum::Absent);
        prop_assume!(build.protocol != protocol::SCTP || build.sum == Sum::Right);
        let [local, server, ..] = if build.source.address.family() == Family::V4 { v4 } else { v6 };
        let path = path("10.2.0.1", 9000);
        // Its options are the business of other tests.
        let build = Build { flags: build.flags & !0x02, ..build };
        let there = after(&build.bytes(), build.offload(), |packet, view| {
            to_server(packet, view, local, server, &path)
        });
        prop_assert_eq!(there.outcome, Ok(Outcome::Whole));
        let back = after(&there.bytes, there.offload, |packet, view| {
            to_client(packet, view, build.source, build.destination, Toa::On, &path)
        });
        prop_assert_eq!(back.outcome, Ok(Outcome::Whole));
        prop_assert_eq!(back.bytes, Build { ttl: build.ttl - 2, ..build }.bytes());
    }
}
