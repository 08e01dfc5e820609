//! Virtual servers in the daemon: the threads that check real servers and drive the kernel's IPVS, started when the
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
mod plane_thread;
mod presence;
mod roles;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use buoy_healthcheck::driver::Snapshot;
use buoy_ipvs::{Change, RealServerId};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::parts::Restarts;
use crate::alert::Dispatcher;
use crate::config::plan::{FlushOnStop, Plan};
use crate::control::driver::{Call, Farewell, Handle, Orders, Reply, Settings, Status, orders};
use crate::control::{Administration, Service};
use crate::host::{IpvsSetting, IpvsSettings};
use crate::planted_panic::PlantedPanic;

use checks_thread::CheckOrders;

pub(super) use presence::Presence;
pub(super) use roles::Roles;

/// The threads answer within this time, or it is said that they do not. A table of 40,000 servers is read in half a
/// second by a slow machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// The supervisor's hold on virtual servers.
#[derive(Debug)]
pub(super) struct Balancing {
    handle: Handle,
    checks: Arc<CheckOrders>,
    presence: Arc<Presence>,
    roles: Roles,
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
    pub(super) status: Status,
    /// `None` when the checks do not answer.
    pub(super) checks: Option<Snapshot>,
    pub(super) settings: Vec<IpvsSetting>,
}

impl Balancing {
    pub(super) fn new(alerts: Dispatcher, restarts: Restarts) -> Self {
        let (handle, orders) = orders();
        let checks = Arc::new(CheckOrders::default());
        let (first_results, plane_panic) = (Arc::new(AtomicBool::new(false)), PlantedPanic::default());
        let shared = plane_thread::Shared {
            alerts,
            restarts,
            checks: Arc::clone(&checks),
            first_results: Arc::clone(&first_results),
            panic: plane_panic.clone(),
        };
        Self {
            roles: Roles::new(handle.clone()),
            presence: Arc::new(Presence::new(Arc::clone(&checks))),
            handle,
            checks,
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
            services: plan.services.iter().map(|service| service.service.clone()).collect(),
            timeouts: balancing.timeouts,
            flush: balancing.flush,
        });
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
        Desk { handle: self.handle.clone(), checks: Arc::clone(&self.checks) }
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
}

impl Desk {
    /// # Errors
    /// The thread does not answer.
    pub(super) async fn report(&self) -> Result<Report> {
        let checks = self.checks.snapshot();
        let status = self.ask(Call::Status).await?;
        let checks = timeout(checks_thread::PATIENCE, checks).await.ok().and_then(Result::ok);
        Ok(Report { status, checks, settings: IpvsSettings::default().look() })
    }

    /// # Errors
    /// The thread does not answer, or there is nothing of that name.
    pub(super) async fn administer(
        &self,
        service: Arc<str>,
        server: RealServerId,
        administration: Administration,
    ) -> Result<()> {
        let call = |reply| Call::Administer { service, server, administration, reply };
        Ok(self.ask(call).await??)
    }

    /// # Errors
    /// The thread does not answer.
    pub(super) async fn preview(&self, services: Vec<Service>) -> Result<Vec<Change>> {
        self.ask(|reply| Call::Preview { services, reply }).await
    }

    async fn ask<T: Send + 'static>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let reply = Box::new(move |value| {
            // Whoever asked may have given up.
            let _gone = answer.send(value);
        });
        self.handle.call(call(reply))?;
        timeout(PATIENCE, answered)
            .await
            .context("IPVS does not answer in time")?
            .context("nobody drives the virtual servers any more")
    }
}
