use proptest::prelude::*;

use super::*;

fn plus(a: Counters, b: &Counters) -> Counters {
    Counters {
        connections: a.connections + b.connections,
        packets_in: a.packets_in + b.packets_in,
        packets_out: a.packets_out + b.packets_out,
        bytes_in: a.bytes_in + b.bytes_in,
        bytes_out: a.bytes_out + b.bytes_out,
        ..Counters::default()
    }
}

/// Without rates and connections of now.
fn counted(counters: &Counters) -> Counters {
    plus(Counters::default(), counters)
}

#[test]
fn what_passes_is_counted_at_the_server_its_service_and_in_total() {
    let mut lab = Lab::with(Scheduler::Rr, &[1, 2]);
    let (one, two) = (lab.place(1), lab.place(2));
    lab.services.count_connection(one);
    lab.services.count_in(one, 60);
    lab.services.count_in(one, 1500);
    lab.services.count_out(two, 40);
    lab.services.count_in_many(two, 10, 15_000);
    lab.services.count_out_many(two, 20, 800);
    let first = Counters { connections: 1, packets_in: 2, bytes_in: 1560, ..Counters::default() };
    let second =
        Counters { packets_in: 10, bytes_in: 15_000, packets_out: 21, bytes_out: 840, ..Counters::default() };
    assert_eq!((lab.counters(1), lab.counters(2)), (first, second));
    assert_eq!(lab.services.statistics().services[&WEB], plus(first, &second));
    assert_eq!(lab.services.totals(), plus(first, &second));
}

#[test]
fn a_service_counts_what_servers_did_that_are_gone() {
    let mut lab = Lab::with(Scheduler::Rr, &[1, 2]);
    lab.services.count_in(lab.place(1), 100);
    lab.make(Change::RemoveServer(WEB, server_id(1)));
    assert_eq!(lab.services.statistics().services[&WEB].bytes_in, 100);
    assert_eq!(lab.services.statistics().servers.len(), 1);
    lab.make(Change::RemoveService(WEB));
    assert_eq!(lab.services.totals().bytes_in, 100);
    lab.make(Change::AddService(VirtualService::new(WEB, Scheduler::Rr)));
    assert_eq!(lab.services.statistics().services[&WEB], Counters::default());
}

#[test]
fn one_service_or_all_count_from_zero_and_connections_stay() {
    let other = ServiceId::FwMark { family: Family::V4, mark: mark(1) };
    let mut lab = Lab::with(Scheduler::Rr, &[1]);
    lab.make(Change::AddService(VirtualService::new(other, Scheduler::Rr)));
    lab.make(Change::AddServer(other, server(1, 1)));
    let places = [WEB, other].map(|id| {
        let index = lab.services.index_of(&id).unwrap();
        lab.services.servers(index).next().unwrap()
    });
    for place in places {
        lab.services.bind(place, Counted::Inactive);
        lab.services.count_connection(place);
        lab.services.count_in(place, 60);
    }
    lab.pass(Duration::from_secs(2));
    lab.services.zero(Some(&WEB)).unwrap();
    let fresh = Counters { inactive: 1, ..Counters::default() };
    let statistics = lab.services.statistics();
    assert_eq!(lab.counters(1), fresh);
    assert_eq!(statistics.services[&WEB], Counters::default());
    assert_eq!(statistics.services[&other].packets_in, 1);
    assert_eq!(lab.services.totals().packets_in, 2);
    lab.services.zero(None).unwrap();
    assert_eq!(lab.services.statistics().servers[&(other, server_id(1))], fresh);
    assert_eq!(lab.services.totals(), Counters::default());
    lab.make(Change::RemoveService(other));
    assert_eq!(lab.services.zero(Some(&other)), Err(Reason::NoService));
}

#[test]
fn rates_are_estimated_every_two_seconds() {
    let mut lab = Lab::with(Scheduler::Rr, &[1]);
    let rate = |lab: &Lab| lab.counters(1).packets_in_per_second;
    lab.services.count_in_many(lab.place(1), 100, 10_000);
    lab.pass(Duration::from_millis(1_999));
    assert_eq!(rate(&lab), 0);
    lab.pass(Duration::from_millis(1));
    assert_eq!(rate(&lab), 12);
    let mut fades = |_| {
        lab.pass(Duration::from_secs(2));
        let statistics = lab.services.statistics();
        let service = statistics.services[&WEB];
        assert_eq!(service.bytes_in_per_second, lab.services.totals().bytes_in_per_second);
        (rate(&lab), service.bytes_in_per_second)
    };
    let seen: Vec<_> = (0..4).map(&mut fades).collect();
    assert_eq!(seen, [(9, 937), (7, 703), (5, 527), (4, 395)]);
}

#[test]
fn after_a_pause_there_is_one_estimate() {
    let mut lab = Lab::with(Scheduler::Rr, &[1]);
    lab.services.count_in_many(lab.place(1), 100, 10_000);
    lab.now += Duration::from_secs(31);
    lab.services.handle_timeout(lab.now);
    assert_eq!(lab.counters(1).packets_in_per_second, 12);
    assert_eq!(lab.services.poll_timeout(), lab.now + Duration::from_secs(2));
}

proptest! {
    #[test]
    fn counters_add_up(
        steps in prop::collection::vec((0..6_u8, 0..4_u8, any::<u32>()), 0..200),
    ) {
        let mut lab = Lab::with(Scheduler::Rr, &[0, 1, 2, 3]);
        let places = [0, 1, 2, 3].map(|last| lab.place(last));
        let mut model = [Counters::default(); 4];
        let mut there = [true; 4];
        for (kind, last, size) in steps {
            let which = usize::from(last);
            let (place, expected) = (places[which], &mut model[which]);
            // A connection to each of them, so that all keep their places.
            lab.services.bind(place, Counted::Inactive);
            let (many, bytes) = (u64::from(size % 100), u64::from(size));
            match kind {
                0 => {
                    lab.services.count_in(place, size);
                    expected.packets_in += u64::from(there[which]);
                    expected.bytes_in += bytes * u64::from(there[which]);
                }
                1 => {
                    lab.services.count_out(place, size);
                    expected.packets_out += u64::from(there[which]);
                    expected.bytes_out += bytes * u64::from(there[which]);
                }
                2 => {
                    lab.services.count_in_many(place, many, bytes);
                    expected.packets_in += many * u64::from(there[which]);
                    expected.bytes_in += bytes * u64::from(there[which]);
                }
                3 => {
                    lab.services.count_connection(place);
                    expected.connections += u64::from(there[which]);
                }
                4 if there[which] => lab.make(Change::RemoveServer(WEB, server_id(last))),
                4 => lab.make(Change::AddServer(WEB, server(last, 1))),
                _ => lab.pass(Duration::from_secs(u64::from(size % 300))),
            }
            there[which] ^= kind == 4;
        }
        for (last, expected) in (0..4_u8).zip(&model) {
            if there[usize::from(last)] {
                prop_assert_eq!(&counted(&lab.counters(last)), expected);
            } else {
                prop_assert!(!lab.services.is_available(places[usize::from(last)]));
            }
        }
        let sum = model.iter().fold(Counters::default(), plus);
        prop_assert_eq!(counted(&lab.services.statistics().services[&WEB]), sum);
        prop_assert_eq!(counted(&lab.services.totals()), sum);
    }
}
