use proptest::prelude::*;

use super::super::Rewrite;
use super::super::testing::{Build, Sum, after, any_ends, any_packet, checksums, end, path};
use super::*;
use crate::engine::buffer::{Offload, Segment, SegmentKind};
use crate::engine::packet::protocol;
use crate::virtual_service::Family;

fn request(build: &Build, mtu: usize) -> (Result<Outcome, Undeliverable>, Vec<u8>) {
    let (server, path) = match build.source.address.family() {
        Family::V4 => (end("10.2.0.11", 8080), path("10.2.0.1", mtu)),
        Family::V6 => (end("2001:db8:2::11", 8080), path("2001:db8:2::1", mtu)),
    };
    let done = after(&build.bytes(), build.offload(), |packet, view| to_server(packet, view, server, &path));
    (done.outcome, done.bytes)
}

#[test]
fn nothing_changes_but_the_end_that_is_rewritten_and_the_ttl() {
    let build = Build { class: 0xb9, ip_options: vec![148, 4, 0, 0], ..Build::tcp() };
    let (outcome, bytes) = request(&build, 1500);
    assert_eq!(outcome, Ok(Outcome::Whole));
    assert_eq!(bytes, Build { destination: end("10.2.0.11", 8080), ttl: 63, ..build }.bytes());

    let build = Build { class: 0xb9, extensions: vec![8], ..Build::udp().v6() };
    let (outcome, bytes) = request(&build, 1500);
    assert_eq!(outcome, Ok(Outcome::Whole));
    assert_eq!(bytes, Build { destination: end("2001:db8:2::11", 8080), ttl: 63, ..build }.bytes());

    let reply = Build::new(protocol::UDP, end("10.2.0.11", 8080), end("10.1.0.9", 3001));
    let done = after(&reply.bytes(), reply.offload(), |packet, view| {
        to_client(packet, view, end("10.9.0.1", 53), &path("10.1.0.1", 1500))
    });
    assert_eq!(done.outcome, Ok(Outcome::Whole));
    assert_eq!(done.bytes, Build { source: end("10.9.0.1", 53), ttl: 63, ..reply }.bytes());
}

#[test]
fn packets_go_or_not_by_their_ttl_length_and_source() {
    let long = |build: Build| Build { payload: vec![7; 1273], ..build };
    let free = |build: Build| Build { dont_fragment: false, ..build };
    let v6_long = |build: Build| Build { payload: vec![7; 1253], ..build };
    let later = |build: Build| Build { fragment: (8, true), ..build };
    let too_big = Err(Undeliverable::TooBig { mtu: 1300 });
    for (what, build, expected) in [
        ("TTL 2", Build { ttl: 2, ..Build::udp() }, Ok(Outcome::Whole)),
        ("TTL 1", Build { ttl: 1, ..Build::udp() }, Err(Undeliverable::TimeExceeded)),
        ("TTL 0", Build { ttl: 0, ..Build::udp() }, Err(Undeliverable::TimeExceeded)),
        ("hop limit 1", Build { ttl: 1, ..Build::udp().v6() }, Err(Undeliverable::TimeExceeded)),
        ("as long as the way takes", Build { payload: vec![7; 1272], ..Build::udp() }, Ok(Outcome::Whole)),
        ("longer", long(Build::udp()), too_big),
        ("longer, may be cut", free(long(Build::udp())), Ok(Outcome::Fragments { mtu: 1300 })),
        ("IPv6 as long", Build { payload: vec![7; 1252], ..Build::udp().v6() }, Ok(Outcome::Whole)),
        ("IPv6 longer", v6_long(Build::udp().v6()), too_big),
        ("later fragment, longer", later(free(v6_long(Build::udp().v6()))), too_big),
        ("TTL before length", Build { ttl: 1, ..long(Build::udp()) }, Err(Undeliverable::TimeExceeded)),
        (
            "from 127.0.0.1",
            Build { source: end("127.0.0.1", 9), ..Build::udp() },
            Err(Undeliverable::Loopback),
        ),
        ("from ::1", Build { source: end("::1", 9), ..Build::udp().v6() }, Err(Undeliverable::Loopback)),
    ] {
        let (outcome, bytes) = request(&build, 1300);
        assert_eq!(outcome, expected, "{what}");
        // An answer quotes the packet as it came in, save that one that is too long has passed the director.
        let ttl = if matches!(expected, Err(Undeliverable::TooBig { .. })) { 63 } else { build.ttl };
        if expected.is_err() {
            assert_eq!(bytes, Build { ttl, ..build }.bytes(), "{what}");
        }
    }
}

#[test]
fn a_reply_that_is_too_long_is_as_it_came() {
    let reply = Build { payload: vec![7; 1400], ..Build::tcp() };
    let done = after(&reply.bytes(), reply.offload(), |packet, view| {
        to_client(packet, view, end("10.9.0.1", 80), &path("10.1.0.1", 1300))
    });
    assert_eq!(done.outcome, Err(Undeliverable::TooBig { mtu: 1300 }));
    assert_eq!(done.bytes, reply.bytes());
}

#[test]
fn what_is_to_be_segmented_is_as_long_as_its_segments() {
    let build = Build { payload: vec![7; 5000], sum: Sum::Partial, ..Build::tcp() };
    for (size, expected) in [(1260, Ok(Outcome::Whole)), (1261, Err(Undeliverable::TooBig { mtu: 1300 }))] {
        let segment = Some(Segment { kind: SegmentKind::TcpV4, size, ecn: false });
        let offload = Offload { segment, ..build.offload() };
        let done = after(&build.bytes(), offload, |packet, view| {
            to_server(packet, view, end("10.2.0.11", 80), &path("10.2.0.1", 1300))
        });
        assert_eq!((done.outcome, done.offload), (expected, offload), "{size}");
    }
}

proptest! {
    #[test]
    fn to_the_server_and_back_is_the_same_but_for_the_ttl(
        build in any_packet(),
        [v4, ..] in any_ends(Family::V4),
        [v6, ..] in any_ends(Family::V6),
    ) {
        prop_assume!(build.ttl > 2 && build.sum != Sum::Absent);
        prop_assume!(build.protocol != protocol::SCTP || build.sum == Sum::Right);
        let server = if build.source.address.family() == Family::V4 { v4 } else { v6 };
        let path = path("10.2.0.1", 9000);
        let there = after(&build.bytes(), build.offload(), |packet, view| to_server(packet, view, server, &path));
        prop_assert_eq!(there.outcome, Ok(Outcome::Whole));
        let right = !matches!(build.sum, Sum::Wrong(_)) || build.protocol == 50;
        prop_assert_eq!(checksums(&there.on_wire()), (true, right));
        // The same bytes with source and destination changed over are the reply of a server that echoes.
        let echo = after(&there.bytes, there.offload, |packet, view| {
            let rewrite = Rewrite { source: Some(server), destination: Some(build.source) };
            rewrite.apply(packet, view).unwrap();
        });
        let back = after(&echo.bytes, echo.offload, |packet, view| {
            to_client(packet, view, build.destination, &path)
        });
        prop_assert_eq!(back.outcome, Ok(Outcome::Whole));
        let expected = Build {
            source: build.destination,
            destination: build.source,
            ttl: build.ttl - 2,
            ..build.clone()
        };
        prop_assert_eq!(back.on_wire(), after(&expected.bytes(), expected.offload(), |_, _| ()).on_wire());
    }
}
