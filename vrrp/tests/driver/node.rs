//! A driver on its thread, and everything it does.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use buoy_vrrp::driver::{Command, Driver, DriverHandle, Effects, Endpoint, Event, Snapshot};
use buoy_vrrp::{RouterSettings, State, Tracker, Transition};

use crate::namespace::{Cable, End, interface};

/// Far longer than anything here takes: what has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(20);
const BUFFER: usize = 1 << 20;

#[derive(Debug)]
pub(crate) enum Seen {
    Install,
    Withdraw,
    Event(Event),
}

struct Recorder {
    seen: Sender<(Instant, Seen)>,
    /// A change of priority keeps the thread from running for so long.
    stall: Duration,
}

impl Recorder {
    fn note(&self, seen: Seen) {
        // The test may be over.
        let _gone = self.seen.send((Instant::now(), seen));
    }
}

impl Effects for Recorder {
    fn install(&mut self, _key: &Arc<str>) {
        self.note(Seen::Install);
    }

    fn withdraw(&mut self, _key: &Arc<str>) {
        self.note(Seen::Withdraw);
    }

    fn renew_lease(&mut self, _key: &Arc<str>) {}

    fn announce(&mut self, _key: &Arc<str>, _repeat: u32) {}

    fn event(&mut self, event: Event) {
        if matches!(event, Event::PriorityChanged { .. }) {
            std::thread::sleep(self.stall);
        }
        self.note(Seen::Event(event));
    }
}

pub(crate) struct Node {
    handle: DriverHandle,
    seen: Receiver<(Instant, Seen)>,
    end: End,
}

impl Node {
    /// Runs a driver at one end of the cable. It ends with its last handle.
    pub(crate) fn run<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        cable: &'env Cable,
        end: End,
        stall: Duration,
    ) -> Self {
        let (seen_in, seen) = channel();
        let (handle_in, handle) = sync_channel(1);
        scope.spawn(move || {
            cable.enter(end);
            let (mut driver, handle) = Driver::new(Recorder { seen: seen_in, stall }).unwrap();
            handle_in.send(handle).unwrap();
            driver.run().unwrap();
        });
        Self { handle: handle.recv().unwrap(), seen, end }
    }

    pub(crate) fn tell(&self, command: Command) {
        self.handle.tell(command).unwrap();
    }

    /// Adds a router on this end's interface. The calling thread is left in its namespace.
    pub(crate) fn add(&self, cable: &Cable, settings: RouterSettings, trackers: Vec<Tracker>) {
        cable.enter(self.end);
        let (name, source): (_, IpAddr) = match self.end {
            End::Left => ("left0", [10, 99, 0, 1].into()),
            End::Right => ("right0", [10, 99, 0, 2].into()),
        };
        let key = Arc::clone(&settings.name);
        let endpoint = Endpoint { source, interface: Some(interface(name)), buffer: BUFFER };
        self.tell(Command::Add { key: Arc::clone(&key), settings: Box::new(settings), trackers });
        self.tell(Command::Endpoint { key, endpoint: Some(endpoint) });
    }

    pub(crate) fn start(&self) {
        self.tell(Command::Start { delay: Duration::ZERO });
    }

    /// Waits for something, past everything else.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, mut wanted: impl FnMut(&Seen) -> Option<T>) -> (Instant, T) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.seen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((at, seen)) => {
                    if let Some(found) = wanted(&seen) {
                        return (at, found);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("waited in vain for {what}")
                }
            }
        }
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, state: State) -> (Instant, Transition) {
        self.wait(state.name(), |seen| match seen {
            Seen::Event(Event::Transition(t)) if t.to == state => Some(t.clone()),
            _ => None,
        })
    }

    /// What has been seen and not waited for.
    pub(crate) fn rest(&self) -> Vec<Seen> {
        self.seen.try_iter().map(|(_, seen)| seen).collect()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let (reply, snapshot) = sync_channel(1);
        self.tell(Command::Snapshot(Box::new(move |snapshot| {
            // Whoever asked may have lost patience.
            let _gone = reply.send(snapshot);
        })));
        snapshot.recv_timeout(PATIENCE).unwrap()
    }

    /// Asks until the answer is right; the driver reads its sockets in between.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, right: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let snapshot = self.snapshot();
            if right(&snapshot) {
                return snapshot;
            }
            assert!(Instant::now() < deadline, "waited in vain until {what}: {snapshot:?}");
            std::thread::yield_now();
        }
    }

    pub(crate) fn quit(&self) {
        self.tell(Command::Quit);
    }
}

pub(crate) fn transitions(seen: &[Seen]) -> Vec<String> {
    seen.iter()
        .filter_map(|seen| match seen {
            Seen::Event(Event::Transition(t)) => {
                Some(format!("{}: {} to {}: {}", t.subject.name(), t.from, t.to, t.cause))
            }
            _ => None,
        })
        .collect()
}
