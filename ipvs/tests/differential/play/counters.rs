//! What was counted.

use std::thread;
use std::time::{Duration, Instant};

use buoy_ipvs::{Counters, Plane};

use super::Game;
use crate::house::totals;

impl Game<'_> {
    /// `settled`: what the kernel shows only every two seconds is waited for.
    pub(super) fn counters(&mut self, settled: bool) -> Result<(), String> {
        let totals = totals();
        let counted: Vec<_> = totals.iter().zip(self.before).map(|(now, before)| now - before).collect();
        let engine = self.engine.totals();
        let ours =
            [engine.connections, engine.packets_in, engine.packets_out, engine.bytes_in, engine.bytes_out];
        if counted != ours && self.counts_last_answers(&ours, &counted) {
            self.tally.masked.last_answers += 1;
        } else if counted != ours {
            return Err(format!("counted: kernel {counted:?}, engine {ours:?}"));
        }
        self.tally.counters += ours.len();
        let begin = Instant::now();
        loop {
            let differences = self.differing_counters(settled);
            if differences.is_empty() {
                return Ok(());
            }
            let patience = if settled { Duration::from_secs(5) } else { Duration::from_millis(200) };
            if begin.elapsed() > patience {
                return Err(differences.join("\n      "));
            }
            thread::sleep(Duration::from_millis(if settled { 100 } else { 5 }));
        }
    }

    /// Whether the kernel has counted no more than we have and some of the last answers.
    fn counts_last_answers(&self, ours: &[u64; 5], counted: &[u64]) -> bool {
        let lengths = self.last_answers.iter().take(10);
        let sums = lengths.fold(vec![[0, 0]], |mut sums, length| {
            let with: Vec<_> = sums.iter().map(|[packets, bytes]| [packets + 1, bytes + length]).collect();
            sums.extend(with);
            sums
        });
        let [connections, packets_in, packets_out, bytes_in, bytes_out] = *ours;
        sums.iter().any(|[packets, bytes]| {
            counted == [connections, packets_in, packets_out + packets, bytes_in, bytes_out + bytes]
        })
    }

    fn differing_counters(&mut self, settled: bool) -> Vec<String> {
        self.catch_up();
        let kernel = self.house.plane.statistics().unwrap();
        let engine = self.engine.statistics();
        let mut differences = Vec::new();
        for ((service, server), there) in &kernel.servers {
            // Those that are the house's own.
            if !engine.services.contains_key(service) {
                continue;
            }
            let Some(here) = engine.servers.get(&(*service, *server)) else {
                differences.push(format!("the engine has no server {server} of {service}"));
                continue;
            };
            let now = |counters: &Counters| {
                [counters.active, counters.inactive, counters.persistent].map(u64::from)
            };
            let sums = |counters: &Counters| {
                [
                    counters.connections,
                    counters.packets_in,
                    counters.packets_out,
                    counters.bytes_in,
                    counters.bytes_out,
                ]
            };
            if now(there) != now(here) || (settled && sums(there) != sums(here)) {
                let [there, here] = [there, here].map(|it| (now(it), sums(it)));
                differences.push(format!("{server} of {service}: kernel {there:?}, engine {here:?}"));
            }
            self.tally.counters += if settled { 8 } else { 3 };
        }
        for missing in engine.servers.keys().filter(|key| !kernel.servers.contains_key(key)) {
            differences.push(format!("the kernel has no server {} of {}", missing.1, missing.0));
        }
        differences
    }
}
