//! The way in: state of which only the latest counts, kept until it is taken, and calls that want an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use buoy_ipvs::{Change, SyncDaemon, Timeouts};

use super::Status;
use crate::control::NotAdministered;
use crate::control::checks::ServerKey;
use crate::control::pool::{Administration, Health, Leaving};
use crate::control::service::Service;

/// Calls on their way. Operators make them, one at a time as a rule.
const CALLS: usize = 64;

/// What the plane is to be, as far as settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub services: Vec<Arc<Service>>,
    /// What is not given stays as the plane has it.
    pub timeouts: Timeouts,
    /// Once at the start the plane is emptied, foreign services included.
    pub flush: bool,
}

/// What the plane is left with at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Everything stays.
    Keep,
    /// Our services go.
    Remove,
    /// All services go, foreign ones included.
    Flush,
}

/// What the rest of the daemon wants to be done or to know.
pub enum Call {
    /// In the operator's words; the answer says who they mean.
    Administer {
        service: String,
        server: String,
        administration: Administration,
        reply: Reply<Result<ServerKey, NotAdministered>>,
    },
    /// What these services would change.
    Preview {
        services: Vec<Arc<Service>>,
        reply: Reply<Vec<Change>>,
    },
    Status(Reply<Status>),
    /// Answered when the plane holds what was told before, or does not work.
    Settle(Reply<()>),
    /// Nothing: there is news in the inbox.
    Look,
}

/// Takes an answer on the thread: hands it on and must not wait.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad("Call")
    }
}

/// Why a call is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error("the virtual servers are busy: try again")]
    Busy,
    #[error("nobody drives the virtual servers any more")]
    Ended,
}

/// The way to tell and to ask, from any thread. No method waits.
#[derive(Clone, Debug)]
pub struct Handle {
    inbox: Arc<Inbox>,
    calls: SyncSender<Call>,
}

/// The other end of a [`Handle`]. It outlives a driver that fails, and what is known with it.
#[derive(Debug)]
pub struct Orders {
    inbox: Arc<Inbox>,
    pub(super) calls: Receiver<Call>,
}

#[derive(Debug, Default)]
struct Inbox {
    state: Mutex<State>,
    /// By itself, for the election tells it and must not wait for those who hold the other.
    sync: Mutex<SyncState>,
}

#[derive(Debug, Default)]
struct SyncState {
    wanted: Arc<[SyncDaemon]>,
    new: bool,
}

/// Bounded by the configuration.
#[derive(Debug, Default)]
struct State {
    /// The latest; `None` before the first.
    settings: Option<Arc<Settings>>,
    past: Past,
    news: News,
}

/// What a driver knew, for one that starts anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// Those that it has gone over to. Later ones are news.
    pub(super) settings: Arc<Settings>,
    /// What it let drain of all that they had removed.
    pub(super) leaving: Vec<Leaving>,
    /// What operators have said of what is configured.
    pub(super) administrations: BTreeMap<ServerKey, Administration>,
}

/// What has not been taken yet.
#[derive(Default)]
pub(super) struct News {
    pub(super) settings: Option<Arc<Settings>>,
    pub(super) sync: Option<Arc<[SyncDaemon]>>,
    pub(super) health: BTreeMap<ServerKey, Health>,
    pub(super) stop: Option<(Farewell, Reply<()>)>,
}

impl std::fmt::Debug for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad("News")
    }
}

/// Both ends of a way to a driver.
pub fn orders() -> (Handle, Orders) {
    let inbox = Arc::new(Inbox::default());
    let (sender, calls) = sync_channel(CALLS);
    (Handle { inbox: Arc::clone(&inbox), calls: sender }, Orders { inbox, calls })
}

impl Handle {
    /// Goes over to other settings.
    pub fn configure(&self, settings: Settings) {
        let settings = Arc::new(settings);
        let mut state = self.inbox.lock();
        let old = state.settings.replace(Arc::clone(&settings));
        let missed = state.news.settings.replace(settings);
        drop(state);
        // Large ones take their time to go.
        drop((old, missed));
        self.wake();
    }

    /// The connection sync daemons that are to run, at most one of each role.
    pub fn sync(&self, daemons: Vec<SyncDaemon>) {
        *self.inbox.lock_sync() = SyncState { wanted: daemons.into(), new: true };
        self.wake();
    }

    /// The checkers have come to another conclusion about a server.
    pub fn health(&self, server: ServerKey, health: Health) {
        let first = {
            let news = &mut self.inbox.lock().news;
            let first = news.health.is_empty();
            news.health.insert(server, health);
            first
        };
        // Somebody has woken it for the others, and it takes all.
        if first {
            self.wake();
        }
    }

    /// The end.
    pub fn stop(&self, farewell: Farewell, reply: Reply<()>) {
        self.inbox.lock().news.stop = Some((farewell, reply));
        self.wake();
    }

    /// Has something done or asks something.
    ///
    /// # Errors
    /// It is not taken; the reply will not come.
    pub fn call(&self, call: Call) -> Result<(), NotTaken> {
        self.calls.try_send(call).map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::Busy,
            TrySendError::Disconnected(_) => NotTaken::Ended,
        })
    }

    fn wake(&self) {
        // Where calls wait it looks into the inbox anyway.
        let _looks = self.calls.try_send(Call::Look);
    }
}

impl Orders {
    pub(super) fn take(&self) -> News {
        let mut news = std::mem::take(&mut self.inbox.lock().news);
        let mut sync = self.inbox.lock_sync();
        news.sync = std::mem::take(&mut sync.new).then(|| Arc::clone(&sync.wanted));
        news
    }

    /// Everything anew for a driver that knows nothing. Health has to be told again by whoever knows it.
    pub(super) fn begin(&self) {
        let mut state = self.inbox.lock();
        state.news.settings = state.settings.clone();
        drop(state);
        self.inbox.lock_sync().new = true;
    }

    pub(super) fn past(&self) -> Past {
        self.inbox.lock().past.clone()
    }

    /// The driver has gone over to these, and has forgotten what operators said of servers that they do not have.
    pub(super) fn note_settings(&self, settings: Arc<Settings>) {
        let servers = |service: &Arc<Service>| {
            let ids = service.servers.iter().map(|server| server.id);
            ids.map(|id| (Arc::clone(&service.name), id)).collect::<Vec<_>>()
        };
        let named: BTreeSet<ServerKey> = settings.services.iter().flat_map(servers).collect();
        let mut state = self.inbox.lock();
        state.past.administrations.retain(|key, _| named.contains(key));
        let old = std::mem::replace(&mut state.past.settings, settings);
        drop(state);
        // Large ones take their time to go.
        drop(old);
    }

    pub(super) fn note_leaving(&self, leaving: Vec<Leaving>) {
        self.inbox.lock().past.leaving = leaving;
    }

    pub(super) fn remember(&self, server: ServerKey, administration: Administration) {
        let administrations = &mut self.inbox.lock().past.administrations;
        match administration {
            Administration::Enabled => drop(administrations.remove(&server)),
            said => drop(administrations.insert(server, said)),
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every state of it is a valid one, whatever a panicking holder left.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_sync(&self) -> MutexGuard<'_, SyncState> {
        self.sync.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
