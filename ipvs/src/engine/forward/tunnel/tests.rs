use proptest::prelude::*;

use super::super::segment;
use super::super::testing::{
    After, Build, Sum as Stated, address, after, any_offload, any_packet, checksums, end, hex, path,
    pseudo_header, slow_sum,
};
use super::*;
use crate::engine::buffer::{Segment, SegmentKind};

const IPIP: Tunnel = Tunnel::Ipip;
const fn gre(checksum: TunnelChecksum) -> Tunnel {
    Tunnel::Gre { checksum }
}
const fn gue(checksum: TunnelChecksum) -> Tunnel {
    Tunnel::Gue { port: 6080, checksum }
}
const ALL: [Tunnel; 6] = [
    IPIP,
    gre(TunnelChecksum::None),
    gre(TunnelChecksum::Full),
    gue(TunnelChecksum::None),
    gue(TunnelChecksum::Full),
    gue(TunnelChecksum::Remote),
];

fn over(tunnel: Tunnel, outer: Family, mtu: usize) -> Encapsulation {
    let (server, path) = match outer {
        Family::V4 => ("10.2.0.11", path("10.2.0.1", mtu)),
        Family::V6 => ("2001:db8:2::11", path("2001:db8:2::1", mtu)),
    };
    Encapsulation { tunnel, server: address(server), path, pmtu: PathMtuDiscovery::On }
}

fn through(encapsulation: &Encapsulation, build: &Build) -> After<Result<Outcome, Undeliverable>> {
    after(&build.bytes(), build.offload(), |packet, view| encapsulation.apply(packet, view, 0x7777))
}

/// As the server takes it apart: what is inside, with every checksum made. Checks what the tunnel adds.
fn decapsulated(packet: &[u8]) -> Vec<u8> {
    assert!(checksums(packet).0, "the header checksum");
    let (protocol, header) = if packet[0] >> 4 == 4 { (packet[9], 20) } else { (packet[6], 40) };
    let payload = &packet[header..];
    match protocol {
        4 | 41 => {
            assert_eq!(payload[0] >> 4, if protocol == 4 { 4 } else { 6 });
            payload.to_vec()
        }
        47 if payload[0] == 0x80 => {
            assert_eq!(slow_sum(&[payload]), 0xffff, "the checksum of GRE");
            assert_eq!((payload[1], &payload[6..8]), (0, &[0, 0][..]));
            payload[8..].to_vec()
        }
        47 => {
            assert_eq!(payload[..2], [0, 0]);
            payload[4..].to_vec()
        }
        17 => {
            assert_eq!(usize::from(u16::from_be_bytes([payload[4], payload[5]])), payload.len());
            if payload[6..8] != [0, 0] {
                assert!(checksums(packet).1, "the checksum of UDP");
            }
            let length = 12 + usize::from(payload[8] & 0x1f) * 4;
            let mut inner = payload[length..].to_vec();
            if payload[11] & 1 != 0 {
                assert_eq!(payload[12..16], [0x80, 0, 0, 0]);
                let place = |at: usize| usize::from(u16::from_be_bytes([payload[at], payload[at + 1]]));
                let sum = !slow_sum(&[&inner[place(16)..]]);
                let sum = if sum == 0 { 0xffff } else { sum };
                inner[place(18)..][..2].copy_from_slice(&sum.to_be_bytes());
            }
            inner
        }
        other => panic!("protocol {other}"),
    }
}

#[test]
fn bytes_of_the_headers_are_those_of_the_kernel() {
    let tcp = Build { class: 0xb9, ..Build::tcp() };
    // 20 + 20 + 7 bytes; the identification is 0 with "don't fragment", which the packet has.
    for (tunnel, length, rest) in [
        (IPIP, 67, ""),
        (gre(TunnelChecksum::None), 71, "0000 0800"),
        (gre(TunnelChecksum::Full), 75, "8000 0800"),
    ] {
        let done = through(&over(tunnel, Family::V4, 1500), &tcp);
        assert_eq!(done.outcome, Ok(Outcome::Whole));
        let protocol = if tunnel == IPIP { 4 } else { 47 };
        assert_eq!(done.bytes[..10], [0x45, 0xb9, 0, length, 0, 0, 0x40, 0, 63, protocol]);
        assert_eq!(done.bytes[12..20], [10, 2, 0, 1, 10, 2, 0, 11]);
        let rest = hex(rest);
        assert_eq!(done.bytes[20..20 + rest.len()], rest);
        assert_eq!(decapsulated(&done.on_wire()), Build { ttl: 63, ..tcp.clone() }.bytes());
    }
    let partial = |build: Build| Build { sum: Stated::Partial, ..build };
    for (checksum, build, rest) in [
        (TunnelChecksum::None, Build::tcp(), "0004 0000"),
        (TunnelChecksum::Full, Build::tcp(), "0004 0000"),
        (TunnelChecksum::Remote, Build::tcp(), "0004 0000"),
        (TunnelChecksum::None, partial(Build::tcp()), "0004 0000"),
        (TunnelChecksum::Remote, partial(Build::tcp()), "0204 0001 8000 0000 0014 0024"),
        (TunnelChecksum::Remote, partial(Build::udp()), "0204 0001 8000 0000 0014 001a"),
        (TunnelChecksum::Remote, partial(Build::udp().v6()), "0229 0001 8000 0000 0028 002e"),
    ] {
        let done = through(&over(gue(checksum), Family::V4, 1500), &build);
        let rest = hex(rest);
        assert_eq!(done.bytes[28..28 + rest.len()], rest, "{checksum:?}");
        assert_eq!(done.bytes[22..24], 6080_u16.to_be_bytes());
        let sent = done.on_wire();
        assert_eq!(sent[26..28] == [0, 0], checksum == TunnelChecksum::None, "{checksum:?}");
        let expected = Build { ttl: 63, sum: Stated::Right, ..build };
        assert_eq!(decapsulated(&sent), expected.bytes());
    }
}

#[test]
fn what_the_outer_header_has_of_the_inner_one() {
    let v4 = Build::udp();
    let free = Build { dont_fragment: false, ..Build::udp() };
    let off = |outer| Encapsulation { pmtu: PathMtuDiscovery::Off, ..over(IPIP, outer, 1500) };
    let on = |outer| over(IPIP, outer, 1500);
    // Identification, flags.
    for (what, encapsulation, build, expected) in [
        ("not to be cut", on(Family::V4), v4.clone(), hex("0000 4000")),
        ("to be cut", on(Family::V4), free.clone(), hex("7777 0000")),
        ("without path MTU discovery", off(Family::V4), v4.clone(), hex("7777 0000")),
        ("IPv6 inside", on(Family::V4), v4.clone().v6(), hex("7777 0000")),
    ] {
        assert_eq!(through(&encapsulation, &build).bytes[4..8], expected, "{what}");
    }
    for (inner, outer) in [(0b00, 0b00), (0b01, 0b01), (0b10, 0b10), (0b11, 0b10)] {
        let class = |ecn: u8| 0xb8 | ecn;
        for build in [v4.clone(), v4.clone().v6()] {
            let build = Build { class: class(inner), ..build };
            let done = through(&on(Family::V4), &build);
            assert_eq!(done.bytes[1], class(outer));
            assert_eq!(
                decapsulated(&done.bytes),
                Build { ttl: 63, ..build.clone() }.bytes(),
                "inner keeps it"
            );
            // No flow label.
            let done = through(&on(Family::V6), &build);
            assert_eq!(done.bytes[..4], [0x60 | class(outer) >> 4, class(outer) << 4, 0, 0]);
            assert_eq!(done.bytes[7], 63);
        }
    }
}

#[test]
fn senders_hear_what_is_left_of_a_way_of_1300_bytes() {
    let long = Build { payload: vec![0; 1300], ..Build::udp() };
    for (tunnel, mtu) in [
        (IPIP, 1280),
        (gue(TunnelChecksum::None), 1268),
        (gre(TunnelChecksum::None), 1276),
        (gre(TunnelChecksum::Full), 1272),
    ] {
        let encapsulation = over(tunnel, Family::V4, 1300);
        let done = through(&encapsulation, &long);
        assert_eq!(done.outcome, Err(Undeliverable::TooBig { mtu }), "{tunnel:?}");
        assert_eq!(done.bytes, Build { ttl: 63, ..long.clone() }.bytes());
        let fits = Build { payload: vec![0; mtu - 28], ..Build::udp() };
        assert_eq!(through(&encapsulation, &fits).outcome, Ok(Outcome::Whole), "{tunnel:?}");
    }
}

#[test]
fn length_ttl_and_source_decide() {
    let long = |build: Build| Build { payload: vec![0; 1480], ..build };
    let free = |build: Build| Build { dont_fragment: false, ..build };
    let off = |encapsulation| Encapsulation { pmtu: PathMtuDiscovery::Off, ..encapsulation };
    let v4 = over(IPIP, Family::V4, 1500);
    let v6 = over(IPIP, Family::V6, 1500);
    let cut = Ok(Outcome::Fragments { mtu: 1500 });
    for (what, encapsulation, build, expected) in [
        ("may be cut", v4, free(long(Build::udp())), cut),
        ("may be cut, outer IPv6", v6, free(long(Build::udp())), cut),
        ("without path MTU discovery", off(v4), long(Build::udp()), cut),
        (
            "IPv6 without path MTU discovery",
            off(v4),
            long(Build::udp().v6()),
            Err(Undeliverable::TooBig { mtu: 1480 }),
        ),
        ("IPv6 in IPv6", v6, long(Build::udp().v6()), Err(Undeliverable::TooBig { mtu: 1460 })),
        (
            "IPv6 on a short way",
            over(IPIP, Family::V4, 1200),
            long(Build::udp().v6()),
            Err(Undeliverable::TooBig { mtu: 1180 }),
        ),
        (
            "too short a way for IPv6",
            over(IPIP, Family::V6, 1300),
            Build::udp(),
            Err(Undeliverable::NarrowTunnel { mtu: 1260 }),
        ),
        (
            "too short a way for IPv4",
            over(IPIP, Family::V4, 87),
            Build::udp(),
            Err(Undeliverable::NarrowTunnel { mtu: 67 }),
        ),
        ("TTL", v4, Build { ttl: 1, ..Build::udp() }, Err(Undeliverable::TimeExceeded)),
        (
            "longer than IP",
            over(IPIP, Family::V4, 65_535),
            Build { payload: vec![0; 65_500], ..free(Build::udp()) },
            Err(NoRoom.into()),
        ),
        (
            "another family's address",
            Encapsulation { path: v6.path, ..v4 },
            Build::udp(),
            Err(Undeliverable::Family),
        ),
    ] {
        assert_eq!(through(&encapsulation, &build).outcome, expected, "{what}");
    }
    let silent = Undeliverable::NarrowTunnel { mtu: 1260 };
    assert_eq!(silent.answer(), None);
}

#[test]
fn packets_of_many_segments_are_cut_before() {
    let build = Build { payload: vec![7; 5000], sum: Stated::Partial, flags: 0x18, ..Build::tcp() };
    let segment = Some(Segment { kind: SegmentKind::TcpV4, size: 1400, ecn: false });
    let offload = Offload { segment, ..build.offload() };
    let encapsulation = over(gue(TunnelChecksum::Full), Family::V4, 1500);
    let done = after(&build.bytes(), offload, |packet, view| {
        let refused = encapsulation.apply(packet, view, 0);
        let mut inside = Vec::new();
        segment::cut(packet, view, &mut Vec::new(), |mut segment, view| {
            assert_eq!(encapsulation.apply(&mut segment, view, 0), Ok(Outcome::Whole));
            segment.complete_checksum().unwrap();
            let inner = decapsulated(segment.bytes());
            assert_eq!(checksums(&inner), (true, true));
            inside.extend(inner[40..].to_vec());
        })
        .unwrap();
        (refused, inside)
    });
    assert_eq!(done.outcome, (Err(Undeliverable::Unsegmented), build.payload.clone()));
    assert_eq!(done.bytes, build.bytes());
    // If its segments are too long that is said first, once.
    let done =
        after(&build.bytes(), offload, |packet, view| over(IPIP, Family::V4, 1400).apply(packet, view, 0));
    assert_eq!(done.outcome, Err(Undeliverable::TooBig { mtu: 1380 }));
}

#[test]
fn flows_have_their_source_ports() {
    let port = |build: &Build| {
        let bytes = through(&over(gue(TunnelChecksum::None), Family::V4, 1500), build).bytes;
        u16::from_be_bytes([bytes[20], bytes[21]])
    };
    let ports: std::collections::BTreeSet<u16> = (1..=1000)
        .map(|client| {
            let build = Build { source: end("10.1.0.9", client), ..Build::udp() };
            let later = Build { payload: vec![1; 200], ttl: 9, ..build.clone() };
            assert_eq!(port(&build), port(&later));
            port(&build)
        })
        .collect();
    assert!(ports.len() > 950, "{}", ports.len());
    assert!(ports.iter().all(|port| (32_768..60_999).contains(port)));
    // All fragments of one packet, which may go any way but should not.
    let first = Build { fragment: (0, true), dont_fragment: false, ..Build::udp() };
    assert_eq!(port(&first), port(&Build { fragment: (1, false), ..first.clone() }));
}

#[test]
fn partial_checksums_at_odd_places_are_made_before() {
    let build = Build::udp();
    let odd = Offload { checksum: Checksum::Partial { start: 29, offset: 2 }, segment: None };
    let done = after(&build.bytes(), odd, |packet, view| {
        over(gre(TunnelChecksum::Full), Family::V4, 1500).apply(packet, view, 0)
    });
    assert_eq!(done.outcome, Ok(Outcome::Whole));
    decapsulated(&done.on_wire());
}

#[test]
fn a_partial_checksum_outside_the_packet_stops_it() {
    let build = Build::udp();
    let outside = Offload { checksum: Checksum::Partial { start: 20, offset: 600 }, segment: None };
    let done = after(&build.bytes(), outside, |packet, view| {
        over(gue(TunnelChecksum::Full), Family::V4, 1500).apply(packet, view, 0)
    });
    assert_eq!(done.outcome, Err(Undeliverable::Truncated));
}

#[test]
fn without_headroom_the_packet_stays_as_it_was() {
    let before = Build::udp().bytes();
    let view = View::read(&before).unwrap();
    for (tunnel, least) in [(IPIP, 20), (gre(TunnelChecksum::Full), 28), (gue(TunnelChecksum::Full), 32)] {
        for headroom in 0..40 {
            let mut buffer = vec![0; headroom];
            buffer.extend(&before);
            let end = buffer.len();
            let mut packet = Packet::new(&mut buffer, headroom, end, Offload::default()).unwrap();
            let outcome = over(tunnel, Family::V4, 1500).apply(&mut packet, &view, 1);
            let expected = if headroom < least { Err(NoRoom.into()) } else { Ok(Outcome::Whole) };
            assert_eq!(outcome, expected, "{tunnel:?} {headroom}");
            if outcome.is_err() {
                assert_eq!(packet.bytes(), before);
            }
        }
    }
}

proptest! {
    #[test]
    fn what_comes_out_of_the_tunnel_went_in(
        build in any_packet(),
        tunnel in prop::sample::select(ALL.to_vec()),
        outer in prop::sample::select(vec![Family::V4, Family::V6]),
        padding in 0..20_usize,
    ) {
        let mut bytes = build.bytes();
        bytes.extend(vec![0; padding]);
        let encapsulation = over(tunnel, outer, 9000);
        let done = after(&bytes, build.offload(), |packet, view| encapsulation.apply(packet, view, 0x7777));
        prop_assert_eq!(done.outcome, Ok(Outcome::Whole));
        prop_assert_eq!(done.bytes.len(), build.bytes().len() + encapsulation.overhead(build.offload().checksum));
        let view = View::read(&done.bytes).unwrap();
        prop_assert_eq!(view.end, done.bytes.len());
        let sum = if build.sum == Stated::Partial { Stated::Right } else { build.sum };
        prop_assert_eq!(decapsulated(&done.on_wire()), Build { ttl: build.ttl - 1, sum, ..build }.bytes());
    }

    #[test]
    fn no_offload_makes_it_panic(
        build in any_packet(),
        tunnel in prop::sample::select(ALL.to_vec()),
        offload in any_offload(),
        headroom in 0..70_usize,
    ) {
        let bytes = build.bytes();
        let view = View::read(&bytes).unwrap();
        let mut buffer = vec![0; headroom];
        buffer.extend(&bytes);
        let end = buffer.len();
        let mut packet = Packet::new(&mut buffer, headroom, end, offload).unwrap();
        let outcome = over(tunnel, Family::V4, 1500).apply(&mut packet, &view, 1);
        if outcome.is_ok() {
            prop_assert!(View::read(packet.bytes()).is_ok());
        }
    }
}

/// Local checksum offload: what is written is what summing all of it gives.
#[test]
fn checksums_of_a_tunnel_around_a_partial_one_are_not_left_partial() {
    for build in [Build::udp(), Build::tcp(), Build::tcp().v6()] {
        let build = Build { sum: Stated::Partial, payload: b"odd".to_vec(), ..build };
        for (tunnel, place) in [(gre(TunnelChecksum::Full), 4), (gue(TunnelChecksum::Full), 6)] {
            let done = through(&over(tunnel, Family::V4, 1500), &build);
            let grown = done.bytes.len() - build.bytes().len();
            let Checksum::Partial { start, .. } = build.offload().checksum else { unreachable!() };
            let Checksum::Partial { start: moved, .. } = done.offload.checksum else { panic!("complete") };
            assert_eq!(moved, start + grown);
            let sent = done.on_wire();
            let mut payload = sent[20..].to_vec();
            let stated = [payload[place], payload[place + 1]];
            payload[place..place + 2].fill(0);
            let pseudo = match tunnel {
                Tunnel::Gue { .. } => {
                    let from = over(tunnel, Family::V4, 0);
                    pseudo_header(from.path.source, from.server, 17, payload.len())
                }
                _ => Vec::new(),
            };
            assert_eq!(stated, (!slow_sum(&[&pseudo, &payload])).to_be_bytes());
        }
    }
}
