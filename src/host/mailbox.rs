//! What the rest of the daemon tells the host thread. The latest word per router counts; nobody waits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::HostConfig;
use super::item::Items;

/// What the host is to make of a router's items.
#[derive(Clone, Debug)]
pub(super) enum Want {
    Present {
        items: Arc<Items>,
        lease: Option<Duration>,
    },
    /// Not there. `items` replaces what the router was known to have.
    Absent {
        items: Option<Arc<Items>>,
    },
    /// Not there, and the router is no more.
    Forgotten,
}

#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) want: Option<Want>,
    pub(super) refresh: bool,
    pub(super) announce: bool,
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    /// At most one entry per router: the bound is the configuration.
    pub(super) routers: BTreeMap<Arc<str>, Change>,
    pub(super) config: Option<Arc<HostConfig>>,
    pub(super) stop: bool,
    pub(super) barriers: Vec<SyncSender<()>>,
}

/// The last word per router, and the configuration: what a restarted host thread starts from.
#[derive(Debug, Default)]
struct Standing {
    routers: BTreeMap<Arc<str>, Want>,
    config: Option<Arc<HostConfig>>,
    stop: bool,
}

#[derive(Debug, Default)]
struct Notes {
    pending: Pending,
    standing: Standing,
}

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    notes: Mutex<Notes>,
    wake: Notify,
    pub(super) changes: Arc<AtomicU64>,
}

impl Mailbox {
    pub(super) fn take(&self) -> Pending {
        std::mem::take(&mut self.lock().pending)
    }

    /// Makes everything that was ever said and still holds pending again.
    pub(super) fn repeat(&self) {
        let notes = &mut *self.lock();
        for (router, want) in &notes.standing.routers {
            notes.pending.routers.entry(router.clone()).or_default().want = Some(want.clone());
        }
        notes.pending.config.clone_from(&notes.standing.config);
        notes.pending.stop = notes.standing.stop;
    }

    /// Cancel-safe: a wake-up that is not waited for is kept.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        // Every state of the notes is a valid one, whatever a panicking holder left.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, note: impl FnOnce(&mut Pending)) {
        note(&mut self.lock().pending);
        self.wake.notify_one();
    }

    fn want(&self, wants: impl IntoIterator<Item = (Arc<str>, Want)>) {
        let notes = &mut *self.lock();
        for (router, want) in wants {
            match &want {
                Want::Forgotten => drop(notes.standing.routers.remove(&router)),
                _ => drop(notes.standing.routers.insert(router.clone(), want.clone())),
            }
            let change = notes.pending.routers.entry(router).or_default();
            let present = matches!(want, Want::Present { .. });
            *change = Change {
                want: Some(want),
                refresh: change.refresh && present,
                announce: change.announce && present,
            };
        }
        self.wake.notify_one();
    }

    /// The items last named for a router.
    fn items_of(&self, router: &Arc<str>) -> Option<Arc<Items>> {
        match self.lock().standing.routers.get(router)? {
            Want::Present { items, .. } => Some(items.clone()),
            Want::Absent { items } => items.clone(),
            Want::Forgotten => None,
        }
    }
}

/// The way to speak to the host thread, from any thread. No call blocks: each leaves a note that replaces an
/// earlier one about the same router, and wakes the host.
#[derive(Clone, Default)]
pub struct HostHandle {
    pub(super) mailbox: Arc<Mailbox>,
}

impl HostHandle {
    /// A handle for which no host works yet. What is told meanwhile is kept.
    pub fn new() -> Self {
        Self::default()
    }

    /// Routers that are not master: whatever of their items is in the kernel, left by an earlier run, is removed;
    /// addresses by address, length and interface, whoever put them there, routes and rules by all that they
    /// say. What somebody puts there later is removed too, with a warning. Not for a router that is master: say `install`, which adopts what is right.
    pub fn adopt_or_clear(&self, routers: impl IntoIterator<Item = (Arc<str>, Arc<Items>)>) {
        let absent = |(router, items)| (router, Want::Absent { items: Some(items) });
        self.mailbox.want(routers.into_iter().map(absent));
    }

    /// Hold `items` for `router`, which became or is master. With a lease the addresses have that kernel lifetime
    /// and vanish unless refreshed. Items of an earlier `install` that are no longer named are removed.
    pub fn install(&self, router: &Arc<str>, items: Arc<Items>, lease: Option<Duration>) {
        self.mailbox.want([(router.clone(), Want::Present { items, lease })]);
    }

    /// `router` is no longer master: its items go.
    pub fn withdraw(&self, router: &Arc<str>) {
        let items = self.mailbox.items_of(router);
        self.mailbox.want([(router.clone(), Want::Absent { items })]);
    }

    /// `router` is no longer configured: its items go and nothing is remembered.
    pub fn forget(&self, router: &Arc<str>) {
        self.mailbox.want([(router.clone(), Want::Forgotten)]);
    }

    /// Renew the lifetimes of the addresses of `router`.
    pub fn refresh_lease(&self, router: &Arc<str>) {
        self.change(router, |change| change.refresh = true);
    }

    /// Call [`Outlet::announce`](super::Outlet::announce) once the addresses of `router` are in the kernel.
    /// Addresses newly put there are announced unasked.
    pub fn announce(&self, router: &Arc<str>) {
        self.change(router, |change| change.announce = true);
    }

    /// Static items, virtual MACs, firewall and kernel settings; a later one replaces an earlier one and only the
    /// difference is applied.
    pub fn configure(&self, config: Arc<HostConfig>) {
        let notes = &mut *self.mailbox.lock();
        notes.standing.config = Some(config.clone());
        notes.pending.config = Some(config);
        self.mailbox.wake.notify_one();
    }

    /// Remove everything, restore kernel settings, end [`Host::run`](super::Host::run). There is no way back.
    pub fn stop(&self) {
        let notes = &mut *self.mailbox.lock();
        notes.standing.stop = true;
        notes.pending.stop = true;
        self.mailbox.wake.notify_one();
    }

    /// Receives once everything told before has been done.
    pub fn barrier(&self) -> Receiver<()> {
        let (done, receiver) = sync_channel(1);
        self.mailbox.tell(|pending| pending.barriers.push(done));
        receiver
    }

    /// Messages so far that asked the kernel to change something.
    pub fn changes_sent(&self) -> u64 {
        self.mailbox.changes.load(Ordering::Relaxed)
    }

    fn change(&self, router: &Arc<str>, change: impl FnOnce(&mut Change)) {
        self.mailbox.tell(|pending| change(pending.routers.entry(router.clone()).or_default()));
    }
}

impl fmt::Debug for HostHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostHandle").finish_non_exhaustive()
    }
}
