//! The thread that drives the plane that forwards. Restarted when it fails.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use buoy_ipvs::engine::process as engine;

use super::checks_thread::CheckOrders;
use super::forwarder::Forwarder;
use crate::alert::Dispatcher;
use crate::control::Report;
use crate::control::driver::{Driver, Notice, Orders};
use crate::host::{IpvsSetting, IpvsSettings, Orphans};
use crate::planted_panic::PlantedPanic;
use crate::supervisor::parts::Restarts;

/// What the thread has in common with the others.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) alerts: Dispatcher,
    pub(super) restarts: Restarts,
    pub(super) checks: Arc<CheckOrders>,
    pub(super) forwarder: Arc<Forwarder>,
    /// `rs_init_notifies`
    pub(super) first_results: Arc<AtomicBool>,
    pub(super) panic: PlantedPanic,
}

/// What the thread works with. It begins when it is handed over, and ends when it never is.
pub(super) type Work = (Shared, Orders);

pub(super) fn start() -> std::io::Result<(JoinHandle<()>, SyncSender<Work>)> {
    let (hand, handed) = sync_channel::<Work>(1);
    let thread = std::thread::Builder::new().name("ipvs".into()).spawn(move || {
        if let Ok((shared, orders)) = handed.recv() {
            keep_running(&shared, &orders);
        }
    })?;
    Ok((thread, hand))
}

/// Runs one driver after the other until one is told to stop.
fn keep_running(shared: &Shared, orders: &Orders) {
    let settings = RefCell::new(Settings::default());
    let mut first = true;
    loop {
        let run = AssertUnwindSafe(|| run_once(shared, orders, &settings, first));
        let Err(_panic) = std::panic::catch_unwind(run) else { break };
        first = false;
        let pause = shared.restarts.note("virtual servers", "panicked, see above");
        std::thread::sleep(pause);
        shared.checks.tell_again();
    }
    settings.into_inner().kernel.restore();
    shared.forwarder.close();
}

fn run_once(shared: &Shared, orders: &Orders, settings: &RefCell<Settings>, first: bool) {
    // A driver that starts has no doubt until it is told the health of servers.
    settings.borrow_mut().orphans = Orphans::Expire;
    let open = || {
        let (plane, of_kernel) = shared.forwarder.open()?;
        if of_kernel {
            settings.borrow_mut().set();
        }
        Ok(plane)
    };
    let follow = |orphans| {
        let mut settings = settings.borrow_mut();
        settings.orphans = orphans;
        match shared.forwarder.engine() {
            // Should it not answer, it has ended with all connections.
            Some(engine) => {
                drop(engine.change_settings(move |settings| settings.orphans = of_engine(orphans)))
            }
            None => settings.set(),
        }
    };
    let tell = |notice| {
        match notice {
            Notice::DoubtBegins => follow(Orphans::Keep),
            Notice::DoubtEnds => follow(Orphans::Expire),
            _ => {}
        }
        tell(shared, notice);
    };
    Driver::new(orders, first, open, tell).run();
}

const fn of_engine(orphans: Orphans) -> engine::Orphans {
    match orphans {
        Orphans::Keep => engine::Orphans::Keep,
        Orphans::Expire => engine::Orphans::Expire,
    }
}

/// The settings of IPVS, set again whenever the plane is opened: every few seconds where it then does not work.
#[derive(Debug, Default)]
struct Settings {
    kernel: IpvsSettings,
    orphans: Orphans,
    told: Told,
}

impl Settings {
    fn set(&mut self) {
        for setting in self.told.news(self.kernel.set(self.orphans)) {
            tracing::warn!(
                setting = %format_args!("net/ipv4/vs/{}", setting.name),
                wanted = setting.wanted,
                "IPVS setting is not as it should be: clients of servers that are gone may wait for them"
            );
        }
    }
}

/// Settings that were last seen wrong, by name. Each is told once until it is right.
#[derive(Debug, Default)]
struct Told(BTreeSet<&'static str>);

impl Told {
    fn news(&mut self, settings: Vec<IpvsSetting>) -> Vec<IpvsSetting> {
        let mut wrong = settings;
        wrong.retain(|setting| setting.value != Some(setting.wanted));
        let before = std::mem::replace(&mut self.0, wrong.iter().map(|setting| setting.name).collect());
        wrong.retain(|setting| !before.contains(setting.name));
        wrong
    }
}

fn tell(shared: &Shared, notice: Notice) {
    shared.panic.strike();
    match notice {
        Notice::Report(report) => tell_report(shared, report),
        Notice::Refused(refusal) => tracing::error!("IPVS refuses: {refusal}"),
        Notice::TimeoutsRefused(why) => tracing::error!("lvs_timeouts: {why}"),
        Notice::SyncRefused(why) => tracing::error!("lvs_sync_daemon: {why}"),
        Notice::PlaneFailed(error) => {
            tracing::error!("no virtual server can be programmed, trying again: {}", chain(&error));
        }
        Notice::PlaneWorks => tracing::info!("IPVS works again: virtual servers are programmed"),
        Notice::DoubtBegins => tracing::info!(
            "servers are dead, or this host's network is cut: their connections are kept until it is known which"
        ),
        Notice::DoubtEnds => tracing::info!(
            "no server is in doubt any more: connections to servers that are gone are balanced anew"
        ),
    }
}

fn tell_report(shared: &Shared, report: Report) {
    let first_results = shared.first_results.load(Ordering::Relaxed);
    match report {
        Report::ServerUp { service, server, reason } => {
            // A check that succeeds has no more to say.
            let reason = if &*reason == "up" { "its checks pass".into() } else { reason };
            shared.alerts.server(service, server, true, reason);
        }
        Report::ServerDown { service, server, reason } => {
            shared.alerts.server(service, server, false, reason)
        }
        // What was down until its first result is told to be so; what was up only where that is asked for.
        Report::ServerFound { service, server, up, reason } if !up || first_results => {
            shared.alerts.server(service, server, up, reason);
        }
        Report::ServerRemoved { service, server } => {
            let reason = "removed from the configuration; its connections may end".into();
            shared.alerts.server(service, server, false, reason);
        }
        Report::QuorumGained { service, weight, needed } => {
            shared.alerts.quorum(service, true, format!("weight {weight} of {needed} needed").into());
        }
        Report::QuorumLost { service, weight, needed } => {
            shared.alerts.quorum(service, false, format!("weight {weight} of {needed} needed").into());
        }
        found @ Report::ServerFound { .. } => tracing::debug!("{found}"),
        doubts @ (Report::PanicEntered { .. } | Report::Drift { .. } | Report::MoreDrift { .. }) => {
            tracing::warn!("{doubts}");
        }
        news @ (Report::PanicLeft { .. } | Report::Drained { .. }) => tracing::info!("{news}"),
    }
}

/// An error with what is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let behind = std::iter::successors(error.source(), |error| error.source());
    behind.fold(error.to_string(), |words, error| format!("{words}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_told_once_until_it_is_right() {
        let seen = |value| vec![IpvsSetting { name: "conn_reuse_mode", value, wanted: 1 }];
        let mut told = Told::default();
        assert_eq!(told.news(seen(Some(0))).len(), 1);
        assert_eq!(told.news(seen(Some(0))), []);
        assert_eq!(told.news(seen(None)), [], "still wrong");
        assert_eq!(told.news(seen(Some(1))), []);
        assert_eq!(told.news(seen(Some(0))).len(), 1, "wrong again");
    }
}
