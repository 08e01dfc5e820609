//! A simulated LAN: elections joined by a wire, under a virtual clock. Loss, delay, duplication, reordering,
//! partition; hosts that are paused (packets queue up), frozen (packets are lost) or killed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy_vrrp::{
    Action, Election, GroupSettings, Heard, Priority, RouterId, RouterSettings, StartState, State, Transition,
};

use crate::fixture;

/// A small seeded generator (splitmix64): schedules have to be the same everywhere and for ever.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub(crate) fn settings(name: &str, vrid: u8, priority: u8) -> RouterSettings {
    RouterSettings {
        priority: Priority::new(priority),
        start: if priority == 255 { StartState::Master } else { StartState::Backup },
        vip_lease: Some(Duration::from_secs(10)),
        make_before_break: true,
        ..fixture::router(name, vrid)
    }
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    /// Position of its router on every host.
    router: usize,
    says: Says,
}

#[derive(Clone, Copy, Debug)]
enum Says {
    Advertisement(Heard),
    /// A gratuitous ARP for the address of this router.
    Claim(IpAddr),
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) election: Election,
    pub(crate) routers: Vec<RouterId>,
    address: IpAddr,
    alive: bool,
    plugged: bool,
    paused_until: Option<Instant>,
    frozen: bool,
    /// The earliest wake-up that is scheduled for its timers.
    wake_at: Option<Instant>,
    side: u8,
    /// By router: its segment does not reach this host.
    severed: Vec<bool>,
    queue: Vec<(Instant, Packet)>,
    /// By router: whether the kernel holds the addresses.
    pub(crate) holds: BTreeMap<RouterId, bool>,
    pub(crate) transitions: Vec<(Instant, Transition)>,
    pub(crate) announcements: usize,
    pub(crate) contentions: usize,
    pub(crate) sent: usize,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Deliver { to: usize, packet: Packet },
    Wake { host: usize },
}

/// How the wire treats packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wire {
    pub(crate) loss_percent: u64,
    pub(crate) duplicate_percent: u64,
    /// Each copy is late by up to so much, which also reorders.
    pub(crate) jitter: Duration,
}

#[derive(Debug)]
pub(crate) struct Lan {
    pub(crate) now: Instant,
    pub(crate) hosts: Vec<Host>,
    pub(crate) wire: Wire,
    pub(crate) rng: Rng,
    events: BinaryHeap<Reverse<(Instant, u64, EventKey)>>,
    pending: Vec<Option<Event>>,
    sequence: u64,
    /// Longest time for which two hosts that hear each other both held an address.
    pub(crate) longest_overlap: Duration,
    overlap_since: Option<Instant>,
    /// Longest time for which no living host held the addresses of some router.
    pub(crate) longest_gap: Duration,
    gap_since: Option<Instant>,
    /// The first thing seen that must not be, at any moment between two events.
    pub(crate) violation: Option<String>,
}

type EventKey = usize;

impl Lan {
    pub(crate) fn seeded(seed: u64) -> Self {
        let now = Instant::now() + Duration::from_secs(3600);
        Self {
            now,
            hosts: Vec::new(),
            wire: Wire::default(),
            rng: Rng(seed),
            events: BinaryHeap::new(),
            pending: Vec::new(),
            sequence: 0,
            longest_overlap: Duration::ZERO,
            overlap_since: None,
            longest_gap: Duration::ZERO,
            gap_since: None,
            violation: None,
        }
    }

    /// One router per host, with these priorities; started.
    pub(crate) fn with_priorities(mut self, priorities: &[u8]) -> Self {
        for p in priorities {
            self.add_host(vec![settings("VI_1", 51, *p)], &[]);
        }
        self.start_all();
        self
    }

    pub(crate) fn add_host(&mut self, routers: Vec<RouterSettings>, groups: &[GroupSettings]) -> usize {
        let index = self.hosts.len();
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1 + u8::try_from(index).expect("few hosts")));
        let mut election = Election::new();
        let severed = vec![false; routers.len()];
        let ids: Vec<RouterId> = routers
            .into_iter()
            .map(|s| {
                let id = election.add_router(s, Vec::new(), self.now);
                election.set_source(id, Some(address));
                id
            })
            .collect();
        election.set_groups(groups, self.now);
        self.hosts.push(Host {
            election,
            routers: ids,
            address,
            alive: true,
            plugged: true,
            paused_until: None,
            frozen: false,
            wake_at: None,
            side: 0,
            severed,
            queue: Vec::new(),
            holds: BTreeMap::new(),
            transitions: Vec::new(),
            announcements: 0,
            contentions: 0,
            sent: 0,
        });
        index
    }

    pub(crate) fn start_all(&mut self) {
        for host in 0..self.hosts.len() {
            self.start_host(host);
        }
    }

    pub(crate) fn start_host(&mut self, host: usize) {
        let now = self.now;
        self.hosts[host].election.start(now, Duration::ZERO);
        self.wake(host);
    }

    /// Hands in something by other means than the wire, and lets the host act on it.
    pub(crate) fn with_host<T>(&mut self, host: usize, f: impl FnOnce(&mut Host, Instant) -> T) -> T {
        let now = self.now;
        let result = f(&mut self.hosts[host], now);
        self.wake(host);
        result
    }

    pub(crate) fn kill(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        h.alive = false;
        h.holds.clear();
        self.note_overlap();
        self.note_gap();
    }

    pub(crate) fn stop(&mut self, host: usize) {
        self.with_host(host, |h, now| h.election.stop(now));
    }

    /// The cable: carrier is lost and the daemon is told.
    pub(crate) fn unplug(&mut self, host: usize) {
        self.set_plugged(host, false);
    }

    pub(crate) fn plug(&mut self, host: usize) {
        self.set_plugged(host, true);
    }

    fn set_plugged(&mut self, host: usize, plugged: bool) {
        self.hosts[host].plugged = plugged;
        for router in 0..self.hosts[host].routers.len() {
            self.set_carrier(host, router, plugged);
        }
    }

    /// The cable of one router's segment, whose loss is noticed; the packets stop with [`sever`](Self::sever).
    pub(crate) fn set_carrier(&mut self, host: usize, router: usize, present: bool) {
        self.with_host(host, |h, now| {
            let fault = buoy_vrrp::FaultCause::InterfaceDown { interface: Arc::from("eth0") };
            if let Some(id) = h.routers.get(router).copied() {
                h.election.set_fault(id, fault, !present, now);
            }
        });
    }

    /// One router's segment does not reach this host any more, or does again; nobody is told.
    pub(crate) fn sever(&mut self, host: usize, router: usize, severed: bool) {
        if let Some(s) = self.hosts[host].severed.get_mut(router) {
            *s = severed;
        }
        self.note_overlap();
    }

    /// No pause is left over from before.
    pub(crate) fn all_run(&self) -> bool {
        self.hosts.iter().all(|h| h.paused_until.is_none_or(|until| until <= self.now))
    }

    /// Hosts on different sides do not hear each other and do not notice.
    pub(crate) fn set_side(&mut self, host: usize, side: u8) {
        self.hosts[host].side = side;
        self.note_overlap();
    }

    /// SIGSTOP: the process does not run, its sockets fill.
    pub(crate) fn pause(&mut self, host: usize, time: Duration) {
        self.hosts[host].paused_until = Some(self.now + time);
        self.schedule(self.now + time, Event::Wake { host });
    }

    /// The whole machine stands still: nothing is received either.
    pub(crate) fn freeze(&mut self, host: usize, time: Duration) {
        self.hosts[host].frozen = true;
        self.pause(host, time);
    }

    pub(crate) fn run_for(&mut self, time: Duration) -> &mut Self {
        self.run_until(self.now + time)
    }

    pub(crate) fn run_until(&mut self, end: Instant) -> &mut Self {
        while let Some(Reverse((at, _, key))) = self.events.peek().copied() {
            if at > end {
                break;
            }
            self.events.pop();
            self.now = self.now.max(at);
            match self.pending[key].take() {
                Some(Event::Deliver { to, packet }) => self.deliver(to, packet),
                Some(Event::Wake { host }) => self.wake(host),
                None => {}
            }
        }
        self.now = end;
        self
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.pending.push(Some(event));
        self.events.push(Reverse((at, self.sequence, self.pending.len() - 1)));
    }

    fn deliver(&mut self, to: usize, packet: Packet) {
        let now = self.now;
        let h = &mut self.hosts[to];
        if !h.alive || !h.plugged || h.frozen {
            return;
        }
        h.queue.push((now, packet));
        self.wake(to);
    }

    fn wake(&mut self, host: usize) {
        let now = self.now;
        let h = &mut self.hosts[host];
        if !h.alive || h.paused_until.is_some_and(|until| until > now) {
            return;
        }
        h.paused_until = None;
        h.frozen = false;
        h.queue.sort_by_key(|(arrival, _)| *arrival);
        for (arrival, packet) in std::mem::take(&mut h.queue) {
            let Some(id) = h.routers.get(packet.router).copied() else { continue };
            match packet.says {
                Says::Advertisement(heard) => h.election.handle_advertisement(id, &heard, arrival),
                Says::Claim(address) => h.election.handle_claim(id, address, [2, 0, 0, 0, 0, 9], arrival),
            }
        }
        h.election.handle_timeout(now);
        self.act(host);
        let h = &mut self.hosts[host];
        if let Some(at) = h.election.poll_timeout().map(|at| at.max(now))
            && h.wake_at.is_none_or(|armed| armed <= now || at < armed)
        {
            h.wake_at = Some(at);
            self.schedule(at, Event::Wake { host });
        }
        self.note_violation(host);
        self.note_overlap();
        self.note_gap();
    }

    /// A sync group is in one state, and the kernel holds addresses exactly when the router says so.
    fn note_violation(&mut self, host: usize) {
        if self.violation.is_some() {
            return;
        }
        let h = &self.hosts[host];
        let routers = || h.routers.iter().filter_map(|id| Some((id, h.election.router(*id)?)));
        let first = routers().next().map(|(_, r)| r.state());
        if !h.election.groups().is_empty() && routers().any(|(_, r)| Some(r.state()) != first) {
            let states: Vec<State> = routers().map(|(_, r)| r.state()).collect();
            self.violation = Some(format!("host {host}: the group is torn, {states:?}"));
        } else if let Some((_, r)) =
            routers().find(|(id, r)| h.holds.get(id).copied().unwrap_or(false) != r.holds_addresses())
        {
            self.violation = Some(format!("host {host}: {} does not match the addresses held", r.state()));
        }
    }

    /// Whether the addresses of every router of the first host are held by somebody alive.
    fn all_held(&self) -> bool {
        let routers = self.hosts.first().map_or(0, |h| h.routers.len());
        (0..routers).all(|r| {
            self.hosts
                .iter()
                .filter(|h| h.alive)
                .any(|h| h.routers.get(r).is_some_and(|id| h.holds.get(id).copied().unwrap_or(false)))
        })
    }

    fn note_gap(&mut self) {
        match (self.all_held(), self.gap_since) {
            (false, None) => self.gap_since = Some(self.now),
            (true, Some(since)) => {
                self.longest_gap = self.longest_gap.max(self.now - since);
                self.gap_since = None;
            }
            (false, Some(since)) => self.longest_gap = self.longest_gap.max(self.now - since),
            (true, None) => {}
        }
    }

    pub(crate) fn forget_gap(&mut self) {
        self.longest_gap = Duration::ZERO;
        self.gap_since = None;
        self.note_gap();
    }

    fn act(&mut self, host: usize) {
        while let Some(action) = self.hosts[host].election.poll_action() {
            match action {
                Action::Send { router, priority } => self.send(host, router, priority),
                Action::Install { router } => {
                    self.hosts[host].holds.insert(router, true);
                }
                Action::Withdraw { router } => {
                    self.hosts[host].holds.insert(router, false);
                }
                Action::Announce { router, .. } => {
                    self.hosts[host].announcements += 1;
                    self.announce(host, router);
                }
                Action::Contention { .. } => self.hosts[host].contentions += 1,
                Action::Report { transition, .. } => {
                    let now = self.now;
                    self.hosts[host].transitions.push((now, transition));
                }
                Action::RenewLease { .. }
                | Action::PriorityChanged { .. }
                | Action::LowerPriorityHeard { .. }
                | Action::ItemRestored { .. }
                | Action::Stalled { .. }
                | Action::Gone { .. } => {}
            }
        }
    }

    fn send(&mut self, host: usize, router: RouterId, priority: Priority) {
        let h = &mut self.hosts[host];
        let Some(r) = h.election.router(router) else { return };
        let heard = Heard { from: h.address, priority, interval: r.settings().advert_interval };
        h.sent += 1;
        self.put_on_wire(host, router, Says::Advertisement(heard));
    }

    fn announce(&mut self, host: usize, router: RouterId) {
        let address = self.hosts[host].election.router(router).and_then(|r| r.settings().last_announced);
        if let Some(address) = address {
            self.put_on_wire(host, router, Says::Claim(address));
        }
    }

    fn put_on_wire(&mut self, host: usize, router: RouterId, says: Says) {
        let h = &self.hosts[host];
        let Some(router) = h.routers.iter().position(|id| *id == router) else { return };
        if !h.plugged || h.severed.get(router).is_none_or(|s| *s) {
            return;
        }
        let packet = Packet { router, says };
        let side = h.side;
        for to in 0..self.hosts.len() {
            let other = &self.hosts[to];
            if to == host || other.side != side || other.severed.get(router).is_none_or(|s| *s) {
                continue;
            }
            let mut copies = 1;
            if self.rng.chance(self.wire.loss_percent) {
                copies -= 1;
            }
            if self.rng.chance(self.wire.duplicate_percent) {
                copies += 1;
            }
            for _ in 0..copies {
                let jitter = Duration::from_micros(
                    50 + self.rng.below(u64::try_from(self.wire.jitter.as_micros()).expect("short") + 1),
                );
                self.schedule(self.now + jitter, Event::Deliver { to, packet });
            }
        }
    }

    /// Hosts whose first router is in MASTER, running and plugged in.
    pub(crate) fn masters(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|h| self.hosts[*h].alive && self.state(*h) == State::Master).collect()
    }

    pub(crate) fn state(&self, host: usize) -> State {
        self.router_state(host, 0)
    }

    pub(crate) fn router_state(&self, host: usize, router: usize) -> State {
        let h = &self.hosts[host];
        h.election.router(h.routers[router]).map_or(State::Deleted, |r| r.state())
    }

    pub(crate) fn transitions(&self, host: usize) -> usize {
        self.hosts[host].transitions.len()
    }

    fn note_overlap(&mut self) {
        let masters: Vec<usize> = self
            .masters()
            .into_iter()
            .filter(|h| {
                let h = &self.hosts[*h];
                h.plugged && !h.frozen && h.paused_until.is_none_or(|until| until <= self.now)
            })
            .collect();
        let rivals = masters
            .iter()
            .enumerate()
            .any(|(i, a)| masters[i + 1..].iter().any(|b| self.hosts[*a].side == self.hosts[*b].side));
        match (rivals, self.overlap_since) {
            (true, None) => self.overlap_since = Some(self.now),
            (false, Some(since)) => {
                self.longest_overlap = self.longest_overlap.max(self.now - since);
                self.overlap_since = None;
            }
            (true, Some(since)) => self.longest_overlap = self.longest_overlap.max(self.now - since),
            (false, None) => {}
        }
    }

    pub(crate) fn forget_overlap(&mut self) {
        self.longest_overlap = Duration::ZERO;
        self.overlap_since = None;
        self.note_overlap();
    }
}
