//! The loop around the [`Election`]: sockets and timer in, packets and effects out.
//!
//! One thread runs it and nothing else. It waits in `epoll` for its sockets, for a `timerfd` and for commands; it
//! never waits for anybody who takes its effects. On every wake-up: all packets by kernel arrival time, then commands,
//! then what has arrived meanwhile, then timers, then advertisements, then effects.
//!
//! Why dropping it half way is safe: it owns sockets and memory only. The addresses it had installed carry a
//! lease, which nobody renews any more.

mod endpoint;
mod snapshot;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver as CommandReceiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::action::{ACTIONS_KEPT, Action, ContentionSign, RouterId};
use crate::advertisement::{HEADER_LEN, Malformed};
use crate::clock::Clock;
use crate::election::Election;
use crate::identity::{Priority, Vrid};
use crate::receive::{Discard, Reason, vrid_of};
use crate::settings::{GroupSettings, RouterSettings};
use crate::socket::{Drain, ReceiveBatch, Received};
use crate::tracking::{Observation, Target, Tracker};
use crate::transition::{FaultCause, PriorityCause, State, Transition};

pub use endpoint::Endpoint;
pub use snapshot::{GroupSnapshot, RouterSnapshot, Snapshot};

use endpoint::{Endpoints, RouterIo};

/// Commands on their way to the election. Whoever has more to say waits: the election never does.
const COMMANDS: usize = 128;
/// Commands carried out before the sockets are looked at again.
const COMMANDS_AT_ONCE: usize = 64;
const TIMER: u64 = u64::MAX;
const COMMAND: u64 = u64::MAX - 1;
/// Events taken from the kernel at a time; what is left over is reported again.
const EVENTS: usize = 256;
/// Rounds of reading before timers are looked at, against a sender that never pauses.
const DRAIN_ROUNDS: usize = 16;

/// More wake-ups than this within the time of a burst, and packets are left to gather.
const WAKES_IN_A_BURST: u32 = 4;
const BURST: Duration = Duration::from_millis(2);
const PAUSE: Duration = Duration::from_micros(400);

/// A decision rests on a look at the sockets that is no older.
const LOOK_AGE: Duration = Duration::from_millis(2);

/// Time between attempts to open the sockets of routers that are in FAULT for want of them.
const RETRY: Duration = Duration::from_secs(1);

/// What the rest of the daemon tells the election. A router is named by a key that stays the same when a reload
/// gives it another name.
pub enum Command {
    Add {
        key: Arc<str>,
        settings: Box<RouterSettings>,
        trackers: Vec<Tracker>,
    },
    Update {
        key: Arc<str>,
        settings: Box<RouterSettings>,
        trackers: Vec<Tracker>,
    },
    Remove {
        key: Arc<str>,
    },
    Groups(Vec<GroupSettings>),
    /// Starts every router that has not been started.
    Start {
        delay: Duration,
    },
    /// Where a router sends and listens; `None` while it cannot.
    Endpoint {
        key: Arc<str>,
        endpoint: Option<Endpoint>,
    },
    Fault {
        key: Arc<str>,
        fault: FaultCause,
        present: bool,
    },
    Observe {
        target: Target,
        observation: Observation,
    },
    Forget {
        target: Target,
    },
    ItemLost {
        key: Arc<str>,
        item: Arc<str>,
    },
    Claim {
        key: Arc<str>,
        address: IpAddr,
        mac: [u8; 6],
    },
    LogUnknownVrids(bool),
    Snapshot(Reply<Snapshot>),
    /// Proves that the loop turns.
    Ping(Reply<()>),
    /// Count from zero.
    ClearStatistics,
    /// Orderly stop: resign and hand over. [`Event::Stopped`] follows.
    Stop,
    /// Give up what is still held for successors.
    Abandon,
    /// Leave the loop at once, as it is.
    Quit,
}

/// Takes an answer on the election thread: hands it on and must not wait.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Command")
    }
}

/// What happened, for logs and alerts.
#[derive(Debug)]
pub enum Event {
    Transition(Transition),
    PriorityChanged {
        name: Arc<str>,
        state: State,
        from: Priority,
        priority: Priority,
        cause: PriorityCause,
    },
    LowerPriorityHeard {
        name: Arc<str>,
        from: IpAddr,
        priority: Priority,
    },
    Contention {
        name: Arc<str>,
        sign: ContentionSign,
    },
    ItemRestored {
        name: Arc<str>,
        item: Arc<str>,
    },
    Stalled {
        name: Arc<str>,
        lateness: Duration,
    },
    /// An advertisement was not used. Told once per sender and reason until the state changes.
    Discarded {
        name: Option<Arc<str>>,
        from: IpAddr,
        discard: Discard,
    },
    /// An advertisement was used although something about it is odd.
    Remarked {
        name: Arc<str>,
        from: IpAddr,
        remark: Reason,
    },
    /// Sending failed; told once until it works again.
    SendFailed {
        name: Arc<str>,
        error: String,
    },
    SendWorks {
        name: Arc<str>,
    },
    /// A receive buffer was full and the kernel dropped packets. Told once until counters are cleared.
    PacketsLost,
    /// The sockets of a router could not be opened; it is in FAULT until one of the attempts that follow succeeds,
    /// which its transition tells. Told once per endpoint until then.
    SocketFailed {
        name: Arc<str>,
        error: String,
    },
    /// A removed router holds nothing any more.
    Gone {
        key: Arc<str>,
    },
    /// After [`Command::Stop`]: everything has been handed over.
    Stopped,
}

/// Carries out what the election wants done. Called on the election thread: no method may wait.
pub trait Effects {
    fn install(&mut self, key: &Arc<str>);
    fn withdraw(&mut self, key: &Arc<str>);
    fn renew_lease(&mut self, key: &Arc<str>);
    fn announce(&mut self, key: &Arc<str>, repeat: u32);
    fn event(&mut self, event: Event);
}

/// The way to speak to a running [`Driver`], from any thread.
#[derive(Clone, Debug)]
pub struct DriverHandle {
    // Dropped in this order: the driver is woken when the sender is gone already.
    commands: SyncSender<Command>,
    wake: Waker,
}

#[derive(Clone, Debug)]
struct Waker(Arc<EventFd>);

impl Drop for Waker {
    fn drop(&mut self) {
        // It may have been the last handle. The driver may be gone itself.
        let _woken = self.0.write(1);
    }
}

/// The driver has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the election has ended")]
pub struct Ended;

impl DriverHandle {
    /// Hands over a command, waiting while the queue is full.
    pub fn tell(&self, command: Command) -> Result<(), Ended> {
        self.commands.send(command).map_err(|_unsent| Ended)?;
        // The counter cannot overflow: it is read back to zero at every wake-up.
        self.wake.0.write(1).map(|_| ()).map_err(|_closed| Ended)
    }
}

/// The election with everything it needs to run.
#[derive(Debug)]
pub struct Driver<E> {
    election: Election,
    endpoints: Endpoints,
    keys: BTreeMap<Arc<str>, RouterId>,
    effects: E,
    epoll: Epoll,
    events: Box<[EpollEvent]>,
    /// Tokens of readable sockets.
    ready: Vec<u64>,
    burst: Burst,
    timer: TimerFd,
    armed: Option<Instant>,
    /// When to open sockets again that could not be opened.
    retry_at: Option<Instant>,
    /// The timer has fired and stays readable until it is set or unset.
    fired: bool,
    commands: CommandReceiver<Command>,
    wake: Arc<EventFd>,
    clock: Clock,
    log_unknown_vrids: bool,
    /// VRIDs without a router that have been told of, and packets that no router here is for.
    unknown_vrids: std::collections::BTreeSet<Vrid>,
    unclaimed: BTreeMap<Reason, u64>,
    /// When the sockets were last looked at before a decision.
    looked_at: Instant,
    loss_told: bool,
    stopping: bool,
    worst_lateness: Duration,
    wakeups: u64,
    actions: Vec<Action>,
}

/// Wake-ups since the beginning of what may be a burst.
#[derive(Clone, Copy, Debug)]
struct Burst {
    since: Instant,
    wakes: u32,
}

enum Flow {
    Continue,
    Quit,
}

impl<E: Effects> Driver<E> {
    /// Makes a driver for the network namespace of the calling thread.
    pub fn new(effects: E) -> io::Result<(Self, DriverHandle)> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        epoll.add(wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, COMMAND))?;
        let (sender, commands) = sync_channel(COMMANDS);
        let handle = DriverHandle { commands: sender, wake: Waker(Arc::clone(&wake)) };
        let driver = Self {
            election: Election::new(),
            endpoints: Endpoints::default(),
            keys: BTreeMap::new(),
            effects,
            epoll,
            events: vec![EpollEvent::empty(); EVENTS].into_boxed_slice(),
            ready: Vec::with_capacity(EVENTS),
            burst: Burst { since: Instant::now(), wakes: 0 },
            timer,
            armed: None,
            retry_at: None,
            fired: false,
            commands,
            wake,
            clock: Clock::default(),
            log_unknown_vrids: false,
            unknown_vrids: std::collections::BTreeSet::new(),
            unclaimed: BTreeMap::new(),
            looked_at: Instant::now(),
            loss_told: false,
            stopping: false,
            worst_lateness: Duration::ZERO,
            wakeups: 0,
            actions: Vec::new(),
        };
        Ok((driver, handle))
    }

    /// Runs until [`Command::Quit`] or until every handle is gone.
    pub fn run(&mut self) -> io::Result<()> {
        let mut batch = ReceiveBatch::default();
        loop {
            self.arm_timer()?;
            let commanded = self.wait(EpollTimeout::NONE)?;
            self.wakeups += 1;
            if !commanded {
                self.let_a_burst_arrive();
            }
            if commanded {
                // What was heard before an order was given counts before it: an order to stop must not make a master
                // that did not run for a while resign what a peer has taken over since.
                self.hear_all(&mut batch)?;
                if matches!(self.take_commands(), Flow::Quit) {
                    return Ok(());
                }
            }
            self.drain(&mut batch)?;
            self.expire();
            self.retry();
            self.act();
            if self.stopping && self.election.is_stopped() {
                self.stopping = false;
                self.effects.event(Event::Stopped);
            }
        }
    }

    fn arm_timer(&mut self) -> io::Result<()> {
        let wanted = self.election.poll_timeout().into_iter().chain(self.retry_at).min();
        if wanted == self.armed && !self.fired {
            return Ok(());
        }
        self.armed = wanted;
        self.fired = false;
        match wanted {
            Some(at) => {
                // Zero would disarm.
                let wait = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
                let expiration = Expiration::OneShot(TimeSpec::from_duration(wait));
                self.timer.set(expiration, TimerSetTimeFlags::empty())?;
            }
            None => self.timer.unset()?,
        }
        Ok(())
    }

    /// Leaves the tokens of the sockets that have something in `ready`; tells whether there are commands.
    fn wait(&mut self, timeout: EpollTimeout) -> io::Result<bool> {
        self.ready.clear();
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut commanded = false;
        for event in self.events.iter().take(count) {
            match event.data() {
                TIMER => self.fired = true,
                COMMAND => {
                    commanded = true;
                    // Nothing is lost if it was read already.
                    let _drained = self.wake.read();
                }
                token => self.ready.push(token),
            }
        }
        Ok(commanded)
    }

    /// The advertisements of a crowd come in bursts of some milliseconds, and waking up for each costs more than
    /// reading it. Nothing is decided later for it: packets count from their arrival, and timers are not waited over.
    fn let_a_burst_arrive(&mut self) {
        let now = Instant::now();
        if now.saturating_duration_since(self.burst.since) > BURST {
            self.burst = Burst { since: now, wakes: 0 };
        }
        self.burst.wakes += 1;
        let timer_is_near = self.election.poll_timeout().is_some_and(|at| at <= now + PAUSE * 2);
        if self.burst.wakes > WAKES_IN_A_BURST && !timer_is_near {
            std::thread::sleep(PAUSE);
        }
    }

    fn take_commands(&mut self) -> Flow {
        for _ in 0..COMMANDS_AT_ONCE {
            match self.commands.try_recv() {
                Ok(Command::Quit) => return Flow::Quit,
                Ok(command) => self.obey(command, Instant::now()),
                Err(TryRecvError::Empty) => return Flow::Continue,
                Err(TryRecvError::Disconnected) => return Flow::Quit,
            }
        }
        // More are waiting: come back after a look at the sockets.
        let _woken = self.wake.write(1);
        Flow::Continue
    }

    fn obey(&mut self, command: Command, now: Instant) {
        match command {
            Command::Add { key, settings, trackers } => {
                // The same router was removed a moment ago and still holds: its addresses are the new one's now.
                if let Some(old) = self.keys.remove(&key) {
                    self.election.remove_router(old, now);
                    self.election.abandon_router(old);
                }
                let io = RouterIo::new(Arc::clone(&key), &settings);
                let id = self.election.add_router(*settings, trackers, now);
                self.endpoints.add(id, io);
                self.keys.insert(key, id);
            }
            Command::Update { key, settings, trackers } => {
                let Some(id) = self.keys.get(&key).copied() else { return };
                let changed = self.election.router(id).is_some_and(|router| *router.settings() != *settings);
                self.election.update_router(id, *settings, trackers, now);
                if changed {
                    self.fit_to_settings(id, now);
                }
            }
            Command::Remove { key } => {
                if let Some(id) = self.keys.get(&key).copied() {
                    self.election.remove_router(id, now);
                }
            }
            Command::Groups(groups) => self.election.set_groups(&groups, now),
            Command::Start { delay } => self.election.start(now, delay),
            Command::Endpoint { key, endpoint } => self.set_endpoint(&key, endpoint, now),
            Command::Fault { key, fault, present } => {
                if let Some(id) = self.keys.get(&key) {
                    self.election.set_fault(*id, fault, present, now);
                }
            }
            Command::Observe { target, observation } => self.election.observe(&target, observation, now),
            Command::Forget { target } => self.election.forget(&target),
            Command::ItemLost { key, item } => {
                if let Some(id) = self.keys.get(&key) {
                    self.election.handle_item_lost(*id, &item, now);
                }
            }
            Command::Claim { key, address, mac } => {
                if let Some(id) = self.keys.get(&key) {
                    self.election.handle_claim(*id, address, mac, now);
                }
            }
            Command::LogUnknownVrids(wanted) => self.log_unknown_vrids = wanted,
            Command::Snapshot(reply) => reply(snapshot::take(
                &self.election,
                &self.endpoints,
                self.unclaimed.clone(),
                self.worst_lateness,
                self.wakeups,
                now,
            )),
            Command::Ping(reply) => reply(()),
            Command::ClearStatistics => {
                self.election.clear_statistics();
                self.endpoints.clear_counters();
                self.unclaimed.clear();
                self.loss_told = false;
                self.worst_lateness = Duration::ZERO;
            }
            Command::Stop => {
                self.stopping = true;
                self.election.stop(now);
            }
            Command::Abandon => self.election.abandon(),
            Command::Quit => {}
        }
    }

    fn set_endpoint(&mut self, key: &Arc<str>, endpoint: Option<Endpoint>, now: Instant) {
        let Some(id) = self.keys.get(key).copied() else { return };
        if endpoint.is_none() {
            // A resignation goes out while there is still a way for it.
            self.act();
        }
        let source = endpoint.as_ref().map(|e| e.source);
        self.endpoints.set(id, endpoint, &self.epoll);
        self.election.set_source(id, source);
        self.attach(id, now);
    }

    /// The settings of a router have changed, and with them perhaps which sockets its packets go through.
    fn fit_to_settings(&mut self, id: RouterId, now: Instant) {
        if let (Some(router), Some(io)) = (self.election.router(id), self.endpoints.router_mut(id)) {
            io.update(router.settings());
        }
        self.attach(id, now);
    }

    /// A router whose sockets cannot be opened is in FAULT until they are, at the latest [`RETRY`] after that has
    /// become possible.
    fn attach(&mut self, id: RouterId, now: Instant) {
        let Some(router) = self.election.router(id) else { return };
        let name = Arc::clone(&router.settings().name);
        let told = self.endpoints.failed().contains(&id);
        let attached = self.endpoints.attach(id, router.settings(), &self.epoll);
        let reason: Arc<str> = attached.as_ref().err().map_or("", String::as_str).into();
        self.election.set_fault(id, FaultCause::SocketFailed { reason }, attached.is_err(), now);
        if let Err(error) = attached
            && !told
        {
            self.effects.event(Event::SocketFailed { name, error });
        }
        let failing = !self.endpoints.failed().is_empty();
        self.retry_at = failing.then(|| self.retry_at.unwrap_or(now + RETRY));
    }

    fn retry(&mut self) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            for id in self.endpoints.failed().clone() {
                self.attach(id, now);
            }
        }
    }

    /// Reads everything that the sockets hold. Before an expired timer counts, they are looked at once more: what
    /// arrived before this moment is heard before anything is decided.
    fn drain(&mut self, batch: &mut ReceiveBatch) -> io::Result<()> {
        for _ in 0..DRAIN_ROUNDS {
            self.read_ready(batch);
            self.looked_at = Instant::now();
            let due = self.election.poll_timeout().is_some_and(|at| at <= self.looked_at);
            if !due || !self.look_again()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads everything that the sockets hold now, whatever it was that woke us up.
    fn hear_all(&mut self, batch: &mut ReceiveBatch) -> io::Result<()> {
        for _ in 0..DRAIN_ROUNDS {
            self.read_ready(batch);
            if !self.look_again()? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn read_ready(&mut self, batch: &mut ReceiveBatch) {
        let ready = std::mem::take(&mut self.ready);
        for token in &ready {
            self.read(*token, batch);
        }
        self.ready = ready;
    }

    /// Looks at the sockets without waiting; tells whether there is something to read.
    fn look_again(&mut self) -> io::Result<bool> {
        if self.wait(EpollTimeout::ZERO)? {
            // Commands are taken at the next turn; the event was consumed.
            let _woken = self.wake.write(1);
        }
        Ok(!self.ready.is_empty())
    }

    fn read(&mut self, token: u64, batch: &mut ReceiveBatch) {
        for _ in 0..DRAIN_ROUNDS {
            let Some(socket) = self.endpoints.receiver(token) else { return };
            let (lost, unreadable) = (socket.lost(), socket.unreadable());
            let drained = socket.receive(batch, &mut self.clock);
            let unreadable = socket.unreadable() - unreadable;
            if unreadable > 0 {
                *self.unclaimed.entry(Reason::Malformed).or_default() += unreadable;
            }
            if socket.lost() != lost && !std::mem::replace(&mut self.loss_told, true) {
                self.effects.event(Event::PacketsLost);
            }
            for received in batch.packets() {
                self.hear(token, &received);
            }
            match drained {
                Ok(Drain::More) => {}
                // An interface that went down reports an error once; netlink tells the rest.
                Ok(Drain::Empty) | Err(_) => return,
            }
        }
    }

    fn hear(&mut self, token: u64, received: &Received<'_>) {
        let Some(id) = vrid_of(received).and_then(|vrid| self.endpoints.find(token, vrid, received.source))
        else {
            self.unknown(received);
            return;
        };
        let Some(router) = self.election.router(id) else { return };
        let Some(io) = self.endpoints.router_mut(id) else { return };
        let settings = router.settings();
        let known = router.known_master().map(|m| m.address);
        match io.receiver.accept(settings, router.source(), known, received) {
            Ok(accepted) => {
                let name = &settings.name;
                if accepted.old_unicast_checksum {
                    io.use_old_unicast_checksum();
                }
                for (odd, remark) in [
                    (accepted.other_addresses, Reason::AddressList),
                    (accepted.other_interval, Reason::LearntInterval),
                ] {
                    if odd && io.receiver.complain(received.source, remark, received.arrived) {
                        let (name, from) = (Arc::clone(name), received.source);
                        self.effects.event(Event::Remarked { name, from, remark });
                    }
                }
                self.election.handle_advertisement(id, &accepted.heard, received.arrived);
            }
            Err(discard) => {
                if io.receiver.complain(received.source, discard.reason(), received.arrived) {
                    let (name, from) = (Some(Arc::clone(&settings.name)), received.source);
                    self.effects.event(Event::Discarded { name, from, discard });
                }
            }
        }
    }

    /// Counts a packet that no router here is for.
    fn unknown(&mut self, received: &Received<'_>) {
        let Some(vrid) = vrid_of(received) else {
            // Too short to name a router, or it names the one that cannot be.
            let count = self.unclaimed.entry(Reason::Malformed).or_default();
            *count += 1;
            if *count == 1 {
                let discard = match received.pdu.len() {
                    have @ (0 | 1) => Malformed::Truncated { have, need: HEADER_LEN },
                    _ => Malformed::VridZero,
                };
                let discard = Discard::Malformed(discard);
                self.effects.event(Event::Discarded { name: None, from: received.source, discard });
            }
            return;
        };
        *self.unclaimed.entry(Reason::UnknownVrid).or_default() += 1;
        if self.log_unknown_vrids && self.unknown_vrids.insert(vrid) {
            let discard = Discard::UnknownVrid(vrid);
            self.effects.event(Event::Discarded { name: None, from: received.source, discard });
        }
    }

    fn expire(&mut self) {
        let Some(due) = self.election.poll_timeout() else { return };
        let now = Instant::now();
        if due <= now && now.saturating_duration_since(self.looked_at) > LOOK_AGE {
            // We did not run for a moment since the sockets were looked at: once more from the beginning.
            return;
        }
        if let Some(lateness) = now.checked_duration_since(due) {
            self.worst_lateness = self.worst_lateness.max(lateness);
            self.election.handle_timeout(now);
        }
    }

    /// Advertisements first, together; then everything else in its order.
    fn act(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        actions.extend(std::iter::from_fn(|| self.election.poll_action()));
        let sends = actions.iter().filter_map(|action| match action {
            Action::Send { router, priority } => Some((*router, *priority)),
            _ => None,
        });
        let (election, effects) = (&self.election, &mut self.effects);
        self.endpoints.send(sends, |id, outcome| {
            let Some(name) = election.router(id).map(|r| Arc::clone(&r.settings().name)) else { return };
            effects.event(match outcome {
                Ok(()) => Event::SendWorks { name },
                Err(error) => Event::SendFailed { name, error },
            });
        });
        for action in actions.drain(..) {
            self.carry_out(action);
        }
        actions.shrink_to(ACTIONS_KEPT);
        self.actions = actions;
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Send { .. } => {}
            Action::Install { router } => self.with_key(router, E::install),
            Action::Withdraw { router } => self.with_key(router, E::withdraw),
            Action::RenewLease { router } => self.with_key(router, E::renew_lease),
            Action::Announce { router, repeat } => self.with_key(router, |e, key| e.announce(key, repeat)),
            Action::Report { router, transition } => {
                if let Some(io) = router.and_then(|id| self.endpoints.router_mut(id)) {
                    io.receiver.state_changed();
                }
                self.effects.event(Event::Transition(transition));
            }
            Action::PriorityChanged { router, from, priority, cause } => {
                self.tell(router, |name, state| Event::PriorityChanged {
                    name,
                    state,
                    from,
                    priority,
                    cause,
                });
            }
            Action::LowerPriorityHeard { router, from, priority } => {
                self.tell(router, |name, _| Event::LowerPriorityHeard { name, from, priority });
            }
            Action::Contention { router, sign } => {
                self.tell(router, |name, _| Event::Contention { name, sign })
            }
            Action::ItemRestored { router, item } => {
                self.tell(router, |name, _| Event::ItemRestored { name, item });
            }
            Action::Stalled { router, lateness } => {
                self.tell(router, |name, _| Event::Stalled { name, lateness });
            }
            Action::Gone { router } => {
                let Some(key) = self.endpoints.remove(router, &self.epoll) else { return };
                // Unless the key has been given to another router.
                if self.keys.get(&key) == Some(&router) {
                    self.keys.remove(&key);
                    self.effects.event(Event::Gone { key });
                }
            }
        }
    }

    fn with_key(&mut self, id: RouterId, f: impl FnOnce(&mut E, &Arc<str>)) {
        if let Some(key) = self.endpoints.key(id) {
            f(&mut self.effects, &key);
        }
    }

    fn tell(&mut self, id: RouterId, event: impl FnOnce(Arc<str>, State) -> Event) {
        if let Some(router) = self.election.router(id) {
            let event = event(Arc::clone(&router.settings().name), router.state());
            self.effects.event(event);
        }
    }
}
