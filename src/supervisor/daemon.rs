//! The running daemon: its parts and its loop.

mod answers;
mod reloading;
mod signals;
mod status;
mod stopping;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use buoy_vrrp::driver::{Command, Driver, DriverHandle, Event};
use sd_notify::NotifyState;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::balancing::Balancing;
use super::election_thread::{self, Hands, NEWS};
use super::host_link::HostLink;
use super::host_thread::{self, Follow, Orders};
use super::parts::{Part, Restarts};
use super::process;
use super::readings::Readings;
use super::reload::Keyed;
use crate::alert::Dispatcher;
use crate::api::server::{self, Call, Server};
use crate::child;
use crate::cli::RunArgs;
use crate::config::plan::{Plan, Timed};
use crate::config::{Loaded, Severity};
use crate::host::{HostConfig, Vmacs};
use crate::planted_panic::PlantedPanic;
use crate::track;
use signals::{Signals, Told};

/// Requests from the control socket that wait for the loop; more wait in their connections.
const CALLS: usize = 32;
/// The election answers within this time or is stuck: the watchdog of systemd is then left to bark.
const ELECTION_PATIENCE: Duration = Duration::from_secs(2);
/// Signals for the status that are answered while IPVS does not answer; a few who ask at once get theirs.
const DUMPS: usize = 4;
/// Grace of a startup or shutdown script after TERM.
const SCRIPT_GRACE: Duration = Duration::from_secs(2);

pub(super) fn run(
    args: RunArgs,
    path: PathBuf,
    loaded: Loaded,
    pid_files: Vec<PathBuf>,
    home: track::HomeNamespace,
) -> Result<ExitCode> {
    // One thread: this loop and its tasks have time, and every thread of a pool would cost memory.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        // Before anything is held, and before anybody is told our process id: from here on a signal ends or
        // reloads in good order.
        let mut signals = Signals::new()?;
        let _pid_files = process::PidFiles::write(pid_files)?;
        // Before anything is done that another daemon here would suffer from.
        server::vacant(&args.control)?;
        child::tie_commands_to_this_process();
        let script = loaded.plan.as_ref().and_then(|plan| plan.global.startup_script.as_ref());
        tokio::select! {
            () = run_once("startup_script", script) => {}
            () = signals.stop(args.ignore_sigint) => return Ok(ExitCode::SUCCESS),
        }
        let daemon = Daemon::start(args, path, loaded, home).await?;
        daemon.run(signals).await
    });
    // Whatever hangs on a thread of its own (a name look-up, a mount that is gone) does not hold up the end.
    runtime.shutdown_background();
    code
}

struct Daemon {
    args: RunArgs,
    path: PathBuf,
    keyed: Keyed,
    warnings: usize,
    started: SystemTime,
    last_reload: Option<String>,
    reload_refused: bool,
    reading: Readings,
    restarts: Restarts,
    alerts: Dispatcher,
    tracked: Arc<track::Set>,
    election: DriverHandle,
    link: Arc<HostLink>,
    orders: Arc<Orders>,
    balancing: Balancing,
    /// Tells the sync daemon its role after a reload. Aborted when dropped.
    sync_role: JoinSet<()>,
    /// One file at a time is read for `buoy plan`.
    planning: Arc<Semaphore>,
    /// At most [`DUMPS`] at a time.
    dumping: Arc<Semaphore>,
    news: mpsc::Receiver<Event>,
    /// The election has handed everything over.
    stopped: Arc<Notify>,
    /// A removed router holds nothing any more.
    gone: Arc<Notify>,
    calls: mpsc::Receiver<Call>,
    /// Aborted when dropped.
    _alert_part: Part,
    track_part: Part,
    track_panic: PlantedPanic,
    server: Arc<Server>,
    control_part: Part,
    election_ended: oneshot::Receiver<String>,
    election_thread: JoinHandle<()>,
    host_thread: Option<JoinHandle<()>>,
}

impl Daemon {
    async fn start(args: RunArgs, path: PathBuf, loaded: Loaded, home: track::HomeNamespace) -> Result<Self> {
        let warnings = loaded.findings.count(Severity::Warning);
        let Some(plan) = loaded.plan else { bail!("{} cannot be run", path.display()) };
        // What the text took is not needed any more.
        drop((loaded.findings, loaded.sources));
        let keyed = Keyed::first(Arc::new(plan));
        let plan = Arc::clone(&keyed.plan);
        // First, for it fails where another daemon answers: that one's addresses must not be taken for left-overs.
        let (calls_in, calls) = mpsc::channel(CALLS);
        let server = Arc::new(Server::bind(&args.control, calls_in)?);
        let restarts = Restarts::default();
        let alerts = Dispatcher::new(&plan);
        let link = Arc::new(HostLink::default());
        let (news_in, news) = mpsc::channel(NEWS);
        let (stopped, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let mut balancing = Balancing::new(alerts.clone(), restarts.clone());
        let hands = Hands::new(
            Arc::clone(&link),
            alerts.clone(),
            balancing.roles(),
            news_in,
            Arc::clone(&stopped),
            Arc::clone(&gone),
        );
        let (driver, election) = Driver::new(hands).context("cannot prepare the election")?;
        let (ended, election_ended) = oneshot::channel();
        let election_thread = election_thread::start(driver, plan.global.scheduling.clone(), ended)?;
        let vmacs = Vmacs::of(&plan);
        set_items(&link, &keyed, &vmacs);
        link.configure(HostConfig::of(&plan, &vmacs));
        for command in keyed.additions() {
            election.tell(command)?;
        }
        election.tell(Command::LogUnknownVrids(plan.global.log_unknown_vrids))?;
        let track_panic = PlantedPanic::default();
        let tracked = start_tracking(&plan, &election, track_panic.clone());
        tracked.remember_home(home);
        // Before the election starts, so that no change of role is missed, and forwarding is there before the addresses.
        balancing.follow(&plan)?;
        balancing.roles().follow(plan.balancing.sync_daemon.as_ref(), false, 0);
        let orders = Arc::new(Orders::default());
        let shared = host_thread::Shared {
            link: Arc::clone(&link),
            orders: Arc::clone(&orders),
            election: election.clone(),
            presence: balancing.presence(),
            restarts: restarts.clone(),
        };
        let follow =
            Follow { plan: Arc::clone(&plan), vmacs, keys: keyed.keys.clone(), delay: start_delay(&plan) };
        let (ready, host_ready) = oneshot::channel();
        let host_thread =
            host_thread::start(shared, follow, ready).context("cannot start the host thread")?;
        host_ready.await.context("the host thread ended")?.context("cannot work with this host's network")?;

        let serving = Arc::clone(&server);
        let control_part = Part::start("control socket", restarts.clone(), move || {
            let server = Arc::clone(&serving);
            async move { server.run().await }
        });
        let dispatcher = alerts.clone();
        let alert_part = Part::start("alerts", restarts.clone(), move || {
            let dispatcher = dispatcher.clone();
            async move { dispatcher.run().await }
        });
        let set = Arc::clone(&tracked);
        let track_part = Part::start("tracking", restarts.clone(), move || Arc::clone(&set).run());
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            configuration = %path.display(),
            instances = plan.routers.len(),
            virtual_servers = plan.services.len(),
            "Buoy runs"
        );
        if plan.routers.is_empty() && plan.services.is_empty() {
            tracing::warn!(
                "the configuration has neither vrrp_instance nor virtual_server: nothing to do until a reload brings one"
            );
        }
        if args.detached {
            process::announce_detached()?;
        }
        Ok(Self {
            args,
            path,
            keyed,
            warnings,
            started: SystemTime::now(),
            last_reload: None,
            reload_refused: false,
            reading: Readings::default(),
            restarts,
            alerts,
            tracked,
            election,
            link,
            orders,
            balancing,
            sync_role: JoinSet::new(),
            planning: Arc::new(Semaphore::new(1)),
            dumping: Arc::new(Semaphore::new(DUMPS)),
            news,
            stopped,
            gone,
            calls,
            _alert_part: alert_part,
            track_part,
            track_panic,
            server,
            control_part,
            election_ended,
            election_thread,
            host_thread: Some(host_thread),
        })
    }

    async fn run(mut self, mut signals: Signals) -> Result<ExitCode> {
        let mut watchdog = tokio::time::interval(watchdog_period());
        watchdog.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        notify(&[NotifyState::Ready, NotifyState::Status(&self.summary())]);
        if signals.reload_owed {
            self.read_again(None);
        }
        loop {
            // All cancel-safe: channels, signals, an interval and a task that is only looked at.
            tokio::select! {
                Some(event) = self.news.recv() => election_thread::log(&event),
                Some(call) = self.calls.recv() => self.answer(call).await,
                () = self.gone.notified() => self.forget_old_vmacs(),
                why = &mut self.election_ended => {
                    let why = why.unwrap_or_else(|_| "the election thread vanished".to_owned());
                    tracing::error!(why, "stopping: the leases of the addresses run out by themselves");
                    return Ok(ExitCode::FAILURE);
                }
                () = self.restarts.failed(), if self.args.dont_respawn => {
                    tracing::error!("stopping because a part failed (--dont-respawn)");
                    self.stop(signals).await?;
                    return Ok(ExitCode::FAILURE);
                }
                read = self.reading.finished() => self.reload(read).await,
                _ = watchdog.tick() => self.feed_watchdog().await,
                what = signals.next(self.args.ignore_sigint) => match what {
                    Told::Stop => return self.stop(signals).await,
                    Told::Reload => self.read_again(None),
                    Told::Dump => self.dump().await,
                    Told::DumpAndClear => {
                        self.dump().await;
                        self.election.tell(Command::ClearStatistics)?;
                    }
                },
            }
        }
    }

    async fn feed_watchdog(&self) {
        if sd_notify::watchdog_enabled().is_none() {
            return;
        }
        match ask(&self.election, Command::Ping).await {
            Ok(()) => notify(&[NotifyState::Watchdog]),
            Err(error) => tracing::error!("{error:#}: systemd's watchdog is not fed"),
        }
    }

    fn summary(&self) -> String {
        let plan = &self.keyed.plan;
        let refused = if self.reload_refused { "; last reload refused" } else { "" };
        let services = match plan.services.len() {
            0 => String::new(),
            count => format!("{count} virtual servers, "),
        };
        format!("{} instances, {services}{}{refused}", plan.routers.len(), self.path.display())
    }
}

/// Asks the election something and waits for the answer, for a while.
async fn ask<T: Send + 'static>(
    election: &DriverHandle,
    command: impl FnOnce(Box<dyn FnOnce(T) + Send>) -> Command,
) -> Result<T> {
    tokio::time::timeout(ELECTION_PATIENCE, question(election, command)?)
        .await
        .context("the election does not answer")?
        .context("the election has ended")
}

/// Asks the election something; where the answer will be.
fn question<T: Send + 'static>(
    election: &DriverHandle,
    command: impl FnOnce(Box<dyn FnOnce(T) + Send>) -> Command,
) -> Result<oneshot::Receiver<T>> {
    let (answer, answered) = oneshot::channel();
    let reply = Box::new(move |value| {
        // Whoever asked may have given up.
        let _gone = answer.send(value);
    });
    election.tell(command(reply))?;
    Ok(answered)
}

fn set_items(link: &HostLink, keyed: &Keyed, vmacs: &Vmacs) {
    for (key, router) in keyed.routers() {
        let election = &router.election;
        link.set_items(key, vmacs.items_of(router), election.vip_lease, election.garp.repeat);
    }
}

fn start_tracking(plan: &Plan, election: &DriverHandle, panic: PlantedPanic) -> Arc<track::Set> {
    let election = election.clone();
    let sink = move |target, observation| {
        panic.strike();
        // Without an election the daemon is about to end anyway.
        let _ended = election.tell(Command::Observe { target, observation });
    };
    track::Set::new(plan, Arc::new(sink))
}

/// What is left of `vrrp_startup_delay` and `vrrp_delay_after_boot`; the longer one counts.
fn start_delay(plan: &Plan) -> Duration {
    let uptime = nix::sys::sysinfo::sysinfo().map_or(Duration::ZERO, |info| info.uptime());
    plan.global.startup_delay.max(plan.global.delay_after_boot.saturating_sub(uptime))
}

async fn run_once(what: &'static str, script: Option<&Timed>) {
    let Some(script) = script else { return };
    let ended = child::run(&script.command, &[], script.timeout, SCRIPT_GRACE).await;
    if !ended.success() {
        tracing::warn!(script = what, "{what}: {ended}");
    }
}

/// Twice as often as systemd wants to hear, or so seldom that it does not matter.
fn watchdog_period() -> Duration {
    sd_notify::watchdog_enabled().map_or(Duration::from_secs(3600), |limit| limit / 2)
}

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "systemd was not told"),
    }
}
