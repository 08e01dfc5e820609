//! MASTER: advertising, and dealing with others that claim the same (RFC 9568 §6.4.3).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::hold::Holding;
use super::{Heard, KnownMaster, Role, VirtualRouter};
use crate::action::{Action, ContentionSign, Outbox, Signal};
use crate::identity::Priority;
use crate::settings::Preempt;
use crate::timing;
use crate::transition::Cause;

#[derive(Clone, Debug)]
pub(super) struct Master {
    pub(super) next_advert: Instant,
    pub(super) last_sent: Instant,
    /// Set after our own stall: we keep silent until `next_advert` to hear who took over meanwhile.
    pub(super) listening: bool,
    pub(super) second_burst: Option<(Instant, u32)>,
    pub(super) refresh: Option<Instant>,
    pub(super) renew_lease: Option<Instant>,
    /// End of the running episode of contention, in which the ownership hook is not run again.
    pub(super) contended_until: Option<Instant>,
    /// Earliest next announcement because of a foreign claim.
    pub(super) next_repair: Option<Instant>,
    /// Earliest next restoration of deleted items.
    pub(super) next_restoration: Option<Instant>,
    /// What was deleted before that: the last of it.
    pub(super) to_restore: Option<Arc<str>>,
}

/// Somebody who deletes our addresses as soon as they are there must not keep netlink and the log busy.
const BETWEEN_RESTORATIONS: Duration = Duration::from_millis(100);

/// Another owner, which should have yielded to us.
#[derive(Clone, Copy, Debug)]
pub(super) struct OtherOwner {
    tolerated_until: Instant,
    heard: Instant,
}

impl Master {
    /// When the state machine wants to be called next.
    pub(super) fn deadline(&self) -> Instant {
        if self.listening {
            return self.next_advert;
        }
        let restoration = self.to_restore.is_some().then_some(self.next_restoration).flatten();
        [self.second_burst.map(|(at, _)| at), self.refresh, self.renew_lease, restoration]
            .into_iter()
            .flatten()
            .fold(self.next_advert, Instant::min)
    }
}

impl VirtualRouter {
    /// Enters MASTER: advertisement first, so that a rival yields before our addresses appear; then addresses,
    /// then announcements.
    pub(crate) fn enter_master(&mut self, now: Instant, cause: Cause, out: &mut Outbox) {
        let garp = self.settings.garp;
        self.hold = None;
        self.other_owner = None;
        self.send(now, out);
        out.push(Action::Install { router: self.id });
        out.push(Action::Announce { router: self.id, repeat: garp.repeat });
        let second_burst = (!garp.delay.is_zero()).then(|| (now + garp.delay, garp.repeat));
        let refresh = (!garp.refresh.is_zero()).then(|| now + garp.delay + garp.refresh);
        let role = Role::Master(Master {
            next_advert: now + self.settings.advert_interval,
            last_sent: now,
            listening: false,
            second_burst,
            refresh,
            renew_lease: self.settings.vip_lease.map(|lease| now + lease / 3),
            contended_until: None,
            next_repair: None,
            next_restoration: None,
            to_restore: None,
        });
        self.master_interval = self.settings.advert_interval;
        self.statistics.became_master += 1;
        self.change(role, now, cause, out);
    }

    pub(super) fn master_timers(&mut self, now: Instant, out: &mut Outbox) {
        let interval = self.settings.advert_interval;
        let slack = self.advert_slack();
        let overslept = self.overslept(now);
        let Role::Master(m) = &mut self.role else { return };
        if overslept {
            let lateness = now.saturating_duration_since(m.next_advert);
            self.statistics.stalls += 1;
            if self.settings.timer_expired_backup.is_some() {
                self.step_down(Cause::Stalled { lateness }, None, now, out);
                return;
            }
            // A peer may have taken over while we did not run: its advertisement comes within one interval.
            m.listening = true;
            m.next_advert = now + interval + interval / 4;
            out.push(Action::Stalled { router: self.id, lateness });
            return;
        }
        let due = m.next_advert <= now + slack;
        if m.listening {
            if !due {
                return;
            }
            self.stop_listening(out);
            self.contention(ContentionSign::OwnStall, now, out);
        }
        self.upkeep(now, out);
        if due {
            self.send(now, out);
        }
    }

    /// Whether we have been silent for so long at `now` that a peer may have become master.
    pub(super) fn overslept(&self, now: Instant) -> bool {
        let Role::Master(m) = &self.role else { return false };
        let s = &self.settings;
        let peer = s.timer_expired_backup.unwrap_or(Priority::new(254));
        let takeover = timing::master_down(s.version, peer, s.advert_interval, s.down_timer_adverts);
        now > m.next_advert + takeover.saturating_sub(s.advert_interval)
    }

    /// We speak as master again. The lease may have run out meanwhile.
    fn stop_listening(&mut self, out: &mut Outbox) {
        if let Role::Master(m) = &mut self.role
            && std::mem::take(&mut m.listening)
        {
            out.push(Action::Install { router: self.id });
        }
    }

    /// Announcements and leases that are due.
    fn upkeep(&mut self, now: Instant, out: &mut Outbox) {
        let (id, garp, lease) = (self.id, self.settings.garp, self.settings.vip_lease);
        let Role::Master(m) = &mut self.role else { return };
        if let Some((_, repeat)) = m.second_burst.take_if(|(at, _)| *at <= now) {
            out.push(Action::Announce { router: id, repeat });
        }
        if m.refresh.is_some_and(|at| at <= now) {
            m.refresh = Some(now + garp.refresh);
            out.push(Action::Announce { router: id, repeat: garp.refresh_repeat });
        }
        if let (Some(at), Some(lease)) = (m.renew_lease, lease)
            && at <= now
        {
            m.renew_lease = Some(now + lease / 3);
            out.push(Action::RenewLease { router: id });
        }
        if m.next_restoration.is_some_and(|at| at <= now)
            && let Some(item) = m.to_restore.take()
        {
            self.restore(item, now, out);
        }
    }

    /// Sends an advertisement and restarts the advertisement timer.
    pub(super) fn send(&mut self, now: Instant, out: &mut Outbox) {
        if let Role::Master(m) = &mut self.role {
            m.next_advert = now + self.settings.advert_interval;
            m.last_sent = now;
        }
        if !self.send_queued {
            self.send_queued = true;
            out.push(Action::Send { router: self.id, priority: self.priority() });
        }
    }

    /// Called when the driver has taken the `Send` out of the queue.
    pub(crate) fn send_taken(&mut self) {
        self.send_queued = false;
        self.statistics.advertisements_sent += 1;
    }

    pub(super) fn resign(&mut self, out: &mut Outbox) {
        self.statistics.priority_zero_sent += 1;
        out.push(Action::Send { router: self.id, priority: Priority::STOP });
    }

    pub(super) fn heard_as_master(&mut self, heard: &Heard, now: Instant, out: &mut Outbox) {
        let ours = self.priority();
        if heard.priority == Priority::STOP {
            self.answer_resignation(heard, now, out);
            return;
        }
        if self.settings.priority.is_owner() && heard.priority.is_owner() {
            self.heard_other_owner(heard, now, out);
            return;
        }
        if heard.priority > ours || (heard.priority == ours && self.has_higher_address(heard.from)) {
            self.yield_to(heard, now, out);
            return;
        }
        let Role::Master(m) = &self.role else { return };
        if self.settings.preempt == Preempt::No && (m.listening || self.overslept(now)) {
            // It took over while we did not run, and `nopreempt` leaves a living master in place.
            let due = m.last_sent + self.settings.advert_interval;
            let lateness = now.saturating_duration_since(due);
            self.step_down(Cause::Stalled { lateness }, Some(heard), now, out);
            return;
        }
        self.answer_lower(heard, now, out);
    }

    /// Who resigns has been master, and has announced our addresses as its own.
    fn answer_resignation(&mut self, heard: &Heard, now: Instant, out: &mut Outbox) {
        self.stop_listening(out);
        // RFC 9568 §6.4.3: priority 0 is answered at once.
        self.send(now, out);
        let sign = ContentionSign::Advertisement { from: heard.from, priority: heard.priority };
        self.contention(sign, now, out);
        self.announce_again(now, self.settings.garp.lower_prio_repeat, Duration::ZERO, out);
    }

    fn answer_lower(&mut self, heard: &Heard, now: Instant, out: &mut Outbox) {
        let garp = self.settings.garp;
        let id = self.id;
        if !self.settings.lower_prio_no_advert {
            self.stop_listening(out);
            self.send(now, out);
        }
        out.push(Action::LowerPriorityHeard { router: id, from: heard.from, priority: heard.priority });
        let sign = ContentionSign::Advertisement { from: heard.from, priority: heard.priority };
        self.contention(sign, now, out);
        self.announce_again(now, garp.lower_prio_repeat, garp.lower_prio_delay, out);
        if self.in_group {
            out.signal(Signal::AnnounceGroup(id));
        }
    }

    /// A burst now and a second one later: after hearing a lower priority master, here or in the group.
    pub(crate) fn announce_again(&mut self, now: Instant, repeat: u32, delay: Duration, out: &mut Outbox) {
        let Role::Master(m) = &mut self.role else { return };
        if repeat == 0 || m.listening {
            return;
        }
        out.push(Action::Announce { router: self.id, repeat });
        if !delay.is_zero() {
            m.second_burst = Some((now + delay, repeat));
        }
    }

    /// Two owners cannot both be right: the one with the lower address yields. Should the other persist although
    /// its address is lower, we yield after two intervals of ours and 1.2 of the longer one.
    fn heard_other_owner(&mut self, heard: &Heard, now: Instant, out: &mut Outbox) {
        if self.has_higher_address(heard.from) {
            self.yield_to(heard, now, out);
            return;
        }
        let interval = self.settings.advert_interval;
        let longer = interval.max(heard.interval);
        let tolerated_until = self
            .other_owner
            // One that was silent for a down time has gone in between.
            .filter(|other| now.saturating_duration_since(other.heard) <= longer * 3)
            .map_or(now + interval * 2 + longer * 6 / 5, |other| other.tolerated_until);
        if tolerated_until <= now {
            self.step_down(Cause::OwnerConflict { from: heard.from }, Some(heard), now, out);
        } else {
            self.other_owner = Some(OtherOwner { tolerated_until, heard: now });
            self.answer_lower(heard, now, out);
        }
    }

    fn yield_to(&mut self, heard: &Heard, now: Instant, out: &mut Outbox) {
        let (from, priority, ours) = (heard.from, heard.priority, self.priority());
        let cause = match self.source {
            Some(source) if priority == ours => Cause::HigherAddress { from, priority, ours: source },
            _ => Cause::HigherPriority { from, priority, ours, burdens: self.burdens.clone() },
        };
        self.step_down(cause, Some(heard), now, out);
    }

    /// Leaves the addresses to another master: the one that was `heard`, or one that has to be there.
    fn step_down(&mut self, cause: Cause, heard: Option<&Heard>, now: Instant, out: &mut Outbox) {
        let priority = self.priority();
        self.leave_master(out);
        if heard.is_some() && self.settings.higher_prio_send_advert {
            out.push(Action::Send { router: self.id, priority });
        }
        if matches!(cause, Cause::HigherPriority { .. }) {
            self.hold_while_successor_installs(now, out);
        } else {
            self.end_hold(out);
        }
        self.master_interval = heard.map_or(self.settings.advert_interval, |h| h.interval);
        let master = heard.map(|h| KnownMaster { address: h.from, priority: h.priority, heard: now });
        let wait = self.down_time();
        if self.in_group {
            out.signal(Signal::Yielded(self.id, cause.clone()));
        }
        self.enter_backup(now, cause, master, wait, out);
    }

    /// Gives the addresses back to the election: the sync group cannot be master as a whole.
    pub(crate) fn resign_to_backup(&mut self, now: Instant, cause: Cause, out: &mut Outbox) {
        if matches!(self.role, Role::Master(_)) {
            self.resign(out);
            self.follow_to_backup(now, cause, Holding::Allowed, out);
        }
    }

    /// Another member of the sync group yielded: follow without priority 0, keeping the addresses until the
    /// successor is heard here too.
    pub(crate) fn follow_to_backup(
        &mut self,
        now: Instant,
        cause: Cause,
        holding: Holding,
        out: &mut Outbox,
    ) {
        if !matches!(self.role, Role::Master(_)) {
            return;
        }
        self.leave_master(out);
        self.hold_or_withdraw(now, holding, out);
        self.master_interval = self.settings.advert_interval;
        let wait = self.down_time();
        self.enter_backup(now, cause, None, wait, out);
    }

    /// Somebody else's gratuitous ARP or unsolicited NA for one of our addresses.
    pub(crate) fn handle_claim(&mut self, address: IpAddr, mac: [u8; 6], now: Instant, out: &mut Outbox) {
        if self.hold.is_some() {
            self.heard_claim_of_held(address, out);
            return;
        }
        let repeat = self.settings.garp.lower_prio_repeat.max(1);
        let pause = self.settings.advert_interval.max(Duration::from_secs(1));
        let Role::Master(m) = &mut self.role else { return };
        // Two hosts that both insist must not drown the segment; and after a stall we listen before we claim.
        if m.listening || m.next_repair.is_some_and(|at| now < at) {
            return;
        }
        m.next_repair = Some(now + pause);
        self.contention(ContentionSign::Claim { address, mac }, now, out);
        self.announce_again(now, repeat, Duration::ZERO, out);
    }

    /// One of our addresses, routes or rules was deleted by somebody else: put it back and say so.
    pub(crate) fn handle_item_lost(&mut self, item: &Arc<str>, now: Instant, out: &mut Outbox) {
        let Role::Master(m) = &mut self.role else { return };
        // After a stall it comes back when we speak again.
        if m.listening {
            return;
        }
        if m.next_restoration.is_some_and(|at| now < at) {
            m.to_restore = Some(Arc::clone(item));
            return;
        }
        self.restore(Arc::clone(item), now, out);
    }

    fn restore(&mut self, item: Arc<str>, now: Instant, out: &mut Outbox) {
        if let Role::Master(m) = &mut self.role {
            m.next_restoration = Some(now + BETWEEN_RESTORATIONS);
        }
        out.push(Action::Install { router: self.id });
        out.push(Action::ItemRestored { router: self.id, item });
        self.announce_again(now, self.settings.garp.repeat, Duration::ZERO, out);
    }

    pub(super) fn contention(&mut self, sign: ContentionSign, now: Instant, out: &mut Outbox) {
        let quiet = self.own_down_time();
        let repeat = self.settings.garp.lower_prio_repeat.max(1);
        let Role::Master(m) = &mut self.role else { return };
        let new_episode = m.contended_until.is_none_or(|until| until <= now);
        m.contended_until = Some(now + quiet);
        if sign == ContentionSign::OwnStall {
            out.push(Action::Announce { router: self.id, repeat });
        }
        if new_episode {
            self.statistics.contentions += 1;
            out.push(Action::Contention { router: self.id, sign });
        }
    }

    pub(super) fn leave_master(&mut self, out: &mut Outbox) {
        self.statistics.released_master += 1;
        if self.send_queued {
            out.cancel_send(self.id);
            self.send_queued = false;
        }
    }

    /// RFC 9568 §6.4.3: addresses compare as unsigned integers in network order.
    fn has_higher_address(&self, theirs: IpAddr) -> bool {
        match (theirs, self.source) {
            (IpAddr::V4(theirs), Some(IpAddr::V4(ours))) => theirs > ours,
            (IpAddr::V6(theirs), Some(IpAddr::V6(ours))) => theirs > ours,
            (IpAddr::V4(_), Some(IpAddr::V6(_)) | None) | (IpAddr::V6(_), Some(IpAddr::V4(_)) | None) => {
                false
            }
        }
    }
}
