//! Rise and fall: how many results in a row it takes to believe a script.
//!
//! One failure of a healthy script is noise as often as news, so up needs `rise` successes and down needs
//! `fall` failures, each in a row. Only the first result of all decides alone, since there is nothing yet
//! to contradict. (keepalived.conf(5), `vrrp_script`)

use buoy_vrrp::Reading;

/// The belief about one script. Sans-IO: results go in, changes of reading come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    belief: Belief,
    rise: u32,
    fall: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    Unknown,
    /// With the failures in a row that speak against it; always below `fall`.
    Up {
        failures: u32,
    },
    /// With the successes in a row that speak against it; always below `rise`.
    Down {
        successes: u32,
    },
}

impl Verdict {
    /// `rise` and `fall` of 0 count as 1. With `init_fail` the script is down until `rise` successes.
    pub fn new(rise: u32, fall: u32, init_fail: bool) -> Self {
        let belief = if init_fail { Belief::Down { successes: 0 } } else { Belief::Unknown };
        Self { belief, rise: rise.max(1), fall: fall.max(1) }
    }

    pub fn reading(&self) -> Reading {
        match self.belief {
            Belief::Unknown => Reading::Unknown,
            Belief::Up { .. } => Reading::Up,
            Belief::Down { .. } => Reading::Down,
        }
    }

    /// Takes the result of one run. The new reading when it is another one than before.
    pub fn record(&mut self, success: bool) -> Option<Reading> {
        let before = self.reading();
        self.belief = match (self.belief, success) {
            (Belief::Unknown | Belief::Up { .. }, true) => Belief::Up { failures: 0 },
            (Belief::Unknown | Belief::Down { .. }, false) => Belief::Down { successes: 0 },
            (Belief::Up { failures }, false) if failures + 1 < self.fall => {
                Belief::Up { failures: failures + 1 }
            }
            (Belief::Up { .. }, false) => Belief::Down { successes: 0 },
            (Belief::Down { successes }, true) if successes + 1 < self.rise => {
                Belief::Down { successes: successes + 1 }
            }
            (Belief::Down { .. }, true) => Belief::Up { failures: 0 },
        };
        let after = self.reading();
        (after != before).then_some(after)
    }

    /// The same belief under other counts: up stays up and down stays down, one more result against it
    /// being enough where the count so far would have sufficed.
    pub fn rescaled(self, rise: u32, fall: u32) -> Self {
        let (rise, fall) = (rise.max(1), fall.max(1));
        let belief = match self.belief {
            Belief::Unknown => Belief::Unknown,
            Belief::Up { failures } => Belief::Up { failures: failures.min(fall - 1) },
            Belief::Down { successes } => Belief::Down { successes: successes.min(rise - 1) },
        };
        Self { belief, rise, fall }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(verdict: &mut Verdict, results: &str) -> Vec<Option<Reading>> {
        results.chars().map(|c| verdict.record(c == '+')).collect()
    }

    #[test]
    fn the_first_result_decides_alone() {
        assert_eq!(Verdict::new(3, 3, false).reading(), Reading::Unknown);
        assert_eq!(Verdict::new(3, 3, false).record(true), Some(Reading::Up));
        assert_eq!(Verdict::new(3, 3, false).record(false), Some(Reading::Down));
    }

    #[test]
    fn init_fail_is_down_until_rise_successes() {
        let mut verdict = Verdict::new(2, 1, true);
        assert_eq!(verdict.reading(), Reading::Down);
        assert_eq!(readings(&mut verdict, "-++"), [None, None, Some(Reading::Up)]);
    }

    #[test]
    fn fall_failures_in_a_row_bring_it_down_and_one_success_between_starts_over() {
        let mut verdict = Verdict::new(1, 3, false);
        verdict.record(true);
        assert_eq!(readings(&mut verdict, "--+---"), [None, None, None, None, None, Some(Reading::Down)]);
    }

    #[test]
    fn rise_successes_in_a_row_bring_it_up_and_one_failure_between_starts_over() {
        let mut verdict = Verdict::new(3, 1, false);
        verdict.record(false);
        assert_eq!(readings(&mut verdict, "++-+++"), [None, None, None, None, None, Some(Reading::Up)]);
    }

    #[test]
    fn a_repeated_result_changes_nothing() {
        let mut verdict = Verdict::new(1, 1, false);
        assert_eq!(readings(&mut verdict, "+++"), [Some(Reading::Up), None, None]);
        assert_eq!(readings(&mut verdict, "---"), [Some(Reading::Down), None, None]);
    }

    #[test]
    fn counts_of_zero_are_one() {
        let mut verdict = Verdict::new(0, 0, false);
        assert_eq!(
            readings(&mut verdict, "+-+"),
            [Some(Reading::Up), Some(Reading::Down), Some(Reading::Up)]
        );
    }

    #[test]
    fn rescaling_keeps_the_reading_and_leaves_at_least_one_result_to_wait_for() {
        let mut verdict = Verdict::new(1, 5, false);
        readings(&mut verdict, "+---");
        let mut shorter = verdict.rescaled(1, 2);
        assert_eq!(shorter.reading(), Reading::Up);
        assert_eq!(shorter.record(false), Some(Reading::Down));
        let mut longer = verdict.rescaled(1, 6);
        assert_eq!(readings(&mut longer, "---"), [None, None, Some(Reading::Down)]);
    }

    #[test]
    fn rescaling_an_unknown_verdict_lets_the_first_result_decide() {
        assert_eq!(Verdict::new(1, 1, false).rescaled(5, 5).record(true), Some(Reading::Up));
    }

    /// The counter of keepalived, as its manual tells it: 0..rise+fall-1, up at `rise`.
    #[test]
    fn any_sequence_agrees_with_the_counter_model() {
        use proptest::prelude::*;
        proptest!(|(rise in 1u32..5, fall in 1u32..5, results in proptest::collection::vec(any::<bool>(), 1..60))| {
            let mut verdict = Verdict::new(rise, fall, true);
            let mut counter = 0;
            for success in results {
                counter = match (success, counter >= rise) {
                    (true, true) => rise + fall - 1,
                    (true, false) if counter + 1 == rise => rise + fall - 1,
                    (true, false) => counter + 1,
                    (false, true) if counter > rise => counter - 1,
                    (false, _) => 0,
                };
                verdict.record(success);
                prop_assert_eq!(verdict.reading() == Reading::Up, counter >= rise);
            }
        });
    }
}
