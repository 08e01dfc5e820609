//! Notify scripts: one job at a time for each instance and group, and the last one is the final state.
//!
//! keepalived starts a script for every transition and waits for none, so two of them may race and the
//! wrong one may win. Here a transition waits while a script of the same subject runs, and a newer one
//! takes its place: what ran last always tells the state that is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use buoy_vrrp::{Priority, State, Subject};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::settings::{Deletion, SubjectSettings};
use super::shutdown::{Phase, flushing};
use crate::child::{Child, Ended};
use crate::config::plan::Command;

/// A script that runs longer is ended.
const LIMIT: Duration = Duration::from_secs(60);
/// What a script of the state STOP gets, and one that still runs when the daemon stops.
const STOP_LIMIT: Duration = Duration::from_secs(1);
/// From SIGTERM to SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(2);
/// Jobs that run at once: a takeover of a thousand instances must not start a thousand shells.
const MAX_RUNNING: usize = 128;

/// What waits for its turn. At most three jobs for each subject, so it is bounded by the configuration.
#[derive(Debug)]
pub(super) struct Hooks {
    waiting: Mutex<BTreeMap<Subject, Waiting>>,
    /// What runs, at most one for each subject: a run of the hooks that fails has its scripts run again.
    running: Mutex<BTreeMap<Subject, Job>>,
    filled: Notify,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    run: Duration,
    stop: Duration,
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
    limit: Duration,
}

impl Hooks {
    pub(super) fn new() -> Self {
        Self::with_limits(Limits { run: LIMIT, stop: STOP_LIMIT })
    }

    fn with_limits(limits: Limits) -> Self {
        Self { waiting: Mutex::default(), running: Mutex::default(), filled: Notify::new(), limits }
    }

    /// Queues the scripts for `state`, in place of those that still wait for their turn.
    pub(super) fn announce(
        &self,
        subject: &Subject,
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
                Subject::Instance(_) => ("INSTANCE", priority.get()),
                Subject::Group(_) => ("GROUP", 0),
            };
            let words = [kind, subject.name(), state.name()].map(str::to_owned);
            (command.clone(), words.into_iter().chain([priority.to_string()]).collect())
        });
        let commands: Vec<_> =
            specific.map(|command| (command.clone(), Vec::new())).into_iter().chain(general).collect();
        let limit = if state == State::Stop { self.limits.stop } else { self.limits.run };
        let job = (!commands.is_empty()).then_some(Job { commands, limit });
        let mut waiting = self.waiting();
        match job {
            Some(job) => {
                // What happened in an earlier mastership is no news any more.
                let entry = Waiting { state: Some(job), ..Waiting::default() };
                waiting.insert(subject.clone(), entry);
            }
            None => drop(waiting.remove(subject)),
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Queues `notify_master` of a master once more, to take back what a second owner may have taken: an elastic
    /// address, a route. Not while a state waits to be told, which is newer.
    pub(super) fn own_again(&self, subject: &Subject, settings: &SubjectSettings) {
        let Some(command) = settings.notify.master.clone() else { return };
        let mut waiting = self.waiting();
        let entry = waiting.entry(subject.clone()).or_default();
        if entry.state.is_none() {
            let job = Job { commands: vec![(command, Vec::new())], limit: self.limits.run };
            entry.ownership.get_or_insert(job);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Queues `notify_master_rx_lower_pri`, unless it waits already.
    pub(super) fn lower_priority_heard(&self, subject: &Subject, settings: &SubjectSettings) {
        let Some(command) = settings.notify.master_rx_lower_pri.clone() else { return };
        let job = Job { commands: vec![(command, Vec::new())], limit: self.limits.run };
        self.waiting().entry(subject.clone()).or_default().lower_priority.get_or_insert(job);
        self.filled.notify_one();
    }

    /// Runs jobs until the phase says that no more come and all is done. Dropping kills what runs; the next call
    /// runs it again, unless there is newer news.
    pub(super) async fn run(&self, phase: watch::Receiver<Phase>) {
        for (subject, job) in std::mem::take(&mut *self.running()) {
            self.waiting().entry(subject).or_default().state.get_or_insert(job);
        }
        let mut busy = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        loop {
            while busy.len() < MAX_RUNNING
                && let Some((subject, job)) = self.take(&busy)
            {
                busy.insert(subject.clone());
                self.running().insert(subject.clone(), job.clone());
                running.push(perform(subject, job, phase.clone(), self.limits.stop));
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

    fn running(&self) -> MutexGuard<'_, BTreeMap<Subject, Job>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn perform(subject: Subject, job: Job, phase: watch::Receiver<Phase>, stop_limit: Duration) -> Subject {
    for (command, arguments) in &job.commands {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        perform_one(&subject, command, &arguments, job.limit, phase.clone(), stop_limit).await;
    }
    subject
}

async fn perform_one(
    subject: &Subject,
    command: &Command,
    arguments: &[&str],
    limit: Duration,
    phase: watch::Receiver<Phase>,
    stop_limit: Duration,
) {
    let script: Arc<str> = command.argv.first().cloned().unwrap_or_default();
    let mut child = match Child::spawn(command, arguments) {
        Ok(child) => child,
        Err(error) => {
            let ended = Ended::NotStarted(error);
            tracing::warn!(of = %subject.name(), %script, result = %ended, "notify script failed");
            return;
        }
    };
    if child.through_shell() {
        tracing::warn!(%script, "no #! line: running it through /bin/sh");
    }
    // When the daemon stops, a script that is still busy with the past must not keep it.
    let cut_short = async {
        flushing(phase).await;
        sleep(stop_limit).await;
    };
    let ended = tokio::select! {
        ended = child.wait_for(limit) => ended,
        () = cut_short => Ended::TimedOut(stop_limit),
    };
    if !ended.success() {
        tracing::warn!(of = %subject.name(), %script, result = %ended, "notify script failed");
    }
    if matches!(ended, Ended::TimedOut(_)) {
        child.terminate(KILL_AFTER.min(limit)).await;
    }
}

#[cfg(test)]
mod tests;
