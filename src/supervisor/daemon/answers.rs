//! What the control socket asks.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Daemon;
use super::reloading::first_error;
use super::status::with_services;
use crate::api::server::Call;
use crate::api::{Reply, Request};
use crate::config::Loaded;
use crate::supervisor::{self, calls, operator, readings};

impl Daemon {
    pub(super) async fn answer(&mut self, call: Call) {
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

    /// Reads a file beside everything else and says what it would change.
    fn plan_file(&self, file: PathBuf, replies: mpsc::Sender<Reply>) {
        let Ok(turn) = Arc::clone(&self.planning).try_acquire_owned() else {
            let message = "another file is being read for `buoy plan`: try again".to_owned();
            let _gone = replies.try_send(Reply::Refused { message });
            return;
        };
        let args = self.args.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let loaded = supervisor::load(&file, &args);
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
}
