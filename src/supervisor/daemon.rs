//! The running daemon: its loop, its reload, its end.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use buoy_vrrp::State;
use buoy_vrrp::driver::{Command, Driver, DriverHandle, Event, Snapshot};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::balancing::{self, Balancing, Report, Roles};
use super::election_thread::{self, Hands, NEWS};
use super::host_link::HostLink;
use super::host_thread::{self, Follow, Orders};
use super::parts::{Part, Restarts};
use super::readings::Readings;
use super::reload::Keyed;
use super::{calls, operator, process, readings, report, services};
use crate::alert::Dispatcher;
use crate::api::server::{self, Call, Server};
use crate::api::{DaemonStatus, Reply, Request, Status};
use crate::child;
use crate::cli::{RunArgs, status};
use crate::config::plan::{self, Plan, Timed};
use crate::config::{self, Loaded, Severity};
use crate::control::{self, Service};
use crate::host::{HostConfig, Vmacs};
use crate::planted_panic::PlantedPanic;
use crate::track;

/// Requests from the control socket that wait for the loop; more wait in their connections.
const CALLS: usize = 32;
/// The election answers within this time or is stuck: the watchdog of systemd is then left to bark.
const ELECTION_PATIENCE: Duration = Duration::from_secs(2);
/// Signals for the status that are answered while IPVS does not answer; a few who ask at once get theirs.
const DUMPS: usize = 4;
/// A reload does not wait longer for the number of its changes to IPVS, and goes without: the loop has other work.
const PREVIEW_PATIENCE: Duration = Duration::from_millis(500);
/// STOP hooks and the last mails have so long.
const LAST_ALERTS: Duration = Duration::from_secs(3);
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

    async fn answer(&mut self, call: Call) {
        let Call { request, replies } = call;
        let reply = match request {
            Request::Status => match self.status().await {
                Ok(status) if self.balancing.is_running() => {
                    let desk = self.balancing.desk();
                    tokio::spawn(async move {
                        let status = with_services(status, &desk).await;
                        let _gone = replies.try_send(Reply::Status(Box::new(status)));
                    });
                    return;
                }
                Ok(status) => Reply::Status(Box::new(status)),
                Err(error) => Reply::Refused { message: format!("{error:#}") },
            },
            Request::Events { since, follow } => {
                tokio::spawn(calls::events(self.alerts.history().clone(), since, follow, replies));
                return;
            }
            Request::Reload => return self.read_again(Some(replies)),
            Request::Administer { service, server, action } => {
                let desk = self.balancing.is_running().then(|| self.balancing.desk());
                tokio::spawn(async move {
                    let reply = operator::administer(desk, service, server, action).await;
                    let _gone = replies.try_send(reply);
                });
                return;
            }
            Request::Plan { file } => return self.plan_file(file.into(), replies),
            Request::Panic { part } => self.plant_panic(&part),
        };
        // A client that went away does not want it any more; one that does not read is given up.
        let _gone = replies.try_send(reply);
    }

    fn plant_panic(&self, part: &str) -> Reply {
        if !self.args.allow_planted_panics {
            let message = "only a daemon started with --allow-planted-panics does this".to_owned();
            return Reply::Refused { message };
        }
        match part {
            "host" => self.orders.plant_panic(),
            "alerts" => self.alerts.plant_panic(),
            "tracking" => self.track_panic.plant(),
            "control socket" => self.control_part.plant_panic(),
            "virtual servers" => self.balancing.plant_panic_in_plane(),
            "health checks" => self.balancing.plant_panic_in_checks(),
            _ => {
                let message =
                    "parts are host, alerts, tracking, control socket, virtual servers, health checks";
                let message = message.to_owned();
                return Reply::Refused { message };
            }
        }
        Reply::Done { message: format!("{part} panics at its next work") }
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        ask(&self.election, Command::Snapshot).await
    }

    async fn status(&self) -> Result<Status> {
        let snapshot = self.snapshot().await?;
        let daemon = DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            router_id: self.keyed.plan.global.router_id.to_string(),
            configuration: self.path.display().to_string(),
            started: self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
            warnings: self.warnings,
            last_reload: self.last_reload.clone(),
            reload_refused: self.reload_refused,
            netlink_changes: self.link.handle().changes_sent(),
            restarts: self.restarts.counts(),
            alerts_lost: self.alerts.losses().superseded + self.alerts.losses().fifo_lines,
            unclaimed: snapshot.unclaimed.iter().map(|(why, n)| (why.name().to_owned(), *n)).collect(),
            worst_lateness_us: u64::try_from(snapshot.worst_lateness.as_micros()).unwrap_or(u64::MAX),
        };
        Ok(report::status(daemon, &self.keyed, &snapshot))
    }

    /// Reads a file beside everything else and says what it would change.
    fn plan_file(&self, file: PathBuf, replies: mpsc::Sender<Reply>) {
        let Ok(turn) = Arc::clone(&self.planning).try_acquire_owned() else {
            let message = "another file is being read for `buoy plan`: try again".to_owned();
            let _gone = replies.try_send(Reply::Refused { message });
            return;
        };
        let args = self.args.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let loaded = super::load(&file, &args);
            // Held by the thread, which may hang: then nobody begins another one.
            drop(turn);
            loaded
        });
        let (keyed, desk) = (self.keyed.clone(), self.balancing.is_running().then(|| self.balancing.desk()));
        tokio::spawn(async move {
            let reply = match tokio::time::timeout(readings::PATIENCE, reading).await {
                Ok(Ok(Loaded { plan: Some(plan), .. })) => {
                    operator::planned(desk, keyed, Arc::new(plan)).await
                }
                Ok(Ok(loaded)) => Reply::Refused { message: first_error(&loaded) },
                Ok(Err(error)) => Reply::Refused { message: format!("reading the file failed: {error}") },
                Err(_elapsed) => Reply::Refused { message: "reading the file takes too long".to_owned() },
            };
            let _gone = replies.try_send(reply);
        });
    }

    /// Begins to read the configuration again. Whoever `asked` hears how the reload went; the log has it too.
    fn read_again(&mut self, asked: Option<mpsc::Sender<Reply>>) {
        notify_reloading();
        self.server.heal();
        let (path, args) = (self.path.clone(), self.args.clone());
        let marker = Marker::set(self.keyed.plan.global.reload_file.as_deref());
        self.reading.begin(asked, move || {
            let loaded = super::load(&path, &args);
            drop(marker);
            loaded
        });
    }

    /// Goes over to the configuration that was read, or says why not.
    async fn reload(&mut self, (read, asked): (Result<Loaded, String>, Vec<mpsc::Sender<Reply>>)) {
        let outcome = match read {
            Ok(loaded) => self.try_reload(loaded).await,
            Err(why) => Err(why),
        };
        let (Ok(message) | Err(message)) = &outcome;
        let when = jiff::Timestamp::now();
        self.last_reload = Some(format!("{message} ({when:.0})"));
        self.reload_refused = outcome.is_err();
        match &outcome {
            Ok(message) => tracing::info!("reload: {message}"),
            Err(message) => {
                tracing::error!("reload refused, the running configuration stays in force: {message}")
            }
        }
        notify(&[NotifyState::Ready, NotifyState::Status(&self.summary())]);
        let reply = match outcome {
            Ok(message) => Reply::Done { message },
            Err(why) => Reply::Refused {
                message: format!("reload refused, the running configuration stays in force: {why}"),
            },
        };
        for replies in asked {
            // A client that went away does not want it any more.
            let _gone = replies.try_send(reply.clone());
        }
    }

    async fn try_reload(&mut self, loaded: Loaded) -> Result<String, String> {
        if let Some(log) = &self.keyed.plan.global.reload_check_config {
            let findings = config::for_people(&loaded.findings, &loaded.sources, false);
            if let Err(error) = std::fs::write(log, findings) {
                tracing::warn!(path = %log.display(), %error, "reload_check_config");
            }
        }
        super::log_findings(&loaded);
        super::save_copy(&loaded);
        let empty = loaded.is_empty();
        let Some(plan) = loaded.plan else {
            return Err(first_error(&loaded));
        };
        // keepalived runs with nothing to run too; but a file without a single statement is one that was being written
        // when it was read, or that a full disk has left behind.
        let runs = !self.keyed.plan.routers.is_empty() || !self.keyed.plan.services.is_empty();
        if empty && runs {
            return Err("the file is empty; to run nothing, stop the daemon".to_owned());
        }
        let now = &self.keyed.plan.global;
        if plan.global.net_namespace != now.net_namespace || plan.global.instance != now.instance {
            return Err("net_namespace and instance take a restart to change".to_owned());
        }
        self.warnings = loaded.findings.count(Severity::Warning);
        self.alerts.apply(&plan);
        if plan == *self.keyed.plan && !self.balancing.lacks_threads(&plan) {
            return Ok("nothing changed".to_owned());
        }
        Ok(self.go_over(Arc::new(plan)).await)
    }

    /// Whatever fails here, the whole plan is in force afterwards: nothing keeps one half from going over.
    async fn go_over(&mut self, plan: Arc<Plan>) -> String {
        // Before any effect, for it waits.
        let changes = self.preview(&plan).await;
        let next = self.keyed.next(Arc::clone(&plan));
        let difference = self.keyed.difference(&next);
        let vmacs = Vmacs::of(&plan);
        let mut host = HostConfig::of(&plan, &vmacs);
        if difference.removed > 0 {
            // Routers that go still resign and hold on theirs; `forget_old_vmacs` follows.
            let leaving = Vmacs::of(&self.keyed.plan);
            let stays = |name: &Arc<str>| vmacs.specs().iter().any(|spec| spec.name == *name);
            host.vmacs.extend(leaving.specs().iter().filter(|spec| !stays(&spec.name)).cloned());
        }
        self.link.configure(host);
        for command in difference.commands {
            // One that has ended ends the daemon: see `run`.
            let _ended = self.election.tell(command);
        }
        set_items(&self.link, &next, &vmacs);
        self.tracked.apply(&plan);
        let virtual_servers = self.balance(&plan, changes);
        let follow = Follow { plan, vmacs, keys: next.keys.clone(), delay: Duration::ZERO };
        self.orders.follow(follow, difference.added.clone());
        let more = other_changes(&self.keyed.plan, &next.plan);
        let restart = restart_words(&self.keyed.plan, &next.plan);
        let restart = match restart.as_slice() {
            [] => String::new(),
            words => format!("; {} take a restart to change", words.join(", ")),
        };
        self.keyed = next;
        format!(
            "{} instances added, {} changed, {} removed{virtual_servers}{more}{restart}",
            difference.added.len(),
            difference.changed,
            difference.removed
        )
    }

    /// How many changes to IPVS the virtual servers of a plan come to, where that is known soon.
    async fn preview(&self, plan: &Plan) -> Option<usize> {
        let after = services_of(plan);
        if services_of(&self.keyed.plan) == after || !self.balancing.is_running() {
            return None;
        }
        let desk = self.balancing.desk();
        let preview = tokio::time::timeout(PREVIEW_PATIENCE, desk.preview(after)).await;
        Some(preview.ok()?.ok()?.len())
    }

    /// Goes over to the virtual servers of a plan; what that comes to, as a part of the sentence about a reload.
    fn balance(&mut self, plan: &Arc<Plan>, changes: Option<usize>) -> String {
        let failed = match self.balancing.follow(plan) {
            Ok(()) => String::new(),
            Err(error) => {
                tracing::error!("virtual servers: {error:#}; the next reload tries again");
                format!("; virtual servers do not run: {error:#}")
            }
        };
        let daemon = plan.balancing.sync_daemon.clone();
        let follow = follow_sync_role(self.election.clone(), self.balancing.roles(), daemon);
        // Ends the one for the plan before.
        self.sync_role = JoinSet::new();
        self.sync_role.spawn(follow);
        let count = plan.services.len();
        match changes {
            Some(changes) => format!("; {count} virtual servers, {changes} changes to IPVS{failed}"),
            None if self.keyed.plan.services != plan.services => {
                format!("; {count} virtual servers{failed}")
            }
            None => failed,
        }
    }

    /// A removed router holds nothing any more: virtual MACs that no other needs may go.
    fn forget_old_vmacs(&self) {
        let plan = &self.keyed.plan;
        self.link.configure(HostConfig::of(plan, &Vmacs::of(plan)));
    }

    /// The status, for people and for machines, beside the control socket. What IPVS has to say is waited for elsewhere.
    async fn dump(&self) {
        let Ok(turn) = Arc::clone(&self.dumping).try_acquire_owned() else {
            tracing::warn!("status not written: it was asked for more often than IPVS answers");
            return;
        };
        let status = match self.status().await {
            Ok(status) => status,
            Err(error) => return tracing::error!("{error:#}"),
        };
        let desk = self.balancing.is_running().then(|| self.balancing.desk());
        let control = self.args.control.clone();
        tokio::spawn(async move {
            let status = match desk {
                Some(desk) => with_services(status, &desk).await,
                None => status,
            };
            match write_status(&status, &control) {
                Ok(path) => tracing::info!("status written to {} and .json", path.display()),
                Err(error) => tracing::error!("{error:#}"),
            }
            drop(turn);
        });
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

    /// Orderly stop: resign and hand over, take everything out of the kernel, tell whoever wants to know.
    async fn stop(mut self, mut signals: Signals) -> Result<ExitCode> {
        notify(&[NotifyState::Stopping]);
        tracing::info!("stopping");
        self.track_part.end();
        if self.args.dont_release_vrrp {
            self.keep_addresses().await?;
        } else {
            self.election.tell(Command::Stop)?;
            // Bounded by the election: the longest skew and one interval. A second signal ends the wait.
            loop {
                tokio::select! {
                    () = self.stopped.notified() => break,
                    why = &mut self.election_ended => {
                        let why = why.unwrap_or_else(|_| "the election thread vanished".to_owned());
                        tracing::error!(why, "nothing is handed over");
                        break;
                    }
                    Some(event) = self.news.recv() => election_thread::log(&event),
                    what = signals.next(false) => if what == Told::Stop {
                        self.election.tell(Command::Abandon)?;
                    },
                }
            }
            self.link.handle().stop();
            let host_thread = self.host_thread.take();
            let gone = tokio::task::spawn_blocking(move || host_thread.map(JoinHandle::join));
            let patience = self.keyed.plan.global.child_wait_time;
            if tokio::time::timeout(patience, gone).await.is_err() {
                tracing::error!("the host thread did not finish; leases of addresses run out by themselves");
            }
        }
        self.stop_balancing().await;
        self.alerts.shutdown(LAST_ALERTS).await;
        // It may have ended already, and has nothing left to wait for.
        let _ended = self.election.tell(Command::Quit);
        let _ended = self.election_thread.join();
        run_once("shutdown_script", self.keyed.plan.global.shutdown_script.as_ref()).await;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }

    /// After the addresses have gone, for until then clients come here.
    async fn stop_balancing(&mut self) {
        if !self.balancing.is_running() {
            return;
        }
        let plan = Arc::clone(&self.keyed.plan);
        if plan.services.iter().any(|service| service.omega) {
            match self.balancing.desk().report().await.status {
                Ok(status) => self.tell_omega(&plan, &status),
                Err(error) => tracing::error!("omega: nobody is told: {error:#}"),
            }
        }
        let farewell = balancing::farewell(&plan, self.args.dont_release_ipvs);
        self.balancing.stop(farewell, plan.global.child_wait_time).await;
    }

    /// `omega`: what served until now is told to be down.
    fn tell_omega(&self, plan: &Plan, status: &control::driver::Status) {
        let names: BTreeSet<&Arc<str>> = plan
            .services
            .iter()
            .filter(|service| service.omega)
            .map(|service| &service.service.name)
            .collect();
        for service in status.services.iter().filter(|service| names.contains(&service.settings.name)) {
            let name = &service.settings.name;
            for server in service.servers.iter().filter(|server| server.up) {
                self.alerts.server(Arc::clone(name), server.server.id, false, "shutting down".into());
            }
            if service.quorum {
                self.alerts.quorum(Arc::clone(name), false, "shutting down".into());
            }
        }
    }

    /// `-V`: addresses stay, for ever, and the peers hear nothing.
    async fn keep_addresses(&self) -> Result<()> {
        let vmacs = Vmacs::of(&self.keyed.plan);
        for (key, router) in self.keyed.routers() {
            let repeat = router.election.garp.repeat;
            self.link.set_items(key, vmacs.items_of(router), None, repeat);
        }
        let done = self.link.handle().barrier();
        let patience = self.keyed.plan.global.child_wait_time;
        tokio::task::spawn_blocking(move || done.recv_timeout(patience)).await??;
        Ok(())
    }
}

/// Writes the status beside the control socket; where it is for people.
fn write_status(status: &Status, control: &Path) -> Result<PathBuf> {
    let (people, machines) = (control.with_extension("data"), control.with_extension("json"));
    std::fs::write(&people, status::page(status))
        .with_context(|| format!("cannot write {}", people.display()))?;
    std::fs::write(&machines, serde_json::to_vec_pretty(status)?)
        .with_context(|| format!("cannot write {}", machines.display()))?;
    Ok(people)
}

/// A status with its virtual servers, or with what keeps them from being told.
async fn with_services(mut status: Status, desk: &balancing::Desk) -> Status {
    let Report { status: told, checks, settings } = desk.report().await;
    status.balancing = Some(match told {
        Ok(told) => {
            status.services = services::services(&told, std::time::Instant::now());
            services::balancing(&told, &settings, checks.as_ref())
        }
        Err(error) => services::silent(format!("{error:#}"), &settings, checks.as_ref()),
    });
    status
}

/// The first error of a configuration, and how many more there are.
fn first_error(loaded: &Loaded) -> String {
    let lines = config::lines(&loaded.findings, &loaded.sources);
    let mut errors = loaded.findings.iter().zip(lines).filter(|(f, _)| f.severity == Severity::Error);
    let first = errors.next().map_or_else(|| "the configuration cannot be used".to_owned(), |(_, line)| line);
    match errors.count() {
        0 => first,
        more => format!("{first} (and {more} more: buoy check shows them)"),
    }
}

/// What else differs besides instances, as an end for the sentence about them.
fn other_changes(old: &Plan, new: &Plan) -> &'static str {
    let groups = old.groups != new.groups;
    // All fields are named, so that a new one cannot be forgotten.
    let Plan {
        global,
        routers: _,
        groups: _,
        scripts,
        files,
        processes,
        static_addresses,
        static_routes,
        static_rules,
        track_groups,
        garp_groups,
        link_delays,
        // Told apart.
        services: _,
        balancing,
    } = old;
    let others = *global != new.global
        || *scripts != new.scripts
        || *files != new.files
        || *processes != new.processes
        || *static_addresses != new.static_addresses
        || *static_routes != new.static_routes
        || *static_rules != new.static_rules
        || *track_groups != new.track_groups
        || *garp_groups != new.garp_groups
        || *link_delays != new.link_delays
        || *balancing != new.balancing;
    match (groups, others) {
        (false, false) => "",
        (true, false) => "; sync groups changed",
        (false, true) => "; other settings changed",
        (true, true) => "; sync groups and other settings changed",
    }
}

/// Words whose change shows only after a restart.
fn restart_words(before: &Plan, after: &Plan) -> Vec<&'static str> {
    let (old, new) = (&before.global, &after.global);
    let checkers = |plan: &Plan| plan.balancing.scheduling.clone();
    let (a, b) = (&old.scheduling, &new.scheduling);
    let changed = [
        (a.nice != b.nice, "vrrp_priority"),
        (a.rt_priority != b.rt_priority, "vrrp_rt_priority"),
        (a.no_swap != b.no_swap, "vrrp_no_swap"),
        (a.cpu_affinity != b.cpu_affinity, "vrrp_cpu_affinity"),
        (checkers(before) != checkers(after), "checker_priority and its relatives"),
        (old.umask != new.umask, "umask"),
        (old.log_format != new.log_format, "log_format"),
        (old.use_pid_dir != new.use_pid_dir, "use_pid_dir"),
    ];
    changed.into_iter().filter_map(|(changed, word)| changed.then_some(word)).collect()
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

/// Tells the sync daemon what the instance is that it follows from now on, whenever the election comes to say it.
async fn follow_sync_role(election: DriverHandle, roles: Roles, daemon: Option<plan::SyncDaemon>) {
    let instance = daemon.as_ref().and_then(|daemon| daemon.instance.as_ref());
    loop {
        let heard = roles.heard();
        let master = match instance {
            None => false,
            Some(name) => {
                // Asked once and waited for: questions that are given up would fill the queue of an election that is stuck.
                let Ok(mut answered) = question(&election, Command::Snapshot) else { return };
                let soon = tokio::time::timeout(ELECTION_PATIENCE, &mut answered).await;
                let answer = match soon {
                    Ok(answer) => answer,
                    Err(_elapsed) => {
                        tracing::error!("lvs_sync_daemon keeps its role: the election does not answer");
                        answered.await
                    }
                };
                // One that has ended ends the daemon.
                let Ok(Snapshot { routers, .. }) = answer else { return };
                routers.iter().any(|router| router.name == *name && router.state == State::Master)
            }
        };
        // It may have moved meanwhile.
        if roles.follow(daemon.as_ref(), master, heard) {
            return;
        }
    }
}

fn services_of(plan: &Plan) -> Vec<Service> {
    plan.services.iter().map(|service| service.service.clone()).collect()
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

/// `reload_file`: there while the configuration is being read, so that whoever writes it can wait.
struct Marker(Option<PathBuf>);

impl Marker {
    fn set(path: Option<&Path>) -> Self {
        if let Some(path) = path
            && let Err(error) = std::fs::write(path, "")
        {
            tracing::warn!(path = %path.display(), %error, "reload_file");
        }
        Self(path.map(Path::to_owned))
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Whoever waits for its end may have removed it.
            let _gone = std::fs::remove_file(path);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Stop,
    Reload,
    Dump,
    /// Dump, then count from zero.
    DumpAndClear,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    data: Signal,
    statistics: Signal,
    json: Signal,
    clear: Signal,
    /// keepalived's debug builds dump their threads on it; others must not die of it.
    unused: Signal,
    /// A reload was asked for before there was a daemon to do it.
    reload_owed: bool,
}

impl Signals {
    fn new() -> Result<Self> {
        let json = SignalKind::from_raw(nix::libc::SIGRTMIN() + 2);
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            data: signal(SignalKind::user_defined1())?,
            statistics: signal(SignalKind::user_defined2())?,
            json: signal(json)?,
            clear: signal(SignalKind::from_raw(nix::libc::SIGRTMAX() - 1))?,
            unused: signal(SignalKind::from_raw(nix::libc::SIGRTMAX()))?,
            reload_owed: false,
        })
    }

    /// Waits for a signal to stop. A reload is kept for later; to others there is nothing to do yet. Cancel-safe.
    async fn stop(&mut self, ignore_interrupt: bool) {
        loop {
            match self.next(ignore_interrupt).await {
                Told::Stop => return,
                Told::Reload => self.reload_owed = true,
                Told::Dump | Told::DumpAndClear => {}
            }
        }
    }

    /// Cancel-safe.
    async fn next(&mut self, ignore_interrupt: bool) -> Told {
        tokio::select! {
            _ = self.hangup.recv() => Told::Reload,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv(), if !ignore_interrupt => Told::Stop,
            _ = self.data.recv() => Told::Dump,
            _ = self.statistics.recv() => Told::Dump,
            _ = self.json.recv() => Told::Dump,
            _ = self.clear.recv() => Told::DumpAndClear,
            _ = self.unused.recv() => Told::Dump,
        }
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
