//! The loop around the [`Roster`]: commands, due times and results in, attempts and reports out.
//!
//! One task runs it, on the runtime of whoever awaits [`Driver::run`]; a runtime of its own thread keeps checks from
//! delaying anything else. An idle check is an entry in the roster and nothing more; each attempt is a task, which owns
//! its sockets. Dropping the driver, or any attempt, closes them and loses no more than that attempt.

mod lateness;
mod reports;

use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet, yield_now};
use tokio::time::{Instant as TokioInstant, sleep_until};

use crate::connector::Connector;
use crate::outcome::{Cause, Outcome, Trouble};
use crate::roster::{Attempt, CheckId, CheckSettings, ProbeKey, Report, Roster};

pub use lateness::Lateness;
pub use reports::Reports;

use reports::Outbox;

/// Commands on their way. Whoever has more to say waits until some are carried out.
const COMMANDS: usize = 256;
/// Commands, results or new attempts handled before the loop turns to the others.
const AT_ONCE: usize = 64;
/// Attempts that come due within this time begin together, and mostly end together: with thousands of checks a second,
/// waking for each of them would cost as much as making them. A check that is alone begins on time.
const TOGETHER: Duration = Duration::from_millis(10);
/// Attempts that begin within that time at most: after a stall all checks are due, and each that is under way takes memory.
const CROWD: usize = 256;

/// What the driver is told about checks.
pub enum Command {
    /// See [`Roster::replace`].
    Replace {
        id: CheckId,
        settings: Arc<CheckSettings>,
    },
    Remove(CheckId),
    Suspend(CheckId),
    Resume(CheckId),
    /// See [`Roster::observe`].
    Observe {
        id: CheckId,
        outcome: Outcome,
    },
    Snapshot(oneshot::Sender<Snapshot>),
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Replace { .. } => "Replace",
            Self::Remove(_) => "Remove",
            Self::Suspend(_) => "Suspend",
            Self::Resume(_) => "Resume",
            Self::Observe { .. } => "Observe",
            Self::Snapshot(_) => "Snapshot",
        })
    }
}

/// All checks as they are, and how the driver fares.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub reports: Vec<Report>,
    /// Time that ages are counted from.
    pub now: Instant,
    pub probes: usize,
    /// Attempts under way.
    pub running: usize,
    /// Attempts begun so far.
    pub attempts: u64,
    /// How late they began.
    pub lateness: Lateness,
}

/// Bounds of a driver.
#[derive(Clone, Copy, Debug)]
pub struct DriverSettings {
    /// Attempts under way at a time; more wait their turn. Each may hold a descriptor and, while it reads a body for a
    /// pattern, a mebibyte. Silent servers hold their attempts for the whole deadline, so this has to be at least
    /// checks per second times that deadline, or others run late.
    pub concurrency: usize,
    /// Shifts the start times of all checks.
    pub seed: u32,
}

impl Default for DriverSettings {
    fn default() -> Self {
        Self { concurrency: 16_384, seed: 0 }
    }
}

/// Tells the driver. It runs for as long as one of these is there.
#[derive(Clone, Debug)]
pub struct Checks {
    commands: mpsc::Sender<Command>,
}

/// The driver is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("health checks are not running")]
pub struct Gone;

impl Checks {
    /// Waits for room. Commands are carried out in their order.
    ///
    /// # Errors
    /// The driver is gone.
    pub async fn send(&self, command: Command) -> Result<(), Gone> {
        self.commands.send(command).await.map_err(|_unsent| Gone)
    }

    /// All checks as they are after the commands sent before.
    ///
    /// # Errors
    /// The driver is gone.
    pub async fn snapshot(&self) -> Result<Snapshot, Gone> {
        let (answer, snapshot) = oneshot::channel();
        self.send(Command::Snapshot(answer)).await?;
        snapshot.await.map_err(|_unanswered| Gone)
    }
}

/// Makes checks on the runtime that runs it.
#[derive(Debug)]
pub struct Driver {
    settings: DriverSettings,
    roster: Roster,
    commands: mpsc::Receiver<Command>,
    outbox: Outbox,
    attempts: JoinSet<Done>,
    tasks: HashMap<Id, ProbeKey>,
    handles: HashMap<ProbeKey, AbortHandle>,
    /// `None` before it runs, and where the kernel has no room for one: then each attempt connects by itself.
    connector: Option<Arc<Connector>>,
    /// The next attempts begin no sooner.
    next_start: Instant,
    /// Attempts that began since then.
    together: usize,
    begun: u64,
    lateness: Lateness,
}

#[derive(Debug)]
struct Done {
    outcome: Outcome,
    /// Somebody other than this host has answered, as far as that was asked.
    heard: bool,
    started: Instant,
}

/// A driver with both ends to talk to it.
pub fn driver(settings: DriverSettings) -> (Checks, Reports, Driver) {
    let (sender, commands) = mpsc::channel(COMMANDS);
    let (outbox, reports) = reports::channel();
    let driver = Driver {
        roster: Roster::new(settings.seed),
        settings,
        commands,
        outbox,
        attempts: JoinSet::new(),
        tasks: HashMap::new(),
        handles: HashMap::new(),
        connector: None,
        next_start: now(),
        together: 0,
        begun: 0,
        lateness: Lateness::default(),
    };
    (Checks { commands: sender }, reports, driver)
}

impl Driver {
    /// Runs until every [`Checks`] is dropped. Needs a runtime with I/O and time.
    pub async fn run(mut self) {
        self.connector = Connector::new().ok().map(Arc::new);
        loop {
            if self.begin_due() == AT_ONCE {
                // A crowd of due checks: those that began go ahead of those that wait.
                yield_now().await;
            }
            self.publish();
            let timeout = self.room().then(|| self.roster.poll_timeout()).flatten();
            let due = async {
                match timeout {
                    Some(timeout) => sleep_until(timeout.max(self.next_start).into()).await,
                    None => pending().await,
                }
            };
            // Every arm is cancel-safe: both receive without losing anything, the third only sleeps.
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.carry_out_from(command),
                    None => return,
                },
                Some(done) = self.attempts.join_next_with_id() => self.finish_from(done),
                () = due => {}
            }
        }
    }

    fn room(&self) -> bool {
        self.attempts.len() < self.settings.concurrency
    }

    /// Begins some of the attempts that are due; says how many.
    fn begin_due(&mut self) -> usize {
        let now = now();
        if now < self.next_start {
            return 0;
        }
        let mut begun = 0;
        while begun < AT_ONCE {
            let attempt = self.room().then(|| self.roster.poll_attempt(now)).flatten();
            if let Some(attempt) = attempt {
                self.begin(attempt, now);
                begun += 1;
                self.together += 1;
                if self.together < CROWD {
                    continue;
                }
            }
            if self.together > 0 {
                self.next_start = now + TOGETHER;
                self.together = 0;
            }
            break;
        }
        begun
    }

    fn begin(&mut self, Attempt { key, settings, part, due, listens }: Attempt, started: Instant) {
        self.begun += 1;
        self.lateness.count(started.saturating_duration_since(due));
        let connector = self.connector.clone();
        let handle = self.attempts.spawn(async move {
            let outcome = settings.probe.attempt_by(part, connector.as_deref()).await;
            let heard = listens && settings.probe.is_answered_by_another(&outcome);
            Done { outcome, heard, started }
        });
        self.tasks.insert(handle.id(), key);
        self.handles.insert(key, handle);
    }

    fn carry_out_from(&mut self, first: Command) {
        let mut next = Some(first);
        for _ in 0..AT_ONCE {
            let Some(command) = next else { return };
            self.carry_out(command);
            next = self.commands.try_recv().ok();
        }
        if let Some(last) = next {
            self.carry_out(last);
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Replace { id, settings } => self.roster.replace(id, settings, now()),
            Command::Remove(id) => {
                self.roster.remove(id);
                self.outbox.forget(id);
            }
            Command::Suspend(id) => self.roster.suspend(id, now()),
            Command::Resume(id) => self.roster.resume(id, now()),
            Command::Observe { id, outcome } => self.roster.observe(id, outcome, now()),
            // Nobody waits for it any more if it cannot be sent.
            Command::Snapshot(answer) => drop(answer.send(self.snapshot())),
        }
        while let Some(key) = self.roster.poll_cancel() {
            if let Some(handle) = self.handles.remove(&key) {
                self.tasks.remove(&handle.id());
                handle.abort();
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            reports: self.roster.snapshot(),
            now: now(),
            probes: self.roster.probe_count(),
            running: self.attempts.len(),
            attempts: self.begun,
            lateness: self.lateness.clone(),
        }
    }

    fn finish_from(&mut self, first: Result<(Id, Done), JoinError>) {
        let now = now();
        let mut next = Some(first);
        for _ in 0..AT_ONCE {
            let Some(done) = next else { return };
            self.finish(done, now);
            next = self.attempts.try_join_next_with_id();
        }
        if let Some(last) = next {
            self.finish(last, now);
        }
    }

    fn finish(&mut self, done: Result<(Id, Done), JoinError>, now: Instant) {
        let (id, done) = match done {
            Ok(done) => done,
            Err(error) => (error.id(), defect(&error, now)),
        };
        // Not there if it was cancelled.
        let Some(key) = self.tasks.remove(&id) else { return };
        self.handles.remove(&key);
        if done.heard {
            self.roster.hear(done.started);
        }
        self.roster.handle_outcome(key, done.outcome, done.started, now);
    }

    fn publish(&mut self) {
        while let Some(report) = self.roster.poll_report() {
            self.outbox.put(report);
        }
    }
}

/// An attempt that panicked: our fault, not the server's.
fn defect(error: &JoinError, now: Instant) -> Done {
    let outcome = Outcome::Undecided(Trouble::Defect(Cause::of(error)));
    Done { outcome, heard: false, started: now }
}

/// The runtime's time, which tests move.
fn now() -> Instant {
    TokioInstant::now().into_std()
}

#[cfg(test)]
mod tests;
