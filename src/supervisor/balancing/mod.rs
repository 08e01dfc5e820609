//! Virtual servers in the daemon: the threads that check real servers and drive the plane that forwards, started when the
//! configuration first has something for them.
//!
//! ```text
//! supervisor --- plan ---> checks thread --- health ---> ipvs thread --- alerts, log
//!      |                        ^                            ^
//!      +--- calls --------------|----------------------------+
//! host thread --- addresses ----+                            |
//! election thread --- role of the sync daemon ---------------+
//! ```
//!
//! Whoever tells them something leaves the latest and goes on; nobody is waited for.

mod checks_thread;
mod complaints;
mod forwarder;
mod plane_thread;
mod presence;
mod roles;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use buoy_healthcheck::driver::Snapshot;
use buoy_ipvs::Change;
use buoy_ipvs::io::director::Condition;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::parts::Restarts;
use crate::alert::Dispatcher;
use crate::config::plan::{FlushOnStop, Plan};
use crate::control::checks::ServerKey;
use crate::control::driver::{Call, Farewell, Handle, Orders, Reply, Settings, Status, orders};
use crate::control::{Administration, Service};
use crate::host::{IpvsSetting, IpvsSettings, Orphans};
use crate::planted_panic::PlantedPanic;

use checks_thread::CheckOrders;
use forwarder::{Forwarder, Told};

pub(super) use presence::Presence;
pub(super) use roles::Roles;

/// The threads answer within this time, or it is said that they do not. A table of 40,000 servers is read in half a
/// second by a slow machine. Together with the patience for the election it is less than that of `buoy status`, which
/// then shows what is known.
const PATIENCE: Duration = Duration::from_secs(2);
/// Whoever wants to see a plan has more time.
const PREVIEW_PATIENCE: Duration = Duration::from_secs(5);

/// The supervisor's hold on virtual servers.
#[derive(Debug)]
pub(super) struct Balancing {
    handle: Handle,
    checks: Arc<CheckOrders>,
    presence: Arc<Presence>,
    roles: Roles,
    forwarder: Arc<Forwarder>,
    first_results: Arc<AtomicBool>,
    plane_panic: PlantedPanic,
    threads: Threads,
}

#[derive(Debug)]
enum Threads {
    /// Nothing to do so far.
    Waiting(Box<Waiting>),
    Running {
        plane: JoinHandle<()>,
        checks: JoinHandle<()>,
    },
    Ended,
}

#[derive(Debug)]
struct Waiting {
    orders: Orders,
    shared: plane_thread::Shared,
}

/// What the status shows of the whole.
pub(super) struct Report {
    /// Or why IPVS does not tell.
    pub(super) status: Result<Status>,
    /// `None` when the checks do not answer.
    pub(super) checks: Option<Snapshot>,
    /// Of the kernel, where it forwards.
    pub(super) settings: Vec<IpvsSetting>,
    /// Who forwards, and why.
    pub(super) plane: String,
    /// How the engine fares, where it forwards and answers.
    pub(super) engine: Option<Condition>,
}

impl Balancing {
    pub(super) fn new(alerts: Dispatcher, restarts: Restarts) -> Self {
        let (handle, orders) = orders();
        let checks = Arc::new(CheckOrders::default());
        let (first_results, plane_panic) = (Arc::new(AtomicBool::new(false)), PlantedPanic::default());
        let forwarder = Arc::new(Forwarder::default());
        let shared = plane_thread::Shared {
            alerts,
            restarts,
            checks: Arc::clone(&checks),
            forwarder: Arc::clone(&forwarder),
            first_results: Arc::clone(&first_results),
            panic: plane_panic.clone(),
        };
        Self {
            roles: Roles::new(handle.clone()),
            presence: Arc::new(Presence::new(Arc::clone(&checks))),
            handle,
            checks,
            forwarder,
            first_results,
            plane_panic,
            threads: Threads::Waiting(Box::new(Waiting { orders, shared })),
        }
    }

    /// Hears the role of the sync daemon's instance.
    pub(super) fn roles(&self) -> Roles {
        self.roles.clone()
    }

    /// Hears which addresses this host has.
    pub(super) fn presence(&self) -> Arc<Presence> {
        Arc::clone(&self.presence)
    }

    /// Goes over to a plan, but for the role of the sync daemon: see [`Roles::follow`].
    ///
    /// # Errors
    /// The threads cannot be started; see [`Balancing::lacks_threads`].
    pub(super) fn follow(&mut self, plan: &Arc<Plan>) -> Result<()> {
        let balancing = &plan.balancing;
        self.first_results.store(balancing.rs_init_notifies, Ordering::Relaxed);
        self.handle.configure(Settings {
            services: plan.services.iter().map(|service| Arc::clone(&service.service)).collect(),
            timeouts: balancing.timeouts,
            flush: balancing.flush,
        });
        self.forwarder.follow(plan);
        self.presence.watch(plan);
        self.checks.follow(plan);
        if needed(plan) { self.start(plan) } else { Ok(()) }
    }

    /// Either both threads or none, so that it can be tried again.
    fn start(&mut self, plan: &Plan) -> Result<()> {
        let Threads::Waiting(waiting) = &self.threads else { return Ok(()) };
        let restarts = waiting.shared.restarts.clone();
        let scheduling = plan.balancing.scheduling.clone();
        let (plane, work) = plane_thread::start().context("cannot start the thread of IPVS")?;
        let checks =
            checks_thread::start(Arc::clone(&self.checks), self.handle.clone(), scheduling, restarts)
                .context("cannot start the thread of the health checks")?;
        let running = Threads::Running { plane, checks };
        if let Threads::Waiting(waiting) = std::mem::replace(&mut self.threads, running) {
            let Waiting { orders, shared } = *waiting;
            // The thread has only just begun to wait for it.
            work.send((shared, orders)).ok().context("the thread of IPVS has ended")?;
        }
        Ok(())
    }

    /// Why going over to a plan takes a restart, if it does.
    pub(super) fn objection(&self, plan: &Plan) -> Option<String> {
        self.forwarder.objection(plan)
    }

    /// Whether the threads that `plan` needs could not be started: following it again tries again.
    pub(super) fn lacks_threads(&self, plan: &Plan) -> bool {
        matches!(self.threads, Threads::Waiting(_)) && needed(plan)
    }

    /// Whether there is, or was, anything to do.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.threads, Threads::Running { .. })
    }

    /// For questions that shall not hold up whoever asks.
    pub(super) fn desk(&self) -> Desk {
        Desk {
            handle: self.handle.clone(),
            checks: Arc::clone(&self.checks),
            forwarder: Arc::clone(&self.forwarder),
        }
    }

    pub(super) fn plant_panic_in_plane(&self) {
        self.plane_panic.plant();
    }

    pub(super) fn plant_panic_in_checks(&self) {
        self.checks.plant_panic();
    }

    /// The end: checks first, so that nothing moves any more.
    pub(super) async fn stop(&mut self, farewell: Farewell, patience: Duration) {
        let Threads::Running { plane, checks } = std::mem::replace(&mut self.threads, Threads::Ended) else {
            return;
        };
        self.checks.end();
        let (done, ended) = oneshot::channel();
        // The loop may have given up waiting.
        self.handle.stop(farewell, Box::new(move |()| done.send(()).unwrap_or_default()));
        if timeout(patience, ended).await.is_err() {
            tracing::error!("IPVS was not put in order in time: ipvsadm -Ln shows what it still holds");
            return;
        }
        let joined = tokio::task::spawn_blocking(move || (plane.join(), checks.join()));
        if timeout(patience, joined).await.is_err() {
            tracing::error!("the health checks did not end in time");
        }
    }
}

fn needed(plan: &Plan) -> bool {
    let balancing = &plan.balancing;
    !plan.services.is_empty()
        || balancing.sync_daemon.is_some()
        || balancing.flush
        || balancing.timeouts != buoy_ipvs::Timeouts::default()
}

/// What becomes of IPVS at the end.
pub(super) fn farewell(plan: &Plan, dont_release: bool) -> Farewell {
    match (dont_release, plan.balancing.flush_on_stop) {
        (true, _) => Farewell::Keep,
        (false, FlushOnStop::All) => Farewell::Flush,
        (false, FlushOnStop::No | FlushOnStop::Services) => Farewell::Remove,
    }
}

/// Asks the threads, from any task.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    handle: Handle,
    checks: Arc<CheckOrders>,
    forwarder: Arc<Forwarder>,
}

impl Desk {
    /// Asks both threads at once; what one of them does not tell in time is missing.
    pub(super) async fn report(&self) -> Report {
        let checks = timeout(checks_thread::PATIENCE, self.checks.snapshot());
        let (status, checks) = tokio::join!(self.ask(Call::Status, PATIENCE, ""), checks);
        let checks = checks.ok().and_then(Result::ok);
        let in_doubt = status.as_ref().is_ok_and(|status| status.doubted > 0);
        let orphans = if in_doubt { Orphans::Keep } else { Orphans::Expire };
        let Told { plane, engine } = self.forwarder.told();
        let settings = match &engine {
            Some(_) => Vec::new(),
            None => IpvsSettings::default().look(orphans),
        };
        let engine = match engine {
            Some(engine) => {
                let asked = tokio::task::spawn_blocking(move || engine.condition());
                timeout(PATIENCE, asked).await.ok().and_then(Result::ok).and_then(Result::ok)
            }
            None => None,
        };
        Report { status, checks, settings, plane, engine }
    }

    /// # Errors
    /// The thread does not answer, or there is nothing of that name.
    pub(super) async fn administer(
        &self,
        service: String,
        server: String,
        administration: Administration,
    ) -> Result<ServerKey> {
        let call = |reply| Call::Administer { service, server, administration, reply };
        Ok(self.ask(call, PATIENCE, ": this is done when it does").await??)
    }

    /// # Errors
    /// The thread does not answer.
    pub(super) async fn preview(&self, services: Vec<Arc<Service>>) -> Result<Vec<Change>> {
        self.ask(|reply| Call::Preview { services, reply }, PREVIEW_PATIENCE, "").await
    }

    /// `late` is what else to say when the answer takes longer than `patience`: the call stays in the queue.
    async fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(Reply<T>) -> Call,
        patience: Duration,
        late: &str,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let reply = Box::new(move |value| {
            // Whoever asked may have given up.
            let _gone = answer.send(value);
        });
        self.handle.call(call(reply))?;
        timeout(patience, answered)
            .await
            .with_context(|| format!("IPVS does not answer within {} s{late}", patience.as_secs()))?
            .context("nobody drives the virtual servers any more")
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// What the command line waits for a status, less what the election may take.
    const LEFT: Duration = Duration::from_secs(3);

    fn desk(handle: Handle) -> Desk {
        Desk { handle, checks: Arc::default(), forwarder: Arc::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_comes_in_time_whoever_of_the_threads_is_silent() {
        let (handle, _orders) = orders();
        let asked = Instant::now();
        let report = desk(handle).report().await;
        assert!(asked.elapsed() < LEFT);
        let why = report.status.expect_err("nobody answers").to_string();
        assert_eq!(why, "IPVS does not answer within 2 s");
        assert!(report.checks.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_hears_in_time_that_an_order_is_still_to_be_carried_out() {
        let (handle, _orders) = orders();
        let asked = Instant::now();
        let done = desk(handle).administer("web".into(), "10.1.0.1".into(), Administration::Disabled).await;
        assert!(asked.elapsed() < LEFT);
        let why = done.expect_err("nobody answers").to_string();
        assert_eq!(why, "IPVS does not answer within 2 s: this is done when it does");
    }
}
