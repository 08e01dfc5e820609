//! The last changes of state, for `buoy events` and the status page.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::event::Record;
use super::subject::{PerTopic, Topic};

/// How many records of each topic are remembered.
const CAPACITY: usize = 1000;

/// The last 1,000 transitions of the election and the last 1,000 changes of virtual servers: what these do shall
/// not make the others forgotten. Clones share them.
#[derive(Clone, Debug)]
pub struct History {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rings: Mutex<PerTopic<Ring>>,
    latest: watch::Sender<u64>,
}

/// Records of one topic in the order of their numbers.
type Ring = VecDeque<Arc<Record>>;

impl History {
    pub(super) fn new() -> Self {
        let shared = Shared { rings: Mutex::default(), latest: watch::Sender::new(0) };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn record(&self, record: Record) {
        let seq = record.seq;
        let mut rings = self.rings();
        let ring = rings.of_mut(record.subject().topic());
        if ring.len() == CAPACITY {
            ring.pop_front();
        }
        ring.push_back(Arc::new(record));
        drop(rings);
        self.shared.latest.send_replace(seq);
    }

    /// What is remembered with a sequence number above `seq`, oldest first; 0 for all.
    pub fn since(&self, seq: u64) -> Vec<Arc<Record>> {
        let rings = self.rings();
        let mut records: Vec<_> =
            Topic::ALL.into_iter().flat_map(|topic| after(rings.of(topic), seq)).cloned().collect();
        drop(rings);
        records.sort_by_key(|record| record.seq);
        records
    }

    /// Follows what comes with a sequence number above `seq`, beginning with what is remembered.
    pub fn follow(&self, seq: u64) -> Follow {
        let seen = PerTopic { election: seq, services: seq };
        Follow { history: self.clone(), latest: self.shared.latest.subscribe(), seen }
    }

    fn rings(&self) -> MutexGuard<'_, PerTopic<Ring>> {
        self.shared.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn after(ring: &Ring, seq: u64) -> impl Iterator<Item = &Arc<Record>> {
    ring.range(ring.partition_point(|record| record.seq <= seq)..)
}

/// A reader of records as they come. One that is more than 1,000 behind misses the oldest, which shows
/// as a gap in the sequence numbers. In a flood a transition may come before what servers did earlier.
#[derive(Debug)]
pub struct Follow {
    history: History,
    latest: watch::Receiver<u64>,
    /// The last number of each topic.
    seen: PerTopic<u64>,
}

impl Follow {
    /// Waits for the next record. Cancel-safe.
    pub async fn next(&mut self) -> Arc<Record> {
        loop {
            self.latest.mark_unchanged();
            if let Some((topic, record)) = self.oldest_unseen() {
                *self.seen.of_mut(topic) = record.seq;
                return record;
            }
            if self.latest.changed().await.is_err() {
                // `history` holds the sender, so this is never reached; waiting would be right anyway.
                std::future::pending::<()>().await;
            }
        }
    }

    fn oldest_unseen(&self) -> Option<(Topic, Arc<Record>)> {
        let rings = self.history.rings();
        let unseen = Topic::ALL.into_iter().filter_map(|topic| {
            let record = after(rings.of(topic), *self.seen.of(topic)).next()?;
            Some((topic, record))
        });
        unseen.min_by_key(|(_, record)| record.seq).map(|(topic, record)| (topic, Arc::clone(record)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::event::News;
    use crate::alert::fixture::{instance, quorum, transition};
    use buoy_vrrp::{Cause, State};
    use std::time::SystemTime;

    fn record(seq: u64) -> Record {
        let transition = transition(instance("A"), State::Backup, State::Master, Cause::Owner);
        Record { seq, at: SystemTime::now(), news: News::Transition(transition) }
    }

    fn change(seq: u64) -> Record {
        Record { seq, at: SystemTime::now(), news: News::Service(quorum(true, "all there")) }
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

    #[test]
    fn a_flood_of_changes_leaves_the_transitions_in_memory_and_all_come_in_order() {
        let history = History::new();
        history.record(record(1));
        (2..=5000).for_each(|seq| history.record(change(seq)));
        history.record(record(5001));
        let all = numbers(&history.since(0));
        assert_eq!((all.len(), all[0], all[1], all[1001]), (1002, 1, 4001, 5001));
    }

    #[tokio::test]
    async fn a_follower_misses_nothing_of_what_a_transition_has_overtaken() {
        let history = History::new();
        history.record(record(3));
        let mut follow = history.follow(0);
        assert_eq!(follow.next().await.seq, 3);
        history.record(change(1));
        history.record(record(4));
        history.record(change(2));
        let mut seqs = Vec::new();
        for _ in 0..3 {
            seqs.push(follow.next().await.seq);
        }
        assert_eq!(seqs, [1, 2, 4]);
    }
}
