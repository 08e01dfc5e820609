//! Everything that is tracked: starts and stops what differs between two plans.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use buoy_vrrp::{Observation, Reading, Target};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::process::HomeNamespace;
use super::script::Outcome;
use super::verdict::Verdict;
use super::{file, process, script};
use crate::config::plan::{Plan, TrackFile, TrackProcess, TrackScript};

/// Where changed readings go. Called on the thread of [`Set::run`], and by [`Set::new`] and [`Set::apply`] for
/// scripts with `init_fail`; must not block.
pub type Sink = Arc<dyn Fn(Target, Observation) + Send + Sync>;

/// The tracked scripts, files and processes of a plan.
///
/// Only changes of the reading reach the [`Sink`]: a target that was never reported is
/// [`Reading::Unknown`].
pub struct Set {
    sink: Sink,
    state: Mutex<State>,
    changed: Notify,
    home: OnceLock<HomeNamespace>,
}

struct State {
    scripts: BTreeMap<Arc<str>, Script>,
    files: Arc<[TrackFile]>,
    processes: Arc<[TrackProcess]>,
    observed: BTreeMap<Target, Observation>,
    /// Observed, and the sink has not returned yet.
    untold: BTreeSet<Target>,
}

struct Script {
    settings: Arc<TrackScript>,
    verdict: Verdict,
}

impl Set {
    /// Writes the files with `init_file`; nothing is watched before [`Set::run`].
    pub fn new(plan: &Plan, sink: Sink) -> Arc<Self> {
        file::initialise(&plan.files);
        let state = State {
            scripts: BTreeMap::new(),
            files: Arc::from([]),
            processes: Arc::from([]),
            observed: BTreeMap::new(),
            untold: BTreeSet::new(),
        };
        let (state, changed, home) = (Mutex::new(state), Notify::new(), OnceLock::new());
        let set = Arc::new(Self { sink, state, changed, home });
        set.apply(plan);
        set
    }

    /// Remembers where events of processes are to be had, for a daemon that has left the namespace it was started in. To be
    /// called before [`Set::run`]; without it `/proc` is read every second there.
    pub fn remember_home(&self, home: HomeNamespace) {
        self.home.get_or_init(|| home);
    }

    /// Goes over to `plan`. What is the same goes on undisturbed. A script with another interval, timeout,
    /// rise or fall starts anew with its verdict rescaled; one with another command or user keeps its
    /// last observation until its first result, which decides alone. Runs of scripts that went away or
    /// changed are killed. May be called from any thread.
    pub fn apply(&self, plan: &Plan) {
        let mut early = Vec::new();
        let mut state = self.state();
        let wanted = targets(plan);
        state.observed.retain(|target, _| wanted.contains(target));
        let mut before = std::mem::take(&mut state.scripts);
        for settings in &plan.scripts {
            let script = match before.remove(&settings.name) {
                Some(old) if *old.settings == *settings => old,
                Some(old) => old.changed_to(settings),
                None => Script::new(settings, settings.init_fail),
            };
            let target = Target::Script(Arc::clone(&settings.name));
            if !state.observed.contains_key(&target) && script.verdict.reading() == Reading::Down {
                let evidence = Arc::from("assumed failed until it succeeds (init_fail)");
                early.push((target, Observation { reading: Reading::Down, evidence }));
            }
            state.scripts.insert(Arc::clone(&settings.name), script);
        }
        if *state.files != *plan.files {
            state.files = plan.files.as_slice().into();
        }
        if *state.processes != *plan.processes {
            state.processes = plan.processes.as_slice().into();
        }
        for target in wanted {
            let unknown = Observation { reading: Reading::Unknown, evidence: "no result yet".into() };
            state.observed.entry(target).or_insert(unknown);
        }
        drop(state);
        for (target, observation) in early {
            self.observe(target, observation);
        }
        self.changed.notify_one();
    }

    /// What is known of every target now.
    pub fn observations(&self) -> BTreeMap<Target, Observation> {
        self.state().observed.clone()
    }

    /// Watches and runs until dropped; dropping kills running scripts. A panic inside comes out of here,
    /// and calling again goes on with every verdict as it was, and reports what was seen before the panic and not
    /// reported. One at a time.
    pub async fn run(self: Arc<Self>) {
        self.tell_rest();
        let mut tasks = Tasks::default();
        loop {
            tasks.adapt(&self);
            tokio::select! {
                () = self.changed.notified() => {}
                Some(ended) = tasks.set.join_next() => match ended {
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    _aborted_or_done => {}
                },
            }
        }
    }

    /// Takes a result of `settings`, unless that is no longer what is wanted.
    fn judge(&self, settings: &Arc<TrackScript>, outcome: &Outcome) {
        let mut state = self.state();
        let reading = match state.scripts.get_mut(&settings.name) {
            Some(script) if Arc::ptr_eq(&script.settings, settings) => {
                script.verdict.record(outcome.success);
                script.verdict.reading()
            }
            _ => return,
        };
        drop(state);
        self.observe(Target::Script(Arc::clone(&settings.name)), outcome.observation(reading));
    }

    /// Remembers what was seen, and tells the sink if the reading is another one.
    fn observe(&self, target: Target, observation: Observation) {
        let mut state = self.state();
        let Some(known) = state.observed.get_mut(&target) else { return };
        let changed = known.reading != observation.reading;
        // Evidence explains the reading: a success that does not suffice yet does not explain "down".
        if changed {
            *known = observation.clone();
            state.untold.insert(target.clone());
        }
        drop(state);
        if changed {
            tracing::debug!(%target, reading = ?observation.reading, evidence = %observation.evidence, "observed");
            self.tell(target, observation);
        }
    }

    fn tell(&self, target: Target, observation: Observation) {
        (self.sink)(target.clone(), observation);
        self.state().untold.remove(&target);
    }

    /// What a run that panicked has seen and not reported.
    fn tell_rest(&self) {
        let state = self.state();
        let rest: Vec<(Target, Observation)> = state
            .untold
            .iter()
            .filter_map(|target| Some((target.clone(), state.observed.get(target)?.clone())))
            .collect();
        drop(state);
        for (target, observation) in rest {
            self.tell(target, observation);
        }
    }

    /// The state is consistent between any two statements that hold it, so a panic elsewhere is no harm.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set").field("observed", &self.observations()).finish_non_exhaustive()
    }
}

impl Script {
    fn new(settings: &TrackScript, init_fail: bool) -> Self {
        Self {
            settings: Arc::new(settings.clone()),
            verdict: Verdict::new(settings.rise, settings.fall, init_fail),
        }
    }

    fn changed_to(self, settings: &TrackScript) -> Self {
        if self.settings.command != settings.command {
            return Self::new(settings, false);
        }
        let verdict = self.verdict.rescaled(settings.rise, settings.fall);
        Self { settings: Arc::new(settings.clone()), verdict }
    }
}

fn targets(plan: &Plan) -> BTreeSet<Target> {
    let scripts = plan.scripts.iter().map(|script| Target::Script(Arc::clone(&script.name)));
    let files = plan.files.iter().map(|file| Target::File(Arc::clone(&file.name)));
    let processes = plan.processes.iter().map(|process| Target::Process(Arc::clone(&process.name)));
    scripts.chain(files).chain(processes).collect()
}

/// The running watchers, each with the settings it was started for. Dropping aborts them.
#[derive(Default)]
struct Tasks {
    set: JoinSet<()>,
    scripts: BTreeMap<Arc<str>, (Arc<TrackScript>, AbortHandle)>,
    files: Option<(Arc<[TrackFile]>, AbortHandle)>,
    processes: Option<(Arc<[TrackProcess]>, AbortHandle)>,
}

impl Tasks {
    /// Stops and starts what differs from what `set` wants.
    fn adapt(&mut self, set: &Arc<Set>) {
        let state = set.state();
        self.scripts.retain(|name, (settings, task)| {
            let same = state.scripts.get(name).is_some_and(|wanted| Arc::ptr_eq(&wanted.settings, settings));
            if !same {
                task.abort();
            }
            same
        });
        for (name, script) in &state.scripts {
            if !self.scripts.contains_key(name) {
                let settings = Arc::clone(&script.settings);
                let task = self.set.spawn(run_script(Arc::clone(set), Arc::clone(&settings)));
                self.scripts.insert(Arc::clone(name), (settings, task));
            }
        }
        if let Some(files) = replaced(&mut self.files, &state.files) {
            let task = self.set.spawn(watch_files(Arc::clone(set), Arc::clone(&files)));
            self.files = Some((files, task));
        }
        if let Some(processes) = replaced(&mut self.processes, &state.processes) {
            let task = self.set.spawn(watch_processes(Arc::clone(set), Arc::clone(&processes)));
            self.processes = Some((processes, task));
        }
    }
}

/// Ends the watcher of another list than `wanted`; gives the list for which one is to be started.
fn replaced<T>(running: &mut Option<(Arc<[T]>, AbortHandle)>, wanted: &Arc<[T]>) -> Option<Arc<[T]>> {
    if let Some((list, task)) = running {
        if Arc::ptr_eq(list, wanted) {
            return None;
        }
        task.abort();
        *running = None;
    }
    (!wanted.is_empty()).then(|| Arc::clone(wanted))
}

async fn run_script(set: Arc<Set>, settings: Arc<TrackScript>) {
    let for_verdict = Arc::clone(&settings);
    script::run(settings, |outcome| set.judge(&for_verdict, outcome)).await;
}

/// Without inotify the files are not seen at all, so it is asked for again until it is there.
async fn watch_files(set: Arc<Set>, files: Arc<[TrackFile]>) {
    let mut told = false;
    loop {
        let watching = file::watch(Arc::clone(&files), |file, observation| {
            set.observe(Target::File(Arc::clone(&file.name)), observation);
        });
        if let Err(error) = watching.await
            && !std::mem::replace(&mut told, true)
        {
            tracing::error!(error = format!("{error:#}"), "tracked files are not watched; trying again");
        }
        tokio::time::sleep(file::RETRY).await;
    }
}

async fn watch_processes(set: Arc<Set>, processes: Arc<[TrackProcess]>) {
    process::watch(processes, set.home.get(), |name, observation| {
        set.observe(Target::Process(Arc::clone(name)), observation);
    })
    .await;
}

#[cfg(test)]
mod tests;
