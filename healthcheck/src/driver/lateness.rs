//! How late attempts begin.

use std::time::Duration;

/// Counts per bound; the last counts what is above all bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    counts: [u64; BOUNDS.len() + 1],
    max: Duration,
}

/// In milliseconds.
const BOUNDS: [u64; 14] = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

impl Lateness {
    pub fn count(&mut self, late: Duration) {
        let at = BOUNDS.partition_point(|bound| Duration::from_millis(*bound) < late);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.max = self.max.max(late);
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn max(&self) -> Duration {
        self.max
    }

    /// The bound that this share of the attempts, in thousandths, kept to; zero without attempts.
    pub fn quantile(&self, permille: u64) -> Duration {
        let wanted = self.total().saturating_mul(permille).div_ceil(1_000);
        let mut seen = 0;
        for (bound, count) in BOUNDS.iter().zip(&self.counts) {
            seen += count;
            if seen >= wanted {
                return Duration::from_millis(*bound).min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_the_bound_kept_by_that_share() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.quantile(990), Duration::ZERO);
        for late in (0..99).map(|_| Duration::from_micros(900)).chain([Duration::from_secs(60)]) {
            lateness.count(late);
        }
        assert_eq!(lateness.quantile(990), Duration::from_millis(1));
        assert_eq!(lateness.quantile(1_000), Duration::from_secs(60));
    }
}
