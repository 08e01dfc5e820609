//! Which announcement goes out next, and when: the queue behind `vrrp_garp_interval`,
//! `vrrp_gna_interval` and `garp_group`.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::identity::Family;

/// An address to announce on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Announcement {
    /// Interface index.
    pub interface: u32,
    pub address: IpAddr,
}

/// Interfaces with the same lane share their gaps: each interface has its own, or that of its `garp_group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    Interface(u32),
    Group(u32),
}

/// Smallest time between two frames of a lane. Zero sends them back to back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// `vrrp_garp_interval`
    pub arp: Duration,
    /// `vrrp_gna_interval`
    pub na: Duration,
}

/// Queues repeated announcements and paces them.
///
/// Rounds go over all addresses of a lane, V1 V2 V1 V2, in the order of [`announce`](Self::announce); an
/// address that was not sent yet goes ahead of repeats. An address is queued once per interface however
/// often it is asked for, which bounds the queue by the number of addresses.
///
/// Calling order: [`announce`](Self::announce) or [`cancel`](Self::cancel), then, whenever
/// [`poll_timeout`](Self::poll_timeout) has passed, [`poll_frame`](Self::poll_frame). Taking a few frames at
/// a time keeps a long burst from delaying other work.
#[derive(Debug, Default)]
pub struct AnnouncePacer {
    lanes_of: BTreeMap<u32, (Lane, Gaps)>,
    queues: BTreeMap<(Lane, Family), Queue>,
}

#[derive(Debug)]
struct Queue {
    gap: Duration,
    due: Instant,
    remaining: BTreeMap<Announcement, u32>,
    /// Every key of `remaining` stands in exactly one of these two.
    fresh: VecDeque<Announcement>,
    repeats: VecDeque<Announcement>,
}

impl AnnouncePacer {
    /// Puts an interface into a lane, with the gaps of that lane. Unknown interfaces have a lane of their
    /// own without gaps. What is queued already keeps its lane.
    pub fn set_lane(&mut self, interface: u32, lane: Lane, gaps: Gaps) {
        self.lanes_of.insert(interface, (lane, gaps));
        for family in [Family::V4, Family::V6] {
            if let Some(queue) = self.queues.get_mut(&(lane, family)) {
                queue.gap = gaps.of(family);
            }
        }
    }

    /// Forgets an interface that is gone, with all that was to be announced on it.
    pub fn remove_interface(&mut self, interface: u32) {
        self.cancel(|a| a.interface == interface);
        self.lanes_of.remove(&interface);
        self.queues.retain(|(lane, _), _| *lane != Lane::Interface(interface));
    }

    /// Asks for `repeat` frames. For an address that is still queued the count is raised to `repeat`, never
    /// lowered.
    pub fn announce(&mut self, announcement: Announcement, repeat: u32, now: Instant) {
        if repeat == 0 {
            return;
        }
        let interface = announcement.interface;
        let own = (Lane::Interface(interface), Gaps::default());
        let (lane, gaps) = self.lanes_of.get(&interface).copied().unwrap_or(own);
        let family = Family::of(announcement.address);
        let queue = self.queues.entry((lane, family)).or_insert_with(|| Queue::new(gaps.of(family), now));
        queue.announce(announcement, repeat, now);
    }

    /// Drops what is queued and fits: the addresses of a router that is no longer master.
    pub fn cancel(&mut self, fits: impl Fn(&Announcement) -> bool) {
        for queue in self.queues.values_mut() {
            queue.remaining.retain(|a, _| !fits(a));
            queue.fresh.retain(|a| !fits(a));
            queue.repeats.retain(|a| !fits(a));
        }
    }

    /// Frames still to be sent.
    pub fn pending(&self) -> u64 {
        self.queues.values().flat_map(|q| q.remaining.values()).map(|n| u64::from(*n)).sum()
    }

    /// When to call [`poll_frame`](Self::poll_frame) next; a time that has passed means now, `None` that
    /// nothing is queued.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.queues.values().filter(|q| !q.remaining.is_empty()).map(|q| q.due).min()
    }

    /// The next frame that may be sent at `now`. Of several lanes the one that has waited longest goes
    /// first.
    pub fn poll_frame(&mut self, now: Instant) -> Option<Announcement> {
        let due = |q: &&mut Queue| !q.remaining.is_empty() && q.due <= now;
        let queue = self.queues.values_mut().filter(due).min_by_key(|q| q.due)?;
        queue.pop(now)
    }
}

impl Gaps {
    fn of(self, family: Family) -> Duration {
        match family {
            Family::V4 => self.arp,
            Family::V6 => self.na,
        }
    }
}

impl Queue {
    fn new(gap: Duration, now: Instant) -> Self {
        Self { gap, due: now, remaining: BTreeMap::new(), fresh: VecDeque::new(), repeats: VecDeque::new() }
    }

    fn announce(&mut self, announcement: Announcement, repeat: u32, now: Instant) {
        if self.remaining.is_empty() {
            // An empty queue may owe the gap after its last frame, but no turn from before.
            self.due = self.due.max(now);
        }
        let remaining = self.remaining.entry(announcement).or_insert(0);
        if *remaining == 0 {
            self.fresh.push_back(announcement);
        }
        *remaining = repeat.max(*remaining);
    }

    fn pop(&mut self, now: Instant) -> Option<Announcement> {
        let announcement = self.fresh.pop_front().or_else(|| self.repeats.pop_front())?;
        if let Some(remaining) = self.remaining.get_mut(&announcement) {
            *remaining -= 1;
            if *remaining == 0 {
                self.remaining.remove(&announcement);
            } else {
                self.repeats.push_back(announcement);
            }
        }
        self.due = now + self.gap;
        Some(announcement)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on(interface: u32, address: &str) -> Announcement {
        Announcement { interface, address: address.parse().unwrap() }
    }

    fn v(n: u8) -> Announcement {
        on(1, &format!("10.0.0.{n}"))
    }

    /// Everything that may be sent at `now`.
    fn burst(pacer: &mut AnnouncePacer, now: Instant) -> Vec<Announcement> {
        std::iter::from_fn(|| pacer.poll_frame(now)).collect()
    }

    const MS: Duration = Duration::from_millis(1);

    fn paced(arp: Duration) -> AnnouncePacer {
        let mut pacer = AnnouncePacer::default();
        pacer.set_lane(1, Lane::Interface(1), Gaps { arp, na: Duration::ZERO });
        pacer
    }

    #[test]
    fn rounds_go_over_all_addresses_before_any_is_repeated() {
        let (mut pacer, now) = (AnnouncePacer::default(), Instant::now());
        for n in [2, 1] {
            pacer.announce(v(n), 3, now);
        }
        assert_eq!(burst(&mut pacer, now), [v(2), v(1), v(2), v(1), v(2), v(1)]);
        assert_eq!((pacer.poll_timeout(), pacer.pending()), (None, 0));
    }

    #[test]
    fn address_not_yet_sent_goes_ahead_of_repeats() {
        let (mut pacer, now) = (paced(MS), Instant::now());
        pacer.announce(v(1), 3, now);
        assert_eq!(pacer.poll_frame(now), Some(v(1)));
        pacer.announce(v(2), 1, now);
        assert_eq!(pacer.poll_frame(now + MS), Some(v(2)));
        assert_eq!(pacer.poll_frame(now + 2 * MS), Some(v(1)));
    }

    #[test]
    fn queued_address_is_raised_to_the_wanted_count_and_never_lowered() {
        let (mut pacer, now) = (AnnouncePacer::default(), Instant::now());
        pacer.announce(v(1), 5, now);
        pacer.announce(v(1), 2, now);
        assert_eq!(pacer.pending(), 5);
        pacer.poll_frame(now);
        pacer.announce(v(1), 5, now);
        assert_eq!(burst(&mut pacer, now), [v(1); 5]);
    }

    #[test]
    fn frames_of_a_lane_keep_their_gap() {
        let (mut pacer, now) = (paced(10 * MS), Instant::now());
        pacer.announce(v(1), 2, now);
        assert_eq!(pacer.poll_timeout(), Some(now));
        assert_eq!(burst(&mut pacer, now), [v(1)]);
        assert_eq!(pacer.poll_timeout(), Some(now + 10 * MS));
        assert_eq!(burst(&mut pacer, now + 9 * MS), []);
        assert_eq!(burst(&mut pacer, now + 10 * MS), [v(1)]);
    }

    #[test]
    fn gap_after_the_last_frame_holds_for_the_next_announcement() {
        let (mut pacer, now) = (paced(10 * MS), Instant::now());
        pacer.announce(v(1), 1, now);
        assert_eq!(burst(&mut pacer, now), [v(1)]);
        pacer.announce(v(2), 1, now + MS);
        assert_eq!(pacer.poll_timeout(), Some(now + 10 * MS));
        assert_eq!(burst(&mut pacer, now + 60 * MS), [v(2)], "an idle lane does not save up turns");
    }

    #[test]
    fn arp_and_na_have_gaps_of_their_own() {
        let (mut pacer, now) = (paced(10 * MS), Instant::now());
        let six = on(1, "fe80::1");
        pacer.announce(v(1), 2, now);
        pacer.announce(six, 2, now);
        assert_eq!(burst(&mut pacer, now), [v(1), six, six]);
    }

    #[test]
    fn interfaces_of_a_group_share_their_gap_and_others_do_not_wait() {
        let (mut pacer, now) = (AnnouncePacer::default(), Instant::now());
        let gaps = Gaps { arp: 10 * MS, na: Duration::ZERO };
        for interface in [1, 2] {
            pacer.set_lane(interface, Lane::Group(7), gaps);
        }
        let (first, second, alone) = (v(1), on(2, "10.0.0.2"), on(3, "10.0.0.3"));
        for announcement in [first, second, alone] {
            pacer.announce(announcement, 1, now);
        }
        assert_eq!(burst(&mut pacer, now), [alone, first]);
        assert_eq!(burst(&mut pacer, now + 10 * MS), [second]);
    }

    #[test]
    fn cancelled_addresses_are_not_sent_and_can_be_queued_again() {
        let (mut pacer, now) = (AnnouncePacer::default(), Instant::now());
        for n in [1, 2, 3] {
            pacer.announce(v(n), 2, now);
        }
        pacer.poll_frame(now);
        pacer.cancel(|a| *a == v(1) || *a == v(2));
        assert_eq!(burst(&mut pacer, now), [v(3), v(3)]);
        pacer.announce(v(1), 1, now);
        assert_eq!(burst(&mut pacer, now), [v(1)]);
    }

    #[test]
    fn removed_interface_leaves_nothing_behind_in_its_group() {
        let (mut pacer, now) = (AnnouncePacer::default(), Instant::now());
        for interface in [1, 2] {
            pacer.set_lane(interface, Lane::Group(7), Gaps::default());
        }
        let stays = on(2, "10.0.0.2");
        for announcement in [v(1), stays, on(1, "fe80::1")] {
            pacer.announce(announcement, 2, now);
        }
        pacer.remove_interface(1);
        assert_eq!(burst(&mut pacer, now), [stays, stays]);
        assert_eq!(pacer.poll_timeout(), None);
    }

    #[test]
    fn asking_for_no_frames_queues_nothing() {
        let (mut pacer, now) = (AnnouncePacer::default(), Instant::now());
        pacer.announce(v(1), 0, now);
        assert_eq!(pacer.poll_timeout(), None);
    }

    proptest! {
        #[test]
        fn every_frame_asked_for_is_sent_once_and_never_too_early(
            asks in proptest::collection::vec((0..6_u8, 1..4_u32, 0..30_u64), 1..60),
        ) {
            let start = Instant::now();
            let gap = 7 * MS;
            let mut pacer = paced(gap);
            let (mut now, mut last, mut owed) = (start, None::<Instant>, BTreeMap::new());
            let mut take = |pacer: &mut AnnouncePacer, owed: &mut BTreeMap<_, u32>, now: Instant| {
                while let Some(sent) = pacer.poll_frame(now) {
                    let owed = owed.get_mut(&sent).expect("nothing is sent that was not asked for");
                    *owed = owed.checked_sub(1).expect("nothing is sent too often");
                    assert!(last.is_none_or(|last| now - last >= gap));
                    last = Some(now);
                }
            };
            for (n, repeat, wait) in asks {
                pacer.announce(v(n), repeat, now);
                let owed_now = owed.entry(v(n)).or_insert(0);
                *owed_now = repeat.max(*owed_now);
                now += MS * u32::try_from(wait).unwrap();
                take(&mut pacer, &mut owed, now);
            }
            while let Some(due) = pacer.poll_timeout() {
                now = now.max(due);
                take(&mut pacer, &mut owed, now);
            }
            prop_assert!(owed.values().all(|n| *n == 0));
        }
    }
}
