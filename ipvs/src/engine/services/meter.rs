//! What is counted of services and servers, and the rates that IPVS estimates from it.

use std::time::Duration;

use crate::plane::Counters;

/// Time between two estimates.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// Events since something exists. They wrap, as differences of them do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    connections: u64,
    packets_in: u64,
    packets_out: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Counts {
    pub(super) const fn connection(&mut self) {
        self.connections = self.connections.wrapping_add(1);
    }

    pub(super) const fn incoming(&mut self, packets: u64, bytes: u64) {
        self.packets_in = self.packets_in.wrapping_add(packets);
        self.bytes_in = self.bytes_in.wrapping_add(bytes);
    }

    pub(super) const fn outgoing(&mut self, packets: u64, bytes: u64) {
        self.packets_out = self.packets_out.wrapping_add(packets);
        self.bytes_out = self.bytes_out.wrapping_add(bytes);
    }

    const fn since(&self, earlier: &Self) -> Self {
        Self {
            connections: self.connections.wrapping_sub(earlier.connections),
            packets_in: self.packets_in.wrapping_sub(earlier.packets_in),
            packets_out: self.packets_out.wrapping_sub(earlier.packets_out),
            bytes_in: self.bytes_in.wrapping_sub(earlier.bytes_in),
            bytes_out: self.bytes_out.wrapping_sub(earlier.bytes_out),
        }
    }
}

/// Counters of one service or server. What packets change comes first, so that its owner can have it in one cache line
/// with what else they need.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(super) struct Meter {
    pub(super) counts: Counts,
    /// What they were when they were last set to zero: what is shown counts from there.
    zero: Counts,
    /// What they were at the last estimate.
    estimated: Counts,
    connections: Rate<EVENTS>,
    packets_in: Rate<EVENTS>,
    packets_out: Rate<EVENTS>,
    bytes_in: Rate<BYTES>,
    bytes_out: Rate<BYTES>,
}

impl Meter {
    /// Counts from zero, with rates that are forgotten. What was counted since the last estimate is in the next one.
    pub(super) fn zero(&mut self) {
        *self = Self { counts: self.counts, zero: self.counts, estimated: self.estimated, ..Self::default() };
    }

    /// To be called once in every [`INTERVAL`].
    pub(super) fn estimate(&mut self) {
        let news = self.counts.since(&self.estimated);
        self.estimated = self.counts;
        self.connections.take(news.connections);
        self.packets_in.take(news.packets_in);
        self.packets_out.take(news.packets_out);
        self.bytes_in.take(news.bytes_in);
        self.bytes_out.take(news.bytes_out);
    }

    /// Without connections of now, which are not counted here.
    pub(super) fn counters(&self) -> Counters {
        let shown = self.counts.since(&self.zero);
        Counters {
            connections: shown.connections,
            packets_in: shown.packets_in,
            packets_out: shown.packets_out,
            bytes_in: shown.bytes_in,
            bytes_out: shown.bytes_out,
            connections_per_second: self.connections.per_second(),
            packets_in_per_second: self.packets_in.per_second(),
            packets_out_per_second: self.packets_out.per_second(),
            bytes_in_per_second: self.bytes_in.per_second(),
            bytes_out_per_second: self.bytes_out.per_second(),
            ..Counters::default()
        }
    }
}

/// Fractional bits of the average of connections and packets.
const EVENTS: u32 = 9;
/// Fractional bits of the average of bytes.
const BYTES: u32 = 4;

/// Moving average of what happens in an [`INTERVAL`]: the newest counts a quarter. Half of it, as an interval has two
/// seconds, is the rate.
#[derive(Clone, Copy, Debug, Default)]
struct Rate<const FRACTION: u32>(i64);

impl<const FRACTION: u32> Rate<FRACTION> {
    fn take(&mut self, events: u64) {
        /// More is no rate of packets or bytes, and would not leave room for the fraction.
        const MOST: u64 = 1 << 50;
        let scaled = i64::try_from(events.min(MOST) << FRACTION).unwrap_or(i64::MAX);
        self.0 += (scaled - self.0) >> 2;
    }

    fn per_second(self) -> u64 {
        let almost_half = (1 << FRACTION) - 1;
        u64::try_from((self.0 + almost_half) >> (FRACTION + 1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_fades_as_in_the_kernel() {
        // Seen on Linux 6.1.176: 100 packets of 100 bytes, and then nothing.
        let mut meter = Meter::default();
        meter.counts.incoming(100, 10_000);
        let mut tick = |_| {
            meter.estimate();
            let counters = meter.counters();
            (counters.packets_in_per_second, counters.bytes_in_per_second)
        };
        let seen: (Vec<_>, Vec<_>) = (0..9).map(&mut tick).unzip();
        assert_eq!(seen.0, [12, 9, 7, 5, 4, 3, 2, 2, 1]);
        assert_eq!(seen.1, [1250, 937, 703, 527, 395, 297, 222, 167, 125]);
    }

    #[test]
    fn a_steady_rate_is_shown_as_it_is() {
        let mut meter = Meter::default();
        for _ in 0..100 {
            (0..6).for_each(|_| meter.counts.connection());
            meter.counts.outgoing(2_000, 3_000_000);
            meter.estimate();
        }
        let counters = meter.counters();
        assert_eq!(counters.connections_per_second, 3);
        assert_eq!((counters.packets_out_per_second, counters.bytes_out_per_second), (1_000, 1_500_000));
        assert_eq!((counters.packets_in_per_second, counters.bytes_in_per_second), (0, 0));
    }

    #[test]
    fn zero_forgets_what_was_counted_and_the_rates() {
        let mut meter = Meter::default();
        meter.counts.connection();
        meter.counts.incoming(100, 10_000);
        meter.estimate();
        meter.zero();
        assert_eq!(meter.counters(), Counters::default());
        meter.counts.incoming(1, 60);
        assert_eq!((meter.counters().packets_in, meter.counters().bytes_in), (1, 60));
        meter.estimate();
        assert_eq!(meter.counters().bytes_in_per_second, 7);
    }

    proptest! {
        #[test]
        fn any_numbers_are_counted_and_rates_are_within_what_was_seen(
            bursts in prop::collection::vec(any::<u64>(), 1..50),
        ) {
            let mut meter = Meter::default();
            for burst in &bursts {
                meter.counts.incoming(*burst, *burst);
                meter.counts.connection();
                meter.estimate();
            }
            let counters = meter.counters();
            let sum = bursts.iter().fold(0_u64, |sum, burst| sum.wrapping_add(*burst));
            prop_assert_eq!((counters.packets_in, counters.bytes_in), (sum, sum));
            prop_assert_eq!(counters.connections, bursts.len() as u64);
            let most = bursts.iter().max().copied().unwrap_or(0).div_ceil(2);
            prop_assert!(counters.packets_in_per_second <= most && counters.bytes_in_per_second <= most);
        }
    }
}
