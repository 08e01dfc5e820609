use proptest::prelude::*;

use super::super::testing::{
    Build, Sum as Stated, after, any_offload, any_packet, checksums, end, pseudo_header, slow_sum,
};
use super::*;
use crate::engine::buffer::{Offload, Segment, SegmentKind};

fn to_server(family: Family) -> Rewrite {
    let server = match family {
        Family::V4 => end("10.2.0.11", 8080),
        Family::V6 => end("2001:db8:2::11", 8080),
    };
    Rewrite { source: None, destination: Some(server) }
}

/// Applied to what `build` makes, the result is what it makes with the other destination.
#[track_caller]
fn becomes(build: &Build, same: impl FnOnce(Build) -> Build) {
    let rewrite = to_server(build.family());
    let done = after(&build.bytes(), build.offload(), |packet, view| rewrite.apply(packet, view));
    assert_eq!(done.outcome, Ok(()), "{build:?}");
    let expected = same(Build { destination: rewrite.destination.unwrap(), ..build.clone() });
    assert_eq!(done.bytes, expected.bytes(), "{build:?}");
    assert_eq!(done.offload, build.offload(), "{build:?}");
}

#[test]
fn a_rewritten_packet_is_the_one_that_the_client_would_have_sent_there() {
    for build in [
        Build::tcp(),
        Build::udp(),
        Build::new(protocol::SCTP, end("10.1.0.9", 3001), end("10.9.0.1", 80)),
        Build { options: vec![2, 4, 5, 0xb4, 1, 1, 1, 0], flags: 2, ..Build::tcp() },
        Build { ip_options: vec![148, 4, 0, 0], payload: b"odd".to_vec(), ..Build::udp() },
        Build { class: 0xb9, dont_fragment: false, identification: 7, ..Build::tcp() },
    ] {
        becomes(&build, |same| same);
        becomes(&Build { sum: Stated::Partial, ..build.clone() }, |same| same);
        if build.ip_options.is_empty() {
            becomes(&build.clone().v6(), |same| same);
            becomes(&Build { sum: Stated::Partial, ..build.clone().v6() }, |same| same);
            becomes(&Build { extensions: vec![8, 24], ..build.v6() }, |same| same);
        }
    }
}

#[test]
fn udp_without_a_checksum_gets_the_right_one() {
    let build = Build { sum: Stated::Absent, ..Build::udp() };
    becomes(&build, |same| Build { sum: Stated::Right, ..same });
    becomes(&build.clone().v6(), |same| Build { sum: Stated::Right, ..same });
    // Where it cannot be known it stays away: in fragments, and in what is several datagrams.
    becomes(&Build { fragment: (0, true), dont_fragment: false, ..build.clone() }, |same| same);
    let segment = Some(Segment { kind: SegmentKind::UdpL4, size: 4, ecn: false });
    let done = after(&build.bytes(), Offload { segment, ..Offload::default() }, |packet, view| {
        to_server(Family::V4).apply(packet, view)
    });
    assert_eq!(done.bytes[26..28], [0, 0]);
    assert_eq!(done.bytes[16..20], [10, 2, 0, 11]);
}

#[test]
fn a_udp_checksum_of_zero_is_written_as_the_other_zero() {
    // The payload makes up for what the addresses and ports add up to.
    let rewrite = to_server(Family::V4);
    let destination = rewrite.destination.unwrap();
    let mut build = Build { payload: vec![0, 0], ..Build::udp() };
    let there = Build { destination, ..build.clone() }.bytes();
    build.payload = there[26..28].to_vec();
    let done = after(&build.bytes(), Offload::default(), |packet, view| rewrite.apply(packet, view));
    assert_eq!(done.bytes[26..28], [0xff, 0xff]);
    assert_eq!(checksums(&done.bytes), (true, true));
}

#[test]
fn a_datagram_shorter_than_its_packet_is_summed_as_far_as_it_goes() {
    let mut bytes =
        Build { sum: Stated::Absent, payload: b"datagramand more".to_vec(), ..Build::udp() }.bytes();
    bytes[24..26].copy_from_slice(&16_u16.to_be_bytes());
    let done = after(&bytes, Offload::default(), |packet, view| to_server(Family::V4).apply(packet, view));
    let alone = Build { destination: end("10.2.0.11", 8080), payload: b"datagram".to_vec(), ..Build::udp() };
    assert_eq!(done.bytes[26..28], alone.bytes()[26..28]);
    // What states more than there is has no right checksum.
    bytes[24..26].copy_from_slice(&160_u16.to_be_bytes());
    let done = after(&bytes, Offload::default(), |packet, view| to_server(Family::V4).apply(packet, view));
    assert_eq!(done.bytes[26..28], [0, 0]);
}

#[test]
fn fragments_are_rewritten_as_far_as_they_go() {
    for build in [Build::tcp(), Build::udp(), Build::tcp().v6(), Build::udp().v6()] {
        let build = Build { dont_fragment: false, ..build };
        becomes(&Build { fragment: (0, true), ..build.clone() }, |same| same);
        becomes(&Build { fragment: (1, true), ..build.clone() }, |same| same);
        becomes(&Build { fragment: (300, false), payload: vec![], ..build }, |same| same);
    }
    let sctp = Build {
        fragment: (0, true),
        dont_fragment: false,
        ..Build::new(protocol::SCTP, end("10.1.0.9", 3001), end("10.9.0.1", 80))
    };
    let refused =
        after(&sctp.bytes(), Offload::default(), |packet, view| to_server(Family::V4).apply(packet, view));
    assert_eq!((refused.outcome, refused.bytes), (Err(Undeliverable::SctpFragment), sctp.bytes()));
    let same_port = Rewrite { source: None, destination: Some(end("10.2.0.11", 80)) };
    let passed = after(&sctp.bytes(), Offload::default(), |packet, view| same_port.apply(packet, view));
    assert_eq!(passed.outcome, Ok(()));
    assert_eq!(passed.bytes, Build { destination: end("10.2.0.11", 80), ..sctp }.bytes());
}

#[test]
fn a_wrong_checksum_of_sctp_becomes_right_with_another_port_only() {
    let ends = (end("10.1.0.9", 3001), end("10.9.0.1", 80));
    let wrong = Build { sum: Stated::Wrong(7), ..Build::new(protocol::SCTP, ends.0, ends.1) };
    becomes(&wrong, |same| Build { sum: Stated::Right, ..same });
    let same_port = Rewrite { source: Some(end("10.9.0.1", 3001)), destination: None };
    let done = after(&wrong.bytes(), Offload::default(), |packet, view| same_port.apply(packet, view));
    assert_eq!(done.bytes, Build { source: end("10.9.0.1", 3001), ..wrong }.bytes());
    assert_eq!(checksums(&done.bytes), (true, false));
}

#[test]
fn other_protocols_get_addresses() {
    let esp = Build::new(50, end("10.1.0.9", 0), end("10.9.0.1", 0));
    becomes(&esp, |same| same);
    becomes(&esp.v6(), |same| same);
}

#[test]
fn echo_requests_of_icmpv6_keep_a_right_checksum() {
    let mut echo = Build::new(protocol::ICMPV6, end("2001:db8::9", 0), end("2001:db8:9::1", 0));
    echo.payload = vec![128, 0, 0, 0, 1, 2, 3, 4];
    let mut bytes = echo.bytes();
    let pseudo = pseudo_header(echo.source.address, echo.destination.address, 58, 8);
    let sum = !slow_sum(&[&pseudo, &echo.payload]);
    bytes[42..44].copy_from_slice(&sum.to_be_bytes());
    let done = after(&bytes, Offload::default(), |packet, view| to_server(Family::V6).apply(packet, view));
    assert_eq!(done.outcome, Ok(()));
    assert_eq!(checksums(&done.bytes), (true, true));
}

#[test]
fn what_is_cut_off_or_of_another_family_stays_as_it_was() {
    let cut = |build: Build, length: usize| {
        let mut bytes = build.bytes();
        bytes.truncate(20 + length);
        bytes[3] = bytes.len() as u8;
        bytes
    };
    // What pads a frame is no checksum.
    let padded = |mut bytes: Vec<u8>| {
        bytes.extend([0; 18]);
        bytes
    };
    let sctp = Build::new(protocol::SCTP, end("10.1.0.9", 1), end("10.9.0.1", 2));
    for (bytes, rewrite, expected) in [
        (cut(Build::tcp(), 17), to_server(Family::V4), Undeliverable::Truncated),
        (padded(cut(Build::tcp(), 17)), to_server(Family::V4), Undeliverable::Truncated),
        (cut(Build::tcp(), 0), to_server(Family::V4), Undeliverable::Truncated),
        (cut(Build::udp(), 7), to_server(Family::V4), Undeliverable::Truncated),
        (cut(sctp, 11), to_server(Family::V4), Undeliverable::Truncated),
        (Build::tcp().bytes(), to_server(Family::V6), Undeliverable::Family),
        (Build::tcp().v6().bytes(), to_server(Family::V4), Undeliverable::Family),
    ] {
        let done = after(&bytes, Offload::default(), |packet, view| rewrite.apply(packet, view));
        assert_eq!((done.outcome, done.bytes), (Err(expected), bytes));
    }
}

proptest! {
    #[test]
    fn checksums_stay_what_they_were(build in any_packet()) {
        let rewrite = to_server(build.family());
        let done = after(&build.bytes(), build.offload(), |packet, view| rewrite.apply(packet, view));
        prop_assert_eq!(done.outcome, Ok(()));
        prop_assert_eq!(done.bytes.len(), build.bytes().len());
        // Save where IPVS makes a new one.
        let was_right = match (build.protocol, build.sum) {
            (protocol::SCTP, _) | (_, Stated::Absent | Stated::Partial | Stated::Right) | (50, _) => true,
            (_, Stated::Wrong(_)) => false,
        };
        prop_assert_eq!(checksums(&done.on_wire()), (true, was_right));
    }

    #[test]
    fn what_was_rewritten_is_rewritten_back(build in any_packet(), new in any::<u16>()) {
        prop_assume!(build.sum != Stated::Absent);
        prop_assume!(build.protocol != protocol::SCTP || build.sum == Stated::Right);
        let mut there = to_server(build.family());
        there.destination.as_mut().unwrap().port = new;
        let back = Rewrite { source: None, destination: Some(build.destination) };
        let first = after(&build.bytes(), build.offload(), |packet, view| there.apply(packet, view));
        let second = after(&first.bytes, first.offload, |packet, view| back.apply(packet, view));
        prop_assert_eq!(second.bytes, build.bytes());
        prop_assert_eq!(second.offload, build.offload());
    }

    #[test]
    fn nothing_panics_whatever_comes(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        version in prop::sample::select(vec![4_u8, 6]),
        protocol in prop::sample::select(vec![6_u8, 17, 132, 58, 1, 44]),
        offload in any_offload(),
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = version << 4 | if version == 4 { 5 } else { 0 };
        }
        if let Some(place) = bytes.get_mut(if version == 4 { 9 } else { 6 }) {
            *place = protocol;
        }
        let length = bytes.len();
        if version == 4 && length >= 20 {
            bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        } else if length >= 40 {
            bytes[4..6].copy_from_slice(&(length as u16 - 40).to_be_bytes());
        }
        if View::read(&bytes).is_ok() {
            let rewrite = to_server(if version == 4 { Family::V4 } else { Family::V6 });
            let done = after(&bytes, offload, |packet, view| rewrite.apply(packet, view));
            prop_assert_eq!(done.bytes.len(), length);
        }
    }
}
