//! The last transitions, for `buoy events` and the status page.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::event::Record;

/// How many transitions are remembered.
const CAPACITY: usize = 1000;

/// The last 1,000 transitions in order. Clones share them.
#[derive(Clone, Debug)]
pub struct History {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ring: Mutex<VecDeque<Arc<Record>>>,
    latest: watch::Sender<u64>,
}

impl History {
    pub(super) fn new() -> Self {
        let shared = Shared { ring: Mutex::default(), latest: watch::Sender::new(0) };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn record(&self, record: Record) {
        let seq = record.seq;
        let mut ring = self.ring();
        if ring.len() == CAPACITY {
            ring.pop_front();
        }
        ring.push_back(Arc::new(record));
        drop(ring);
        self.shared.latest.send_replace(seq);
    }

    /// What is remembered with a sequence number above `seq`, oldest first; 0 for all.
    pub fn since(&self, seq: u64) -> Vec<Arc<Record>> {
        let ring = self.ring();
        let start = ring.partition_point(|record| record.seq <= seq);
        ring.range(start..).cloned().collect()
    }

    /// Follows what comes with a sequence number above `seq`, beginning with what is remembered.
    pub fn follow(&self, seq: u64) -> Follow {
        Follow { history: self.clone(), latest: self.shared.latest.subscribe(), seq }
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Arc<Record>>> {
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader of transitions as they come. One that is more than 1,000 behind misses the oldest, which shows
/// as a gap in the sequence numbers.
#[derive(Debug)]
pub struct Follow {
    history: History,
    latest: watch::Receiver<u64>,
    seq: u64,
}

impl Follow {
    /// Waits for the next transition. Cancel-safe.
    pub async fn next(&mut self) -> Arc<Record> {
        loop {
            self.latest.mark_unchanged();
            let next = {
                let ring = self.history.ring();
                let start = ring.partition_point(|record| record.seq <= self.seq);
                ring.get(start).cloned()
            };
            if let Some(record) = next {
                self.seq = record.seq;
                return record;
            }
            if self.latest.changed().await.is_err() {
                // `history` holds the sender, so this is never reached; waiting would be right anyway.
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::fixture::{instance, transition};
    use buoy_vrrp::{Cause, State};
    use std::time::SystemTime;

    fn record(seq: u64) -> Record {
        let transition = transition(instance("A"), State::Backup, State::Master, Cause::Owner);
        Record { seq, at: SystemTime::now(), transition }
    }

    fn numbers(records: &[Arc<Record>]) -> Vec<u64> {
        records.iter().map(|record| record.seq).collect()
    }

    #[test]
    fn the_oldest_are_forgotten_and_since_gives_the_rest() {
        let history = History::new();
        (1..=1010).for_each(|seq| history.record(record(seq)));
        assert_eq!(history.since(0).len(), 1000);
        assert_eq!(numbers(&history.since(1007)), [1008, 1009, 1010]);
        assert!(history.since(1010).is_empty());
    }

    #[test]
    fn numbers_may_have_gaps() {
        let history = History::new();
        [2, 5, 9].into_iter().for_each(|seq| history.record(record(seq)));
        assert_eq!(numbers(&history.since(3)), [5, 9]);
    }

    #[tokio::test]
    async fn a_follower_gets_what_was_and_what_comes() {
        let history = History::new();
        history.record(record(1));
        history.record(record(2));
        let mut follow = history.follow(1);
        assert_eq!(follow.next().await.seq, 2);
        let reader = tokio::spawn(async move { (follow.next().await.seq, follow.next().await.seq) });
        tokio::task::yield_now().await;
        history.record(record(3));
        history.record(record(4));
        assert_eq!(reader.await.expect("follows"), (3, 4));
    }
}
