//! The checks that there are: who wants them, what is believed about them, when they are due. No sockets, no clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::checker::Probe;
use crate::outcome::{Administrative, CertificateExpiry, Outcome};
use crate::schedule::{Schedule, Spread, next_due};
use crate::silence::{Hearing, Silence};
use crate::verdict::{Cadence, Decision, Health, Transition, Verdict, Wait};
use crate::weight::WeightAdvice;

/// What is asked and how often. Checks with equal settings are one probe with several subscribers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct CheckSettings {
    pub probe: Probe,
    pub cadence: Cadence,
}

/// The caller's number for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CheckId(pub u64);

/// A probe that one or more checks share. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeKey(u64);

/// An attempt to make now.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub key: ProbeKey,
    pub settings: Arc<CheckSettings>,
    /// See [`Probe::attempt`].
    pub part: u32,
    /// When it should have been made.
    pub due: Instant,
    /// Whether [`Roster::hear`] wants to know if somebody other than this host answers it.
    pub listens: bool,
}

/// All that is believed about a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub id: CheckId,
    pub health: Health,
    /// Whether any result has decided, or `health` is what the settings say to start with.
    pub decided: bool,
    /// Since when it has had this health.
    pub since: Instant,
    /// Changes of health so far. More than one ahead of the report before: it went there and back.
    pub transitions: u64,
    /// The change that brought this report; `None` for another cause.
    pub transition: Option<Transition>,
    /// Failures in a row of a server that is still up.
    pub failures: u32,
    /// It is down because nothing comes back from it, and whether that is its own fault or that of this host's network
    /// is not known yet.
    pub doubted: bool,
    pub weight: Option<WeightAdvice>,
    pub administrative: Option<Administrative>,
    pub certificate: Option<CertificateExpiry>,
    /// The last result and when it came.
    pub last: Option<(Outcome, Instant)>,
}

/// Keeps checks, their beliefs and their times.
///
/// Calling order: [`add`](Self::add), [`replace`](Self::replace), [`remove`](Self::remove), [`suspend`](Self::suspend)
/// and [`resume`](Self::resume) at any time; when [`poll_timeout`](Self::poll_timeout) has passed,
/// [`poll_attempt`](Self::poll_attempt) until it has none, each attempt being answered by
/// [`handle_outcome`](Self::handle_outcome), after [`hear`](Self::hear) where that applies; after any of these
/// [`poll_report`](Self::poll_report) and [`poll_cancel`](Self::poll_cancel) until they have none.
#[derive(Debug)]
pub struct Roster {
    checks: BTreeMap<CheckId, Check>,
    /// Boxed: a table of them has room for twice as many.
    probes: HashMap<ProbeKey, Box<Shared>>,
    by_settings: HashMap<Arc<CheckSettings>, ProbeKey>,
    schedule: Schedule,
    spread: Spread,
    hearing: Hearing,
    next_key: u64,
    reports: VecDeque<Report>,
    cancelled: VecDeque<ProbeKey>,
}

#[derive(Debug)]
struct Check {
    probe: ProbeKey,
    suspended: bool,
}

#[derive(Debug)]
struct Shared {
    settings: Arc<CheckSettings>,
    subscribers: Vec<CheckId>,
    verdict: Verdict,
    since: Instant,
    transitions: u64,
    silence: Silence,
    last: Option<(Outcome, Instant)>,
    /// The due time of the attempt under way.
    running: Option<Instant>,
}

impl Roster {
    /// The seed shifts the start times of all checks.
    pub fn new(seed: u32) -> Self {
        Self {
            checks: BTreeMap::new(),
            probes: HashMap::new(),
            by_settings: HashMap::new(),
            schedule: Schedule::default(),
            spread: Spread::seeded(seed),
            hearing: Hearing::default(),
            next_key: 0,
            reports: VecDeque::new(),
            cancelled: VecDeque::new(),
        }
    }

    /// Adds a check, or gives an existing one these settings.
    ///
    /// Equal settings change nothing. Settings of which only the cadence differs keep all that was counted. With another
    /// probe it is another check, of which nothing is known: what one question was answered says nothing about the next.
    pub fn replace(&mut self, id: CheckId, settings: impl Into<Arc<CheckSettings>>, now: Instant) {
        let settings = settings.into();
        let old = self.checks.get(&id).map(|check| check.probe);
        let suspended = self.checks.get(&id).is_some_and(|check| check.suspended);
        if old.and_then(|old| self.probes.get(&old)).is_some_and(|p| p.settings == settings) {
            return;
        }
        let same = old.and_then(|old| self.probes.get(&old)).filter(|p| p.settings.probe == settings.probe);
        let inherited = same.map(|probe| probe.inherited());
        self.leave(id);
        let key = match self.by_settings.get(&settings) {
            Some(key) => *key,
            None => self.open(settings, inherited, now),
        };
        if let Some(probe) = self.probes.get_mut(&key) {
            probe.subscribers.push(id);
        }
        self.checks.insert(id, Check { probe: key, suspended });
        self.pause_or_start(key, now);
        self.report_to(id, None);
    }

    /// Adds a check. [`replace`](Self::replace) under another name, for those who know that it is new.
    pub fn add(&mut self, id: CheckId, settings: impl Into<Arc<CheckSettings>>, now: Instant) {
        self.replace(id, settings, now);
    }

    /// Forgets a check. An attempt that nobody else waits for is cancelled.
    pub fn remove(&mut self, id: CheckId) {
        self.leave(id);
        self.reports.retain(|report| report.id != id);
    }

    /// Freezes what is believed about a check until [`resume`](Self::resume) (`ha_suspend`).
    pub fn suspend(&mut self, id: CheckId, now: Instant) {
        self.set_suspended(id, true, now);
    }

    pub fn resume(&mut self, id: CheckId, now: Instant) {
        self.set_suspended(id, false, now);
        self.report_to(id, None);
    }

    /// Somebody other than this host has answered an attempt that began then.
    pub fn hear(&mut self, began: Instant) {
        self.hearing.hear(began);
    }

    /// Takes the result of an attempt; of one that was cancelled meanwhile, nothing.
    pub fn handle_outcome(&mut self, key: ProbeKey, outcome: Outcome, started: Instant, now: Instant) {
        let Some(probe) = self.probes.get_mut(&key) else { return };
        let Some(due) = probe.running.take() else { return };
        let decision = probe.take(outcome, started, now);
        self.schedule.set(key.0, next_due(decision.wait, due, started, now));
        self.report_change(key, decision);
    }

    /// Takes what was told from outside about a [`Probe::External`]. Being told is not asking: it counts for a suspended
    /// check too, which hears of it on resuming.
    pub fn observe(&mut self, id: CheckId, outcome: Outcome, now: Instant) {
        let Some(key) = self.checks.get(&id).map(|check| check.probe) else { return };
        let Some(probe) = self.probes.get_mut(&key).filter(|p| p.is_external()) else { return };
        let decision = probe.take(outcome, now, now);
        self.report_change(key, decision);
    }

    /// When the next attempt is due; `None` while nothing waits for its time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.schedule.poll_timeout()
    }

    /// The attempt that has been due longest at `now`.
    pub fn poll_attempt(&mut self, now: Instant) -> Option<Attempt> {
        let (key, due) = self.schedule.pop_due(now)?;
        let key = ProbeKey(key);
        let probe = self.probes.get_mut(&key)?;
        probe.running = Some(due);
        probe.silence.begin_attempt(self.hearing);
        let (settings, part) = (Arc::clone(&probe.settings), probe.verdict.part());
        Some(Attempt { key, settings, part, due, listens: self.hearing.listens(now) })
    }

    /// What a subscriber should hear.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// An attempt to drop.
    pub fn poll_cancel(&mut self) -> Option<ProbeKey> {
        self.cancelled.pop_front()
    }

    /// All checks as they are.
    pub fn snapshot(&self) -> Vec<Report> {
        self.checks.keys().filter_map(|id| self.report_of(*id, None)).collect()
    }

    pub fn check_count(&self) -> usize {
        self.checks.len()
    }

    /// Probes that are made, fewer than checks where some are shared.
    pub fn probe_count(&self) -> usize {
        self.probes.len()
    }

    fn open(&mut self, settings: Arc<CheckSettings>, inherited: Option<Shared>, now: Instant) -> ProbeKey {
        let key = ProbeKey(self.next_key);
        self.next_key += 1;
        let probe = match inherited {
            Some(probe) => Shared { settings: Arc::clone(&settings), ..probe },
            None => Shared::new(Arc::clone(&settings), now),
        };
        self.by_settings.insert(settings, key);
        self.probes.insert(key, Box::new(probe));
        key
    }

    fn leave(&mut self, id: CheckId) {
        let Some(Check { probe: key, .. }) = self.checks.remove(&id) else { return };
        let Some(probe) = self.probes.get_mut(&key) else { return };
        probe.subscribers.retain(|subscriber| *subscriber != id);
        let forsaken = probe.subscribers.is_empty();
        // Those that are left may all be suspended.
        self.pause_if_unwanted(key);
        if forsaken && let Some(probe) = self.probes.remove(&key) {
            self.by_settings.remove(&probe.settings);
        }
    }

    fn set_suspended(&mut self, id: CheckId, suspended: bool, now: Instant) {
        let Some(check) = self.checks.get_mut(&id) else { return };
        check.suspended = suspended;
        let key = check.probe;
        self.pause_or_start(key, now);
    }

    /// A probe runs while any of its subscribers wants it.
    fn pause_or_start(&mut self, key: ProbeKey, now: Instant) {
        if self.pause_if_unwanted(key) {
            return;
        }
        let Some(probe) = self.probes.get(&key) else { return };
        if !probe.is_external() && probe.running.is_none() && !self.schedule.contains(key.0) {
            self.schedule.set(key.0, self.spread.first_due(now, probe.settings.cadence.warmup));
        }
    }

    fn pause_if_unwanted(&mut self, key: ProbeKey) -> bool {
        let Some(probe) = self.probes.get_mut(&key) else { return true };
        let awake = |id: &CheckId| self.checks.get(id).is_some_and(|check| !check.suspended);
        if probe.subscribers.iter().any(awake) {
            return false;
        }
        self.schedule.remove(key.0);
        if probe.running.take().is_some() {
            self.cancelled.push_back(key);
        }
        true
    }

    fn report_change(&mut self, key: ProbeKey, decision: Change) {
        if !decision.tell {
            return;
        }
        let Some(probe) = self.probes.get(&key) else { return };
        for id in probe.subscribers.clone() {
            self.report_to(id, decision.transition);
        }
    }

    fn report_to(&mut self, id: CheckId, transition: Option<Transition>) {
        // What is frozen is not told either: it is on resuming.
        if self.checks.get(&id).is_none_or(|check| check.suspended) {
            return;
        }
        self.reports.extend(self.report_of(id, transition));
    }

    fn report_of(&self, id: CheckId, transition: Option<Transition>) -> Option<Report> {
        let probe = self.probes.get(&self.checks.get(&id)?.probe)?;
        let verdict = &probe.verdict;
        Some(Report {
            id,
            health: verdict.health(),
            decided: verdict.is_decided(),
            since: probe.since,
            transitions: probe.transitions,
            transition,
            failures: verdict.failures(),
            doubted: probe.is_doubted(),
            weight: verdict.weight(),
            administrative: verdict.administrative(),
            certificate: verdict.certificate(),
            last: probe.last.clone(),
        })
    }
}

/// What a result changed.
struct Change {
    transition: Option<Transition>,
    wait: Wait,
    tell: bool,
}

impl Shared {
    fn new(settings: Arc<CheckSettings>, now: Instant) -> Self {
        Self {
            verdict: Verdict::new(settings.cadence.start),
            settings,
            subscribers: Vec::new(),
            since: now,
            transitions: 0,
            silence: Silence::default(),
            last: None,
            running: None,
        }
    }

    /// What the same probe at another cadence starts from.
    fn inherited(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            subscribers: Vec::new(),
            verdict: self.verdict.clone(),
            since: self.since,
            transitions: self.transitions,
            silence: self.silence,
            last: self.last.clone(),
            running: None,
        }
    }

    fn is_external(&self) -> bool {
        matches!(self.settings.probe, Probe::External(_))
    }

    /// Whether it is down for a silence that may be this host's.
    fn is_doubted(&self) -> bool {
        self.verdict.health() == Health::Down && self.silence.is_doubted()
    }

    fn take(&mut self, outcome: Outcome, began: Instant, now: Instant) -> Change {
        let (failures, doubted) = (self.verdict.failures(), self.is_doubted());
        let CheckSettings { probe, cadence } = &*self.settings;
        let Decision { transition, first, learnt, wait } =
            self.verdict.handle_outcome(&outcome, cadence, probe.parts());
        self.silence.handle_outcome(&outcome, began);
        if transition.is_some() {
            self.since = now;
            self.transitions += 1;
        }
        let failed = matches!(outcome, Outcome::Down(_));
        let known = self.last.as_ref().is_some_and(|(last, _)| tells_the_same(last, &outcome));
        let counted = (self.verdict.failures(), self.is_doubted()) != (failures, doubted);
        let tell = transition.is_some()
            || first
            || learnt
            || counted
            || !known
            || failed && cadence.report_all_failures;
        self.last = Some((outcome, now));
        Change { transition, wait, tell }
    }
}

/// Successes differ in what they teach, which is compared elsewhere; failures in their reason.
fn tells_the_same(one: &Outcome, other: &Outcome) -> bool {
    match (one, other) {
        (Outcome::Up(_) | Outcome::Advice(_), Outcome::Up(_) | Outcome::Advice(_)) => true,
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests;
