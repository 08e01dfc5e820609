//! The end, in good order.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use buoy_vrrp::driver::Command;
use sd_notify::NotifyState;

use super::signals::{Signals, Told};
use super::{Daemon, notify, run_once};
use crate::config::plan::Plan;
use crate::control;
use crate::host::Vmacs;
use crate::supervisor::{balancing, election_thread};

/// STOP hooks and the last mails have so long.
const LAST_ALERTS: Duration = Duration::from_secs(3);

impl Daemon {
    /// Orderly stop: resign and hand over, take everything out of the kernel, tell whoever wants to know.
    pub(super) async fn stop(mut self, mut signals: Signals) -> Result<ExitCode> {
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
            // Of those that a reload has removed it was told then.
            for server in service.servers.iter().filter(|server| server.up && !server.leaving) {
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
