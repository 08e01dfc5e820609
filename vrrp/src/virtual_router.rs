//! One virtual router: the state machine of RFC 9568 §6.4 with keepalived's rules where the two differ, and
//! Buoy's own where they keep the wire protocol.
//!
//! A value without I/O. Time comes in with every call; what is to be done leaves through an [`Outbox`].
//! [`crate::Election`] owns all routers of a host and is what a driver talks to.
//!
//! ```text
//!               start                     master down, owner
//!   INIT ------------------> BACKUP ------------------------------> MASTER
//!    |                       ^   |  <------------------------------   |
//!    |  fault          clear |   | fault   higher priority heard      | fault
//!    +------------> FAULT ---+ <-+------------------------------------+
//! ```
//!
//! Beside the state, a router may be *holding*: it has resigned in good order but keeps the addresses until its
//! successor is heard or a bound has passed (make before break).

mod backup;
mod hold;
mod master;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::action::{Action, Outbox, RouterId, Signal};
use crate::identity::Priority;
use crate::settings::{RouterSettings, StartState};
use crate::timing;
use crate::transition::{Burden, Cause, FaultCause, PriorityCause, State, Subject, Transition};

use backup::Backup;
use hold::Hold;
pub(crate) use hold::Holding;
use master::{Master, OtherOwner};

/// A valid advertisement, reduced to what the election looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub from: IpAddr,
    pub priority: Priority,
    /// The sender's interval; never zero.
    pub interval: Duration,
}

/// Counters of one router since it was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    pub advertisements_received: u64,
    pub advertisements_sent: u64,
    pub became_master: u64,
    pub released_master: u64,
    pub priority_zero_received: u64,
    pub priority_zero_sent: u64,
    /// Times a second owner of the addresses was noticed while master.
    pub contentions: u64,
    /// Times an expired timer was given a second look because this process itself had not run.
    pub stalls: u64,
}

/// The master that a backup last accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownMaster {
    pub address: IpAddr,
    pub priority: Priority,
    pub heard: Instant,
}

#[derive(Clone, Debug)]
enum Role {
    /// Configured, not started.
    Created,
    /// The start delay runs.
    Delayed {
        until: Instant,
    },
    /// Only first results of trackers are missing: no fault that anybody should be alerted of.
    Pending,
    Backup(Backup),
    Master(Master),
    Fault,
    /// Stopped or removed; only the hold may still run.
    Ended(State),
}

/// One virtual router on this host.
#[derive(Clone, Debug)]
pub struct VirtualRouter {
    id: RouterId,
    settings: RouterSettings,
    in_group: bool,
    source: Option<IpAddr>,
    adjustment: i32,
    /// What keeps the priority down.
    burdens: Vec<Burden>,
    other_owner: Option<OtherOwner>,
    faults: Vec<FaultCause>,
    role: Role,
    since: Instant,
    /// Why the present state was entered.
    cause: Cause,
    hold: Option<Hold>,
    /// Interval of the last accepted master (v3); our own otherwise.
    master_interval: Duration,
    send_queued: bool,
    statistics: Statistics,
}

impl VirtualRouter {
    pub(crate) fn new(id: RouterId, settings: RouterSettings, now: Instant) -> Self {
        let master_interval = settings.advert_interval;
        Self {
            id,
            settings,
            in_group: false,
            source: None,
            adjustment: 0,
            burdens: Vec::new(),
            other_owner: None,
            faults: Vec::new(),
            role: Role::Created,
            since: now,
            cause: Cause::Started,
            hold: None,
            master_interval,
            send_queued: false,
            statistics: Statistics::default(),
        }
    }

    pub fn settings(&self) -> &RouterSettings {
        &self.settings
    }

    pub fn state(&self) -> State {
        match self.role {
            Role::Created | Role::Delayed { .. } | Role::Pending => State::Init,
            Role::Backup(_) => State::Backup,
            Role::Master(_) => State::Master,
            Role::Fault => State::Fault,
            Role::Ended(state) => state,
        }
    }

    /// When the present state was entered.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Why the present state was entered.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// Base priority plus trackers.
    pub fn priority(&self) -> Priority {
        self.settings.priority.adjusted(self.adjustment)
    }

    /// The address we send from.
    pub fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// Conditions that keep the router from running, in order of arrival.
    pub fn faults(&self) -> &[FaultCause] {
        &self.faults
    }

    pub fn known_master(&self) -> Option<KnownMaster> {
        match &self.role {
            Role::Backup(b) => b.master,
            _ => None,
        }
    }

    /// Interval on which the master-down time is based now.
    pub fn master_interval(&self) -> Duration {
        self.master_interval
    }

    /// Whether the addresses are ours: as master, or held for the successor.
    pub fn holds_addresses(&self) -> bool {
        matches!(self.role, Role::Master(_)) || self.hold.is_some()
    }

    pub(crate) fn clear_statistics(&mut self) {
        self.statistics = Statistics::default();
    }

    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// When the state machine wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = match &self.role {
            Role::Delayed { until } => Some(*until),
            Role::Backup(b) => Some(b.master_down),
            Role::Master(m) => Some(m.deadline()),
            Role::Created | Role::Pending | Role::Fault | Role::Ended(_) => None,
        };
        own.into_iter().chain(self.hold.as_ref().map(Hold::deadline)).min()
    }

    /// Whether the wake-up armed for `at` may be taken at `now` already: an advertisement that is nearly due.
    pub(crate) fn may_fire_early(&self, at: Instant, now: Instant) -> bool {
        match &self.role {
            Role::Master(m) => at == m.next_advert && !m.listening && at <= now + self.advert_slack(),
            _ => false,
        }
    }

    pub(crate) fn id(&self) -> RouterId {
        self.id
    }

    /// How much earlier than its time an advertisement may go out to share a wake-up with others. A shift, not a
    /// drift: the interval counts from the sending.
    fn advert_slack(&self) -> Duration {
        self.settings.advert_interval / 64
    }

    pub(crate) fn set_in_group(&mut self, in_group: bool) {
        self.in_group = in_group;
    }

    /// Leaves INIT now, or at the end of a start delay.
    pub(crate) fn start(&mut self, now: Instant, delay: Duration, out: &mut Outbox) {
        if !matches!(self.role, Role::Created) {
            return;
        }
        if delay.is_zero() {
            self.run(now, Cause::Started, out);
        } else {
            self.role = Role::Delayed { until: now + delay };
        }
    }

    /// From INIT or FAULT to the state that the faults and the priority call for.
    fn run(&mut self, now: Instant, cause: Cause, out: &mut Outbox) {
        if let Some(fault) = self.faults.iter().find(|f| !f.is_pending()) {
            let cause = Cause::Fault(fault.clone());
            self.enter_fault(now, cause, out);
            return;
        }
        if !self.faults.is_empty() {
            self.role = Role::Pending;
            return;
        }
        let restarted = !matches!(cause, Cause::Started);
        let wants_at_once = self.settings.priority.is_owner()
            && (self.settings.start == StartState::Master || restarted)
            && self.priority().is_owner();
        self.master_interval = self.settings.advert_interval;
        let mut wait = self.down_time();
        if self.in_group && self.settings.start == StartState::Master && !restarted {
            // keepalived: the preferred master of a group waits one interval and 1/256 at start.
            wait = self.settings.advert_interval + self.settings.advert_interval / 256;
        }
        if wants_at_once {
            wait = Duration::ZERO;
        }
        self.enter_backup(now, cause, None, wait, out);
        if wants_at_once {
            self.want_master(now, Cause::Owner, out);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        match &self.role {
            Role::Delayed { until } if *until <= now => self.run(now, Cause::Started, out),
            Role::Backup(b) if b.master_down <= now => self.master_down_expired(now, out),
            Role::Master(_) => self.master_timers(now, out),
            Role::Created
            | Role::Delayed { .. }
            | Role::Pending
            | Role::Backup(_)
            | Role::Fault
            | Role::Ended(_) => {}
        }
        // After the role: a router that takes its addresses back must not give them up first.
        self.hold_timers(now, out);
    }

    /// A valid advertisement of this virtual router that arrived at `now`.
    pub(crate) fn handle_advertisement(&mut self, heard: &Heard, now: Instant, out: &mut Outbox) {
        self.statistics.advertisements_received += 1;
        if heard.priority == Priority::STOP {
            self.statistics.priority_zero_received += 1;
        } else {
            self.heard_successor(now, out);
        }
        match &self.role {
            Role::Backup(_) => self.heard_as_backup(heard, now, out),
            Role::Master(_) => self.heard_as_master(heard, now, out),
            // RFC 9568 §6.4.1: nothing is decided before start; in FAULT keepalived discards too.
            Role::Created | Role::Delayed { .. } | Role::Pending | Role::Fault | Role::Ended(_) => {}
        }
    }

    /// Adds or removes a condition that keeps the router from running.
    pub(crate) fn set_fault(&mut self, fault: FaultCause, present: bool, now: Instant, out: &mut Outbox) {
        let at = self.faults.iter().position(|f| f.same_condition(&fault));
        let cause = match (present, at) {
            (true, None) => {
                self.faults.push(fault.clone());
                Cause::Fault(fault)
            }
            (true, Some(at)) => {
                let Some(slot) = self.faults.get_mut(at) else { return };
                let old = std::mem::replace(slot, fault.clone());
                if old.is_pending() == fault.is_pending() {
                    return;
                }
                Cause::Fault(fault)
            }
            // What was recorded knows the evidence better than who clears it.
            (false, Some(at)) => Cause::FaultCleared(self.faults.remove(at)),
            (false, None) => return,
        };
        match &self.role {
            Role::Created | Role::Delayed { .. } => {}
            Role::Pending => self.run(now, Cause::Started, out),
            Role::Backup(_) | Role::Master(_) => {
                if self.faults.iter().any(|f| !f.is_pending()) {
                    self.enter_fault(now, cause, out);
                }
            }
            Role::Fault if self.faults.is_empty() => self.run(now, cause, out),
            Role::Fault | Role::Ended(_) => {
                if self.hold.is_some() && !still_reachable(&cause) {
                    self.end_hold(out);
                }
            }
        }
        if self.in_group {
            out.signal(Signal::FaultsChanged(self.id));
        }
    }

    fn enter_fault(&mut self, now: Instant, cause: Cause, out: &mut Outbox) {
        let reachable = still_reachable(&cause);
        if matches!(self.role, Role::Master(_)) {
            self.resign(out);
            self.leave_master(out);
            self.hold_or_withdraw(now, if reachable { Holding::Allowed } else { Holding::Refused }, out);
        } else if self.hold.is_some() && !reachable {
            self.end_hold(out);
        }
        self.master_interval = self.settings.advert_interval;
        self.change(Role::Fault, now, cause, out);
    }

    /// Orderly stop, or removal by a reload (`State::Deleted` or `State::Fault`, as configured).
    pub(crate) fn end(&mut self, state: State, cause: Cause, now: Instant, out: &mut Outbox) {
        if matches!(self.role, Role::Ended(_)) {
            return;
        }
        if matches!(self.role, Role::Master(_)) {
            self.resign(out);
            self.leave_master(out);
            self.hold_or_withdraw(now, Holding::Allowed, out);
        }
        self.change(Role::Ended(state), now, cause, out);
    }

    /// Gives up the addresses that are still held for a successor.
    pub(crate) fn abandon(&mut self, out: &mut Outbox) {
        if self.hold.is_some() {
            self.end_hold(out);
        }
    }

    /// Stopped or removed; perhaps still holding.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.role, Role::Ended(_))
    }

    /// Ended, and no address is held any more.
    pub(crate) fn is_finished(&self) -> bool {
        self.has_ended() && self.hold.is_none()
    }

    pub(crate) fn set_source(&mut self, source: Option<IpAddr>) {
        self.source = source;
    }

    /// The weighted trackers, taken together, because of `why`.
    pub(crate) fn set_adjustment(
        &mut self,
        adjustment: i32,
        burdens: Vec<Burden>,
        why: &PriorityCause,
        now: Instant,
        out: &mut Outbox,
    ) {
        let before = self.priority();
        let wait_before = self.down_time();
        self.adjustment = adjustment;
        self.burdens = burdens;
        self.priority_changed(before, wait_before, why, now, out);
    }

    /// New settings for the same virtual router. State, statistics and timers are kept.
    pub(crate) fn update(&mut self, settings: RouterSettings, now: Instant, out: &mut Outbox) {
        if settings == self.settings {
            return;
        }
        let before = self.priority();
        let wait_before = self.down_time();
        let added = settings.advertised.iter().any(|a| !self.settings.advertised.contains(a));
        let interval_changed = settings.advert_interval != self.settings.advert_interval;
        self.settings = settings;
        // A backup keeps to the interval of the master it hears.
        if matches!(self.role, Role::Master(_)) || (interval_changed && self.known_master().is_none()) {
            self.master_interval = self.settings.advert_interval;
        }
        let garp = self.settings.garp;
        let lease = self.settings.vip_lease;
        if let Role::Master(m) = &mut self.role {
            m.renew_lease = lease.map(|l| now + l / 3);
            m.refresh = (!garp.refresh.is_zero()).then(|| now + garp.refresh);
            // The timer sends it, unless it finds that we had not run: then we listen first.
            if !m.listening {
                m.next_advert = m.next_advert.min(now);
            }
            if added {
                self.announce_again(now, garp.repeat, garp.delay, out);
            }
        }
        self.priority_changed(before, wait_before, &PriorityCause::Reload, now, out);
    }

    fn change(&mut self, role: Role, now: Instant, cause: Cause, out: &mut Outbox) {
        let from = self.state();
        self.role = role;
        let to = self.state();
        if from == to {
            return;
        }
        let lasted = now.saturating_duration_since(self.since);
        self.since = now;
        self.cause = cause.clone();
        let subject = Subject::Instance(Arc::clone(&self.settings.name));
        if self.in_group {
            out.signal(Signal::StateChanged(self.id, to, cause.clone()));
        }
        let transition = Transition { subject, from, to, cause, priority: self.priority(), lasted };
        out.push(Action::Report { router: Some(self.id), transition });
    }

    fn skew(&self) -> Duration {
        timing::skew(self.settings.version, self.priority(), self.master_interval)
    }

    /// Master-down time for the master we follow.
    fn down_time(&self) -> Duration {
        let s = &self.settings;
        timing::master_down(s.version, self.priority(), self.master_interval, s.down_timer_adverts)
    }

    fn own_down_time(&self) -> Duration {
        let s = &self.settings;
        timing::master_down(s.version, self.priority(), s.advert_interval, s.down_timer_adverts)
    }
}

/// Whether what led to FAULT leaves the addresses reachable, so that they can be kept for a successor.
fn still_reachable(cause: &Cause) -> bool {
    !matches!(cause, Cause::Fault(fault) if !fault.address_still_reachable())
}
