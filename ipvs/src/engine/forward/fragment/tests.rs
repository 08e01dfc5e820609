use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::testing::{After, Build, Sum as Stated, after, any_offload, any_packet, slow_sum};
use super::*;
use crate::engine::buffer::Offload;
use crate::engine::packet::{Fragment, protocol};

type Cut = After<(Result<(), Uncuttable>, Vec<Vec<u8>>)>;

fn cut_up(bytes: &[u8], offload: Offload, mtu: usize) -> Cut {
    after(bytes, offload, |packet, view| {
        let mut fragments = Vec::new();
        let mut scratch = vec![0xee; 3];
        let outcome = cut(packet, view, mtu, 0x0102_0304, &mut scratch, |fragment| {
            fragments.push(fragment.to_vec());
        });
        (outcome, fragments)
    })
}

/// What a host makes of fragments: the payload of the whole packet.
fn reassembled(fragments: &[Vec<u8>]) -> Vec<u8> {
    let mut parts = BTreeMap::new();
    let mut total = None;
    for bytes in fragments {
        let view = View::read(bytes).unwrap();
        assert_ne!(view.fragment, Fragment::Whole);
        let (offset, more) = if bytes[0] >> 4 == 4 {
            assert_eq!(slow_sum(&[&bytes[..view.transport]]), 0xffff);
            let word = u16::from_be_bytes([bytes[6], bytes[7]]);
            assert_eq!(word & 0x4000, 0, "may be cut further");
            (usize::from(word & 0x1fff) * 8, word & 0x2000 != 0)
        } else {
            assert_eq!(bytes[44..48], [1, 2, 3, 4]);
            let word = u16::from_be_bytes([bytes[42], bytes[43]]);
            (usize::from(word & !7), word & 1 != 0)
        };
        let data = view.payload(bytes).to_vec();
        if more {
            assert_eq!(data.len() % 8, 0);
        } else {
            assert_eq!(total.replace(offset + data.len()), None);
        }
        parts.insert(offset, data);
    }
    let mut whole = Vec::new();
    for (offset, data) in parts {
        assert_eq!(offset, whole.len());
        whole.extend(data);
    }
    assert_eq!(total, Some(whole.len()));
    whole
}

#[test]
fn fragments_are_as_long_as_the_way_takes_and_make_the_whole() {
    for build in [Build::udp(), Build { dont_fragment: false, ..Build::udp() }, Build::udp().v6()] {
        for sum in [Stated::Right, Stated::Partial] {
            let build = Build { payload: (0..3000).map(|n| n as u8).collect(), sum, ..build.clone() };
            let done = cut_up(&build.bytes(), build.offload(), 1300);
            let (outcome, fragments) = done.outcome;
            assert_eq!((outcome, fragments.len()), (Ok(()), 3));
            assert_eq!(fragments[0].len(), if build.source == Build::udp().source { 1300 } else { 1296 });
            let complete = Build { sum: Stated::Right, ..build }.bytes();
            let view = View::read(&complete).unwrap();
            assert_eq!(reassembled(&fragments), view.payload(&complete));
        }
    }
}

#[test]
fn fragments_are_cut_further() {
    let build = Build { fragment: (100, true), dont_fragment: false, payload: vec![7; 1600], ..Build::udp() };
    let (outcome, fragments) = cut_up(&build.bytes(), build.offload(), 820).outcome;
    assert_eq!(outcome, Ok(()));
    let expected = [(100, 800), (200, 800)].map(|(offset, length)| {
        Build { fragment: (offset, true), payload: vec![7; length], ..build.clone() }.bytes()
    });
    assert_eq!(fragments, expected);
    let last = Build { fragment: (100, false), ..build };
    let (_, fragments) = cut_up(&last.bytes(), last.offload(), 820).outcome;
    assert_eq!(fragments[1][6] & 0x20, 0);
}

#[test]
fn options_that_are_not_for_every_fragment_are_in_the_first_alone() {
    // Record route, router alert, the end of the list.
    let options = vec![7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 0];
    let build =
        Build { ip_options: options.clone(), payload: vec![7; 200], dont_fragment: false, ..Build::udp() };
    let (_, fragments) = cut_up(&build.bytes(), build.offload(), 100).outcome;
    assert_eq!(fragments[0][20..32], options);
    for fragment in &fragments[1..] {
        assert_eq!(fragment[20..32], [1, 1, 1, 1, 1, 1, 1, 148, 4, 0, 0, 0]);
    }
}

#[test]
fn some_packets_are_not_cut() {
    use crate::engine::buffer::{Checksum, Segment, SegmentKind};
    let segment =
        |kind| Offload { segment: Some(Segment { kind, size: 100, ecn: false }), ..Offload::default() };
    let outside = Offload { checksum: Checksum::Partial { start: 0, offset: 900 }, segment: None };
    let long = Build { payload: vec![0; 800], ..Build::udp() };
    let already = Build { fragment: (0, true), ..long.clone().v6() };
    for (what, build, offload, mtu, expected) in [
        ("many segments", long.clone(), segment(SegmentKind::UdpL4), 500, Err(Uncuttable::Unsegmented)),
        ("one datagram", long.clone(), segment(SegmentKind::UdpFragmentation), 500, Ok(())),
        ("checksum", long.clone(), outside, 500, Err(Uncuttable::Checksum(OutsidePacket))),
        ("no way", long.clone(), Offload::default(), 27, Err(Uncuttable::Narrow { mtu: 27 })),
        ("a fragment of IPv6", already, Offload::default(), 500, Err(Uncuttable::Extensions)),
    ] {
        let (outcome, fragments) = cut_up(&build.bytes(), offload, mtu).outcome;
        assert_eq!((outcome, fragments.is_empty()), (expected, expected.is_err()), "{what}");
    }
}

proptest! {
    #[test]
    fn whatever_is_cut_becomes_whole_again(build in any_packet(), mtu in 80..300_usize) {
        let build = Build { payload: build.payload.repeat(20), ..build };
        let done = cut_up(&build.bytes(), build.offload(), mtu);
        let (outcome, fragments) = done.outcome;
        prop_assert_eq!(outcome, Ok(()));
        prop_assert!(fragments.iter().all(|fragment| fragment.len() <= mtu));
        // On the wire it was one already.
        if build.bytes().len() > mtu {
            let header = if build.source.address.family() == crate::Family::V4 { build.transport_at() } else { 40 };
            let sum = if build.sum == Stated::Partial { Stated::Right } else { build.sum };
            let whole = Build { sum, ..build }.bytes();
            let fragments: Vec<_> = fragments.iter().map(|fragment| plain(fragment)).collect();
            prop_assert_eq!(reassembled(&fragments), whole[header..].to_vec());
        }
    }

    #[test]
    fn no_offload_makes_it_panic(build in any_packet(), offload in any_offload(), mtu in 0..200_usize) {
        drop(cut_up(&build.bytes(), offload, mtu));
    }
}

/// Without extension headers behind that of the fragment, whose data they are.
fn plain(fragment: &[u8]) -> Vec<u8> {
    let mut fragment = fragment.to_vec();
    if fragment[0] >> 4 == 6 {
        fragment[40] = protocol::UDP;
    }
    fragment
}

#[test]
fn the_outer_packet_of_a_tunnel_is_cut_in_both_families() {
    use super::super::testing::{address, path};
    use super::super::tunnel::{Encapsulation, PathMtuDiscovery};
    let build = Build { payload: vec![9; 1480], dont_fragment: false, ..Build::udp() };
    for (server, source) in [("10.2.0.11", "10.2.0.1"), ("2001:db8::11", "2001:db8::1")] {
        let encapsulation = Encapsulation {
            tunnel: crate::Tunnel::Ipip,
            server: address(server),
            path: path(source, 1500),
            pmtu: PathMtuDiscovery::On,
        };
        let done = after(&build.bytes(), build.offload(), |packet, view| {
            encapsulation.apply(packet, view, 7).unwrap();
        });
        let (outcome, fragments) = cut_up(&done.bytes, done.offload, 1500).outcome;
        assert_eq!((outcome, fragments.len()), (Ok(()), 2));
        assert_eq!(reassembled(&fragments), Build { ttl: 63, ..build.clone() }.bytes());
    }
}
