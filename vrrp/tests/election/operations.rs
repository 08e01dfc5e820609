//! Any bytes, read as operations on an election: whatever comes in whatever order, its promises hold.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy_vrrp::{
    Action, Authentication, ChecksumForm, Election, Family, FaultCause, GarpSchedule, GroupSettings, Heard,
    Observation, OldUnicastChecksum, Preempt, Priority, Reading, RouterId, RouterSettings, StartState, State,
    Subject, Target, Tracker, Transport, Version, Vrid,
};

const MS: Duration = Duration::from_millis(1);
const INTERVALS: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_millis(40_950),
];
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Plays `data` to its end, then stops the election in good order.
pub(crate) fn check(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut machine = Machine::new();
    while let Some(operation) = bytes.next() {
        machine.operate(operation, &mut Arguments(&mut bytes));
        machine.check_timers();
        // Sometimes several operations come before the driver takes the actions.
        if operation & 0x80 == 0 {
            machine.drain();
        }
    }
    machine.end();
}

/// Zeros for ever when the data ends.
struct Arguments<'a>(&'a mut dyn Iterator<Item = u8>);

impl Arguments<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().unwrap_or(0)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }
}

/// What a driver and a reader of reports know of one router.
#[derive(Debug)]
struct Known {
    reported: State,
    held: bool,
    sent: u64,
    /// It was, at some time, to speak once more before it yields.
    last_word: bool,
}

struct Machine {
    election: Election,
    now: Instant,
    routers: BTreeMap<RouterId, Known>,
    groups: BTreeMap<Arc<str>, State>,
    /// Groups were changed while routers ran: members may differ until one of them moves.
    regrouped: bool,
    stopped: bool,
}

impl Machine {
    fn new() -> Self {
        Self {
            election: Election::new(),
            now: Instant::now() + Duration::from_secs(100_000),
            routers: BTreeMap::new(),
            groups: BTreeMap::new(),
            regrouped: false,
            stopped: false,
        }
    }

    fn router(&self, arguments: &mut Arguments<'_>) -> Option<RouterId> {
        let ids: Vec<RouterId> = self.election.routers().map(|(id, _)| id).collect();
        if ids.is_empty() { None } else { Some(arguments.pick(&ids)) }
    }

    fn operate(&mut self, operation: u8, arguments: &mut Arguments<'_>) {
        let now = self.now;
        match operation & 0x0f {
            0 => self.add(arguments),
            1 => self.pass(arguments),
            2 | 3 => self.hear(arguments),
            4 => self.due(),
            5 => self.set_groups(arguments),
            6 => {
                let reading = match arguments.byte() % 4 {
                    0 => Reading::Unknown,
                    1 => Reading::Up,
                    2 => Reading::Down,
                    _ => Reading::Number(i64::from(arguments.byte()) - 128),
                };
                let observation = Observation { reading, evidence: Arc::from("as the fuzzer says") };
                self.election.observe(&target(arguments), observation, now);
            }
            7 => self.election.start(now, MS * u32::from(arguments.byte())),
            8 if !self.stopped => {
                // Rarely: nothing much happens afterwards.
                if arguments.byte() == 0xff {
                    self.stopped = true;
                    self.election.stop(now);
                }
            }
            9 if arguments.flag() => self.election.abandon(),
            10 => self.election.forget(&target(arguments)),
            _ => self.operate_router(operation & 0x0f, arguments),
        }
    }

    fn operate_router(&mut self, operation: u8, arguments: &mut Arguments<'_>) {
        let now = self.now;
        let Some(id) = self.router(arguments) else { return };
        match operation {
            11 => {
                // Read and left: the kept corpus has a flag here.
                let _flag = arguments.flag();
                self.election.remove_router(id, now);
            }
            12 => {
                let name = self.election.router(id).map_or("a".into(), |r| Arc::clone(&r.settings().name));
                let settings = settings(name, arguments);
                self.known(&id).last_word |= settings.higher_prio_send_advert;
                self.election.update_router(id, settings, trackers(arguments), now);
            }
            13 => {
                let reason = Arc::from("as the fuzzer says");
                let fault = match arguments.byte() % 4 {
                    0 => FaultCause::InterfaceDown { interface: Arc::from("eth0") },
                    1 => FaultCause::NoUnicastPeer,
                    2 => FaultCause::SocketFailed { reason },
                    _ => FaultCause::TrackerPending { target: target(arguments) },
                };
                self.election.set_fault(id, fault, arguments.flag(), now);
            }
            14 => {
                let source = arguments.byte() % 8;
                self.election.set_source(id, (source > 0).then(|| IpAddr::from([10, 0, 0, source])));
            }
            15 if arguments.flag() => {
                self.election.handle_claim(id, IpAddr::from([10, 0, 0, 100]), [2, 0, 0, 0, 0, 1], now);
            }
            _ => self.election.handle_item_lost(id, &Arc::from("10.0.0.100"), now),
        }
    }

    fn add(&mut self, arguments: &mut Arguments<'_>) {
        if self.election.routers().count() >= 6 {
            return;
        }
        let taken: Vec<Arc<str>> = self
            .election
            .routers()
            .filter(|(_, r)| !matches!(r.state(), State::Deleted | State::Stop))
            .map(|(_, r)| Arc::clone(&r.settings().name))
            .collect();
        let Some(name) = NAMES.iter().find(|n| !taken.iter().any(|t| **t == ***n)) else { return };
        let settings = settings(Arc::from(*name), arguments);
        let last_word = settings.higher_prio_send_advert;
        let id = self.election.add_router(settings, trackers(arguments), self.now);
        let known = Known { reported: State::Init, held: false, sent: 0, last_word };
        assert!(self.routers.insert(id, known).is_none(), "the handle is taken");
        self.election.set_source(id, Some(IpAddr::from([10, 0, 0, 4])));
    }

    fn pass(&mut self, arguments: &mut Arguments<'_>) {
        let unit = arguments.pick(&[Duration::from_micros(1), MS, MS * 10, MS * 1000]);
        self.now += unit * u32::from(arguments.byte());
        self.timeout();
    }

    /// The next timer fires exactly in time.
    fn due(&mut self) {
        if let Some(at) = self.election.poll_timeout() {
            self.now = self.now.max(at);
            self.timeout();
        }
    }

    fn timeout(&mut self) {
        self.election.handle_timeout(self.now);
        let next = self.election.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "something is due and did not fire");
    }

    fn hear(&mut self, arguments: &mut Arguments<'_>) {
        let Some(id) = self.router(arguments) else { return };
        let heard = Heard {
            from: IpAddr::from([10, 0, 0, 1 + arguments.byte() % 7]),
            priority: Priority::new(arguments.byte()),
            interval: arguments.pick(&INTERVALS),
        };
        // It has waited in the queue.
        let arrival = self.now - MS * 20 * u32::from(arguments.byte() / 2);
        self.election.handle_advertisement(id, &heard, arrival);
    }

    fn set_groups(&mut self, arguments: &mut Arguments<'_>) {
        let mut free: Vec<&str> = NAMES.to_vec();
        let mut groups = Vec::new();
        for name in ["G", "H"] {
            let mask = arguments.byte();
            let (members, rest): (Vec<&str>, Vec<&str>) = free
                .iter()
                .partition(|n| NAMES.iter().position(|m| m == *n).is_some_and(|i| mask >> i & 1 == 1));
            free = rest;
            if !members.is_empty() {
                let members = members.into_iter().map(Arc::from).collect();
                groups.push(GroupSettings { name: Arc::from(name), members, tracking_weight: false });
            }
        }
        self.drain();
        self.regrouped |= self.election.routers().any(|(_, r)| r.state() != State::Init);
        self.groups.retain(|name, _| groups.iter().any(|g| g.name == *name));
        self.election.set_groups(&groups, self.now);
    }

    fn check_timers(&self) {
        let armed = self.election.poll_timeout();
        for (_, router) in self.election.routers() {
            if let Some(at) = router.poll_timeout() {
                assert!(armed.is_some_and(|armed| armed <= at), "a router would be woken late");
            }
        }
    }

    /// Takes the actions as a driver does and holds them against the states.
    fn drain(&mut self) {
        let actions: Vec<Action> = std::iter::from_fn(|| self.election.poll_action()).collect();
        for action in &actions {
            self.take(action);
        }
        for (id, router) in self.election.routers() {
            let known = &self.routers[&id];
            assert_eq!(known.held, router.holds_addresses(), "{}", router.state());
            assert_eq!(known.reported, router.state());
            let statistics = router.statistics();
            assert_eq!(known.sent, statistics.advertisements_sent);
            let reigns = statistics.became_master - statistics.released_master;
            assert_eq!(reigns, u64::from(router.state() == State::Master));
        }
        for group in self.election.groups() {
            let known = self.groups.get(group.name()).copied().unwrap_or(State::Init);
            assert_eq!(known, group.state());
            let states: Vec<State> =
                group.members().iter().filter_map(|id| Some(self.election.router(*id)?.state())).collect();
            if !self.regrouped && states.contains(&State::Master) {
                assert!(states.iter().all(|s| *s == State::Master), "the group is torn: {states:?}");
            }
        }
    }

    fn take(&mut self, action: &Action) {
        match action {
            Action::Send { router, priority } if *priority != Priority::STOP => {
                // One that is gone by now has said its last word too.
                let state = self.election.router(*router).map(|r| r.state());
                let master = self.election.router(*router).and_then(|r| r.known_master());
                // A reminder to a master that has not announced its addresses, which it must not lose against.
                let reminder = state == Some(State::Backup) && master.is_some_and(|m| m.priority > *priority);
                let known = self.known(router);
                assert!(known.last_word || reminder || state == Some(State::Master), "{state:?} sends");
                known.sent += 1;
            }
            Action::Install { router } => self.known(router).held = true,
            Action::Withdraw { router } => self.known(router).held = false,
            Action::RenewLease { router } | Action::Announce { router, .. } => {
                assert!(self.known(router).held, "{action:?} without the addresses");
            }
            Action::Gone { router } => {
                let known = self.routers.remove(router).expect("it goes once");
                assert!(!known.held, "gone with the addresses");
            }
            Action::Report { router, transition } => {
                let reported = match (router, &transition.subject) {
                    (Some(router), _) => &mut self.known(router).reported,
                    (None, Subject::Group(name) | Subject::Instance(name)) => {
                        self.groups.entry(Arc::clone(name)).or_insert(State::Init)
                    }
                };
                assert_eq!(*reported, transition.from, "reports form a chain");
                assert_ne!(transition.from, transition.to);
                *reported = transition.to;
            }
            Action::Send { .. }
            | Action::PriorityChanged { .. }
            | Action::LowerPriorityHeard { .. }
            | Action::Contention { .. }
            | Action::ItemRestored { .. }
            | Action::Stalled { .. } => {}
        }
    }

    fn known(&mut self, id: &RouterId) -> &mut Known {
        self.routers.get_mut(id).expect("actions are about routers that exist")
    }

    /// An orderly stop ends, holds within their bounds, and then nothing is due any more.
    fn end(mut self) {
        self.drain();
        self.election.stop(self.now);
        self.drain();
        // The longest skew and one interval, for the longest interval.
        self.now += Duration::from_millis(40_950) * 2;
        self.timeout();
        self.drain();
        assert!(self.election.is_stopped());
        assert!(self.election.routers().all(|(_, r)| !r.holds_addresses()));
        self.now += Duration::from_secs(100_000);
        self.timeout();
        assert_eq!(self.election.poll_timeout(), None);
        self.drain();
    }
}

fn target(arguments: &mut Arguments<'_>) -> Target {
    match arguments.byte() % 3 {
        0 => Target::Script(Arc::from("s")),
        1 => Target::Interface(Arc::from("eth1")),
        _ => Target::File(Arc::from("f")),
    }
}

fn trackers(arguments: &mut Arguments<'_>) -> Vec<Tracker> {
    let mut trackers: Vec<Tracker> = Vec::new();
    for _ in 0..arguments.byte() % 3 {
        let weight = arguments.pick(&[0, 0, 10, -10, 254, -254]);
        let tracker = Tracker { target: target(arguments), weight, reverse: arguments.flag() };
        if trackers.iter().all(|t| t.target != tracker.target) {
            trackers.push(tracker);
        }
    }
    trackers
}

fn settings(name: Arc<str>, arguments: &mut Arguments<'_>) -> RouterSettings {
    let (flags, more) = (arguments.byte(), arguments.byte());
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let interval = arguments.pick(&INTERVALS);
    let preempt = match arguments.byte() % 3 {
        0 => Preempt::Yes,
        1 => Preempt::No,
        _ => Preempt::After(interval * 3),
    };
    RouterSettings {
        name,
        vrid: Vrid::new(1).expect("not zero"),
        family: Family::V4,
        version: if flag(0) { Version::V2 } else { Version::V3 },
        priority: Priority::new(arguments.byte().max(1)),
        start: if flag(1) { StartState::Master } else { StartState::Backup },
        advert_interval: interval,
        preempt,
        down_timer_adverts: 1 + more % 4,
        advertised: vec![IpAddr::from([10, 0, 0, 100])],
        transport: Transport::Multicast { group: IpAddr::from([224, 0, 0, 18]) },
        authentication: Authentication::None,
        checksum: ChecksumForm::PseudoHeader,
        old_unicast_checksum: OldUnicastChecksum::Automatic,
        strict: false,
        skip_check_adv_addr: false,
        lower_prio_no_advert: flag(2),
        higher_prio_send_advert: flag(3),
        owner_ignore_adverts: false,
        timer_expired_backup: flag(4).then(|| Priority::new(254)),
        garp: GarpSchedule {
            repeat: 5,
            delay: if flag(5) { Duration::ZERO } else { interval * 5 },
            refresh: if flag(6) { interval * 2 } else { Duration::ZERO },
            refresh_repeat: 1,
            lower_prio_repeat: u32::from(more >> 4 & 1),
            lower_prio_delay: interval,
        },
        vip_lease: (more >> 5 & 1 == 1).then_some(interval),
        make_before_break: flag(7),
        last_announced: (more >> 6 & 1 == 0).then(|| IpAddr::from([10, 0, 0, 100])),
    }
}
