//! What operators rely on, told as stories on a simulated LAN.

use std::sync::Arc;
use std::time::Duration;

use crate::network::{Lan, Wire, settings};
use buoy_vrrp::{
    Cause, FaultCause, GroupSettings, Observation, Preempt, Priority, Reading, State, Target, Tracker,
    Version, master_down,
};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn down(priority: u8) -> Duration {
    master_down(Version::V3, Priority::new(priority), SECOND, 3)
}

#[test]
fn the_highest_priority_becomes_the_only_master() {
    let mut lan = Lan::seeded(1).with_priorities(&[100, 200, 150]);
    lan.run_for(down(100));
    assert_eq!(lan.masters(), [1]);
    assert_eq!(lan.state(0), State::Backup);
}

#[test]
fn the_next_priority_takes_over_exactly_when_the_down_time_of_the_last_advertisement_ends() {
    let mut lan = Lan::seeded(7).with_priorities(&[200, 150, 100]);
    lan.run_for(SECOND * 10);
    let heard = lan.hosts[1].election.router(lan.hosts[1].routers[0]).expect("configured");
    let heard = heard.known_master().expect("a master was heard").heard;
    lan.kill(0);
    lan.run_until(heard + down(150) - Duration::from_nanos(1));
    assert_eq!(lan.masters(), Vec::<usize>::new());
    lan.run_until(heard + down(150));
    assert_eq!(lan.masters(), [1]);
    let (at, transition) = lan.hosts[1].transitions.last().expect("it moved");
    assert_eq!(*at, heard + down(150));
    match &transition.cause {
        Cause::MasterDown { silent_for: Some(silent), master: Some(_), .. } => assert_eq!(*silent, down(150)),
        other => panic!("unexpected cause {other}"),
    }
}

#[test]
fn a_returning_higher_priority_preempts_without_two_masters_longer_than_the_wire() {
    let mut lan = Lan::seeded(2).with_priorities(&[200, 100]);
    lan.run_for(SECOND * 5);
    lan.unplug(0);
    lan.run_for(SECOND * 10);
    assert_eq!(lan.masters(), [1]);
    lan.forget_overlap();
    lan.plug(0);
    lan.run_for(SECOND * 10);
    assert_eq!(lan.masters(), [0]);
    assert!(lan.longest_overlap <= MS, "{:?}", lan.longest_overlap);
    let preempted = lan.hosts[0].transitions.last().expect("it moved").1.clone();
    assert!(matches!(preempted.cause, Cause::Preempted { .. }), "{}", preempted.cause);
}

#[test]
fn nopreempt_leaves_a_living_master_in_place() {
    let mut lan = Lan::seeded(3);
    let mut high = settings("VI_1", 51, 200);
    high.preempt = Preempt::No;
    lan.add_host(vec![high], &[]);
    lan.add_host(vec![settings("VI_1", 51, 100)], &[]);
    lan.start_all();
    lan.run_for(SECOND * 5);
    lan.unplug(0);
    lan.run_for(SECOND * 10);
    lan.plug(0);
    lan.run_for(SECOND * 60);
    assert_eq!(lan.masters(), [1]);
    lan.kill(1);
    lan.run_for(SECOND * 4);
    assert_eq!(lan.masters(), [0]);
}

#[test]
fn preempt_delay_tolerates_a_lower_master_for_its_time() {
    let mut lan = Lan::seeded(4);
    let mut high = settings("VI_1", 51, 200);
    high.preempt = Preempt::After(SECOND * 30);
    lan.add_host(vec![high], &[]);
    lan.add_host(vec![settings("VI_1", 51, 100)], &[]);
    lan.start_host(1);
    lan.run_for(SECOND * 10);
    lan.start_host(0);
    lan.run_for(SECOND * 30);
    assert_eq!(lan.masters(), [1]);
    lan.run_for(SECOND * 6);
    assert_eq!(lan.masters(), [0]);
}

#[test]
fn an_orderly_stop_hands_over_after_the_skew_and_keeps_the_address_until_then() {
    let mut lan = Lan::seeded(5).with_priorities(&[200, 100]);
    lan.run_for(SECOND * 5);
    lan.stop(0);
    assert_eq!(lan.state(0), State::Stop);
    assert!(lan.hosts[0].holds.values().all(|held| *held), "the address stays until the successor is heard");
    lan.run_for(Duration::from_micros(609_375) + MS);
    assert_eq!(lan.masters(), [1]);
    lan.run_for(SECOND);
    assert!(lan.hosts[0].holds.values().all(|held| !*held), "and goes when the successor has had its time");
    assert!(lan.hosts[0].election.is_stopped());
    let cause = &lan.hosts[1].transitions.last().expect("it moved").1.cause;
    assert!(matches!(cause, Cause::MasterResigned { .. }), "{cause}");
}

#[test]
fn an_orderly_stop_without_successor_ends_within_its_bound() {
    let mut lan = Lan::seeded(6).with_priorities(&[200]);
    lan.run_for(SECOND * 5);
    lan.stop(0);
    lan.run_for(SECOND * 2);
    assert!(lan.hosts[0].election.is_stopped());
}

#[test]
fn a_backup_stopped_for_five_seconds_makes_no_transition() {
    let mut lan = Lan::seeded(8).with_priorities(&[200, 100]);
    lan.run_for(SECOND * 5);
    let before = lan.transitions(1);
    lan.pause(1, SECOND * 5);
    lan.run_for(SECOND * 60);
    assert_eq!(lan.transitions(1), before);
    assert_eq!(lan.masters(), [0]);
}

#[test]
fn a_frozen_backup_that_received_nothing_makes_no_transition() {
    let mut lan = Lan::seeded(9).with_priorities(&[200, 100]);
    lan.run_for(SECOND * 5);
    let before = lan.transitions(1);
    lan.freeze(1, SECOND * 30);
    lan.run_for(SECOND * 60);
    assert_eq!(lan.transitions(1), before);
}

#[test]
fn a_frozen_backup_still_takes_over_from_a_dead_master() {
    let mut lan = Lan::seeded(10).with_priorities(&[200, 100]);
    lan.run_for(SECOND * 5);
    lan.freeze(1, SECOND * 10);
    lan.kill(0);
    lan.run_for(SECOND * 13);
    assert_eq!(lan.masters(), [1]);
}

#[test]
fn a_resumed_master_reads_before_it_speaks() {
    let mut lan = Lan::seeded(11).with_priorities(&[100, 200]);
    lan.run_for(SECOND * 5);
    assert_eq!(lan.masters(), [1]);
    lan.pause(1, SECOND * 10);
    lan.run_for(Duration::from_millis(9_900));
    assert_eq!(lan.state(0), State::Master);
    let sent = lan.hosts[1].sent;
    lan.run_for(MS * 101);
    // Its socket held advertisements of a lower master: it answers once, for all of them.
    assert_eq!(lan.hosts[1].sent, sent + 1);
    lan.run_for(SECOND);
    assert_eq!(lan.masters(), [1]);
    assert_eq!(lan.hosts[1].contentions, 1, "and announces its addresses again");
}

#[test]
fn a_thawed_master_listens_for_a_successor_before_it_speaks() {
    let mut lan = Lan::seeded(12);
    let mut high = settings("VI_1", 51, 200);
    high.preempt = Preempt::No;
    lan.add_host(vec![high], &[]);
    lan.add_host(vec![settings("VI_1", 51, 100)], &[]);
    lan.start_all();
    lan.run_for(SECOND * 5);
    let sent = lan.hosts[0].sent;
    lan.freeze(0, SECOND * 10);
    lan.run_for(SECOND * 15);
    assert_eq!(lan.masters(), [1], "nopreempt: whoever took over meanwhile stays");
    assert_eq!(lan.hosts[0].sent, sent);
    let cause = &lan.hosts[0].transitions.last().expect("it yielded").1.cause;
    assert!(matches!(cause, Cause::Stalled { .. }), "{cause}");
}

#[test]
fn a_thawed_lone_master_speaks_again_after_one_interval() {
    let mut lan = Lan::seeded(13).with_priorities(&[200]);
    lan.run_for(SECOND * 5);
    let before = (lan.hosts[0].sent, lan.transitions(0), lan.hosts[0].announcements);
    lan.freeze(0, SECOND * 10);
    lan.run_for(SECOND * 13);
    assert!(lan.hosts[0].sent > before.0);
    assert_eq!(lan.transitions(0), before.1);
    assert!(lan.hosts[0].announcements > before.2, "somebody may have announced meanwhile");
}

#[test]
fn equal_priorities_settle_on_the_higher_address() {
    let mut lan = Lan::seeded(14).with_priorities(&[100, 100]);
    lan.run_for(SECOND * 20);
    assert_eq!(lan.masters(), [1]);
}

#[test]
fn an_owner_is_master_at_once() {
    let mut lan = Lan::seeded(15).with_priorities(&[255, 100]);
    assert_eq!(lan.masters(), [0]);
    lan.run_for(SECOND * 10);
    assert_eq!(lan.masters(), [0]);
    assert_eq!(lan.transitions(1), 1, "only INIT to BACKUP");
}

#[test]
fn two_owners_end_with_one_master() {
    let mut lan = Lan::seeded(16).with_priorities(&[255, 255]);
    lan.run_for(SECOND * 30);
    assert_eq!(lan.masters(), [1]);
}

fn group(names: &[&str]) -> GroupSettings {
    GroupSettings {
        name: Arc::from("VG_1"),
        members: names.iter().map(|n| Arc::from(*n)).collect(),
        tracking_weight: false,
    }
}

fn pair_of_groups(seed: u64) -> Lan {
    let mut lan = Lan::seeded(seed);
    for priority in [200, 100] {
        let routers = vec![settings("inside", 1, priority), settings("outside", 2, priority)];
        lan.add_host(routers, &[group(&["inside", "outside"])]);
    }
    lan.start_all();
    lan.run_for(SECOND * 10);
    lan
}

#[test]
fn a_fault_of_one_member_moves_the_whole_group_and_names_the_member() {
    let mut lan = pair_of_groups(17);
    assert_eq!((lan.router_state(0, 0), lan.router_state(0, 1)), (State::Master, State::Master));
    lan.with_host(0, |h, now| {
        let fault = FaultCause::InterfaceDown { interface: Arc::from("eth1") };
        h.election.set_fault(h.routers[1], fault, true, now);
    });
    assert_eq!((lan.router_state(0, 0), lan.router_state(0, 1)), (State::Fault, State::Fault));
    let inside = lan.hosts[0]
        .transitions
        .iter()
        .rev()
        .find(|(_, t)| &**t.subject.name() == "inside")
        .expect("it moved");
    assert!(
        matches!(&inside.1.cause, Cause::Fault(FaultCause::SyncGroup { member, .. }) if &**member == "outside"),
        "{}",
        inside.1.cause
    );
    let last = &lan.hosts[0].transitions.last().expect("it moved").1;
    assert_eq!(
        (&**last.subject.name(), last.to),
        ("VG_1", State::Fault),
        "the group speaks after its members"
    );
    lan.run_for(SECOND * 3);
    assert_eq!((lan.router_state(1, 0), lan.router_state(1, 1)), (State::Master, State::Master));
    lan.with_host(0, |h, now| {
        let fault = FaultCause::InterfaceDown { interface: Arc::from("eth1") };
        h.election.set_fault(h.routers[1], fault, false, now);
    });
    lan.run_for(SECOND * 10);
    assert_eq!((lan.router_state(0, 0), lan.router_state(0, 1)), (State::Master, State::Master));
    assert_eq!((lan.router_state(1, 0), lan.router_state(1, 1)), (State::Backup, State::Backup));
}

#[test]
fn a_group_waits_until_all_members_may_be_master() {
    let mut lan = pair_of_groups(18);
    // The peer resigns for one member only: the other still hears its master.
    lan.with_host(1, |h, now| {
        let id = h.routers[0];
        let master = h.election.router(id).and_then(|r| r.known_master()).expect("backup").address;
        let heard = buoy_vrrp::Heard { from: master, priority: Priority::STOP, interval: SECOND };
        h.election.handle_advertisement(id, &heard, now);
    });
    lan.run_for(SECOND * 10);
    assert_eq!((lan.router_state(1, 0), lan.router_state(1, 1)), (State::Backup, State::Backup));
    assert_eq!(lan.masters(), [0]);
}

#[test]
fn a_first_script_result_is_awaited_in_init_and_alerts_nobody() {
    let mut lan = Lan::seeded(19);
    lan.add_host(Vec::new(), &[]);
    let target = Target::Script(Arc::from("chk"));
    let tracker = Tracker { target: target.clone(), weight: 0, reverse: false };
    lan.with_host(0, |h, now| {
        let id = h.election.add_router(settings("VI_1", 51, 100), vec![tracker], now);
        h.election.set_source(id, Some("10.0.0.1".parse().expect("an address")));
        h.routers.push(id);
        h.election.start(now, Duration::ZERO);
    });
    lan.run_for(SECOND * 10);
    assert_eq!(lan.state(0), State::Init);
    assert_eq!(lan.transitions(0), 0);
    let observation = |reading| Observation { reading, evidence: Arc::from("exit status 1") };
    lan.with_host(0, |h, now| h.election.observe(&target, observation(Reading::Up), now));
    lan.run_for(SECOND * 4);
    assert_eq!(lan.state(0), State::Master);
    lan.with_host(0, |h, now| h.election.observe(&target, observation(Reading::Down), now));
    assert_eq!(lan.state(0), State::Fault);
    let text = lan.hosts[0].transitions.last().expect("it moved").1.cause.to_string();
    assert_eq!(text, "script chk: exit status 1");
}

#[test]
fn a_weight_lets_a_better_peer_preempt_without_a_gap() {
    let mut lan = Lan::seeded(20).with_priorities(&[200, 150]);
    let target = Target::Script(Arc::from("chk"));
    let tracker = Tracker { target: target.clone(), weight: -100, reverse: false };
    lan.with_host(0, |h, now| {
        let id = h.routers[0];
        let settings = h.election.router(id).expect("configured").settings().clone();
        h.election.update_router(id, settings, vec![tracker], now);
    });
    lan.run_for(SECOND * 10);
    let down = Observation { reading: Reading::Down, evidence: Arc::from("exit status 1") };
    lan.with_host(0, |h, now| h.election.observe(&target, down, now));
    for _ in 0..600 {
        lan.run_for(MS * 10);
        let held = lan.hosts.iter().any(|h| h.holds.values().any(|held| *held));
        assert!(held, "somebody holds the address at every moment");
    }
    assert_eq!(lan.masters(), [1]);
}

#[test]
fn an_identical_update_does_nothing() {
    let mut lan = Lan::seeded(21).with_priorities(&[200, 100]);
    lan.run_for(SECOND * 10);
    for host in 0..2 {
        let sent = lan.hosts[host].sent;
        let deadline = lan.hosts[host].election.poll_timeout();
        lan.with_host(host, |h, now| {
            let id = h.routers[0];
            let settings = h.election.router(id).expect("configured").settings().clone();
            h.election.update_router(id, settings, Vec::new(), now);
            h.election.set_groups(&[], now);
            assert_eq!(h.election.poll_action(), None);
        });
        assert_eq!((lan.hosts[host].sent, lan.hosts[host].election.poll_timeout()), (sent, deadline));
    }
}

#[test]
fn a_removed_master_hands_over_and_reports_deleted() {
    let mut lan = Lan::seeded(22).with_priorities(&[200, 100]);
    lan.run_for(SECOND * 10);
    lan.with_host(0, |h, now| h.election.remove_router(h.routers[0], now));
    lan.run_for(SECOND * 2);
    assert_eq!(lan.masters(), [1]);
    assert!(lan.hosts[0].holds.values().all(|held| !*held));
    assert!(lan.hosts[0].election.router(lan.hosts[0].routers[0]).is_none());
}

#[test]
fn one_lost_advertisement_in_three_never_moves_the_address() {
    let mut lan = Lan::seeded(23).with_priorities(&[200, 100]);
    lan.run_for(SECOND * 5);
    let before = lan.transitions(1);
    for _ in 0..50 {
        lan.wire = Wire { loss_percent: 100, ..Wire::default() };
        lan.run_for(SECOND * 2);
        lan.wire = Wire::default();
        lan.run_for(SECOND * 2);
    }
    assert_eq!(lan.transitions(1), before);
}

#[test]
fn a_third_router_that_resigns_does_not_end_the_reign_of_the_master() {
    let mut lan = Lan::seeded(24).with_priorities(&[200, 100]);
    lan.run_for(SECOND * 5);
    let before = lan.transitions(1);
    lan.with_host(1, |h, now| {
        let heard = buoy_vrrp::Heard {
            from: "10.0.0.77".parse().expect("an address"),
            priority: Priority::STOP,
            interval: SECOND,
        };
        h.election.handle_advertisement(h.routers[0], &heard, now);
    });
    lan.run_for(SECOND * 5);
    assert_eq!(lan.transitions(1), before);
}

#[test]
fn a_master_that_hears_nobody_when_a_partition_heals_announces_its_addresses_again() {
    let mut lan = Lan::seeded(12).with_priorities(&[200, 100]);
    lan.run_for(SECOND * 5);
    lan.set_side(1, 1);
    lan.run_for(SECOND * 10);
    assert_eq!(lan.masters(), [0, 1]);
    let before = lan.hosts[0].announcements;
    // The better one speaks first, and the other yields without a word.
    lan.run_for(Duration::from_nanos(1));
    lan.set_side(1, 0);
    lan.run_for(SECOND * 3);
    assert_eq!(lan.masters(), [0]);
    assert!(lan.hosts[0].announcements > before, "the neighbours believe the other one");
    assert!(lan.hosts[0].contentions > 0);
    assert!(!lan.hosts[1].holds.values().any(|held| *held));
}

#[test]
fn a_preempted_master_keeps_its_addresses_until_they_are_announced_and_reminds_nobody() {
    let mut lan = Lan::seeded(13).with_priorities(&[100]);
    lan.run_for(SECOND * 5);
    lan.add_host(vec![settings("VI_1", 51, 200)], &[]);
    lan.forget_gap();
    lan.start_host(1);
    lan.run_for(SECOND * 10);
    assert_eq!(lan.masters(), [1]);
    assert_eq!(lan.longest_gap, Duration::ZERO);
    assert_eq!(lan.hosts[1].contentions, 0);
    assert!(!lan.hosts[0].holds.values().any(|held| *held), "at once, not after an interval");
}
