//! What the checks of a plan need before they can be made, on threads that may hang without holding up the checks that
//! there are.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::config::plan::Plan;
use crate::control::detour;
use crate::control::driver::{Call, Handle};
use crate::control::probe::Probes;
use crate::host::{Answering, ReturnPaths};

/// Reading a few files takes so long only where something is wrong with what they are on.
const SLOW: Duration = Duration::from_secs(10);

/// So long it may take to load the modules of IPVS and to program a large table.
const PLANE_PATIENCE: Duration = Duration::from_secs(5);

/// Ways back of checks by way of a service.
#[derive(Clone, Debug)]
pub(super) struct Paths(Arc<Mutex<Option<ReturnPaths>>>);

impl Default for Paths {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(ReturnPaths::default()))))
    }
}

impl Paths {
    /// Blocks. Does nothing any more once they are restored: whoever hung until then is late.
    fn open(&self, answering: &BTreeSet<Answering>) {
        if let Some(paths) = &mut *self.lock() {
            paths.open(answering);
        }
    }

    pub(super) fn restore(&self) {
        if let Some(mut paths) = self.lock().take() {
            paths.restore();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<ReturnPaths>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that has to be read for the checks of a plan.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) plan: Arc<Plan>,
    pub(super) probes: Probes,
    /// Who answers checks by way of a service; the ways back are open.
    pub(super) answering: Arc<BTreeSet<Answering>>,
}

impl Prepared {
    /// Blocks: certificates may be on a mount that hangs, and IPVS may take its time.
    fn read(plan: Arc<Plan>, paths: &Paths, plane: &Handle) -> Self {
        let answering = Arc::new(detour::answering(&plan.services));
        paths.open(&answering);
        let probes = Probes::new(&plan);
        if detour::is_needed(&plan.services) {
            wait_for_ways(plane);
        }
        Self { probes, plan, answering }
    }
}

/// Until IPVS forwards checks that go by way of their services: before that they would find every server dead. The plan
/// has been told to whoever drives it; why it takes longer is told there.
fn wait_for_ways(plane: &Handle) {
    let (done, settled) = sync_channel(1);
    let settle = Call::Settle(Box::new(move |()| done.try_send(()).unwrap_or_default()));
    if plane.call(settle).is_ok() {
        let _late = settled.recv_timeout(PLANE_PATIENCE);
    }
}

/// Work under way on another thread, at most one of each kind; the latest plan takes the place of one before it.
#[derive(Debug, Default)]
pub(super) struct Preparation {
    reading: Option<Reading>,
    looking: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Reading {
    /// Forgotten when dropped: its thread ends when whatever holds it lets go.
    task: JoinHandle<Prepared>,
    /// When it is said that it takes long; `None` once it has been.
    slow_at: Option<Instant>,
}

impl Preparation {
    pub(super) fn read(&mut self, plan: Arc<Plan>, paths: &Paths, plane: &Handle) {
        let (paths, plane) = (paths.clone(), plane.clone());
        self.wait_for(tokio::task::spawn_blocking(move || Prepared::read(plan, &paths, &plane)));
    }

    fn wait_for(&mut self, task: JoinHandle<Prepared>) {
        self.reading = Some(Reading { task, slow_at: Some(Instant::now() + SLOW) });
    }

    /// Looks again where answers arrive, unless a thread is at it or is to do so for another plan.
    pub(super) fn look(&mut self, answering: &Arc<BTreeSet<Answering>>, paths: &Paths) {
        if self.reading.is_none() && self.looking.as_ref().is_none_or(JoinHandle::is_finished) {
            let (paths, answering) = (paths.clone(), Arc::clone(answering));
            self.looking = Some(tokio::task::spawn_blocking(move || paths.open(&answering)));
        }
    }

    /// Waits until the latest plan can be put into force; for ever where there is none. Cancel-safe: the work goes on.
    ///
    /// # Errors
    /// The work panicked.
    pub(super) async fn prepared(&mut self) -> Result<Prepared> {
        let Some(reading) = &mut self.reading else { return pending().await };
        let done = reading.done().await;
        self.reading = None;
        done.context("reading what the checks need panicked")
    }
}

impl Reading {
    async fn done(&mut self) -> Result<Prepared, tokio::task::JoinError> {
        if let Some(slow_at) = self.slow_at {
            if let Ok(done) = timeout_at(slow_at, &mut self.task).await {
                return done;
            }
            self.slow_at = None;
            tracing::warn!(
                "certificates of the checks cannot be read for {} s, is their mount there? Until they are, the checks \
                 stay as they were",
                SLOW.as_secs()
            );
        }
        (&mut self.task).await
    }
}

#[cfg(test)]
mod tests;
