use proptest::prelude::*;

use super::*;

/// A datagram, and where it is cut.
#[derive(Clone, Debug)]
struct Cut {
    build: Build,
    at: Vec<usize>,
}

impl Cut {
    fn parts(&self) -> Vec<Vec<u8>> {
        self.build.cut(&self.at)
    }
}

prop_compose! {
    fn any_cut()(
        is_v4 in any::<bool>(),
        class in any::<u8>(),
        dont_fragment in any::<bool>(),
        identification in any::<u16>(),
        extensions in 0..3_usize,
        payload in prop::collection::vec(any::<u8>(), 9..3000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
    ) -> Cut {
        let before =
            if is_v4 { vec![1; 4 * extensions] } else { [60, 0, 1, 4, 0, 0, 0, 0].repeat(extensions) };
        let family = if is_v4 { Family::V4 } else { Family::V6 };
        let eights = (payload.len() - 1) / 8;
        let at: BTreeSet<_> = cuts.iter().map(|cut| (cut.index(eights) + 1) * 8).collect();
        let build = Build { family, class, dont_fragment, identification, before, payload, ..Build::v4() };
        Cut { build, at: at.into_iter().collect() }
    }
}

prop_compose! {
    /// Parts of a datagram in any order, each of them at least once.
    fn any_journey()(cut in any_cut())(
        order in {
            let every: Vec<_> = (0..cut.parts().len()).collect();
            let again = prop::collection::vec(0..every.len(), 0..every.len());
            again.prop_map(move |again| [&every[..], &again].concat()).prop_shuffle()
        },
        cut in Just(cut),
    ) -> (Cut, Vec<usize>) {
        (cut, order)
    }
}

/// A fragment that has bytes of this one, but is another.
fn rival(victim: &View, packet: &[u8], build: &Build, kind: u8, size: usize) -> Option<Vec<u8>> {
    let part = Part::read(packet, victim).ok()?;
    let (from, to) = (part.offset, part.end());
    let up = |length: usize| length.next_multiple_of(8);
    let (from, to) = match kind {
        // As it is, with other bytes.
        0 => (from, from + up(to - from)),
        // Longer, at either end.
        1 => (from, from + up(to - from) + up(size)),
        2 => (from.checked_sub(up(size))?, from + up(to - from)),
        // A piece of it.
        _ => (from, from + up(size)),
    };
    let data: Vec<u8> = (from..to).map(|at| !build.payload.get(at).copied().unwrap_or(0)).collect();
    Some(build.packet(from, true, &data))
}

proptest! {
    #[test]
    fn whatever_way_they_take_the_datagram_comes_whenever_all_its_parts_have(
        (cut, order) in any_journey()
    ) {
        let parts = cut.parts();
        let mut bench = Bench::new();
        let mut seen = BTreeSet::new();
        let mut times = 0;
        for part in order {
            let taken = bench.take(&parts[part]).unwrap();
            seen.insert(part);
            if seen.len() < parts.len() {
                prop_assert_eq!(taken, None);
                continue;
            }
            seen.clear();
            times += 1;
            let whole = taken.unwrap();
            prop_assert_eq!(whole.packet(), cut.build.whole());
            prop_assert_eq!(whole.longest, parts.iter().map(Vec::len).max().unwrap());
            prop_assert_eq!(whole.dont_fragment, cut.build.dont_fragment || cut.build.family == Family::V6);
        }
        prop_assert_eq!(bench.reassembly.is_empty(), seen.is_empty());
        prop_assert_eq!(bench.reassembly.counts().whole, times);
    }

    #[test]
    fn of_an_overlap_nothing_ever_comes(
        (cut, order) in any_journey(),
        kind in 0..4_u8,
        size in 1..40_usize,
        at in any::<prop::sample::Index>(),
    ) {
        let parts = cut.parts();
        let victim = &parts[order[0]];
        let view = View::read(victim).unwrap();
        let rival = rival(&view, victim, &cut.build, kind, size);
        prop_assume!(rival.is_some());
        // Behind the one that it overlaps, and before all are there.
        let mut seen = BTreeSet::new();
        let whole_at = order.iter().position(|part| seen.insert(*part) && seen.len() == parts.len()).unwrap();
        let at = 1 + at.index(whole_at);
        let mut packets: Vec<_> = order.iter().map(|part| parts[*part].clone()).collect();
        packets.insert(at, rival.unwrap());
        let mut bench = Bench::new();
        for (number, packet) in packets.iter().enumerate() {
            let taken = bench.take(packet);
            match number.cmp(&at) {
                std::cmp::Ordering::Less => prop_assert_eq!(taken, Ok(None)),
                std::cmp::Ordering::Equal => {
                    prop_assert!(matches!(taken, Err(Refused::Overlap | Refused::TwoEnds)), "{taken:?}");
                }
                std::cmp::Ordering::Greater => prop_assert_eq!(taken, Err(Refused::Spoilt)),
            }
        }
        prop_assert_eq!(bench.reassembly.counts().whole, 0);
    }

    #[test]
    fn whatever_comes_memory_is_bounded_and_what_goes_is_whole(
        fragments in prop::collection::vec(
            (any::<bool>(), 0..4_u8, 0..12_usize, any::<bool>(), 0..100_usize, any::<u8>(), 0..3_u64),
            0..200,
        ),
        bytes in 0..8000_usize,
        datagrams in 0..5_usize,
        most in 1..6_usize,
    ) {
        let mut bench = Bench::limited(Limits { bytes, datagrams, fragments: most });
        let mut time = Duration::ZERO;
        for (is_v4, client, eights, more, length, class, seconds) in fragments {
            time += Duration::from_secs(seconds);
            bench.at(time);
            let build = Build { client, class, ..if is_v4 { Build::v4() } else { Build::v6() } };
            let length = if more && length % 3 > 0 { length & !7 } else { length };
            let packet = build.packet(eights * 8, more, &vec![client; length]);
            if View::read(&packet).is_ok()
                && let Ok(Some(whole)) = bench.take(&packet)
            {
                prop_assert!(whole.packet().ends_with(&[client]));
            }
            let due = bench.reassembly.poll_timeout();
            prop_assert!(due.is_none_or(|due| due > bench.now && due <= bench.now + TIMEOUT_V6));
        }
        bench.at(time + TIMEOUT_V6);
        bench.reassembly.handle_timeout(bench.now);
        prop_assert!(bench.reassembly.is_empty() && bench.reassembly.bytes() == 0);
    }

    #[test]
    fn bytes_that_mean_nothing_do_no_harm(
        packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..120), any::<bool>()), 0..20),
        cut in any_cut(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
    ) {
        let mut reassembly = Reassembly::new(Limits { bytes: 5000, datagrams: 4, fragments: 8 }, HEADROOM);
        let now = Instant::now();
        let mut views = vec![];
        let garbage = packets.into_iter().map(|(mut packet, is_v4)| {
            // An IPv6 packet of unknown length with a fragment header would never be hit by chance.
            for (at, byte) in [(0, if is_v4 { 0x45 } else { 0x60 }), (4, 0), (5, 60), (6, 44)] {
                if let Some(there) = packet.get_mut(at).filter(|_| !is_v4 || at == 0) {
                    *there = byte;
                }
            }
            packet
        });
        let spoilt = cut.parts().into_iter().enumerate().map(|(number, mut part)| {
            for (at, byte) in flips.iter().skip(number).step_by(3) {
                let at = at.index(part.len().min(64));
                part[at] ^= byte;
            }
            part
        });
        for packet in garbage.chain(spoilt) {
            if let Ok(view) = View::read(&packet) {
                views.push(view);
            }
            // Views of other packets, too.
            for view in views.iter().rev().take(3) {
                if let Ok(Some(whole)) = reassembly.take(&packet, view, now) {
                    prop_assert_eq!(View::read(whole.packet()), Ok(whole.view));
                }
                reassembly.check();
            }
        }
    }
}
