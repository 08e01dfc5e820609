//! Who is running, and whether that is a quorum. Sans-IO: events and time go in, changes come out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy_vrrp::{Observation, Reading};

use crate::config::plan::TrackProcess;

/// The tracked processes by number, and the quorum of each entry. Call [`Census::poll_change`] until it
/// gives nothing after every other call, and [`Census::handle_timeout`] at [`Census::poll_timeout`].
#[derive(Debug)]
pub(super) struct Census {
    running: BTreeMap<u32, BTreeSet<usize>>,
    gauges: Vec<Gauge>,
    changes: VecDeque<(Arc<str>, Observation)>,
}

#[derive(Debug)]
struct Gauge {
    name: Arc<str>,
    quorum: u32,
    quorum_max: Option<u32>,
    fork_delay: Duration,
    terminate_delay: Duration,
    count: u32,
    /// What was told last; nothing before the first count.
    told: Option<Reading>,
    /// When a reading other than `told` is to be believed. A change back before then cancels it.
    believed_at: Option<Instant>,
}

impl Census {
    pub(super) fn new(processes: &[TrackProcess]) -> Self {
        let gauges = processes.iter().map(Gauge::new).collect();
        Self { running: BTreeMap::new(), gauges, changes: VecDeque::new() }
    }

    /// Takes a full count. The very first one is believed at once.
    pub(super) fn recount(&mut self, found: BTreeMap<u32, BTreeSet<usize>>, now: Instant) {
        self.running = found;
        for (index, gauge) in self.gauges.iter_mut().enumerate() {
            let members = self.running.values().filter(|entries| entries.contains(&index)).count();
            let count = u32::try_from(members).unwrap_or(u32::MAX);
            self.changes.extend(gauge.set(count, now));
        }
    }

    /// A child counts like its parent, until it executes something else.
    pub(super) fn forked(&mut self, parent: u32, child: u32, now: Instant) {
        if let Some(entries) = self.running.get(&parent).cloned() {
            self.renewed(child, entries, now);
        }
    }

    /// A process has executed a program, or renamed itself, and is tracked by `entries` now.
    pub(super) fn renewed(&mut self, pid: u32, entries: BTreeSet<usize>, now: Instant) {
        let before = self.running.remove(&pid).unwrap_or_default();
        for &index in entries.difference(&before) {
            self.adjust(index, now, |count| count.saturating_add(1));
        }
        for &index in before.difference(&entries) {
            self.adjust(index, now, |count| count.saturating_sub(1));
        }
        if !entries.is_empty() {
            self.running.insert(pid, entries);
        }
    }

    pub(super) fn exited(&mut self, pid: u32, now: Instant) {
        self.renewed(pid, BTreeSet::new(), now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for gauge in &mut self.gauges {
            if gauge.believed_at.is_some_and(|at| at <= now) {
                self.changes.extend(gauge.tell());
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.gauges.iter().filter_map(|gauge| gauge.believed_at).min()
    }

    pub(super) fn poll_change(&mut self) -> Option<(Arc<str>, Observation)> {
        self.changes.pop_front()
    }

    fn adjust(&mut self, index: usize, now: Instant, change: impl FnOnce(u32) -> u32) {
        if let Some(gauge) = self.gauges.get_mut(index) {
            self.changes.extend(gauge.set(change(gauge.count), now));
        }
    }
}

impl Gauge {
    fn new(process: &TrackProcess) -> Self {
        Self {
            name: Arc::clone(&process.name),
            quorum: process.quorum,
            quorum_max: process.quorum_max,
            fork_delay: process.fork_delay,
            terminate_delay: process.terminate_delay,
            count: 0,
            told: None,
            believed_at: None,
        }
    }

    fn reading(&self) -> Reading {
        let enough = self.count >= self.quorum;
        let not_too_many = self.quorum_max.is_none_or(|max| self.count <= max);
        if enough && not_too_many { Reading::Up } else { Reading::Down }
    }

    /// A reading that changed by more processes waits `fork_delay`, one by fewer `terminate_delay`.
    fn set(&mut self, count: u32, now: Instant) -> Option<(Arc<str>, Observation)> {
        let delay = if count > self.count { self.fork_delay } else { self.terminate_delay };
        self.count = count;
        if self.told == Some(self.reading()) {
            self.believed_at = None;
            return None;
        }
        if self.told.is_none() || delay.is_zero() {
            return self.tell();
        }
        self.believed_at = self.believed_at.or_else(|| now.checked_add(delay));
        None
    }

    fn tell(&mut self) -> Option<(Arc<str>, Observation)> {
        let reading = self.reading();
        self.told = Some(reading);
        self.believed_at = None;
        let evidence = match self.quorum_max {
            Some(max) => format!("{} running, {} to {max} wanted", self.count, self.quorum),
            None => format!("{} running, at least {} wanted", self.count, self.quorum),
        };
        Some((Arc::clone(&self.name), Observation { reading, evidence: evidence.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::ParamMatch;

    const MS: Duration = Duration::from_millis(1);

    fn entry(quorum: u32, quorum_max: Option<u32>, delays: (u32, u32)) -> TrackProcess {
        TrackProcess {
            name: "p".into(),
            command: "p".into(),
            parameters: Vec::new(),
            param_match: ParamMatch::None,
            quorum,
            quorum_max,
            fork_delay: MS * delays.0,
            terminate_delay: MS * delays.1,
            full_command: false,
        }
    }

    fn readings(census: &mut Census) -> Vec<Reading> {
        std::iter::from_fn(|| census.poll_change()).map(|(_, seen)| seen.reading).collect()
    }

    fn found(pids: &[u32]) -> BTreeMap<u32, BTreeSet<usize>> {
        pids.iter().map(|&pid| (pid, BTreeSet::from([0]))).collect()
    }

    #[test]
    fn the_first_count_is_told_at_once_whatever_the_delays() {
        let mut census = Census::new(&[entry(1, None, (500, 500))]);
        census.recount(found(&[]), Instant::now());
        assert_eq!(readings(&mut census), [Reading::Down]);
        assert_eq!(census.poll_timeout(), None);
    }

    #[test]
    fn a_fork_of_a_tracked_process_counts_and_its_exec_of_another_program_takes_it_back() {
        let now = Instant::now();
        let mut census = Census::new(&[entry(2, None, (0, 0))]);
        census.recount(found(&[10]), now);
        census.forked(10, 11, now);
        census.forked(99, 12, now);
        census.renewed(11, BTreeSet::new(), now);
        assert_eq!(readings(&mut census), [Reading::Down, Reading::Up, Reading::Down]);
    }

    #[test]
    fn more_than_the_maximum_is_down() {
        let now = Instant::now();
        let mut census = Census::new(&[entry(1, Some(1), (0, 0))]);
        census.recount(found(&[10]), now);
        census.forked(10, 11, now);
        census.exited(10, now);
        assert_eq!(readings(&mut census), [Reading::Up, Reading::Down, Reading::Up]);
    }

    #[test]
    fn a_lost_quorum_is_told_after_the_terminate_delay() {
        let now = Instant::now();
        let mut census = Census::new(&[entry(1, None, (0, 100))]);
        census.recount(found(&[10]), now);
        census.exited(10, now);
        assert_eq!(readings(&mut census), [Reading::Up]);
        assert_eq!(census.poll_timeout(), Some(now + MS * 100));
        census.handle_timeout(now + MS * 99);
        assert_eq!(readings(&mut census), []);
        census.handle_timeout(now + MS * 100);
        assert_eq!(readings(&mut census), [Reading::Down]);
    }

    #[test]
    fn a_change_back_within_the_delay_cancels_it() {
        let now = Instant::now();
        let mut census = Census::new(&[entry(1, None, (50, 100))]);
        census.recount(found(&[10]), now);
        census.exited(10, now);
        census.renewed(11, BTreeSet::from([0]), now + MS);
        assert_eq!(census.poll_timeout(), None);
        census.handle_timeout(now + MS * 1000);
        assert_eq!(readings(&mut census), [Reading::Up]);
    }

    #[test]
    fn an_exit_of_somebody_else_changes_nothing() {
        let now = Instant::now();
        let mut census = Census::new(&[entry(1, None, (0, 0))]);
        census.recount(found(&[10]), now);
        census.exited(11, now);
        census.exited(11, now);
        assert_eq!(readings(&mut census), [Reading::Up]);
    }

    #[test]
    fn the_evidence_tells_the_count_and_the_wish() {
        let mut census = Census::new(&[entry(2, Some(5), (0, 0))]);
        census.recount(found(&[10]), Instant::now());
        let (_, seen) = census.poll_change().expect("the first count is told");
        assert_eq!(&*seen.evidence, "1 running, 2 to 5 wanted");
    }
}
