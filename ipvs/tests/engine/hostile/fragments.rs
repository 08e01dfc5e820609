use super::*;

/// The field of a fragment: where it begins, in eights, and whether more follow.
const fn field(offset: u16, more: bool) -> u16 {
    offset | (more as u16) << 13
}

#[test]
fn tiny_fragments_become_the_segment_that_they_are_or_wait_in_bounded_memory() {
    let mut target = Target::new();
    let flow = target.flows[0].clone();
    let whole = Build::tcp(flow.client, flow.service, ACK).with(&[9; 60]);
    let segment = whole.bytes()[20..].to_vec();
    let mut arrived = 0;
    target.flood(20_000, |random| {
        // The first ones of datagrams that never become whole: flags of TCP would be in the second.
        let first = Build {
            fragment: field(0, true),
            identification: random.u16(..),
            ..Build::udp(anyone(random), any_service(random))
        };
        first.bytes()
    });
    for number in 0..1000_u16 {
        let mut pieces: Vec<_> = (0_u16..).zip(segment.chunks(8)).collect();
        target.random.shuffle(&mut pieces);
        for (place, piece) in pieces {
            let more = usize::from(place) * 8 + piece.len() < segment.len();
            let fragment =
                Build { fragment: field(place, more), identification: number, protocol: 6, ..whole.clone() };
            let bytes = raw(&fragment, piece);
            let out = target.site.send_bytes(&bytes, None);
            if flow.reaches_server(&out) {
                arrived += 1;
            }
        }
    }
    assert_eq!(arrived, 1000);
    target.site.check_counts();
}

/// A fragment with these very bytes, also in the first place.
fn raw(build: &Build, piece: &[u8]) -> Vec<u8> {
    // As a protocol without a header of its own, which the number then contradicts.
    let mut bytes = Build { protocol: 255, ..build.clone() }.with(piece).bytes();
    bytes[9] = build.protocol;
    bytes[10..12].fill(0);
    let sum = buoy_ipvs::engine::checksum::Sum::of(&bytes[..20]).checksum();
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[test]
fn overlapping_fragments_become_nothing() {
    let mut target = Target::new();
    let before = target.site.engine.connections();
    let mut number = 0_u16;
    let mut part = 0;
    let mut client = end("10.1.0.66", 4000);
    target.flood(60_000, |random| {
        part = (part + 1) % 3;
        if part == 0 {
            number = number.wrapping_add(1);
            client = anyone(random);
        }
        let build =
            Build { identification: number, protocol: 6, ..Build::tcp(client, end("10.9.0.1", 80), SYN) };
        // The second one would write over the ports and flags of the first.
        let (offset, more, length) = [(0, true, 24), (1, true, 24), (3, false, 20)][part];
        raw(&Build { fragment: field(offset, more), ..build }, &vec![random.u8(..); length])
    });
    assert_eq!(target.site.engine.connections(), before);
    let refused: Vec<_> = target.site.reassembly.refused().iter().collect();
    let of = |name| refused.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count);
    assert!(of("overlap") > 15_000, "{refused:?}");
    assert_eq!(target.site.reassembly.counts().whole, 0);
    assert_eq!(refused.iter().map(|(_, count)| count).sum::<u64>(), target.fate("refused"));
}

#[test]
fn a_flood_of_fragments_does_not_keep_others_from_becoming_whole() {
    let mut target = Target::new();
    let flow = target.flows[0].clone();
    let whole = Build::tcp(flow.client, flow.service, ACK).with(&[9; 100]);
    let segment = whole.bytes()[20..].to_vec();
    let (mut number, mut arrived) = (0_u16, 0);
    for _ in 0..200 {
        target.flood(500, |random| {
            let build = Build {
                fragment: field(random.u16(..64), true),
                identification: random.u16(..),
                ..Build::udp(anyone(random), any_service(random))
            };
            build.with(&[3; 512]).bytes()
        });
        number += 1;
        for (place, piece) in [(0, &segment[..64]), (8, &segment[64..])] {
            let fragment = Build {
                fragment: field(place, place == 0),
                identification: number,
                protocol: 6,
                ..whole.clone()
            };
            let out = target.site.send_bytes(&raw(&fragment, piece), None);
            arrived += u32::from(flow.reaches_server(&out));
        }
    }
    assert_eq!(arrived, 200);
    assert!(target.site.reassembly.counts().evicted > 10_000);
    target.site.pass(Duration::from_secs(61));
    assert_eq!((target.site.reassembly.len(), target.site.reassembly.bytes()), (0, 0));
}
