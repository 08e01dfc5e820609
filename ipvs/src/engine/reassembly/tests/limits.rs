use super::*;

#[test]
fn a_datagram_has_as_many_fragments_as_it_may() {
    let cuts: Vec<_> = (1..10).map(|eight| eight * 8).collect();
    for build in Build::both() {
        let limits = |fragments| Limits { fragments, ..Limits::default() };
        assert_eq!(Bench::limited(limits(10)).whole(&build.cut(&cuts)).packet(), build.whole());
        let mut bench = Bench::limited(limits(9));
        let results: Vec<_> = build.cut(&cuts).iter().map(|part| bench.take(part)).collect();
        assert!(results[..9].iter().all(|result| *result == Ok(None)));
        assert_eq!(results[9], Err(Refused::TooManyFragments));
    }
}

#[test]
fn datagrams_wait_to_the_moment() {
    for (build, timeout) in [(Build::v4(), TIMEOUT_V4), (Build::v6(), TIMEOUT_V6)] {
        let nearly = timeout - Duration::from_nanos(1);
        let mut bench = Bench::new();
        assert_eq!(bench.take(&build.part(0, 40)), Ok(None));
        bench.at(nearly);
        bench.reassembly.handle_timeout(bench.now);
        assert_eq!(bench.whole(&[build.part(40, 80)]).packet(), build.whole());
        assert_eq!(bench.reassembly.poll_timeout(), None);

        let mut bench = Bench::new();
        assert_eq!(bench.take(&build.part(0, 24)), Ok(None));
        bench.at(nearly);
        // Those that come later do not put it off.
        assert_eq!(bench.take(&build.part(24, 40)), Ok(None));
        assert_eq!(bench.reassembly.poll_timeout(), Some(bench.start + timeout));
        bench.at(timeout);
        assert_eq!(bench.take(&build.part(40, 80)), Ok(None), "the others are gone");
        assert_eq!((bench.reassembly.len(), bench.reassembly.counts().timed_out), (1, 1));
    }
}

#[test]
fn the_timeout_is_that_of_the_first_that_is_due() {
    let second = Duration::from_secs(1);
    let mut bench = Bench::new();
    assert_eq!(bench.reassembly.poll_timeout(), None);
    assert_eq!(bench.take(&Build::v6().part(0, 40)), Ok(None));
    assert_eq!(bench.reassembly.poll_timeout(), Some(bench.start + TIMEOUT_V6));
    bench.at(second);
    assert_eq!(bench.take(&Build::v4().part(0, 40)), Ok(None));
    assert_eq!(bench.reassembly.poll_timeout(), Some(bench.start + second + TIMEOUT_V4));
    bench.reassembly.handle_timeout(bench.start + second + TIMEOUT_V4);
    assert_eq!(
        (bench.reassembly.len(), bench.reassembly.poll_timeout()),
        (1, Some(bench.start + TIMEOUT_V6))
    );
    bench.reassembly.handle_timeout(bench.start + TIMEOUT_V6);
    assert_eq!((bench.reassembly.len(), bench.reassembly.bytes()), (0, 0));
    assert_eq!(bench.reassembly.counts().timed_out, 2);
}

/// Datagrams, by the last number of the client's address, that are waiting for the rest.
fn waiting(bench: &Bench) -> BTreeSet<u128> {
    bench.reassembly.datagrams.keys().map(|key| key.source.bits() & 0xff).collect()
}

#[test]
fn the_one_that_waits_longest_makes_room() {
    let of = |client: u8| if client.is_multiple_of(2) { Build::v4() } else { Build::v6() };
    let of = |client: u8| Build { client, ..of(client) };
    let mut bench = Bench::limited(Limits { datagrams: 3, ..Limits::default() });
    for client in [1, 2, 3, 4] {
        assert_eq!(bench.take(&of(client).part(0, 24)), Ok(None));
    }
    assert_eq!(waiting(&bench), BTreeSet::from([2, 3, 4]));
    // To have come lately does not help it.
    assert_eq!(bench.take(&of(2).part(24, 40)), Ok(None));
    assert_eq!(bench.take(&of(5).part(0, 24)), Ok(None));
    assert_eq!(waiting(&bench), BTreeSet::from([3, 4, 5]));
    assert_eq!(bench.reassembly.counts().evicted, 2);
    assert_eq!(bench.whole(&[of(4).part(24, 80)]).packet(), of(4).whole());
    assert_eq!(waiting(&bench), BTreeSet::from([3, 5]));
}

#[test]
fn a_datagram_is_not_evicted_for_its_own_fragment() {
    let of = |client: u8| Build { client, ..Build::v4() };
    // For two datagrams of 24 bytes of data and 20 of headers, and 40 bytes more.
    let bytes = 2 * (DATAGRAM + FRAGMENT + 44) + FRAGMENT + 40;
    let mut bench = Bench::limited(Limits { bytes, ..Limits::default() });
    for client in [1, 2] {
        assert_eq!(bench.take(&of(client).part(0, 24)), Ok(None));
    }
    assert_eq!(bench.take(&of(1).part(24, 64)), Ok(None));
    assert_eq!((waiting(&bench), bench.reassembly.bytes()), (BTreeSet::from([1, 2]), bytes));
    assert_eq!(bench.whole(&[of(1).part(64, 80)]).packet(), of(1).whole());
    assert_eq!((waiting(&bench), bench.reassembly.counts().evicted), (BTreeSet::new(), 1));
}

#[test]
fn what_is_longer_than_the_room_evicts_nobody() {
    let of = |client: u8| Build { client, ..Build::v4() };
    let bytes = 2 * (DATAGRAM + FRAGMENT + 44);
    let mut bench = Bench::limited(Limits { bytes, ..Limits::default() });
    assert_eq!(bench.take(&of(1).part(0, 24)), Ok(None));
    let long = Build { payload: vec![0; 2000], ..of(2) };
    assert_eq!(bench.take(&long.part(0, 1000)), Err(Refused::NoRoom));
    assert_eq!(bench.take(&long.part(0, 24)), Ok(None));
    assert_eq!(bench.take(&long.part(24, 1000)), Err(Refused::NoRoom));
    assert_eq!(bench.take(&long.part(1000, 1008)), Err(Refused::Spoilt));
    assert_eq!((waiting(&bench), bench.reassembly.counts().evicted), (BTreeSet::from([1, 2]), 0));

    let mut none = Bench::limited(Limits { datagrams: 0, ..Limits::default() });
    assert_eq!(none.take(&of(1).part(0, 24)), Err(Refused::NoRoom));
    assert!(none.reassembly.is_empty());
}
