//! BACKUP: waiting for a master to fall silent (RFC 9568 §6.4.2).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Heard, KnownMaster, Role, VirtualRouter};
use crate::action::{Action, Outbox, Signal};
use crate::identity::Priority;
use crate::settings::Preempt;
use crate::transition::{Cause, PriorityCause};

#[derive(Clone, Debug)]
pub(super) struct Backup {
    pub(super) master_down: Instant,
    /// When the wait that ends at `master_down` began.
    pub(super) waiting_since: Instant,
    pub(super) master: Option<KnownMaster>,
    /// A living master of lower priority whose advertisements we discard.
    pub(super) lower: Option<(IpAddr, Priority)>,
    pub(super) resigned: Option<IpAddr>,
    /// End of the `preempt_delay` that the first lower advertisement started.
    pub(super) preempt_at: Option<Instant>,
    /// How often the expired timer has been given another look; reset by any advertisement.
    pub(super) looks: u8,
    /// The down timer has expired and the rest of the sync group has not followed yet.
    pub(super) wants_master: Option<Cause>,
}

/// A router that sleeps through its looks time after time is still better than none.
const LOOKS: u8 = 3;

impl VirtualRouter {
    pub(super) fn enter_backup(
        &mut self,
        now: Instant,
        cause: Cause,
        master: Option<KnownMaster>,
        wait: Duration,
        out: &mut Outbox,
    ) {
        let role = Role::Backup(Backup {
            master_down: now + wait,
            waiting_since: now,
            master,
            lower: None,
            resigned: None,
            preempt_at: None,
            looks: 0,
            wants_master: None,
        });
        self.change(role, now, cause, out);
    }

    pub(super) fn master_down_expired(&mut self, now: Instant, out: &mut Outbox) {
        let (interval, skew) = (self.master_interval, self.skew());
        let ours = self.priority();
        let Role::Backup(b) = &mut self.role else { return };
        let lateness = now.saturating_duration_since(b.master_down);
        // Whoever slept through a whole advertisement may have slept through the master's: the sockets are
        // drained before we come here, but a frozen machine receives nothing. Listen once more, then act.
        if lateness >= interval && b.looks < LOOKS && b.wants_master.is_none() {
            b.looks += 1;
            b.master_down = now + interval + skew;
            self.statistics.stalls += 1;
            out.push(Action::Stalled { router: self.id, lateness });
            return;
        }
        let cause = match (b.resigned, b.lower) {
            (Some(master), _) => Cause::MasterResigned { master },
            (None, Some((master, priority))) => Cause::Preempted { master, priority, ours },
            (None, None) => Cause::MasterDown {
                master: b.master.map(|m| m.address),
                silent_for: b.master.map(|m| now.saturating_duration_since(m.heard)),
                waited: now.saturating_duration_since(b.waiting_since),
            },
        };
        self.want_master(now, cause, out);
    }

    pub(super) fn want_master(&mut self, now: Instant, cause: Cause, out: &mut Outbox) {
        if !self.in_group {
            self.enter_master(now, cause, out);
            return;
        }
        let again = now + self.down_time();
        if let Role::Backup(b) = &mut self.role {
            // Held back by the others, a member asks again after one more down time.
            b.master_down = again;
            b.wants_master = Some(cause);
            out.signal(Signal::WantsMaster(self.id));
        }
    }

    /// The cause, while the down timer has expired and the group holds this member back.
    pub(crate) fn wants_master(&self) -> Option<&Cause> {
        match &self.role {
            Role::Backup(b) => b.wants_master.as_ref(),
            _ => None,
        }
    }

    /// The group that held this member back holds it no more.
    pub(crate) fn leave_group_behind(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(cause) = self.wants_master().cloned() {
            self.enter_master(now, cause, out);
        }
    }

    pub(super) fn heard_as_backup(&mut self, heard: &Heard, now: Instant, out: &mut Outbox) {
        let ours = self.priority();
        let skew = self.skew();
        let preempt = self.settings.preempt;
        let Role::Backup(b) = &mut self.role else { return };
        if heard.priority == Priority::STOP {
            let expected = b.master.is_none_or(|m| m.address == heard.from)
                || b.lower.is_some_and(|(address, _)| address == heard.from);
            // A third router that resigns says nothing about the master we hear.
            if expected && b.wants_master.is_none() {
                b.resigned = Some(heard.from);
                b.waiting_since = now;
                // RFC 9568 §6.4.2. A resignation that is repeated does not put the takeover off.
                b.master_down = b.master_down.min(now + skew);
            }
            return;
        }
        let tolerated = heard.priority >= ours
            || match preempt {
                Preempt::Yes => false,
                Preempt::No => true,
                Preempt::After(delay) => now < *b.preempt_at.get_or_insert(now + delay),
            };
        if !tolerated {
            b.lower = Some((heard.from, heard.priority));
            return;
        }
        if heard.priority >= ours {
            b.preempt_at = None;
        }
        b.lower = None;
        b.resigned = None;
        b.looks = 0;
        b.wants_master = None;
        b.master = Some(KnownMaster { address: heard.from, priority: heard.priority, heard: now });
        b.waiting_since = now;
        self.master_interval = heard.interval;
        let deadline = now + self.down_time();
        if let Role::Backup(b) = &mut self.role {
            b.master_down = deadline;
        }
        if self.in_group {
            out.signal(Signal::FollowsMaster(self.id));
        }
    }

    pub(super) fn priority_changed(
        &mut self,
        before: Priority,
        wait_before: Duration,
        why: &PriorityCause,
        now: Instant,
        out: &mut Outbox,
    ) {
        let wait_after = self.down_time();
        if let Role::Backup(b) = &mut self.role
            && wait_before != wait_after
            && b.resigned.is_none()
            && b.wants_master.is_none()
        {
            // The running wait is shifted, not restarted.
            let shifted = (b.master_down + wait_after).checked_sub(wait_before);
            // A wait that is over by the new reckoning ends now: it is not late.
            b.master_down = shifted.map_or(now, |at| at.max(b.master_down.min(now)));
        }
        if before != self.priority() && !self.has_ended() {
            let (priority, cause) = (self.priority(), why.clone());
            out.push(Action::PriorityChanged { router: self.id, from: before, priority, cause });
        }
    }
}
