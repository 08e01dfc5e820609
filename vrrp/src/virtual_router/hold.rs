//! Make before break: addresses kept for a successor.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Role, VirtualRouter};
use crate::action::{Action, Outbox};
use crate::identity::Priority;
use crate::settings::Transport;
use crate::timing;

/// A successor that has spoken has its addresses in place and announced within this time.
const INSTALLATION: Duration = Duration::from_secs(1);

/// Addresses that a router keeps although it is not master any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    /// What arrived earlier was sent by a rival, not by a successor.
    pub(super) since: Instant,
    pub(super) until: Instant,
    /// A hold may outlast a lease.
    renew_lease: Option<Instant>,
    /// The priority with which we yielded. A successor that has not announced the addresses by the end of the hold
    /// has been master all along, beyond a partition, and does not know that the neighbours were told otherwise: an
    /// advertisement of this priority makes it announce them again.
    remind: Option<Priority>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    Allowed,
    Refused,
}

impl Hold {
    pub(super) fn deadline(&self) -> Instant {
        self.renew_lease.map_or(self.until, |at| at.min(self.until))
    }
}

impl VirtualRouter {
    /// The addresses stay until the successor has announced them, for at most the time in which it has to be heard
    /// (the longest skew and one interval).
    pub(super) fn hold_or_withdraw(&mut self, now: Instant, holding: Holding, out: &mut Outbox) {
        // After a stall they may be somebody else's already.
        let uncertain = matches!(&self.role, Role::Master(m) if m.listening) || self.overslept(now);
        if holding == Holding::Refused || uncertain || !self.settings.make_before_break {
            self.end_hold(out);
            return;
        }
        let interval = self.settings.advert_interval;
        let longest_skew = timing::skew(self.settings.version, Priority::new(1), interval);
        let until = now + longest_skew + interval;
        self.hold = Some(Hold { since: now, until, renew_lease: None, remind: None });
        self.renew_held_lease(now, out);
    }

    /// The successor speaks before it has the addresses, and the neighbours go on sending to us until it announces
    /// them. Where its announcement is not heard, it gets one interval; none where it speaks with our own MAC, which
    /// a switch has already learnt to be elsewhere and must not be taught back.
    pub(super) fn heard_successor(&mut self, heard: Instant, out: &mut Outbox) {
        let bound = heard + self.settings.advert_interval.min(INSTALLATION);
        let Some(hold) = self.hold.as_mut().filter(|hold| hold.since <= heard) else { return };
        hold.until = hold.until.min(bound);
        if self.settings.last_announced.is_none() {
            self.end_hold(out);
        }
    }

    /// Yields to a router that has just become master because it is better: the addresses stay until it has
    /// announced them. Nothing is held where a second owner was known before, or where we had not run.
    pub(super) fn hold_while_successor_installs(&mut self, now: Instant, out: &mut Outbox) {
        let contended =
            matches!(&self.role, Role::Master(m) if m.contended_until.is_some_and(|until| now < until));
        let remind = matches!(self.settings.transport, Transport::Multicast { .. }).then(|| self.priority());
        self.hold_or_withdraw(now, if contended { Holding::Refused } else { Holding::Allowed }, out);
        self.heard_successor(now, out);
        if let Some(hold) = &mut self.hold {
            hold.remind = remind;
        }
    }

    /// Somebody announced an address that we hold. The last one ends the hold: successors announce them in order.
    pub(super) fn heard_claim_of_held(&mut self, address: IpAddr, out: &mut Outbox) {
        if self.settings.last_announced == Some(address) {
            self.end_hold(out);
        }
    }

    /// Ends a hold that is over, and keeps the lease of one that is not.
    pub(super) fn hold_timers(&mut self, now: Instant, out: &mut Outbox) {
        let Some(hold) = self.hold else { return };
        if hold.until <= now {
            self.end_hold(out);
            // Only what is certain to lose against the master may be said without being master.
            if let (Some(priority), Role::Backup(backup)) = (hold.remind, &self.role)
                && backup.resigned.is_none()
                && backup.master.is_some_and(|master| master.priority > priority)
            {
                out.push(Action::Send { router: self.id, priority });
            }
        } else if hold.renew_lease.is_some_and(|at| at <= now) {
            self.renew_held_lease(now, out);
        }
    }

    fn renew_held_lease(&mut self, now: Instant, out: &mut Outbox) {
        let Some(hold) = &mut self.hold else { return };
        // A reload may have taken the lease away meanwhile.
        hold.renew_lease = self.settings.vip_lease.map(|lease| now + lease / 3);
        if hold.renew_lease.is_some() {
            out.push(Action::RenewLease { router: self.id });
        }
    }

    pub(super) fn end_hold(&mut self, out: &mut Outbox) {
        self.hold = None;
        out.push(Action::Withdraw { router: self.id });
    }
}
