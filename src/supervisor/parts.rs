//! Parts that may fail without taking the others along: counted, paused, said.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A part that ran for so long starts again at once.
const GOOD_RUN: Duration = Duration::from_secs(60);
/// Well below a third of the shortest sensible lease: a part that renews leases must not let them run out.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Who failed how often.
#[derive(Clone, Debug, Default)]
pub(super) struct Restarts {
    parts: Arc<Mutex<BTreeMap<&'static str, Failures>>>,
    noted: Arc<Notify>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    total: u64,
    in_a_row: u32,
    last: Instant,
}

impl Restarts {
    /// Notes and reports a failure; returns how long to wait before the restart: 0, 1, 2, 2 ... s.
    pub(super) fn note(&self, part: &'static str, why: &str) -> Duration {
        let now = Instant::now();
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = parts.entry(part).or_insert(Failures { total: 0, in_a_row: 0, last: now });
        if now.saturating_duration_since(failures.last) > GOOD_RUN {
            failures.in_a_row = 0;
        }
        let pause = match failures.in_a_row {
            0 => Duration::ZERO,
            n => Duration::from_secs(n.into()).min(LONGEST_PAUSE),
        };
        let (total, in_a_row) = (failures.total + 1, failures.in_a_row.saturating_add(1));
        // The next run begins after the pause.
        *failures = Failures { total, in_a_row, last: now + pause };
        tracing::error!(
            part,
            why,
            pause = pause.as_secs(),
            "a part failed and is started again; the election goes on"
        );
        self.noted.notify_one();
        pause
    }

    /// Waits for a failure, one that nobody has waited for yet included. Cancel-safe.
    pub(super) async fn failed(&self) {
        self.noted.notified().await;
    }

    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().map(|(part, failures)| ((*part).to_owned(), failures.total)).collect()
    }
}

/// A task that is started again when it panics. Aborted when dropped.
#[derive(Debug)]
pub(super) struct Part {
    task: JoinHandle<()>,
    planted: Arc<Notify>,
}

impl Part {
    /// Runs the futures that `make` gives, one after the other, until one ends by itself.
    pub(super) fn start<F>(
        name: &'static str,
        restarts: Restarts,
        make: impl Fn() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let planted = Arc::new(Notify::new());
        let plant = Arc::clone(&planted);
        let task = tokio::spawn(async move {
            loop {
                let (work, plant) = (make(), Arc::clone(&plant));
                let run = tokio::spawn(async move {
                    tokio::select! {
                        () = work => {}
                        () = plant.notified() => panic!("planted by an operator"),
                    }
                });
                let abort = AbortOnDrop(run.abort_handle());
                let ended = run.await;
                drop(abort);
                match ended {
                    Err(error) if error.is_panic() => {
                        let pause = restarts.note(name, "panicked, see above");
                        tokio::time::sleep(pause).await;
                    }
                    Ok(()) | Err(_) => return,
                }
            }
        });
        Self { task, planted }
    }

    /// Makes the part panic, to see it restarted.
    pub(super) fn plant_panic(&self) {
        self.planted.notify_one();
    }
}

impl Part {
    /// Ends the part for good.
    pub(super) fn end(&self) {
        self.task.abort();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.end();
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
