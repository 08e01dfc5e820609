use proptest::prelude::*;

use super::super::testing::{
    After, Build, Sum as Stated, after, any_ends, any_offload, any_packet, checksums, end, hex,
};
use super::*;
use crate::engine::buffer::SegmentKind;
use crate::engine::packet::protocol;

fn client() -> Endpoint {
    end("10.1.0.9", 3001)
}

fn inserted(build: &Build, client: Endpoint, mtu: usize) -> After<Result<(), NotTold>> {
    after(&build.bytes(), build.offload(), |packet, view| {
        let mut new = *view;
        let outcome = insert(packet, &mut new, client, mtu);
        assert_eq!(View::read(packet.bytes()), Ok(new), "the view goes with the packet");
        outcome
    })
}

#[test]
fn the_option_comes_first_and_everything_else_behind() {
    let toa = hex("fe08 0bb9 0a01 0009");
    let stamps = hex("080a 0000 0001 0000 0002");
    for (what, options, expected) in [
        ("none", vec![], toa.clone()),
        ("timestamps", [&[1, 1], &stamps[..]].concat(), [&toa[..], &stamps, &[1, 1]].concat()),
        ("one of the client's own making", hex("fe08 0001 7f00 0001"), toa.clone()),
        ("two of them", hex("fe08 0001 7f00 0001 fe06 0102 0304 0000"), toa.clone()),
        ("padding", hex("0101 0101 0101 0101 0101 0100"), toa.clone()),
        ("no well-formed ones", hex("0800 0000"), toa.clone()),
    ] {
        for sum in [Stated::Right, Stated::Wrong(77), Stated::Partial] {
            let build = Build { options: options.clone(), sum, ..Build::tcp() };
            let done = inserted(&build, client(), 1500);
            assert_eq!(done.outcome, Ok(()), "{what}");
            let expected = Build { options: expected.clone(), ..build.clone() };
            match sum {
                Stated::Wrong(_) => assert_eq!(checksums(&done.bytes), (true, false), "{what}"),
                _ => assert_eq!(done.bytes, expected.bytes(), "{what}, {sum:?}"),
            }
            assert_eq!(done.offload, build.offload());
        }
    }
}

#[test]
fn clients_of_ipv6_have_a_longer_one() {
    let build = Build::tcp().v6();
    let done = inserted(&build, build.source, 1500);
    let option = hex("fe14 0bb9 2001 0db8 0001 0000 0000 0000 0000 0009");
    assert_eq!((done.outcome, done.bytes), (Ok(()), Build { options: option, ..build }.bytes()));
}

#[test]
fn selective_acknowledgements_make_room() {
    let sack: Vec<u8> = [&[1, 1, 5, 34][..], &[7; 32]].concat();
    let build = Build { options: sack, ..Build::tcp() };
    let done = inserted(&build, client(), 1500);
    assert_eq!(done.outcome, Ok(()));
    assert_eq!(done.bytes, Build { options: hex("fe08 0bb9 0a01 0009"), ..build }.bytes());
}

#[test]
fn without_room_the_packet_stays_as_it_was() {
    let unknown: Vec<u8> = [&[30, 36][..], &[0; 34]].concat();
    let long = Build { payload: vec![0; 1460], ..Build::tcp() };
    for (what, build, expected) in [
        ("the header", Build { options: unknown, ..Build::tcp() }, NotTold::HeaderFull),
        ("the way", long, NotTold::TooLong),
        ("UDP", Build::udp(), NotTold::NoSegment),
        (
            "a fragment",
            Build { fragment: (0, true), dont_fragment: false, ..Build::tcp() },
            NotTold::NoSegment,
        ),
        ("IP", Build { payload: vec![0; 65_490], ..Build::tcp() }, NotTold::TooLong),
    ] {
        let done = inserted(&build, client(), if what == "IP" { 70_000 } else { 1500 });
        assert_eq!((done.outcome, done.bytes), (Err(expected), build.bytes()), "{what}");
    }
    let mut buffer = Build::tcp().bytes();
    let mut view = View::read(&buffer).unwrap();
    let (length, before) = (buffer.len(), buffer.clone());
    let mut packet = Packet::new(&mut buffer, 0, length, Offload::default()).unwrap();
    assert_eq!(insert(&mut packet, &mut view, client(), 1500), Err(NoRoom.into()));
    assert_eq!((packet.bytes(), view.end), (&before[..], length));
}

#[test]
fn segments_to_be_get_shorter_where_the_way_is_short() {
    let build = Build { payload: vec![7; 5000], sum: Stated::Partial, ..Build::tcp() };
    let segment = |size| Some(Segment { kind: SegmentKind::TcpV4, size, ecn: false });
    for (size, becomes) in [(1400, segment(1400)), (1452, segment(1452)), (1460, segment(1452))] {
        let offload = Offload { segment: segment(size), ..build.offload() };
        let done =
            after(&build.bytes(), offload, |packet, view| insert(packet, &mut { *view }, client(), 1500));
        assert_eq!((done.outcome, done.offload.segment), (Ok(()), becomes));
    }
}

#[test]
fn it_is_due_at_the_end_of_the_handshake() {
    for (what, flags, acknowledgement, due) in [
        ("the last of the handshake", 0x10, 2000, true),
        ("data with it", 0x18, 2000, true),
        ("the end with it", 0x11, 2000, true),
        ("more was seen", 0x10, 2001, false),
        ("the SYN", 0x02, 2000, false),
        ("a SYN with an acknowledgement", 0x12, 2000, false),
        ("a reset", 0x14, 2000, false),
        ("no acknowledgement", 0x00, 2000, false),
    ] {
        let build = Build { flags, acknowledgement, ..Build::tcp() }.bytes();
        assert_eq!(is_due(&build, &View::read(&build).unwrap(), 1999), due, "{what}");
    }
    let wrapped = Build { acknowledgement: 0, ..Build::tcp() }.bytes();
    assert!(is_due(&wrapped, &View::read(&wrapped).unwrap(), u32::MAX));
}

#[test]
fn a_syn_loses_timestamps_and_what_pretends_to_be_ours() {
    let before = hex("0204 05b4 0402 080a 0000 0001 0000 0000 0103 0307 fe08 0001 7f00 0001");
    let behind = hex("0204 05b4 0402 0101 0101 0101 0101 0101 0103 0307 0101 0101 0101 0101");
    for (flags, expected) in [(0x02, &behind), (0xc2, &behind), (0x10, &before), (0x06, &before)] {
        for build in [Build::tcp(), Build::tcp().v6(), Build { sum: Stated::Partial, ..Build::tcp() }] {
            let build = Build { flags, options: before.clone(), ..build };
            let done = after(&build.bytes(), build.offload(), blank_timestamps);
            assert_eq!(done.bytes, Build { options: expected.clone(), ..build }.bytes());
        }
    }
}

#[test]
fn a_servers_syn_offers_less() {
    let mss = |mss: u16| [&[2, 4][..], &mss.to_be_bytes(), &[1, 3, 3, 7]].concat();
    let syn = Build { flags: 0x12, ..Build::tcp() };
    for (build, before, behind) in [
        (syn.clone(), 1460, 1452),
        (syn.clone().v6(), 1440, 1420),
        (syn.clone(), 7, 0),
        (Build { flags: 0x02, ..syn.clone() }, 1460, 1460),
        (Build { flags: 0x16, ..syn.clone() }, 1460, 1460),
    ] {
        let build = Build { options: mss(before), ..build };
        let done = after(&build.bytes(), build.offload(), lower_mss);
        assert_eq!(done.bytes, Build { options: mss(behind), ..build }.bytes());
    }
    // Options of an odd length move the number to an odd place.
    let odd = |mss: u16| [&[1, 2, 4][..], &mss.to_be_bytes(), &[1, 1, 0]].concat();
    let build = Build { options: odd(1460), ..syn };
    let done = after(&build.bytes(), build.offload(), lower_mss);
    assert_eq!(done.bytes, Build { options: odd(1452), ..build }.bytes());
}

proptest! {
    #[test]
    fn checksums_and_data_stay_what_they_were(build in any_packet(), [v4, ..] in any_ends(Family::V4)) {
        let done = inserted(&build, v4, 1500);
        let right = build.protocol == 50
            || matches!(build.sum, Stated::Right | Stated::Partial);
        prop_assert_eq!(checksums(&done.on_wire()), (true, right));
        if done.outcome.is_ok() {
            prop_assert_eq!(build.protocol, protocol::TCP);
            prop_assert!(done.bytes.ends_with(&build.payload));
            let view = View::read(&done.bytes).unwrap();
            let header = Header::read(&done.bytes, &view).unwrap();
            let told: Vec<_> = options(&done.bytes[header.options()]).filter(|(kind, _)| *kind == KIND).collect();
            prop_assert_eq!(told, vec![(KIND, 0..8)]);
        } else {
            prop_assert_eq!(done.bytes, build.bytes());
        }
    }

    #[test]
    fn no_offload_makes_it_panic(build in any_packet(), offload in any_offload(), mtu in 0..200_usize) {
        after(&build.bytes(), offload, |packet, view| {
            let told = insert(packet, &mut { *view }, client(), mtu);
            assert!(told.is_err() || build.protocol == protocol::TCP);
            let view = View::read(packet.bytes()).unwrap();
            blank_timestamps(packet, &view);
            lower_mss(packet, &view);
        });
    }
}
