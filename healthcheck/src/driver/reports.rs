//! Reports on their way to the caller. A slow reader never holds up checks: of each check the latest report waits, so no
//! more wait than there are checks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::roster::{CheckId, Report};

/// Reports for which there is room all the time. That of the first reports of all checks is given back.
const ROOM: usize = 64;

/// Where reports are read.
#[derive(Debug)]
pub struct Reports {
    shared: Arc<Shared>,
}

/// Where the driver leaves them.
#[derive(Debug)]
pub(super) struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<CheckId>,
    latest: HashMap<CheckId, Report>,
    closed: bool,
}

pub(super) fn channel() -> (Outbox, Reports) {
    let shared = Arc::<Shared>::default();
    (Outbox { shared: Arc::clone(&shared) }, Reports { shared })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// Takes the place of an unread report of the same check; a transition that was not read yet stays in it.
    pub(super) fn put(&self, mut report: Report) {
        let mut waiting = self.shared.lock();
        match waiting.latest.remove(&report.id) {
            Some(unread) => report.transition = report.transition.or(unread.transition),
            None => waiting.order.push_back(report.id),
        }
        waiting.latest.insert(report.id, report);
        drop(waiting);
        self.shared.news.notify_one();
    }

    /// Drops what waits of a check that is no more.
    pub(super) fn forget(&self, id: CheckId) {
        let mut waiting = self.shared.lock();
        if waiting.latest.remove(&id).is_some() {
            waiting.order.retain(|other| *other != id);
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.news.notify_one();
    }
}

impl Reports {
    /// The report that has waited longest; `None` once the driver is gone and all are read. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Report> {
        loop {
            let closed = {
                let mut waiting = self.shared.lock();
                if let Some(report) = waiting.pop() {
                    return Some(report);
                }
                waiting.closed
            };
            if closed {
                return None;
            }
            self.shared.news.notified().await;
        }
    }

    /// Like [`recv`](Self::recv) but without waiting.
    pub fn try_recv(&mut self) -> Option<Report> {
        self.shared.lock().pop()
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Report> {
        let id = self.order.pop_front()?;
        let report = self.latest.remove(&id);
        if self.order.is_empty() {
            self.order.shrink_to(ROOM);
            self.latest.shrink_to(ROOM);
        }
        report
    }
}
