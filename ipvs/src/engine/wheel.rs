//! When connections expire: a wheel of slots, one for each tick.
//!
//! Most packets put off the end of their connection. They write a time into it and leave the wheel alone: an entry that
//! comes up too early is scheduled again by its owner. So a packet costs nothing here, and an idle connection one visit
//! for each turn of the wheel.

use std::time::{Duration, Instant};

/// Length of a tick. Timeouts are counted in seconds, and end at most a tick late.
const TICK: Duration = Duration::from_millis(100);
/// Ticks of a turn, a power of two: 27 minutes. What is further away is visited on the way.
const SLOTS: u32 = 1 << 14;
const WORD: u32 = u64::BITS;

/// A moment, in ticks from the first one that a [`Clock`] knows. Lasts 13 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u32);

impl Tick {
    /// So much later; at least a tick for anything but nothing.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        self.plus(Ticks::of(time))
    }

    /// So many ticks later.
    #[must_use]
    pub const fn plus(self, ticks: Ticks) -> Self {
        Self(self.0.saturating_add(ticks.0))
    }

    /// The time from an earlier moment to this one; none from a later one.
    pub fn since(self, earlier: Self) -> Duration {
        TICK.saturating_mul(self.0.saturating_sub(earlier.0))
    }
}

/// A length of time in ticks: adding it to a moment costs a packet no division.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(u32);

impl Ticks {
    /// Rounded up; what is longer than 13 years is as long as that.
    pub fn of(time: Duration) -> Self {
        let ticks = time.as_millis().div_ceil(TICK.as_millis());
        Self(u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    pub const fn duration(self) -> Duration {
        TICK.saturating_mul(self.0)
    }
}

/// Ticks of the time that is passed in.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub const fn starting(start: Instant) -> Self {
        Self { start }
    }

    /// The tick that has begun last.
    pub fn tick(self, now: Instant) -> Tick {
        let ticks = now.saturating_duration_since(self.start).as_millis() / TICK.as_millis();
        Tick(u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    /// When a tick begins.
    pub fn begin_of(self, tick: Tick) -> Instant {
        self.start + TICK.saturating_mul(tick.0)
    }
}

/// Numbered entries, each scheduled at most once.
#[derive(Clone, Debug)]
pub struct Wheel {
    /// First entry of each slot, plus one; 0 for none.
    slots: Box<[u32]>,
    /// A bit for each slot that has entries.
    occupied: Box<[u64]>,
    links: Vec<Link>,
    /// All ticks before this one have been visited.
    next: Tick,
    scheduled: usize,
}

/// Neighbours of an entry in the ring of its slot, plus one; 0 for none. An entry that is scheduled nowhere has no slot.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    next: u32,
    previous: u32,
    /// Plus one; 0 for none.
    slot: u32,
}

impl Default for Wheel {
    fn default() -> Self {
        Self::new()
    }
}

impl Wheel {
    pub fn new() -> Self {
        Self {
            slots: vec![0; SLOTS as usize].into(),
            occupied: vec![0; (SLOTS / WORD) as usize].into(),
            links: Vec::new(),
            next: Tick(0),
            scheduled: 0,
        }
    }

    /// Entries that are scheduled.
    pub const fn len(&self) -> usize {
        self.scheduled
    }

    pub const fn is_empty(&self) -> bool {
        self.scheduled == 0
    }

    /// Schedules an entry, anew if it was scheduled before: at `at`, or on the way if that is further than a turn. What is
    /// past already comes up at the next visit.
    pub fn schedule(&mut self, entry: u32, at: Tick) {
        self.cancel(entry);
        let Some(index) = usize::try_from(entry).ok().filter(|_| entry < u32::MAX) else { return };
        if self.links.len() <= index {
            self.links.resize(index + 1, Link::default());
        }
        let furthest = self.next.0.saturating_add(SLOTS - 1);
        let slot = at.0.clamp(self.next.0, furthest) % SLOTS;
        let first = self.first(slot);
        if let Some(link) = self.links.get_mut(index) {
            *link = Link { next: first, previous: 0, slot: slot + 1 };
        }
        if let Some(link) = self.link(first) {
            link.previous = entry + 1;
        }
        self.set_first(slot, entry + 1);
        self.scheduled += 1;
    }

    /// Takes an entry out, if it is scheduled.
    pub fn cancel(&mut self, entry: u32) {
        let Some(link) = self.link(entry.saturating_add(1)) else { return };
        let Link { next, previous, slot } = std::mem::take(link);
        let Some(slot) = slot.checked_sub(1) else { return };
        match self.link(previous) {
            Some(link) => link.next = next,
            None => self.set_first(slot, next),
        }
        if let Some(link) = self.link(next) {
            link.previous = previous;
        }
        self.scheduled -= 1;
    }

    /// An entry that has come up by `now`, which is scheduled no more.
    pub fn pop(&mut self, now: Tick) -> Option<u32> {
        let due = self.next_tick()?;
        if due > now {
            // Nothing is before it, and nothing will be scheduled before `now`.
            self.next = self.next.max(now);
            return None;
        }
        self.next = due;
        let entry = self.first(due.0 % SLOTS).checked_sub(1)?;
        self.cancel(entry);
        Some(entry)
    }

    /// When an entry comes up next.
    pub fn next_tick(&self) -> Option<Tick> {
        if self.is_empty() {
            return None;
        }
        let start = self.next.0 % SLOTS;
        let words = SLOTS / WORD;
        // The word of the start comes twice: its later bits first, its earlier ones at the end of the turn.
        (0..=words).find_map(|step| {
            let word = (start / WORD + step) % words;
            let mut bits = self.occupied.get(word as usize).copied().unwrap_or(0);
            let from = start % WORD;
            if step == 0 {
                bits &= u64::MAX << from;
            } else if step == words {
                bits &= !(u64::MAX << from);
            }
            let bit = (bits != 0).then(|| bits.trailing_zeros())?;
            let slot = word * WORD + bit;
            Some(Tick(self.next.0.saturating_add((slot + SLOTS - start) % SLOTS)))
        })
    }

    fn first(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).copied().unwrap_or(0)
    }

    fn set_first(&mut self, slot: u32, first: u32) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = first;
        }
        if let Some(word) = self.occupied.get_mut((slot / WORD) as usize) {
            let bit = 1 << (slot % WORD);
            *word = if first == 0 { *word & !bit } else { *word | bit };
        }
    }

    /// The link of an entry, plus one.
    fn link(&mut self, entry: u32) -> Option<&mut Link> {
        self.links.get_mut(entry.checked_sub(1)? as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn drain(wheel: &mut Wheel, now: u32) -> Vec<u32> {
        let mut popped: Vec<u32> = std::iter::from_fn(|| wheel.pop(Tick(now))).collect();
        popped.sort_unstable();
        popped
    }

    #[test]
    fn entries_come_up_at_their_tick_and_once() {
        let mut wheel = Wheel::new();
        wheel.schedule(7, Tick(5));
        wheel.schedule(8, Tick(5));
        wheel.schedule(9, Tick(6));
        assert_eq!((wheel.next_tick(), wheel.len()), (Some(Tick(5)), 3));
        assert_eq!(drain(&mut wheel, 4), []);
        assert_eq!(drain(&mut wheel, 5), [7, 8]);
        assert_eq!(drain(&mut wheel, 100), [9]);
        assert_eq!((wheel.next_tick(), wheel.is_empty()), (None, true));
    }

    #[test]
    fn what_is_past_comes_up_at_once_and_what_is_far_is_visited_on_the_way() {
        let mut wheel = Wheel::new();
        wheel.schedule(0, Tick(50));
        assert_eq!(drain(&mut wheel, 50), [0]);
        wheel.schedule(1, Tick(3));
        assert_eq!(drain(&mut wheel, 50), [1]);
        wheel.schedule(2, Tick(50 + 10 * SLOTS));
        assert_eq!(wheel.next_tick(), Some(Tick(50 + SLOTS - 1)));
        assert_eq!(drain(&mut wheel, 50 + 10 * SLOTS), [2]);
    }

    #[test]
    fn an_entry_that_is_scheduled_again_or_cancelled_is_not_where_it_was() {
        let mut wheel = Wheel::new();
        for entry in 0..3 {
            wheel.schedule(entry, Tick(10));
        }
        wheel.schedule(1, Tick(20));
        wheel.cancel(2);
        wheel.cancel(2);
        wheel.cancel(99);
        assert_eq!(drain(&mut wheel, 10), [0]);
        assert_eq!(drain(&mut wheel, 20), [1]);
    }

    #[test]
    fn time_and_ticks() {
        let start = Instant::now();
        let clock = Clock::starting(start);
        let tick = clock.tick(start + Duration::from_millis(1999));
        assert_eq!((tick, clock.begin_of(tick)), (Tick(19), start + Duration::from_millis(1900)));
        assert_eq!(tick.after(Duration::from_millis(1)), Tick(20));
        assert_eq!(tick.after(Duration::from_secs(900)).since(tick), Duration::from_secs(900));
        assert_eq!(tick.after(Duration::MAX), Tick(u32::MAX));
        assert_eq!(Ticks::of(Duration::from_millis(101)).duration(), Duration::from_millis(200));
        assert_eq!(tick.since(Tick(20)), Duration::ZERO);
        assert_eq!(clock.tick(start - Duration::from_secs(1)), Tick(0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(u32, u32),
        Cancel(u32),
        Pass(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..40_u32, 0..3 * SLOTS).prop_map(|(entry, ahead)| Step::Schedule(entry, ahead)),
            4 => (0..40_u32, 0..200_u32).prop_map(|(entry, ahead)| Step::Schedule(entry, ahead)),
            1 => (0..40_u32).prop_map(Step::Cancel),
            3 => (0..2 * SLOTS).prop_map(Step::Pass),
            3 => (0..100_u32).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// Against a map, with the owner's part: what comes up too early is scheduled again.
        #[test]
        fn every_entry_comes_up_at_its_time(steps in prop::collection::vec(step(), 1..80)) {
            let (mut wheel, mut model, mut now) = (Wheel::new(), BTreeMap::new(), 0_u32);
            for step in steps {
                match step {
                    Step::Schedule(entry, ahead) => {
                        wheel.schedule(entry, Tick(now + ahead));
                        model.insert(entry, now + ahead);
                    }
                    Step::Cancel(entry) => {
                        wheel.cancel(entry);
                        model.remove(&entry);
                    }
                    Step::Pass(ticks) => {
                        let end = now + ticks;
                        while let Some(tick) = wheel.next_tick().filter(|tick| tick.0 <= end) {
                            now = now.max(tick.0);
                            let entry = wheel.pop(Tick(now)).expect("something is due");
                            let at = model[&entry];
                            if at > now {
                                wheel.schedule(entry, Tick(at));
                            } else {
                                prop_assert_eq!(at, now);
                                model.remove(&entry);
                            }
                        }
                        now = end;
                        prop_assert_eq!(wheel.pop(Tick(now)), None);
                        prop_assert!(model.values().all(|at| *at > now), "{now} {model:?}");
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
