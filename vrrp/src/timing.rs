//! The intervals of the protocol, in exact arithmetic.

use std::time::Duration;

use crate::identity::{Priority, Version};

/// Skew time of a router of this priority.
///
/// v2: (256 - priority) / 256 seconds (RFC 3768 §6.1). v3: (256 - priority) / 256 of the master's interval
/// (RFC 9568 §6.1).
pub fn skew(version: Version, priority: Priority, master_interval: Duration) -> Duration {
    let unit = match version {
        Version::V2 => Duration::from_secs(1),
        Version::V3 => master_interval,
    };
    unit * (256 - u32::from(priority.get())) / 256
}

/// How long a backup of this priority waits for a silent master.
pub fn master_down(
    version: Version,
    priority: Priority,
    master_interval: Duration,
    down_timer_adverts: u8,
) -> Duration {
    master_interval * u32::from(down_timer_adverts) + skew(version, priority, master_interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v3_skew_is_a_fraction_of_the_masters_interval_down_to_the_nanosecond() {
        let interval = Duration::from_millis(500);
        assert_eq!(skew(Version::V3, Priority::new(100), interval), Duration::from_nanos(304_687_500));
        assert_eq!(
            skew(Version::V3, Priority::new(254), Duration::from_millis(10)),
            Duration::from_nanos(78_125)
        );
    }

    #[test]
    fn v2_skew_is_a_fraction_of_a_second_whatever_the_interval() {
        assert_eq!(
            skew(Version::V2, Priority::new(100), Duration::from_secs(5)),
            Duration::from_nanos(609_375_000)
        );
    }

    #[test]
    fn down_time_matches_the_observed_keepalived() {
        let t = master_down(Version::V3, Priority::new(100), Duration::from_millis(500), 3);
        assert_eq!(t, Duration::from_nanos(1_804_687_500));
    }

    #[test]
    fn the_higher_priority_always_expires_first() {
        for p in 1..254 {
            let (low, high) = (Priority::new(p), Priority::new(p + 1));
            for version in [Version::V2, Version::V3] {
                let interval = Duration::from_millis(10);
                assert!(master_down(version, low, interval, 3) > master_down(version, high, interval, 3));
            }
        }
    }
}
