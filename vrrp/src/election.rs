//! All virtual routers of a host, their sync groups, trackers and timers, as one value.
//!
//! A driver hands in what happens (`handle_*`, `observe`, `set_*`), with the time at which it happened, and
//! carries out what comes out of [`Election::poll_action`], in order. The calling order that the promises of this
//! crate rest on: on every wake-up, first everything that the sockets hold, in the order of kernel arrival; then
//! [`Election::handle_timeout`]; then the actions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::action::{Action, Outbox, RouterId, Signal};
use crate::identity::Priority;
use crate::settings::{GroupSettings, RouterSettings};
use crate::sync_group::SyncGroup;
use crate::tracking::{Effect, Observation, Reading, Target, Tracker};
use crate::transition::{Burden, Cause, FaultCause, PriorityCause, State, Subject, Transition};
use crate::virtual_router::{Heard, Holding, VirtualRouter};

#[derive(Debug, Default)]
pub struct Election {
    slots: Vec<Option<Slot>>,
    groups: Vec<SyncGroup>,
    observations: BTreeMap<Target, Observation>,
    /// Wake-ups, at least one at or before the next deadline of every router. An advertisement that moves a
    /// deadline back costs nothing here: the entry fires once in vain and is put where it belongs.
    timers: BinaryHeap<Reverse<(Instant, RouterId)>>,
    out: Outbox,
    started: Option<Start>,
}

#[derive(Debug)]
struct Slot {
    router: VirtualRouter,
    trackers: Vec<Tracker>,
    group: Option<usize>,
    /// The earliest entry in `timers`.
    armed: Option<Instant>,
    /// [`Action::Gone`] is on its way; until it is taken, the handle must not be given to another router.
    gone: bool,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    /// Routers that are added before this instant wait for it.
    not_before: Instant,
}

impl Election {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a virtual router. It stays in INIT until [`Election::start`]; once the election runs it starts when
    /// [`Election::start`] is called again.
    pub fn add_router(&mut self, settings: RouterSettings, trackers: Vec<Tracker>, now: Instant) -> RouterId {
        let index = self.slots.iter().position(Option::is_none).unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let id = RouterId(u32::try_from(index).unwrap_or(u32::MAX));
        let router = VirtualRouter::new(id, settings, now);
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(Slot { router, trackers, group: None, armed: None, gone: false });
        }
        self.apply_trackers(id, &PriorityCause::Reload, now);
        id
    }

    /// Starts every router that has not been started, `delay` after `now` at the earliest.
    pub fn start(&mut self, now: Instant, delay: Duration) {
        let start = *self.started.get_or_insert(Start { not_before: now + delay });
        let delay = start.not_before.saturating_duration_since(now);
        for id in self.ids() {
            self.with(id, |router, out| router.start(now, delay, out));
        }
        self.settle(now);
    }

    /// Gives a router new settings and trackers and keeps its state: the same virtual router after a reload.
    /// Equal settings do nothing at all.
    pub fn update_router(
        &mut self,
        id: RouterId,
        settings: RouterSettings,
        trackers: Vec<Tracker>,
        now: Instant,
    ) {
        self.with(id, |router, out| router.update(settings, now, out));
        let dropped: Vec<Tracker> = match self.slot_mut(id) {
            Some(slot) if slot.trackers != trackers => std::mem::replace(&mut slot.trackers, trackers),
            Some(_) | None => return self.settle(now),
        };
        for tracker in dropped {
            let still = self.slot(id).is_some_and(|s| s.trackers.iter().any(|t| t.target == tracker.target));
            if !still {
                let fault = FaultCause::TrackerPending { target: tracker.target };
                self.with(id, |router, out| router.set_fault(fault, false, now, out));
            }
        }
        self.apply_trackers(id, &PriorityCause::Reload, now);
        self.settle(now);
    }

    /// Removes a router: as master it says so and hands over. [`Action::Gone`] follows when it holds nothing any
    /// more.
    pub fn remove_router(&mut self, id: RouterId, now: Instant) {
        self.with(id, |router, out| router.end(State::Deleted, Cause::Reload, now, out));
        let group = self.slot_mut(id).and_then(|slot| slot.group.take());
        if let Some(index) = group {
            if let Some(group) = self.groups.get_mut(index) {
                group.members.retain(|m| *m != id);
            }
            // What it held back or kept in fault is free.
            self.spread_faults(index, now);
            self.promote_group(index, now);
        }
        self.settle(now);
        if let Some(index) = group {
            self.report_group(index, &Cause::Reload, now);
        }
        self.forget_if_finished(id);
    }

    /// Replaces all sync groups. Members are found by name; unknown names are left out (the plan has reported
    /// them).
    pub fn set_groups(&mut self, groups: &[GroupSettings], now: Instant) {
        let old = std::mem::take(&mut self.groups);
        for slot in self.slots.iter_mut().flatten() {
            slot.group = None;
            slot.router.set_in_group(false);
        }
        let by_name: BTreeMap<Arc<str>, RouterId> = self
            .slots
            .iter()
            .flatten()
            // One that has ended may still hold, and share its name with its successor.
            .filter(|s| !s.router.has_ended())
            .map(|s| (Arc::clone(&s.router.settings().name), s.router.id()))
            .collect();
        for (index, settings) in groups.iter().enumerate() {
            let members: Vec<RouterId> =
                settings.members.iter().filter_map(|n| by_name.get(n).copied()).collect();
            for id in &members {
                if let Some(slot) = self.slot_mut(*id) {
                    slot.group = Some(index);
                    slot.router.set_in_group(true);
                }
            }
            let (state, since) = old
                .iter()
                .find(|g| g.settings.name == settings.name)
                .map_or((State::Init, now), |g| (g.state, g.since));
            self.groups.push(SyncGroup { settings: settings.clone(), members, state, since });
        }
        // Faults that came from a group the router is not in any more.
        let stale: Vec<(RouterId, FaultCause)> = self
            .slots
            .iter()
            .flatten()
            .flat_map(|s| s.router.faults().iter().map(move |f| (s, f)))
            .filter(|(slot, fault)| {
                let own = slot.group.and_then(|g| self.groups.get(g)).map(SyncGroup::name);
                matches!(fault, FaultCause::SyncGroup { group, .. } if own != Some(group))
            })
            .map(|(slot, fault)| (slot.router.id(), fault.clone()))
            .collect();
        for (id, fault) in stale {
            self.with(id, |router, out| router.set_fault(fault, false, now, out));
        }
        for id in self.ids() {
            if self.slot(id).is_some_and(|slot| slot.group.is_none()) {
                self.with(id, |router, out| router.leave_group_behind(now, out));
            }
        }
        for index in 0..self.groups.len() {
            self.spread_faults(index, now);
            self.promote_group(index, now);
            self.report_group(index, &Cause::Reload, now);
        }
        self.settle(now);
    }

    /// Orderly stop of everything: priority 0, hand-over, STOP reports. Complete when [`Election::is_stopped`].
    pub fn stop(&mut self, now: Instant) {
        for id in self.ids() {
            self.with(id, |router, out| router.end(State::Stop, Cause::Shutdown, now, out));
        }
        self.settle(now);
        for index in 0..self.groups.len() {
            self.change_group(index, State::Stop, Cause::Shutdown, now);
        }
    }

    /// Gives up at once whatever is still held for a successor.
    pub fn abandon(&mut self) {
        for id in self.ids() {
            self.abandon_router(id);
        }
    }

    /// The same for one router.
    pub fn abandon_router(&mut self, id: RouterId) {
        self.with(id, |router, out| router.abandon(out));
        self.forget_if_finished(id);
    }

    pub fn is_stopped(&self) -> bool {
        self.slots.iter().flatten().all(|s| s.router.is_finished())
    }

    /// The address a router sends from; `None` while there is none.
    pub fn set_source(&mut self, id: RouterId, source: Option<IpAddr>) {
        if let Some(slot) = self.slot_mut(id) {
            slot.router.set_source(source);
        }
    }

    /// A condition that keeps a router from running came or went.
    pub fn set_fault(&mut self, id: RouterId, fault: FaultCause, present: bool, now: Instant) {
        self.with(id, |router, out| router.set_fault(fault, present, now, out));
        self.settle(now);
        self.forget_if_finished(id);
    }

    /// A tracked object was observed.
    pub fn observe(&mut self, target: &Target, observation: Observation, now: Instant) {
        if self.observations.get(target).is_some_and(|o| o.reading == observation.reading) {
            return;
        }
        let evidence = Arc::clone(&observation.evidence);
        let why = PriorityCause::Tracker { target: target.clone(), evidence };
        self.observations.insert(target.clone(), observation);
        let trackers: Vec<RouterId> = self
            .slots
            .iter()
            .flatten()
            .filter(|s| s.trackers.iter().any(|t| t.target == *target))
            .map(|s| s.router.id())
            .collect();
        for id in trackers {
            self.apply_trackers(id, &why, now);
            self.forget_if_finished(id);
        }
        self.settle(now);
    }

    /// Forgets a target that is not tracked any more.
    pub fn forget(&mut self, target: &Target) {
        self.observations.remove(target);
    }

    /// A valid advertisement for a router that reached this host at `arrival`.
    pub fn handle_advertisement(&mut self, id: RouterId, heard: &Heard, arrival: Instant) {
        self.with(id, |router, out| router.handle_advertisement(heard, arrival, out));
        self.settle(arrival);
        self.forget_if_finished(id);
    }

    /// Somebody else announced one of the router's addresses.
    pub fn handle_claim(&mut self, id: RouterId, address: IpAddr, mac: [u8; 6], now: Instant) {
        self.with(id, |router, out| router.handle_claim(address, mac, now, out));
        self.settle(now);
        self.forget_if_finished(id);
    }

    /// Somebody deleted one of the router's addresses, routes or rules.
    pub fn handle_item_lost(&mut self, id: RouterId, item: &Arc<str>, now: Instant) {
        self.with(id, |router, out| router.handle_item_lost(item, now, out));
        self.settle(now);
    }

    /// Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(Reverse((at, id))) = self.timers.peek().copied() {
            let Some(slot) = self.slot_mut(id).filter(|s| s.armed == Some(at)) else {
                self.timers.pop();
                continue;
            };
            // Close to its time, an advertisement shares the wake-up of its neighbours.
            if at > now && !slot.router.may_fire_early(at, now) {
                match slot.router.poll_timeout() {
                    // Being awake anyway: this entry and those behind it would wake us in vain one by one.
                    moved if moved.is_none_or(|deadline| deadline > at) => {
                        slot.armed = moved;
                        self.timers.pop();
                        self.timers.extend(moved.map(|deadline| Reverse((deadline, id))));
                        continue;
                    }
                    Some(_) | None => break,
                }
            }
            slot.armed = None;
            self.timers.pop();
            self.with(id, |router, out| router.handle_timeout(now, out));
            self.settle(now);
            self.forget_if_finished(id);
        }
    }

    /// Every router counts from zero.
    pub fn clear_statistics(&mut self) {
        self.slots.iter_mut().flatten().for_each(|slot| slot.router.clear_statistics());
    }

    /// When [`Election::handle_timeout`] is to be called next. May be early, never late.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.out.pop()?;
        if let Action::Gone { router } = &action
            && let Some(slot) = self.slots.get_mut(router.index())
        {
            *slot = None;
        }
        if let Action::Send { router, priority } = &action
            && *priority != Priority::STOP
            && let Some(slot) = self.slot_mut(*router)
        {
            slot.router.send_taken();
        }
        Some(action)
    }

    pub fn router(&self, id: RouterId) -> Option<&VirtualRouter> {
        self.slot(id).map(|s| &s.router)
    }

    pub fn routers(&self) -> impl Iterator<Item = (RouterId, &VirtualRouter)> {
        self.slots.iter().flatten().map(|s| (s.router.id(), &s.router))
    }

    pub fn trackers(&self, id: RouterId) -> &[Tracker] {
        self.slot(id).map_or(&[], |s| &s.trackers)
    }

    /// Everything tracked that has been observed.
    pub fn observations(&self) -> impl Iterator<Item = (&Target, &Observation)> {
        self.observations.iter()
    }

    pub fn groups(&self) -> &[SyncGroup] {
        &self.groups
    }

    fn ids(&self) -> Vec<RouterId> {
        self.slots.iter().flatten().map(|s| s.router.id()).collect()
    }

    fn slot(&self, id: RouterId) -> Option<&Slot> {
        self.slots.get(id.index()).and_then(Option::as_ref)
    }

    fn slot_mut(&mut self, id: RouterId) -> Option<&mut Slot> {
        self.slots.get_mut(id.index()).and_then(Option::as_mut)
    }

    /// Runs `f` on a router and keeps its entry in the timer queue early enough.
    fn with(&mut self, id: RouterId, f: impl FnOnce(&mut VirtualRouter, &mut Outbox)) {
        let Some(slot) = self.slots.get_mut(id.index()).and_then(Option::as_mut) else { return };
        f(&mut slot.router, &mut self.out);
        let Some(deadline) = slot.router.poll_timeout() else { return };
        if slot.armed.is_none_or(|armed| deadline < armed) {
            slot.armed = Some(deadline);
            self.timers.push(Reverse((deadline, id)));
        }
    }

    fn forget_if_finished(&mut self, id: RouterId) {
        let Some(slot) = self.slot_mut(id) else { return };
        if slot.router.is_finished() && slot.router.state() != State::Stop && !slot.gone {
            slot.gone = true;
            self.out.push(Action::Gone { router: id });
        }
    }

    /// Recomputes faults and priority of a router from its trackers.
    fn apply_trackers(&mut self, id: RouterId, why: &PriorityCause, now: Instant) {
        let Some(slot) = self.slot(id) else { return };
        let mut sum = 0_i32;
        let (mut faults, mut burdens) = (Vec::new(), Vec::new());
        for tracker in &slot.trackers {
            let observation = self.observations.get(&tracker.target);
            let reading = observation.map_or(Reading::Unknown, |o| o.reading);
            let target = tracker.target.clone();
            if let Some(observation) = observation.filter(|_| tracker.is_burden(reading)) {
                burdens.push(Burden { target: target.clone(), evidence: Arc::clone(&observation.evidence) });
            }
            match tracker.effect(reading) {
                Effect::Priority(amount) => {
                    sum = sum.saturating_add(amount);
                    faults.push((FaultCause::TrackerPending { target }, false));
                }
                Effect::Pending => faults.push((FaultCause::TrackerPending { target }, true)),
                Effect::Fault => {
                    let evidence =
                        observation.map_or_else(|| Arc::from("failed"), |o| Arc::clone(&o.evidence));
                    faults.push((FaultCause::Tracker { target, evidence }, true));
                }
            }
        }
        self.with(id, |router, out| {
            for (fault, present) in faults {
                router.set_fault(fault, present, now, out);
            }
            router.set_adjustment(sum, burdens, why, now, out);
        });
    }

    /// Lets the members of groups follow one another until nothing moves.
    fn settle(&mut self, now: Instant) {
        let mut changed = Vec::new();
        while let Some(signal) = self.out.pop_signal() {
            let id = signal.router();
            let Some(index) = self.slot(id).and_then(|s| s.group) else { continue };
            match signal {
                Signal::WantsMaster(_) => self.promote_group(index, now),
                Signal::Yielded(_, cause) => {
                    // After a stall the peer has taken over all members long ago.
                    let stalled = matches!(cause, Cause::Stalled { .. });
                    let holding = if stalled { Holding::Refused } else { Holding::Allowed };
                    let cause = self.group_cause(index, id, cause);
                    for member in self.members(index) {
                        let cause = cause.clone();
                        self.with(member, |router, out| router.follow_to_backup(now, cause, holding, out));
                    }
                }
                Signal::FollowsMaster(_) => self.reunite_group(index, id, now),
                Signal::FaultsChanged(_) => self.spread_faults(index, now),
                // The group speaks after its members.
                Signal::StateChanged(_, state, cause) => changed.push((index, state, cause)),
                Signal::AnnounceGroup(_) => {
                    for member in self.members(index).into_iter().filter(|m| *m != id) {
                        self.with(member, |router, out| {
                            let garp = router.settings().garp;
                            router.announce_again(now, garp.lower_prio_repeat, garp.lower_prio_delay, out);
                        });
                    }
                }
            }
        }
        for (index, state, cause) in changed {
            // A member may have passed through others on its way.
            if self.joint_state(index) == Some(state) {
                self.report_group(index, &cause, now);
            }
        }
    }

    fn members(&self, index: usize) -> Vec<RouterId> {
        self.groups.get(index).map(|g| g.members.clone()).unwrap_or_default()
    }

    fn group_cause(&self, index: usize, member: RouterId, because: Cause) -> Cause {
        let group = self.groups.get(index).map(|g| Arc::clone(&g.settings.name));
        let member = self.router(member).map(|r| Arc::clone(&r.settings().name));
        match (group, member) {
            (Some(group), Some(member)) => Cause::SyncGroup { group, member, because: Box::new(because) },
            _ => because,
        }
    }

    /// All members become master together, once the last of them wants it.
    fn promote_group(&mut self, index: usize, now: Instant) {
        let members = self.members(index);
        let all_want = members
            .iter()
            .filter_map(|m| self.router(*m))
            .all(|router| router.state() == State::Master || router.wants_master().is_some());
        if !all_want {
            return;
        }
        for member in members {
            let cause = self.router(member).and_then(|r| r.wants_master().cloned());
            if let Some(cause) = cause {
                self.with(member, |router, out| router.enter_master(now, cause, out));
            }
        }
    }

    /// A member follows a master elsewhere. Should others be master, as after a reload that joined routers in
    /// different states, they resign.
    fn reunite_group(&mut self, index: usize, follower: RouterId, now: Instant) {
        let is_master = |id: &RouterId| self.router(*id).is_some_and(|r| r.state() == State::Master);
        let torn = self.groups.get(index).is_some_and(|group| group.members.iter().any(is_master));
        if !torn {
            return;
        }
        let cause = self.group_cause(index, follower, Cause::Reload);
        for member in self.members(index) {
            let cause = cause.clone();
            self.with(member, |router, out| router.resign_to_backup(now, cause, out));
        }
    }

    /// A fault of one member is a fault of all; when the last own fault is gone, all are free.
    fn spread_faults(&mut self, index: usize, now: Instant) {
        let Some(group) = self.groups.get(index) else { return };
        let name = Arc::clone(&group.settings.name);
        // Members with a fault of their own, and whether it only is a first result that is missing.
        let mut ill: Vec<(RouterId, Arc<str>, bool)> = Vec::new();
        for router in group.members.iter().filter_map(|m| self.router(*m)) {
            let mut own =
                router.faults().iter().filter(|f| !matches!(f, FaultCause::SyncGroup { .. })).peekable();
            if own.peek().is_some() {
                let pending = own.all(FaultCause::is_pending);
                ill.push((router.id(), Arc::clone(&router.settings().name), pending));
            }
        }
        ill.sort_by_key(|(_, _, pending)| *pending);
        for member in self.members(index) {
            let culprit = ill.iter().find(|(id, ..)| *id != member);
            let fault = FaultCause::SyncGroup {
                group: Arc::clone(&name),
                member: culprit.map_or_else(|| Arc::clone(&name), |(_, n, _)| Arc::clone(n)),
                pending: culprit.is_some_and(|(_, _, pending)| *pending),
            };
            let present = culprit.is_some();
            self.with(member, |router, out| router.set_fault(fault, present, now, out));
        }
    }

    fn joint_state(&self, index: usize) -> Option<State> {
        let members = self.groups.get(index)?.members.iter();
        SyncGroup::joint_state(members.filter_map(|m| self.router(*m).map(VirtualRouter::state)))
    }

    fn report_group(&mut self, index: usize, cause: &Cause, now: Instant) {
        match self.joint_state(index) {
            Some(state @ (State::Backup | State::Master | State::Fault)) => {
                self.change_group(index, state, cause.clone(), now);
            }
            Some(State::Init | State::Stop | State::Deleted) | None => {}
        }
    }

    fn change_group(&mut self, index: usize, to: State, cause: Cause, now: Instant) {
        let Some(group) = self.groups.get_mut(index).filter(|g| g.state != to) else { return };
        let from = std::mem::replace(&mut group.state, to);
        let lasted = now.saturating_duration_since(group.since);
        group.since = now;
        let subject = Subject::Group(Arc::clone(&group.settings.name));
        let transition = Transition { subject, from, to, cause, priority: Priority::STOP, lasted };
        self.out.push(Action::Report { router: None, transition });
    }
}
