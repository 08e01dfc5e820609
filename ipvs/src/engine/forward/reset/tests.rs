use super::super::testing::{Build, Sum as Stated, after, checksums, end};
use super::*;

#[test]
fn a_reset_is_what_rfc_9293_says() {
    for (what, flags, payload, sequence, acknowledgement, answered) in [
        ("SYN", 0x02, 0, 0, 1001, 0x14),
        ("SYN with data", 0x02, 5, 0, 1006, 0x14),
        ("data without acknowledgement", 0x08, 5, 0, 1005, 0x14),
        ("the end", 0x01, 5, 0, 1006, 0x14),
        ("acknowledgement", 0x10, 0, 2000, 0, 0x04),
        ("data", 0x18, 5, 2000, 0, 0x04),
        ("SYN with acknowledgement", 0x12, 0, 2000, 0, 0x04),
    ] {
        for build in [Build::tcp(), Build::tcp().v6(), Build { extensions: vec![16], ..Build::tcp().v6() }] {
            let build = Build { flags, payload: vec![7; payload], options: vec![1, 1, 1, 0], ..build };
            let done = after(&build.bytes(), build.offload(), answer);
            let mut expected = Build {
                source: build.destination,
                destination: build.source,
                identification: 0,
                flags: answered,
                sequence,
                acknowledgement,
                options: Vec::new(),
                payload: Vec::new(),
                extensions: Vec::new(),
                ..build.clone()
            }
            .bytes();
            // A window of 0, and no flow label.
            let at = expected.len() - 20;
            expected[at + 14..at + 18].fill(0);
            if at == 40 {
                expected[1..4].fill(0);
            }
            let mut bytes = done.bytes.clone();
            bytes[at + 16..at + 18].fill(0);
            assert_eq!((done.outcome, bytes), (Ok(()), expected), "{what}");
            assert_eq!(checksums(&done.bytes), (true, true), "{what}");
        }
    }
}

#[test]
fn sequence_numbers_go_round() {
    let build = Build { flags: 0x02, sequence: u32::MAX, payload: vec![], ..Build::tcp() };
    let done = after(&build.bytes(), build.offload(), answer);
    assert_eq!(done.bytes[28..32], [0; 4]);
}

#[test]
fn not_everything_is_answered() {
    for (what, build, expected) in [
        ("a reset", Build { flags: 0x04, ..Build::tcp() }, NoReset::Reset),
        ("a reset with a SYN", Build { flags: 0x06, ..Build::tcp() }, NoReset::Reset),
        ("a wrong checksum", Build { sum: Stated::Wrong(9), ..Build::tcp() }, NoReset::BadChecksum),
        ("UDP", Build::udp(), NoReset::NoSegment),
        ("a fragment", Build { fragment: (0, true), ..Build::tcp() }, NoReset::NoSegment),
        ("from many", Build { source: end("224.0.0.1", 9), ..Build::tcp() }, NoReset::NotUnicast),
        ("from all", Build { source: end("255.255.255.255", 9), ..Build::tcp() }, NoReset::NotUnicast),
        ("from nobody", Build { source: end("0.0.0.0", 9), ..Build::tcp() }, NoReset::NotUnicast),
        ("to many", Build { destination: end("ff02::1", 9), ..Build::tcp().v6() }, NoReset::NotUnicast),
        ("from ::", Build { source: end("::", 9), ..Build::tcp().v6() }, NoReset::NotUnicast),
    ] {
        let done = after(&build.bytes(), build.offload(), answer);
        assert_eq!((done.outcome, done.bytes), (Err(expected), build.bytes()), "{what}");
    }
    let partial = Build { sum: Stated::Partial, ..Build::tcp() };
    let done = after(&partial.bytes(), partial.offload(), answer);
    assert_eq!((done.outcome, done.offload), (Ok(()), Offload::default()));
}
