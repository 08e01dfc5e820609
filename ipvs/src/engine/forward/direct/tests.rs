use super::super::testing::{Build, after, path};
use super::*;

#[test]
fn nothing_changes_but_the_ttl() {
    for build in [
        Build::tcp(),
        Build::udp(),
        Build::tcp().v6(),
        Build { fragment: (3, true), dont_fragment: false, ..Build::udp() },
    ] {
        let done = after(&build.bytes(), build.offload(), |packet, view| {
            to_server(packet, view, &path("10.2.0.1", 1500))
        });
        assert_eq!((done.outcome, done.bytes), (Ok(Outcome::Whole), Build { ttl: 63, ..build }.bytes()));
    }
}

#[test]
fn a_header_checksum_never_becomes_the_other_zero() {
    let with = |identification| Build { identification, ..Build::tcp() };
    let build = (0..=u16::MAX).map(with).find(|build| build.bytes()[10..12] == [0xfe, 0xff]).unwrap();
    let done = after(&build.bytes(), build.offload(), |packet, view| {
        to_server(packet, view, &path("10.2.0.1", 1500))
    });
    assert_eq!(done.bytes[10..12], [0, 0]);
    assert_eq!(done.bytes, Build { ttl: 63, ..build }.bytes());
}

#[test]
fn what_cannot_go_on_is_answered() {
    for (build, expected) in [
        (Build { ttl: 1, ..Build::tcp() }, Undeliverable::TimeExceeded),
        (Build { payload: vec![0; 1300], ..Build::tcp() }, Undeliverable::TooBig { mtu: 1300 }),
    ] {
        let done = after(&build.bytes(), build.offload(), |packet, view| {
            to_server(packet, view, &path("10.2.0.1", 1300))
        });
        assert_eq!(done.outcome, Err(expected));
        assert!(expected.answer().is_some());
    }
}
