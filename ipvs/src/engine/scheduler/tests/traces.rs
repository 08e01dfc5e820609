use super::*;

fn trace(scheduler: Scheduler, weights: &[u32], connection: Connection, count: usize) -> String {
    Lab::new(scheduler, weights).connect(connection, count)
}

#[test]
fn rr_goes_around_the_list_from_the_newest() {
    assert_eq!(trace(Scheduler::Rr, &[1, 1, 1], Udp, 9), "CBACBACBA");
    assert_eq!(trace(Scheduler::Rr, &[1, 0, 3], Udp, 6), "CACACA");
}

#[test]
fn rr_goes_on_with_the_one_after_a_server_that_was_removed() {
    let mut lab = Lab::new(Scheduler::Rr, &[1, 1, 1]);
    assert_eq!(lab.connect(Udp, 2), "CB");
    lab.remove('B');
    assert_eq!(lab.connect(Udp, 4), "ACAC");
}

#[test]
fn rr_comes_to_a_new_server_at_the_end_of_its_round() {
    let mut lab = Lab::new(Scheduler::Rr, &[1, 1, 1]);
    assert_eq!(lab.connect(Udp, 1), "C");
    lab.add(1);
    assert_eq!(lab.connect(Udp, 4), "BADC");
}

#[test]
fn wrr_interleaves_and_begins_where_its_history_left_it() {
    assert_eq!(trace(Scheduler::Wrr, &[4, 3, 2], Udp, 18), "CBAABACBACBAABACBA");
    assert_eq!(trace(Scheduler::Wrr, &[1, 2, 4], Udp, 14), "CBACCCBCBACCCB");
    assert_eq!(trace(Scheduler::Wrr, &[10, 20, 40], Udp, 14), "CBACCCBCBACCCB");
    let mut lab = Lab::new(Scheduler::Wrr, &[3, 1]);
    assert_eq!(lab.connect(Udp, 3), "BAA");
    lab.set_weight('A', 1);
    assert_eq!(lab.connect(Udp, 4), "BABA");
}

#[test]
fn wrr_finds_the_only_one_that_is_not_overloaded() {
    for weights in [[1, 1_000_000, 2_147_483_647], [1, 1, 1], [7, 7, 21]] {
        for name in "ABC".chars() {
            let mut lab = Lab::new(Scheduler::Wrr, &weights);
            lab.overload(&"ABC".replace(name, ""));
            assert_eq!(lab.connect(Udp, 3), name.to_string().repeat(3), "{weights:?}");
        }
    }
}

#[test]
fn least_connection_schedulers_weigh_what_servers_have() {
    assert_eq!(trace(Scheduler::Wlc, &[1, 2, 3], Udp, 12), "CBACBCCBACBC");
    assert_eq!(trace(Scheduler::Wlc, &[1, 2, 3], Tcp, 12), "CBACBCCBACBC");
    assert_eq!(trace(Scheduler::Lc, &[1, 1, 1], Udp, 9), "CBACBACBA");
    for scheduler in [Scheduler::Lc, Scheduler::Wlc] {
        let mut lab = Lab::new(scheduler, &[1, 1]);
        assert_eq!(lab.connect(Tcp, 1), "B");
        (0..255).for_each(|_| lab.server('A').bind(Counted::Inactive));
        assert_eq!(lab.connect(Udp, 1), "A", "{scheduler}");
    }
}

#[test]
fn sed_and_nq_count_active_connections_only() {
    assert_eq!(trace(Scheduler::Sed, &[1, 2, 3], Tcp, 12), "CBCCBACBCCBA");
    assert_eq!(trace(Scheduler::Nq, &[1, 2, 3], Tcp, 12), "CBACCBCBCCBA");
    assert_eq!(trace(Scheduler::Sed, &[1, 2, 3], Udp, 8), "CCCCCCCC");
    assert_eq!(trace(Scheduler::Nq, &[1, 2, 3], Udp, 8), "CCCCCCCC");
}

#[test]
fn fo_takes_the_heaviest() {
    let mut lab = Lab::new(Scheduler::Fo, &[1, 3, 3, 2]);
    assert_eq!(lab.connect(Tcp, 3), "CCC");
    lab.overload("C");
    assert_eq!(lab.connect(Tcp, 3), "BBB");
}

#[test]
fn ovf_gives_each_one_more_than_its_weight() {
    assert_eq!(trace(Scheduler::Ovf, &[1, 3, 2], Tcp, 11), "BBBBCCCAA--");
    assert_eq!(trace(Scheduler::Ovf, &[1, 3, 2], Udp, 11), "BBBBBBBBBBB");
}

#[test]
fn lblc_stays_until_a_server_is_over_its_weight() {
    assert_eq!(trace(Scheduler::Lblc, &[1, 2, 3], Tcp, 14), "CCCCBBBAAAAAAA");
    assert_eq!(trace(Scheduler::Lblc, &[1, 2, 3], Udp, 14), "CCCCCCCCCCCCCC");
}

#[test]
fn lblc_leaves_a_server_over_its_weight_only_for_one_below_half_of_its_own() {
    for (weight, active, chosen) in [(4, 1, 'A'), (4, 2, 'B'), (5, 2, 'A'), (0, 0, 'B')] {
        for scheduler in [Scheduler::Lblc, Scheduler::Lblcr] {
            let mut lab = Lab::new(scheduler, &[weight, 1]);
            (0..active).for_each(|_| lab.server('A').bind(Counted::Active));
            assert_eq!(lab.connect(Tcp, 2), "BB", "{scheduler}");
            assert_eq!(lab.choice(), Some(chosen), "{scheduler}: {active} of {weight}");
        }
    }
}

#[test]
fn lblc_sends_a_known_destination_to_an_overloaded_server_too() {
    let mut lab = Lab::new(Scheduler::Lblc, &[1, 1]);
    lab.edit('B', |server| server.upper_threshold = 1);
    assert_eq!(lab.connect(Udp, 5), "BBBBB");
    lab.request.destination = address("10.9.0.2");
    assert_eq!(lab.connect(Udp, 5), "AAAAA");
}

#[test]
fn lblcr_adds_servers_to_a_destination() {
    assert_eq!(trace(Scheduler::Lblcr, &[1, 2, 3], Tcp, 14), "CCCCBBBAACBCAB");
    let mut lab = Lab::new(Scheduler::Lblcr, &[1, 1]);
    lab.limit(1);
    assert_eq!(lab.connect(Tcp, 4), "BA--");
}

#[test]
fn lblcr_drops_the_most_loaded_server_of_a_set_that_was_the_same_for_a_day() {
    let mut lab = Lab::new(Scheduler::Lblcr, &[1, 1]);
    lab.limit(1);
    assert_eq!(lab.connect(Udp, 2), "BA");
    lab.limit(0);
    (0..9).for_each(|_| lab.server('A').bind(Counted::Inactive));
    let day = Duration::from_secs(24 * 60 * 60);
    lab.now += day;
    assert_eq!(lab.choice(), Some('B'));
    lab.now += Duration::from_secs(1);
    // A goes from the set: what B has does not matter any more.
    assert_eq!(lab.choice(), Some('B'));
    (0..99).for_each(|_| lab.server('B').bind(Counted::Inactive));
    assert_eq!(lab.choice(), Some('B'));
}

#[test]
fn destinations_come_back_to_a_server_that_comes_back() {
    for scheduler in [Scheduler::Lblc, Scheduler::Lblcr] {
        let mut lab = Lab::new(scheduler, &[1, 1, 1]);
        assert_eq!(lab.connect(Udp, 1), "C");
        lab.remove('C');
        lab.restore('C');
        assert_eq!(lab.connect(Udp, 3), "CCC", "{scheduler}");
        lab.remove('C');
        assert_eq!(lab.connect(Udp, 1), "B", "{scheduler}");
    }
}

#[test]
fn destinations_do_not_go_to_another_server_in_the_place_of_theirs() {
    for scheduler in [Scheduler::Lblc, Scheduler::Lblcr] {
        let mut lab = Lab::new(scheduler, &[1, 1]);
        assert_eq!(lab.connect(Udp, 1), "B");
        lab.remove('B');
        let mut other = lab.settings[1];
        other.id.port = 81;
        lab.servers[1] = Server::new(&other);
        lab.server('B').bind(Counted::Inactive);
        lab.restore('B');
        assert_eq!(lab.connect(Udp, 1), "A", "{scheduler}");
    }
}

#[test]
fn only_lblc_and_lblcr_have_something_to_collect() {
    for scheduler in Scheduler::ALL {
        let mut lab = Lab::new(scheduler, &[1]);
        let collects = matches!(scheduler, Scheduler::Lblc | Scheduler::Lblcr);
        let minute = Duration::from_secs(60);
        assert_eq!(lab.scheduling.poll_timeout(), collects.then(|| lab.now + minute), "{scheduler}");
        lab.scheduling.handle_timeout(lab.now + minute);
        assert_eq!(lab.scheduling.poll_timeout(), collects.then(|| lab.now + 2 * minute), "{scheduler}");
    }
}
