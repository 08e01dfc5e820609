//! The host thread: netlink, announcements and the watch over interfaces. Restarted when it fails.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use buoy_vrrp::driver::{Command, DriverHandle};
use tokio::sync::{Notify, oneshot};

use super::balancing::Presence;
use super::extra_announcements::ExtraAnnouncements;
use super::host_link::HostLink;
use super::parts::Restarts;
use super::watch::Watch;
use crate::config::plan::Plan;
use crate::host::desired::Address;
use crate::host::{Announcer, Flow, Host, HostEvent, HostOptions, Links, Outlet, Vmacs};
use crate::planted_panic::PlantedPanic;

/// A takeover of many brings its addresses in many turns, and what they mean to the routers is looked at once.
const ADDRESSES_SETTLE: Duration = Duration::from_millis(20);

/// What the supervisor tells the thread besides what goes through the [`HostLink`].
#[derive(Debug, Default)]
pub(super) struct Orders {
    state: Mutex<Pending>,
    wake: Notify,
    panic: PlantedPanic,
}

#[derive(Debug, Default)]
struct Pending {
    follow: Option<Follow>,
    forget: Vec<Arc<str>>,
}

/// A plan with the keys of its routers.
#[derive(Clone, Debug)]
pub(super) struct Follow {
    pub(super) plan: Arc<Plan>,
    pub(super) vmacs: Vmacs,
    pub(super) keys: Vec<Arc<str>>,
    /// Routers that are not started yet start so long after their interfaces have been looked at.
    pub(super) delay: Duration,
}

impl Orders {
    /// Goes over to another plan. Routers under the keys in `forget` are new to the election.
    pub(super) fn follow(&self, follow: Follow, forget: Vec<Arc<str>>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.follow = Some(follow);
        state.forget.extend(forget);
        drop(state);
        self.wake.notify_one();
    }

    /// Makes the thread panic in the middle of its next step, to see it restarted.
    pub(super) fn plant_panic(&self) {
        self.panic.plant();
    }

    fn take(&self) -> Pending {
        std::mem::take(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Everything that the thread shares with the others.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) link: Arc<HostLink>,
    pub(super) orders: Arc<Orders>,
    pub(super) election: DriverHandle,
    pub(super) presence: Arc<Presence>,
    pub(super) restarts: Restarts,
}

/// Starts the thread. `ready` hears when the first host stands, or why it does not.
pub(super) fn start(
    shared: Shared,
    first: Follow,
    ready: oneshot::Sender<Result<()>>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("host".into()).spawn(move || keep_running(&shared, first, ready))
}

/// Runs one host after the other until one is told to stop.
fn keep_running(shared: &Shared, first: Follow, ready: oneshot::Sender<Result<()>>) {
    let mut current = first;
    // It outlives a failed host: what the election was told has to be taken back when it is no longer true.
    let mut watch = Watch::new(Arc::clone(&current.plan), current.vmacs.clone(), current.keys.clone());
    let mut ready = Some(ready);
    loop {
        let run = AssertUnwindSafe(|| run_once(shared, &mut current, &mut watch, &mut ready));
        let why = match std::panic::catch_unwind(run) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_panic) => "panicked, see above".to_owned(),
        };
        if let Some(ready) = ready.take() {
            // Nobody listens any more if the start was given up.
            let _gone = ready.send(Err(anyhow::anyhow!(why)));
            return;
        }
        // What it held stays in the kernel for its lease; the next host takes it over.
        let pause = shared.restarts.note("host", &why);
        std::thread::sleep(pause);
        shared.link.announce_all();
    }
}

fn run_once(
    shared: &Shared,
    current: &mut Follow,
    watch: &mut Watch,
    ready: &mut Option<oneshot::Sender<Result<()>>>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime of the host thread")?;
    runtime.block_on(run(shared, current, watch, ready))
}

/// What the outlet leaves for the loop.
#[derive(Debug, Default)]
struct Seen {
    /// Interfaces came, went or changed.
    moved: bool,
    /// Addresses did.
    readdressed: bool,
    announce: Vec<(Arc<str>, Vec<Address>)>,
    gone: Vec<u32>,
    lost: Vec<(Arc<str>, Arc<str>)>,
}

/// Hears the host in the middle of its steps.
struct Ear {
    seen: Rc<RefCell<Seen>>,
    orders: Arc<Orders>,
}

impl Outlet for Ear {
    fn event(&mut self, event: HostEvent) {
        self.orders.panic.strike();
        let mut seen = self.seen.borrow_mut();
        match event {
            HostEvent::Link(_) => seen.moved = true,
            HostEvent::Addresses { .. } => seen.readdressed = true,
            HostEvent::LinkGone { index, .. } => {
                seen.moved = true;
                seen.gone.push(index);
            }
            HostEvent::ItemLost { router, item } => seen.lost.push((router, Arc::from(item.to_string()))),
        }
    }

    fn announce(&mut self, router: &Arc<str>, addresses: &[&Address], _links: &Links) {
        self.orders.panic.strike();
        let addresses = addresses.iter().map(|address| (*address).clone()).collect();
        self.seen.borrow_mut().announce.push((Arc::clone(router), addresses));
    }
}

async fn run(
    shared: &Shared,
    current: &mut Follow,
    watch: &mut Watch,
    ready: &mut Option<oneshot::Sender<Result<()>>>,
) -> Result<()> {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let ear = Ear { seen: Rc::clone(&seen), orders: Arc::clone(&shared.orders) };
    let mut host = Host::open(ear, &HostOptions::default(), shared.link.handle())?;
    let mut announcer = Announcer::default();
    announcer.configure(&current.plan);
    let mut extra = ExtraAnnouncements::default();
    let flow = host.step()?;
    tell(shared, watch.refresh(host.links(), Instant::now()))?;
    shared.presence.look(host.links());
    tell(shared, [Command::Start { delay: current.delay }])?;
    if let Some(ready) = ready.take() {
        let _gone = ready.send(Ok(()));
    }
    if flow == Flow::Stopped {
        return Ok(());
    }
    // When changed addresses are looked at.
    let mut look_at: Option<Instant> = None;
    loop {
        let timeout = [watch.poll_timeout(), extra.poll_timeout(), look_at].into_iter().flatten().min();
        wait(shared, &mut host, &announcer, timeout).await?;
        let pending = shared.orders.take();
        let mut start = None;
        if let Some(follow) = pending.follow {
            watch.follow(Arc::clone(&follow.plan), follow.vmacs.clone(), follow.keys.clone());
            announcer.configure(&follow.plan);
            start = Some(follow.delay);
            *current = follow;
            seen.borrow_mut().moved = true;
        }
        pending.forget.iter().for_each(|key| watch.forget(key));
        if host.step()? == Flow::Stopped {
            return Ok(());
        }
        let now = Instant::now();
        let Seen { moved, readdressed, announce, gone, lost } = seen.take();
        if readdressed {
            look_at.get_or_insert(now + ADDRESSES_SETTLE);
        }
        announcer.withdraw(&shared.link.take_withdrawn());
        gone.into_iter().for_each(|index| announcer.remove_interface(index));
        for (router, addresses) in announce {
            // It yielded while its addresses were being put in place.
            if shared.link.held_items(&router).is_none() {
                continue;
            }
            announcer.announce(&router, &addresses, shared.link.take_repeat(&router), host.links(), now);
        }
        if moved || watch.poll_timeout().into_iter().chain(look_at).any(|at| at <= now) {
            look_at = None;
            tell(shared, watch.refresh(host.links(), now))?;
            shared.presence.look(host.links());
        }
        tell(shared, start.map(|delay| Command::Start { delay }))?;
        tell(shared, lost.into_iter().map(|(key, item)| Command::ItemLost { key, item }))?;
        for (router, addresses) in extra.poll(current, &shared.link, now) {
            announcer.announce(&router, &addresses, 1, host.links(), now);
        }
        announcer.send(now);
        let claims = announcer.claims(host.links());
        let claims = claims.into_iter().map(|claim| Command::Claim {
            key: claim.router,
            address: claim.address,
            mac: claim.mac,
        });
        tell(shared, claims)?;
    }
}

async fn wait(
    shared: &Shared,
    host: &mut Host<Ear>,
    announcer: &Announcer,
    timeout: Option<Instant>,
) -> Result<()> {
    let timed_out = async {
        match timeout {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    // All cancel-safe: whatever was ready is looked at again by the loop.
    tokio::select! {
        ready = host.ready() => ready,
        () = announcer.ready() => Ok(()),
        () = shared.orders.wake.notified() => Ok(()),
        () = timed_out => Ok(()),
    }
}

fn tell(shared: &Shared, commands: impl IntoIterator<Item = Command>) -> Result<()> {
    for command in commands {
        shared.election.tell(command)?;
    }
    Ok(())
}
