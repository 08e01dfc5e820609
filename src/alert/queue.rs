//! A bounded queue that never makes its writer wait: when it is full an older item gives way.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Room that an emptied queue keeps: the burst of a takeover is no reason to hold memory for ever after.
const KEPT: usize = 16;

/// Many writers on any thread, one reader. The lock is held for a push or a pop only.
pub(super) struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    capacity: usize,
    dropped: AtomicU64,
    filled: Notify,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            items: Mutex::default(),
            capacity: capacity.max(1),
            dropped: AtomicU64::new(0),
            filled: Notify::new(),
        }
    }

    /// Appends `item`. In a full queue the oldest item that `supersedes(item, it)` tells, else the oldest of
    /// all, is dropped, counted and handed back.
    pub(super) fn push(&self, item: T, supersedes: impl Fn(&T, &T) -> bool) -> Option<T> {
        let mut items = self.items();
        let displaced = if items.len() < self.capacity {
            None
        } else {
            let victim = items.iter().position(|older| supersedes(&item, older)).unwrap_or(0);
            items.remove(victim)
        };
        items.push_back(item);
        drop(items);
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
        let mut items = self.items();
        let item = items.pop_front();
        if items.is_empty() {
            items.shrink_to(KEPT);
        }
        item
    }

    pub(super) fn len(&self) -> usize {
        self.items().len()
    }

    /// How many items had to give way so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// No caller's code runs under the lock except `supersedes`, before anything is changed.
    fn items(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn items_come_out_in_order() {
        let queue = Queue::new(3);
        for item in 1..=3 {
            assert_eq!(queue.push(item, |_, _| false), None);
        }
        assert_eq!((queue.next().await, queue.next().await, queue.next().await), (1, 2, 3));
        assert_eq!(queue.try_next(), None);
    }

    #[test]
    fn in_a_full_queue_the_oldest_that_gives_way_is_dropped_and_counted() {
        let queue = Queue::new(3);
        for item in [1, 2, 4] {
            queue.push(item, |_, _| false);
        }
        assert_eq!(queue.push(6, |_, older| older % 2 == 0), Some(2));
        assert_eq!(queue.push(7, |_, older| *older == 100), Some(1));
        assert_eq!((queue.dropped(), queue.len()), (2, 3));
    }

    #[tokio::test]
    async fn a_push_from_another_thread_wakes_the_reader() {
        let queue = std::sync::Arc::new(Queue::new(1));
        let writer = std::sync::Arc::clone(&queue);
        let reader = tokio::spawn(async move { queue.next().await });
        tokio::task::yield_now().await;
        std::thread::spawn(move || writer.push(5, |_, _| false)).join().expect("pushes");
        assert_eq!(reader.await.expect("reads"), 5);
    }
}
