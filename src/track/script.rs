//! One `vrrp_script`: run it on time, one run at a time, and judge the results.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use buoy_vrrp::{Observation, Reading};
use nix::libc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::child::{Child, Ended, reason};
use crate::config::plan::TrackScript;

/// From SIGTERM to SIGKILL for a run that timed out.
const KILL_AFTER: Duration = Duration::from_secs(2);
/// No interval shorter than this: a script that should run all the time must leave room for the rest.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// Runs `script` until dropped, which kills a run that is under way. `judge` gets every result, at the
/// moment it is known: a timeout counts when it happens, not when the killed run is gone.
pub(super) async fn run(script: Arc<TrackScript>, mut judge: impl FnMut(&Outcome)) {
    let mut starts = interval(script.interval.max(SHORTEST_INTERVAL));
    starts.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut told_of_shell = false;
    loop {
        starts.tick().await;
        let once = run_once(&script, &mut told_of_shell, &mut judge);
        tokio::pin!(once);
        let mut told_of_skip = false;
        loop {
            tokio::select! {
                () = &mut once => break,
                _ = starts.tick() => {
                    if !told_of_skip {
                        tracing::info!(script = %script.name, "still running, so the next run is skipped");
                        told_of_skip = true;
                    }
                }
            }
        }
    }
}

/// The result of one run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) success: bool,
    pub(super) evidence: Arc<str>,
}

impl Outcome {
    pub(super) fn observation(&self, reading: Reading) -> Observation {
        Observation { reading, evidence: Arc::clone(&self.evidence) }
    }
}

impl From<&Ended> for Outcome {
    fn from(ended: &Ended) -> Self {
        Self { success: ended.success(), evidence: ended.to_string().into() }
    }
}

async fn run_once(script: &TrackScript, told_of_shell: &mut bool, judge: &mut impl FnMut(&Outcome)) {
    if let Some(path) = script.command.argv.first().and_then(|word| word.strip_prefix("</")) {
        return open_once(format!("/{path}").into(), script.timeout, judge).await;
    }
    let mut child = match Child::spawn(&script.command, &[]) {
        Ok(child) => child,
        Err(error) => return judge(&Outcome::from(&Ended::NotStarted(error))),
    };
    let ended = child.wait_for(script.timeout).await;
    if child.through_shell() && !*told_of_shell {
        tracing::warn!(script = %script.name, "no #! line: it runs through /bin/sh");
        *told_of_shell = true;
    }
    judge(&Outcome::from(&ended));
    if matches!(ended, Ended::TimedOut(_)) {
        child.terminate(KILL_AFTER).await;
    }
}

/// The command `</path`: does the file open? On a thread of its own, for a file system that hangs.
async fn open_once(path: PathBuf, limit: Duration, judge: &mut impl FnMut(&Outcome)) {
    let mut opening = tokio::task::spawn_blocking(move || {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK).open(path).map(drop)
    });
    let opened = timeout(limit, &mut opening).await;
    match opened {
        Ok(joined) => {
            let result = joined.unwrap_or_else(|error| Err(io::Error::other(error)));
            let evidence = match &result {
                Ok(()) => "file opens".into(),
                Err(error) => format!("cannot open the file: {}", reason(error)).into(),
            };
            judge(&Outcome { success: result.is_ok(), evidence });
        }
        Err(_) => {
            judge(&Outcome::from(&Ended::TimedOut(limit)));
            // The next attempt waits for this one, as with a program that does not die.
            if let Err(error) = opening.await {
                tracing::warn!(%error, "the test of a tracked file ended abnormally");
            }
        }
    }
}
