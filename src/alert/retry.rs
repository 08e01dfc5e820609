//! When to try again.

use std::time::Duration;

/// Waits that double from try to try, each cut by up to a quarter at random so that two directors which
/// lost the same server do not knock in step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    /// Tries in all.
    pub(super) tries: u32,
    /// Wait after the first failure.
    pub(super) first: Duration,
    /// No wait is longer.
    pub(super) longest: Duration,
}

impl Retry {
    /// The wait after `failures` failed tries; `None` when that was the last.
    pub(super) fn wait(&self, failures: u32) -> Option<Duration> {
        if failures >= self.tries {
            return None;
        }
        let doublings = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = self.first.saturating_mul(doublings).min(self.longest);
        Some(wait.mul_f64(0.75 + fastrand::f64() * 0.25))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_within_the_jitter_and_end() {
        let retry = Retry { tries: 5, first: Duration::from_secs(1), longest: Duration::from_secs(3) };
        for (failures, longest) in [(1, 1.0), (2, 2.0), (3, 3.0), (4, 3.0)] {
            let wait = retry.wait(failures).expect("another try").as_secs_f64();
            assert!((longest * 0.75..=longest).contains(&wait), "{wait} after {failures} failures");
        }
        assert_eq!(retry.wait(5), None);
        assert_eq!(retry.wait(u32::MAX), None);
    }
}
