//! One election on the workbench: what goes in and what comes out, in words short enough for a table.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buoy_vrrp::{
    Action, Election, FaultCause, GarpSchedule, GroupSettings, Heard, Priority, RouterId, RouterSettings,
    State, Subject, Target,
};

use crate::fixture;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Master-down time at priority 100 and an interval of a second: 3 + 156/256 s.
pub(crate) const DOWN: Duration = Duration::from_nanos(3_609_375_000);
pub(crate) const SKEW: Duration = Duration::from_nanos(609_375_000);

pub(crate) fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// Priority 100, an interval of a second, keepalived's defaults.
pub(crate) fn settings(name: &str, vrid: u8) -> RouterSettings {
    let defaults = fixture::router(name, vrid);
    RouterSettings {
        // Tells the burst after a lower priority from the usual one.
        garp: GarpSchedule { lower_prio_repeat: 4, ..defaults.garp },
        vip_lease: Some(SECOND * 10),
        make_before_break: true,
        ..defaults
    }
}

pub(crate) fn group(name: &str, members: &[&str]) -> GroupSettings {
    GroupSettings {
        name: Arc::from(name),
        members: members.iter().map(|m| Arc::from(*m)).collect(),
        tracking_weight: false,
    }
}

pub(crate) fn heard(priority: u8, from: u8) -> Heard {
    Heard { from: address(from), priority: Priority::new(priority), interval: SECOND }
}

pub(crate) fn link_down() -> FaultCause {
    FaultCause::InterfaceDown { interface: Arc::from("eth0") }
}

pub(crate) fn script() -> Target {
    Target::Script(Arc::from("chk"))
}

/// An election and its clock. Our address is 10.0.0.5.
pub(crate) struct Bench {
    pub(crate) election: Election,
    pub(crate) now: Instant,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { election: Election::new(), now: Instant::now() + SECOND * 3600 }
    }

    /// A bench with one router, not started.
    pub(crate) fn with(settings: RouterSettings) -> (Self, RouterId) {
        let mut bench = Self::new();
        let id = bench.add(settings);
        (bench, id)
    }

    pub(crate) fn add(&mut self, settings: RouterSettings) -> RouterId {
        let id = self.election.add_router(settings, Vec::new(), self.now);
        self.election.set_source(id, Some(address(5)));
        id
    }

    pub(crate) fn start(&mut self) {
        self.election.start(self.now, Duration::ZERO);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub(crate) fn hear(&mut self, id: RouterId, priority: u8, from: u8) {
        self.election.handle_advertisement(id, &heard(priority, from), self.now);
    }

    /// Lets time pass and the timers fire, as they do on a machine that runs. The actions are thrown away.
    pub(crate) fn run(&mut self, time: Duration) {
        self.actions_within(time);
    }

    /// The same, and what was to be done meanwhile.
    pub(crate) fn actions_within(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut actions = Vec::new();
        while let Some(at) = self.election.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.election.handle_timeout(self.now);
            actions.extend(self.actions());
        }
        self.now = end;
        actions
    }

    /// Lets time pass in which this process does not run; then the timers fire.
    pub(crate) fn oversleep(&mut self, time: Duration) {
        self.now += time;
        self.election.handle_timeout(self.now);
    }

    /// Makes a master of every router: nobody else is heard.
    pub(crate) fn lead(&mut self) {
        self.start();
        self.run(DOWN);
    }

    pub(crate) fn state(&self, id: RouterId) -> State {
        self.election.router(id).map_or(State::Deleted, |r| r.state())
    }

    /// Time to the next call that a router wants.
    pub(crate) fn deadline(&self, id: RouterId) -> Option<Duration> {
        let at = self.election.router(id)?.poll_timeout()?;
        Some(at.saturating_duration_since(self.now))
    }

    pub(crate) fn forget(&mut self) {
        while self.election.poll_action().is_some() {}
    }

    /// What is to be done, in order.
    pub(crate) fn actions(&mut self) -> Vec<String> {
        let actions: Vec<Action> = std::iter::from_fn(|| self.election.poll_action()).collect();
        actions.iter().map(|action| self.word(action)).collect()
    }

    fn word(&self, action: &Action) -> String {
        let of = |id: &RouterId| {
            let name = self.election.router(*id).map(|r| r.settings().name.to_string());
            name.filter(|name| name != "a").map_or(String::new(), |name| format!("{name}: "))
        };
        match action {
            Action::Send { router, priority } => format!("{}send {priority}", of(router)),
            Action::Install { router } => format!("{}install", of(router)),
            Action::Withdraw { router } => format!("{}withdraw", of(router)),
            Action::RenewLease { router } => format!("{}renew", of(router)),
            Action::Announce { router, repeat } => format!("{}announce {repeat}", of(router)),
            Action::Report { transition, .. } => {
                let name = match &transition.subject {
                    Subject::Instance(name) if &**name == "a" => String::new(),
                    subject => format!("{}: ", subject.name()),
                };
                format!("{name}{}>{} {}", transition.from, transition.to, transition.cause.kind())
            }
            Action::PriorityChanged { router, priority, .. } => format!("{}priority {priority}", of(router)),
            Action::LowerPriorityHeard { router, .. } => format!("{}lower", of(router)),
            Action::Contention { router, .. } => format!("{}contention", of(router)),
            Action::ItemRestored { router, .. } => format!("{}restored", of(router)),
            Action::Stalled { router, .. } => format!("{}stalled", of(router)),
            Action::Gone { .. } => "gone".to_owned(),
        }
    }
}
