//! The status: where it is put together, and where it goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use buoy_vrrp::driver::{Command, Snapshot};

use super::{Daemon, ask};
use crate::api::{BalancingStatus, DaemonStatus, Status};
use crate::cli::status;
use crate::supervisor::balancing::{Desk, Report};
use crate::supervisor::{report, services};

impl Daemon {
    async fn snapshot(&self) -> Result<Snapshot> {
        ask(&self.election, Command::Snapshot).await
    }

    pub(super) async fn status(&self) -> Result<Status> {
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

    /// The status, for people and for machines, beside the control socket. What IPVS has to say is waited for elsewhere.
    pub(super) async fn dump(&self) {
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
pub(super) async fn with_services(mut status: Status, desk: &Desk) -> Status {
    let Report { status: told, checks, settings, plane, engine } = desk.report().await;
    let balancing = match told {
        Ok(told) => {
            status.services = services::services(&told, std::time::Instant::now());
            services::balancing(&told, &settings, checks.as_ref())
        }
        Err(error) => services::silent(format!("{error:#}"), &settings, checks.as_ref()),
    };
    let engine = engine.as_ref().map(services::engine);
    status.balancing = Some(BalancingStatus { plane, engine, ..balancing });
    status
}
