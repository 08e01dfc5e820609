//! The election thread: the driver of the VRRP crate with this daemon's effects. Nothing else runs on it.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use buoy_vrrp::Reason;
use buoy_vrrp::driver::{Driver, Effects, Event};
use tokio::sync::{Notify, mpsc, oneshot};

use super::balancing::Roles;
use super::host_link::HostLink;
use super::privileges;
use crate::alert::{self, Dispatcher};
use crate::config::plan::Scheduling;

/// News from the election that only the log cares about. When the queue is full the newest are dropped: nothing that
/// anybody acts on comes this way.
pub(super) const NEWS: usize = 1024;

/// Carries out what the election wants. No method waits for anybody.
#[derive(Debug)]
pub(super) struct Hands {
    link: Arc<HostLink>,
    alerts: Dispatcher,
    roles: Roles,
    news: mpsc::Sender<Event>,
    stopped: Arc<Notify>,
    gone: Arc<Notify>,
}

impl Hands {
    /// `stopped` is notified when everything has been handed over, `gone` when a removed router holds nothing any
    /// more.
    pub(super) fn new(
        link: Arc<HostLink>,
        alerts: Dispatcher,
        roles: Roles,
        news: mpsc::Sender<Event>,
        stopped: Arc<Notify>,
        gone: Arc<Notify>,
    ) -> Self {
        Self { link, alerts, roles, news, stopped, gone }
    }
}

impl Effects for Hands {
    fn install(&mut self, key: &Arc<str>) {
        self.link.install(key);
    }

    fn withdraw(&mut self, key: &Arc<str>) {
        self.link.withdraw(key);
    }

    fn renew_lease(&mut self, key: &Arc<str>) {
        self.link.renew_lease(key);
    }

    fn announce(&mut self, key: &Arc<str>, repeat: u32) {
        self.link.announce(key, repeat);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Transition(transition) => {
                self.roles.handle_transition(&transition);
                self.alerts.transition(transition);
            }
            Event::PriorityChanged { name: instance, state, from, priority, cause } => {
                self.alerts.notify(alert::Event::PriorityChanged { instance, state, priority, from, cause });
            }
            Event::LowerPriorityHeard { name, from, priority } => {
                self.alerts.notify(alert::Event::LowerPriorityHeard { instance: name, from, priority });
            }
            Event::Contention { name, sign } => {
                self.alerts.notify(alert::Event::Contention { instance: name, sign });
            }
            Event::Gone { key } => {
                self.link.forget(&key);
                self.gone.notify_one();
            }
            Event::Stopped => self.stopped.notify_one(),
            other => {
                // Dropped when the supervisor is far behind; counters keep the truth.
                let _full = self.news.try_send(other);
            }
        }
    }
}

/// Starts the thread.
pub(super) fn start(
    mut driver: Driver<Hands>,
    scheduling: Scheduling,
    ended: oneshot::Sender<String>,
) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("election".into())
        .spawn(move || {
            // The default of 50 µs would make every wait that much longer.
            if let Err(error) = nix::sys::prctl::set_timerslack(1) {
                tracing::debug!(%error, "timer slack");
            }
            privileges::take("vrrp", &scheduling);
            let run = std::panic::AssertUnwindSafe(|| driver.run());
            let why = match std::panic::catch_unwind(run) {
                Ok(Ok(())) => String::new(),
                Ok(Err(error)) => format!("the election cannot go on: {error}"),
                Err(_panic) => "the election panicked".to_owned(),
            };
            let _gone = ended.send(why);
        })
        .context("cannot start the election thread")
}

/// Writes news into the log, one line each.
pub(super) fn log(event: &Event) {
    match event {
        Event::Discarded { name, from, discard } => {
            let instance = name.as_deref().unwrap_or("-");
            tracing::warn!(instance, %from, reason = discard.reason().name(),
                "advertisement from {from} not used: {discard} (told once; buoy status counts)");
        }
        Event::Remarked { name, from, remark: Reason::AddressList } => {
            tracing::warn!(instance = &**name, %from, "{from} advertises other addresses than ours: compare the two configurations");
        }
        Event::Remarked { name, from, remark } => {
            tracing::warn!(instance = &**name, %from, remark = remark.name(), "{from} advertises at another interval than ours; its own is used");
        }
        Event::ItemRestored { name, item } => {
            tracing::warn!(instance = &**name, item = &**item, "deleted by somebody else: put back");
        }
        Event::Stalled { name, lateness } => {
            tracing::warn!(
                instance = &**name,
                late_ms = lateness.as_millis() as u64,
                "this director did not run for {:.3} s: listening before deciding",
                lateness.as_secs_f64()
            );
        }
        Event::SendFailed { name, error } => {
            tracing::error!(instance = &**name, error, "cannot send advertisements");
        }
        Event::SendWorks { name } => tracing::info!(instance = &**name, "advertisements are sent again"),
        Event::SocketFailed { name, error } => {
            tracing::error!(instance = &**name, error, "cannot open the VRRP sockets");
        }
        Event::PacketsLost => tracing::warn!(
            "a receive buffer was full and packets were lost: this director does not run often enough, or raise \
             vrrp_rx_bufs_multiplier or kernel_rx_buf_size (told once)"
        ),
        Event::Transition(_)
        | Event::PriorityChanged { .. }
        | Event::LowerPriorityHeard { .. }
        | Event::Contention { .. }
        | Event::Gone { .. }
        | Event::Stopped => {}
    }
}
