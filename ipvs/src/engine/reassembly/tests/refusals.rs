use super::*;

#[test]
fn what_is_wrong_with_one_fragment_is_named_and_leaves_its_datagram_alone() {
    for build in Build::both() {
        let whole = build.whole();
        let header = whole.len() - build.payload.len();
        let longest = 0xfff8;
        // The IPv6 header does not count.
        let counted = if build.family == Family::V4 { 20 } else { 0 };
        let mut atomic = build.packet(0, false, &[0; 8]);
        if build.family == Family::V4 {
            atomic.truncate(header + 8);
        }
        for (what, packet, expected) in [
            ("whole", whole, Refused::NotAFragment),
            ("atomic", atomic, Refused::NotAFragment),
            ("first without data", build.packet(0, true, &[]), Refused::Empty),
            ("last without data", build.packet(40, false, &[]), Refused::Empty),
            ("misaligned", build.packet(40, true, &[0; 12]), Refused::Misaligned { length: 12 }),
            ("misaligned first", build.packet(0, true, &[0; 7]), Refused::Misaligned { length: 7 }),
            (
                "beyond the longest",
                build.packet(longest, false, &[0; 8]),
                Refused::TooLong { length: longest + 8 + counted },
            ),
        ] {
            let mut bench = Bench::new();
            assert_eq!(bench.take(&build.part(0, 40)), Ok(None));
            assert_eq!(bench.take(&packet), Err(expected), "{what}");
            assert_eq!(bench.reassembly.refused().iter().collect::<Vec<_>>(), [(expected.name(), 1)]);
            assert_eq!(bench.whole(&[build.part(40, 80)]).packet(), build.whole(), "{what}");
        }
    }
}

#[test]
fn a_spoilt_header_is_not_made_good() {
    for byte in 0..20 {
        let build = Build::v4();
        let mut spoilt = build.part(0, 40);
        spoilt[byte] ^= 0x04;
        let Ok(view) = View::read(&spoilt) else { continue };
        let mut reassembly = Reassembly::new(Limits::default(), 0);
        let taken = reassembly.take(&spoilt, &view, Instant::now());
        assert_eq!(taken, Err(Refused::HeaderChecksum), "byte {byte}");
    }
}

#[test]
fn a_view_of_another_packet_is_refused() {
    for build in Build::both() {
        let view = View::read(&build.part(40, 80)).unwrap();
        let mut reassembly = Reassembly::new(Limits::default(), 0);
        for short in [0, 10, 30, view.end - 1] {
            let taken = reassembly.take(&build.part(40, 80)[..short], &view, Instant::now());
            assert_eq!(taken, Err(Refused::Malformed(Malformed::Truncated)), "{short}");
        }
    }
}

#[test]
fn datagrams_may_be_as_long_as_their_header_can_tell() {
    let first = 0xff00;
    for build in Build::both() {
        let room = if build.family == Family::V4 { 0xffff - 20 } else { 0xffff };
        let fits = Build { payload: vec![3; room], ..build.clone() };
        let whole = Bench::new().whole(&fits.cut(&[8000, 16_000, 40_000, first]));
        assert_eq!(whole.packet(), fits.whole());
        assert_eq!(whole.longest, fits.part(16_000, 40_000).len().max(fits.part(40_000, first).len()));
    }
    // Only the first one shows that its options are too much.
    let options = Build { before: vec![1; 4], payload: vec![3; 0xffff - 20], ..Build::v4() };
    let mut bench = Bench::new();
    for part in options.cut(&[first]).iter().rev() {
        let expected =
            if part.len() > 1000 { Err(Refused::TooLong { length: 0xffff + 4 }) } else { Ok(None) };
        assert_eq!(bench.take(part), expected);
    }
    assert!(bench.reassembly.is_empty());
}

#[test]
fn contradictions_spoil_a_datagram_until_its_time_is_over() {
    for build in Build::both() {
        let timeout = if build.family == Family::V4 { TIMEOUT_V4 } else { TIMEOUT_V6 };
        let other = Build { payload: vec![0xee; 80], ..build.clone() };
        let longer = Build { payload: vec![0; 88], ..build.clone() };
        let shorter = Build { payload: vec![0; 72], ..build.clone() };
        for (what, there, contradiction, expected) in [
            ("the same place, other bytes", (16, 32), other.part(16, 32), Refused::Overlap),
            ("less of the same", (16, 32), build.part(16, 24), Refused::Overlap),
            ("more of the same", (16, 32), build.part(16, 40), Refused::Overlap),
            ("the end of it", (16, 32), build.part(24, 32), Refused::Overlap),
            ("within it", (16, 48), build.part(24, 32), Refused::Overlap),
            ("around it", (16, 32), build.part(8, 48), Refused::Overlap),
            ("its end and more", (16, 32), build.part(24, 48), Refused::Overlap),
            ("its begin and less", (16, 32), build.part(8, 24), Refused::Overlap),
            ("ends further", (40, 80), longer.part(80, 88), Refused::TwoEnds),
            ("goes on behind the end", (40, 80), longer.part(72, 80), Refused::TwoEnds),
            ("ends within", (16, 32), build.packet(16, false, &[0; 12]), Refused::TwoEnds),
            ("ends before", (40, 48), shorter.packet(24, false, &[0; 8]), Refused::TwoEnds),
            (
                "the same as the last",
                (16, 32),
                build.packet(16, false, &build.payload[16..32]),
                Refused::TwoEnds,
            ),
        ] {
            let mut bench = Bench::new();
            assert_eq!(bench.take(&build.part(there.0, there.1)), Ok(None));
            assert_eq!(bench.take(&contradiction), Err(expected), "{what}");
            bench.at(timeout - Duration::from_nanos(1));
            for part in build.cut(&[there.0.min(40), 40, there.1.max(40)]) {
                // Cuts of no length are none.
                if View::read(&part).is_ok_and(|view| !view.payload(&part).is_empty()) {
                    assert_eq!(bench.take(&part), Err(Refused::Spoilt), "{what}");
                }
            }
            let counts = bench.reassembly.counts();
            assert_eq!((counts.kept, counts.spoilt, bench.reassembly.bytes()), (1, 1, DATAGRAM), "{what}");
            bench.at(timeout);
            assert_eq!(bench.whole(&build.cut(&[40])).packet(), build.whole(), "{what}");
            assert_eq!(bench.reassembly.counts().timed_out, 0);
        }
    }
}

#[test]
fn marks_of_congestion_are_kept_and_mixes_refused() {
    const NOT: u8 = 0;
    const ECT_1: u8 = 1;
    const ECT_0: u8 = 2;
    const CE: u8 = 3;
    for build in Build::both() {
        for (classes, expected) in [
            ([NOT, NOT, NOT], Ok(NOT)),
            ([ECT_0, ECT_0, ECT_0], Ok(ECT_0)),
            ([ECT_1, ECT_1, ECT_1], Ok(ECT_1)),
            ([ECT_1, ECT_0, ECT_1], Ok(ECT_1)),
            ([ECT_0, ECT_1, ECT_1], Ok(ECT_0)),
            ([CE, CE, CE], Ok(CE)),
            ([CE, ECT_0, ECT_0], Ok(CE)),
            ([ECT_0, CE, ECT_0], Ok(CE)),
            ([ECT_1, ECT_1, CE], Ok(CE)),
            ([ECT_1, ECT_0, CE], Ok(CE)),
            ([NOT, NOT, CE], Err(Refused::EcnMix)),
            ([CE, NOT, CE], Err(Refused::EcnMix)),
            ([NOT, ECT_0, NOT], Err(Refused::EcnMix)),
            ([ECT_1, NOT, ECT_1], Err(Refused::EcnMix)),
            ([NOT, ECT_0, ECT_1], Err(Refused::EcnMix)),
            ([NOT, ECT_0, CE], Err(Refused::EcnMix)),
            ([CE, ECT_1, NOT], Err(Refused::EcnMix)),
        ] {
            let dscp = 0xb8;
            let of_class = |class: u8| Build { class: dscp | class, ..build.clone() };
            let [first, middle, last] = classes.map(of_class);
            let mut bench = Bench::new();
            assert_eq!(bench.take(&first.part(0, 24)), Ok(None));
            assert_eq!(bench.take(&middle.part(24, 64)), Ok(None));
            let whole = bench.take(&last.part(64, 80)).map(|whole| whole.unwrap().packet().to_vec());
            assert_eq!(whole, expected.map(|class| of_class(class).whole()), "{classes:?}");
            assert_eq!(bench.reassembly.counts().spoilt, u64::from(expected.is_err()));
            assert!(bench.reassembly.is_empty());
        }
    }
}

#[test]
fn what_is_no_packet_even_when_whole_is_refused() {
    use Malformed::{TooManyExtensions, Truncated};
    let inner = |next: u8, fragment: u8| vec![next, 0, 0, fragment, 0, 0, 0, 9];
    let endless = [60, 0, 1, 4, 0, 0, 0, 0].repeat(8);
    for (what, start, expected) in [
        ("a fragment", inner(17, 1), Refused::Nested),
        ("headers without end", [inner(60, 0), endless].concat(), TooManyExtensions.into()),
        ("a header that is cut off", [inner(60, 0), vec![17, 200]].concat(), Truncated.into()),
    ] {
        let build = Build { protocol: 44, payload: [&start[..], &[0; 6]].concat(), ..Build::v6() };
        let mut bench = Bench::new();
        assert_eq!(bench.take(&build.part(0, 8)), Ok(None), "{what}");
        assert_eq!(bench.take(&build.part(8, build.payload.len())), Err(expected), "{what}");
        assert!(bench.reassembly.is_empty());
    }
}
