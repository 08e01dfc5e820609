//! The thread between the reconciler and a plane: settings, health and calls in, changes to the plane and notices out.
//!
//! Nothing else runs here, for every call of a plane waits. Nobody who tells or asks is made to wait, and nobody who
//! takes notices is waited for.

mod inbox;
mod refusals;
mod sync;

use std::collections::BTreeSet;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use buoy_ipvs::{Change, Plane, PlaneError, Refusal, ServiceId, Statistics, SyncDaemon, Timeouts};

use super::checks::ServerKey;
use super::pool::{Administration, ServiceState};
use super::report::Report;
use super::{Control, NotAdministered};
use refusals::Refusals;
use sync::Sync;

use inbox::Past;

pub use inbox::{Call, Farewell, Handle, NotTaken, Orders, Reply, Settings, orders};

/// Calls carried out before the plane is brought up to date.
const CALLS_AT_ONCE: usize = 64;

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

/// What people should know.
#[derive(Debug)]
pub enum Notice {
    Report(Report),
    /// The plane would not make a change; told once until it does.
    Refused(Refusal),
    /// A connection sync daemon cannot be started or stopped; told once until it can.
    SyncRefused(String),
    /// `lvs_timeouts` cannot be set; told once until they can.
    TimeoutsRefused(String),
    /// The plane does not work; told once until it does.
    PlaneFailed(PlaneError),
    PlaneWorks,
    /// Servers are silent, and it may be this host's network that is cut: see [`Control::doubted`]. Told before the plane
    /// loses the first of them, so that their connections can be kept.
    DoubtBegins,
    /// Told after the plane has those back that are alive.
    DoubtEnds,
}

/// All virtual servers at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    pub services: Vec<ServiceState>,
    /// What the plane has counted, if it answers.
    pub statistics: Option<Statistics>,
    /// Why the plane does not work.
    pub failing: Option<String>,
    /// What the plane would not do, in words.
    pub refused: Vec<String>,
    /// See [`Control::doubted`].
    pub doubted: usize,
    pub sync_daemons: Vec<SyncDaemon>,
}

/// The reconciler with the plane that it drives.
pub struct Driver<'o, P, O, T> {
    control: Control,
    plane: Option<P>,
    /// Opened to see what was there before the first settings, which are still to come.
    opened: Option<P>,
    /// Nothing has been configured yet.
    blank: bool,
    open: O,
    tell: T,
    orders: &'o Orders,
    periods: Periods,
    look_at: Instant,
    count_at: Instant,
    timeouts: Timeouts,
    /// Those that the plane had before us.
    old_timeouts: Option<Timeouts>,
    flush: bool,
    /// Settings have been taken: before that nobody has said whether to flush.
    configured: bool,
    /// Whoever waits for the plane to be brought up to date; no more than calls are carried out before that.
    settling: Vec<Reply<()>>,
    sync: Sync,
    /// The sync daemons may differ from what is wanted.
    sync_due: bool,
    refusals: Refusals,
    /// Timeouts that the plane would not have, told once.
    timeouts_refused: Option<String>,
    /// That the plane does not work has been told.
    failing: Option<String>,
    /// That there is doubt has been told.
    in_doubt: bool,
}

impl<P, O, T> std::fmt::Debug for Driver<'_, P, O, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("control", &self.control).finish_non_exhaustive()
    }
}

impl<'o, P, O, T> Driver<'o, P, O, T>
where
    P: Plane,
    O: FnMut() -> Result<P, PlaneError>,
    T: FnMut(Notice),
{
    /// `open` makes the plane when there is something to do on it, and again after it has failed. `tell` must not wait.
    /// What a driver before this one was told, it is told too; only health has to be told again. `first` says that there
    /// was none: then `flush` counts.
    pub fn new(orders: &'o Orders, first: bool, open: O, tell: T) -> Self {
        Self::with_periods(orders, first, open, tell, Periods::default())
    }

    fn with_periods(orders: &'o Orders, first: bool, open: O, tell: T, periods: Periods) -> Self {
        orders.begin();
        let now = Instant::now();
        Self {
            control: Control::new(),
            plane: None,
            opened: None,
            blank: true,
            open,
            tell,
            orders,
            periods,
            look_at: now,
            count_at: now,
            timeouts: Timeouts::default(),
            old_timeouts: None,
            flush: first,
            configured: false,
            settling: Vec::new(),
            sync: Sync::default(),
            sync_due: false,
            refusals: Refusals::new(periods.look),
            timeouts_refused: None,
            failing: None,
            in_doubt: false,
        }
    }

    /// Runs until it is told to stop, or until every handle is gone.
    pub fn run(mut self) {
        self.resume();
        let mut stop = self.read_inbox();
        loop {
            if let Some((farewell, reply)) = stop {
                self.stop(farewell);
                return reply(());
            }
            self.turn();
            let now = Instant::now();
            let first = match self.orders.calls.recv_timeout(self.due().saturating_duration_since(now)) {
                Ok(call) => Some(call),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // Calls are about what was told before them.
            stop = self.read_inbox();
            for call in first.into_iter().chain(self.orders.calls.try_iter().take(CALLS_AT_ONCE)) {
                self.answer(call);
            }
            // Whoever told something while calls filled the queue could not wake anybody.
            stop = self.read_inbox().or(stop);
        }
    }

    /// Goes on from where a driver before this one was.
    fn resume(&mut self) {
        let Past { settings, leaving, administrations } = self.orders.past();
        let now = Instant::now();
        self.look_before(&settings);
        self.control.configure(settings.services.clone(), now);
        self.control.resume(leaving, now);
        for ((service, server), administration) in administrations {
            // Of what was removed nothing is remembered.
            let _removed = self.control.administer(&service, server, administration, now);
        }
    }

    fn due(&self) -> Instant {
        let count = self.control.wants_statistics().then_some(self.count_at);
        [count, self.control.poll_timeout()].into_iter().flatten().fold(self.look_at, Instant::min)
    }

    /// Takes what is new; how to end, if that is wanted.
    fn read_inbox(&mut self) -> Option<(Farewell, Reply<()>)> {
        let inbox::News { settings, sync, health, stop } = self.orders.take();
        let now = Instant::now();
        if let Some(settings) = settings {
            self.look_before(&settings);
            self.control.configure(settings.services.clone(), now);
            if self.timeouts != settings.timeouts {
                self.timeouts = settings.timeouts;
                // Those that are not given any more are to be as they were.
                self.look_at = now;
            }
            self.flush &= settings.flush;
            self.configured = true;
            self.refusals.begin_anew(&self.control);
            self.orders.note_settings(settings);
            self.note_leaving();
        }
        if let Some(daemons) = sync {
            self.sync.want(&daemons);
            self.sync_due = true;
        }
        for ((service, server), health) in health {
            // A reload may have removed it while the check ran.
            let _removed = self.control.handle_health(&service, server, health, now);
        }
        stop
    }

    /// What is there before anything is configured tells which servers were out of service.
    fn look_before(&mut self, settings: &Settings) {
        if !self.blank || settings.services.is_empty() {
            return;
        }
        self.blank = false;
        if self.flush && settings.flush {
            return;
        }
        // What fails here fails again when the plane is used, and is told then.
        if let Ok(mut plane) = (self.open)()
            && let Ok(snapshot) = plane.snapshot()
        {
            self.control.inherit(snapshot.table);
            self.opened = Some(plane);
        }
    }

    fn answer(&mut self, call: Call) {
        let now = Instant::now();
        match call {
            Call::Look => {}
            Call::Administer { service, server, administration, reply } => {
                reply(self.administer(&service, &server, administration, now));
            }
            Call::Preview { services, reply } => reply(self.control.preview(services, now)),
            Call::Status(reply) => reply(self.status()),
            Call::Settle(reply) => self.settling.push(reply),
        }
    }

    /// What was configured before counts.
    fn administer(
        &mut self,
        service: &str,
        server: &str,
        administration: Administration,
        now: Instant,
    ) -> Result<ServerKey, NotAdministered> {
        let key = self.control.find(service, server)?;
        let leaving = self.control.is_leaving(&key.0, key.1);
        self.control.administer(&key.0, key.1, administration, now)?;
        if !leaving {
            self.orders.remember(key.clone(), administration);
        }
        Ok(key)
    }

    fn status(&mut self) -> Status {
        let plane = self.plane.as_mut();
        let (statistics, sync_daemons) = match plane {
            Some(plane) => (plane.statistics().ok(), plane.sync_daemons().unwrap_or_default()),
            None => (None, Vec::new()),
        };
        let refused =
            self.refusals.words().chain(self.sync.refused()).chain(self.timeouts_refused.as_deref());
        Status {
            services: self.control.services().collect(),
            statistics,
            failing: self.failing.clone(),
            refused: refused.map(str::to_owned).collect(),
            doubted: self.control.doubted(),
            sync_daemons,
        }
    }

    /// Looks where it is time to, and closes the gap between what is and what should be.
    fn turn(&mut self) {
        if let Err(error) = self.try_turn() {
            self.plane = None;
            self.control.forget_plane();
            if self.failing.replace(error.to_string()).is_none() {
                (self.tell)(Notice::PlaneFailed(error));
            }
        }
        if self.control.doubted() == 0 && self.failing.is_none() && std::mem::take(&mut self.in_doubt) {
            (self.tell)(Notice::DoubtEnds);
        }
        self.note_leaving();
        for report in self.control.take_reports() {
            (self.tell)(Notice::Report(report));
        }
        self.settling.drain(..).for_each(|reply| reply(()));
    }

    /// For a driver that starts anew.
    fn note_leaving(&mut self) {
        if let Some(leaving) = self.control.take_leaving() {
            self.orders.note_leaving(leaving);
        }
    }

    fn try_turn(&mut self) -> Result<(), PlaneError> {
        let now = Instant::now();
        self.control.handle_timeout(now);
        if self.control.doubted() > 0 && !std::mem::replace(&mut self.in_doubt, true) {
            (self.tell)(Notice::DoubtBegins);
        }
        let look = self.look_at <= now;
        if look {
            self.look_at = now + self.periods.look;
        }
        let (mut plane, look) = match self.plane.take() {
            Some(mut plane) => {
                let flushed = self.flush_once(&mut plane)?;
                (plane, look || flushed)
            }
            // Nothing to forward, nothing to ask for; and what fails is not tried at every call.
            None if self.is_idle() || (self.failing.is_some() && !look) => return Ok(()),
            // Opening it is a look.
            None => (self.open_plane()?, false),
        };
        let outcome = self.work_on(&mut plane, look, now);
        self.plane = Some(plane);
        outcome
    }

    fn is_idle(&self) -> bool {
        self.control.is_idle()
            && self.sync.is_idle()
            && self.timeouts == Timeouts::default()
            && !self.must_flush()
    }

    /// Whether what others left in the plane is to go: only the settings can say so.
    fn must_flush(&self) -> bool {
        self.flush && self.configured
    }

    /// The plane may have been opened for sync daemons before the settings came. Whether it was flushed now.
    fn flush_once(&mut self, plane: &mut P) -> Result<bool, PlaneError> {
        let due = self.must_flush();
        if due {
            plane.flush()?;
            self.flush = false;
        }
        Ok(due)
    }

    fn open_plane(&mut self) -> Result<P, PlaneError> {
        let mut plane = match self.opened.take() {
            Some(plane) => plane,
            None => (self.open)()?,
        };
        self.flush_once(&mut plane)?;
        let snapshot = plane.snapshot()?;
        self.control.handle_snapshot(&snapshot.table, Instant::now());
        self.sync_due = true;
        self.settle_timeouts(&mut plane)?;
        if self.failing.take().is_some() {
            (self.tell)(Notice::PlaneWorks);
        }
        Ok(plane)
    }

    fn work_on(&mut self, plane: &mut P, look: bool, now: Instant) -> Result<(), PlaneError> {
        if look {
            let snapshot = plane.snapshot()?;
            self.control.handle_snapshot(&snapshot.table, now);
            self.settle_timeouts(plane)?;
        }
        let changes = self.control.take_changes();
        self.make(plane, changes)?;
        // After the changes: what is counted then is of servers that get no new connections any more.
        if self.control.wants_statistics() && self.count_at <= now {
            self.count_at = now + self.periods.count;
            let statistics = plane.statistics()?;
            self.control.handle_statistics(&statistics, now);
            let changes = self.control.take_changes();
            self.make(plane, changes)?;
        }
        if (look || std::mem::take(&mut self.sync_due))
            && let Some(refused) = self.sync.settle(plane)?
        {
            (self.tell)(Notice::SyncRefused(refused));
        }
        Ok(())
    }

    /// Services first: where one is refused, its servers are not asked for.
    fn make(&mut self, plane: &mut P, changes: Vec<Change>) -> Result<(), PlaneError> {
        let now = Instant::now();
        let (services, rest) = self.refusals.sift(changes, &mut self.control, now);
        let refused = self.ask(plane, &services, now)?;
        let rest = Refusals::without_refused(rest, &refused, &mut self.control);
        self.ask(plane, &rest, now).map(drop)
    }

    fn ask(
        &mut self,
        plane: &mut P,
        changes: &[Change],
        now: Instant,
    ) -> Result<BTreeSet<ServiceId>, PlaneError> {
        if changes.is_empty() {
            return Ok(BTreeSet::new());
        }
        let refusals = plane.apply(changes)?;
        let (news, services) = self.refusals.take(changes, refusals, &mut self.control, now);
        news.into_iter().for_each(|refusal| (self.tell)(Notice::Refused(refusal)));
        Ok(services)
    }

    /// What is not given is what it was before us.
    fn settle_timeouts(&mut self, plane: &mut P) -> Result<(), PlaneError> {
        if self.old_timeouts.is_none() && self.timeouts == Timeouts::default() {
            return Ok(());
        }
        let now = plane.timeouts()?;
        let old = *self.old_timeouts.get_or_insert(now);
        let wanted = Timeouts {
            tcp: self.timeouts.tcp.or(old.tcp),
            tcp_fin: self.timeouts.tcp_fin.or(old.tcp_fin),
            udp: self.timeouts.udp.or(old.udp),
        };
        let refused = match if now == wanted { Ok(()) } else { plane.set_timeouts(wanted) } {
            Ok(()) => None,
            // A wish that cannot be met keeps nothing from being forwarded.
            Err(error @ PlaneError::Refused { .. }) => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        if let Some(why) = &refused
            && self.timeouts_refused != refused
        {
            (self.tell)(Notice::TimeoutsRefused(why.clone()));
        }
        self.timeouts_refused = refused;
        Ok(())
    }

    fn stop(&mut self, farewell: Farewell) {
        // What was told last counts: it may be what is kept.
        self.turn();
        let Some(mut plane) = self.plane.take() else { return };
        self.sync.want(&[]);
        self.timeouts = Timeouts::default();
        let removed = self.control.removals();
        let done = match farewell {
            Farewell::Keep => Ok(()),
            Farewell::Remove => plane.apply(&removed).map(drop).and(self.settle_timeouts(&mut plane)),
            Farewell::Flush => plane.flush().and(self.settle_timeouts(&mut plane)),
        };
        if let Err(error) = done.and(self.sync.settle(&mut plane).map(drop)) {
            (self.tell)(Notice::PlaneFailed(error));
        }
    }
}

#[cfg(test)]
mod tests;
