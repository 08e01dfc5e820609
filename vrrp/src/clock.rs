//! Kernel arrival times, which are wall-clock times, as [`Instant`]s.

use std::time::{Duration, Instant, SystemTime};

/// Converts the wall-clock stamps of received packets to the monotonic clock, by pairs of samples of both.
///
/// The wall clock may be stepped between a packet's arrival and its reading. A stamp is therefore taken
/// against the current pair and, if that puts it outside the time in which the packet can have arrived,
/// against the previous pair, from before the step. What is still outside is moved to the nearest bound.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    previous: Sample,
    current: Sample,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    wall: SystemTime,
    instant: Instant,
}

/// Reading two clocks takes time and the kernel slews one against the other; differences up to this are no
/// step.
const SLACK: Duration = Duration::from_millis(1);
/// Readings that lie no further apart count as made at one moment.
const SIMULTANEOUS: Duration = Duration::from_micros(20);

impl Default for Clock {
    fn default() -> Self {
        let now = Sample::take();
        Self { previous: now, current: now }
    }
}

impl Clock {
    /// Reads both clocks.
    pub fn sample(&mut self) -> Instant {
        let now = Sample::take();
        self.advance(now);
        now.instant
    }

    fn advance(&mut self, now: Sample) {
        // The previous pair keeps the offset from before a step until the next step.
        let expected = self.current.instant_of(now.wall);
        if expected.is_none_or(|expected| apart(expected, now.instant) > SLACK) {
            self.previous = self.current;
        }
        self.current = now;
    }

    /// When a packet stamped `arrived` came in, given that it was not there at `earliest` and that the clocks
    /// were last sampled after it was read.
    pub fn instant_of(&self, arrived: SystemTime, earliest: Instant) -> Instant {
        let latest = self.current.instant;
        let possible =
            |at: &Instant| earliest.checked_sub(SLACK).is_none_or(|e| *at >= e) && *at <= latest + SLACK;
        let by_current = self.current.instant_of(arrived);
        let by_previous = || self.previous.instant_of(arrived).filter(possible);
        let at = by_current.filter(possible).or_else(by_previous).or(by_current).unwrap_or(latest);
        at.clamp(earliest.min(latest), latest)
    }
}

impl Sample {
    /// Both clocks at one moment. Whoever is preempted between the two readings reads them again.
    fn take() -> Self {
        let mut before = Instant::now();
        for _ in 0..3 {
            let wall = SystemTime::now();
            let instant = Instant::now();
            if instant.saturating_duration_since(before) < SIMULTANEOUS {
                return Self { wall, instant };
            }
            before = instant;
        }
        Self { wall: SystemTime::now(), instant: Instant::now() }
    }

    fn instant_of(&self, wall: SystemTime) -> Option<Instant> {
        match self.wall.duration_since(wall) {
            Ok(ago) => self.instant.checked_sub(ago),
            Err(ahead) => self.instant.checked_add(ahead.duration()),
        }
    }
}

fn apart(a: Instant, b: Instant) -> Duration {
    a.saturating_duration_since(b).max(b.saturating_duration_since(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// Both clocks at a time well after their origin, and a clock sampled there.
    fn start() -> (SystemTime, Instant, Clock) {
        let (wall, instant) = (SystemTime::now(), Instant::now() + 1000 * S);
        let sample = Sample { wall, instant };
        (wall, instant, Clock { previous: sample, current: sample })
    }

    #[test]
    fn stamp_is_as_old_on_one_clock_as_on_the_other() {
        let (wall, instant, mut clock) = start();
        clock.advance(Sample { wall: wall + 10 * S, instant: instant + 10 * S });
        assert_eq!(clock.instant_of(wall + 7 * S, instant), instant + 7 * S);
    }

    #[test]
    fn packets_from_before_and_after_a_step_both_get_their_time() {
        for (step_back, step_ahead) in [(3600 * S, Duration::ZERO), (Duration::ZERO, 3600 * S)] {
            let (wall, instant, mut clock) = start();
            let stepped = |at: Duration| wall + at + step_ahead - step_back;
            clock.advance(Sample { wall: stepped(10 * S), instant: instant + 10 * S });
            assert_eq!(clock.instant_of(wall + 2 * S, instant), instant + 2 * S, "before the step");
            assert_eq!(clock.instant_of(stepped(8 * S), instant), instant + 8 * S, "after the step");
            clock.advance(Sample { wall: stepped(11 * S), instant: instant + 11 * S });
            assert_eq!(clock.instant_of(wall + 3 * S, instant), instant + 3 * S, "one sample later");
        }
    }

    #[test]
    fn impossible_stamp_is_moved_into_the_time_of_its_arrival() {
        let (wall, instant, mut clock) = start();
        clock.advance(Sample { wall: wall + 10 * S, instant: instant + 10 * S });
        let earliest = instant + 4 * S;
        assert_eq!(clock.instant_of(wall + 99 * S, earliest), instant + 10 * S, "from the future");
        assert_eq!(clock.instant_of(wall - 99 * S, earliest), earliest, "from too long ago");
        assert_eq!(clock.instant_of(SystemTime::UNIX_EPOCH, earliest), earliest, "no stamp at all");
    }

    #[test]
    fn bound_later_than_the_last_sample_gives_the_sample() {
        let (wall, instant, clock) = start();
        assert_eq!(clock.instant_of(wall, instant + S), instant);
    }

    #[test]
    fn real_clocks_agree_on_a_stamp_of_now() {
        let mut clock = Clock::default();
        let earliest = Instant::now();
        let stamp = SystemTime::now();
        let latest = clock.sample();
        let at = clock.instant_of(stamp, earliest);
        assert!(earliest <= at && at <= latest);
    }
}
