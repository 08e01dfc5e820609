//! When each check is due, spread so that checks never come in bursts.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::verdict::Wait;

/// Time between the start and the first check, as in keepalived.
const SETTLE: Duration = Duration::from_secs(1);

/// The largest pause that is kept: far beyond any setting, and no sum of it with a clock overflows.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Where in its warm-up each check starts.
///
/// Consecutive turns are the multiples of the golden ratio modulo one: however many there are, they lie about evenly,
/// which random numbers do not. Another seed shifts all of them, so two directors need not probe in step.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    turn: u32,
}

impl Spread {
    pub fn seeded(seed: u32) -> Self {
        Self { turn: seed }
    }

    /// When a check that is added at `now` is due first: after a second and a share of `warmup`.
    pub fn first_due(&mut self, now: Instant, warmup: Duration) -> Instant {
        // 2^32 divided by the golden ratio.
        self.turn = self.turn.wrapping_add(0x9e37_79b9);
        now + SETTLE + share(warmup.min(LONGEST), self.turn)
    }
}

/// The part of `whole` that `turn` is of 2^32.
fn share(whole: Duration, turn: u32) -> Duration {
    let nanos = (whole.as_nanos() * u128::from(turn)) >> 32;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// When the next attempt is due after one that was due at `due`, began at `started` and ended at `ended`.
///
/// What we were late ourselves is not carried on. A host that was paused owes all its checks at once; were the pauses
/// counted from there, they would come in that burst for ever. So each keeps its place, missed turns are skipped.
pub fn next_due(wait: Wait, due: Instant, started: Instant, ended: Instant) -> Instant {
    let late = started.saturating_duration_since(due);
    let (from, pause) = match wait {
        Wait::AfterEnd(pause) => (ended, pause),
        Wait::FromStart(pause) => (started, pause),
    };
    let pause = pause.min(LONGEST);
    let next = from - late.min(from.saturating_duration_since(due)) + pause;
    if next > ended || pause.is_zero() {
        return next.max(ended);
    }
    let behind = ended.duration_since(next).as_nanos();
    let turns = behind / pause.as_nanos() + 1;
    let skip = pause.as_nanos().saturating_mul(turns);
    next + Duration::from_nanos(u64::try_from(skip).unwrap_or(u64::MAX)).min(LONGEST)
}

/// Keys in the order of their due times. A key is due at one time at most.
#[derive(Debug, Default)]
pub struct Schedule {
    order: BTreeSet<(Instant, u64)>,
    due: HashMap<u64, Instant>,
}

impl Schedule {
    /// Sets or moves the due time of `key`.
    pub fn set(&mut self, key: u64, due: Instant) {
        self.remove(key);
        self.order.insert((due, key));
        self.due.insert(key, due);
    }

    pub fn remove(&mut self, key: u64) {
        if let Some(due) = self.due.remove(&key) {
            self.order.remove(&(due, key));
        }
    }

    pub fn contains(&self, key: u64) -> bool {
        self.due.contains_key(&key)
    }

    /// When [`pop_due`](Self::pop_due) has something next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.order.first().map(|(due, _)| *due)
    }

    /// Takes the key that has been due longest at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let (due, key) = self.order.first().copied().filter(|(due, _)| *due <= now)?;
        self.remove(key);
        Some((key, due))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn first_checks_lie_evenly_whatever_their_number() {
        for count in [3_u32, 100, 2_000] {
            let now = Instant::now();
            let mut spread = Spread::seeded(7);
            let mut due: Vec<_> = (0..count).map(|_| spread.first_due(now, SEC) - now - SETTLE).collect();
            due.sort();
            let widest = due.windows(2).map(|w| w[1] - w[0]).max().unwrap();
            assert!(widest <= SEC * 3 / count, "{count}: {widest:?}");
            assert!(*due.last().unwrap() < SEC);
        }
    }

    #[test]
    fn warmup_of_zero_switches_the_spread_off() {
        let now = Instant::now();
        assert_eq!(Spread::seeded(3).first_due(now, Duration::ZERO), now + SETTLE);
    }

    #[test]
    fn pause_counts_from_the_end_or_the_start_less_our_own_lateness() {
        let t = Instant::now() + SEC;
        let (end, start) = (Wait::AfterEnd(SEC), Wait::FromStart(SEC));
        // (wait, started, ended, next), in ms after the due time.
        let cases = [
            (end, 0, 5, 1_005),
            (start, 0, 5, 1_000),
            (end, 30, 35, 1_005),
            (start, 30, 35, 1_000),
            // Ran longer than its interval: the next turn of the same phase.
            (start, 0, 2_500, 3_000),
            // Paused for five seconds.
            (end, 5_000, 5_005, 6_005),
            (start, 5_200, 5_205, 6_000),
            (Wait::AfterEnd(Duration::ZERO), 40, 45, 45),
        ];
        for (wait, started, ended, next) in cases {
            let got = next_due(wait, t, t + MS * started, t + MS * ended);
            assert_eq!(got, t + MS * next, "{wait:?} {started} {ended}");
        }
    }

    #[test]
    fn burst_after_a_pause_of_the_host_is_no_burst_the_next_time() {
        let t = Instant::now();
        let woken = t + SEC * 60;
        let next: BTreeSet<_> =
            (0..100).map(|n| next_due(Wait::AfterEnd(SEC), t + MS * 10 * n, woken, woken + MS)).collect();
        assert_eq!(next.len(), 100);
        assert!(*next.last().unwrap() - *next.first().unwrap() >= MS * 980);
    }

    proptest! {
        #[test]
        fn next_is_never_in_the_past_nor_later_than_the_pause_asks(
            pause in 0u64..1 << 50, late in 0u64..1 << 45, took in 0u64..1 << 45, from_start: bool,
        ) {
            let pause = Duration::from_nanos(pause);
            let wait = if from_start { Wait::FromStart(pause) } else { Wait::AfterEnd(pause) };
            let due = Instant::now();
            let started = due + Duration::from_nanos(late);
            let ended = started + Duration::from_nanos(took);
            let next = next_due(wait, due, started, ended);
            prop_assert!(next >= ended && next <= ended + pause);
        }
    }

    #[test]
    fn keys_come_in_the_order_of_their_times_and_once() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        for (key, at) in [(1, 30), (2, 10), (3, 20), (1, 5)] {
            schedule.set(key, now + MS * at);
        }
        schedule.remove(3);
        assert_eq!(schedule.poll_timeout(), Some(now + MS * 5));
        assert_eq!(schedule.pop_due(now + MS * 4), None);
        let order: Vec<_> = std::iter::from_fn(|| schedule.pop_due(now + SEC)).map(|(key, _)| key).collect();
        assert_eq!((order, schedule.poll_timeout()), (vec![1, 2], None));
    }
}
