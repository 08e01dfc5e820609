//! The thread between the reconciler and a plane: orders in, changes to the plane and notices out.
//!
//! Nothing else runs here, for every call of a plane waits. Whoever gives orders waits while the queue is full; nobody
//! who takes notices is waited for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use buoy_ipvs::{Change, Plane, PlaneError, RealServerId, Refusal, Statistics};

use super::pool::{Administration, Health, ServerState};
use super::report::Report;
use super::service::Service;
use super::{Control, Unknown};

/// Orders on their way. A burst of check results fills it for a moment.
const ORDERS: usize = 256;
/// Orders carried out before the plane is brought up to date: a burst becomes one batch of changes.
const ORDERS_AT_ONCE: usize = 1024;
/// How often the plane is asked.
#[derive(Clone, Copy, Debug)]
struct Periods {
    /// For what somebody else did to it.
    look: Duration,
    /// For connections, while somebody waits for them to end.
    count: Duration,
}

impl Default for Periods {
    fn default() -> Self {
        Self { look: Duration::from_secs(4), count: Duration::from_secs(1) }
    }
}

/// What the rest of the daemon wants of the virtual servers.
pub enum Order {
    Configure(Vec<Service>),
    Health {
        service: Arc<str>,
        server: RealServerId,
        health: Health,
    },
    Administer {
        service: Arc<str>,
        server: RealServerId,
        administration: Administration,
        reply: Reply<Result<(), Unknown>>,
    },
    /// What these services would change.
    Preview {
        services: Vec<Service>,
        reply: Reply<Vec<Change>>,
    },
    Status(Reply<Status>),
    /// The end: services are removed from the plane, or stay there.
    Stop {
        keep: bool,
        reply: Reply<()>,
    },
}

/// Takes an answer on the thread: hands it on and must not wait.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad("Order")
    }
}

/// What people should know.
#[derive(Debug)]
pub enum Notice {
    Report(Report),
    /// The plane would not make a change; told once until it does.
    Refused(Refusal),
    /// The plane does not work; told once until it does.
    PlaneFailed(PlaneError),
    PlaneWorks,
}

/// All virtual servers at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    pub services: Vec<(Service, bool, Vec<ServerState>)>,
    /// What the plane has counted, if it answers.
    pub statistics: Option<Statistics>,
}

/// The way to give orders, from any thread.
#[derive(Clone, Debug)]
pub struct Handle(SyncSender<Order>);

/// The thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody drives the virtual servers any more")]
pub struct Ended;

impl Handle {
    /// Hands over an order, waiting while the queue is full.
    pub fn give(&self, order: Order) -> Result<(), Ended> {
        self.0.send(order).map_err(|_unsent| Ended)
    }
}

/// The reconciler with the plane that it drives.
pub struct Driver<P, O, T> {
    control: Control,
    plane: Option<P>,
    open: O,
    tell: T,
    orders: Receiver<Order>,
    periods: Periods,
    look_at: Instant,
    count_at: Instant,
    /// Refusals that have been told.
    told: BTreeSet<String>,
    /// That the plane does not work has been told.
    failing: bool,
}

impl<P, O, T> std::fmt::Debug for Driver<P, O, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("control", &self.control).finish_non_exhaustive()
    }
}

impl<P, O, T> Driver<P, O, T>
where
    P: Plane,
    O: FnMut() -> Result<P, PlaneError>,
    T: FnMut(Notice),
{
    /// `open` makes the plane when there is something to do on it, and again after it has failed. `tell` must not wait.
    pub fn new(open: O, tell: T) -> (Self, Handle) {
        Self::with_periods(open, tell, Periods::default())
    }

    fn with_periods(open: O, tell: T, periods: Periods) -> (Self, Handle) {
        let (handle, orders) = sync_channel(ORDERS);
        let now = Instant::now();
        let driver = Self {
            control: Control::new(),
            plane: None,
            open,
            tell,
            orders,
            periods,
            look_at: now,
            count_at: now,
            told: BTreeSet::new(),
            failing: false,
        };
        (driver, Handle(handle))
    }

    /// Runs until it is told to stop, or until every handle is gone.
    pub fn run(mut self) {
        loop {
            let now = Instant::now();
            match self.orders.recv_timeout(self.due().saturating_duration_since(now)) {
                Ok(Order::Stop { keep, reply }) => return self.stop(keep, reply),
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for _ in 0..ORDERS_AT_ONCE {
                match self.orders.try_recv() {
                    Ok(Order::Stop { keep, reply }) => return self.stop(keep, reply),
                    Ok(order) => self.obey(order),
                    Err(_none) => break,
                }
            }
            self.turn();
        }
    }

    fn due(&self) -> Instant {
        let count = self.control.wants_statistics().then_some(self.count_at);
        [count, self.control.poll_timeout()].into_iter().flatten().fold(self.look_at, Instant::min)
    }

    fn obey(&mut self, order: Order) {
        let now = Instant::now();
        match order {
            Order::Configure(services) => self.control.configure(services, now),
            Order::Health { service, server, health } => {
                // A reload may have removed it while the check ran.
                let _removed = self.control.handle_health(&service, server, health, now);
            }
            Order::Administer { service, server, administration, reply } => {
                reply(self.control.administer(&service, server, administration, now));
            }
            Order::Preview { services, reply } => reply(self.control.preview(services, now)),
            Order::Status(reply) => {
                let statistics = self.plane.as_mut().and_then(|plane| plane.statistics().ok());
                let services = self.control.services();
                let services =
                    services.map(|(service, quorum, states)| (service.clone(), quorum, states.collect()));
                reply(Status { services: services.collect(), statistics });
            }
            Order::Stop { .. } => {}
        }
    }

    /// Looks where it is time to, and closes the gap between what is and what should be.
    fn turn(&mut self) {
        if let Err(error) = self.try_turn() {
            self.plane = None;
            self.control.forget_plane();
            if !std::mem::replace(&mut self.failing, true) {
                (self.tell)(Notice::PlaneFailed(error));
            }
        }
        for report in self.control.take_reports() {
            (self.tell)(Notice::Report(report));
        }
    }

    fn try_turn(&mut self) -> Result<(), PlaneError> {
        let now = Instant::now();
        self.control.handle_timeout(now);
        let look = self.look_at <= now;
        if look {
            self.look_at = now + self.periods.look;
        }
        if self.plane.is_none() {
            // Nothing to forward, nothing to ask for; and what fails is not tried at every order.
            if self.control.is_idle() || (self.failing && !look) {
                return Ok(());
            }
            self.plane = Some((self.open)()?);
            self.look(now)?;
            if std::mem::take(&mut self.failing) {
                (self.tell)(Notice::PlaneWorks);
            }
        } else if look {
            self.look(now)?;
        }
        let Some(plane) = &mut self.plane else { return Ok(()) };
        if self.control.wants_statistics() && self.count_at <= now {
            self.count_at = now + self.periods.count;
            let statistics = plane.statistics()?;
            self.control.handle_statistics(&statistics, now);
        }
        let changes = self.control.take_changes();
        if changes.is_empty() {
            return Ok(());
        }
        let refusals = plane.apply(&changes)?;
        for refusal in refusals {
            let Some(change) = changes.get(refusal.index) else { continue };
            self.control.handle_refusal(change);
            if self.told.insert(refusal.to_string()) {
                (self.tell)(Notice::Refused(refusal));
            }
        }
        Ok(())
    }

    fn look(&mut self, now: Instant) -> Result<(), PlaneError> {
        let Some(plane) = &mut self.plane else { return Ok(()) };
        let snapshot = plane.snapshot()?;
        self.control.handle_snapshot(&snapshot.table, now);
        Ok(())
    }

    fn stop(mut self, keep: bool, reply: Reply<()>) {
        if !keep {
            let removed = self.control.removals();
            if let Some(plane) = &mut self.plane
                && let Err(error) = plane.apply(&removed)
            {
                (self.tell)(Notice::PlaneFailed(error));
            }
        }
        reply(());
    }
}

#[cfg(test)]
mod tests;
