//! The steps in which alerts end.

use tokio::sync::watch;

/// Each step begins when the one before it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Open,
    /// No more events come; those in the inbox are still handed out.
    Closing,
    /// Everything is handed out; each part delivers what it has, without waiting for better times.
    Flushing,
    Done,
}

/// Waits until everything is handed out.
pub(super) async fn flushing(phase: watch::Receiver<Phase>) {
    reached(phase, Phase::Flushing).await;
}

/// Waits for `wanted` or a later phase; for ever when the dispatcher has gone.
pub(super) async fn reached(mut phase: watch::Receiver<Phase>, wanted: Phase) {
    if phase.wait_for(|phase| *phase >= wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}
