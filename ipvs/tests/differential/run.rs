//! Many scripts, side by side, so that those in which time passes keep nobody waiting.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::generate::{Wish, script};
use crate::house::{self, House};
use crate::play::{Tally, play};
use crate::shrink::shrink;

/// Directors that there are at once; those of the last have `secure_tcp`.
const DIRECTORS: usize = 6;
/// After so many scripts on which they disagree there is enough to look at.
const ENOUGH: usize = 6;

/// Plays the scripts of these seeds.
pub(crate) fn scripts(seeds: Range<u64>) {
    let begin = Instant::now();
    house::prepare_kernel();
    let run = Run {
        next: [AtomicU64::new(seeds.start), AtomicU64::new(seeds.start)],
        end: seeds.end,
        found: AtomicUsize::new(0),
        tally: Mutex::default(),
    };
    thread::scope(|scope| {
        for number in 0..DIRECTORS {
            let run = &run;
            scope.spawn(move || run.direct(number + 1 == DIRECTORS));
        }
    });
    let Tally { scripts, steps, packets, emitted, listings, entries, counters, masked } =
        *run.tally.lock().unwrap();
    println!(
        "{scripts} scripts of {steps} steps in {:.0?}: {packets} packets in and {emitted} out, {listings} lists of \
         {entries} connections, and {counters} counters compared; left out: {} identifications, {} source ports of GUE, {} connections of servers that were removed, {} last answers and what followed in {} scripts",
        begin.elapsed(),
        masked.identifications,
        masked.gue_ports,
        masked.orphans,
        masked.last_answers,
        masked.unfinished,
    );
    let found = run.found.load(Ordering::Relaxed);
    assert_eq!(found, 0, "scripts on which the engine and the kernel disagree");
}

struct Run {
    /// The next seed for directors without and with `secure_tcp`, which pass over those of the others.
    next: [AtomicU64; 2],
    end: u64,
    found: AtomicUsize,
    tally: Mutex<Tally>,
}

impl Run {
    fn direct(&self, secure: bool) {
        let mut house = House::new(secure);
        while let Some((seed, wish)) = self.seed(secure) {
            let script = script(seed, wish);
            let slot = house.take_slot().unwrap_or_else(|| {
                house = House::new(secure);
                house.take_slot().unwrap()
            });
            match play(&mut house, slot, &script) {
                Ok(tally) => self.tally.lock().unwrap().add(&tally),
                Err(disagreement) => {
                    self.found.fetch_add(1, Ordering::Relaxed);
                    let (script, found) = shrink(&script, disagreement);
                    println!(
                        "seed {seed}: they disagree after step {}:\n{script}      {}\n",
                        found.step, found.what
                    );
                    // Shrinking has taken the namespace of this thread elsewhere.
                    house = House::new(secure);
                }
            }
        }
    }

    fn seed(&self, secure: bool) -> Option<(u64, Wish)> {
        loop {
            if self.found.load(Ordering::Relaxed) >= ENOUGH {
                return None;
            }
            let next = &self.next[usize::from(secure)];
            let seed = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < self.end)?;
            let wish = Wish::of(seed);
            if wish.secure == secure {
                return Some((seed, wish));
            }
        }
    }
}
