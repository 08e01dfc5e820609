//! `buoy demo`: a failover to watch, on this machine, without touching it.
//!
//! Real daemons, the shipped `etc/demo.conf`, and a network of namespaces ([`crate::lab`]). Everything goes
//! away with this process, however it ends; an interrupt is noticed at the next step of the story and
//! unwinds it, so that the temporary folder goes too.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use crate::lab::{Program, become_root_in_user_namespace};

mod account;
mod stage;
mod story;

/// Options of `buoy demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Demo {
    /// Let another program play the directors, for comparison: keepalived, or another buoy.
    #[arg(long, value_name = "PROGRAM", hide = true)]
    daemon: Option<PathBuf>,
}

impl Demo {
    /// Plays the demo and prints what happens. Call it before the process has a second thread: an ordinary
    /// user's process enters a user namespace first.
    ///
    /// The exit code is 0 if the address moved and answered every time, 1 if it once did not, 130 after an
    /// interrupt.
    ///
    /// # Errors
    /// When the stage cannot be set: the kernel forbids namespaces, or lacks veth or bridge.
    pub fn run(self) -> Result<ExitCode> {
        become_root_in_user_namespace()?;
        let program = match self.daemon {
            Some(path) => Program::at(path),
            None => Program::Buoy(std::env::current_exe().context("finding the buoy program")?),
        };
        let interrupt = Interrupt::listen()?;
        match story::play(&program, &interrupt) {
            Ok(true) => {
                account::last_words("The address moved and answered every time.");
                Ok(ExitCode::SUCCESS)
            }
            Ok(false) => Ok(ExitCode::FAILURE),
            Err(error) if error.is::<Interrupted>() => {
                account::last_words("Interrupted.");
                Ok(ExitCode::from(130))
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the user wants to stop (SIGINT, SIGTERM, SIGHUP).
struct Interrupt {
    requested: Arc<AtomicBool>,
}

#[derive(Debug, Error)]
#[error("interrupted")]
struct Interrupted;

impl Interrupt {
    fn listen() -> Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&requested);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("runtime for signals")?;
        let (mut interrupt, mut terminate, mut hangup) = {
            let _context = runtime.enter();
            let listen = |kind| signal(kind).context("listening for signals");
            (
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::hangup())?,
            )
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        _ = hangup.recv() => {}
                    }
                });
                flag.store(true, Ordering::Relaxed);
            })
            .context("starting the signal thread")?;
        Ok(Self { requested })
    }

    /// Polls until `condition` gives something; `None` when it has not within `limit`.
    fn wait_for<T>(
        &self,
        limit: Duration,
        mut condition: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let deadline = Instant::now() + limit;
        loop {
            if self.requested.load(Ordering::Relaxed) {
                return Err(Interrupted.into());
            }
            if let Some(value) = condition()? {
                return Ok(Some(value));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets time pass.
    fn pause(&self, time: Duration) -> Result<()> {
        self.wait_for(time, || Ok(None::<()>)).map(drop)
    }
}
