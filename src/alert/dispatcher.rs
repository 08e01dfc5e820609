//! The way of an event: inbox -> log, history, FIFO lines, notify scripts, mail, webhooks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use buoy_ipvs::RealServerId;
use buoy_vrrp::{Priority, State, Subject, Transition};
use tokio::sync::watch;
use tokio::time::timeout;

use super::change::ServiceChange;
use super::event::{Event, Matter, News, Record};
use super::fifo::Fifos;
use super::history::History;
use super::mail::Mailer;
use super::queue::Queue;
use super::script::Hooks;
use super::settings::Settings;
use super::shutdown::{Phase, reached};
use super::subject::PerTopic;
use super::webhook::Webhooks;
use crate::config::plan::Plan;
use crate::planted_panic::PlantedPanic;

/// Events on their way to the alerts; in a full inbox the oldest of the same kind and subject gives way. A takeover
/// of a thousand instances with their groups fits twice, and once the death of 40,000 real servers with their
/// services; the room is taken while it is needed.
const INBOX_CAPACITY: PerTopic<usize> = PerTopic { election: 4096, services: 65_536 };

/// Hands events out to everything that tells people and programs. Clones share one inbox.
///
/// [`Dispatcher::notify`] never waits and may be called on any thread. [`Dispatcher::run`] does the work: a
/// future that may be dropped, or panic, and be started again; of what it was delivering just
/// then, all but the scripts may be lost.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inbox: Queue<Matter, Event>,
    last_seq: AtomicU64,
    settings: Mutex<Arc<Settings>>,
    /// What was announced last of each subject.
    known: Mutex<BTreeMap<Subject, Known>>,
    history: History,
    fifos: Fifos,
    hooks: Hooks,
    /// Apart, so that a hundred scripts about servers that hang keep none about an instance waiting.
    service_hooks: Hooks,
    mailer: Mailer,
    webhooks: Webhooks,
    phase: watch::Sender<Phase>,
    panic: PlantedPanic,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    state: State,
    priority: Priority,
}

/// What was lost on the way, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Events that gave way to newer ones in a full inbox.
    pub superseded: u64,
    /// Lines that found a FIFO full; those of FIFOs closed by a reload are not counted any more.
    pub fifo_lines: u64,
}

impl Dispatcher {
    /// Opens the FIFOs of `plan`, which must exist before readers look for them.
    pub fn new(plan: &Plan) -> Self {
        let settings = Arc::new(Settings::new(plan, None));
        let shared = Shared {
            inbox: Queue::new(INBOX_CAPACITY),
            last_seq: AtomicU64::new(0),
            settings: Mutex::new(Arc::clone(&settings)),
            known: Mutex::default(),
            history: History::new(),
            fifos: Fifos::new(),
            hooks: Hooks::new(),
            service_hooks: Hooks::new(),
            mailer: Mailer::new(),
            webhooks: Webhooks::new(),
            phase: watch::Sender::new(Phase::Open),
            panic: PlantedPanic::default(),
        };
        shared.fifos.adapt(&settings.fifos);
        shared.webhooks.adapt(&settings.webhooks);
        Self { shared: Arc::new(shared) }
    }

    /// Stamps a transition with the time and the next sequence number, and hands it over.
    pub fn transition(&self, transition: Transition) {
        let (at, seq) = (SystemTime::now(), self.next_seq());
        self.notify(Event::Transition { transition, at, seq });
    }

    /// Tells that a real server of a virtual server came or went, and why. Stamps it like a transition and hands it
    /// over. One thread at a time tells of servers and quorums, as one tells of transitions: the history has either
    /// in the order of its numbers.
    pub fn server(&self, service: Arc<str>, server: RealServerId, up: bool, reason: Arc<str>) {
        self.service_change(ServiceChange { service, server: Some(server), up, reason });
    }

    /// Tells that a virtual server gained or lost its quorum, and why, in the same way.
    pub fn quorum(&self, service: Arc<str>, up: bool, reason: Arc<str>) {
        self.service_change(ServiceChange { service, server: None, up, reason });
    }

    fn service_change(&self, change: ServiceChange) {
        let (at, seq) = (SystemTime::now(), self.next_seq());
        self.notify(Event::Service { change, at, seq });
    }

    fn next_seq(&self) -> u64 {
        self.shared.last_seq.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Hands an event over. Costs a push under a lock that is never held for long.
    pub fn notify(&self, event: Event) {
        let matter = event.matter();
        self.shared.inbox.push(matter.subject.topic(), matter, event);
    }

    /// Goes over to `plan`. Call it before the events that the reload causes; subjects that `plan` no longer
    /// has are remembered until the next reload, for their last news.
    pub fn apply(&self, plan: &Plan) {
        let shared = &self.shared;
        let settings = {
            let mut current = shared.settings.lock().unwrap_or_else(PoisonError::into_inner);
            *current = Arc::new(Settings::new(plan, Some(&current)));
            Arc::clone(&current)
        };
        shared.fifos.adapt(&settings.fifos);
        shared.webhooks.adapt(&settings.webhooks);
        shared.mailer.adapt(&settings);
        let mut known = shared.known();
        known.retain(|subject, _| settings.subjects.contains_key(subject));
        if settings.write_states_on_reload {
            let present = known.iter().filter(|(subject, _)| {
                settings.subjects.get(*subject).is_some_and(|settings| !settings.departed)
            });
            for (subject, known) in present {
                shared.fifos.write(subject, known.state.name(), known.priority);
            }
        }
    }

    /// The last transitions and changes of virtual servers.
    pub fn history(&self) -> &History {
        &self.shared.history
    }

    pub fn losses(&self) -> Losses {
        Losses { superseded: self.shared.inbox.dropped(), fifo_lines: self.shared.fifos.dropped() }
    }

    /// Makes [`Dispatcher::run`] panic in the middle of its next delivery, to see it restarted.
    pub(crate) fn plant_panic(&self) {
        self.shared.panic.plant();
    }

    /// Delivers until [`Dispatcher::shutdown`] is through. Dropping it kills running scripts. One at a
    /// time.
    pub async fn run(&self) {
        let shared = &self.shared;
        let phase = || shared.phase.subscribe();
        tokio::join!(
            shared.hand_out(),
            shared.fifos.run(phase()),
            shared.hooks.run(phase()),
            shared.service_hooks.run(phase()),
            shared.mailer.run(|| shared.settings(), phase()),
            shared.webhooks.run(phase()),
        );
        shared.phase.send_replace(Phase::Done);
    }

    /// Delivers what is there, STOP scripts included (1 s each), makes no more second tries, and ends
    /// [`Dispatcher::run`]. After `within` the rest is given up; `false` then. Call it after the last
    /// event.
    pub async fn shutdown(&self, within: Duration) -> bool {
        let shared = &self.shared;
        shared.phase.send_if_modified(|phase| {
            let open = *phase == Phase::Open;
            if open {
                *phase = Phase::Closing;
            }
            open
        });
        if timeout(within, reached(shared.phase.subscribe(), Phase::Done)).await.is_ok() {
            return true;
        }
        tracing::warn!(
            events = shared.inbox.len(),
            scripts = shared.hooks.len() + shared.service_hooks.len(),
            mails = shared.mailer.len(),
            webhooks = shared.webhooks.len(),
            "alerts that could not be delivered in time are given up"
        );
        false
    }
}

impl Shared {
    async fn hand_out(&self) {
        let closing = reached(self.phase.subscribe(), Phase::Closing);
        tokio::pin!(closing);
        loop {
            tokio::select! {
                biased;
                event = self.inbox.next() => self.handle(event),
                () = &mut closing => break,
            }
            // A flood of events must not keep the other parts of the same task from their work.
            tokio::task::yield_now().await;
        }
        self.phase.send_if_modified(|phase| {
            let closing = *phase == Phase::Closing;
            if closing {
                *phase = Phase::Flushing;
            }
            closing
        });
    }

    fn handle(&self, event: Event) {
        let settings = self.settings();
        crate::log::event(&event);
        match event {
            Event::Transition { transition, at, seq } => {
                self.announce(&transition, &settings);
                self.keep(Record { seq, at, news: News::Transition(transition) }, &settings);
            }
            Event::Service { change, at, seq } => {
                self.announce_change(&change, &settings);
                self.keep(Record { seq, at, news: News::Service(change) }, &settings);
            }
            Event::PriorityChanged { instance, state, priority, .. } => {
                let subject = Subject::Instance(instance);
                self.known().entry(subject.clone()).or_insert(Known { state, priority }).priority = priority;
                let word = match state {
                    State::Master => "MASTER_PRIORITY",
                    State::Backup => "BACKUP_PRIORITY",
                    State::Init | State::Fault | State::Stop | State::Deleted => return,
                };
                if settings.subjects.get(&subject).is_some_and(|subject| subject.notify_priority_changes) {
                    self.fifos.write(&subject, word, priority);
                }
            }
            Event::Contention { instance, .. } => {
                let subject = Subject::Instance(instance);
                let master = self.known().get(&subject).is_some_and(|known| known.state == State::Master);
                if let (true, Some(settings)) = (master, settings.subjects.get(&subject)) {
                    self.hooks.own_again(&subject, settings);
                }
            }
            Event::LowerPriorityHeard { instance, .. } => {
                let subject = Subject::Instance(instance);
                let Some(subject_settings) = settings.subjects.get(&subject) else { return };
                self.hooks.lower_priority_heard(&subject, subject_settings);
                // The line tells our own priority, as every line does.
                let known = self.known().get(&subject).map(|known| known.priority);
                self.fifos.write(&subject, "MASTER_RX_LOWER_PRI", known.unwrap_or(subject_settings.priority));
            }
        }
    }

    /// The scripts first: whatever fails after that, they are run.
    fn announce(&self, transition: &Transition, settings: &Settings) {
        let subject = &transition.subject;
        if let (Some(state), Some(subject_settings)) =
            (settings.announced(transition), settings.subjects.get(subject))
        {
            let priority = transition.priority;
            self.known().insert(subject.clone(), Known { state, priority });
            self.hooks.announce(subject, subject_settings, state, priority);
            self.panic.strike();
            self.fifos.write(subject, state.name(), priority);
            self.mailer.announce(transition, state, settings);
        }
    }

    fn announce_change(&self, change: &ServiceChange, settings: &Settings) {
        let Some(service) = settings.services.get(&change.service) else { return };
        let Some(wishes) = service.wishes(change) else { return };
        if let Some(scripts) = &wishes.scripts {
            self.service_hooks.announce_change(change.subject(), scripts, change.up);
        }
        self.panic.strike();
        self.fifos.write_change(change, service.label());
        if wishes.smtp_alert {
            self.mailer.announce_change(change, service.label(), settings);
        }
    }

    fn keep(&self, record: Record, settings: &Settings) {
        self.webhooks.announce(&record, &settings.router_id);
        self.history.record(record);
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Subject, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
