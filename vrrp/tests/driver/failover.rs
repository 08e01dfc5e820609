//! Election, cable cut, orderly stop and starvation with real sockets and timers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy_vrrp::driver::{Command, Event};
use buoy_vrrp::{
    Cause, FaultCause, Observation, Preempt, Priority, Reading, State, Target, Tracker, Version, master_down,
};

use crate::namespace::{Cable, End, ip};
use crate::node::{Node, Seen, transitions};
use crate::settings::router;

const INTERVAL: f64 = 0.1;

fn settings(priority: u8) -> buoy_vrrp::RouterSettings {
    let mut settings = router(Version::V3, 41, priority, INTERVAL, &["10.99.1.41"]);
    settings.make_before_break = true;
    settings
}

#[test]
fn two_drivers_elect_one_master_survive_a_cut_cable_and_hand_over_without_a_gap() {
    let Some(cable) = Cable::plug() else { return };
    std::thread::scope(|scope| {
        let left = Node::run(scope, &cable, End::Left, Duration::ZERO);
        let right = Node::run(scope, &cable, End::Right, Duration::ZERO);
        for (node, priority) in [(&left, 200), (&right, 100)] {
            node.add(&cable, settings(priority), Vec::new());
            node.start();
        }
        left.wait_for(State::Master);
        right.wait_for(State::Backup);
        right.wait_until("the master is known", |s| s.routers.iter().all(|r| r.master.is_some()));

        cable.enter(End::Left);
        ip("link set left0 down");
        let (_, transition) = right.wait_for(State::Master);
        let Cause::MasterDown { silent_for: Some(silent), .. } = transition.cause else {
            panic!("{}", transition.cause)
        };
        let down = master_down(Version::V3, Priority::new(100), Duration::from_millis(100), 3);
        assert!(silent >= down);
        println!("cable cut: master {:?} after its down time", silent - down);

        ip("link set left0 up");
        let (_, transition) = right.wait_for(State::Backup);
        assert!(matches!(transition.cause, Cause::HigherPriority { .. }), "{}", transition.cause);
        right.wait_until("the master is known", |s| s.routers.iter().all(|r| r.master.is_some()));
        let _before = (left.rest(), right.rest());

        let stopped = Instant::now();
        left.tell(Command::Stop);
        let (taken, ()) = right.wait("installation", |s| matches!(s, Seen::Install).then_some(()));
        let (_, transition) = right.wait_for(State::Master);
        assert!(matches!(transition.cause, Cause::MasterResigned { .. }), "{}", transition.cause);
        let (given, ()) = left.wait("withdrawal", |s| matches!(s, Seen::Withdraw).then_some(()));
        left.wait("the end", |s| matches!(s, Seen::Event(Event::Stopped)).then_some(()));
        let (taken, given) = (taken - stopped, given - stopped);
        println!("orderly stop: wanted by the successor after {taken:?}, given up after {given:?}");
        assert!(right.snapshot().routers.iter().all(|r| r.holds_addresses));
        left.quit();
        right.quit();
    });
}

#[test]
fn an_idle_driver_whose_last_timer_has_fired_sleeps() {
    let Some(cable) = Cable::plug() else { return };
    std::thread::scope(|scope| {
        let left = Node::run(scope, &cable, End::Left, Duration::ZERO);
        let mut settings = settings(200);
        // A second burst would still be in the queue of timers.
        settings.garp.delay = Duration::ZERO;
        left.add(&cable, settings, Vec::new());
        left.start();
        left.wait_for(State::Master);
        left.tell(Command::Stop);
        // Nobody succeeds: the end of the hold is the last timer there is.
        left.wait("the end", |s| matches!(s, Seen::Event(Event::Stopped)).then_some(()));
        let wakeups = |snapshot: &buoy_vrrp::driver::Snapshot| snapshot.wakeups;
        let before = wakeups(&left.snapshot());
        (0..9).for_each(|_| drop(left.snapshot()));
        let after = wakeups(&left.snapshot());
        // One for each question, and one each that the question before may have left behind.
        assert!(after - before <= 20, "{} wake-ups for 10 questions", after - before);
        // Its thread ends with the last handle, or this test never does.
        drop(left);
    });
}

#[test]
fn a_starved_backup_makes_no_transition() {
    let Some(cable) = Cable::plug() else { return };
    std::thread::scope(|scope| {
        let left = Node::run(scope, &cable, End::Left, Duration::ZERO);
        let right = Node::run(scope, &cable, End::Right, Duration::from_secs(2));
        left.add(&cable, settings(200), Vec::new());
        let target = Target::Script(Arc::from("chk"));
        let tracker = Tracker { target: target.clone(), weight: 1, reverse: false };
        right.add(&cable, settings(100), vec![tracker]);
        left.start();
        right.start();
        left.wait_for(State::Master);
        right.wait_for(State::Backup);
        right.wait_until("the master is known", |s| s.routers.iter().all(|r| r.master.is_some()));
        let _before = (left.rest(), right.rest());

        // The effect of the new priority keeps the thread for 2 s: six times the down time.
        for (reading, priority) in [(Reading::Up, 101), (Reading::Unknown, 100)] {
            let observation = Observation { reading, evidence: Arc::from("as the test says") };
            right.tell(Command::Observe { target: target.clone(), observation });
            right.wait("the new priority", |s| {
                let Seen::Event(Event::PriorityChanged { priority: p, .. }) = s else { return None };
                (p.get() == priority).then_some(())
            });
        }
        let now = right.wait_until("it has read what had queued up", |s| {
            s.routers.iter().all(|r| r.master.is_some_and(|(_, _, age)| age < Duration::from_millis(300)))
        });
        assert!(now.routers.iter().all(|r| r.statistics.advertisements_received >= 20));
        assert_eq!(transitions(&right.rest()), [""; 0]);
        assert_eq!(transitions(&left.rest()), [""; 0]);
        println!("starved for 2 s twice; worst lateness {:?}", now.worst_lateness);
        left.quit();
        right.quit();
    });
}

#[test]
fn a_master_that_loses_its_source_address_resigns_aloud() {
    let Some(cable) = Cable::plug() else { return };
    std::thread::scope(|scope| {
        let left = Node::run(scope, &cable, End::Left, Duration::ZERO);
        let right = Node::run(scope, &cable, End::Right, Duration::ZERO);
        for (node, priority) in [(&left, 200), (&right, 100)] {
            node.add(&cable, settings(priority), Vec::new());
            node.start();
        }
        left.wait_for(State::Master);
        right.wait_until("the master is known", |s| s.routers.iter().all(|r| r.master.is_some()));
        let key: Arc<str> = Arc::from("router");
        let fault = FaultCause::NoSourceAddress { interface: Arc::from("left0") };
        left.tell(Command::Fault { key: Arc::clone(&key), fault, present: true });
        left.tell(Command::Endpoint { key, endpoint: None });
        let (_, transition) = right.wait_for(State::Master);
        assert!(matches!(transition.cause, Cause::MasterResigned { .. }), "{}", transition.cause);
        left.quit();
        right.quit();
    });
}

#[test]
fn a_stop_that_waited_with_the_successors_advertisements_is_obeyed_after_they_are_heard() {
    let Some(cable) = Cable::plug() else { return };
    std::thread::scope(|scope| {
        // The change of priority keeps it from running for longer than a backup waits.
        let left = Node::run(scope, &cable, End::Left, Duration::from_secs(2));
        let right = Node::run(scope, &cable, End::Right, Duration::ZERO);
        let target = Target::Script(Arc::from("chk"));
        let tracker = Tracker { target: target.clone(), weight: 1, reverse: false };
        let mut nopreempt = settings(200);
        nopreempt.preempt = Preempt::No;
        left.add(&cable, nopreempt, vec![tracker]);
        left.start();
        left.wait_for(State::Master);
        right.add(&cable, settings(100), Vec::new());
        right.start();
        right.wait_until("the master is known", |s| s.routers.iter().all(|r| r.master.is_some()));
        let observation = Observation { reading: Reading::Up, evidence: Arc::from("as the test says") };
        left.tell(Command::Observe { target, observation });
        right.wait_for(State::Master);
        left.tell(Command::Stop);
        let (_, transition) = left.wait("its next state", |s| match s {
            Seen::Event(Event::Transition(t)) => Some(t.clone()),
            _ => None,
        });
        assert!(matches!(transition.cause, Cause::Stalled { .. }), "{}", transition.cause);
        left.wait("the end", |s| matches!(s, Seen::Event(Event::Stopped)).then_some(()));
        let right_seen = transitions(&right.rest());
        assert_eq!(right_seen, [""; 0], "nobody resigned to the new master, or contended with it");
        right.quit();
    });
}

#[test]
fn a_router_added_with_the_removal_of_another_keeps_its_sockets() {
    let Some(cable) = Cable::plug() else { return };
    std::thread::scope(|scope| {
        let left = Node::run(scope, &cable, End::Left, Duration::ZERO);
        left.add(&cable, settings(200), Vec::new());
        // In one breath, as a reload says it; the old one holds nothing and goes at once.
        left.tell(Command::Remove { key: Arc::from("router") });
        let mut other = settings(200);
        other.name = Arc::from("other");
        other.vrid = buoy_vrrp::Vrid::new(42).unwrap();
        left.add(&cable, other, Vec::new());
        left.start();
        left.wait("the end of the first", |s| matches!(s, Seen::Event(Event::Gone { .. })).then_some(()));
        left.wait_for(State::Master);
        let right = Node::run(scope, &cable, End::Right, Duration::ZERO);
        let mut hears = settings(100);
        hears.vrid = buoy_vrrp::Vrid::new(42).unwrap();
        right.add(&cable, hears, Vec::new());
        right.start();
        right.wait_until("it hears the new one", |s| s.routers.iter().any(|r| r.master.is_some()));
        left.quit();
        right.quit();
    });
}
