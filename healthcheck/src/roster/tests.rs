use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::checker::tcp::TcpCheck;
use crate::deadline::Deadlines;
use crate::outcome::{Findings, Reason, Trouble};
use crate::target::Target;

const SEC: Duration = Duration::from_secs(1);
const ONE: CheckId = CheckId(1);
const TWO: CheckId = CheckId(2);

fn settings(port: u16) -> CheckSettings {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let probe = Probe::Tcp(TcpCheck { target: Target::new(address), deadlines: Deadlines::default() });
    CheckSettings { probe, cadence: Cadence { interval: SEC, warmup: SEC, ..Cadence::default() } }
}

fn up() -> Outcome {
    Outcome::Up(Findings::default())
}

fn down() -> Outcome {
    Outcome::Down(Reason::Refused)
}

/// A roster with a clock that jumps to whatever is due next.
struct Play {
    roster: Roster,
    now: Instant,
}

impl Play {
    fn new() -> Self {
        Self { roster: Roster::new(0), now: Instant::now() }
    }

    fn add(&mut self, id: CheckId, settings: CheckSettings) {
        self.roster.replace(id, settings, self.now);
    }

    fn begin(&mut self) -> ProbeKey {
        self.begin_at_its_time().key
    }

    fn begin_at_its_time(&mut self) -> Attempt {
        self.now = self.now.max(self.roster.poll_timeout().expect("something is due"));
        self.roster.poll_attempt(self.now).expect("it is due")
    }

    fn answer(&mut self, outcome: Outcome) -> ProbeKey {
        let key = self.begin();
        self.roster.handle_outcome(key, outcome, self.now, self.now);
        key
    }

    fn reports(&mut self) -> Vec<(u64, Health, bool)> {
        std::iter::from_fn(|| self.roster.poll_report()).map(|r| (r.id.0, r.health, r.decided)).collect()
    }
}

#[test]
fn equal_checks_are_one_probe_and_all_subscribers_hear() {
    let mut play = Play::new();
    play.add(ONE, settings(80));
    play.add(TWO, settings(80));
    play.add(CheckId(3), settings(81));
    assert_eq!((play.roster.check_count(), play.roster.probe_count()), (3, 2));
    play.reports();
    play.answer(down());
    play.answer(down());
    let heard = play.reports();
    assert_eq!(heard.len(), 3);
    assert!(heard.iter().all(|(_, health, decided)| *health == Health::Down && *decided));
}

#[test]
fn late_subscriber_hears_what_is_known() {
    let mut play = Play::new();
    play.add(ONE, settings(80));
    play.answer(down());
    play.reports();
    play.add(TWO, settings(80));
    assert_eq!(play.reports(), [(2, Health::Down, true)]);
}

#[test]
fn only_news_is_reported() {
    let mut play = Play::new();
    play.add(ONE, settings(80));
    assert_eq!(play.reports(), [(1, Health::Up, false)]);
    play.answer(up());
    assert_eq!(play.reports(), [(1, Health::Up, true)]);
    play.answer(up());
    assert_eq!(play.reports(), []);
    play.answer(down());
    assert_eq!(play.reports(), [(1, Health::Up, true)], "a reason that was not known");
    play.answer(down());
    assert_eq!(play.reports(), [(1, Health::Down, true)]);
    play.answer(down());
    assert_eq!(play.reports(), []);
    play.answer(Outcome::Down(Reason::ReplyDiffers { at: 0 }));
    assert_eq!(play.reports(), [(1, Health::Down, true)], "another reason");
}

#[test]
fn each_failure_that_counts_against_a_server_is_reported_and_health_is_silent() {
    let mut play = Play::new();
    let mut settings = settings(80);
    settings.cadence.retry = 3;
    play.add(ONE, settings);
    play.answer(up());
    play.reports();
    let mut counted = |outcome| {
        play.answer(outcome);
        std::iter::from_fn(|| play.roster.poll_report()).map(|r| r.failures).collect::<Vec<_>>()
    };
    assert_eq!(counted(up()), []);
    assert_eq!(counted(down()), [1]);
    assert_eq!(counted(down()), [2], "for the same reason");
    assert_eq!(counted(down()), [3]);
    assert_eq!(counted(up()), [0]);
    assert_eq!(counted(up()), []);
    assert_eq!(counted(Outcome::Undecided(Trouble::NothingKnown)), [0], "a trouble that was not known");
    assert_eq!(counted(Outcome::Undecided(Trouble::NothingKnown)), []);
}

#[test]
fn a_silent_death_is_reported_as_doubted_and_anew_once_it_is_believed_and_not_in_between() {
    let mut play = Play::new();
    play.add(ONE, settings(80));
    play.answer(up());
    play.reports();
    let mut fails = |heard: bool| {
        let outcome = Outcome::Down(Reason::TimedOut { step: crate::outcome::Step::Connect, after: SEC });
        let began = play.begin_at_its_time();
        let started = play.now;
        play.now += SEC;
        play.roster.handle_outcome(began.key, outcome, started, play.now);
        if heard {
            play.roster.hear(play.now);
        }
        std::iter::from_fn(|| play.roster.poll_report()).map(|r| (r.health, r.doubted)).collect::<Vec<_>>()
    };
    assert_eq!(fails(false), [(Health::Up, false)]);
    assert_eq!(fails(false), [(Health::Down, true)]);
    assert_eq!(fails(false), []);
    assert_eq!(fails(true), []);
    assert_eq!(fails(false), [(Health::Down, false)]);
    assert_eq!(fails(false), []);
    play.answer(up());
    assert_eq!(play.reports(), [(1, Health::Up, true)]);
}

#[test]
fn all_failures_are_reported_where_asked_for() {
    let mut play = Play::new();
    let mut settings = settings(80);
    settings.cadence.report_all_failures = true;
    play.add(ONE, settings);
    for _ in 0..3 {
        play.answer(down());
    }
    assert_eq!(play.reports().len(), 4);
}

#[test]
fn equal_settings_change_nothing_not_even_the_time() {
    let mut play = Play::new();
    play.add(ONE, settings(80));
    play.answer(down());
    play.reports();
    let due = play.roster.poll_timeout();
    play.add(ONE, settings(80));
    assert_eq!((play.reports(), play.roster.poll_timeout()), (vec![], due));
}

#[test]
fn another_probe_begins_anew_and_is_decided_by_its_first_result() {
    let mut play = Play::new();
    play.add(ONE, settings(80));
    play.answer(down());
    play.reports();
    play.add(ONE, settings(81));
    let begun = play.roster.poll_report().expect("what is believed of it");
    assert_eq!((begun.health, begun.decided, begun.last), (Health::Up, false, None));
    play.answer(down());
    assert_eq!(play.reports(), [(1, Health::Down, true)]);
    assert_eq!(play.roster.probe_count(), 1);
}

#[test]
fn changed_cadence_keeps_what_was_counted() {
    let mut play = Play::new();
    play.add(ONE, settings(80));
    play.answer(up());
    play.answer(down());
    let mut changed = settings(80);
    changed.cadence.interval = SEC * 2;
    play.add(ONE, changed);
    play.reports();
    play.answer(down());
    assert_eq!(play.reports(), [(1, Health::Down, true)]);
}

#[test]
fn removed_check_is_cancelled_and_its_late_result_means_nothing() {
    let mut play = Play::new();
    play.add(ONE, settings(80));
    play.add(TWO, settings(80));
    let key = play.begin();
    play.roster.remove(ONE);
    assert_eq!(play.roster.poll_cancel(), None, "the other one still waits for it");
    play.roster.remove(TWO);
    assert_eq!(play.roster.poll_cancel(), Some(key));
    play.roster.handle_outcome(key, down(), play.now, play.now);
    assert_eq!((play.reports(), play.roster.poll_timeout()), (vec![], None));
}

#[test]
fn suspended_check_is_frozen_and_goes_on_where_it_was() {
    let mut play = Play::new();
    play.add(ONE, settings(80));
    play.answer(down());
    play.reports();
    let key = play.begin();
    play.roster.suspend(ONE, play.now);
    assert_eq!(play.roster.poll_cancel(), Some(key));
    play.roster.handle_outcome(key, up(), play.now, play.now);
    assert_eq!((play.reports(), play.roster.poll_timeout()), (vec![], None));
    play.roster.resume(ONE, play.now);
    assert_eq!(play.reports(), [(1, Health::Down, true)]);
    play.answer(up());
    assert_eq!(play.reports(), [(1, Health::Up, true)]);
}

#[test]
fn one_of_two_subscribers_may_be_suspended() {
    let mut play = Play::new();
    play.add(ONE, settings(80));
    play.add(TWO, settings(80));
    play.reports();
    play.roster.suspend(ONE, play.now);
    play.answer(down());
    assert_eq!(play.reports(), [(2, Health::Down, true)]);
    play.roster.resume(ONE, play.now);
    assert_eq!(play.reports(), [(1, Health::Down, true)]);
}

#[test]
fn external_probe_is_never_due_and_hears_from_outside() {
    let mut play = Play::new();
    let probe = Probe::External("bfd peer".into());
    play.add(ONE, CheckSettings { probe, cadence: Cadence::default() });
    play.add(TWO, settings(80));
    play.reports();
    play.answer(up());
    play.reports();
    let told = Outcome::Down(Reason::External("session is down".into()));
    play.roster.observe(ONE, told.clone(), play.now);
    play.roster.observe(TWO, told, play.now);
    assert_eq!(play.reports(), [(1, Health::Down, true)]);
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Replace(u64, u16),
    Remove(u64),
    Suspend(u64),
    Resume(u64),
    Begin,
    /// The oldest attempt that was not cancelled.
    Answer(bool),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => (0..6_u64, 0..3_u16).prop_map(|(id, port)| Operation::Replace(id, port)),
        1 => (0..6_u64).prop_map(Operation::Remove),
        1 => (0..6_u64).prop_map(Operation::Suspend),
        1 => (0..6_u64).prop_map(Operation::Resume),
        4 => Just(Operation::Begin),
        4 => any::<bool>().prop_map(Operation::Answer),
    ]
}

impl Play {
    fn operate(&mut self, operation: Operation, running: &mut VecDeque<ProbeKey>) {
        let now = self.now;
        match operation {
            Operation::Replace(id, port) => self.add(CheckId(id), settings(port)),
            Operation::Remove(id) => self.roster.remove(CheckId(id)),
            Operation::Suspend(id) => self.roster.suspend(CheckId(id), now),
            Operation::Resume(id) => self.roster.resume(CheckId(id), now),
            Operation::Begin => {
                if self.roster.poll_timeout().is_some() {
                    running.push_back(self.begin());
                }
            }
            Operation::Answer(good) => {
                if let Some(key) = running.pop_front() {
                    self.roster.handle_outcome(key, if good { up() } else { down() }, now, now);
                }
            }
        }
        while let Some(key) = self.roster.poll_cancel() {
            running.retain(|other| *other != key);
        }
    }
}

proptest! {
    /// Whatever happens: what is wanted is due or under way, what nobody wants is neither, and whoever listens knows
    /// the health of every check that is not suspended.
    #[test]
    fn no_check_is_forgotten_and_none_is_made_for_nobody(
        operations in proptest::collection::vec(operation(), 1..120),
    ) {
        let mut play = Play::new();
        let mut running = VecDeque::new();
        let mut heard = BTreeMap::new();
        for operation in operations {
            play.operate(operation, &mut running);
            while let Some(report) = play.roster.poll_report() {
                heard.insert(report.id, report.health);
            }
            for (key, probe) in &play.roster.probes {
                let awake = |id: &CheckId| !play.roster.checks[id].suspended;
                let wanted = probe.subscribers.iter().any(awake);
                let due = play.roster.schedule.contains(key.0);
                prop_assert!(!probe.subscribers.is_empty());
                prop_assert_eq!(wanted, due || probe.running.is_some());
                prop_assert!(!(due && probe.running.is_some()));
                prop_assert_eq!(probe.running.is_some(), running.contains(key));
                prop_assert_eq!(play.roster.by_settings.get(&probe.settings), Some(key));
            }
            prop_assert_eq!(play.roster.by_settings.len(), play.roster.probes.len());
            for (id, check) in &play.roster.checks {
                if !check.suspended {
                    prop_assert_eq!(heard.get(id), Some(&play.roster.probes[&check.probe].verdict.health()));
                }
            }
        }
    }
}
