//! What signals tell the daemon.

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Stop,
    Reload,
    Dump,
    /// Dump, then count from zero.
    DumpAndClear,
}

pub(super) struct Signals {
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
    pub(super) reload_owed: bool,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
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
    pub(super) async fn stop(&mut self, ignore_interrupt: bool) {
        loop {
            match self.next(ignore_interrupt).await {
                Told::Stop => return,
                Told::Reload => self.reload_owed = true,
                Told::Dump | Told::DumpAndClear => {}
            }
        }
    }

    /// Cancel-safe.
    pub(super) async fn next(&mut self, ignore_interrupt: bool) -> Told {
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
