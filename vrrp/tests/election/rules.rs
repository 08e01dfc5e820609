//! Single rules of the election, each with the order of events that could break it.

use std::sync::Arc;
use std::time::Duration;

use buoy_vrrp::{
    Action, Cause, Family, FaultCause, Heard, Observation, Preempt, Priority, Reading, RouterId, StartState,
    State, Target, Tracker, Transport, Unicast,
};

use crate::bench::{Bench, DOWN, SECOND, SKEW, address, group, heard, link_down, script, settings};

fn reading(reading: Reading) -> Observation {
    Observation { reading, evidence: Arc::from("exit status 1") }
}

fn last_cause(bench: &mut Bench) -> Cause {
    let mut last = None;
    while let Some(action) = bench.election.poll_action() {
        if let Action::Report { router: Some(_), transition } = action {
            last = Some(transition.cause);
        }
    }
    last.expect("something moved")
}

fn update(
    bench: &mut Bench,
    id: RouterId,
    change: impl FnOnce(&mut buoy_vrrp::RouterSettings),
) -> Vec<String> {
    let mut changed = bench.election.router(id).expect("configured").settings().clone();
    change(&mut changed);
    bench.election.update_router(id, changed, Vec::new(), bench.now);
    bench.actions()
}

#[test]
fn nobody_is_master_before_the_start_delay_is_over_and_a_full_down_time_has_passed() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.election.start(bench.now, SECOND * 10);
    bench.run(SECOND * 10 + DOWN - Duration::from_nanos(1));
    assert_eq!(bench.state(id), State::Backup);
    bench.run(Duration::from_nanos(1));
    assert_eq!(bench.state(id), State::Master);
}

#[test]
fn a_router_added_during_the_start_delay_waits_for_its_rest_and_one_added_later_does_not() {
    let mut bench = Bench::new();
    bench.election.start(bench.now, SECOND * 10);
    bench.run(SECOND * 4);
    let early = bench.add(settings("a", 1));
    bench.election.start(bench.now, SECOND * 10);
    assert_eq!(bench.deadline(early), Some(SECOND * 6));
    bench.run(SECOND * 20);
    let late = bench.add(settings("b", 2));
    bench.election.start(bench.now, SECOND * 10);
    assert_eq!(bench.state(late), State::Backup);
}

#[test]
fn an_owner_is_master_at_once_unless_told_to_start_as_backup() {
    let mut owner = settings("a", 1);
    owner.priority = Priority::OWNER;
    for (start, state) in [(StartState::Master, State::Master), (StartState::Backup, State::Backup)] {
        owner.start = start;
        let (mut bench, id) = Bench::with(owner.clone());
        bench.start();
        assert_eq!(bench.state(id), state);
        // Down time of priority 255: three intervals and 1/256.
        bench.run(SECOND * 3 + SECOND / 256);
        assert_eq!(bench.state(id), State::Master);
    }
}

#[test]
fn an_owner_returns_from_fault_to_master_at_once() {
    let mut owner = settings("a", 1);
    owner.priority = Priority::OWNER;
    let (mut bench, id) = Bench::with(owner);
    bench.start();
    bench.election.set_fault(id, link_down(), true, bench.now);
    bench.run(SECOND);
    bench.election.set_fault(id, link_down(), false, bench.now);
    assert_eq!(bench.state(id), State::Master);
}

#[test]
fn an_owner_conflict_counts_from_its_beginning_and_is_forgotten_when_the_other_is_gone() {
    let mut owner = settings("a", 1);
    owner.priority = Priority::OWNER;
    owner.start = StartState::Master;
    let (mut bench, id) = Bench::with(owner);
    bench.start();
    bench.hear(id, 255, 1);
    assert_eq!(bench.state(id), State::Master, "the lower address has to yield");
    bench.run(SECOND * 3600);
    bench.hear(id, 255, 1);
    assert_eq!(bench.state(id), State::Master, "an hour later it is another conflict");
    for _ in 0..3 {
        bench.run(SECOND);
        bench.hear(id, 255, 1);
        assert_eq!(bench.state(id), State::Master);
    }
    bench.run(SECOND);
    bench.forget();
    bench.hear(id, 255, 1);
    assert_eq!(last_cause(&mut bench), Cause::OwnerConflict { from: address(1) });
}

#[test]
fn a_late_timer_with_timer_expired_backup_steps_down_with_its_group_and_leaves_no_address() {
    let mut bench = Bench::new();
    let ids: Vec<RouterId> = ["a", "b"]
        .into_iter()
        .zip(1..)
        .map(|(name, vrid)| {
            let mut s = settings(name, vrid);
            s.preempt = Preempt::No;
            s.timer_expired_backup = Some(Priority::new(254));
            bench.add(s)
        })
        .collect();
    bench.election.set_groups(&[group("G", &["a", "b"])], bench.now);
    bench.lead();
    assert_eq!(bench.state(ids[0]), State::Master);
    // 3 intervals and 2/256 after the last advertisement a peer of priority 254 may have taken over.
    bench.oversleep(SECOND * 3 + SECOND * 2 / 256);
    assert_eq!(bench.state(ids[0]), State::Master, "not a moment later yet");
    bench.forget();
    bench.oversleep(SECOND * 3 + SECOND * 2 / 256 + Duration::from_nanos(1));
    let actions = bench.actions();
    assert_eq!(ids.iter().map(|id| bench.state(*id)).collect::<Vec<_>>(), [State::Backup, State::Backup]);
    assert!(
        actions.contains(&"withdraw".to_owned()) && actions.contains(&"b: withdraw".to_owned()),
        "{actions:?}"
    );
    assert!(!actions.iter().any(|a| a.contains("send")), "silently: {actions:?}");
    assert!(ids.iter().all(|id| !bench.election.router(*id).expect("configured").holds_addresses()));
}

#[test]
fn a_stopped_master_with_nopreempt_leaves_the_one_that_its_queue_tells_of_in_place() {
    let mut s = settings("a", 1);
    s.preempt = Preempt::No;
    let (mut bench, id) = Bench::with(s);
    bench.lead();
    let stopped = bench.now;
    bench.pass(SECOND * 8);
    // In the queue: the successor, of lower priority, from the moment it took over.
    for second in 4..8 {
        bench.election.handle_advertisement(id, &heard(50, 9), stopped + SECOND * second);
    }
    bench.election.handle_timeout(bench.now);
    let actions = bench.actions();
    assert_eq!(actions, ["withdraw", "MASTER>BACKUP stalled"]);
    assert_eq!(bench.deadline(id), Some(DOWN - SECOND), "counted from the last arrival");
}

#[test]
fn a_frozen_master_announces_nothing_and_renews_no_lease_before_it_has_listened() {
    let mut s = settings("a", 1);
    s.garp.refresh = SECOND;
    let (mut bench, id) = Bench::with(s);
    bench.lead();
    bench.oversleep(SECOND * 30);
    assert_eq!(bench.actions(), ["stalled"]);
    bench.election.handle_claim(id, address(100), [2, 0, 0, 0, 0, 9], bench.now);
    bench.election.handle_item_lost(id, &Arc::from("10.0.0.100"), bench.now);
    assert_eq!(bench.actions(), [""; 0]);
    assert_eq!(bench.deadline(id), Some(SECOND * 5 / 4));
    bench.oversleep(SECOND * 5 / 4);
    let actions = bench.actions();
    assert!(actions.contains(&"install".to_owned()), "the lease has run out meanwhile: {actions:?}");
    assert_eq!(actions.last().map(String::as_str), Some("send 100"));
}

#[test]
fn a_master_frozen_again_while_it_listens_listens_again() {
    let (mut bench, _) = Bench::with(settings("a", 1));
    bench.lead();
    bench.oversleep(SECOND * 30);
    bench.forget();
    bench.oversleep(SECOND * 30);
    assert_eq!(bench.actions(), ["stalled"]);
}

#[test]
fn a_reload_cannot_make_a_frozen_master_speak_before_it_has_listened() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.lead();
    bench.pass(SECOND * 30);
    update(&mut bench, id, |s| s.advert_interval = SECOND / 10);
    bench.election.handle_timeout(bench.now);
    assert_eq!(bench.actions(), ["stalled"]);
}

#[test]
fn a_shorter_interval_by_reload_is_no_stall() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.lead();
    bench.pass(SECOND * 9 / 10);
    update(&mut bench, id, |s| s.advert_interval = SECOND / 100);
    bench.election.handle_timeout(bench.now);
    assert_eq!(bench.actions(), ["send 100"]);
}

#[test]
fn resignations_that_are_repeated_do_not_put_the_takeover_off() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.start();
    bench.hear(id, 200, 9);
    bench.hear(id, 0, 9);
    bench.run(SKEW / 2);
    bench.hear(id, 0, 9);
    assert_eq!(bench.deadline(id), Some(SKEW - SKEW / 2));
}

#[test]
fn preempt_delay_begins_with_the_first_lower_advertisement_and_again_after_a_higher_one() {
    let mut s = settings("a", 1);
    s.preempt = Preempt::After(SECOND * 10);
    let (mut bench, id) = Bench::with(s);
    bench.start();
    bench.hear(id, 50, 9);
    bench.run(SECOND * 2);
    bench.hear(id, 200, 9);
    bench.run(SECOND * 2);
    for _ in 0..10 {
        bench.hear(id, 50, 9);
        assert_eq!(bench.deadline(id), Some(DOWN), "tolerated");
        bench.run(SECOND);
    }
    bench.hear(id, 50, 9);
    assert_eq!(bench.deadline(id), Some(DOWN - SECOND), "tolerated no longer");
    bench.run(DOWN - SECOND);
    assert_eq!(bench.state(id), State::Master);
}

#[test]
fn preempt_delay_does_not_delay_the_takeover_from_a_dead_master() {
    let mut s = settings("a", 1);
    s.preempt = Preempt::After(SECOND * 1000);
    let (mut bench, id) = Bench::with(s);
    bench.start();
    bench.hear(id, 50, 9);
    bench.run(DOWN);
    assert_eq!(bench.state(id), State::Master);
}

#[test]
fn higher_prio_send_advert_speaks_once_more_before_it_yields() {
    let mut s = settings("a", 1);
    s.higher_prio_send_advert = true;
    let (mut bench, id) = Bench::with(s);
    bench.lead();
    bench.hear(id, 200, 9);
    assert_eq!(bench.actions(), ["send 100", "renew", "MASTER>BACKUP higher_priority"]);
}

#[test]
fn lower_prio_no_advert_keeps_the_advertisement_timer_as_it_was() {
    let mut s = settings("a", 1);
    s.lower_prio_no_advert = true;
    let (mut bench, id) = Bench::with(s);
    bench.lead();
    bench.pass(SECOND / 4);
    bench.hear(id, 50, 9);
    assert_eq!(bench.actions(), ["lower", "contention", "announce 4"]);
    assert_eq!(bench.deadline(id), Some(SECOND * 3 / 4));
}

#[test]
fn a_higher_priority_wins_even_while_we_have_no_address_to_compare() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.lead();
    bench.election.set_source(id, None);
    bench.hear(id, 200, 9);
    assert_eq!(bench.state(id), State::Backup);
}

#[test]
fn a_yielding_master_adopts_the_interval_of_its_successor() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.lead();
    let slow = Heard { interval: SECOND * 2, ..heard(200, 9) };
    bench.election.handle_advertisement(id, &slow, bench.now);
    bench.election.handle_claim(id, address(100), [2, 0, 0, 0, 0, 9], bench.now);
    assert_eq!(bench.deadline(id), Some(DOWN * 2));
}

#[test]
fn the_longest_interval_on_the_wire_overflows_nothing() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.start();
    let slow = Heard { interval: Duration::from_millis(40_950), ..heard(200, 9) };
    bench.election.handle_advertisement(id, &slow, bench.now);
    assert_eq!(bench.deadline(id), Some(DOWN * 4095 / 100));
}

#[test]
fn a_changed_interval_leaves_a_backup_at_the_interval_of_the_master_it_hears() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.start();
    bench.hear(id, 200, 9);
    update(&mut bench, id, |s| s.advert_interval = SECOND * 30);
    assert_eq!(bench.deadline(id), Some(DOWN));
}

#[test]
fn a_changed_priority_shifts_the_running_wait_and_does_not_restart_it() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    let weighted = Tracker { target: script(), weight: -50, reverse: false };
    bench.election.update_router(id, settings("a", 1), vec![weighted], bench.now);
    bench.start();
    bench.hear(id, 200, 9);
    bench.run(SECOND);
    bench.election.observe(&script(), reading(Reading::Down), bench.now);
    assert_eq!(bench.deadline(id), Some(DOWN - SECOND + SECOND * 50 / 256));
    bench.election.observe(&script(), reading(Reading::Up), bench.now);
    assert_eq!(bench.deadline(id), Some(DOWN - SECOND));
}

#[test]
fn an_advertisement_sent_before_the_resignation_does_not_shorten_the_hold() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.lead();
    bench.pass(SECOND / 2);
    let before = bench.now - SECOND / 4;
    bench.election.stop(bench.now);
    bench.forget();
    bench.election.handle_advertisement(id, &heard(50, 9), before);
    let (longest_skew, bound) = (SECOND * 255 / 256, bench.deadline(id));
    assert_eq!(
        bound,
        Some(longest_skew + SECOND),
        "it was in the queue already: a rival's, not a successor's"
    );
    bench.pass(SECOND / 10);
    bench.hear(id, 50, 9);
    assert_eq!(bench.deadline(id), Some(SECOND));
}

#[test]
fn held_addresses_go_when_the_successor_has_announced_the_last_of_them() {
    let mut s = settings("a", 1);
    s.last_announced = Some(address(101));
    let (mut bench, id) = Bench::with(s);
    bench.lead();
    bench.election.stop(bench.now);
    bench.forget();
    bench.hear(id, 50, 9);
    for claimed in [address(100), address(7)] {
        bench.election.handle_claim(id, claimed, [2, 0, 0, 0, 0, 9], bench.now);
    }
    assert_eq!(bench.actions(), [""; 0], "the neighbours still send to us for 101");
    bench.election.handle_claim(id, address(101), [2, 0, 0, 0, 0, 9], bench.now);
    assert_eq!(bench.actions(), ["withdraw"]);
}

#[test]
fn a_successor_whose_announcement_is_not_heard_gets_an_interval_at_most_a_second() {
    for (interval, expected) in [(SECOND / 10, SECOND / 10), (SECOND * 20, SECOND)] {
        let mut s = settings("a", 1);
        s.advert_interval = interval;
        s.vip_lease = None;
        let (mut bench, id) = Bench::with(s);
        bench.start();
        bench.run(interval * 4);
        bench.election.stop(bench.now);
        bench.hear(id, 50, 9);
        assert_eq!(bench.deadline(id), Some(expected));
    }
}

#[test]
fn a_hold_that_outlasts_the_lease_renews_it() {
    let mut s = settings("a", 1);
    s.advert_interval = SECOND * 20;
    let (mut bench, id) = Bench::with(s);
    bench.start();
    bench.run(DOWN * 20);
    bench.election.stop(bench.now);
    let mut renewed = bench.actions().iter().filter(|a| *a == "renew").count();
    while let Some(wait) = bench.deadline(id) {
        assert!(wait <= SECOND * 10 / 3);
        bench.oversleep(wait);
        renewed += bench.actions().iter().filter(|a| *a == "renew").count();
    }
    assert_eq!(renewed, 12, "at the start and every third of a lease for 39.9 s");
    assert!(bench.election.is_stopped());
}

#[test]
fn addresses_stay_until_a_better_router_has_announced_them() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.lead();
    bench.hear(id, 200, 9);
    assert_eq!(bench.actions(), ["renew", "MASTER>BACKUP higher_priority"]);
    assert_eq!(bench.deadline(id), Some(SECOND), "an interval, should the announcement be missed");
    bench.pass(Duration::from_millis(2));
    bench.election.handle_claim(id, address(100), [2, 0, 0, 0, 0, 9], bench.now);
    assert_eq!(bench.actions(), ["withdraw"]);
    assert_eq!(bench.actions_within(SECOND * 2), [""; 0], "who announces its addresses needs no reminder");
}

#[test]
fn a_better_router_that_announces_nothing_is_reminded_once_and_by_a_priority_that_loses() {
    for (multicast, expected) in [(true, vec!["withdraw", "send 100"]), (false, vec!["withdraw"])] {
        let mut s = settings("a", 1);
        if !multicast {
            s.transport = Transport::Unicast(Unicast { peers: Vec::new(), ttl: 255, check_source: true });
        }
        let (mut bench, id) = Bench::with(s);
        bench.lead();
        bench.hear(id, 200, 9);
        // It has been master all along, beyond a partition.
        bench.forget();
        assert_eq!(bench.actions_within(SECOND), expected);
        bench.hear(id, 200, 9);
        assert_eq!(bench.actions_within(SECOND * 3), [""; 0]);
    }
}

#[test]
fn a_reminder_is_not_sent_when_it_would_win() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.lead();
    bench.hear(id, 200, 9);
    bench.forget();
    bench.hear(id, 100, 9);
    assert_eq!(bench.actions_within(SECOND), ["withdraw"]);
}

#[test]
fn a_known_contention_leaves_no_address_behind() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.lead();
    bench.hear(id, 50, 7);
    bench.forget();
    bench.hear(id, 200, 9);
    assert_eq!(bench.actions(), ["withdraw", "MASTER>BACKUP higher_priority"]);
}

#[test]
fn a_successor_with_our_own_mac_ends_the_hold_with_its_first_word() {
    let mut s = settings("a", 1);
    s.last_announced = None;
    let (mut bench, id) = Bench::with(s.clone());
    bench.lead();
    bench.hear(id, 200, 9);
    assert_eq!(bench.actions(), ["renew", "withdraw", "MASTER>BACKUP higher_priority"]);
    let (mut bench, id) = Bench::with(s);
    bench.lead();
    bench.election.stop(bench.now);
    bench.forget();
    bench.pass(SECOND / 2);
    bench.hear(id, 50, 9);
    assert_eq!(bench.actions(), ["withdraw"]);
}

#[test]
fn a_frozen_master_that_is_stopped_before_it_has_listened_holds_nothing() {
    let (mut bench, _) = Bench::with(settings("a", 1));
    bench.lead();
    bench.pass(SECOND * 30);
    bench.election.stop(bench.now);
    assert_eq!(bench.actions(), ["send 0", "withdraw", "MASTER>STOP shutdown"]);
}

#[test]
fn a_backup_that_is_frozen_again_looks_again_and_three_times_at_most() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.start();
    bench.hear(id, 200, 9);
    bench.oversleep(DOWN + SECOND);
    for _ in 0..2 {
        bench.oversleep(SECOND + SKEW + SECOND);
        assert_eq!(bench.state(id), State::Backup);
    }
    bench.hear(id, 200, 9);
    bench.oversleep(DOWN + SECOND);
    for _ in 0..2 {
        bench.oversleep(SECOND + SKEW + SECOND);
    }
    assert_eq!(bench.state(id), State::Backup, "an advertisement begins a new count");
    bench.oversleep(SECOND + SKEW + SECOND);
    assert_eq!(bench.state(id), State::Master);
}

#[test]
fn a_shorter_interval_by_reload_is_no_stall_of_a_backup() {
    let mut s = settings("a", 1);
    s.advert_interval = SECOND * 30;
    let (mut bench, id) = Bench::with(s);
    bench.start();
    bench.pass(SECOND * 60);
    update(&mut bench, id, |s| s.advert_interval = SECOND);
    assert_eq!(bench.deadline(id), Some(Duration::ZERO));
    bench.election.handle_timeout(bench.now);
    assert!(!bench.actions().contains(&"stalled".to_owned()));
}

#[test]
fn deleted_items_are_put_back_at_once_and_then_every_100_ms_at_most() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.lead();
    let item = Arc::from("10.0.0.100/24 dev eth0");
    bench.election.handle_item_lost(id, &item, bench.now);
    assert_eq!(bench.actions(), ["install", "restored", "announce 5"]);
    for _ in 0..50 {
        bench.election.handle_item_lost(id, &item, bench.now);
    }
    assert_eq!(bench.actions(), [""; 0]);
    let pause = Duration::from_millis(100);
    assert_eq!(bench.actions_within(pause), ["install", "restored", "announce 5"]);
    assert_eq!(bench.actions_within(pause * 3), [""; 0], "once for all of them");
}

#[test]
fn a_yield_names_the_tracker_that_lowered_the_priority_and_a_change_of_priority_its_cause() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    let trackers = [
        (script(), -50, false),
        (Target::Interface(Arc::from("eth1")), 20, false),
        (Target::Process(Arc::from("p")), -5, true),
    ];
    let trackers = trackers.map(|(target, weight, reverse)| Tracker { target, weight, reverse });
    bench.election.update_router(id, settings("a", 1), trackers.to_vec(), bench.now);
    bench.election.observe(&trackers[1].target, reading(Reading::Up), bench.now);
    bench.election.observe(&trackers[2].target, reading(Reading::Up), bench.now);
    bench.lead();
    assert_eq!(bench.election.router(id).unwrap().priority().get(), 120, "20 while it is up");
    bench.election.observe(&script(), reading(Reading::Down), bench.now);
    let Some(Action::PriorityChanged { from, priority, cause, .. }) = bench.election.poll_action() else {
        panic!("no change");
    };
    assert_eq!((from.get(), priority.get()), (120, 70));
    assert_eq!(cause.to_string(), "script chk: exit status 1");
    bench.hear(id, 100, 9);
    assert_eq!(
        last_cause(&mut bench).to_string(),
        "10.0.0.9 advertises priority 100, above our 70, lowered by script chk: exit status 1, process p: exit status 1"
    );
}

#[test]
fn reverse_trackers_weigh_and_decide_the_other_way_round() {
    use buoy_vrrp::Effect::{Fault, Priority};
    for (weight, reading, expected) in [
        (20, Reading::Up, Priority(-20)),
        (20, Reading::Down, Priority(0)),
        (-20, Reading::Up, Priority(0)),
        (-20, Reading::Down, Priority(20)),
        (0, Reading::Up, Fault),
        (0, Reading::Down, Priority(0)),
        (2, Reading::Number(10), Priority(-20)),
        (0, Reading::Number(0), Fault),
        (0, Reading::Number(1), Priority(0)),
    ] {
        let tracker = Tracker { target: script(), weight, reverse: true };
        assert_eq!(tracker.effect(reading), expected, "{weight} {reading:?}");
    }
}

#[test]
fn of_equal_priorities_the_higher_address_wins_over_ipv6_too() {
    for (theirs, state) in
        [("fe80::4", State::Master), ("fe80::6", State::Backup), ("fe80::1:0:0:4", State::Backup)]
    {
        let mut s = settings("a", 1);
        s.family = Family::V6;
        let (mut bench, id) = Bench::with(s);
        bench.election.set_source(id, Some("fe80::5".parse().unwrap()));
        bench.lead();
        let heard = Heard { from: theirs.parse().unwrap(), ..heard(100, 9) };
        bench.election.handle_advertisement(id, &heard, bench.now);
        assert_eq!(bench.state(id), state, "{theirs}");
    }
}

#[test]
fn the_skew_after_a_resignation_is_that_of_the_learnt_interval() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.start();
    let slow = Heard { interval: SECOND * 4, ..heard(200, 9) };
    bench.election.handle_advertisement(id, &slow, bench.now);
    bench.hear(id, 0, 9);
    assert_eq!(bench.deadline(id), Some(SKEW * 4));
}

#[test]
fn announcements_follow_their_schedule() {
    let mut s = settings("a", 1);
    s.advert_interval = SECOND * 100;
    s.vip_lease = None;
    s.garp = buoy_vrrp::GarpSchedule {
        repeat: 5,
        delay: SECOND * 5,
        refresh: SECOND * 20,
        refresh_repeat: 2,
        lower_prio_repeat: 4,
        lower_prio_delay: SECOND * 3,
    };
    let (mut bench, id) = Bench::with(s);
    bench.start();
    while bench.state(id) != State::Master {
        bench.run(bench.deadline(id).unwrap());
    }
    bench.forget();
    let mut heard = Vec::new();
    for second in 1..=70_u32 {
        let mut actions = bench.actions_within(SECOND);
        if second == 50 {
            bench.hear(id, 50, 9);
            actions.extend(bench.actions());
        }
        let announced = actions.into_iter().filter(|a| a.starts_with("announce"));
        heard.extend(announced.map(|a| (second, a)));
    }
    let heard: Vec<(u32, &str)> = heard.iter().map(|(s, a)| (*s, a.as_str())).collect();
    assert_eq!(
        heard,
        [
            (5, "announce 5"),
            (25, "announce 2"),
            (45, "announce 2"),
            (50, "announce 4"),
            (53, "announce 4"),
            (65, "announce 2"),
        ]
    );
}

#[test]
fn without_make_before_break_nothing_is_held() {
    let mut s = settings("a", 1);
    s.make_before_break = false;
    let (mut bench, _) = Bench::with(s);
    bench.lead();
    bench.election.stop(bench.now);
    assert_eq!(bench.actions(), ["send 0", "withdraw", "MASTER>STOP shutdown"]);
    assert!(bench.election.is_stopped());
}

#[test]
fn a_link_that_dies_during_a_hold_ends_it() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    let decides = Tracker { target: script(), weight: 0, reverse: false };
    bench.election.update_router(id, settings("a", 1), vec![decides], bench.now);
    bench.election.observe(&script(), reading(Reading::Up), bench.now);
    bench.lead();
    bench.election.observe(&script(), reading(Reading::Down), bench.now);
    assert_eq!(bench.actions(), ["send 0", "renew", "MASTER>FAULT fault"], "a script leaves the link alive");
    bench.election.set_fault(id, link_down(), true, bench.now);
    assert_eq!(bench.actions(), ["withdraw"]);
}

#[test]
fn a_cleared_fault_is_reported_with_its_own_evidence() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    let decides = Tracker { target: script(), weight: 0, reverse: false };
    bench.election.update_router(id, settings("a", 1), vec![decides], bench.now);
    bench.start();
    bench.election.observe(&script(), reading(Reading::Down), bench.now);
    bench.election.observe(&script(), reading(Reading::Up), bench.now);
    assert_eq!(last_cause(&mut bench).to_string(), "over: script chk: exit status 1");
}

#[test]
fn a_fault_that_a_new_tracker_awaits_does_not_move_a_running_router() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.lead();
    let decides = Tracker { target: script(), weight: 0, reverse: false };
    bench.election.update_router(id, settings("a", 1), vec![decides], bench.now);
    assert_eq!(bench.state(id), State::Master);
}

#[test]
fn independent_faults_have_to_be_gone_all() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.start();
    bench.election.set_fault(id, link_down(), true, bench.now);
    bench.election.set_fault(id, FaultCause::NoUnicastPeer, true, bench.now);
    bench.election.set_fault(id, link_down(), false, bench.now);
    assert_eq!(bench.state(id), State::Fault);
    bench.election.set_fault(id, FaultCause::NoUnicastPeer, false, bench.now);
    assert_eq!(bench.state(id), State::Backup);
    assert_eq!(bench.deadline(id), Some(DOWN), "a full down time");
}

#[test]
fn the_handle_of_a_removed_router_is_free_only_when_its_end_has_been_told() {
    let (mut bench, old) = Bench::with(settings("a", 1));
    bench.start();
    bench.forget();
    bench.election.remove_router(old, bench.now);
    let new = bench.add(settings("b", 2));
    assert_ne!(old, new, "a driver would tear the new one down with the old");
    assert_eq!(bench.actions(), ["BACKUP>DELETED reload", "gone"]);
    assert!(bench.election.router(old).is_none());
    assert_eq!(bench.add(settings("c", 3)), old);
}

#[test]
fn an_abandoned_removal_is_told_too() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.lead();
    bench.election.remove_router(id, bench.now);
    bench.forget();
    bench.election.abandon();
    assert_eq!(bench.actions(), ["withdraw", "gone"]);
}

#[test]
fn stale_timer_entries_fire_in_vain() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    bench.start();
    let first = bench.election.poll_timeout().expect("a down timer");
    bench.pass(SECOND);
    bench.hear(id, 200, 9);
    bench.forget();
    bench.now = first;
    bench.election.handle_timeout(first);
    assert_eq!(bench.actions(), [""; 0]);
    assert_eq!(bench.election.poll_timeout(), Some(first + SECOND));
}

#[test]
fn advertisements_share_a_wake_up_within_a_64th_of_their_interval_and_takeovers_are_exact() {
    let mut bench = Bench::new();
    bench.add(settings("a", 1));
    bench.start();
    bench.run(SECOND / 64);
    bench.add(settings("b", 2));
    bench.start();
    bench.run(DOWN - SECOND / 64);
    bench.run(SECOND / 64 - Duration::from_nanos(1));
    let states: Vec<State> = bench.election.routers().map(|(_, r)| r.state()).collect();
    assert_eq!(states, [State::Master, State::Backup], "the second not a nanosecond early");
    bench.run(SECOND - SECOND / 64);
    bench.election.handle_timeout(bench.now + Duration::from_nanos(1));
    assert_eq!(bench.actions(), ["send 100", "b: send 100"]);
}

fn pair() -> (Bench, RouterId, RouterId) {
    let mut bench = Bench::new();
    let a = bench.add(settings("a", 1));
    let b = bench.add(settings("b", 2));
    (bench, a, b)
}

#[test]
fn a_wake_up_for_a_deadline_that_has_moved_puts_the_others_where_they_belong() {
    let (mut bench, a) = Bench::with(settings("a", 1));
    bench.start();
    bench.pass(SECOND / 2);
    let b = bench.add(settings("b", 2));
    bench.start();
    bench.pass(SECOND / 2);
    bench.hear(a, 200, 9);
    bench.hear(b, 200, 9);
    let master_down = bench.now + DOWN;
    bench.oversleep(DOWN - SECOND);
    assert_eq!(
        bench.election.poll_timeout(),
        Some(master_down),
        "not half a second later for `b`, in vain again"
    );
}

#[test]
fn a_group_that_awaits_a_first_result_stays_in_init_as_a_whole() {
    let (mut bench, a, b) = pair();
    let decides = Tracker { target: script(), weight: 0, reverse: false };
    bench.election.update_router(b, settings("b", 2), vec![decides], bench.now);
    bench.election.set_groups(&[group("G", &["a", "b"])], bench.now);
    bench.start();
    bench.run(SECOND * 10);
    assert_eq!((bench.state(a), bench.state(b)), (State::Init, State::Init));
    bench.forget();
    bench.election.observe(&script(), reading(Reading::Up), bench.now);
    let actions = bench.actions();
    assert_eq!(actions, ["b: INIT>BACKUP started", "INIT>BACKUP started", "G: INIT>BACKUP started"]);
}

#[test]
fn a_router_of_the_same_name_that_still_holds_is_no_member() {
    let (mut bench, a, b) = pair();
    bench.election.set_groups(&[group("G", &["a", "b"])], bench.now);
    bench.lead();
    bench.election.remove_router(b, bench.now);
    bench.election.remove_router(a, bench.now);
    // Reload with another VRID; the old ones hold. In both orders of slots:
    bench.election.abandon_router(a);
    bench.forget();
    let new = bench.add(settings("b", 3));
    assert!(new < b, "the new one comes first");
    bench.election.set_groups(&[group("G", &["b"])], bench.now);
    assert_eq!(bench.election.groups()[0].members(), [new]);
}

#[test]
fn a_removed_member_takes_its_fault_and_its_veto_along() {
    let (mut bench, a, b) = pair();
    bench.election.set_groups(&[group("G", &["a", "b"])], bench.now);
    bench.start();
    bench.election.set_fault(b, link_down(), true, bench.now);
    assert_eq!(bench.state(a), State::Fault);
    bench.election.remove_router(b, bench.now);
    assert_eq!(bench.state(a), State::Backup);

    let (mut bench, a, b) = pair();
    bench.election.set_groups(&[group("G", &["a", "b"])], bench.now);
    bench.start();
    bench.run(SECOND);
    bench.hear(b, 200, 9);
    bench.run(DOWN - SECOND);
    assert_eq!(bench.state(a), State::Backup, "b still hears its master");
    bench.election.remove_router(b, bench.now);
    assert_eq!(bench.state(a), State::Master);
}

#[test]
fn a_member_that_waits_is_master_at_once_when_it_leaves_its_group() {
    let (mut bench, a, b) = pair();
    bench.election.set_groups(&[group("G", &["a", "b"])], bench.now);
    bench.start();
    bench.run(SECOND);
    bench.hear(b, 200, 9);
    bench.run(DOWN - SECOND);
    bench.election.set_groups(&[], bench.now);
    assert_eq!((bench.state(a), bench.state(b)), (State::Master, State::Backup));
}

#[test]
fn a_group_joined_in_different_states_is_one_after_the_next_advertisement_or_down_time() {
    let (mut bench, a, b) = pair();
    bench.start();
    bench.run(SECOND);
    bench.hear(b, 200, 9);
    bench.run(DOWN - SECOND);
    assert_eq!((bench.state(a), bench.state(b)), (State::Master, State::Backup));
    bench.election.set_groups(&[group("G", &["a", "b"])], bench.now);
    bench.forget();
    bench.hear(b, 200, 9);
    let actions = bench.actions();
    assert_eq!(actions, ["send 0", "renew", "MASTER>BACKUP sync_group", "G: INIT>BACKUP sync_group"]);

    let (mut bench, a, b) = pair();
    bench.start();
    bench.run(SECOND);
    bench.hear(b, 200, 9);
    bench.run(DOWN - SECOND);
    bench.election.set_groups(&[group("G", &["a", "b"])], bench.now);
    bench.run(SECOND);
    assert_eq!((bench.state(a), bench.state(b)), (State::Master, State::Master), "the other master is dead");
}

#[test]
fn when_one_member_yields_the_others_follow_without_priority_0_and_hold() {
    let (mut bench, a, b) = pair();
    bench.election.set_groups(&[group("G", &["a", "b"])], bench.now);
    bench.lead();
    bench.hear(a, 200, 9);
    assert_eq!(
        bench.actions(),
        [
            "renew",
            "MASTER>BACKUP higher_priority",
            "b: renew",
            "b: MASTER>BACKUP sync_group",
            "G: MASTER>BACKUP higher_priority"
        ]
    );
    bench.pass(Duration::from_millis(1));
    bench.hear(b, 200, 9);
    bench.election.handle_claim(b, address(100), [2, 0, 0, 0, 0, 9], bench.now);
    assert_eq!(bench.actions(), ["b: withdraw"]);
}

#[test]
fn a_group_of_owners_is_master_at_once_and_together() {
    let mut bench = Bench::new();
    for (name, vrid) in [("a", 1), ("b", 2)] {
        let mut owner = settings(name, vrid);
        owner.priority = Priority::OWNER;
        owner.start = StartState::Master;
        bench.add(owner);
    }
    bench.election.set_groups(&[group("G", &["a", "b"])], bench.now);
    bench.start();
    assert!(bench.election.routers().all(|(_, r)| r.state() == State::Master));
    let last = bench.actions().pop();
    assert_eq!(last.as_deref(), Some("G: INIT>MASTER owner"));
}

#[test]
fn the_preferred_master_of_a_group_waits_one_interval_and_a_256th_at_start() {
    let mut bench = Bench::new();
    let mut s = settings("a", 1);
    s.start = StartState::Master;
    let id = bench.add(s);
    bench.election.set_groups(&[group("G", &["a"])], bench.now);
    bench.start();
    assert_eq!(bench.deadline(id), Some(SECOND + SECOND / 256));
}

#[test]
fn a_tracked_file_weighs_its_number_and_a_low_one_is_a_fault() {
    let (mut bench, id) = Bench::with(settings("a", 1));
    let file = Target::File(Arc::from("f"));
    let tracker = Tracker { target: file.clone(), weight: 2, reverse: false };
    bench.election.update_router(id, settings("a", 1), vec![tracker], bench.now);
    bench.start();
    for (number, priority, state) in [
        (10, 120, State::Backup),
        (1000, 254, State::Backup),
        (-40, 20, State::Backup),
        (-127, 20, State::Fault),
        (i64::MIN, 20, State::Fault),
        (0, 100, State::Backup),
    ] {
        bench.election.observe(&file, reading(Reading::Number(number)), bench.now);
        let router = bench.election.router(id).expect("configured");
        assert_eq!(router.state(), state, "{number}");
        if state == State::Backup {
            assert_eq!(router.priority().get(), priority, "{number}");
        }
    }
}
