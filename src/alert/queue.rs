//! A bounded queue that never makes its writer wait: when it is full an older item gives way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::subject::{PerTopic, Topic};

/// Many writers on any thread, one reader. Each topic has a lane with room of its own, and what the election says
/// overtakes the rest. The lock of a lane is held for a push or a pop only, whose cost grows with the logarithm of
/// what waits.
///
/// Items have a key `K`: of those with the same key the newest is what counts.
pub(super) struct Queue<K, T> {
    lanes: PerTopic<Mutex<Lane<K, T>>>,
    dropped: AtomicU64,
    filled: Notify,
}

struct Lane<K, T> {
    capacity: usize,
    /// By number, which is their order.
    items: BTreeMap<u64, (K, T)>,
    /// The numbers of each key.
    places: BTreeSet<(K, u64)>,
    next: u64,
}

impl<K: Ord + Clone, T> Queue<K, T> {
    /// An empty one with room for so many items of each topic. It allocates when something waits.
    pub(super) fn new(capacity: PerTopic<usize>) -> Self {
        let lane = |topic| Mutex::new(Lane::new(*capacity.of(topic)));
        Self {
            lanes: PerTopic { election: lane(Topic::Election), services: lane(Topic::Services) },
            dropped: AtomicU64::new(0),
            filled: Notify::new(),
        }
    }

    /// Appends `item`. Where its lane is full, the oldest item of the same key, else the oldest of all, is
    /// dropped, counted and handed back.
    pub(super) fn push(&self, topic: Topic, key: K, item: T) -> Option<T> {
        let displaced = self.lane(topic).push(key, item);
        if displaced.is_some() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.filled.notify_one();
        displaced
    }

    /// Waits for the next item. Cancel-safe.
    pub(super) async fn next(&self) -> T {
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            self.filled.notified().await;
        }
    }

    pub(super) fn try_next(&self) -> Option<T> {
        Topic::ALL.into_iter().find_map(|topic| self.lane(topic).pop())
    }

    pub(super) fn len(&self) -> usize {
        Topic::ALL.into_iter().map(|topic| self.lane(topic).items.len()).sum()
    }

    /// How many items had to give way so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// No caller's code runs under the lock except for comparing and cloning keys.
    fn lane(&self, topic: Topic) -> MutexGuard<'_, Lane<K, T>> {
        self.lanes.of(topic).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord + Clone, T> Lane<K, T> {
    fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), items: BTreeMap::new(), places: BTreeSet::new(), next: 0 }
    }

    fn push(&mut self, key: K, item: T) -> Option<T> {
        let displaced = if self.items.len() < self.capacity { None } else { self.make_room(&key) };
        self.places.insert((key.clone(), self.next));
        self.items.insert(self.next, (key, item));
        self.next += 1;
        displaced
    }

    fn make_room(&mut self, key: &K) -> Option<T> {
        let oldest_of_key = self.places.range((key.clone(), 0)..).next().filter(|(other, _)| other == key);
        match oldest_of_key.map(|(_, number)| *number) {
            Some(number) => {
                let (key, item) = self.items.remove(&number)?;
                self.places.remove(&(key, number));
                Some(item)
            }
            None => self.pop(),
        }
    }

    fn pop(&mut self) -> Option<T> {
        let (number, (key, item)) = self.items.pop_first()?;
        self.places.remove(&(key, number));
        Some(item)
    }
}

impl<K: Ord + Clone, T> fmt::Debug for Queue<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_room(room: usize) -> Queue<&'static str, u32> {
        Queue::new(PerTopic { election: room, services: room })
    }

    #[tokio::test]
    async fn items_come_out_in_order() {
        let queue = with_room(3);
        for item in 1..=3 {
            assert_eq!(queue.push(Topic::Services, "same", item), None);
        }
        assert_eq!((queue.next().await, queue.next().await, queue.next().await), (1, 2, 3));
        assert_eq!(queue.try_next(), None);
    }

    #[test]
    fn in_a_full_lane_the_oldest_of_the_same_key_gives_way_else_the_oldest_of_all_and_is_counted() {
        let queue = with_room(3);
        for (key, item) in [("a", 1), ("b", 2), ("b", 3)] {
            queue.push(Topic::Election, key, item);
        }
        assert_eq!(queue.push(Topic::Election, "b", 4), Some(2));
        assert_eq!(queue.push(Topic::Election, "c", 5), Some(1));
        assert_eq!(queue.push(Topic::Election, "b", 6), Some(3));
        assert_eq!((queue.dropped(), queue.len()), (3, 3));
        assert_eq!([queue.try_next(), queue.try_next(), queue.try_next()], [Some(4), Some(5), Some(6)]);
    }

    #[test]
    fn the_election_overtakes_and_is_never_pushed_out_by_what_servers_do() {
        let queue = with_room(2);
        queue.push(Topic::Services, "server", 1);
        queue.push(Topic::Election, "instance", 2);
        assert_eq!(queue.push(Topic::Services, "another", 3), None);
        assert_eq!(queue.push(Topic::Services, "third", 4), Some(1));
        assert_eq!([queue.try_next(), queue.try_next(), queue.try_next()], [Some(2), Some(3), Some(4)]);
    }

    #[tokio::test]
    async fn a_push_from_another_thread_wakes_the_reader() {
        let queue = std::sync::Arc::new(with_room(1));
        let writer = std::sync::Arc::clone(&queue);
        let reader = tokio::spawn(async move { queue.next().await });
        tokio::task::yield_now().await;
        std::thread::spawn(move || writer.push(Topic::Services, "", 5)).join().expect("pushes");
        assert_eq!(reader.await.expect("reads"), 5);
    }
}
