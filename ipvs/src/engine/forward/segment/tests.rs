use proptest::prelude::*;

use super::super::testing::{Build, Sum as Stated, after, any_offload, any_packet, checksums};
use super::*;
use crate::engine::buffer::Segment;

fn cut_up(bytes: &[u8], offload: Offload) -> (Result<(), Inseparable>, Vec<Vec<u8>>) {
    let done = after(bytes, offload, |packet, view| {
        let mut segments = Vec::new();
        let mut scratch = Vec::new();
        let outcome = cut(packet, view, &mut scratch, |mut segment, view| {
            assert_eq!(View::read(segment.bytes()).as_ref(), Ok(view));
            assert_eq!(segment.headroom(), HEADROOM);
            segment.complete_checksum().unwrap();
            segments.push(segment.bytes().to_vec());
        });
        (outcome, segments)
    });
    done.outcome
}

fn many(kind: SegmentKind, size: u16, build: &Build) -> Offload {
    Offload { segment: Some(Segment { kind, size, ecn: true }), ..build.offload() }
}

#[test]
fn segments_of_tcp_follow_on_each_other() {
    let cwr_fin_psh_ack = 0x99;
    for (build, kind) in [(Build::tcp(), SegmentKind::TcpV4), (Build::tcp().v6(), SegmentKind::TcpV6)] {
        let build = Build {
            payload: (0..250).collect(),
            flags: cwr_fin_psh_ack,
            sequence: u32::MAX - 99,
            identification: u16::MAX,
            options: vec![1, 1, 1, 0],
            sum: Stated::Partial,
            ..build
        };
        let (outcome, segments) = cut_up(&build.bytes(), many(kind, 100, &build));
        let expected = [(0x90, u32::MAX - 99, 0_u16), (0x10, 0, 1), (0x19, 100, 2)];
        let expected = expected.map(|(flags, sequence, number)| {
            let from = usize::from(number) * 100;
            Build {
                flags,
                sequence,
                identification: u16::MAX.wrapping_add(number),
                payload: build.payload[from..250.min(from + 100)].to_vec(),
                sum: Stated::Right,
                ..build.clone()
            }
            .bytes()
        });
        assert_eq!((outcome, segments), (Ok(()), expected.to_vec()));
    }
}

#[test]
fn datagrams_are_of_one_size_but_for_the_last() {
    for build in [Build::udp(), Build::udp().v6()] {
        for (sum, expected) in [
            (Stated::Partial, Stated::Right),
            (Stated::Absent, Stated::Absent),
            (Stated::Right, Stated::Right),
        ] {
            let build = Build { payload: (0..250).collect(), sum, ..build.clone() };
            let (outcome, segments) = cut_up(&build.bytes(), many(SegmentKind::UdpL4, 200, &build));
            let expected = [(0..200_usize, 0), (200..250, 1)].map(|(data, number)| {
                let payload = build.payload[data].to_vec();
                let identification = build.identification + number;
                Build { payload, identification, sum: expected, ..build.clone() }.bytes()
            });
            assert_eq!((outcome, segments), (Ok(()), expected.to_vec()));
        }
    }
}

#[test]
fn what_contradicts_itself_is_not_cut() {
    let tcp = Build::tcp();
    let fragment = Build { fragment: (0, true), dont_fragment: false, ..Build::tcp() };
    for (build, offload, expected) in [
        (&tcp, Offload::default(), Inseparable::Single),
        (&tcp, many(SegmentKind::UdpFragmentation, 9, &tcp), Inseparable::Fragments),
        (&tcp, many(SegmentKind::TcpV6, 9, &tcp), Inseparable::Contradiction),
        (&tcp, many(SegmentKind::UdpL4, 9, &tcp), Inseparable::Contradiction),
        (&tcp, many(SegmentKind::TcpV4, 0, &tcp), Inseparable::Contradiction),
        (&fragment, many(SegmentKind::TcpV4, 9, &tcp), Inseparable::Contradiction),
    ] {
        assert_eq!(cut_up(&build.bytes(), offload), (Err(expected), vec![]));
    }
}

#[test]
fn without_data_there_is_one_segment() {
    let build = Build { payload: vec![], ..Build::tcp() };
    let (outcome, segments) = cut_up(&build.bytes(), many(SegmentKind::TcpV4, 9, &build));
    assert_eq!((outcome, segments), (Ok(()), vec![build.bytes()]));
}

proptest! {
    #[test]
    fn segments_have_all_the_data_and_right_checksums(build in any_packet(), mut offload in any_offload()) {
        prop_assume!(build.sum != Stated::Absent);
        offload.checksum = build.offload().checksum;
        let (outcome, segments) = cut_up(&build.bytes(), offload);
        if outcome.is_ok() {
            prop_assert!(segments.iter().all(|segment| checksums(segment) == (true, true)));
            let headers = segments[0].len() - build.payload.len().min(usize::from(offload.segment.unwrap().size));
            let data: Vec<u8> = segments.iter().flat_map(|segment| segment[headers..].to_vec()).collect();
            prop_assert_eq!(data, build.payload);
        } else {
            prop_assert!(segments.is_empty());
        }
    }
}
