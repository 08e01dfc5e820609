//! Notify scripts: one job at a time for each subject, and the last one is the final state.
//!
//! keepalived starts a script for every transition and waits for none, so two of them may race and the
//! wrong one may win. Here a transition waits while a script of the same subject runs, and a newer one
//! takes its place: what ran last always tells the state that is. A script runs for as long as it likes
//! until a newer state waits for its end; then it has a while to come to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use buoy_vrrp::{Priority, State};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::settings::{Deletion, Scripts, SubjectSettings};
use super::shutdown::{Phase, flushing};
use super::subject::Subject;
use crate::child::{Child, Ended};
use crate::config::plan::Command;

/// How long a newer state waits for a script to end; then it is ended.
const OVERTAKEN_LIMIT: Duration = Duration::from_secs(60);
/// What a script of the state STOP gets, and one that still runs when the daemon stops.
const STOP_LIMIT: Duration = Duration::from_secs(1);
/// From SIGTERM to SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(2);
/// Jobs that are started at once: a takeover of a thousand instances must not start a thousand shells.
const MAX_RUNNING: usize = 128;
/// A job that runs longer does not count among those: it must not keep other subjects waiting.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// What waits for its turn. At most three jobs for each subject, so it is bounded by the configuration.
#[derive(Debug)]
pub(super) struct Hooks {
    waiting: Mutex<BTreeMap<Subject, Waiting>>,
    /// What runs, at most one for each subject: a run of the hooks that fails has its scripts run again.
    running: Mutex<BTreeMap<Subject, Running>>,
    filled: Notify,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    overtaken: Duration,
    stop: Duration,
    settled: Duration,
}

#[derive(Debug, Default)]
struct Waiting {
    state: Option<Job>,
    ownership: Option<Job>,
    lower_priority: Option<Job>,
}

/// The scripts of one piece of news, in order.
#[derive(Clone, Debug)]
struct Job {
    commands: Vec<(Command, Vec<String>)>,
    /// Of each script; `None` where it may take its time.
    limit: Option<Duration>,
}

#[derive(Debug)]
struct Running {
    job: Job,
    /// Since when a newer state has been waiting.
    overtaken: watch::Sender<Option<Instant>>,
}

impl Hooks {
    pub(super) fn new() -> Self {
        Self::with_limits(Limits { overtaken: OVERTAKEN_LIMIT, stop: STOP_LIMIT, settled: SETTLED_AFTER })
    }

    fn with_limits(limits: Limits) -> Self {
        Self { waiting: Mutex::default(), running: Mutex::default(), filled: Notify::new(), limits }
    }

    /// Queues the scripts for `state`, in place of those that still wait for their turn.
    pub(super) fn announce(
        &self,
        subject: &buoy_vrrp::Subject,
        settings: &SubjectSettings,
        state: State,
        priority: Priority,
    ) {
        let notify = &settings.notify;
        let specific = match state {
            State::Master => notify.master.as_ref(),
            State::Backup => notify.backup.as_ref(),
            State::Fault => notify.fault.as_ref(),
            State::Stop => notify.stop.as_ref(),
            State::Deleted => match &settings.deletion {
                Deletion::Deleted(command) => command.as_ref(),
                Deletion::Fault | Deletion::Silent => None,
            },
            State::Init => None,
        };
        let general = notify.any.iter().map(|command| {
            let (kind, priority) = match subject {
                buoy_vrrp::Subject::Instance(_) => ("INSTANCE", priority.get()),
                buoy_vrrp::Subject::Group(_) => ("GROUP", 0),
            };
            let words = [kind, subject.name(), state.name()].map(str::to_owned);
            (command.clone(), words.into_iter().chain([priority.to_string()]).collect())
        });
        let commands: Vec<_> =
            specific.map(|command| (command.clone(), Vec::new())).into_iter().chain(general).collect();
        let limit = (state == State::Stop).then_some(self.limits.stop);
        self.replace(subject.clone().into(), Job { commands, limit });
    }

    /// Queues the script for a server that came or went, or a quorum that was gained or lost, in place of the one
    /// that still waits for its turn. It gets no arguments but its own.
    pub(super) fn announce_change(&self, subject: Subject, scripts: &Scripts, up: bool) {
        let commands = scripts.script(up).map(|command| (command.clone(), Vec::new()));
        self.replace(subject, Job { commands: commands.into_iter().collect(), limit: None });
    }

    /// Puts the newest state of `subject` in place of what waits, whether or not it has a script.
    fn replace(&self, subject: Subject, job: Job) {
        let mut waiting = self.waiting();
        if job.commands.is_empty() {
            waiting.remove(&subject);
        } else {
            // What happened in an earlier mastership is no news any more.
            let entry = Waiting { state: Some(job), ..Waiting::default() };
            waiting.insert(subject.clone(), entry);
        }
        drop(waiting);
        self.tell_running(&subject);
        self.filled.notify_one();
    }

    /// Lets the running job of `subject` know whether a newer state waits for its end.
    fn tell_running(&self, subject: &Subject) {
        let waits = self.waiting().get(subject).is_some_and(|waiting| waiting.state.is_some());
        if let Some(running) = self.running().get(subject) {
            running.overtaken.send_if_modified(|since| {
                let changed = since.is_some() != waits;
                if changed {
                    *since = waits.then(Instant::now);
                }
                changed
            });
        }
    }

    /// Queues `notify_master` of a master once more, to take back what a second owner may have taken: an elastic
    /// address, a route. Not while a state waits to be told, which is newer.
    pub(super) fn own_again(&self, subject: &buoy_vrrp::Subject, settings: &SubjectSettings) {
        let Some(command) = settings.notify.master.clone() else { return };
        let mut waiting = self.waiting();
        let entry = waiting.entry(subject.clone().into()).or_default();
        if entry.state.is_none() {
            let job = Job { commands: vec![(command, Vec::new())], limit: None };
            entry.ownership.get_or_insert(job);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Queues `notify_master_rx_lower_pri`, unless it waits already.
    pub(super) fn lower_priority_heard(&self, subject: &buoy_vrrp::Subject, settings: &SubjectSettings) {
        let Some(command) = settings.notify.master_rx_lower_pri.clone() else { return };
        let job = Job { commands: vec![(command, Vec::new())], limit: None };
        self.waiting().entry(subject.clone().into()).or_default().lower_priority.get_or_insert(job);
        self.filled.notify_one();
    }

    /// Runs jobs until the phase says that no more come and all is done. Dropping kills what runs; the next call
    /// runs it again, unless there is newer news.
    pub(super) async fn run(&self, phase: watch::Receiver<Phase>) {
        for (subject, Running { job, .. }) in std::mem::take(&mut *self.running()) {
            self.waiting().entry(subject).or_default().state.get_or_insert(job);
        }
        let places = Arc::new(Semaphore::new(MAX_RUNNING));
        let mut busy = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        loop {
            while let Ok(place) = Arc::clone(&places).try_acquire_owned()
                && let Some((subject, job)) = self.take(&busy)
            {
                busy.insert(subject.clone());
                let (overtaken, newer) = watch::channel(None);
                self.running().insert(subject.clone(), Running { job: job.clone(), overtaken });
                self.tell_running(&subject);
                let phase = phase.clone();
                running.push(async move {
                    let performing = perform(&subject, &job, newer, phase, self.limits);
                    self.settling(performing, place).await;
                    subject
                });
            }
            let may_end = running.is_empty();
            tokio::select! {
                Some(subject) = running.next() => {
                    busy.remove(&subject);
                    self.running().remove(&subject);
                }
                () = self.filled.notified() => {}
                () = flushing(phase.clone()), if may_end => {
                    // Jobs were queued before the phase changed, so nothing waits that is not seen here.
                    if self.waiting().is_empty() {
                        return;
                    }
                }
            }
        }
    }

    /// Runs a job, and gives its place to another when it takes long.
    async fn settling(&self, job: impl Future<Output = ()>, place: OwnedSemaphorePermit) {
        tokio::pin!(job);
        tokio::select! {
            () = &mut job => return,
            () = sleep(self.limits.settled) => {}
        }
        drop(place);
        self.filled.notify_one();
        job.await;
    }

    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        self.waiting().len()
    }

    fn take(&self, busy: &BTreeSet<Subject>) -> Option<(Subject, Job)> {
        let mut all = self.waiting();
        let (subject, waiting) = all.iter_mut().find(|(subject, _)| !busy.contains(*subject))?;
        let Waiting { state, ownership, lower_priority } = waiting;
        let job = state.take().or_else(|| ownership.take()).or_else(|| lower_priority.take());
        let (subject, done) = (subject.clone(), ownership.is_none() && lower_priority.is_none());
        if done {
            all.remove(&subject);
        }
        job.map(|job| (subject, job))
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Subject, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Subject, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a script of a job came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// By itself, or after its own time.
    Ended,
    /// A newer state waited too long.
    Overtaken,
}

async fn perform(
    subject: &Subject,
    job: &Job,
    newer: watch::Receiver<Option<Instant>>,
    phase: watch::Receiver<Phase>,
    limits: Limits,
) {
    for (command, arguments) in &job.commands {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let overtaken = overtaken(newer.clone(), limits.overtaken);
        // When the daemon stops, a script that is still busy with the past must not keep it.
        let cut_short = async {
            flushing(phase.clone()).await;
            sleep(limits.stop).await;
            limits.stop
        };
        let too_long = async {
            let Some(limit) = job.limit else { return std::future::pending().await };
            sleep(limit).await;
            limit
        };
        let out_of_time = async {
            tokio::select! {
                limit = cut_short => limit,
                limit = too_long => limit,
            }
        };
        if perform_one(subject, command, &arguments, overtaken, out_of_time).await == Fate::Overtaken {
            // The rest of the job is about a state that is no more.
            return;
        }
    }
}

/// Waits until a newer state has been waiting for `limit`. It may be withdrawn meanwhile.
async fn overtaken(mut newer: watch::Receiver<Option<Instant>>, limit: Duration) {
    loop {
        let due = newer.borrow_and_update().map(|since| since + limit);
        let over = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => return,
            changed = newer.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

async fn perform_one(
    subject: &Subject,
    command: &Command,
    arguments: &[&str],
    overtaken: impl Future<Output = ()>,
    out_of_time: impl Future<Output = Duration>,
) -> Fate {
    let script: Arc<str> = command.argv.first().cloned().unwrap_or_default();
    let mut child = match Child::spawn(command, arguments) {
        Ok(child) => child,
        Err(error) => {
            let ended = Ended::NotStarted(error);
            tracing::warn!(of = %subject, %script, result = %ended, "notify script failed");
            return Fate::Ended;
        }
    };
    let (ended, grace) = tokio::select! {
        ended = child.wait() => (ended, KILL_AFTER),
        limit = out_of_time => (Ended::TimedOut(limit), KILL_AFTER.min(limit)),
        () = overtaken => {
            tracing::warn!(
                of = %subject,
                %script,
                "a newer state has waited long enough for the notify script to end; ending it"
            );
            child.terminate(KILL_AFTER).await;
            return Fate::Overtaken;
        }
    };
    if child.through_shell() {
        tracing::warn!(%script, "no #! line: it runs through /bin/sh");
    }
    if !ended.success() {
        tracing::warn!(of = %subject, %script, result = %ended, "notify script failed");
    }
    if matches!(ended, Ended::TimedOut(_)) {
        child.terminate(grace).await;
    }
    Fate::Ended
}

#[cfg(test)]
mod tests;
