//! The thread that checks real servers. Restarted when it fails.

mod preparation;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use buoy_healthcheck::driver::{Checks, Command, DriverSettings, Snapshot, driver};
use buoy_healthcheck::{CheckSettings, Report};
use buoy_ipvs::ServiceId;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{Notify, oneshot};

use super::complaints::Complaints;
use crate::config::plan::{self, Plan, Scheduling, VirtualServer};
use crate::control::checks::{Ledger, ServerKey};
use crate::control::driver::Handle;
use crate::control::probe::Probes;
use crate::control::{Health, Server};
use crate::host::Answering;
use crate::planted_panic::PlantedPanic;
use crate::supervisor::parts::Restarts;
use crate::supervisor::privileges;

use preparation::{Paths, Preparation, Prepared};

/// Descriptors besides those of attempts: sockets of routers, scripts, logs.
const OTHER_DESCRIPTORS: u64 = 1024;

/// How often it is looked where answers to checks by way of a service arrive: interfaces and routes come and go.
const LOOK_FOR_PATHS: Duration = Duration::from_secs(10);

/// How often it is looked whether certificates come to their end. They are told of by days.
const LOOK_AT_CERTIFICATES: Duration = Duration::from_secs(3600);

/// What the thread is told. Only the latest counts, so nobody waits for it.
#[derive(Debug, Default)]
pub(super) struct CheckOrders {
    state: Mutex<State>,
    wake: Notify,
    panic: PlantedPanic,
}

/// What is known, for a run that starts anew, and what of it has changed.
#[derive(Debug, Default)]
struct State {
    plan: Option<Arc<Plan>>,
    /// Addresses of this host, as far as `ha_suspend` asks for them.
    present: Arc<BTreeSet<IpAddr>>,
    snapshots: Vec<oneshot::Sender<Snapshot>>,
    changed: Changed,
}

#[derive(Debug, Default)]
struct Changed {
    plan: bool,
    present: bool,
    tell_again: bool,
    end: bool,
}

impl CheckOrders {
    pub(super) fn follow(&self, plan: &Arc<Plan>) {
        self.tell(|state| {
            state.plan = Some(Arc::clone(plan));
            state.changed.plan = true;
        });
    }

    pub(super) fn present(&self, present: BTreeSet<IpAddr>) {
        self.tell(|state| {
            state.present = Arc::new(present);
            state.changed.present = true;
        });
    }

    /// Whoever drives the plane has forgotten the health of all servers.
    pub(super) fn tell_again(&self) {
        self.tell(|state| state.changed.tell_again = true);
    }

    pub(super) fn end(&self) {
        self.tell(|state| state.changed.end = true);
    }

    pub(super) fn plant_panic(&self) {
        self.panic.plant();
        self.wake.notify_one();
    }

    /// How the checks fare, if the thread comes to answer.
    pub(super) fn snapshot(&self) -> oneshot::Receiver<Snapshot> {
        let (answer, snapshot) = oneshot::channel();
        self.tell(|state| {
            state.snapshots.retain(|waiting| !waiting.is_closed());
            state.snapshots.push(answer);
        });
        snapshot
    }

    fn tell(&self, what: impl FnOnce(&mut State)) {
        what(&mut self.lock());
        self.wake.notify_one();
    }

    /// Everything is news to a run that starts.
    fn begin(&self) {
        let mut state = self.lock();
        let end = state.changed.end;
        state.changed = Changed { plan: true, present: true, tell_again: false, end };
        drop(state);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every state of it is a valid one, whatever a panicking holder left.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn start(
    orders: Arc<CheckOrders>,
    health: Handle,
    scheduling: Scheduling,
    restarts: Restarts,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("checks".into()).spawn(move || {
        privileges::take("checker", &scheduling);
        keep_running(&orders, &health, &restarts);
    })
}

fn keep_running(orders: &Arc<CheckOrders>, health: &Handle, restarts: &Restarts) {
    let paths = Paths::default();
    loop {
        let run = std::panic::AssertUnwindSafe(|| run_once(orders, health, &paths));
        let why = match std::panic::catch_unwind(run) {
            Ok(Ok(())) => return paths.restore(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_panic) => "panicked, see above".to_owned(),
        };
        // What is believed of the servers stays in force meanwhile.
        std::thread::sleep(restarts.note("health checks", &why));
    }
}

fn run_once(orders: &Arc<CheckOrders>, health: &Handle, paths: &Paths) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime of the checks")?;
    let done = runtime.block_on(run(orders, health, paths));
    // Attempts that hang on a thread of their own (a name look-up) do not hold up the end.
    runtime.shutdown_background();
    done
}

async fn run(orders: &Arc<CheckOrders>, health: &Handle, paths: &Paths) -> Result<()> {
    orders.begin();
    // Directors that start together do not check together.
    let seed = std::process::id();
    let (checks, mut reports, driver) = driver(DriverSettings { seed, ..DriverSettings::default() });
    let mut driving = tokio::spawn(driver.run());
    let mut desk = Desk::new(health, checks, paths);
    let mut look_for_paths = tokio::time::interval(LOOK_FOR_PATHS);
    let mut look_at_certificates = tokio::time::interval(LOOK_AT_CERTIFICATES);
    loop {
        // All cancel-safe: a notification, a queue, clocks, and tasks that are only looked at.
        tokio::select! {
            () = orders.wake.notified() => {
                if !desk.obey(orders).await? {
                    return Ok(());
                }
            }
            Some(report) = reports.recv() => {
                orders.panic.strike();
                desk.handle_report(report);
            }
            prepared = desk.preparation.prepared() => desk.configure(prepared?).await?,
            _ = look_for_paths.tick(), if !desk.answering.is_empty() => {
                desk.preparation.look(&desk.answering, paths);
            }
            _ = look_at_certificates.tick() => desk.look_at_certificates(),
            ended = &mut driving => {
                ended.context("the driver of the checks panicked")?;
                bail!("the driver of the checks has ended");
            }
        }
    }
}

/// Between the orders, the driver of the checks, and whoever wants to know the health of servers.
struct Desk<'h> {
    health: &'h Handle,
    checks: Checks,
    ledger: Ledger,
    /// Servers that nobody checks.
    unchecked: Vec<(ServerKey, Health)>,
    /// `ha_suspend`: virtual servers that are checked only where their address is.
    follow_addresses: BTreeMap<Arc<str>, IpAddr>,
    /// `log_all_failures`
    log_all: BTreeSet<ServerKey>,
    complaints: Complaints,
    /// Who answers checks by way of a service.
    answering: Arc<BTreeSet<Answering>>,
    paths: &'h Paths,
    preparation: Preparation,
    /// See [`State::present`].
    present: Arc<BTreeSet<IpAddr>>,
}

impl<'h> Desk<'h> {
    fn new(health: &'h Handle, checks: Checks, paths: &'h Paths) -> Self {
        Self {
            health,
            checks,
            ledger: Ledger::new(),
            unchecked: Vec::new(),
            follow_addresses: BTreeMap::new(),
            log_all: BTreeSet::new(),
            complaints: Complaints::default(),
            answering: Arc::default(),
            paths,
            preparation: Preparation::default(),
            present: Arc::default(),
        }
    }

    /// Whether to go on.
    async fn obey(&mut self, orders: &CheckOrders) -> Result<bool> {
        orders.panic.strike();
        let (plan, present, snapshots, changed) = {
            let mut state = orders.lock();
            let (changed, snapshots) =
                (std::mem::take(&mut state.changed), std::mem::take(&mut state.snapshots));
            (state.plan.clone(), Arc::clone(&state.present), snapshots, changed)
        };
        if changed.end {
            return Ok(false);
        }
        if changed.plan
            && let Some(plan) = plan
        {
            // The checks that there are go on meanwhile.
            self.preparation.read(plan, self.paths, self.health);
        }
        if changed.present {
            self.present = present;
            self.suspend().await?;
        }
        if changed.tell_again {
            self.ledger.known().for_each(|(server, health)| self.health.health(server, health));
            self.tell_unchecked();
        }
        for answer in snapshots {
            self.checks.send(Command::Snapshot(answer)).await?;
        }
        Ok(true)
    }

    async fn configure(&mut self, Prepared { plan, probes, answering }: Prepared) -> Result<()> {
        self.answering = answering;
        self.unchecked.clear();
        self.log_all.clear();
        let mut wanted = Vec::new();
        for service in &plan.services {
            for (server, beside) in service.servers() {
                let key = (Arc::clone(&service.service.name), server.id);
                let (checks, troubles) = self.checks_of(&probes, service, server, &beside.checks);
                if checks.is_empty() {
                    self.unchecked.push((key.clone(), unchecked(&beside.checks, troubles.first())));
                }
                for trouble in troubles {
                    tracing::error!("{} cannot be checked as configured: {trouble}", words(&key));
                }
                if beside.checks.iter().any(|check| check.log_all_failures) {
                    self.log_all.insert(key.clone());
                }
                wanted.push((key, checks));
            }
        }
        raise_descriptor_limit(wanted.iter().map(|(_, checks)| checks.len()).sum());
        let changed = self.ledger.configure(wanted);
        self.send(changed.commands).await?;
        changed.health.into_iter().for_each(|(server, health)| self.health.health(server, health));
        let suspended = plan.services.iter().filter_map(|service| Some((service, suspends(service)?)));
        self.follow_addresses =
            suspended.map(|(service, address)| (Arc::clone(&service.service.name), address)).collect();
        let ledger = &self.ledger;
        self.complaints.retain(|id| ledger.server_of(id).is_some());
        self.tell_unchecked();
        self.suspend().await
    }

    /// The checks that can be made, and why others cannot.
    fn checks_of(
        &self,
        probes: &Probes,
        service: &VirtualServer,
        server: &Server,
        checks: &[plan::Check],
    ) -> (Vec<CheckSettings>, Vec<String>) {
        let (mut made, mut troubles) = (Vec::with_capacity(checks.len()), Vec::new());
        for check in checks {
            match probes.of(service, server, check) {
                Ok(settings) => made.push(settings),
                Err(trouble) => troubles.push(trouble),
            }
        }
        (made, troubles)
    }

    /// What is held of servers without a check, and why nobody asks.
    fn tell_unchecked(&self) {
        for (server, health) in &self.unchecked {
            self.health.health(server.clone(), health.clone());
        }
    }

    /// `ha_suspend`: no checks from a host that does not have the address.
    async fn suspend(&mut self) -> Result<()> {
        let command = |(service, id)| {
            let address = self.follow_addresses.get(service)?;
            Some(if self.present.contains(address) { Command::Resume(id) } else { Command::Suspend(id) })
        };
        let commands: Vec<Command> = self.ledger.checks().filter_map(command).collect();
        self.send(commands).await
    }

    async fn send(&self, commands: Vec<Command>) -> Result<()> {
        for command in commands {
            self.checks.send(command).await?;
        }
        Ok(())
    }

    fn look_at_certificates(&mut self) {
        let ledger = &self.ledger;
        self.complaints.look_at_certificates(|id| ledger.server_of(id));
    }

    fn handle_report(&mut self, report: Report) {
        if let Some(server) = self.ledger.server_of(report.id) {
            self.complaints.look(server, &report, self.log_all.contains(server));
        }
        if let Some((server, health)) = self.ledger.handle_report(report) {
            self.health.health(server, health);
        }
    }
}

/// What is held of a server none of whose checks can be made: it stays as it begins, with `alpha` down.
fn unchecked(checks: &[plan::Check], trouble: Option<&String>) -> Health {
    let Some(trouble) = trouble else { return Health::up("no check is configured") };
    let reason = format!("cannot be checked: {trouble}");
    if checks.iter().any(|check| check.alpha) { Health::down(&reason) } else { Health::up(&reason) }
}

/// The address that a virtual server is checked with, if it is not checked elsewhere. Groups and marks have none.
pub(super) fn suspends(service: &VirtualServer) -> Option<IpAddr> {
    let [member] = service.service.members.as_slice() else { return None };
    match member.id {
        ServiceId::Address { address, .. } if service.ha_suspend => Some(address),
        ServiceId::Address { .. } | ServiceId::FwMark { .. } => None,
    }
}

/// As many descriptors as all checks at once could need, within what the service is permitted.
fn raise_descriptor_limit(checks: usize) {
    let attempts = checks.min(DriverSettings::default().concurrency);
    let needed = OTHER_DESCRIPTORS + u64::try_from(attempts).unwrap_or(u64::MAX) * 2;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft >= needed {
        return;
    }
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard) {
        tracing::warn!(%error, "cannot raise the limit of open files for {checks} checks");
    } else if hard < needed {
        tracing::warn!(
            needed,
            limit = hard,
            "{checks} checks may need more open files than are permitted (systemd: LimitNOFILE)"
        );
    }
}

/// Patience for an answer of the thread.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// A key of the servers that a complaint is about, in words.
pub(super) fn words(server: &ServerKey) -> String {
    format!("real server {} of {}", server.1, server.0)
}

#[cfg(test)]
mod tests;
