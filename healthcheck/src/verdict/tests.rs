use proptest::prelude::*;

use super::*;
use crate::outcome::{Reason, Trouble};

const LOOP: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);
const WHILE_DOWN: Duration = Duration::from_secs(11);

fn cadence(retry: u32, rise: u32, start: Health) -> Cadence {
    Cadence {
        interval: LOOP,
        retry,
        retry_interval: RETRY,
        down_interval: WHILE_DOWN,
        rise: NonZeroU32::new(rise).unwrap(),
        start,
        ..Cadence::default()
    }
}

fn up() -> Outcome {
    Outcome::Up(Findings::default())
}

fn down() -> Outcome {
    Outcome::Down(Reason::Refused)
}

/// `+` success, `-` failure, `?` undecided; answers `U` or `D` and the pause, one word per attempt.
fn play(cadence: &Cadence, parts: u32, results: &str) -> Vec<String> {
    let parts = NonZeroU32::new(parts).unwrap();
    let mut verdict = Verdict::new(cadence.start);
    let told = |c| match c {
        '+' => up(),
        '-' => down(),
        _ => Outcome::Undecided(Trouble::NothingKnown),
    };
    let step = |c| {
        let part = verdict.part();
        let decision = verdict.handle_outcome(&told(c), cadence, parts);
        let health = if verdict.health() == Health::Up { 'U' } else { 'D' };
        let pause = match decision.wait {
            Wait::AfterEnd(LOOP) => "loop",
            Wait::AfterEnd(RETRY) => "retry",
            Wait::AfterEnd(WHILE_DOWN) => "down",
            Wait::AfterEnd(Duration::ZERO) => "now",
            Wait::AfterEnd(_) => "?",
            Wait::FromStart(_) => "start",
        };
        format!("{part}{health}{pause}")
    };
    results.chars().map(step).collect()
}

#[test]
fn first_result_is_decisive_in_both_directions() {
    assert_eq!(play(&cadence(3, 1, Health::Up), 1, "-"), ["0Ddown"]);
    assert_eq!(play(&cadence(3, 1, Health::Up), 1, "+"), ["0Uloop"]);
    assert_eq!(play(&cadence(3, 5, Health::Down), 1, "+"), ["0Uloop"]);
    assert_eq!(play(&cadence(3, 5, Health::Down), 1, "-"), ["0Ddown"]);
}

#[test]
fn server_that_was_up_gets_its_retries_and_a_success_resets_the_count() {
    assert_eq!(
        play(&cadence(2, 1, Health::Up), 1, "+--+---"),
        ["0Uloop", "0Uretry", "0Uretry", "0Uloop", "0Uretry", "0Uretry", "0Ddown"]
    );
    assert_eq!(play(&cadence(0, 1, Health::Up), 1, "+-"), ["0Uloop", "0Ddown"]);
}

#[test]
fn while_down_failures_wait_and_a_success_is_believed_at_once() {
    assert_eq!(play(&cadence(1, 1, Health::Up), 1, "---+"), ["0Ddown", "0Ddown", "0Ddown", "0Uloop"]);
}

#[test]
fn rise_asks_for_rounds_in_a_row() {
    assert_eq!(
        play(&cadence(0, 3, Health::Up), 1, "-++-+++"),
        ["0Ddown", "0Dloop", "0Dloop", "0Ddown", "0Dloop", "0Dloop", "0Uloop"]
    );
}

#[test]
fn trouble_of_this_host_changes_nothing() {
    assert_eq!(
        play(&cadence(1, 1, Health::Up), 1, "?-??+-?-"),
        ["0Uloop", "0Ddown", "0Dloop", "0Dloop", "0Uloop", "0Uretry", "0Uloop", "0Ddown"]
    );
}

#[test]
fn pages_take_turns_while_all_is_well() {
    assert_eq!(play(&cadence(1, 1, Health::Up), 3, "++++"), ["0Uloop", "1Uloop", "2Uloop", "0Uloop"]);
}

#[test]
fn failed_page_is_asked_until_it_answers_then_all_from_the_first() {
    assert_eq!(
        play(&cadence(0, 1, Health::Up), 3, "++--++++"),
        ["0Uloop", "1Uloop", "2Ddown", "2Ddown", "2Dloop", "0Dloop", "1Dloop", "2Uloop"]
    );
    assert_eq!(play(&cadence(0, 1, Health::Up), 2, "-++"), ["0Ddown", "0Dloop", "1Uloop"]);
    assert_eq!(
        play(&cadence(0, 1, Health::Down), 2, "+-+++"),
        ["0Dloop", "1Ddown", "1Dloop", "0Dloop", "1Uloop"]
    );
}

#[test]
fn failing_page_of_a_living_server_is_retried_itself() {
    assert_eq!(play(&cadence(1, 1, Health::Up), 2, "+-++"), ["0Uloop", "1Uretry", "1Uloop", "0Uloop"]);
}

#[test]
fn fast_recovery_has_no_pause_between_the_pages_of_a_recovering_server() {
    let cadence = Cadence { fast_recovery: true, ..cadence(0, 1, Health::Up) };
    assert_eq!(play(&cadence, 3, "+-++++"), ["0Uloop", "1Ddown", "1Dnow", "0Dnow", "1Dnow", "2Uloop"]);
}

#[test]
fn command_is_paced_from_its_start_but_retried_after_its_end() {
    let cadence = Cadence { pace: Pace::FromStart, ..cadence(1, 1, Health::Up) };
    assert_eq!(play(&cadence, 1, "+---+"), ["0Ustart", "0Uretry", "0Dstart", "0Dstart", "0Ustart"]);
}

#[test]
fn weight_persists_until_another_comes_and_dies_with_the_server() {
    let cadence = cadence(1, 1, Health::Up);
    let mut verdict = Verdict::new(Health::Up);
    let weighted = |n| {
        let weight = Some(WeightAdvice::Absolute(n));
        Outcome::Up(Findings { weight, ..Findings::default() })
    };
    let mut told = |outcome: &Outcome| {
        let decision = verdict.handle_outcome(outcome, &cadence, NonZeroU32::MIN);
        (verdict.weight(), decision.learnt)
    };
    let three = Some(WeightAdvice::Absolute(3));
    assert_eq!(told(&weighted(3)), (three, true));
    assert_eq!(told(&weighted(3)), (three, false));
    assert_eq!(told(&up()), (three, false));
    assert_eq!(told(&down()), (three, false));
    assert_eq!(told(&down()), (None, true));
    assert_eq!(told(&up()), (None, false));
}

#[test]
fn advice_alone_moves_no_server_but_the_first_time() {
    let cadence = cadence(0, 1, Health::Down);
    let mut verdict = Verdict::new(Health::Down);
    let drain = Findings { administrative: Some(Administrative::Drain), ..Findings::default() };
    let mut told = |outcome: &Outcome| {
        verdict.handle_outcome(outcome, &cadence, NonZeroU32::MIN);
        (verdict.health(), verdict.administrative())
    };
    assert_eq!(told(&Outcome::Advice(drain.clone())), (Health::Up, Some(Administrative::Drain)));
    assert_eq!(told(&down()), (Health::Down, Some(Administrative::Drain)));
    assert_eq!(told(&Outcome::Advice(drain)), (Health::Down, Some(Administrative::Drain)));
}

#[test]
fn transition_tells_how_many_retries_had_failed() {
    let cadence = cadence(2, 1, Health::Up);
    let mut verdict = Verdict::new(Health::Up);
    let mut last = None;
    for outcome in [up(), down(), down(), down()] {
        last = verdict.handle_outcome(&outcome, &cadence, NonZeroU32::MIN).transition;
    }
    assert_eq!(last, Some(Transition { to: Health::Down, retries: 2 }));
}

proptest! {
    /// Whatever comes: down needs more than `retry` failures in a row behind it or the very first result; up needs
    /// a full round of successes; and the part asked for exists.
    #[test]
    fn belief_always_has_its_evidence(
        retry in 0u32..4, rise in 1u32..4, parts in 1u32..4, alpha: bool,
        results in proptest::collection::vec(any::<bool>(), 1..60),
    ) {
        let start = if alpha { Health::Down } else { Health::Up };
        let cadence = cadence(retry, rise, start);
        let parts = NonZeroU32::new(parts).unwrap();
        let mut verdict = Verdict::new(start);
        let (mut failed, mut passed) = (0, 0);
        for (n, good) in results.into_iter().enumerate() {
            let (was, decided) = (verdict.health(), verdict.is_decided());
            (failed, passed) = if good { (0, passed + 1) } else { (failed + 1, 0) };
            verdict.handle_outcome(&if good { up() } else { down() }, &cadence, parts);
            match (was, verdict.health()) {
                (Health::Up, Health::Down) => prop_assert!(n == 0 || failed > retry),
                (Health::Down, Health::Up) => {
                    let rounds = if decided { rise } else { 1 };
                    prop_assert!(passed >= rounds * parts.get());
                }
                (Health::Up, Health::Up) => prop_assert!(failed <= retry),
                (Health::Down, Health::Down) => {
                    prop_assert!(passed < (rise + 1) * parts.get() + 1);
                }
            }
            prop_assert!(verdict.part() < parts.get());
        }
    }
}
